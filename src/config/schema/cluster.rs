//! The `cluster` block: read whole, so that what is wrong in it is said where it is, and then
//! refused, for this server runs alone.

use super::{Field, Stapling, split_host_port, unknown};
use crate::config::access::{self, Reader};
use crate::config::duration;
use crate::config::options;
use crate::config::value::{Data, Fault, Map, Value};

const KEYS: [&str; 21] = [
    "name",
    "listen",
    "port",
    "host",
    "net",
    "authorization",
    "routes",
    "tls",
    "cluster_advertise",
    "advertise",
    "no_advertise",
    "connect_retries",
    "connect_backoff",
    "permissions",
    "pool_size",
    "accounts",
    "compression",
    "ping_interval",
    "ping_max",
    "write_deadline",
    "write_timeout",
];

const REFUSAL: &str = "cluster is not supported yet: this server runs alone; \
                       remove the block to start one server";

/// # Errors
/// That there are no clusters, unless there is something wrong inside, which is told instead.
pub fn read(field: &mut Field<'_>) -> Result<(), Fault> {
    let Data::Map(map) = &field.value.data else {
        let noun = field.value.data.noun();
        return Err(field.value.fault(format!("Expected map to define cluster, got {noun}")));
    };
    let before = field.errors.len();
    for (key, value) in access::in_order(map) {
        let result = entry(&mut field.within(key, value));
        field.errors.extend(result.err());
    }
    let wrong = field.errors.len() > before;
    if wrong { Ok(()) } else { Err(field.value.fault(REFUSAL)) }
}

fn entry(field: &mut Field<'_>) -> Result<(), Fault> {
    match field.key.to_lowercase().as_str() {
        "name" => name(field),
        "listen" => field.listen().map(drop),
        "port" | "pool_size" | "connect_retries" | "ping_max" => field.integer().map(drop),
        "host" | "net" | "cluster_advertise" | "advertise" => field.text().map(drop),
        "authorization" => {
            let mut reader = Reader { errors: &mut *field.errors, warnings: &mut *field.warnings };
            access::check_routes_authorization(field.key, field.value, &mut reader)
        }
        "permissions" => {
            let mut reader = Reader { errors: &mut *field.errors, warnings: &mut *field.warnings };
            access::check_routes_permissions(field.value, &mut reader)
        }
        "routes" => routes(field),
        "tls" => {
            let mut settings = super::tls::read(field)?;
            let checked = super::tls::check(&mut settings, Stapling::default());
            checked.map_err(|why| field.value.fault(why))
        }
        "no_advertise" | "connect_backoff" => field.flag().map(drop),
        "accounts" => accounts(field),
        "compression" => compression(field),
        "ping_interval" | "write_deadline" => field.duration_or_seconds().map(drop),
        "write_timeout" => super::write_timeout(field),
        _ if field.value.referenced.get() => Ok(()),
        _ => {
            let known = KEYS.into_iter();
            Err(field.value.fault(unknown("field", field.key, known)))
        }
    }
}

fn name(field: &Field<'_>) -> Result<(), Fault> {
    let name = field.text()?;
    let fault = |why: &str| Err(field.value.fault(why));
    match name.as_str() {
        "~~NoLeafOriginCluster~~" => fault("cluster name is reserved"),
        name if name.contains(' ') => fault("cluster name cannot contain spaces or new lines"),
        _ => Ok(()),
    }
}

/// URLs, of which no part but the host is ever shown.
fn routes(field: &mut Field<'_>) -> Result<(), Fault> {
    let Data::Array(items) = &field.value.data else {
        return Err(field.expected("an array of URLs such as nats://host:6222"));
    };
    let mut seen: Vec<&str> = Vec::new();
    for item in items.iter() {
        let Data::Text(url) = &item.data else {
            let noun = item.data.noun();
            field.errors.push(item.fault(format!("routes expects URLs, got {noun}")));
            continue;
        };
        if seen.contains(&url.as_str()) {
            field.warnings.push(item.fault("invalid use of field \"routes\": Duplicate route"));
        }
        seen.push(url);
        if let Err(why) = check_url(url.trim()) {
            field.errors.push(item.fault(format!("error parsing route url: {why}")));
        }
    }
    Ok(())
}

/// `scheme://user:password@host:port`, all but the host optional.
fn check_url(url: &str) -> Result<(), String> {
    if url.chars().any(|c| c.is_control() || c == ' ') {
        return Err("a blank or a control character in it".to_string());
    }
    let Some((scheme, rest)) = url.split_once("://") else { return Ok(()) };
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(letters) {
        return Err("no scheme such as nats:// before the host".to_string());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    if bare {
        return Ok(());
    }
    let (_, port) = split_host_port(host)?;
    options::listen_port("port", port).map(drop)
}

fn accounts(field: &mut Field<'_>) -> Result<(), Fault> {
    let wrong = |value: &Value| {
        let noun = value.data.noun();
        value.fault(format!("error parsing accounts: expected names, got {noun}"))
    };
    match &field.value.data {
        Data::Text(_) => {}
        Data::Array(items) => {
            let others = items.iter().filter(|item| !matches!(item.data, Data::Text(_)));
            field.errors.extend(others.map(wrong));
        }
        _ => return Err(wrong(field.value)),
    }
    Ok(())
}

/// A mode, on or off, or `{ mode: …, rtt_thresholds: […] }`.
fn compression(field: &Field<'_>) -> Result<(), Fault> {
    match &field.value.data {
        Data::Text(_) | Data::Bool(_) => Ok(()),
        Data::Map(map) => compression_map(map),
        data => Err(field.value.fault(format!(
            "field {:?} should be a boolean or a structure, got {}",
            field.key,
            data.noun()
        ))),
    }
}

fn compression_map(map: &Map) -> Result<(), Fault> {
    for (key, value) in access::in_order(map) {
        match (key.to_lowercase().as_str(), &value.data) {
            ("mode", Data::Text(_)) => {}
            ("rtt_thresholds" | "thresholds" | "rtts" | "rtt", Data::Array(items)) => {
                for item in items.iter() {
                    let Data::Text(text) = &item.data else {
                        return Err(value.fault(format!("{key} expects durations in quotes")));
                    };
                    duration::parse(text).map_err(|why| value.fault(why))?;
                }
            }
            ("mode", _) => return Err(value.fault("mode expects a string")),
            ("rtt_thresholds" | "thresholds" | "rtts" | "rtt", _) => {
                return Err(value.fault(format!("{key} expects an array of durations")));
            }
            _ if value.referenced.get() => {}
            _ => return Err(value.fault(format!("unknown field {key:?}"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_urls() {
        for url in [
            "nats://127.0.0.1:6222",
            "nats-route://user:pass@host:6222",
            "tls://[::1]:6222/",
            "nats://u:p@[::1]",
            "host",
            "host:6222",
        ] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for url in ["nats://a b:1", "1://h:1", "nats://u:hush@h:x", "nats://u:hush@h:1:2"] {
            let why = check_url(url).unwrap_err();
            assert!(!why.contains("hush"), "{why}");
        }
    }
}
