//! Asks a service of the operator's who a client is, and judges what it says.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use claims::{
    ClientInfo, ConnectOptions, Denied, Presented, Request as Asked, ServerId, User as Claimant,
    UserLimits, decode_user, read_response,
};
use nkeys::{KeyPair, XKey};
use shard::access::{
    Access, Admission, Applicant, Bearer, CALLOUT_SUBJECT, Callout, ConnectionTypes, Outcome,
    Permissions, Proof, Secret, User,
};
use shard::account::Limits;
use shard::report::{Request, Saying};
use shard::turns::Origin;
use shard::{ConnId, Nanos, ShardId};

use super::desk::{Desk, SECOND_NS, local_time, now_s};
use super::rights::{connection_types, permissions};

/// What answers come to begins with this.
const INBOX: &str = "$SYS._INBOX.callout";
/// What every token begins with; sealed answers do not.
const TOKEN_START: &[u8] = b"eyJ";

/// The server's own keys, and what it says of itself to the service.
pub struct Caller {
    server: KeyPair,
    xkey: XKey,
    about: ServerId,
    /// By the user's key that was made for the request alone. The answer comes to it, and its user
    /// must have it.
    asked: HashMap<String, Waiting>,
}

/// One client that a service was asked about.
pub struct Waiting {
    pub shard: ShardId,
    pub conn: ConnId,
    /// Where it comes from.
    pub address: IpAddr,
    pub origin: Origin,
    pub until: Instant,
    /// Who was asked.
    pub callout: Arc<Callout>,
    /// The user whose account's service that is, where tokens are believed.
    pub bearer: Option<Arc<Bearer>>,
}

/// What a service has said of a client: the key that was made for the request, and the token of the
/// user, or why there is none.
pub struct Replied {
    pub user: String,
    pub about: Waiting,
    pub token: Result<String, String>,
}

/// Whom an answer is about, and what comes of it.
pub type Answered = (ShardId, ConnId, Outcome);

impl Caller {
    /// # Errors
    /// The seeds are none.
    pub fn new(seed: &Secret, xkey: &Secret, about: ServerId) -> Result<Caller, String> {
        Ok(Caller {
            server: KeyPair::from_seed(seed.expose()).map_err(|error| error.to_string())?,
            xkey: XKey::from_seed(xkey.expose()).map_err(|error| error.to_string())?,
            about,
            asked: HashMap::new(),
        })
    }

    /// What is listened to in the service's account.
    pub fn inbox() -> String {
        format!("{INBOX}.*")
    }

    /// Is this an answer?
    pub fn concerns(subject: &[u8]) -> bool {
        subject.starts_with(INBOX.as_bytes())
    }

    /// The question about a client; its answer comes in `patience_ns`, or it is turned away.
    ///
    /// # Errors
    /// It can't be asked.
    pub fn ask(
        &mut self,
        callout: &Arc<Callout>,
        (shard, conn, origin): (ShardId, ConnId, Origin),
        applicant: &Applicant,
        patience_ns: Nanos,
    ) -> Result<Saying, String> {
        let user = KeyPair::new_user().public_key();
        let patience = Duration::from_nanos(patience_ns);
        let expires_s = now_s() + i64::try_from(patience.as_secs()).unwrap_or(0);
        let mut about = self.about.clone();
        if callout.xkey.is_some() {
            about.xkey = self.xkey.public_key();
        }
        let asked = question(about, &user, applicant);
        let text = claims::request(&self.server, &callout.issuer, &asked, now_s(), expires_s)
            .map_err(|why| why.to_string())?;
        let (mut payload, mut header) = (text.into_bytes(), Vec::new());
        if let Some(key) = &callout.xkey {
            let service = XKey::from_public_key(key).map_err(|error| error.to_string())?;
            payload = self.xkey.seal(&payload, &service).map_err(|error| error.to_string())?;
            let own = self.xkey.public_key();
            header = format!("NATS/1.0\r\nNats-Server-Xkey: {own}\r\n\r\n").into_bytes();
        }
        let reply = format!("{INBOX}.{user}").into_bytes();
        let until = Instant::now() + patience;
        let (callout, bearer) = (Arc::clone(callout), applicant.bearer.clone());
        let account = Some(callout.account);
        // Where the service is the file's, its account is known from the start.
        let inbox = bearer.as_ref().map(|_| Caller::inbox().into());
        let address = applicant.address;
        let waiting = Waiting { shard, conn, address, origin, until, callout, bearer };
        self.asked.insert(user, waiting);
        Ok(Saying { account, reply, header, inbox, ..Saying::new(CALLOUT_SUBJECT.into(), payload) })
    }

