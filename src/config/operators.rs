//! Operators, accounts and users with tokens, as a file says it: `operator`, `resolver` and the
//! keys that belong to them.

mod resolver;

use runtime::identity::{Kind, Words, decode_account, is_public, operator_token};

use super::access::Reader;
use super::value::{Data, Fault, Value};

/// The keys that [`take`] knows.
pub const NAMES: [&str; 15] = [
    "operator",
    "operators",
    "roots",
    "root",
    "root_operators",
    "root_operator",
    "trusted",
    "trusted_keys",
    "resolver",
    "account_resolver",
    "accounts_resolver",
    "resolver_tls",
    "resolver_preload",
    "resolver_pinned_accounts",
    "default_sentinel",
];

/// Reads a top-level key. False if it is about something else.
pub fn take(words: &mut Words, key: &str, value: &Value, reader: &mut Reader<'_>) -> bool {
    let result = match key.to_lowercase().as_str() {
        "operator" | "operators" | "roots" | "root" | "root_operators" | "root_operator" => {
            operators(words, value, reader.errors)
        }
        "trusted" | "trusted_keys" => trusted(words, value, reader.errors),
        "resolver" | "account_resolver" | "accounts_resolver" => {
            resolver::read(value, reader.errors).map(|place| words.place = place)
        }
        "resolver_tls" => Err(value.fault(format!(
            "{key} is not supported yet: the resolver's certificate is checked against the \
             system's authorities; remove it"
        ))),
        "resolver_preload" => preload(words, value, reader.errors),
        "resolver_pinned_accounts" => pinned(words, value, reader.errors),
        "default_sentinel" => match &value.data {
            Data::Text(token) => {
                words.sentinel = Some(token.clone()).filter(|token| !token.is_empty());
                Ok(())
            }
            other => {
                Err(value.fault(format!("default_sentinel expects a string, got {}", other.noun())))
            }
        },
        _ => return false,
    };
    reader.errors.extend(result.err());
    true
}

/// One string or several, each with the place to blame.
fn texts(
    what: &str,
    value: &Value,
    faults: &mut Vec<Fault>,
) -> Result<Vec<(String, Value)>, Fault> {
    let unsupported = |place: &Value, found: &Value| {
        place.fault(format!("error parsing {what}: unsupported type {}", found.data.noun()))
    };
    match &value.data {
        Data::Text(text) => Ok(vec![(text.clone(), value.clone())]),
        Data::Array(items) => {
            let mut found = Vec::new();
            for item in items.iter() {
                match &item.data {
                    Data::Text(text) => found.push((text.clone(), item.clone())),
                    _ => faults.push(unsupported(item, item)),
                }
            }
            Ok(found)
        }
        _ => Err(unsupported(value, value)),
    }
}

fn operators(words: &mut Words, value: &Value, faults: &mut Vec<Fault>) -> Result<(), Fault> {
    words.operators.clear();
    for (word, _) in texts("operators", value, faults)? {
        match operator_token(&word) {
            Ok(token) => words.operators.push(token),
            Err(why) => faults.push(value.fault(why)),
        }
    }
    Ok(())
}

fn trusted(words: &mut Words, value: &Value, faults: &mut Vec<Fault>) -> Result<(), Fault> {
    let found = texts("trusted", value, faults)?;
    for (key, place) in &found {
        if !is_public(Kind::Operator, key) {
            faults.push(
                place.fault(format!(
                    "trust key {key:?} required to be a valid public operator nkey"
                )),
            );
        }
    }
    words.trusted_keys = found.into_iter().map(|(key, _)| key).collect();
    Ok(())
}

fn preload(words: &mut Words, value: &Value, faults: &mut Vec<Fault>) -> Result<(), Fault> {
    let Data::Map(map) = &value.data else {
        return Err(value.fault("preload should be a map of account_public_key:account_jwt"));
    };
    words.preload.clear();
    for (account, value) in map.iter() {
        match &value.data {
            Data::Text(token) if decode_account(token).is_ok() => {
                words.preload.insert(account.clone(), token.clone());
            }
            Data::Text(_) => faults.push(value.fault("invalid account JWT")),
            _ => faults.push(value.fault("preload map value should be a string JWT")),
        }
    }
    Ok(())
}

fn pinned(words: &mut Words, value: &Value, faults: &mut Vec<Fault>) -> Result<(), Fault> {
    let found = texts("resolver_pinned_accounts", value, faults)?;
    words.pinned = found.into_iter().map(|(key, _)| key).collect();
    Ok(())
}
