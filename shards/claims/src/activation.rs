//! Activations: the right of one account to import what another exports.

use serde::Deserialize;
use serde_json::Value;

use crate::account::ExportKind;
use crate::key::{self, Kind};
use crate::permissions::check_subject;
use crate::token::{Claims, Fault, read};

/// What an activation's token says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Activation {
    /// What every token says; its subject is the importing account.
    #[serde(flatten)]
    pub claims: Claims,
    nats: Body,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Body {
    subject: String,
    kind: ExportKind,
    issuer_account: String,
}

/// The first version kept two of them elsewhere.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Old {
    issuer_account: String,
    nats: OldBody,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OldBody {
    #[serde(rename = "type")]
    kind: ExportKind,
}

impl Activation {
    pub(crate) fn read(json: &Value, version: i64) -> Result<Activation, Fault> {
        let mut activation: Activation = read(json)?;
        if version == 1 {
            let old: Old = read(json)?;
            activation.nats.kind = old.nats.kind;
            activation.nats.issuer_account = old.issuer_account;
        }
        Ok(activation)
    }

    /// What may be imported.
    pub fn subject(&self) -> &str {
        &self.nats.subject
    }

    /// As what.
    pub fn kind(&self) -> ExportKind {
        self.nats.kind
    }

    /// The account it was issued for by a signing key; empty if it signed itself.
    pub fn issuer_account(&self) -> &str {
        &self.nats.issuer_account
    }

    /// Does it say that this account has given it, itself or through a signing key?
    pub fn is_of(&self, account: &str) -> bool {
        self.claims.issuer == account || self.nats.issuer_account == account
    }

    /// It says that another account has given it.
    pub(crate) fn is_of_another(&self, account: &str) -> bool {
        !self.nats.issuer_account.is_empty() && self.nats.issuer_account != account
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.nats.kind == ExportKind::Unknown {
            return Err("invalid import type: \"unknown\"".to_string());
        }
        let issuer = &self.nats.issuer_account;
        if !issuer.is_empty() && !key::is_public(Kind::Account, issuer) {
            return Err("account_id is not an account public key".to_string());
        }
        check_subject(&self.nats.subject)
    }
}
