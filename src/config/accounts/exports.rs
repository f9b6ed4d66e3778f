//! `exports: [ {stream: "a.>"}, {service: "b", accounts: [X], response: stream} ]`

use runtime::account::{Latency, ResponseType, ServiceTerms};

use super::{array, check_known, check_trace, map, noun, ordered, text};
use crate::config::duration;
use crate::config::value::{Data, Fault, Value};

/// What an account lets others have.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    pub subject: String,
    /// Names of accounts; none is everybody.
    pub accounts: Vec<String>,
    pub token_position: usize,
    /// Of a service; a stream has none.
    pub service: Option<ServiceTerms>,
}

const KEYS: &[&str] = &[
    "stream",
    "service",
    "response",
    "response_type",
    "threshold",
    "response_threshold",
    "response_max_time",
    "response_time",
    "accounts",
    "latency",
    "account_token_position",
    "allow_trace",
];

/// Reads an account's exports.
pub fn read(value: &Value, faults: &mut Vec<Fault>) -> Vec<Export> {
    let items = match array(value, "exports") {
        Ok(items) => items,
        Err(fault) => {
            faults.push(fault);
            return Vec::new();
        }
    };
    let mut exports = Vec::new();
    for item in items.iter() {
        let mut said = Said::default();
        match map(item, "an export") {
            Ok(entries) => {
                for (key, value) in ordered(&entries) {
                    if let Err(fault) = said.take(key, value) {
                        faults.push(fault);
                    }
                }
            }
            Err(fault) => faults.push(fault),
        }
        exports.extend(said.into_export(faults));
    }
    exports
}

/// An export's words as they come.
#[derive(Default)]
struct Said {
    stream: Option<String>,
    service: Option<String>,
    accounts: Vec<String>,
    token_position: usize,
    terms: ServiceTerms,
    /// The first word that only a service may have, and where.
    of_service: Option<(Value, &'static str)>,
    has_response: bool,
    has_threshold: bool,
}

impl Said {
    fn take(&mut self, key: &str, value: &Value) -> Result<(), Fault> {
        match key.to_lowercase().as_str() {
            "stream" if self.service.is_some() => {
                return Err(value.fault("an export is a stream or a service, not both"));
            }
            "stream" => self.stream = Some(text(value, "stream")?.to_string()),
            "service" if self.stream.is_some() => {
                return Err(value.fault("an export is a service or a stream, not both"));
            }
            "service" => self.service = Some(text(value, "service")?.to_string()),
            "response" | "response_type" => {
                if std::mem::replace(&mut self.has_response, true) {
                    return Err(value.fault("the response type is given twice"));
                }
                self.of_service.get_or_insert((value.clone(), "response"));
                self.terms.response = response(value)?;
            }
            "threshold" | "response_threshold" | "response_max_time" | "response_time" => {
                if std::mem::replace(&mut self.has_threshold, true) {
                    return Err(value.fault("the response threshold is given twice"));
                }
                self.of_service.get_or_insert((value.clone(), "threshold"));
                self.terms.threshold_ns = threshold(value)?;
            }
            "accounts" => {
                for name in array(value, "accounts")?.iter() {
                    self.accounts.push(text(name, "accounts")?.to_string());
                }
            }
            "latency" => {
                self.of_service.get_or_insert((value.clone(), "latency"));
                self.terms.latency = Some(latency(value)?);
            }
            "account_token_position" => self.token_position = position(value)?,
            "allow_trace" => {
                self.of_service.get_or_insert((value.clone(), "allow_trace"));
                check_trace(value)?;
            }
            _ => check_known(key, value, KEYS)?,
        }
        Ok(())
    }

    fn into_export(self, faults: &mut Vec<Fault>) -> Option<Export> {
        let Said { accounts, token_position, .. } = self;
        if let Some(subject) = self.stream {
            if let Some((value, word)) = self.of_service {
                faults.push(value.fault(format!("{word} is for services, not for streams")));
            }
            return Some(Export { subject, accounts, token_position, service: None });
        }
        let subject = self.service?;
        Some(Export { subject, accounts, token_position, service: Some(self.terms) })
    }
}

fn response(value: &Value) -> Result<ResponseType, Fault> {
    match text(value, "response")?.to_lowercase().as_str() {
        "single" | "singleton" => Ok(ResponseType::Singleton),
        "stream" => Ok(ResponseType::Stream),
        "chunk" | "chunked" => Ok(ResponseType::Chunked),
        other => Err(value
            .fault(format!("unknown response type {other:?}: write singleton, stream or chunked"))),
    }
}

/// None is the default, as nats-server takes 0.
fn threshold(value: &Value) -> Result<Option<u64>, Fault> {
    let written = text(value, "threshold")?;
    let ns = duration::parse(written)
        .map_err(|why| value.fault(format!("error parsing threshold: {why}")))?;
    match u64::try_from(ns) {
        Ok(0) => Ok(None),
        Ok(ns) => Ok(Some(ns)),
        Err(_) => Err(value.fault(format!("threshold can not be negative, got {written}"))),
    }
}

fn position(value: &Value) -> Result<usize, Fault> {
    match value.data {
        Data::Integer(position) => usize::try_from(position)
            .map_err(|_| value.fault("account_token_position counts tokens from 1")),
        _ => Err(value
            .fault(format!("account_token_position expects a whole number, got {}", noun(value)))),
    }
}

fn latency(value: &Value) -> Result<Latency, Fault> {
    if let Data::Text(subject) = &value.data {
        return Ok(Latency { sampling: 100, subject: subject.as_bytes().into() });
    }
    let entries = map(value, "latency")?;
    let sampling = entries.get("sampling").map_or(Ok(100), sampling)?;
    let Some(subject) = entries.get("subject") else {
        return Err(value.fault("latency needs the subject on which it is published"));
    };
    Ok(Latency { sampling, subject: text(subject, "subject")?.as_bytes().into() })
}

/// Percent; 0 is what headers ask for.
fn sampling(value: &Value) -> Result<u8, Fault> {
    let percent = match &value.data {
        Data::Integer(percent) => *percent,
        Data::Text(words) if words.trim().eq_ignore_ascii_case("headers") => return Ok(0),
        Data::Text(words) => {
            let digits = words.strip_suffix('%').unwrap_or(words);
            digits.parse().map_err(|_| {
                value.fault(format!("sampling expects 1% to 100%, or headers, got {words:?}"))
            })?
        }
        _ => {
            return Err(value.fault(format!("sampling expects a percentage, got {}", noun(value))));
        }
    };
    match u8::try_from(percent) {
        Ok(percent @ 1..=100) => Ok(percent),
        _ => Err(value.fault("bad sampling percentage, should be 1-100")),
    }
}
