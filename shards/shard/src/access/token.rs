//! Users and accounts that tokens speak for. The tokens themselves are read elsewhere; here is what
//! they say that matters as long as somebody is connected.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::callout::Applicant;
use super::{ConnectionTypes, Permissions, Secret, User};
use crate::ids::{AccountId, Nanos};

/// What a user's token said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// The signing key it was signed with; empty if it was the account's own.
    pub signing_key: Box<str>,
    /// As [`Terms::signing_keys`] had it then; none if it was the account's own.
    pub role: Option<u64>,
    /// When it was made, seconds since 1970.
    pub issued_at_s: i64,
    /// Nobody had to prove that the user's key is his.
    pub is_bearer: bool,
    /// It said nothing of permissions: the account's defaults hold.
    pub has_default_permissions: bool,
    /// A service made it for the connection; its user may be called anything.
    pub is_by_service: bool,
    /// What operators see of it.
    pub papers: Arc<Papers>,
}

/// What a user's token says for people to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Papers {
    /// The token, if it is worth nothing without a key; else empty.
    pub text: Box<str>,
    /// The user's name.
    pub name: Box<str>,
    /// What the user is tagged with.
    pub tags: Vec<Box<str>>,
}

/// What an account's token says about its users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Users, or `*` for all, whose tokens made up to that moment, seconds since 1970, are void.
    pub revoked: BTreeMap<Box<str>, i64>,
    /// Signing keys, and a fingerprint of the role of each.
    pub signing_keys: BTreeMap<Box<str>, u64>,
    /// Users must prove that they own their key.
    pub no_bearer: bool,
    /// Of users that say nothing of permissions.
    pub default_permissions: Option<Arc<Permissions>>,
    /// Its time is over.
    pub has_expired: bool,
    /// Its users must not be here, whatever it says.
    pub is_barred: bool,
    /// What it calls itself; may be empty.
    pub name: Box<str>,
    /// What operators see of it.
    pub papers: Arc<AccountPapers>,
}

/// An account's token, for people to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountPapers {
    /// The token.
    pub text: Box<str>,
    /// When it came to this server, ns since 1970.
    pub since_unix_ns: u64,
}

/// Why a user is no longer what it was when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Void {
    /// The account's time is over, or it is gone.
    Expired,
    /// Its token has been revoked.
    Revoked,
    /// It shows less than the account wants by now.
    Violation,
}

impl Terms {
    /// Means the same to users, whatever else has changed.
    pub(super) fn binds_as(&self, other: &Terms) -> bool {
        *self == Terms { papers: Arc::clone(&self.papers), ..other.clone() }
    }

    /// Is something against this user?
    pub(crate) fn voids(&self, user: &str, token: &Token) -> Option<Void> {
        let revoked = |who: &str| self.revoked.get(who).is_some_and(|at| *at >= token.issued_at_s);
        if self.has_expired {
            return Some(Void::Expired);
        }
        if self.is_barred || (token.is_bearer && self.no_bearer) {
            return Some(Void::Violation);
        }
        if revoked(user) || revoked("*") {
            return Some(Void::Revoked);
        }
        None
    }

    /// The role of the signing key that the user's token was signed with.
    pub(crate) fn role_of(&self, token: &Token) -> Option<u64> {
        self.signing_keys.get(&token.signing_key).copied()
    }
}

/// What a client shows of itself where tokens are believed: to be looked at elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its user's token; may be empty.
    pub token: Secret,
    /// How it comes.
    pub kind: ConnectionTypes,
    /// All the rest.
    pub applicant: Applicant,
}

/// A user that was let in elsewhere.
#[derive(Debug)]
pub struct Admission {
    /// Who it is.
    pub user: Arc<User>,
    /// How long it may stay.
    pub expires_in_ns: Option<Nanos>,
    /// It was counted among its account's connections.
    pub is_seated: bool,
}

/// What came of a [`super::Check`].
#[derive(Debug)]
pub enum Outcome {
    /// It proves what it should.
    Passed,
    /// It does not. Why, for the log only.
    Failed(Box<str>),
    /// It proves somebody to be this user.
    Admitted(Box<Admission>),
    /// It proves somebody to be a user of an account that leaves it to a service who that is.
    Asks(Box<Applicant>),
    /// There is room in the account; the connection is counted there.
    Seated(AccountId),
    /// The account has as many connections as it may.
    Full,
    /// Too many wait, most of them from where this one comes from.
    Crowded,
    /// Not known yet, and that may take long: it is not among the checks that are out any more.
    Aside,
}
