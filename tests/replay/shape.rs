//! What must be alike in two servers' JSON: keys, their order, types, and every value that says
//! something of what was done rather than of who did it when.

use super::kind;
use crate::harness::mask;

/// Their values differ from run to run or from server to server; their types don't.
const VARYING: [&str; 41] = [
    "id",
    "server_id",
    "time",
    "timestamp",
    "now",
    "start",
    "stop",
    "seq",
    "mem",
    "cpu",
    "go",
    "port",
    "http_port",
    "uptime",
    "config_load_time",
    "rtt",
    "last_activity",
    "idle",
    "cid",
    "update_time",
    "cores",
    "gomaxprocs",
    // nats-server counts subscriptions of its own.
    "subscriptions",
    "num_subscriptions",
    "num_inserts",
    "num_removes",
    "num_matches",
    "num_cache",
    "cache_hit_rate",
    "max_fanout",
    "avg_fanout",
    "total",
    // Statistics tell the time of day, so to speak: one of them may hold another.
    "bytes",
    "in_bytes",
    "out_bytes",
    "in_client_bytes",
    "out_client_bytes",
    "pending_bytes",
    // nats-server counts a request before its answer, or after.
    "msgs",
    "in_msgs",
    "in_client_msgs",
];
/// In an order that nats-server leaves to chance.
const UNORDERED: [&str; 8] = [
    "accounts",
    "imports",
    "exports",
    "account_statz",
    "subscriptions_list",
    "allow",
    "deny",
    "approved_accounts",
];
/// Depend on what else was asked, or on what nats-server has for itself.
const BY_THE_WAY: [&str; 4] = ["out_msgs", "out_client_msgs", "subscriptions_list", "memstats"];
/// Present or not by how the server was built.
const DROPPED: [&str; 1] = ["git_commit"];

/// Of a JSON value: the same text if the two are alike.
pub fn of(json: &str) -> String {
    let mut out = String::new();
    write(json.trim(), &VARYING, &mut out);
    out
}

/// As [`of`], whatever else was asked before.
pub fn of_keys(json: &str) -> String {
    let mut out = String::new();
    write(json.trim(), &[&VARYING[..], &BY_THE_WAY].concat(), &mut out);
    out
}

fn write(value: &str, varying: &[&str], out: &mut String) {
    if let Some(members) = mask::object(value.as_bytes()) {
        out.push('{');
        for (key, value) in &members {
            if DROPPED.contains(&key.as_str()) {
                continue;
            }
            out.push_str(&format!("\n{key}: "));
            match (varying.contains(&key.as_str()), UNORDERED.contains(&key.as_str())) {
                (true, _) => out.push_str(kind(value)),
                (false, unordered) => write_value(value, varying, unordered, out),
            }
        }
        out.push('}');
    } else {
        write_value(value, varying, false, out);
    }
}

fn write_value(value: &str, varying: &[&str], unordered: bool, out: &mut String) {
    let Some(inner) = value.strip_prefix('[').and_then(|v| v.strip_suffix(']')) else {
        return match value.starts_with('{') {
            true => write(value, varying, out),
            false => out.push_str(value),
        };
    };
    let items = mask::split_top(inner).into_iter().map(str::trim).filter(|item| !item.is_empty());
    let mut shapes: Vec<String> = items
        .map(|item| {
            let mut shape = String::new();
            write(item, varying, &mut shape);
            shape
        })
        .collect();
    if unordered {
        shapes.sort();
    }
    out.push_str(&format!("[{}]", shapes.join(",")));
}

#[test]
fn only_what_varies_is_hidden() {
    let text = r#"{"seq":1,"a":{"mem":2,"b":[{"c":"x,]","id":"N"},3]},"git_commit":"q","now":"t"}"#;
    let shown =
        "{\nseq: number\na: {\nmem: number\nb: [{\nc: \"x,]\"\nid: string},3]}\nnow: string}";
    assert_eq!(of(text), shown);
}
