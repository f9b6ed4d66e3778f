//! Who may come in, as a file says it: `authorization`, `accounts`, `no_auth_user` and
//! `system_account`, and what comes of them together.

mod authorization;
mod callout;
mod permissions;
mod routes;
mod users;

use std::sync::Arc;

use runtime::AccountId;
use runtime::access::{Access, ConnectionTypes, Permissions, Proof, SYSTEM_NAME, Secret, User};
use runtime::account::{Limits, Mappings, Ties};
use runtime::identity::{Beside, Words as Tokens};

use super::accounts::{self, Words};
use super::schema::unknown;
use super::value::{Data, Fault, Map, Value};
use authorization::Authorization;
pub use routes::{check_routes_authorization, check_routes_permissions};
use users::Entry;

/// What a file says about access.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    authorization: Option<Authorization>,
    accounts: Vec<Account>,
    /// Where `accounts` stands.
    accounts_at: Option<Value>,
    /// Of the global account.
    mappings: Mappings,
    no_auth_user: Option<String>,
    /// Where that stands.
    nobody_at: Option<Value>,
    system_account: Option<String>,
    /// Where that stands.
    system_at: Option<Value>,
    no_system_account: bool,
}

/// Credentials of the command line; they go before those of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags {
    pub user: Option<String>,
    pub pass: Option<Secret>,
    pub token: Option<Secret>,
}

/// One of `accounts`.
#[derive(Clone, Debug, PartialEq)]
struct Account {
    name: String,
    users: Vec<Entry>,
    words: Words,
}

/// The user that nobody asked for, where only the system account has any.
const ANYBODY: &str = "nats-anybody";

/// A key's faults and warnings go here.
pub struct Reader<'f> {
    pub errors: &'f mut Vec<Fault>,
    pub warnings: &'f mut Vec<Fault>,
}

/// The keys that [`Said::take`] knows.
pub const NAMES: [&str; 10] = [
    "mappings",
    "maps",
    "authorization",
    "accounts",
    "no_auth_user",
    "system_account",
    "system",
    "no_system_account",
    "no_system",
    "no_sys_acc",
];

impl Said {
    /// Reads a top-level key. False if it is about something else.
    pub fn take(&mut self, key: &str, value: &Value, reader: &mut Reader<'_>) -> bool {
        let result = match key.to_lowercase().as_str() {
            "authorization" => self.take_authorization(value, reader),
            "accounts" => self.take_accounts(value, reader),
            "mappings" | "maps" => {
                self.mappings = accounts::read_mappings(value, reader.errors);
                Ok(())
            }
            "no_auth_user" => text(key, value).map(|name| {
                self.no_auth_user = Some(name);
                self.nobody_at = Some(value.clone());
            }),
            "system_account" => text(key, value).map(|name| {
                self.system_account = Some(name);
                self.system_at = Some(value.clone());
            }),
            "system" => text(key, value).map(|name| {
                self.system_account.get_or_insert(name);
                self.system_at.get_or_insert(value.clone());
            }),
            "no_system_account" | "no_system" | "no_sys_acc" => {
                flag(key, value).map(|on| self.no_system_account = on)
            }
            _ => return false,
        };
        reader.errors.extend(result.err());
        true
    }

    fn take_authorization(&mut self, value: &Value, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let found = Authorization::read(value, reader)?;
        let others = self.accounts.iter().flat_map(|account| &account.users);
        let known: Vec<&str> = others.map(|user| user.name.as_str()).collect();
        found.check(value, &known)?;
        self.authorization = Some(found);
        Ok(())
    }

