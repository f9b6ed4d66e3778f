//! `limits { max_connections: 100, max_subscriptions: 1000, max_payload: 64KB }`

use runtime::account::Limits;

use super::{check_known, map, noun, ordered};
use crate::config::value::{Data, Fault, Value};

const KEYS: &[&str] = &[
    "max_connections",
    "max_conn",
    "max_subscriptions",
    "max_subs",
    "max_payload",
    "max_pay",
    "max_leafnodes",
    "max_leafs",
];

/// Reads an account's limits.
pub fn read(value: &Value, faults: &mut Vec<Fault>) -> Limits {
    let mut limits = Limits::default();
    match map(value, "limits") {
        Ok(entries) => {
            for (key, value) in ordered(&entries) {
                if let Err(fault) = take(&mut limits, key, value) {
                    faults.push(fault);
                }
            }
        }
        Err(fault) => faults.push(fault),
    }
    limits
}

fn take(limits: &mut Limits, key: &str, value: &Value) -> Result<(), Fault> {
    match key.to_lowercase().as_str() {
        "max_connections" | "max_conn" => limits.connections_max = limit(key, value)?,
        "max_subscriptions" | "max_subs" => limits.subscriptions_max = limit(key, value)?,
        "max_payload" | "max_pay" => limits.payload_max = limit(key, value)?,
        "max_leafnodes" | "max_leafs" => {
            if limit(key, value)?.is_some_and(|max| max > 0) {
                return Err(value.fault(format!(
                    "{key} is not supported yet: no leafnode can connect; remove it or write -1"
                )));
            }
        }
        _ => check_known(key, value, KEYS)?,
    }
    Ok(())
}

/// -1 is no limit.
fn limit(key: &str, value: &Value) -> Result<Option<u32>, Fault> {
    let Data::Integer(number) = value.data else {
        return Err(value.fault(format!("{key} expects a whole number, got {}", noun(value))));
    };
    match number {
        -1 => Ok(None),
        0..=0x7fff_ffff => Ok(Some(number as u32)),
        i64::MIN..=-2 => Err(value.fault(format!("{key} can not be {number}: -1 is no limit"))),
        _ => Err(value.fault(format!("{key} value is too big: the limit is 2147483647"))),
    }
}
