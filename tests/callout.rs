//! Clients that a service lets in: nats-server and ringbus ask it the same and do as it says.

mod answers;
mod house;
mod limits;
mod operators;

use serde_json::json;

use self::house::{House, both};
use crate::harness::server::{Program, same_of_each};
use crate::harness::tokens::{Conn, VIOLATION};

/// Each says something else, and is told by the name of the user.
fn who_comes_in(house: &House) {
    let mut let_in = vec!["good", "known", "same", "limited", "inside", "nameless"];
    let mut turned_away = vec!["lost", "other", "bad", "empty", "text"];
    // What is sealed comes from the service, whoever has signed it.
    match &house.xkey {
        Some(_) => let_in.push("stranger"),
        None => turned_away.push("stranger"),
    }
    let told = both(house, |server| {
        let mut service = house.service(server);
        let mut told = Vec::new();
        for &name in let_in.iter().chain(&turned_away) {
            let mut conn = Conn::open(server);
            conn.begin(json!({ "user": name, "pass": "pw" }));
            let asked = house.answer(&mut service);
            told.push(house::described(&asked));
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
    who_comes_in(&House::new());
}

#[test]
fn a_service_that_is_asked_under_seal() {
    who_comes_in(&House::sealed());
}

/// A password, a token, an nkey and a signature, a user's token: the service sees all of it.
#[test]
fn what_a_client_shows() {
    let house = House::new();
    let key = nkeys::KeyPair::new_user();
    both(&house, |server| {
        let mut service = house.service(server);
        let mut told = Vec::new();
        for way in ["password", "token", "nkey", "jwt", "nothing", "wrong"] {
            let mut conn = Conn::open(server);
            let sig = conn.signature(&key);
            conn.begin(match way {
                "password" => json!({ "user": "good", "pass": "secret" }),
                "token" => json!({ "auth_token": "secret" }),
                "nkey" => json!({ "nkey": key.public_key(), "sig": sig }),
                "jwt" => json!({ "jwt": "a.b.c", "sig": sig }),
                "wrong" => json!({ "user": "known", "pass": "wrong" }),
                _ => json!({}),
            });
            let asked = house.answer(&mut service);
            let nonce = conn.info["nonce"].as_str().expect("a nonce");
            let described =
                house::described(&asked).replace(nonce, "<nonce>").replace(&sig, "<sig>");
            told.push(format!("{way}: {described} {:?}", conn.settle()));
        }
        told
    });
}

#[test]
fn no_service_lets_nobody_in_but_its_own_users() {
    let house = House::new();
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

/// Users of accounts that are not on the list are let in as ever.
#[test]
fn accounts_that_are_left_to_the_service() {
    let house = House { more: vec!["allowed_accounts: [APP]".into()], ..House::new() };
    both(&house, |server| {
        let mut service = house.service(server);
        let mut told = Vec::new();
        for (name, is_asked) in [("known", true), ("elsewhere", false), ("good", true)] {
            let mut conn = Conn::open(server);
            conn.begin(json!({ "user": name, "pass": "pw" }));
            if is_asked {
                told.push(house::described(&house.answer(&mut service)));
            }
            told.push(format!("{name}: {:?}", conn.settle()));
        }
        told.push(format!("{:?}", service.settle()));
        told
    });
}

/// What INFO says, and that a signature is only asked for where somebody could give one.
#[test]
fn what_a_server_with_a_service_says_of_itself() {
    let house = House::new();
    same_of_each(|program| {
        let mut conf = house.conf();
        let at = conf.iter().position(|line| line.contains("nkey: ")).expect("a key");
        conf.remove(at);
        let server = house::start(program, &conf);
        let info = Conn::open(&server).info;
        ["nonce", "xkey", "auth_required"].map(|key| format!("{key}: {}", !info[key].is_null()))
    });
}

/// It can only be changed by a start.
#[test]
fn a_reload_that_changes_the_service_is_refused() {
    let house = House::new();
    both(&house, |server| {
        let first = house.conf().join("\n");
        let without = first.lines().filter(|line| !line.contains("callout")).collect::<Vec<_>>();
        let other = first.replace("auth_users: [auth, sys]", "auth_users: [auth]");
        let mut told = Vec::new();
        for text in [without.join("\n"), other] {
            let line = server.reread(&text, "Failed to reload");
            told.push(line.split_once("[ERR] ").expect("an error").1.to_string());
        }
        let mut service = house.service(server);
        let mut conn = Conn::open(server);
        conn.begin(json!({ "user": "good", "pass": "pw" }));
        house.answer(&mut service);
        told.push(format!("{:?}", conn.settle()));
        told
    });
}

/// nats-server asks about them again; what they have shown is forgotten here.
#[test]
fn whom_a_service_has_let_in_outlives_a_reload() {
    let house = House::new();
    let mut server = house::start(&Program::under_test(), &house.conf());
    let mut service = house.service(&server);
    let mut conn = Conn::open(&server);
    conn.begin(json!({ "user": "good", "pass": "pw" }));
    house.answer(&mut service);
    assert_eq!(conn.settle(), [""; 0]);
    let text = house.conf().join("\n");
    server.reload(&text.replace("user: elsewhere", "user: later"));
    assert_eq!(conn.settle(), [""; 0]);
    // Unless its account is gone.
    let without = text.lines().filter(|line| !line.starts_with("  APP")).collect::<Vec<_>>();
    server.reload(&without.join("\n"));
    assert_eq!(conn.rest(), VIOLATION);
}
