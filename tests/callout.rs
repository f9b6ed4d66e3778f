//! Clients that a service lets in: nats-server and ringbus ask it the same and do as it says.

use data_encoding::BASE64URL_NOPAD;
use nkeys::{KeyPair, XKey};
use serde_json::{Value, json};

use crate::harness::server::{Program, Server, Setup};
use crate::harness::tokens::{Conn, sign};

const VIOLATION: [&str; 2] = ["-ERR 'Authorization Violation'", "(closed)"];

/// A configuration with a service, and the keys it answers with.
struct House {
    issuer: KeyPair,
    xkey: Option<XKey>,
}

impl House {
    fn conf(&self) -> Vec<String> {
        let sealed = self.xkey.as_ref().map(|key| format!("xkey: {}", key.public_key()));
        vec![
            "accounts {".to_string(),
            "  AUTH { users: [{ user: auth, password: pw }, { user: same, password: pw }] }"
                .to_string(),
            "  APP { users: [{ user: known, password: pw }] }".to_string(),
            "}".to_string(),
            "authorization {".to_string(),
            "  timeout: 1".to_string(),
            format!(
                "  auth_callout {{ issuer: {}, account: AUTH, auth_users: [auth], {} }}",
                self.issuer.public_key(),
                sealed.unwrap_or_default()
            ),
            "}".to_string(),
        ]
    }

    /// Answers one request as `decide` says, and gives what was asked.
    fn answer(&self, conn: &mut Conn, decide: &dyn Fn(&str, &str) -> Value) -> Value {
        let (reply, header, mut payload) = conn.request().expect("a request");
        if let Some(key) = &self.xkey {
            let server = header.lines().find_map(|line| line.strip_prefix("Nats-Server-Xkey: "));
            let server = XKey::from_public_key(server.expect("a header")).expect("a key");
            payload = key.open(&payload, &server).expect("it is sealed");
        }
        let text = String::from_utf8(payload).expect("a token");
        let claims = text.split('.').nth(1).expect("claims");
        let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).expect("base64");
        let asked: Value = serde_json::from_slice(&claims).expect("JSON");
        let user = asked["nats"]["user_nkey"].as_str().expect("a key");
        let server = asked["nats"]["server_id"]["id"].as_str().expect("an id");
        let said = asked["nats"]["connect_opts"]["user"].as_str().unwrap_or_default();
        let body = decide(said, user);
        let by = if said == "stranger" { KeyPair::new_account() } else { self.issuer.clone() };
        let token = sign(&by, "authorization_response", user, json!({ "aud": server }), body);
        let mut bytes = token.into_bytes();
        if let (Some(key), Some(server)) = (&self.xkey, asked["nats"]["server_id"]["xkey"].as_str())
        {
            let server = XKey::from_public_key(server).expect("a key");
            bytes = key.seal(&bytes, &server).expect("it can be sealed");
        }
        conn.send_bytes(format!("PUB {reply} {}\r\n", bytes.len()).as_bytes());
        conn.send_bytes(&bytes);
        conn.send_bytes(b"\r\n");
        asked
    }

    fn user(&self, key: &str, account: &str, nats: Value) -> Value {
        let mut body = json!({ "subs": -1, "data": -1, "payload": -1 });
        for (name, value) in nats.as_object().cloned().unwrap_or_default() {
            body[name] = value;
        }
        let claims = json!({ "aud": account, "name": "named" });
        json!({ "jwt": sign(&self.issuer, "user", key, claims, body) })
    }

    /// What is said of each client, by its name.
    fn decide(&self, name: &str, key: &str) -> Value {
        match name {
            "good" | "known" | "same" | "stranger" => self.user(key, "APP", json!({})),
            "limited" => self.user(key, "APP", json!({ "pub": { "allow": ["a"] } })),
            "inside" => self.user(key, "AUTH", json!({})),
            "lost" => self.user(key, "NOWHERE", json!({})),
            "other" => self.user(&KeyPair::new_user().public_key(), "APP", json!({})),
            _ => json!({ "error": "not today" }),
        }
    }
}

fn both(house: &House, work: impl Fn(&Server) -> Vec<String>) -> Vec<String> {
    let told = [Program::reference(), Program::under_test()].map(|program| {
        let setup = Setup { conf: house.conf(), shards: 3, ..Setup::default() };
        work(&Server::start(&program, &setup).unwrap_or_else(|fault| panic!("{fault}")))
    });
    assert_eq!(told[0], told[1], "nats-server on the left, ringbus on the right");
    told.into_iter().next_back().expect("two")
}

