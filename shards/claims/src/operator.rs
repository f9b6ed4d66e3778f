//! Operators: whose signature on an account's token is believed.

use serde::Deserialize;

use crate::key::{self, Kind};
use crate::token::{Claims, Fault};

/// What an operator's token says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Operator {
    /// What every token says.
    #[serde(flatten)]
    pub claims: Claims,
    nats: Body,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Body {
    signing_keys: Vec<String>,
    system_account: String,
    account_server_url: String,
    assert_server_version: String,
    strict_signing_key_usage: bool,
}

/// Major, minor, update.
pub type Version = (u64, u64, u64);

impl Operator {
    /// The keys it signs accounts with: its own, unless it signs with signing keys alone.
    pub fn keys(&self) -> Vec<String> {
        let own = (!self.nats.strict_signing_key_usage).then(|| self.claims.subject.clone());
        own.into_iter().chain(self.nats.signing_keys.iter().cloned()).collect()
    }

    /// If it signs with signing keys alone: those, and accounts signed with them must not sign
    /// users with their own key either.
    pub fn strict_keys(&self) -> impl Iterator<Item = &str> {
        let strict = self.nats.strict_signing_key_usage;
        self.nats.signing_keys.iter().filter(move |_| strict).map(String::as_str)
    }

    /// Where accounts' tokens are, less `/accounts`; may be empty.
    pub fn account_server(&self) -> &str {
        self.nats.account_server_url.trim_end_matches('/')
    }

    /// The public key of its system account; may be empty.
    pub fn system_account(&self) -> &str {
        &self.nats.system_account
    }

    /// A configuration can't start with this operator.
    ///
    /// # Errors
    /// A key that is none, or it expects a server newer than `server`.
    pub fn check(&self, server: Version) -> Result<(), Fault> {
        if let Some(key) =
            self.nats.signing_keys.iter().find(|k| !key::is_public(Kind::Operator, k))
        {
            return Err(Fault::Invalid(format!("{key} is not an operator public key")));
        }
        let system = self.system_account();
        if !system.is_empty() && !key::is_public(Kind::Account, system) {
            return Err(Fault::Invalid(format!("{system} is not an account public key")));
        }
        self.check_version(server)
    }

    fn check_version(&self, server: Version) -> Result<(), Fault> {
        let (who, wanted) = (&self.claims.subject, &self.nats.assert_server_version);
        if wanted.is_empty() {
            return Ok(());
        }
        let numbers: Option<Vec<u64>> = wanted.split('.').map(|n| n.parse().ok()).collect();
        let Some([major, minor, update]) = numbers.as_deref() else {
            return Err(Fault::Invalid(format!(
                "operator {who} expects version {wanted}, which is not <major>.<minor>.<update>"
            )));
        };
        let newer = |what: &str, wanted: u64, own: u64| {
            Err(Fault::Invalid(format!(
                "operator {who} expected {what} version {wanted} > server {what} version {own}"
            )))
        };
        if *major != server.0 {
            return if *major > server.0 { newer("major", *major, server.0) } else { Ok(()) };
        }
        if *minor != server.1 {
            return if *minor > server.1 { newer("minor", *minor, server.1) } else { Ok(()) };
        }
        if *update > server.2 { newer("update", *update, server.2) } else { Ok(()) }
    }
}