    fn take_accounts(&mut self, value: &Value, reader: &mut Reader<'_>) -> Result<(), Fault> {
        match &value.data {
            Data::Array(names) => {
                for value in names.iter() {
                    match text("account", value) {
                        Ok(name) => self.add_account(name, value, reader),
                        Err(fault) => reader.errors.push(fault),
                    }
                }
            }
            Data::Map(accounts) => {
                for (name, value) in in_order(accounts) {
                    if value.referenced.get() {
                        continue;
                    }
                    match &value.data {
                        Data::Map(map) => self.take_account(name, value, map, reader),
                        _ => reader.errors.push(value.fault("Expected map entries for accounts")),
                    }
                }
            }
            _ => return Err(expected("accounts", "names or a map of accounts", value)),
        }
        if reader.errors.is_empty() {
            // The numbers are others in the end; whether all fits together is not.
            let ids = (1..).map(AccountId).take(self.accounts.len());
            let list = self.accounts.iter().zip(ids);
            let list: Vec<_> = list.map(|(it, id)| (&*it.name, id, &it.words)).collect();
            accounts::agree(&list, list.len() + 1, value, reader.errors);
        }
        self.accounts_at = Some(value.clone());
        Ok(())
    }

    fn add_account(&mut self, name: String, value: &Value, reader: &mut Reader<'_>) {
        if name == AccountId::GLOBAL_NAME {
            return reader.errors.push(value.fault(format!("{name:?} is a Reserved Account")));
        }
        if self.accounts.iter().any(|account| account.name == name) {
            let message = format!("Duplicate Account Entry: {name}");
            return reader.errors.push(value.fault(message));
        }
        self.accounts.push(Account { name, users: Vec::new(), words: Words::default() });
    }

    fn take_account(&mut self, name: &str, value: &Value, map: &Map, reader: &mut Reader<'_>) {
        let before = self.accounts.len();
        self.add_account(name.to_string(), value, reader);
        if self.accounts.len() == before {
            return;
        }
        let (mut found, mut defaults, mut users_at) = (Vec::new(), None, value);
        let mut words = Words::default();
        for (key, value) in in_order(map) {
            match key.to_lowercase().as_str() {
                "users" => {
                    users_at = value;
                    match users::read(value, reader) {
                        Ok(users) => found = users,
                        Err(fault) => reader.errors.push(fault),
                    }
                }
                "default_permissions" => match permissions::read(value, reader) {
                    Ok(permissions) => defaults = Some(permissions),
                    Err(fault) => reader.errors.push(fault),
                },
                _ if words.take(key, value, reader.errors) => {}
                _ if value.referenced.get() => {}
                _ => {
                    let known = ACCOUNT_KEYS.into_iter().chain(accounts::KEYS.iter().copied());
                    reader.errors.push(value.fault(unknown("field", key, known)));
                }
            }
        }
        if let Some(account) = self.accounts.last_mut() {
            account.words = words;
        }
        users::apply_defaults(&mut found, defaults.as_ref());
        self.add_users(found, users_at, reader);
    }

    fn add_users(&mut self, found: Vec<Entry>, value: &Value, reader: &mut Reader<'_>) {
        if let Some(authorization) = self.authorization.as_ref().filter(|_| !found.is_empty())
            && let Some(clash) = authorization.clash()
        {
            return reader.errors.push(value.fault(format!("Can not have a {clash} and accounts")));
        }
        for user in found {
            let mut known = self.accounts.iter().flat_map(|account| &account.users);
            let there = self.authorization.as_ref().is_some_and(|a| a.has(&user.name));
            if there || known.any(|other| other.name == user.name) {
                reader.errors.push(value.fault(user.duplicate()));
            } else if let Some(account) = self.accounts.last_mut() {
                account.users.push(user);
            }
        }
    }

    /// Who a client is that shows no credentials.
    pub fn no_auth_user(&self) -> &str {
        self.no_auth_user.as_deref().unwrap_or_default()
    }

    /// There is no system account.
    pub fn no_system_account(&self) -> bool {
        self.no_system_account
    }

    /// Accounts that `auth_callout` names and nobody has configured.
    pub fn missing_accounts(&self) -> Vec<Fault> {
        let callout = self.authorization.iter().filter_map(|it| it.callout.as_ref());
        let known = |name: &str| self.accounts.iter().any(|account| account.name == name);
        callout.flat_map(|callout| callout.missing_accounts(known)).collect()
    }

    /// It says how long a client may take.
    pub fn has_timeout(&self) -> bool {
        self.authorization.as_ref().is_some_and(|it| it.timeout_ns.is_some())
    }

