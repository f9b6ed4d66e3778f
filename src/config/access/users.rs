//! `users: [ {user: u, password: p, permissions { … }}, {nkey: U…} ]`

use runtime::AccountId;
use runtime::access::{ConnectionTypes, Proof, Secret, User};

use super::{Reader, Shared, expected, in_order, not_behind_proxies, permissions, secret, text};
use crate::config::schema::unknown;
use crate::config::value::{Data, Fault, Map, Value};

/// One user, wherever it belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    proof: Proof,
    permissions: Option<Shared>,
    connection_types: ConnectionTypes,
}

const KEYS: [&str; 6] =
    ["user", "username", "password", "nkey", "permissions", "allowed_connection_types"];

impl Entry {
    /// The user, in this account.
    pub fn of(&self, account: AccountId) -> User {
        User {
            name: self.name.as_str().into(),
            proof: self.proof.clone(),
            account,
            permissions: self.permissions.clone(),
            connection_types: self.connection_types,
            limits: Default::default(),
        }
    }

    /// What is wrong if there is another one of the name.
    pub fn duplicate(&self) -> String {
        let kind = if matches!(self.proof, Proof::Nkey(_)) { "nkey" } else { "user" };
        format!("Duplicate {kind} {:?} detected", self.name)
    }
}

/// Users without permissions of their own get these.
pub fn apply_defaults<'e>(
    users: impl IntoIterator<Item = &'e mut Entry>,
    defaults: Option<&Shared>,
) {
    for user in users {
        user.permissions = user.permissions.take().or_else(|| defaults.cloned());
    }
}

pub fn read(value: &Value, reader: &mut Reader<'_>) -> Result<Vec<Entry>, Fault> {
    let Data::Array(items) = &value.data else {
        let noun = value.data.noun();
        return Err(value.fault(format!("Expected users field to be an array, got {noun}")));
    };
    let mut users = Vec::new();
    for item in items.iter() {
        match &item.data {
            Data::Map(map) => users.push(entry(item, map, reader)?),
            data => {
                let noun = data.noun();
                let message = format!("Expected user entry to be a map/struct, got {noun}");
                reader.errors.push(item.fault(message));
            }
        }
    }
    Ok(users)
}

fn entry(item: &Value, map: &Map, reader: &mut Reader<'_>) -> Result<Entry, Fault> {
    let (mut name, mut nkey) = (String::new(), String::new());
    let (mut pass, mut permissions) = (Secret::new(""), None);
    let mut connection_types = ConnectionTypes::ANY;
    // nats-server complains of the entry where the last of its values is.
    let mut last = item;
    for (key, value) in in_order(map) {
        last = value;
        match key.to_lowercase().as_str() {
            "nkey" => nkey = text(key, value)?,
            "user" | "username" => name = text(key, value)?,
            "pass" | "password" => pass = secret(key, value)?,
            "permission" | "permissions" | "authorization" => {
                match permissions::read(value, reader) {
                    Ok(found) => permissions = Some(found),
                    Err(fault) => reader.errors.push(fault),
                }
            }
            "allowed_connection_types" | "connection_types" | "clients" => {
                connection_types = types(value, reader);
            }
            "proxy_required" => not_behind_proxies(key, value)?,
            _ if value.referenced.get() => {}
            _ => reader.errors.push(value.fault(unknown("field", key, KEYS.into_iter()))),
        }
    }
    if nkey.is_empty() {
        if name.is_empty() {
            return Err(last.fault("User entry requires a user"));
        }
        return Ok(Entry { name, proof: Proof::Password(pass), permissions, connection_types });
    }
    let is_user = nkey.starts_with('U') && nkeys::KeyPair::from_public_key(&nkey).is_ok();
    let Some(proof) = Proof::nkey(&nkey).filter(|_| is_user) else {
        return Err(last.fault("Not a valid public nkey for a user"));
    };
    if !name.is_empty() || !pass.is_empty() {
        return Err(last.fault("Nkey users do not take usernames or passwords"));
    }
    Ok(Entry { name: nkey, proof, permissions, connection_types })
}

/// An empty list allows all kinds.
fn types(value: &Value, reader: &mut Reader<'_>) -> ConnectionTypes {
    let Data::Array(items) = &value.data else {
        let fault = expected("allowed connection types", "an array of strings", value);
        reader.errors.push(fault);
        return ConnectionTypes::ANY;
    };
    let mut types = ConnectionTypes::NONE;
    for item in items.iter() {
        match text("allowed connection types", item) {
            Ok(name) => match ConnectionTypes::named(&name) {
                Some(kind) => types = types.with(kind),
                None => {
                    reader.errors.push(value.fault(format!("unknown connection type {name:?}")))
                }
            },
            Err(fault) => reader.errors.push(fault),
        }
    }
    if types == ConnectionTypes::NONE { ConnectionTypes::ANY } else { types }
}