    /// Those whose answer has not come in time.
    pub fn too_late(&mut self) -> Vec<Answered> {
        let now = Instant::now();
        let late = self.asked.extract_if(|_, waiting| waiting.until <= now);
        let why = "authorization callout response not received in time";
        late.map(|(_, it)| (it.shard, it.conn, Outcome::Failed(why.into()))).collect()
    }

    /// Is anybody waited for?
    pub fn waits(&self) -> bool {
        !self.asked.is_empty()
    }

    /// An answer has come. None if nobody waits for it any more.
    pub fn hear(&mut self, desk: &Desk, request: &Request) -> Option<Replied> {
        let subject = std::str::from_utf8(&request.subject).ok()?;
        let (user, about) = self.asked.remove_entry(subject.rsplit('.').next()?)?;
        let token = self.user_token(desk, &about, &user, &request.payload);
        Some(Replied { user, about, token })
    }

    /// The token of the user in a service's answer.
    fn user_token(
        &self,
        desk: &Desk,
        about: &Waiting,
        user: &str,
        payload: &[u8],
    ) -> Result<String, String> {
        let (access, callout) = (desk.access(), &*about.callout);
        let of = access.name_of(callout.account);
        if payload.is_empty() {
            return Err(format!(
                "auth callout violation: \"no reason supplied\" on account {of:?}"
            ));
        }
        let (text, is_sealed) = self.unsealed(callout, payload).map_err(|why| {
            format!("error decrypting auth callout response on account {of:?}: {why}")
        })?;
        let response = read_response(&text, &self.about.id, user, now_s())?;
        if !is_sealed {
            match &about.bearer {
                Some(bearer) => desk.believes_service(bearer, &response)?,
                None if response.claims.issuer == *callout.issuer => {}
                None => return Err("auth callout signing key is unknown".to_string()),
            }
        }
        response.user_token().map(str::to_string)
    }

    fn unsealed(&self, callout: &Callout, payload: &[u8]) -> Result<(String, bool), String> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "no token".to_string());
        match &callout.xkey {
            Some(key) if !payload.starts_with(TOKEN_START) => {
                let service = XKey::from_public_key(key).map_err(|error| error.to_string())?;
                let opened =
                    self.xkey.open(payload, &service).map_err(|error| error.to_string())?;
                Ok((text(opened)?, true))
            }
            _ => Ok((text(payload.to_vec())?, false)),
        }
    }
}

/// The user of a token, if it is the one that was asked about, and issued by whom it should be.
fn claimant(callout: &Callout, of: &str, wanted: &str, token: &str) -> Result<Claimant, String> {
    let claimant = decode_user(token).map_err(|why| why.to_string())?;
    if claimant.limits().proxy_required {
        return Err("proxy connection required".to_string());
    }
    claimant.check(now_s()).map_err(|why| format!("Error validating user JWT: {why}"))?;
    let found = &claimant.claims.subject;
    if *found != wanted {
        return Err(format!(
            "Expected authorized user of {wanted:?} but got {found:?} on account {of:?}"
        ));
    }
    if !claimant.issuer_account().is_empty() {
        return Err(format!(
            "error non operator mode account {of:?}: attempted to use issuer_account"
        ));
    }
    let (wanted, found) = (&callout.issuer, &claimant.claims.issuer);
    if *found != **wanted {
        return Err(format!(
            "wrong issuer for auth callout response on account {of:?}, \
             expected {wanted:?} got {found:?}"
        ));
    }
    Ok(claimant)
}

/// As nats-server begins what it logs and tells of one that is turned away.
pub fn refused(why: &str) -> Outcome {
    let why = titled(why);
    log::warn!("{why}");
    Outcome::Failed(why.into())
}