    /// All that is said of tokens, with what stands beside it.
    pub fn with_tokens(&self, tokens: &Tokens) -> Tokens {
        let users = self.authorization.as_ref().and_then(|it| it.users.as_ref());
        let of_accounts = self.accounts.iter().any(|account| !account.users.is_empty());
        Tokens {
            system_account: self.system_account.clone().filter(|name| !name.is_empty()),
            beside: Beside {
                accounts: !self.accounts.is_empty(),
                users: of_accounts || users.is_some_and(|users| !users.is_empty()),
                callout: self.authorization.as_ref().is_some_and(|it| it.callout.is_some()),
                nobody: self.no_auth_user.as_ref().is_some_and(|name| !name.is_empty()),
            },
            ..tokens.clone()
        }
    }

    /// What the server runs with, or goes on with after `before`. Accounts of `tokens` come in
    /// later, apart from the system account.
    ///
    /// # Errors
    /// One line: an account or a user that is named is not there.
    pub fn resolve(
        &self,
        flags: &Flags,
        tokens: &Tokens,
        before: Option<&Access>,
    ) -> Result<Access, String> {
        // Connections, and messages between cores, know accounts by number.
        let mut access = before.map(Access::after).unwrap_or_default();
        self.resolve_accounts(&mut access, tokens)?;
        if !tokens.is_empty() {
            access.believe_tokens();
        }
        let authorization = self.authorization.clone().unwrap_or_default();
        for account in &self.accounts {
            let id = access.account(&account.name);
            account.users.iter().for_each(|user| access.add_user(user.of(id)));
        }
        let own = authorization.users.iter().flatten();
        own.for_each(|user| access.add_user(user.of(AccountId::GLOBAL)));
        let name = flags.user.clone().or(authorization.user).unwrap_or_default();
        let pass = flags.pass.clone().or(authorization.pass);
        access.token = flags.token.clone().or(authorization.token).filter(|it| !it.is_empty());
        if !name.is_empty() {
            access.single = Some((name.into(), pass.unwrap_or_else(|| Secret::new(""))));
        }
        access.required |= access.token.is_some() || access.single.is_some();
        if let Some(ns) = authorization.timeout_ns {
            access.auth_timeout_ns = ns;
        }
        if let Some(said) = &authorization.callout {
            let callout = said.of(&access).map_err(|fault| fault.to_string())?;
            access.leave_to(callout);
        }
        self.resolve_nobody(&mut access)?;
        self.bind(&mut access)?;
        access.open_system();
        if let Some(before) = before {
            access.recognise(before);
        }
        Ok(access)
    }

    /// What accounts have agreed with each other, and what they may use.
    fn bind(&self, access: &mut Access) -> Result<(), String> {
        let ids = self.accounts.iter().map(|account| access.account(&account.name));
        let ids: Vec<AccountId> = ids.collect();
        let list = self.accounts.iter().zip(&ids);
        let list: Vec<_> = list.map(|(it, id)| (&*it.name, *id, &it.words)).collect();
        let mut ties = vec![Ties::default(); access.accounts().len()];
        if let Some(at) = &self.accounts_at {
            let mut faults = Vec::new();
            ties = accounts::agree(&list, ties.len(), at, &mut faults);
            if let Some(fault) = faults.first() {
                return Err(fault.to_string());
            }
        }
        for (account, id) in self.accounts.iter().zip(ids) {
            let mut ties = std::mem::take(&mut ties[id.0 as usize]);
            ties.mappings = account.words.mappings.clone();
            access.bind(id, ties, account.words.limits);
        }
        let mut ties = std::mem::take(&mut ties[AccountId::GLOBAL.0 as usize]);
        ties.mappings = self.mappings.clone();
        access.bind(AccountId::GLOBAL, ties, Limits::default());
        Ok(())
    }

    fn resolve_accounts(&self, access: &mut Access, tokens: &Tokens) -> Result<(), String> {
        if self.no_system_account {
            return Ok(());
        }
        let said = tokens.system_account.as_ref().or(self.system_account.as_ref());
        let name = said.filter(|name| !name.is_empty()).map_or(SYSTEM_NAME, String::as_str);
        let known = !tokens.is_empty()
            || [AccountId::GLOBAL_NAME, SYSTEM_NAME].contains(&name)
            || self.accounts.iter().any(|account| account.name == name);
        if !known {
            let why = format!(
                "error resolving system account: account missing: define {name:?} in accounts, \
                 or name one that is there"
            );
            return Err(at(self.system_at.as_ref(), why));
        }
        access.system = Some(access.account(name));
        Ok(())
    }