fn service(server: &Server) -> Conn {
    let mut service = Conn::open(server);
    assert_eq!(service.connect(json!({ "user": "auth", "pass": "pw" })), [""; 0]);
    service.send("SUB $SYS.REQ.USER.AUTH 1\r\n");
    service.settle();
    service
}

fn who_comes_in(house: &House) {
    let mut let_in = vec!["good", "known", "same", "limited", "inside"];
    let mut turned_away = vec!["lost", "other", "bad"];
    // What is sealed comes from the service, whoever has signed it.
    match &house.xkey {
        Some(_) => let_in.push("stranger"),
        None => turned_away.push("stranger"),
    }
    let told = both(house, |server| {
        let mut service = service(server);
        let mut told = Vec::new();
        for &name in let_in.iter().chain(&turned_away) {
            let mut conn = Conn::open(server);
            let words = json!({ "user": name, "pass": "pw", "verbose": false, "pedantic": false,
                                "name": "test", "lang": "rust", "version": "1", "protocol": 0 });
            conn.send(&format!("CONNECT {words}\r\n"));
            let asked = house.answer(&mut service, &|name, key| house.decide(name, key));
            let mut opts = asked["nats"]["connect_opts"].clone();
            opts["client"] = asked["nats"]["client_info"].clone();
            opts["client"]["id"] = json!(0);
            told.push(opts.to_string());
            conn.send("SUB x 1\r\nPUB b 1\r\nx\r\nPUB $SYS.REQ.USER.AUTH 1\r\nx\r\n");
            let end = if let_in.contains(&name) { conn.settle() } else { conn.rest() };
            told.push(format!("{name}: {end:?}"));
        }
        told
    });
    let out = |name: &str| told.iter().any(|line| *line == format!("{name}: {VIOLATION:?}"));
    assert!(turned_away.iter().all(|name| out(name)), "{told:#?}");
    assert!(!let_in.iter().any(|name| out(name)), "{told:#?}");
}

#[test]
fn a_service_says_who_comes_in() {
    who_comes_in(&House { issuer: KeyPair::new_account(), xkey: None });
}

#[test]
fn a_service_that_is_asked_under_seal() {
    who_comes_in(&House { issuer: KeyPair::new_account(), xkey: Some(XKey::new()) });
}

#[test]
fn no_service_lets_nobody_in_but_its_own_users() {
    let house = House { issuer: KeyPair::new_account(), xkey: None };
    both(&house, |server| {
        let open = |user: &str, pass: &str| {
            Conn::open(server).connect(json!({ "user": user, "pass": pass }))
        };
        vec![
            format!("{:?}", open("auth", "pw")),
            format!("{:?}", open("auth", "wrong")),
            format!("{:?}", open("known", "pw")),
            format!("{:?}", open("", "")),
        ]
    });
}

#[test]
fn a_service_that_does_not_answer_holds_up_nobody_for_long() {
    let house = House { issuer: KeyPair::new_account(), xkey: None };
    let setup = Setup { conf: house.conf(), shards: 3, ..Setup::default() };
    let server = Server::start(&Program::under_test(), &setup).expect("a server");
    let mut service = service(&server);
    let mut storm: Vec<Conn> = (0..300).map(|_| Conn::open(&server)).collect();
    for conn in &mut storm {
        conn.send("CONNECT {\"user\":\"x\",\"pass\":\"y\",\"verbose\":false}\r\n");
    }
    // Those who need no service come in meanwhile.
    let mut own = Conn::open(&server);
    assert_eq!(own.connect(json!({ "user": "auth", "pass": "pw" })), [""; 0]);
    for conn in &mut storm {
        let end = conn.rest();
        assert!(
            end.contains(&"(closed)".to_string()) && end[0].starts_with("-ERR 'Auth"),
            "{end:?}"
        );
    }
    // As many as may be out at once, on three shards, and those whose turn came in time.
    let mut asked = 0;
    service.send("PUB done 0\r\n\r\nSUB done 2\r\nPUB done 0\r\n\r\n");
    while let Some((reply, ..)) = service.request() {
        if reply.is_empty() {
            break;
        }
        asked += 1;
    }
    assert!((1..=300).contains(&asked), "{asked}");
}
