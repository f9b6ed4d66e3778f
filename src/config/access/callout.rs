//! `auth_callout { issuer: A…, auth_users: [auth], account: AUTH, xkey: X…, allowed_accounts: [] }`

use runtime::AccountId;
use runtime::access::{Access, Callout};
use runtime::identity::{Kind, is_public};

use super::{in_order, text};
use crate::config::value::{Data, Fault, Position, Value};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    issuer: String,
    account: String,
    users: Vec<String>,
    xkey: Option<String>,
    allowed_accounts: Vec<String>,
    allowed_at: Option<Value>,
    at: At,
}

/// Places that faults name. Who says the same elsewhere says the same.
#[derive(Clone, Debug, Default)]
struct At {
    callout: Option<Position>,
    account: Option<Position>,
}

impl PartialEq for At {
    fn eq(&self, _: &At) -> bool {
        true
    }
}

pub fn read(value: &Value, faults: &mut Vec<Fault>) -> Result<Said, Fault> {
    let Data::Map(map) = &value.data else {
        let noun = value.data.noun();
        return Err(
            value.fault(format!("Expected authorization callout to be a map/struct, got {noun}"))
        );
    };
    let mut said = Said::default();
    said.at.callout = Some(value.at.clone());
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
            "account" | "acc" => {
                said.account = text(key, value)?;
                said.at.account = Some(value.at.clone());
            }
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
    /// Its account is not there, or that of the server.
    pub fn of(&self, access: &Access) -> Result<Callout, Fault> {
        let fault = |at: &Option<Position>, message| Fault { at: at.clone(), message };
        let name = if self.account.is_empty() { AccountId::GLOBAL_NAME } else { &self.account };
        let missing = || format!("Authorization callout account {name:?} not valid");
        let account =
            access.find_account(name).ok_or_else(|| fault(&self.at.account, missing()))?;
        if access.system.is_none() {
            let message = "auth_callout needs the system account: remove no_system_account";
            return Err(fault(&self.at.callout, message.to_string()));
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