    /// Who a client is that says nothing of itself.
    fn resolve_nobody(&self, access: &mut Access) -> Result<(), String> {
        if let Some(name) = self.no_auth_user.as_deref().filter(|name| !name.is_empty()) {
            if access.users().is_empty() {
                let why = format!(
                    "no_auth_user: {name:?} present, but users/nkeys are not defined: define it \
                     in users, or remove it"
                );
                return Err(at(self.nobody_at.as_ref(), why));
            }
            if !access.let_in_as(name) {
                let why = format!(
                    "no_auth_user: {name:?} not present as user or nkey in authorization block \
                     or account configuration: name one that is there, or remove it"
                );
                return Err(at(self.nobody_at.as_ref(), why));
            }
            access.is_open = true;
            return Ok(());
        }
        let only_system = self.accounts.len() == 1
            && access.system == access.find_account(&self.accounts[0].name);
        if only_system && self.authorization.is_none() {
            access.add_user(User {
                name: ANYBODY.into(),
                proof: Proof::Password(Secret::new(ANYBODY)),
                account: AccountId::GLOBAL,
                permissions: None,
                connection_types: ConnectionTypes::ANY,
                limits: Default::default(),
            });
            access.let_in_as(ANYBODY);
        }
        Ok(())
    }
}

/// Some password is there for everybody to read who reads the file or the command line.
pub fn has_plain_passwords(access: &Access, flags: &Flags, by_certificate: bool) -> bool {
    let single = access.single.iter().map(|(_, secret)| secret).chain(&flags.pass);
    let single = single.filter(|secret| !secret.is_empty());
    let users = access.users().iter().filter(|user| *user.name != *ANYBODY);
    let of_users = users.filter_map(|user| match &user.proof {
        Proof::Password(secret) => Some(secret),
        Proof::Nkey(_) | Proof::Token(_) | Proof::Service => None,
    });
    // Users of certificates need none.
    let of_users = of_users.filter(|secret| !(by_certificate && secret.is_empty()));
    single.chain(of_users).any(|secret| !secret.is_bcrypt())
}

const ACCOUNT_KEYS: [&str; 2] = ["users", "default_permissions"];

/// A map's entries as they stand in the file.
pub fn in_order(map: &Map) -> Vec<(&String, &Value)> {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by_key(|(_, value)| (value.at.line, value.at.column));
    entries
}

/// A line about what stands there, if it stands in a file.
fn at(value: Option<&Value>, message: String) -> String {
    value.map_or_else(|| Fault::nowhere(&*message), |value| value.fault(&*message)).to_string()
}

fn expected(key: &str, what: &str, value: &Value) -> Fault {
    value.fault(format!("{key} expects {what}, got {}", value.data.noun()))
}

/// A string; what is wrong with it does not show it.
fn text(key: &str, value: &Value) -> Result<String, Fault> {
    match &value.data {
        Data::Text(text) => Ok(text.clone()),
        Data::Array(_) | Data::Map(_) => Err(expected(key, "a string", value)),
        _ => Err(expected(key, "a string (put the value in quotes)", value)),
    }
}

fn secret(key: &str, value: &Value) -> Result<Secret, Fault> {
    text(key, value).map(Secret::new)
}

fn flag(key: &str, value: &Value) -> Result<bool, Fault> {
    match value.data {
        Data::Bool(on) => Ok(on),
        _ => Err(expected(key, "true or false, without quotes", value)),
    }
}

/// Refused unless it is off.
fn not_behind_proxies(key: &str, value: &Value) -> Result<(), Fault> {
    match flag(key, value)? {
        false => Ok(()),
        true => Err(value.fault(format!(
            "{key} is not supported yet: no proxy is trusted; remove it, or let no user in"
        ))),
    }
}

type Shared = Arc<Permissions>;

#[cfg(test)]
mod tests;
