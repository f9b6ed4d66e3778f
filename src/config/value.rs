//! The tree both configuration syntaxes are read into: what a file says, and where it says it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// A place in a configuration file. Line and column count from 1; columns count bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub file: Rc<str>,
    pub line: u32,
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Keys sort by their bytes, which is the order the digest needs.
pub type Map = BTreeMap<String, Value>;

#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// Zulu time, as written.
    Date(String),
    Array(Rc<[Value]>),
    Map(Rc<Map>),
}

impl Data {
    /// What an operator calls this kind of value.
    pub fn noun(&self) -> &'static str {
        match self {
            Data::Text(_) => "a string",
            Data::Integer(_) => "a whole number",
            Data::Float(_) => "a decimal number",
            Data::Bool(_) => "a boolean",
            Data::Date(_) => "a date",
            Data::Array(_) => "an array",
            Data::Map(_) => "a map",
        }
    }
}

/// A value and the place an error about it should name: its key's, or its own inside an array.
#[derive(Clone, Debug)]
pub struct Value {
    pub data: Data,
    pub at: Position,
    /// Some variable refers to this value, so its key need not be an option.
    pub referenced: Cell<bool>,
}

impl Value {
    pub fn new(data: Data, at: Position) -> Value {
        Value { data, at, referenced: Cell::new(false) }
    }

    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault { at: Some(self.at.clone()), message: message.into() }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.data == other.data
    }
}

/// An operator's mistake: where it is and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `None` when the mistake is the file itself (missing, empty).
    pub at: Option<Position>,
    pub message: String,
}

impl Fault {
    pub fn nowhere(message: impl Into<String>) -> Fault {
        Fault { at: None, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some(at) => write!(f, "{at}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}
