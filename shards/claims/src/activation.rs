//! Activations: the right of one account to import what another exports.

use serde::Deserialize;

use crate::account::ExportKind;
use crate::key::{self, Kind};
use crate::permissions::check_subject;
use crate::token::Claims;

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

impl Activation {
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

    /// Was it given by this account, itself or through a signing key?
    pub fn is_of(&self, account: &str) -> bool {
        self.claims.issuer == account || self.nats.issuer_account == account
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
