//! `imports: [ {stream: {account: X, subject: "a.>"}, prefix: x}, {service: {…}, to: y} ]`

use super::{array, check_known, check_trace, map, noun, ordered, text};
use crate::config::value::{Data, Fault, Value};

/// What an account gets of another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    pub account: String,
    /// There.
    pub subject: String,
    /// Here; empty is the same.
    pub to: String,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Stream {
        /// Empty for none.
        prefix: String,
    },
    Service {
        share: bool,
    },
}

const KEYS: &[&str] = &["stream", "service", "prefix", "to", "share", "allow_trace"];

/// Reads an account's imports.
pub fn read(value: &Value, faults: &mut Vec<Fault>) -> Vec<Import> {
    let items = match array(value, "imports") {
        Ok(items) => items,
        Err(fault) => {
            faults.push(fault);
            return Vec::new();
        }
    };
    let mut imports: Vec<Import> = Vec::new();
    for item in items.iter() {
        match read_one(item, faults) {
            Some(import) if is_twice(&imports, &import) => {
                faults.push(item.fault(format!(
                    "duplicate service import subject {:?}: it goes to account {:?} already",
                    import.local(),
                    import.account
                )));
            }
            Some(import) => imports.push(import),
            None => {}
        }
    }
    imports
}

impl Import {
    /// Its subject here.
    fn local(&self) -> &str {
        if self.to.is_empty() { &self.subject } else { &self.to }
    }
}

fn is_twice(imports: &[Import], import: &Import) -> bool {
    let same = |known: &&Import| {
        matches!(known.what, What::Service { .. })
            && known.account == import.account
            && known.local() == import.local()
    };
    matches!(import.what, What::Service { .. }) && imports.iter().any(|known| same(&known))
}

/// An import's words as they come.
#[derive(Default)]
struct Said {
    stream: Option<(String, String)>,
    service: Option<(String, String)>,
    prefix: String,
    to: String,
    share: bool,
    trace: Option<Value>,
}

fn read_one(item: &Value, faults: &mut Vec<Fault>) -> Option<Import> {
    let entries = match map(item, "an import") {
        Ok(entries) => entries,
        Err(fault) => {
            faults.push(fault);
            return None;
        }
    };
    let mut said = Said::default();
    for (key, value) in ordered(&entries) {
        if let Err(fault) = said.take(key, value) {
            faults.push(fault);
        }
    }
    let Said { stream, service, prefix, to, share, trace } = said;
    if let Some((account, subject)) = stream {
        if !prefix.is_empty() && !to.is_empty() {
            let at = entries.iter().find(|(key, _)| key.eq_ignore_ascii_case("to"));
            let at = at.map_or(item, |(_, value)| value);
            faults.push(at.fault("a stream import has a prefix or a to, not both"));
        }
        return Some(Import { account, subject, to, what: What::Stream { prefix } });
    }
    let (account, subject) = service?;
    if let Some(value) = trace {
        faults.push(value.fault("allow_trace is for streams, not for services"));
    }
    Some(Import { account, subject, to, what: What::Service { share } })
}

impl Said {
    fn take(&mut self, key: &str, value: &Value) -> Result<(), Fault> {
        match key.to_lowercase().as_str() {
            "stream" if self.service.is_some() => {
                return Err(value.fault("an import is a stream or a service, not both"));
            }
            "stream" => self.stream = Some(source(value)?),
            "service" if self.stream.is_some() => {
                return Err(value.fault("an import is a service or a stream, not both"));
            }
            "service" => self.service = Some(source(value)?),
            "prefix" => self.prefix = text(value, "prefix")?.to_string(),
            "to" => self.to = text(value, "to")?.to_string(),
            "share" => {
                let Data::Bool(share) = value.data else {
                    return Err(
                        value.fault(format!("share expects true or false, got {}", noun(value)))
                    );
                };
                self.share = share;
            }
            "allow_trace" => {
                self.trace = Some(value.clone());
                if self.service.is_none() {
                    check_trace(value)?;
                }
            }
            _ => check_known(key, value, KEYS)?,
        }
        Ok(())
    }
}

/// `{account: X, subject: "a.>"}`
fn source(value: &Value) -> Result<(String, String), Fault> {
    let (mut account, mut subject) = (String::new(), String::new());
    for (key, value) in ordered(&*map(value, "an import's source")?) {
        match key.to_lowercase().as_str() {
            "account" => account = text(value, "account")?.to_string(),
            "subject" => subject = text(value, "subject")?.to_string(),
            _ => check_known(key, value, &["account", "subject"])?,
        }
    }
    if account.is_empty() || subject.is_empty() {
        return Err(value.fault("an import needs an account and a subject there"));
    }
    Ok((account, subject))
}
