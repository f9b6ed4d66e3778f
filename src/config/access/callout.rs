//! `auth_callout { issuer: A…, auth_users: [auth], account: AUTH, xkey: X…, allowed_accounts: [] }`

use runtime::AccountId;
use runtime::access::{Access, Callout};
use runtime::identity::{Kind, is_public};

use super::{in_order, text};
use crate::config::value::{Data, Fault, Value};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    issuer: String,
    account: String,
    users: Vec<String>,
    xkey: Option<String>,
    allowed_accounts: Vec<String>,
    allowed_at: Option<Value>,
}

pub fn read(value: &Value, faults: &mut Vec<Fault>) -> Result<Said, Fault> {
    let Data::Map(map) = &value.data else {
        let noun = value.data.noun();
        return Err(
            value.fault(format!("Expected authorization callout to be a map/struct, got {noun}"))
        );
    };
    let mut said = Said::default();
    for (key, value) in in_order(map) {
        match key.to_lowercase().as_str() {
            "issuer" => {
                said.issuer = text(key, value)?;
                if !is_public(Kind::Account, &said.issuer) {
                    return Err(value.fault(format!(
                        "Expected callout user to be a valid public account nkey, got {:?}",
                        said.issuer
                    )));
                }
            }
            "account" | "acc" => said.account = text(key, value)?,
            "auth_users" | "users" => said.users = texts("auth_users", value)?,
            "xkey" | "key" => {
                let xkey = text(key, value)?;
                if !is_public(Kind::Curve, &xkey) {
                    return Err(value.fault(format!(
                        "Expected callout xkey to be a valid public xkey, got {xkey:?}"
                    )));
                }
                said.xkey = Some(xkey);
            }
            "allowed_accounts" => {
                said.allowed_accounts = texts("allowed accounts", value)?;
                said.allowed_at = Some(value.clone());
            }
            _ if value.referenced.get() => {}
            _ => faults
                .push(value.fault(format!("Unknown field {key:?} parsing authorization callout"))),
        }
    }
    let end = in_order(map).last().map_or(value, |(_, last)| *last);
    if said.issuer.is_empty() {
        return Err(end.fault("Authorization callouts require an issuer to be specified"));
    }
    if said.users.is_empty() {
        return Err(end.fault("Authorization callouts require authorized users to be specified"));
    }
    Ok(said)
}

fn texts(what: &str, value: &Value) -> Result<Vec<String>, Fault> {
    let Data::Array(items) = &value.data else {
        let noun = value.data.noun();
        return Err(value.fault(format!("Expected {what} field to be an array, got {noun}")));
    };
    items.iter().map(|item| text(what, item)).collect()
}

impl Said {
    /// Those it names that are not `known`.
    pub fn missing_accounts(&self, known: impl Fn(&str) -> bool) -> Option<Fault> {
        let name = self.allowed_accounts.iter().find(|name| !known(name))?;
        let message =
            format!("auth_callout allowed account {name:?} not found in configured accounts");
        Some(self.allowed_at.as_ref()?.fault(message))
    }

    /// # Errors
    /// One line: its account is not there.
    pub fn of(&self, access: &Access) -> Result<Callout, String> {
        let name = if self.account.is_empty() { AccountId::GLOBAL_NAME } else { &self.account };
        let account = access
            .find_account(name)
            .ok_or_else(|| format!("Authorization callout account {name:?} not valid"))?;
        if access.system.is_none() {
            return Err("auth_callout needs the system account: remove no_system_account".into());
        }
        Ok(Callout {
            account,
            issuer: self.issuer.as_str().into(),
            users: self.users.iter().map(|user| user.as_str().into()).collect(),
            xkey: self.xkey.as_deref().map(Into::into),
            allowed_accounts: self.allowed_accounts.iter().map(|it| it.as_str().into()).collect(),
        })
    }
}
