//! `permissions { publish: …, subscribe: …, allow_responses: … }`

use std::sync::Arc;

use runtime::access::{Permissions, Responses, Rule, RuleSet, Rules};

use super::{Reader, Shared, in_order};
use crate::config::duration;
use crate::config::value::{Data, Fault, Map, Value};

/// One answer to a request, within two minutes.
const RESPONSES: Responses = Responses { max: Some(1), expires_ns: Some(120_000_000_000) };

pub fn read(value: &Value, reader: &mut Reader<'_>) -> Result<Shared, Fault> {
    let Data::Map(map) = &value.data else {
        let noun = value.data.noun();
        return Err(value.fault(format!("Expected permissions to be a map/struct, got {noun}")));
    };
    let mut found = Permissions::default();
    for (key, value) in in_order(map) {
        let result = match key.to_lowercase().as_str() {
            "pub" | "publish" | "import" => {
                rules(value, false, reader).map(|rules| found.publish = rules)
            }
            "sub" | "subscribe" | "export" => {
                rules(value, true, reader).map(|rules| found.subscribe = rules)
            }
            "publish_allow_responses" | "allow_responses" => {
                responses(value, reader).map(|responses| found.responses = responses)
            }
            _ if value.referenced.get() => Ok(()),
            _ => Err(value.fault(format!("Unknown field {key:?} parsing permissions"))),
        };
        reader.errors.extend(result.err());
    }
    if found.responses.is_some() {
        // Whoever may answer may do nothing else, unless it is said.
        found.publish.allow.get_or_insert_with(|| RuleSet::new(&[]));
    }
    Ok(Arc::new(found))
}

/// Subjects allowed, or `{ allow: …, deny: … }`.
fn rules(value: &Value, queues: bool, reader: &mut Reader<'_>) -> Result<Rules, Fault> {
    let Data::Map(map) = &value.data else {
        return Ok(Rules { allow: subjects(value, queues)?, deny: None });
    };
    let mut rules = Rules::default();
    for (key, value) in in_order(map) {
        let result = match key.to_lowercase().as_str() {
            "allow" => subjects(value, queues).map(|allow| rules.allow = allow),
            "deny" => subjects(value, queues).map(|deny| rules.deny = deny),
            _ if value.referenced.get() => Ok(()),
            _ => Err(value.fault(format!(
                "Unknown field name {key:?} parsing subject permissions, \
                 only 'allow' or 'deny' are permitted"
            ))),
        };
        reader.errors.extend(result.err());
    }
    Ok(rules)
}

/// One subject or several. An empty list says nothing.
fn subjects(value: &Value, queues: bool) -> Result<Option<RuleSet>, Fault> {
    let rule = |text: &str| Rule::parse(text, queues).map_err(|why| value.fault(why));
    let found = match &value.data {
        Data::Text(text) => vec![rule(text)?],
        Data::Array(items) => {
            let texts = items.iter().map(|item| match &item.data {
                Data::Text(text) => rule(text),
                _ => Err(item.fault("Subject in permissions array cannot be cast to string")),
            });
            texts.collect::<Result<Vec<_>, _>>()?
        }
        data => {
            let noun = data.noun();
            return Err(value.fault(format!(
                "Expected subject permissions to be a subject, or array of subjects, got {noun}"
            )));
        }
    };
    Ok(if found.is_empty() { None } else { Some(RuleSet::new(&found)) })
}

fn responses(value: &Value, reader: &mut Reader<'_>) -> Result<Option<Responses>, Fault> {
    match &value.data {
        Data::Bool(on) => Ok(on.then_some(RESPONSES)),
        Data::Map(map) => limits(map, reader).map(Some),
        _ => Err(value.fault("error parsing response permissions, expected a boolean or a map")),
    }
}

/// Below 0 is no limit, 0 is the default.
fn limits(map: &Map, reader: &mut Reader<'_>) -> Result<Responses, Fault> {
    let mut responses = RESPONSES;
    for (key, value) in in_order(map) {
        match (key.to_lowercase().as_str(), &value.data) {
            ("max" | "max_msgs" | "max_messages" | "max_responses", data) => {
                let Data::Integer(max) = data else {
                    return Err(super::expected(key, "a whole number", value));
                };
                if *max != 0 {
                    responses.max = u32::try_from(*max).ok();
                }
            }
            ("expires" | "expiration" | "ttl", Data::Text(text)) => {
                let ns = duration::parse(text)
                    .map_err(|why| value.fault(format!("error parsing expires: {why}")))?;
                if ns != 0 {
                    responses.expires_ns = u64::try_from(ns).ok();
                }
            }
            ("expires" | "expiration" | "ttl", _) => {
                return Err(value.fault("error parsing expires, not a duration string"));
            }
            _ if value.referenced.get() => {}
            _ => reader
                .errors
                .push(value.fault(format!("Unknown field {key:?} parsing permissions"))),
        }
    }
    Ok(responses)
}
