//! Users: who may connect, and with which rights.

use serde::Deserialize;
use serde_json::Value;

use crate::key::{self, Kind};
use crate::permissions::UserLimits;
use crate::token::{Claims, Fault, read};

/// What a user's token says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct User {
    /// What every token says; its subject is the user's public nkey.
    #[serde(flatten)]
    pub claims: Claims,
    nats: Body,
    #[serde(skip)]
    says_rights: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(flatten)]
    limits: UserLimits,
    issuer_account: String,
    tags: Vec<String>,
}

/// Where version 1 kept two of them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Old {
    issuer_account: String,
    tags: Vec<String>,
    nats: Value,
}

impl User {
    pub(crate) fn read(json: &Value, version: i64) -> Result<User, Fault> {
        let mut user: User = read(json)?;
        user.says_rights = json.get("nats").is_some_and(says_list);
        if version <= 1 {
            let old: Old = read(json)?;
            user.nats.issuer_account = old.issuer_account;
            user.nats.tags = old.tags;
            let limits = &mut user.nats.limits;
            let unless_given = |name: &str, limit: &mut i64| {
                if old.nats.get(name).is_none() {
                    *limit = -1;
                }
            };
            unless_given("subs", &mut limits.subscriptions_max);
            unless_given("data", &mut limits.data_max);
            unless_given("payload", &mut limits.payload_max);
        }
        Ok(user)
    }

    /// What it says of its own rights; a user of a scoped key says nothing here.
    pub fn limits(&self) -> &UserLimits {
        &self.nats.limits
    }

    /// Does it say anything of its own rights, be it an empty list?
    pub fn says_rights(&self) -> bool {
        self.says_rights || self.nats.limits != UserLimits::default()
    }

    /// The account it belongs to, if a signing key signed for that account; else empty.
    pub fn issuer_account(&self) -> &str {
        &self.nats.issuer_account
    }

    /// The public key of the account it belongs to.
    pub fn account(&self) -> &str {
        match self.nats.issuer_account.is_empty() {
            true => &self.claims.issuer,
            false => &self.nats.issuer_account,
        }
    }

    /// For templates and for people, lower case.
    pub fn tags(&self) -> &[String] {
        &self.nats.tags
    }

    /// Valid at this moment, by itself.
    ///
    /// # Errors
    /// It says something that can't be, or has ended, or has not begun.
    pub fn check(&self, now_s: i64) -> Result<(), Fault> {
        self.claims.check_time(now_s)?;
        self.nats.limits.check().map_err(Fault::Invalid)?;
        let issuer = &self.nats.issuer_account;
        if !issuer.is_empty() && !key::is_public(Kind::Account, issuer) {
            return Err(Fault::Invalid("account_id is not an account public key".to_string()));
        }
        Ok(())
    }
}

/// Is there a list of what it may do, or of where, when and how it may come?
fn says_list(nats: &Value) -> bool {
    let of_lists = |inner: &Value| inner.get("allow").is_some() || inner.get("deny").is_some();
    ["src", "times", "allowed_connection_types"].iter().any(|name| nats.get(name).is_some())
        || ["pub", "sub"].iter().any(|name| nats.get(name).is_some_and(of_lists))
}
