//! What the token of a user says of its rights, what an answer that never comes costs, what is
//! told of it all, and what is not.

use serde_json::{Value, json};

use super::house::{self, House, both, described, user_key};
use crate::harness::server::{Program, Server, same_of_each};
use crate::harness::tokens::{Conn, VIOLATION, now_s};

/// Somebody new, about whom the service says that.
fn let_in(house: &House, server: &Server, service: &mut Conn, claims: Value, nats: Value) -> Conn {
    let mut conn = Conn::open(server);
    conn.begin(json!({ "user": "somebody", "pass": "pw" }));
    let (reply, asked) = house.take(service);
    let body = house.user_with(&user_key(&asked), claims, nats);
    house.say(service, &reply, &asked, &house.said(&asked, body));
    conn
}

#[test]
fn rights_that_a_service_gives() {
    let house = House::new();
    both(&house, |server| {
        let mut service = house.service(server);
        let app = json!({ "aud": "APP", "name": "n", "tags": ["x"] });
        let mut told = Vec::new();
        for nats in [
            json!({ "pub": { "deny": ["b"] }, "sub": { "allow": ["a.>"] } }),
            json!({ "sub": { "deny": ["x", "q w"] } }),
            json!({ "resp": { "max": 1, "ttl": 0 } }),
            json!({ "payload": 1, "subs": 1, "data": 1 }),
            json!({ "tags": ["a:b"], "bearer_token": true }),
            json!({ "allowed_connection_types": ["STANDARD", "PIGEON"] }),
            json!({ "times": [{ "start": "00:00:00", "end": "23:59:59" }] }),
        ] {
            let mut conn = let_in(&house, server, &mut service, app.clone(), nats.clone());
            conn.send("SUB x 1\r\nSUB a.x 2\r\nSUB q w 3\r\nPUB b 2\r\nxx\r\nPUB a.x 2\r\nxx\r\n");
            told.push(format!("{nats}: {:?}", conn.settle()));
        }
        told
    });
}

/// What a file says of users without permissions is about its own users: a service must say itself
/// what its users may do.
#[test]
fn default_permissions_are_those_of_the_files_users() {
    let house = House::new();
    let mut conf = house.conf();
    let deny = |subject: &str| format!("default_permissions: {{ publish: {{ deny: {subject} }} }}");
    for (account, subject) in [("  AUTH", "auths"), ("  APP", "apps")] {
        let line = conf.iter_mut().find(|line| line.starts_with(account)).expect("an account");
        line.truncate(line.rfind('}').expect("its end"));
        line.push_str(&format!(", {} }}", deny(subject)));
    }
    let at = conf.iter().position(|line| line.contains("timeout")).expect("authorization");
    conf.insert(at, deny("alls"));
    let says = "PUB auths 1\r\nx\r\nPUB apps 1\r\nx\r\nPUB alls 1\r\nx\r\n\
                PUB other 1\r\nx\r\nPUB $SYS.REQ.USER.AUTH 1\r\nx\r\n";
    let told = same_of_each(|program| {
        let mut server = house::start(program, &conf);
        let mut service = house.service(&server);
        let mut told = Vec::new();
        for (account, nats) in [
            ("APP", json!({})),
            ("APP", json!({ "pub": { "deny": ["other"] } })),
            ("AUTH", json!({})),
            ("$G", json!({})),
        ] {
            let claims = json!({ "aud": account, "name": "n" });
            let mut conn = let_in(&house, &server, &mut service, claims, nats.clone());
            conn.send(says);
            told.push(format!("{account} {nats}: {:?}", conn.settle()));
        }
        let mut own = Conn::open(&server);
        own.begin(json!({ "user": "auth", "pass": "pw" }));
        own.send(says);
        told.push(format!("auth: {:?}", own.settle()));
        // Nor do they become so.
        server.reload(&conf.join("\n").replace("deny: apps", "deny: later"));
        let app = json!({ "aud": "APP", "name": "n" });
        let mut conn = let_in(&house, &server, &mut service, app, json!({}));
        conn.send(says);
        conn.send("PUB later 1\r\nx\r\n");
        told.push(format!("reloaded: {:?}", conn.settle()));
        told
    });
    assert_eq!(told[0], "APP {}: []", "{told:#?}");
    assert_eq!(told[5], "reloaded: []", "{told:#?}");
}

