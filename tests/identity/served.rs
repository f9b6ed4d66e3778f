//! Accounts' own tokens, as `/accountz?acc=` and `$SYS.REQ.ACCOUNT.<key>.INFO` tell them.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::{ask, none};
use crate::harness::server::{Program, Server, Setup, same_of_each};
use crate::harness::tokens::{Account, Conn, World, now_s, sign};
use crate::monitoring::{self, monitor_address};
use crate::replay::shape;

/// Exports, roles, defaults and limits: all that a token may say, and something it may not.
fn talkative() -> Account {
    let (plain, scoped) = (nkeys::KeyPair::new_account(), nkeys::KeyPair::new_account());
    let user = nkeys::KeyPair::new_user().public_key();
    let scope = json!({
        "kind": "user_scope", "key": scoped.public_key(), "role": "r<&>", "extra": 1,
        "template": {
            "pub": { "allow": ["a.{{name()}}"], "deny": [] }, "sub": {},
            "resp": { "max": 0, "ttl": 5 }, "src": "10.0.0.0/8,127.0.0.1/32",
            "times": [{ "start": "00:00:00", "end": "23:59:59" }], "times_location": "",
            "subs": -1, "data": -1, "payload": 0, "bearer_token": true,
            "allowed_connection_types": ["STANDARD"],
        },
    });
    let revoked = nkeys::KeyPair::new_account().public_key();
    let mut account = Account::new(
        "talk",
        json!({
            "tags": ["b", "a:1"], "description": "of <all>", "info_url": "https://example.org/x",
            "signing_keys": [scope, plain.public_key()], "unknown": { "x": 1 },
            "revocations": { user: 1_600_000_000, "*": 5 },
            "default_permissions": { "pub": { "allow": ["a.>"] }, "resp": { "max": 1, "ttl": 0 } },
            "mappings": {
                "z": [{ "subject": "y" }],
                "a.*": [{ "subject": "b.$1", "weight": 30 }, { "subject": "c.$1", "weight": 20 }],
            },
            "limits": { "conn": 5, "wildcards": true, "imports": 9, "future": 3 },
            "exports": [
                { "name": "s", "subject": "s.>", "type": "stream", "token_req": true,
                  "revocations": { revoked: 1_700_000_000 }, "advertise": true },
                { "subject": "q.*", "type": "service", "response_type": "Stream",
                  "account_token_position": 2, "description": "d" },
                { "subject": "r", "type": "service", "response_threshold": 3_000_000_000_u64,
                  "service_latency": { "sampling": "headers", "results": "lat.r" } },
                { "subject": "t", "type": "service", "response_type": "Chunked",
                  "service_latency": { "sampling": 50, "results": "lat.t" } },
            ],
        }),
    );
    account.claims["aud"] = json!("somebody");
    account.claims["nbf"] = json!(1);
    account.claims["exp"] = json!(now_s() + 10_000);
    account
}

fn importing(from: &Account) -> Account {
    let mut account = Account::new("", none());
    account.claims = none();
    let id = account.id();
    let body = json!({ "subject": "s.>", "kind": "stream" });
    let token = sign(&from.key, "activation", &id, none(), body);
    account.nats["imports"] = json!([
        { "name": "old", "subject": "s.>", "type": "stream", "account": from.id(), "token": token,
          "to": "from" },
        { "subject": "ask", "local_subject": "please", "type": "service", "account": from.id(),
          "share": true },
        { "subject": "r", "type": "service", "account": from.id() },
    ]);
    account
}

/// As they were signed before there was a second version.
fn first_version(world: &World, account: &Account) -> String {
    let nats = json!({
        "limits": { "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1,
                    "payload": -1, "wildcards": true },
        "exports": [{ "subject": "old", "type": "stream" }],
        "mappings": { "a": [{ "subject": "b" }] },
    });
    let claims = json!({
        "jti": "x", "iat": now_s(), "iss": world.operator.public_key(), "sub": account.id(),
        "name": "first", "type": "account", "tags": ["old"], "nats": nats,
    });
    let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let body = encode(claims.to_string().as_bytes());
    let signature = world.operator.sign(body.as_bytes()).expect("a seed");
    let header = encode(br#"{"typ":"jwt","alg":"ed25519"}"#);
    format!("{header}.{body}.{}", encode(&signature))
}

#[test]
fn tokens_of_accounts_are_told_alike() {
    let world = World::new();
    let talkative = talkative();
    let importing = importing(&talkative);
    let first = Account::new("first", none());
    let accounts = [&talkative, &importing, &first, &world.system];
    let mut conf = world.head();
    conf.extend(["resolver: MEMORY".to_string(), "resolver_preload {".to_string()]);
    for account in accounts {
        let token = match account.id() == first.id() {
            true => first_version(&world, account),
            false => world.token_of(account),
        };
        conf.push(format!("  {}: {token}", account.id()));
    }
    conf.push("}".to_string());
    let root = world.system.user(none(), none());
    let told = same_of_each(|program: &Program| {
        let args = vec!["-m".to_owned(), "-1".to_owned()];
        let setup = Setup { conf: conf.clone(), args, shards: 2, ..Setup::default() };
        let mut server = Server::start(program, &setup).expect("the server starts");
        let monitor = monitor_address(&mut server);
        // They come with their users.
        let here = accounts.map(|account| Conn::with(&server, &account.user(none(), none())));
        for (at, (_, lines)) in here.iter().enumerate() {
            assert_eq!(*lines, [""; 0], "account {at}: {}", server.log_text());
        }
        let mut admin = Conn::with(&server, &root).0;
        let mut told = Vec::new();
        for account in accounts {
            let answer = monitoring::ask(monitor, &format!("/accountz?acc={}", account.id()));
            let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
            told.push(shape::of(body));
            let subject = format!("$SYS.REQ.ACCOUNT.{}.INFO", account.id());
            told.push(shape::of(&ask(&mut admin, &subject, "")));
            let answer: Value = serde_json::from_str(body).expect("JSON");
            let detail = &answer["account_detail"];
            told.push(format!("{} {}", detail["decoded_jwt"], detail["validation_result_jwt"]));
        }
        told
    });
    let all = told.join("\n");
    for word in ["decoded_jwt", "revoked_user", "deprecated", "\"first\"", "user_scope", "lat.r"] {
        assert!(all.contains(word), "{word} is told of: {all}");
    }
    assert!(!all.contains("future") && !all.contains("unknown"), "nobody knows these");
}
