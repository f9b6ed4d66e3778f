//! What operators see of clients that came with tokens.

use serde_json::{Value, json};

use super::{ask, none, same_of_both};
use crate::command::await_that;
use crate::harness::server::{Program, Server};
use crate::harness::tokens::{Account, Conn, User, World};

/// What the event is called that tells of a connection that has ended.
const DISCONNECT: &str = "io.nats.server.advisory.v1.client_disconnect";

const SHOWN: [&str; 8] =
    ["acc", "account", "authorized_user", "issuer_key", "jwt", "name_tag", "tags", "user"];

/// What is shown of who somebody is. A bearer's token is nobody's business.
fn identity(of: &Value, secrets: &[&str]) -> String {
    let shown = SHOWN.iter().filter_map(|key| Some((key, of.get(key)?)));
    let shown = shown.filter(|(_, value)| value.as_str().is_none_or(|it| !secrets.contains(&it)));
    shown.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// Everybody in CONNZ with these options, once there are so many.
fn connz(admin: &mut Conn, options: &str, count: usize) -> Vec<Value> {
    let mut all = Vec::new();
    await_that(&format!("{count} connections: {options}"), || {
        let answer = ask(admin, "$SYS.REQ.SERVER.PING.CONNZ", options);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        all = answer["data"]["connections"].as_array().cloned().unwrap_or_default();
        all.len() == count
    });
    all
}

fn event(admin: &mut Conn, secrets: &[&str]) -> String {
    let event: Value = serde_json::from_str(&admin.message()).expect("JSON");
    identity(&event["client"], secrets)
}

struct Cast {
    world: World,
    accounts: Vec<Account>,
    users: Vec<User>,
    /// Of `users`, those who are let in by their token alone.
    bearers: Vec<usize>,
}

fn cast() -> Cast {
    let (signing, role) = (nkeys::KeyPair::new_account(), nkeys::KeyPair::new_account());
    let bearer_role = nkeys::KeyPair::new_account();
    let scope = |key: &nkeys::KeyPair, bearer: bool| {
        json!({
            "kind": "user_scope", "key": key.public_key(), "role": "r",
            "template": { "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
                          "bearer_token": bearer },
        })
    };
    let mut app = Account::new("APP", json!({ "tags": ["of:app"] }));
    app.nats["signing_keys"] =
        json!([signing.public_key(), scope(&role, false), scope(&bearer_role, true)]);
    let mut nameless = Account::new("", none());
    nameless.claims = none();
    let tags = json!({ "tags": ["team:red", "b"] });
    let mut by_key = tags.clone();
    by_key["issuer_account"] = json!(app.id());
    let users = vec![
        app.user(json!({ "name": "ann" }), tags.clone()),
        User::signed_by(&signing, json!({ "name": "bob" }), by_key),
        User::scoped(&role, &app, json!({ "name": "cy" }), tags),
        nameless.user(none(), none()),
        app.user(json!({ "name": "bea" }), json!({ "bearer_token": true })),
        User::scoped(&bearer_role, &app, json!({ "name": "dee" }), none()),
    ];
    Cast { world: World::new(), accounts: vec![app, nameless], users, bearers: vec![4, 5] }
}

#[test]
fn who_clients_with_tokens_are() {
    let Cast { world, accounts, users, bearers } = cast();
    let system = world.system.user(json!({ "name": "root" }), none());
    let secrets: Vec<&str> = bearers.iter().map(|at| &*users[*at].token).collect();
    let secrets = &secrets[..];
    let accounts: Vec<&Account> = accounts.iter().collect();
    let shown = |all: Vec<Value>| all.iter().map(|it| identity(it, secrets)).collect::<Vec<_>>();
    let told = same_of_both(&world.conf(&accounts), |server: &mut Server| {
        let mut admin = Conn::with(server, &system).0;
        let mut watch = Conn::with(server, &system).0;
        watch.send("SUB $SYS.ACCOUNT.*.CONNECT 1\r\nSUB $SYS.ACCOUNT.*.DISCONNECT 2\r\n");
        watch.settle();
        // That the two above have come may be told late.
        let mut heard = || loop {
            let told = event(&mut watch, secrets);
            if !told.contains(&world.system.id()) {
                return told;
            }
        };
        let mut told = Vec::new();
        let mut conns: Vec<Conn> = Vec::new();
        for user in &users {
            conns.push(Conn::with(server, user).0);
            told.push(heard());
        }
        let count = users.len() + 2;
        told.push("open".to_string());
        told.extend(shown(connz(&mut admin, r#"{"auth":true}"#, count)));
        told.push("open, without auth".to_string());
        told.extend(shown(connz(&mut admin, "{}", count)));
        told.push("gone".to_string());
        for conn in conns {
            drop(conn);
            told.push(heard());
        }
        told.push("closed".to_string());
        told.extend(shown(connz(&mut admin, r#"{"auth":true,"state":1}"#, users.len())));
        told.push("closed, without auth".to_string());
        told.extend(shown(connz(&mut admin, r#"{"state":1}"#, users.len())));
        told
    });
    for user in &users[..4] {
        let times = told.iter().filter(|line| line.contains(&user.token)).count();
        assert_eq!(times, 5, "come, open, gone, and closed twice: {told:#?}");
    }
}

/// What a service in another account is told of who asks.
#[test]
fn who_asks_a_service_that_is_told() {
    let Cast { world, mut accounts, users, bearers } = cast();
    let mut service = Account::new("SERVICE", none());
    service.nats["exports"] = json!([{ "subject": "ask", "type": "service" }]);
    let import = json!([{ "subject": "ask", "local_subject": "please", "type": "service",
                          "account": service.id(), "share": true }]);
    accounts.iter_mut().for_each(|account| account.nats["imports"] = import.clone());
    let answering = service.user(none(), none());
    let secrets: Vec<&str> = bearers.iter().map(|at| &*users[*at].token).collect();
    let all: Vec<&Account> = accounts.iter().chain([&service]).collect();
    let told = same_of_both(&world.conf(&all), |server| {
        let mut answering = Conn::with(server, &answering).0;
        answering.send("SUB ask 1\r\n");
        answering.settle();
        let ask = |user: &User| {
            let mut conn = Conn::with(server, user).0;
            conn.send("PUB please answer 2\r\nhi\r\n");
            conn.settle();
            let lines = answering.until("hi");
            let header = lines.iter().find_map(|line| line.strip_prefix("Nats-Request-Info: "));
            let info = serde_json::from_str(header.expect("it is told")).expect("JSON");
            identity(&info, &secrets)
        };
        users.iter().map(ask).collect()
    });
    assert!(told[1].contains("name_tag=\"bob\"") && told[1].contains(&users[1].token), "{told:#?}");
}

#[test]
fn tokens_of_bearers_are_not_shown() {
    let Cast { world, accounts, users, bearers } = cast();
    let system = world.system.user(none(), none());
    let accounts: Vec<&Account> = accounts.iter().collect();
    let server = super::start(&Program::under_test(), &world.conf(&accounts));
    let mut admin = Conn::with(&server, &system).0;
    let mut watch = Conn::with(&server, &system).0;
    watch.send("SUB $SYS.ACCOUNT.> 1\r\n");
    watch.settle();
    let mut told = String::new();
    for at in bearers {
        let (conn, lines) = Conn::with(&server, &users[at]);
        assert_eq!(lines, [""; 0]);
        drop(conn);
        let is_gone = format!("\"type\":\"{DISCONNECT}\"");
        let before = told.matches(&is_gone).count();
        while told.matches(&is_gone).count() == before {
            let (.., event) = watch.request().expect("that it has gone is told");
            told.push_str(&String::from_utf8_lossy(&event));
        }
    }
    let all = connz(&mut admin, r#"{"auth":true,"state":1}"#, 2);
    told.push_str(&Value::from(all).to_string());
    assert!(told.contains("issuer_key"), "{told}");
    for user in &users {
        assert!(!told.contains(&user.token), "{told}");
    }
}

#[test]
fn keys_of_a_file_are_vouched_for_by_their_account() {
    let (here, there) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
    let root = "SYS { users: [{ user: root, password: r }] }";
    let conf = [
        format!("accounts {{ A {{ users: [{{ nkey: {} }}] }}, {root} }}", here.public_key()),
        "system_account: SYS".to_string(),
        format!("authorization {{ users: [{{ nkey: {} }}] }}", there.public_key()),
    ];
    same_of_both(&conf, |server| {
        let mut admin = Conn::open(server);
        admin.connect(json!({ "user": "root", "pass": "r" }));
        let mut told = Vec::new();
        let mut conns = Vec::new();
        for key in [&here, &there] {
            let mut conn = Conn::open(server);
            let sig = conn.signature(key);
            told.extend(conn.connect(json!({ "nkey": key.public_key(), "sig": sig })));
            conns.push(conn);
        }
        let mut see = |options: &str, count| {
            let all = connz(&mut admin, options, count);
            told.extend(all.iter().map(|it| identity(it, &[])));
        };
        see(r#"{"auth":true}"#, 3);
        see("{}", 3);
        drop(conns);
        see(r#"{"auth":true,"state":1}"#, 2);
        see(r#"{"state":1}"#, 2);
        told
    });
}
