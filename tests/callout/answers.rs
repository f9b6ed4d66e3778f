//! Answers that are not as they should be: nobody comes in by them, and the log says why.

use nkeys::KeyPair;
use serde_json::{Value, json};

use super::house::{House, Said, both, logged, user_key};
use crate::harness::tokens::{Conn, VIOLATION, now_s, sign};

/// What is wrong with an answer.
type Wrong = (&'static str, fn(&House, &Value, Said) -> Said);

fn body(said: Said, body: Value) -> Said {
    Said { body, ..said }
}

fn claims(said: Said, key: &str, value: Value) -> Said {
    let mut claims = said.claims.clone();
    claims[key] = value;
    Said { claims, ..said }
}

const WRONG: &[Wrong] = &[
    ("another server", |_, _, said| claims(said, "aud", json!(KeyPair::new_server().public_key()))),
    ("no server", |_, _, said| claims(said, "aud", json!("x"))),
    ("another request", |_, _, said| Said { subject: KeyPair::new_user().public_key(), ..said }),
    ("no user", |_, _, said| Said { subject: KeyPair::new_account().public_key(), ..said }),
    ("an end", |_, _, said| claims(said, "exp", json!(now_s() - 10))),
    ("an error", |_, _, said| body(said, json!({ "error": "not today" }))),
    ("nothing", |_, _, said| body(said, json!({}))),
    ("an error and a user", |house, asked, said| {
        let mut both = house.user(&user_key(asked), "APP", json!({}));
        both["error"] = json!("x");
        body(said, both)
    }),
    ("no account", |house, asked, said| body(said, house.user(&user_key(asked), "", json!({})))),
    ("an unknown account", |house, asked, said| {
        body(said, house.user(&user_key(asked), "NOWHERE", json!({})))
    }),
    ("another user", |house, _, said| {
        body(said, house.user(&KeyPair::new_user().public_key(), "APP", json!({})))
    }),
    ("a user of another issuer", |_, asked, said| {
        let other = KeyPair::new_account();
        let nats = json!({ "subs": -1, "data": -1, "payload": -1 });
        let token = sign(&other, "user", &user_key(asked), json!({ "aud": "APP" }), nats);
        body(said, json!({ "jwt": token }))
    }),
    ("a user of another's account", |house, asked, said| {
        let account = json!({ "issuer_account": KeyPair::new_account().public_key() });
        body(said, house.user(&user_key(asked), "APP", account))
    }),
    ("a user whose time is over", |house, asked, said| {
        let claims = json!({ "aud": "APP", "exp": now_s() - 10 });
        body(said, house.user_with(&user_key(asked), claims, json!({})))
    }),
    ("an unknown kind of connection", |house, asked, said| {
        let nats = json!({ "allowed_connection_types": ["PIGEON"] });
        body(said, house.user(&user_key(asked), "APP", nats))
    }),
    ("hours that are none", |house, asked, said| {
        let nats = json!({ "times": [{ "start": "x", "end": "y" }] });
        body(said, house.user(&user_key(asked), "APP", nats))
    }),
    ("a proxy", |house, asked, said| {
        body(said, house.user(&user_key(asked), "APP", json!({ "proxy_required": true })))
    }),
    ("not the issuer", |_, _, said| Said { by: KeyPair::new_account(), ..said }),
];

/// The keys that are in a line change from run to run.
fn without_keys(line: &str, keys: &[(String, &str)]) -> String {
    keys.iter().fold(line.to_string(), |line, (key, name)| line.replace(key, name))
}

#[test]
fn answers_that_let_nobody_in() {
    let house = House::new();
    let told = both(&house, |server| {
        let mut service = house.service(server);
        let mut told = Vec::new();
        for (at, (what, spoil)) in WRONG.iter().enumerate() {
            let mut conn = Conn::open(server);
            conn.begin(json!({ "user": "u", "pass": "pw" }));
            let (reply, asked) = house.take(&mut service);
            let said = house.said(&asked, house.user(&user_key(&asked), "APP", json!({})));
            house.say(&mut service, &reply, &asked, &spoil(&house, &asked, said));
            told.push(format!("{what}: {:?}", conn.rest()));
            let why = logged(server, "[WRN]", at + 1).pop().expect("a line");
            let keys = [(user_key(&asked), "<user>"), (house.issuer.public_key(), "<issuer>")];
            told.push(masked(&without_keys(&why, &keys)));
        }
        told
    });
    for (what, _) in WRONG {
        assert!(told.contains(&format!("{what}: {VIOLATION:?}")), "{what}: {told:#?}");
    }
}

/// Keys that only one side has seen.
fn masked(line: &str) -> String {
    let is_key = |word: &str| word.len() == 56 && word.bytes().all(|b| b.is_ascii_alphanumeric());
    line.split('"')
        .map(|part| if is_key(part) { "<key>" } else { part })
        .collect::<Vec<_>>()
        .join("\"")
}

/// A key of somebody else's opens nothing.
#[test]
fn answers_under_another_seal() {
    let house = House::sealed();
    let told = both(&house, |server| {
        let mut service = house.service(server);
        let mut conn = Conn::open(server);
        conn.begin(json!({ "user": "u", "pass": "pw" }));
        let (reply, asked) = house.take(&mut service);
        let body = house.user(&user_key(&asked), "APP", json!({}));
        let other = House { issuer: KeyPair::new_account(), ..House::sealed() };
        other.say(&mut service, &reply, &asked, &house.said(&asked, body));
        vec![format!("{:?}", conn.rest())]
    });
    assert_eq!(told, [format!("{VIOLATION:?}")]);
}

/// It may answer in the open, but then its signature counts.
#[test]
fn answers_without_a_seal_where_there_could_be_one() {
    let house = House::sealed();
    let plain = |by: &KeyPair| House {
        issuer: KeyPair::from_seed(&by.seed().expect("a seed")).expect("a seed"),
        ..House::new()
    };
    both(&house, |server| {
        let mut service = house.service(server);
        let stranger = KeyPair::new_account();
        let mut told = Vec::new();
        for by in [&house.issuer, &stranger] {
            let mut conn = Conn::open(server);
            conn.begin(json!({ "user": "u", "pass": "pw" }));
            let (reply, asked) = house.take(&mut service);
            let body = house.user(&user_key(&asked), "APP", json!({}));
            let said = plain(by).said(&asked, body);
            plain(by).say(&mut service, &reply, &asked, &said);
            told.push(format!("{:?}", conn.settle()));
        }
        told
    });
}

/// An answer counts once, and for the connection it was asked for.
#[test]
fn an_answer_to_another_connection_lets_nobody_in() {
    let house = House::new();
    both(&house, |server| {
        let mut service = house.service(server);
        let mut conns = [Conn::open(server), Conn::open(server)];
        let mut asked = Vec::new();
        for conn in &mut conns {
            conn.begin(json!({ "user": "u", "pass": "pw" }));
            asked.push(house.take(&mut service));
        }
        let (reply, first) = &asked[0];
        let body = house.user(&user_key(first), "APP", json!({}));
        house.say(&mut service, &asked[1].0, first, &house.said(first, body.clone()));
        house.say(&mut service, reply, first, &house.said(first, body));
        conns.iter_mut().map(|conn| format!("{:?}", conn.settle())).collect()
    });
}
