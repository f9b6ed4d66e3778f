//! What an account says of its subjects: exports, imports, mappings, limits. Its users are a matter
//! of `authorization`: whoever reads `accounts` offers each key that is not about users to
//! [`Words::take`], gives all words to [`agree`] in the end, and what comes of it to
//! `Access::bind`.

mod agree;
mod exports;
mod imports;
mod limits;
mod mappings;

use std::rc::Rc;

use runtime::account::{Limits, Mappings};
use runtime::identity::{Kind, is_public};

use super::schema::unknown;
use super::value::{Data, Fault, Map, Value};
use exports::Export;
use imports::Import;

pub use agree::agree;
pub use mappings::read as read_mappings;

/// One account's words, apart from those about its users.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Words {
    exports: Vec<Export>,
    imports: Vec<Import>,
    /// Where published subjects really go.
    pub mappings: Mappings,
    /// What it may use.
    pub limits: Limits,
}

/// Names of the keys that [`Words::take`] knows.
pub const KEYS: &[&str] = &[
    "exports",
    "imports",
    "mappings",
    "maps",
    "limits",
    "jetstream",
    "nkey",
    "msg_trace",
    "trace_dest",
];

impl Words {
    /// Reads a key of an account. False if it is no business of this.
    pub fn take(&mut self, key: &str, value: &Value, faults: &mut Vec<Fault>) -> bool {
        match key.to_lowercase().as_str() {
            "exports" => self.exports.extend(exports::read(value, faults)),
            "imports" => self.imports.extend(imports::read(value, faults)),
            "mappings" | "maps" => self.mappings = mappings::read(value, faults),
            "limits" => self.limits = limits::read(value, faults),
            "jetstream" if is_off(&value.data) => {}
            "jetstream" => faults.push(unsupported(value, key, "nothing is stored; remove it")),
            // Nothing goes by it, in nats-server either.
            "nkey" => match &value.data {
                Data::Text(text) if is_public(Kind::Account, text) => {}
                _ => faults.push(value.fault("Not a valid public nkey for an account")),
            },
            "msg_trace" | "trace_dest" => {
                faults.push(unsupported(value, key, "messages are not traced; remove it"));
            }
            _ => return false,
        }
        true
    }
}

fn is_off(data: &Data) -> bool {
    match data {
        Data::Bool(on) => !on,
        Data::Text(text) => {
            text.eq_ignore_ascii_case("disabled") || text.eq_ignore_ascii_case("disable")
        }
        _ => false,
    }
}

fn unsupported(value: &Value, key: &str, advice: &str) -> Fault {
    value.fault(format!("{key} is not supported yet: {advice}"))
}

/// `allow_trace` matters only to traced messages.
fn check_trace(value: &Value) -> Result<(), Fault> {
    match value.data {
        Data::Bool(false) => Ok(()),
        Data::Bool(true) => {
            Err(unsupported(value, "allow_trace", "messages are not traced; remove it"))
        }
        _ => Err(value.fault(format!("allow_trace expects true or false, got {}", noun(value)))),
    }
}

fn noun(value: &Value) -> &'static str {
    value.data.noun()
}

fn text<'v>(value: &'v Value, what: &str) -> Result<&'v str, Fault> {
    match &value.data {
        Data::Text(text) => Ok(text),
        _ => Err(value.fault(format!("{what} expects a string, got {}", noun(value)))),
    }
}

fn array(value: &Value, what: &str) -> Result<Rc<[Value]>, Fault> {
    match &value.data {
        Data::Array(items) => Ok(items.clone()),
        _ => Err(value.fault(format!("{what} expects an array, got {}", noun(value)))),
    }
}

fn map(value: &Value, what: &str) -> Result<Rc<Map>, Fault> {
    match &value.data {
        Data::Map(map) => Ok(map.clone()),
        _ => Err(value.fault(format!("{what} expects a map, got {}", noun(value)))),
    }
}

/// A map's entries as they stand in the file.
fn ordered(map: &Map) -> Vec<(&String, &Value)> {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by_key(|(_, value)| (value.at.line, value.at.column));
    entries
}

/// A key that nobody knows is no mistake if a variable refers to it.
fn check_known(key: &str, value: &Value, known: &[&str]) -> Result<(), Fault> {
    match value.referenced.get() {
        true => Ok(()),
        false => Err(value.fault(unknown("field", key, known.iter().copied()))),
    }
}
