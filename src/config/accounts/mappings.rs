//! `mappings { foo: bar, "a.*": [ {destination: "b.$1", weight: 20%} ] }`

use runtime::account::{Mapping, Mappings};

use super::{map, noun, ordered, text};
use crate::config::value::{Data, Fault, Value};

/// Reads mappings; they are tried in the order in which they stand in the file.
pub fn read(value: &Value, faults: &mut Vec<Fault>) -> Mappings {
    let mut mappings = Mappings::default();
    let entries = match map(value, "mappings") {
        Ok(entries) => entries,
        Err(fault) => {
            faults.push(fault);
            return mappings;
        }
    };
    for (source, to) in ordered(&entries) {
        if !runtime::account::valid_pattern(source.as_bytes()) {
            faults.push(value.fault(format!("Subject {source:?} is not a valid subject")));
            continue;
        }
        let (said, destinations) = match &to.data {
            Data::Text(destination) => (
                format!("{source:?} to {destination:?}"),
                vec![(destination.as_bytes().to_vec(), 100)],
            ),
            Data::Array(items) => {
                let all = items.iter().filter_map(|item| destination(item, faults)).collect();
                (format!("{source:?}"), all)
            }
            _ => match destination(to, faults) {
                Some(destination) => (format!("{source:?}"), vec![destination]),
                None => continue,
            },
        };
        match Mapping::new(source.as_bytes(), &destinations) {
            Ok(mapping) => mappings.add(mapping),
            Err(why) => {
                faults.push(to.fault(format!("Error adding mapping for {said}: {why}")));
            }
        }
    }
    mappings
}

/// `{destination: "b.$1", weight: 20%}`
fn destination(value: &Value, faults: &mut Vec<Fault>) -> Option<(Vec<u8>, u8)> {
    let read = || {
        let (mut to, mut percent) = (Vec::new(), None);
        let mut last = value;
        let entries = map(value, "a mapping's destination")?;
        for (key, word) in ordered(&entries) {
            last = word;
            match key.to_lowercase().as_str() {
                "dest" | "destination" => to = text(word, key)?.as_bytes().to_vec(),
                "weight" => percent = Some(weight(word)?),
                "cluster" => {
                    return Err(word.fault(
                        "cluster is not supported yet: this server runs alone, so remove this \
                         destination",
                    ));
                }
                _ => {
                    return Err(
                        word.fault(format!("Unknown field {key:?} for mapping destination"))
                    );
                }
            }
        }
        match percent {
            Some(percent) => Ok((to, percent)),
            None => {
                let to = String::from_utf8_lossy(&to);
                Err(last.fault(format!("Missing weight for mapping destination {to:?}")))
            }
        }
    };
    read().map_err(|fault| faults.push(fault)).ok()
}

/// `20`, `"20%"`
fn weight(value: &Value) -> Result<u8, Fault> {
    let invalid = |said: &dyn std::fmt::Display| {
        value.fault(format!("Invalid weight {said} for mapping destination: write 0% to 100%"))
    };
    match &value.data {
        Data::Integer(percent @ 0..=100) => Ok(*percent as u8),
        Data::Integer(percent) => Err(invalid(percent)),
        Data::Text(words) => {
            let digits = words.strip_suffix('%').unwrap_or(words);
            match digits.parse() {
                Ok(percent @ 0..=100) => Ok(percent),
                _ => Err(invalid(&format_args!("{digits:?}"))),
            }
        }
        _ => Err(value.fault(format!("weight expects a percentage, got {}", noun(value)))),
    }
}
