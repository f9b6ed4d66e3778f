//! `authorization { user: u, password: p }`, `{ token: t }` or `{ users: [ … ] }`.

use runtime::access::Secret;

use super::callout;
use super::users::{self, Entry};
use super::{Reader, Shared, expected, in_order, not_behind_proxies, permissions, secret, text};
use crate::config::duration;
use crate::config::schema::unknown;
use crate::config::value::{Data, Fault, Value};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Authorization {
    pub user: Option<String>,
    pub pass: Option<Secret>,
    pub token: Option<Secret>,
    /// None said, not none there.
    pub users: Option<Vec<Entry>>,
    pub timeout_ns: Option<u64>,
    pub callout: Option<callout::Said>,
}

const KEYS: [&str; 7] =
    ["user", "username", "password", "token", "timeout", "users", "default_permissions"];
/// A longer timeout is a mistake more often than not.
const TIMEOUT_ADVISED_MAX_S: f64 = 60.0;
/// What a client can't wait for anyway.
const TIMEOUT_MAX_S: f64 = 1e9;

impl Authorization {
    pub fn read(value: &Value, reader: &mut Reader<'_>) -> Result<Authorization, Fault> {
        let (mut found, defaults) = Authorization::read_apart(value, reader)?;
        users::apply_defaults(found.users.iter_mut().flatten(), defaults.as_ref());
        Ok(found)
    }

    /// The permissions of those who have none of their own apart from the rest.
    pub fn read_apart(
        value: &Value,
        reader: &mut Reader<'_>,
    ) -> Result<(Authorization, Option<Shared>), Fault> {
        let Data::Map(map) = &value.data else {
            return Err(expected("authorization", "a map", value));
        };
        let (mut found, mut defaults) = (Authorization::default(), None);
        for (key, value) in in_order(map) {
            match key.to_lowercase().as_str() {
                "user" | "username" => found.user = Some(text(key, value)?),
                "pass" | "password" => found.pass = Some(secret(key, value)?),
                "token" => found.token = Some(secret(key, value)?),
                "timeout" => found.timeout_ns = timeout(key, value, reader)?,
                "users" => match users::read(value, reader) {
                    Ok(users) => found.users = Some(users),
                    Err(fault) => reader.errors.push(fault),
                },
                "default_permission" | "default_permissions" | "permissions" => {
                    match permissions::read(value, reader) {
                        Ok(permissions) => defaults = Some(permissions),
                        Err(fault) => reader.errors.push(fault),
                    }
                }
                "proxy_required" => not_behind_proxies(key, value)?,
                "auth_callout" | "auth_hook" => {
                    found.callout = Some(callout::read(value, reader.errors)?);
                }
                _ if value.referenced.get() => {}
                _ => reader.errors.push(value.fault(unknown("field", key, KEYS.into_iter()))),
            }
        }
        Ok((found, defaults))
    }

    /// What can't be said together, and users that there are already.
    pub fn check(&self, value: &Value, known: &[&str]) -> Result<(), Fault> {
        let has_user = is_said(&self.user);
        let has_pass = self.pass.as_ref().is_some_and(|pass| !pass.is_empty());
        let has_token = self.token.as_ref().is_some_and(|token| !token.is_empty());
        if (has_user || has_pass) && has_token {
            return Err(value.fault("Cannot have a user/pass and token"));
        }
        if self.users.is_none() && known.is_empty() {
            return Ok(());
        }
        if has_user {
            return Err(value.fault("Can not have a single user/pass and a users array"));
        }
        if has_token {
            return Err(value.fault("Can not have a token and a users array"));
        }
        let mut seen = known.to_vec();
        for user in self.users.iter().flatten() {
            if seen.contains(&user.name.as_str()) {
                return Err(value.fault(user.duplicate()));
            }
            seen.push(&user.name);
        }
        Ok(())
    }

    /// What accounts with users do not go with.
    pub fn clash(&self) -> Option<&'static str> {
        if is_said(&self.user) {
            return Some("single user/pass");
        }
        self.token.as_ref().filter(|token| !token.is_empty()).map(|_| "token")
    }

    pub fn has(&self, name: &str) -> bool {
        self.users.iter().flatten().any(|user| user.name == name)
    }
}

fn is_said(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}

/// Seconds, or a duration; 0 is the default.
fn timeout(key: &str, value: &Value, reader: &mut Reader<'_>) -> Result<Option<u64>, Fault> {
    let wrong = "error parsing authorization config, 'timeout'";
    let (seconds, shown) = match &value.data {
        Data::Integer(seconds) => (*seconds as f64, seconds.to_string()),
        Data::Float(seconds) => (*seconds, seconds.to_string()),
        Data::Text(text) => {
            let ns = duration::parse(text).map_err(|why| value.fault(format!("{wrong} {why}")))?;
            (ns as f64 / 1e9, text.clone())
        }
        _ => return Err(value.fault(format!("{wrong} wrong type"))),
    };
    if seconds > TIMEOUT_ADVISED_MAX_S {
        reader.warnings.push(value.fault(format!(
            "invalid use of field {key:?}: timeout of {shown} ({seconds:.6} seconds) is high, \
             consider keeping it under 60 seconds. possibly caused by unquoted duration; \
             use '1m' instead of 1m, for example"
        )));
    }
    if seconds < 0.0 {
        return Err(value.fault(format!("{key} can not be negative, got {shown}")));
    }
    let ns = (seconds.min(TIMEOUT_MAX_S) * 1e9) as u64;
    Ok(Some(ns).filter(|ns| *ns > 0))
}
