//! Clients that a service of the operator's lets in: who is left to it, and what it is asked.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::token::Papers;
use super::{Access, Presented, Secret, Verdict};
use crate::access::Check;
use crate::ids::AccountId;
use crate::security::TlsFacts;

/// Where the service is asked. Nobody in its account may publish there.
pub const CALLOUT_SUBJECT: &str = "$SYS.REQ.USER.AUTH";

/// A service that lets clients in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callout {
    /// Where it is.
    pub account: AccountId,
    /// The account key that signs its answers.
    pub issuer: Box<str>,
    /// Users that are let in without it.
    pub users: BTreeSet<Box<str>>,
    /// Requests are sealed for this curve key, if there is one.
    pub xkey: Option<Box<str>>,
    /// If not empty: users of other accounts are let in without it.
    pub allowed_accounts: BTreeSet<Box<str>>,
}

/// What a client has shown, for the service to judge. Shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Applicant {
    /// Its number on the server.
    pub cid: u64,
    /// Where it comes from.
    pub address: IpAddr,
    /// `user`.
    pub user: Box<str>,
    /// `pass`.
    pub pass: Secret,
    /// `auth_token`.
    pub token: Secret,
    /// `nkey`.
    pub nkey: Box<str>,
    /// `sig`.
    pub signature: Box<str>,
    /// What it was asked to sign.
    pub nonce: Box<str>,
    /// `name`, `lang`, `version`, `protocol`.
    pub about: (Box<str>, Box<str>, Box<str>, i64),
    /// Of a TLS connection.
    pub tls: Option<Arc<TlsFacts>>,
    /// The user its token has shown it to be, where tokens are believed.
    pub bearer: Option<Arc<Bearer>>,
}

/// A user of an account that leaves it to a service who its users are. Shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The account.
    pub account: AccountId,
    /// The user's token.
    pub token: Secret,
    /// The user's public key.
    pub key: Box<str>,
    /// The user's name, and what it is tagged with.
    pub papers: Arc<Papers>,
    /// When its right to be here ends, seconds since 1970.
    pub ends_s: Option<i64>,
}

impl fmt::Debug for Applicant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Applicant({})", self.cid)
    }
}

impl Access {
    /// What becomes of a client that `own`, without the service, would be its fate.
    pub(super) fn or_callout(&self, shown: &Presented<'_>, own: Verdict) -> Verdict {
        let Some(callout) = self.callout.as_deref() else { return own };
        let stays = match &own {
            Verdict::In(Some(user)) | Verdict::Check(_, Some(user)) => {
                let allowed = &callout.allowed_accounts;
                let elsewhere = user.account != AccountId::GLOBAL
                    && !allowed.is_empty()
                    && !allowed.contains(self.name_of(user.account));
                callout.users.contains(&user.name) || elsewhere
            }
            Verdict::In(None) | Verdict::Check(_, None) => {
                self.token.is_none() && callout.users.contains(shown.user)
            }
            Verdict::Out(_) => self.is_let_in_by_itself(callout, shown),
        };
        match stays {
            true => own,
            false => Verdict::Check(Box::new(Check::callout(shown.applicant())), None),
        }
    }

    /// Those who need no service are not asked about if they fail.
    fn is_let_in_by_itself(&self, callout: &Callout, shown: &Presented<'_>) -> bool {
        let name = if shown.nkey.is_empty() { shown.user } else { shown.nkey };
        callout.users.contains(name)
    }
}

impl Presented<'_> {
    pub(super) fn applicant(&self) -> Applicant {
        let said = self.connect;
        let [name, lang, version] = [said.name(), said.lang(), said.version()].map(Box::from);
        Applicant {
            cid: self.cid,
            address: self.address,
            user: self.user.into(),
            pass: Secret::new(self.pass),
            token: Secret::new(self.token),
            nkey: self.nkey.into(),
            signature: self.signature.into(),
            nonce: self.nonce.into(),
            about: (name, lang, version, said.protocol),
            tls: self.tls.cloned(),
            bearer: None,
        }
    }
}
