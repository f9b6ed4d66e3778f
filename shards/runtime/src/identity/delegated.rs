//! Accounts of operators that leave it to a service of theirs who their users are: what it may say.

use std::sync::Arc;

use claims::{Denied, Response, User as Claimant, decode_user};
use shard::access::{Admission, Bearer, Callout, Papers, Proof, Token, User};
use shard::account::Limits;

use super::callout::{self, Replied, kinds, no_account, stay};
use super::desk::{Desk, Refusal, SECOND_NS, allowed, now_s, token};

/// Any account, where a service may place users.
const ANY: &str = "*";

impl Desk {
    /// The service of this user's account. None if it has none any more.
    pub fn callout_of(&self, bearer: &Bearer) -> Option<Arc<Callout>> {
        let access = self.access();
        let key = access.name_of(bearer.account);
        let external = self.roll.find(key)?.account.external();
        let all = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        external.is_enabled().then(|| {
            Arc::new(Callout {
                account: bearer.account,
                issuer: key.into(),
                users: all(&external.auth_users),
                xkey: (!external.xkey.is_empty()).then(|| external.xkey.as_str().into()),
                allowed_accounts: all(&external.allowed_accounts),
            })
        })
    }

    /// Does an answer that is not sealed come from the service of this user's account?
    ///
    /// # Errors
    /// As nats-server says it.
    pub fn believes_service(&self, bearer: &Bearer, response: &Response) -> Result<(), String> {
        let access = self.access();
        let key = access.name_of(bearer.account);
        let said = response.issuer_account();
        if !said.is_empty() && said != key {
            return Err(format!(
                "auth callout response issuer account {said:?} is not the callout account"
            ));
        }
        let issuer = &response.claims.issuer;
        let held = self.roll.find(key);
        let signs = |held: &super::roll::Held| {
            held.account.signing_keys().iter().any(|known| known.key() == issuer)
        };
        match issuer == key || held.is_some_and(signs) {
            true => Ok(()),
            false => Err("auth callout signing key is unknown".to_string()),
        }
    }

    /// Who comes in by what a service has said. `fresh`: the account was asked for just now.
    ///
    /// # Errors
    /// Nobody, or not before an account is known.
    pub fn replied(&self, replied: &Replied, fresh: bool) -> Result<Admission, Refusal> {
        let Replied { user, about, token } = replied;
        let token = token.as_ref().map_err(String::clone)?;
        match &about.bearer {
            Some(bearer) => self.delegated(replied, bearer, token, fresh),
            None => {
                let client = (user.as_str(), about.address);
                Ok(callout::admission(&about.callout, &self.access(), client, token)?)
            }
        }
    }

    fn delegated(
        &self,
        replied: &Replied,
        bearer: &Bearer,
        text: &str,
        fresh: bool,
    ) -> Result<Admission, Refusal> {
        let access = self.access();
        let of = access.name_of(bearer.account);
        let (about, claimant) = (&replied.about, vouched(of, replied, text)?);
        let key = claimant.account();
        let held = self.hold(key, fresh).map_err(|refusal| match refusal {
            Refusal::No(_) => Refusal::No(no_account(key, of, "account missing")),
            needs => needs,
        })?;
        if held.has_expired() {
            return Err(no_account(key, of, "account expired").into());
        }
        let limits = self.trust().rights(&claimant, &held.account).map_err(|why| match why {
            Denied::Issuer => format!("user JWT issuer {:?} is not known", claimant.claims.issuer),
            why => why.to_string(),
        })?;
        if limits.proxy_required {
            return Err("proxy connection required".to_string().into());
        }
        let in_s = stay(of, &claimant, &limits, about.address)?;
        let connection_types = kinds(of, &limits)?;
        let missing = || no_account(key, of, "account missing");
        let account = access.find_account(key).ok_or_else(missing)?;
        let is_of_service = account == bearer.account;
        let papers = Papers { text: "".into(), ..(*bearer.papers).clone() };
        let user = User {
            name: claimant.claims.name.as_str().into(),
            proof: Proof::Token(Token {
                is_bearer: false,
                is_by_service: true,
                papers: Arc::new(papers),
                ..token(&claimant, "", held, &limits)
            }),
            account,
            permissions: allowed(held, &limits, is_of_service),
            connection_types,
            // As nats-server has it: those of the account alone.
            limits: Limits::default(),
        };
        // What the token that was shown has said holds where the answer says nothing.
        let own = bearer.ends_s.map(|end| u64::try_from(end - now_s()).unwrap_or(0));
        let expires_in_ns = in_s.or(own).map(|in_s| in_s.saturating_mul(SECOND_NS));
        Ok(Admission { user: Arc::new(user), expires_in_ns, is_seated: false })
    }
}

/// The user of an answer, if it is the one that was asked about, and placed where it may be.
fn vouched(of: &str, replied: &Replied, text: &str) -> Result<Claimant, String> {
    let Replied { user: wanted, about, .. } = replied;
    let claimant = decode_user(text).map_err(|why| why.to_string())?;
    if claimant.limits().proxy_required {
        return Err("proxy connection required".to_string());
    }
    claimant.check(now_s()).map_err(|why| format!("Error validating user JWT: {why}"))?;
    let found = &claimant.claims.subject;
    if found != wanted {
        return Err(format!(
            "Expected authorized user of {wanted:?} but got {found:?} on account {of:?}"
        ));
    }
    let (key, may) = (claimant.account(), &about.callout.allowed_accounts);
    let is_any = may.len() == 1 && may.contains(ANY);
    if key != of && !is_any && !may.contains(key) {
        return Err(format!(
            "account {:?} not permitted as valid account option for auth callout for account \
             {of:?}",
            claimant.claims.issuer
        ));
    }
    Ok(claimant)
}
