//! Is a client who it says it is? nats-server's order of questions.

use std::net::IpAddr;
use std::sync::Arc;

use super::check::Check;
use super::secret::Secret;
use super::{Access, ConnectionTypes, Proof, Shown, User};
use wire::Connect;

use crate::input::Name;
use crate::security::TlsFacts;

/// What a client has shown of itself.
pub(crate) struct Presented<'a> {
    pub user: &'a str,
    pub pass: &'a str,
    pub token: &'a str,
    pub nkey: &'a str,
    pub signature: &'a str,
    pub nonce: &'a str,
    /// A user's token.
    pub jwt: &'a str,
    pub address: IpAddr,
    pub kind: ConnectionTypes,
    pub tls: Option<&'a Arc<TlsFacts>>,
    /// The whole of its CONNECT.
    pub connect: &'a Connect,
    pub cid: u64,
}

impl Presented<'_> {
    fn to_look_at(&self) -> Shown {
        Shown { token: Secret::new(self.jwt), kind: self.kind, applicant: self.applicant() }
    }
}

/// What comes of it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is in: as this user, or as nobody in particular, in the global account.
    In(Option<Arc<User>>),
    /// It is in if this passes.
    Check(Box<Check>, Option<Arc<User>>),
    /// It is not. Why, for the log only.
    Out(&'static str),
}

const UNKNOWN: Verdict = Verdict::Out("unknown user, or not by this kind of connection");

impl Access {
    /// Decides, or says what has to be looked at first.
    pub(crate) fn judge(&self, shown: &Presented<'_>) -> Verdict {
        self.or_callout(shown, self.judge_alone(shown))
    }

    fn judge_alone(&self, shown: &Presented<'_>) -> Verdict {
        if !self.required {
            return Verdict::In(None);
        }
        if self.believes_tokens {
            return Verdict::Check(Box::new(Check::token(shown.to_look_at())), None);
        }
        let is_silent = shown.user.is_empty() && shown.pass.is_empty() && shown.token.is_empty();
        if !self.by_key.is_empty()
            && let Some(verdict) = self.judge_key(shown, is_silent)
        {
            return verdict;
        }
        if !self.by_name.is_empty() {
            if self.maps_certificates {
                return self.judge_certificate(shown);
            }
            if let Some(user) = self.no_auth_user.as_ref().filter(|_| is_silent)
                && let Proof::Password(secret) = &user.proof
            {
                // As nats-server: a hash is no password, so it lets nobody in without one.
                return match user.connection_types.allows(shown.kind) && !secret.is_bcrypt() {
                    true => Verdict::In(Some(user.clone())),
                    false => UNKNOWN,
                };
            }
            if !shown.user.is_empty() {
                let known = self.by_name(shown.user);
                let Some(user) = known.filter(|user| user.connection_types.allows(shown.kind))
                else {
                    return UNKNOWN;
                };
                return password(user, shown.pass);
            }
        }
        self.judge_single(shown)
    }

    fn judge_key(&self, shown: &Presented<'_>, is_silent: bool) -> Option<Verdict> {
        if let Some(user) = &self.no_auth_user
            && is_silent
            && shown.nkey.is_empty()
            && matches!(user.proof, Proof::Nkey(_))
        {
            return Some(match user.connection_types.allows(shown.kind) {
                true => Verdict::In(Some(user.clone())),
                false => UNKNOWN,
            });
        }
        if shown.nkey.is_empty() {
            return None;
        }
        let user = self.by_key(shown.nkey).filter(|user| user.connection_types.allows(shown.kind));
        let Some(user) = user else { return Some(UNKNOWN) };
        let Proof::Nkey(key) = &user.proof else { return Some(UNKNOWN) };
        Some(match shown.signature {
            "" => Verdict::Out("Signature missing"),
            signature => {
                let check = Check::signature(*key, shown.nonce, signature);
                Verdict::Check(Box::new(check), Some(user.clone()))
            }
        })
    }

    /// The certificate was verified by the handshake; the first of its names that is a user's
    /// counts.
    fn judge_certificate(&self, shown: &Presented<'_>) -> Verdict {
        let names = shown.tls.map_or(&[][..], |tls| &tls.names);
        let allowed = |user: &&Arc<User>| user.connection_types.allows(shown.kind);
        let user = names.iter().find_map(|name| match name {
            Name::Text(text) => self.by_name(text).filter(allowed),
            Name::Distinguished(dn) => {
                let users = || self.users.iter().filter(allowed);
                users()
                    .find(|user| dn.is_named(&user.name))
                    .or_else(|| users().find(|user| dn.is_named_in_any_order(&user.name)))
            }
        });
        match user {
            Some(user) => password(user, shown.pass),
            None => Verdict::Out("no user of a name that the certificate has"),
        }
    }

    fn judge_single(&self, shown: &Presented<'_>) -> Verdict {
        if let Some(token) = &self.token {
            return compare(token, shown.token, None);
        }
        match &self.single {
            Some((name, secret)) if self.by_name.is_empty() && **name == *shown.user => {
                compare(secret, shown.pass, None)
            }
            _ => Verdict::Out("no credentials that are asked for"),
        }
    }
}

fn password(user: &Arc<User>, presented: &str) -> Verdict {
    match &user.proof {
        Proof::Password(secret) => compare(secret, presented, Some(user.clone())),
        Proof::Nkey(_) | Proof::Token(_) | Proof::Service => UNKNOWN,
    }
}

fn compare(secret: &Secret, presented: &str, user: Option<Arc<User>>) -> Verdict {
    if secret.is_bcrypt() {
        let check = Check::hash(secret.clone(), Secret::new(presented));
        return Verdict::Check(Box::new(check), user);
    }
    match secret.equals(presented) {
        true => Verdict::In(user),
        false => Verdict::Out("wrong password or token"),
    }
}