/// Who comes in by this token of the user that was asked about, from that address.
pub fn admission(
    callout: &Callout,
    access: &Access,
    (user, address): (&str, IpAddr),
    token: &str,
) -> Result<Admission, String> {
    let of = access.name_of(callout.account);
    let claimant = claimant(callout, of, user, token)?;
    let limits = claimant.limits();
    let in_s = stay(of, &claimant, limits, address)?;
    let connection_types = kinds(of, limits)?;
    let placement = &claimant.claims.audience;
    let missing = || no_account(placement, of, "account missing");
    let account = access.find_account(placement).ok_or_else(missing)?;
    let mut permissions = permissions(&limits.permissions);
    if account == callout.account {
        // Nobody there may ask the service himself.
        let most = Permissions::all_but(permissions.as_deref(), CALLOUT_SUBJECT);
        permissions = Some(Arc::new(most));
    }
    let user = User {
        name: claimant.claims.name.as_str().into(),
        proof: Proof::Service,
        account,
        permissions,
        connection_types,
        // As nats-server has it: those of the account alone.
        limits: Limits::default(),
    };
    let expires_in_ns = in_s.map(|in_s| in_s.saturating_mul(SECOND_NS));
    Ok(Admission { user: Arc::new(user), expires_in_ns, is_seated: false })
}

/// For how many seconds one with these rights may stay, who comes from there; none is no end.
pub(super) fn stay(
    of: &str,
    claimant: &Claimant,
    limits: &UserLimits,
    address: IpAddr,
) -> Result<Option<u64>, String> {
    let presented = Presented {
        nonce: b"",
        signature: "",
        address: Some(address.to_canonical()),
        now_s: now_s(),
        local_time: &local_time,
    };
    match claimant.stay(limits, &presented) {
        Ok(expiry) => Ok(expiry.map(|expiry| expiry.in_s)),
        Err(Denied::Hours) => {
            Err(format!("authorized user on account {of:?} outside of valid connect times"))
        }
        Err(why) => Err(why.to_string()),
    }
}

/// The kinds of connections one with these rights may have, if this is one of them.
pub(super) fn kinds(of: &str, limits: &UserLimits) -> Result<ConnectionTypes, String> {
    connection_types(&limits.allowed_connection_types)
        .filter(|kinds| kinds.allows(ConnectionTypes::STANDARD))
        .ok_or_else(|| format!("authorized user on account {of:?} using invalid connection type"))
}

/// As nats-server says that an answer's user has no place.
pub(super) fn no_account(key: &str, of: &str, why: &str) -> String {
    format!("no valid account {key:?} for auth callout response on account {of:?}: {why}")
}

/// As nats-server begins what it logs; but it stays one line, whatever a service has said.
fn titled(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

fn question(about: ServerId, user: &str, applicant: &Applicant) -> Asked {
    let (name, lang, version, protocol) = &applicant.about;
    let secret = |secret: &Secret| secret.expose().to_string();
    let shown = if applicant.token.is_empty() { "" } else { "[REDACTED]" };
    let bearer = applicant.bearer.as_deref();
    let key = bearer.map_or("", |bearer| &bearer.key);
    let papers = bearer.map(|bearer| &*bearer.papers);
    let who = [&*applicant.nkey, &*applicant.user, key, shown];
    Asked {
        server_id: about,
        user_nkey: user.to_string(),
        client_info: ClientInfo {
            host: applicant.address.to_string(),
            id: applicant.cid,
            user: who.into_iter().find(|name| !name.is_empty()).unwrap_or_default().to_string(),
            name: name.to_string(),
            tags: papers.iter().flat_map(|it| &it.tags).map(ToString::to_string).collect(),
            name_tag: papers.map(|papers| papers.name.to_string()).unwrap_or_default(),
            kind: "Client",
            transport: "nats",
            nonce: match applicant.signature.is_empty() {
                true => String::new(),
                false => applicant.nonce.to_string(),
            },
        },
        connect_opts: ConnectOptions {
            // Nobody is believed by a token where nobody signs for accounts.
            jwt: bearer.map(|bearer| secret(&bearer.token)).unwrap_or_default(),
            nkey: applicant.nkey.to_string(),
            signature: applicant.signature.to_string(),
            token: secret(&applicant.token),
            user: applicant.user.to_string(),
            password: secret(&applicant.pass),
            name: name.to_string(),
            lang: lang.to_string(),
            version: version.to_string(),
            protocol: *protocol,
        },
        client_tls: applicant
            .tls
            .as_ref()
            .map(|tls| claims::tls_facts(tls.version, tls.cipher, Vec::new(), false)),
    }
}