#[test]
fn a_right_that_ends() {
    let house = House::new();
    let told = both(&house, |server| {
        let mut service = house.service(server);
        let claims = json!({ "aud": "APP", "exp": now_s() + 2 });
        let mut conn = let_in(&house, server, &mut service, claims, json!({}));
        let mut told = conn.settle();
        told.extend(conn.rest());
        told
    });
    assert_eq!(told, ["-ERR 'User Authentication Expired'", "(closed)"]);
}

/// nats-server does not look at these in an answer: it lets in whoever has them.
#[test]
fn ringbus_goes_by_sources_and_kinds_of_connections() {
    let house = House::new();
    let server = house::start(&Program::under_test(), &house.conf());
    let mut service = house.service(&server);
    let app = json!({ "aud": "APP" });
    for (nats, is_in) in [
        (json!({ "src": ["127.0.0.0/8"] }), true),
        (json!({ "src": ["10.0.0.0/8"] }), false),
        (json!({ "allowed_connection_types": ["MQTT"] }), false),
        (json!({ "times": [{ "start": "00:00:00", "end": "00:00:01" }] }), false),
    ] {
        let mut conn = let_in(&house, &server, &mut service, app.clone(), nats.clone());
        let end = if is_in { conn.settle() } else { conn.rest() };
        assert_eq!(end.is_empty(), is_in, "{nats}: {end:?}");
    }
}

#[test]
fn an_account_has_as_many_connections_as_it_may() {
    let house = House::new();
    let mut conf = house.conf();
    let at = conf.iter().position(|line| line.starts_with("  APP")).expect("an account");
    conf[at] = "  APP { limits { max_connections: 1 } }".to_string();
    let told = same_of_each(|program| {
        let server = house::start(program, &conf);
        let mut service = house.service(&server);
        let app = json!({ "aud": "APP" });
        let mut first = let_in(&house, &server, &mut service, app.clone(), json!({}));
        let mut told = vec![first.settle()];
        told.push(let_in(&house, &server, &mut service, app.clone(), json!({})).rest());
        told
    });
    assert_eq!(told[1][0], "-ERR 'maximum account active connections exceeded'");
}

/// Those who come by any shard are asked about, and hear each other afterwards.
#[test]
fn clients_of_every_shard_are_asked_about() {
    let house = House::new();
    both(&house, |server| {
        let mut service = house.service(server);
        let mut conns: Vec<Conn> = (0..12)
            .map(|_| {
                let app = json!({ "aud": "APP" });
                let mut conn = let_in(&house, server, &mut service, app, json!({}));
                conn.send("SUB hello 1\r\n");
                conn.settle();
                conn
            })
            .collect();
        conns[0].send("PUB hello 2\r\nhi\r\n");
        conns.iter_mut().map(Conn::message).collect()
    });
}

/// The time to log in is what it may take, from CONNECT on.
#[test]
fn an_answer_that_comes_too_late() {
    let house = House::new();
    let told = both(&house, |server| {
        let mut service = house.service(server);
        let mut conn = Conn::open(server);
        conn.begin(json!({ "user": "u", "pass": "pw" }));
        let (reply, asked) = house.take(&mut service);
        let end = conn.rest();
        let body = house.user(&user_key(&asked), "APP", json!({}));
        house.say(&mut service, &reply, &asked, &house.said(&asked, body));
        vec![format!("{end:?}"), format!("{:?}", service.settle())]
    });
    assert_eq!(told[0], format!("{VIOLATION:?}"));
}

