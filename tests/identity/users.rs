//! What users' tokens say of when, from where and how they may come, and what they may do then.

use nkeys::KeyPair;
use serde_json::{Value, json};

use super::{before_it_ends, none, same_of_both, shown};
use crate::harness::server::Server;
use crate::harness::tokens::{Account, Conn, User, VIOLATION, World, now_s};

/// Of the day, UTC.
fn clock(s: i64) -> String {
    let s = s.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

fn window(from: i64, to: i64) -> Value {
    json!({ "start": clock(now_s() + from), "end": clock(now_s() + to) })
}

#[test]
fn hours_and_networks() {
    let world = World::new();
    let app = Account::new("APP", none());
    let at = |times: Value, zone: &str| json!({ "times": times, "times_location": zone });
    let hour = 3600;
    let cases = [
        ("within", at(json!([window(-hour, hour)]), "UTC")),
        ("without", at(json!([window(hour, 2 * hour)]), "UTC")),
        ("one of two", at(json!([window(hour, 2 * hour), window(-hour, hour)]), "UTC")),
        ("none", at(json!([]), "UTC")),
        ("of no place", at(json!([window(-hour, hour)]), "Nowhere/Land")),
        ("no hour", at(json!([{ "start": "25:00:00", "end": "26:00:00" }]), "UTC")),
        ("no end", at(json!([{ "start": "00:00:00" }]), "UTC")),
        ("of two networks", json!({ "src": ["192.0.2.0/24", "127.0.0.1/32"] })),
        ("of another kind", json!({ "src": ["::1/128"] })),
        ("of all", json!({ "src": ["0.0.0.0/0"] })),
        ("of no network", json!({ "src": ["127.0.0.1"] })),
        ("of two kinds", json!({ "allowed_connection_types": ["MQTT", "STANDARD"] })),
        ("of the web", json!({ "allowed_connection_types": ["WEBSOCKET"] })),
    ];
    let users: Vec<(&str, User)> =
        cases.into_iter().map(|(what, nats)| (what, app.user(none(), nats))).collect();
    let told = same_of_both(&world.conf(&[&app]), |server| {
        users.iter().map(|(what, user)| shown(what, &Conn::with(server, user).1)).collect()
    });
    let inside: Vec<&String> = told.iter().filter(|line| line.ends_with(": ")).collect();
    let outside = told.iter().filter(|line| line.ends_with(&VIOLATION.join(" | ")));
    assert_eq!(inside.len() + outside.count(), told.len(), "{told:#?}");
    for what in ["within: ", "none: ", "of two networks: ", "of two kinds: "] {
        assert!(inside.iter().any(|line| *line == what), "{what} {told:#?}");
    }
}

#[test]
fn a_connection_ends_with_its_hour() {
    let world = World::new();
    let app = Account::new("APP", none());
    let told = same_of_both(&world.conf(&[&app]), |server| {
        before_it_ends(|end| {
            let times = json!([{ "start": clock(end - 60), "end": clock(end) }]);
            let nats = json!({ "times": times, "times_location": "UTC" });
            let (mut conn, lines) = Conn::with(server, &app.user(none(), nats));
            (now_s() < end).then(|| vec![shown("in", &lines), shown("out", &conn.rest())])
        })
    });
    assert!(told[1].contains("-ERR 'User Authentication Expired'"), "{told:?}");
}

/// What is said of publishing to these subjects and subscribing to them.
fn tried(server: &Server, user: &User, subjects: &[&str]) -> Vec<String> {
    let (mut conn, mut lines) = Conn::with(server, user);
    for (sid, subject) in subjects.iter().enumerate() {
        conn.send(&format!("PUB {subject} 0\r\n\r\nSUB {subject} {sid}\r\n"));
    }
    lines.extend(conn.settle());
    lines
}

/// Three users of each role, with different tags.
fn of_roles(app: &Account, keys: &[KeyPair], names: &[String]) -> Vec<(String, User)> {
    let tags = [
        json!({ "tags": ["team:red", "site:n1"] }),
        json!({ "tags": ["team:red", "team:blue", "site:n1", "site:n2"] }),
        json!({ "tags": [] }),
    ];
    let mut users = Vec::new();
    for (key, name) in keys.iter().zip(names) {
        for tags in &tags {
            let user = User::scoped(key, app, json!({ "name": "ann" }), tags.clone());
            users.push((format!("{name} {tags}"), user));
        }
    }
    users
}

#[test]
fn templates_of_roles() {
    let world = World::new();
    let templates = [
        "{{name()}}.x",
        "{{subject()}}.x",
        "{{tag(team)}}.x",
        "{{tag(team)}}.{{tag(site)}}",
        "{{account-name()}}.x",
        "{{account-subject()}}.x",
        "{{account-tag(region)}}.x",
        "{{account-tag(none)}}.x",
        "{{ name() }}.y",
        "a{{name()}}.x",
        "{{nothing()}}.x",
        "{{name(}}.x",
        "plain.{{tag(team)}}.>",
    ];
    let keys: Vec<KeyPair> = templates.iter().map(|_| KeyPair::new_account()).collect();
    let scope = |at: usize, rules: Value| {
        json!({
            "kind": "user_scope", "key": keys[at].public_key(), "role": format!("r{at}"),
            "template": { "pub": rules, "sub": rules, "subs": -1, "data": -1, "payload": -1 },
        })
    };
    for rule in ["allow", "deny"] {
        let mut app = Account::new("APP", json!({ "tags": ["region:eu", "region:us", "x"] }));
        let scopes = (0..keys.len()).map(|at| scope(at, json!({ rule: [templates[at]] })));
        app.nats["signing_keys"] = Value::from(scopes.collect::<Vec<Value>>());
        let users = of_roles(&app, &keys, &templates.map(|it| format!("{rule} {it}")));
        let told = same_of_both(&world.conf(&[&app]), |server| {
            let told = users.iter().map(|(what, user)| {
                let id = user.key.public_key();
                let own = [format!("{id}.x"), format!("{}.x", app.id())];
                let subjects = [
                    "ann.x",
                    "ann.y",
                    "aann.x",
                    "red.x",
                    "blue.x",
                    "red.n1",
                    "red.n2",
                    "blue.n2",
                    "APP.x",
                    "eu.x",
                    "us.x",
                    "plain.red.a",
                    "plain.blue.a",
                    &own[0],
                    &own[1],
                ];
                shown(what, &tried(server, user, &subjects))
                    .replace(&id, "USER")
                    .replace(&app.id(), "ACCOUNT")
            });
            told.collect()
        });
        let line = |what: &str| told.iter().find(|line| line.starts_with(what)).expect("a line");
        let name = line(&format!("{rule} {{{{name()}}}}"));
        assert_eq!(name.contains("Publish to \"ann.x\""), rule == "deny", "{name}");
        assert_eq!(name.contains("Publish to \"red.x\""), rule == "allow", "{name}");
    }
}

#[test]
fn answers_that_a_token_allows() {
    let world = World::new();
    let app = Account::new("APP", none());
    let answering = |responses: Value| {
        let rules = json!({ "pub": { "deny": [">"] }, "sub": { "allow": ["ask"] } });
        let mut nats = rules;
        nats["resp"] = responses;
        app.user(none(), nats)
    };
    let users = [
        ("two", answering(json!({ "max": 2, "ttl": 60_000_000_000_i64 }))),
        ("by default", answering(json!({ "max": 0, "ttl": 0 }))),
        ("any", answering(json!({ "max": -1, "ttl": -1 }))),
        ("none", answering(Value::Null)),
    ];
    let asking = app.user(none(), none());
    same_of_both(&world.conf(&[&app]), |server| {
        let mut told = Vec::new();
        for (what, user) in &users {
            let (mut answering, lines) = Conn::with(server, user);
            answering.send("SUB ask 1\r\nSUB other 2\r\n");
            told.push(shown(what, &[lines, answering.settle()].concat()));
            let mut asking = Conn::with(server, &asking).0;
            asking.send("SUB to.> 1\r\nPUB ask to.me 2\r\nhi\r\n");
            asking.settle();
            answering.until("hi");
            answering.send(&"PUB to.me 1\r\n!\r\n".repeat(4));
            answering.send("PUB to.you 1\r\n!\r\n");
            told.push(shown(what, &answering.settle()));
            told.push(shown(what, &asking.settle()));
        }
        told
    });
}