/// So many wait that only a part of them is asked about; users of the service's own come in.
#[test]
fn a_service_that_does_not_answer_holds_up_nobody_for_long() {
    let house = House::new();
    let mut conf = house.conf();
    // As costly to look at as what may wait.
    let hash = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
    let at = conf.iter().position(|line| line.starts_with("  OTHER")).expect("an account");
    conf[at] = format!("  OTHER {{ users: [{{ user: hashed, password: \"{hash}\" }}] }}");
    let at = conf.iter().position(|line| line.contains("auth_callout")).expect("a service");
    conf[at] = conf[at].replace("[auth, sys]", "[auth, sys, hashed]");
    // Enough for the first answer, however slow the machine.
    let at = conf.iter().position(|line| line == "  timeout: 1").expect("a time");
    conf[at] = "  timeout: 5".to_string();
    let server = house::start(&Program::under_test(), &conf);
    let mut service = house.service(&server);
    let mut storm: Vec<Conn> = (0..300).map(|_| Conn::open(&server)).collect();
    storm.iter_mut().for_each(|conn| conn.begin(json!({ "user": "x", "pass": "y" })));
    for (user, pass) in [("auth", "pw"), ("hashed", "secret")] {
        let end = Conn::open(&server).connect(json!({ "user": user, "pass": pass }));
        assert_eq!(end, [""; 0], "{user} does not wait");
    }
    // Those who were asked about come in still.
    let (reply, asked) = house.take(&mut service);
    let body = house.user(&user_key(&asked), "APP", json!({}));
    house.say(&mut service, &reply, &asked, &house.said(&asked, body));
    let ends: Vec<Vec<String>> = storm.iter_mut().map(Conn::settle).collect();
    assert_eq!(ends.iter().filter(|end| end.is_empty()).count(), 1);
    assert_eq!(ends.iter().filter(|end| **end == VIOLATION).count(), 299, "{ends:?}");
    // As many as may be out at once, on three shards, and one in the place of the first.
    service.send("SUB done 2\r\nPUB done 0\r\n\r\n");
    let mut count = 1;
    while service.request().is_some_and(|(reply, ..)| !reply.is_empty()) {
        count += 1;
    }
    assert!((1..=3 * 32 + 1).contains(&count), "{count}");
    // The next are asked about, now that nobody waits.
    let mut conn = Conn::open(&server);
    conn.begin(json!({ "user": "good", "pass": "y" }));
    house.answer(&mut service);
    assert_eq!(conn.settle(), [""; 0]);
}

/// What comes in an event that is not the same from run to run is left out.
pub fn event(text: &str) -> String {
    let all: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("JSON: {text}"));
    let (client, reason) = (&all["client"], &all["reason"]);
    let keys = [
        "acc",
        "issuer_key",
        "user",
        "name",
        "lang",
        "kind",
        "client_type",
        "name_tag",
        "jwt",
        "tags",
    ];
    let told: Vec<String> = keys.iter().map(|key| format!("{key}={}", client[key])).collect();
    format!("{} {} {reason}", all["type"], told.join(" "))
}

#[test]
fn events_of_those_who_were_asked_about() {
    let house = House::new();
    both(&house, |server| {
        let mut service = house.service(server);
        let mut sys = Conn::open(server);
        assert_eq!(sys.connect(json!({ "user": "sys", "pass": "pw" })), [""; 0]);
        let mut owner = Conn::open(server);
        assert_eq!(owner.connect(json!({ "user": "auth", "pass": "pw" })), [""; 0]);
        owner.send("SUB $SYS.ACCOUNT.CLIENT.AUTH.ERR 1\r\n");
        sys.send("SUB $SYS.ACCOUNT.APP.* 1\r\nSUB $SYS.SERVER.*.CLIENT.AUTH.ERR 2\r\n");
        owner.settle();
        sys.settle();
        let mut told = Vec::new();
        for name in ["good", "nameless"] {
            let mut conn = Conn::open(server);
            conn.begin(json!({ "user": name, "pass": "secret" }));
            house.answer(&mut service);
            conn.settle();
            told.push(event(&sys.message()));
            drop(conn);
            told.push(event(&sys.message()));
        }
        // Turned away by the service, by what it has answered, by the clock, and without it.
        for name in ["bad", "lost", "late", "auth"] {
            let mut conn = Conn::open(server);
            conn.begin(json!({ "user": name, "pass": "secret" }));
            match name {
                "late" => drop(house.take(&mut service)),
                "auth" => {}
                _ => drop(house.answer(&mut service)),
            }
            conn.rest();
            told.push(event(&sys.message()));
            told.push(event(&owner.message()));
        }
        told
    });
}

/// The service is told what a client has shown; nobody else is.
#[test]
fn what_clients_show_is_in_no_log() {
    let house = House::new();
    let secrets = ["secret-pass", "secret-token", "secret.jwt.x"];
    let mut conf = house.conf();
    conf.extend(["debug: true".to_string(), "trace: true".to_string()]);
    let mut server = house::start(&Program::under_test(), &conf);
    let mut service = house.service(&server);
    // Nor is the service told of a token where no operator is trusted.
    for (words, is_told) in [
        (json!({ "user": "good", "pass": secrets[0] }), true),
        (json!({ "auth_token": secrets[1] }), true),
        (json!({ "jwt": secrets[2], "user": "bad" }), false),
    ] {
        let mut conn = Conn::open(&server);
        conn.begin(words);
        let asked = house.answer(&mut service);
        assert_eq!(house::holds(&described(&asked), &secrets).is_some(), is_told);
        conn.settle();
    }
    server.wait_log("not today", std::time::Duration::from_secs(10)).expect("why");
    assert_eq!(house::holds(&server.log_text(), &secrets), None);
}
