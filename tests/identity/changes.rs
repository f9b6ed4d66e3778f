//! What becomes of those who are there when their account's token changes.

use nkeys::KeyPair;
use serde_json::{Value, json};

use super::{ask, before_it_ends, none, shown, start};
use crate::command::await_that;
use crate::harness::server::{Program, Server, same_of_each};
use crate::harness::tokens::{Account, Conn, User, World, now_s, sign};

/// A server, and somebody who has it take other tokens.
struct Running<'a> {
    world: &'a World,
    server: Server,
    admin: Conn,
}

impl Running<'_> {
    fn start<'a>(program: &Program, world: &'a World, accounts: &[&Account]) -> Running<'a> {
        let server = start(program, &world.conf(accounts));
        let admin = Conn::with(&server, &world.system.user(none(), none())).0;
        Running { world, server, admin }
    }

    fn push(&mut self, account: &Account) {
        let update = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", account.id());
        let answer = ask(&mut self.admin, &update, &self.world.token_of(account));
        assert!(answer.contains("jwt updated"), "{answer}");
    }

    fn log_in(&self, user: &User) -> (Conn, Vec<String>) {
        Conn::with(&self.server, user)
    }
}

/// Sends this until what comes back is something else than `before`: shards take in changes one
/// after the other.
fn other_than(before: &[String], conn: &mut Conn, send: &str) -> Vec<String> {
    let mut lines = Vec::new();
    await_that("something else comes back", || {
        conn.send(send);
        lines = conn.settle();
        lines != before
    });
    lines
}

fn limits(account: &mut Account, name: &str, value: i64) {
    account.nats["limits"][name] = json!(value);
}

#[test]
fn the_newest_go_when_there_may_be_fewer_connections() {
    let world = World::new();
    for first in [-1, 5] {
        let mut app = Account::new("APP", none());
        limits(&mut app, "conn", first);
        let (user, other) = (app.user(none(), none()), app.user(none(), none()));
        let told = same_of_each(|program| {
            let mut app = Account { key: app.key.clone(), ..Account::new("APP", none()) };
            limits(&mut app, "conn", first);
            let mut it = Running::start(program, &world, &[&app]);
            let mut conns: Vec<Conn> =
                [&user, &other, &user, &other].map(|user| it.log_in(user).0).into();
            limits(&mut app, "conn", 2);
            it.push(&app);
            let mut told = Vec::new();
            for at in [3, 2] {
                told.push(shown("new", &conns[at].rest()));
            }
            for conn in &mut conns[..2] {
                told.push(shown("old", &conn.settle()));
            }
            told.push(shown("next", &it.log_in(&user).1));
            limits(&mut app, "conn", 3);
            it.push(&app);
            let (_stays, lines) = it.log_in(&user);
            told.push(shown("more", &lines));
            limits(&mut app, "conn", 0);
            it.push(&app);
            told.extend(conns[..2].iter_mut().map(|conn| shown("none", &conn.rest())));
            told.push(shown("none", &it.log_in(&user).1));
            told
        });
        let full = "-ERR 'maximum account active connections exceeded' | (closed)";
        assert_eq!(told[0], format!("new: {full}"), "{told:#?}");
        assert_eq!(told[2], "old: ", "{told:#?}");
        assert_eq!(told[5], "more: ", "{told:#?}");
    }
}

#[test]
fn as_many_of_a_file_stay_as_there_may_be() {
    let conf = |max: i64| {
        let users = "[{ user: a, password: a }]";
        format!("accounts {{ A {{ users: {users}, limits {{ max_connections: {max} }} }} }}")
    };
    let told = same_of_each(|program| {
        let mut server = start(program, &[conf(3)]);
        let open = |server: &Server| {
            let mut conn = Conn::open(server);
            let lines = conn.connect(json!({ "user": "a", "pass": "a" }));
            (conn, lines)
        };
        let mut conns = [(); 3].map(|()| open(&server).0);
        server.reload(&conf(1));
        let mut told = vec![shown("next", &open(&server).1)];
        // Which of them is chance with nats-server.
        let mut all = conns.each_mut().map(|conn| conn.settle());
        await_that("two have gone", || {
            let there = conns.iter_mut().zip(&mut all).filter(|(_, lines)| lines.is_empty());
            there.for_each(|(conn, lines)| *lines = conn.settle());
            all.iter().filter(|lines| !lines.is_empty()).count() >= 2
        });
        all.sort();
        told.extend(all.iter().map(|lines| shown("there", lines)));
        told
    });
    assert_eq!(told[1], "there: ");
    assert!(told[2].contains("maximum account active connections exceeded"), "{told:#?}");
}

#[test]
fn who_has_as_many_subscriptions_as_he_may_by_now_goes() {
    let world = World::new();
    let key = KeyPair::new_account();
    let told = same_of_each(|program| {
        let mut app = Account { key: key.clone(), ..Account::new("APP", none()) };
        let user = app.user(none(), none());
        let own = app.user(none(), json!({ "subs": 9 }));
        let mut it = Running::start(program, &world, &[&app]);
        let there = |user: &User, subs: usize| {
            let mut conn = it.log_in(user).0;
            (0..subs).for_each(|sid| conn.send(&format!("SUB a.{sid} {sid}\r\n")));
            assert_eq!(conn.settle(), [""; 0]);
            conn
        };
        let mut fewer = there(&user, 1);
        let mut gone = [there(&user, 2), there(&user, 3), there(&own, 3)];
        limits(&mut app, "subs", 2);
        it.push(&app);
        let mut told = Vec::new();
        told.extend(gone.iter_mut().map(|conn| shown("gone", &conn.rest())));
        fewer.send("SUB b 8\r\nSUB b 9\r\n");
        told.push(shown("fewer", &fewer.settle()));
        told
    });
    assert!(told[0].contains("maximum subscriptions exceeded"), "{told:#?}");
    assert!(!told[3].contains("(closed)"), "{told:#?}");
}

#[test]
fn payloads_are_measured_by_the_token_there_is() {
    let world = World::new();
    let key = KeyPair::new_account();
    let told = same_of_each(|program| {
        let mut app = Account { key: key.clone(), ..Account::new("APP", none()) };
        let user = app.user(none(), none());
        let own = app.user(none(), json!({ "payload": 4, "data": 1 }));
        let mut it = Running::start(program, &world, &[&app]);
        let mut conns = [it.log_in(&user).0, it.log_in(&own).0];
        let mut told = Vec::new();
        let send = "PUB a 4\r\nfour\r\n";
        conns[0].send(send);
        conns[1].send(send);
        told.extend(conns.iter_mut().map(|conn| shown("before", &conn.settle())));
        // More than it was allowed does not make it more than the user is.
        limits(&mut app, "payload", 5);
        it.push(&app);
        let mut third = it.log_in(&own).0;
        third.send("PUB a 5\r\n");
        told.push(shown("own", &third.rest()));
        limits(&mut app, "payload", 3);
        it.push(&app);
        for conn in &mut conns {
            told.push(shown("after", &other_than(&[], conn, send)));
        }
        told
    });
    assert!(told[3].contains("Maximum Payload Violation"), "{told:#?}");
}

#[test]
fn default_permissions_of_those_who_are_there() {
    let world = World::new();
    let key = KeyPair::new_account();
    let told = same_of_each(|program| {
        let mut app = Account { key: key.clone(), ..Account::new("APP", none()) };
        let user = app.user(none(), none());
        let own = app.user(none(), json!({ "pub": { "allow": ["own"] } }));
        let mut it = Running::start(program, &world, &[&app]);
        let (mut conn, mut other) = (it.log_in(&user).0, it.log_in(&own).0);
        conn.send("SUB a 1\r\nSUB b 2\r\nSUB c q 3\r\n");
        let mut told = vec![shown("before", &conn.settle())];
        app.nats["default_permissions"] = json!({
            "pub": { "allow": ["a"] }, "sub": { "deny": ["b", "c q"] }, "resp": { "max": 1 },
        });
        it.push(&app);
        let mut lines = other_than(&[], &mut conn, "PUB b 0\r\n\r\n");
        // In what order subscriptions go is chance with nats-server.
        lines.sort();
        told.push(shown("publish", &lines));
        conn.send("PUB a 1\r\nx\r\nSUB b 4\r\nSUB c 5\r\n");
        told.push(shown("left", &conn.settle()));
        other.send("PUB own 0\r\n\r\nSUB b 4\r\n");
        told.push(shown("own", &other.settle()));
        app.nats["default_permissions"] = none();
        it.push(&app);
        let denied = ["-ERR 'Permissions Violation for Publish to \"b\"'".to_string()];
        told.push(shown("again", &other_than(&denied, &mut conn, "PUB b 0\r\n\r\n")));
        conn.send("SUB b 6\r\nPUB b 1\r\ny\r\n");
        told.push(shown("again", &conn.settle()));
        told
    });
    assert!(told[1].contains("Publish to \"b\""), "{told:#?}");
    assert!(told.last().is_some_and(|line| line.ends_with("MSG b 6 1 | y")), "{told:#?}");
}

/// One account that offers a stream and a service, and one that takes both.
fn traders(keys: &[KeyPair; 2]) -> [Account; 2] {
    let [there, here] = keys;
    let mut exporter = Account { key: there.clone(), ..Account::new("EXP", none()) };
    exporter.nats["exports"] = json!([
        { "subject": "news", "type": "stream" },
        { "subject": "ask", "type": "service" },
    ]);
    let mut importer = Account { key: here.clone(), ..Account::new("IMP", none()) };
    importer.nats["imports"] = json!([
        { "subject": "news", "local_subject": "got", "type": "stream", "account": exporter.id() },
        { "subject": "ask", "local_subject": "please", "type": "service",
          "account": exporter.id() },
    ]);
    [exporter, importer]
}

/// Which of both get through.
fn trade(from: &mut Conn, to: &mut Conn) -> Vec<String> {
    from.send("PUB news 1\r\nn\r\n");
    from.settle();
    to.send("PUB please answer 2\r\nhi\r\n");
    let at_importer = to.settle();
    let asked = from.settle();
    let has = |lines: &[String], text: &str| lines.iter().any(|line| line.contains(text));
    vec![format!("news {}, asked {}", has(&at_importer, "MSG got"), has(&asked, "MSG ask"))]
}

#[test]
fn what_is_offered_and_taken_changes_for_those_who_are_there() {
    let world = World::new();
    let keys = [KeyPair::new_account(), KeyPair::new_account()];
    type Change = fn(&mut Account, &mut Account);
    let withdrawn: [(&str, Change); 4] = [
        ("stream export", |exporter, _| drop(offers(exporter).remove(0))),
        ("service export", |exporter, _| drop(offers(exporter).remove(1))),
        ("stream import", |_, importer| drop(takes(importer).remove(0))),
        ("service import", |_, importer| drop(takes(importer).remove(1))),
    ];
    let told = same_of_each(|program| {
        let [exporter, importer] = traders(&keys);
        let mut it = Running::start(program, &world, &[&exporter, &importer]);
        let mut from = it.log_in(&exporter.user(none(), none())).0;
        let mut to = it.log_in(&importer.user(none(), none())).0;
        from.send("SUB ask 1\r\n");
        from.settle();
        to.send("SUB got 1\r\n");
        to.settle();
        let both = trade(&mut from, &mut to);
        let mut told = vec![shown("first", &both)];
        for (what, change) in withdrawn {
            let [mut exporter, mut importer] = traders(&keys);
            change(&mut exporter, &mut importer);
            it.push(&exporter);
            it.push(&importer);
            told.push(shown(what, &until(|lines| *lines != both, &mut from, &mut to)));
            let [exporter, importer] = traders(&keys);
            it.push(&exporter);
            it.push(&importer);
            told.push(shown("again", &until(|lines| *lines == both, &mut from, &mut to)));
        }
        told
    });
    assert_eq!(told[0], "first: news true, asked true");
    assert_eq!(told[1], "stream export: news false, asked true", "{told:#?}");
}

#[test]
fn a_file_that_pins_other_accounts_leaves_nobody_of_these() {
    let world = World::new();
    let [app, other] = ["APP", "OTHER"].map(|name| Account::new(name, none()));
    let conf = |pinned: &str| {
        let mut lines = world.conf(&[&app, &other]);
        lines.push(format!("resolver_pinned_accounts: [{pinned}]"));
        lines
    };
    let users = [&app, &other, &world.system].map(|account| account.user(none(), none()));
    let both = format!("{}, {}", app.id(), other.id());
    let told = same_of_each(|program| {
        let mut server = start(program, &conf(&both));
        let mut conns = users.each_ref().map(|user| Conn::with(&server, user).0);
        server.reload(&conf(&other.id()).join("\n"));
        let mut told = vec![shown("app", &conns[0].rest())];
        told.extend(conns[1..].iter_mut().map(|conn| shown("there", &conn.settle())));
        told.push(shown("again", &Conn::with(&server, &users[0]).1));
        server.reload(&conf(&both).join("\n"));
        told.push(shown("pinned again", &Conn::with(&server, &users[0]).1));
        told
    });
    assert_eq!(told[0], "app: -ERR 'Authorization Violation' | (closed)");
}

#[test]
fn activations_that_are_revoked_while_they_are_used() {
    let world = World::new();
    let keys = [KeyPair::new_account(), KeyPair::new_account()];
    let both = |there: bool| vec![format!("news {there}, asked {there}")];
    let revoked = [
        (json!({ "*": 999 }), true),
        (json!({ "*": 1000 }), false),
        (none(), true),
        (json!({ keys[1].public_key(): 1000 }), false),
        (json!({ keys[1].public_key(): 999 }), true),
    ];
    same_of_each(|program| {
        let [mut exporter, mut importer] = traders(&keys);
        offers(&mut exporter).iter_mut().for_each(|it| it["token_req"] = json!(true));
        for import in takes(&mut importer) {
            let body = json!({ "subject": import["subject"], "kind": import["type"] });
            let made = json!({ "iat": 1000 });
            let of = keys[1].public_key();
            import["token"] = json!(sign(&keys[0], "activation", &of, made, body));
        }
        let mut it = Running::start(program, &world, &[&exporter, &importer]);
        let mut from = it.log_in(&exporter.user(none(), none())).0;
        let mut to = it.log_in(&importer.user(none(), none())).0;
        from.send("SUB ask 1\r\n");
        from.settle();
        to.send("SUB got 1\r\n");
        to.settle();
        let mut told = trade(&mut from, &mut to);
        for (revocations, stays) in &revoked {
            let revoke = |it: &mut Value| it["revocations"] = revocations.clone();
            offers(&mut exporter).iter_mut().for_each(revoke);
            it.push(&exporter);
            told.extend(until(|lines| *lines == both(*stays), &mut from, &mut to));
        }
        told
    });
}

fn until(done: impl Fn(&Vec<String>) -> bool, from: &mut Conn, to: &mut Conn) -> Vec<String> {
    await_that("trade is done otherwise", || done(&trade(from, to)));
    // What was half done is done by now.
    trade(from, to)
}

fn offers(account: &mut Account) -> &mut Vec<Value> {
    account.nats["exports"].as_array_mut().expect("a list")
}

fn takes(account: &mut Account) -> &mut Vec<Value> {
    account.nats["imports"].as_array_mut().expect("a list")
}

#[test]
fn bearers_and_roles_that_are_no_longer_allowed() {
    let world = World::new();
    let (key, role) = (KeyPair::new_account(), KeyPair::new_account());
    let scope = |subject: &str| {
        json!([{
            "kind": "user_scope", "key": role.public_key(), "role": "r",
            "template": { "pub": { "allow": [subject] }, "sub": {},
                          "subs": -1, "data": -1, "payload": -1 },
        }])
    };
    let told = same_of_each(|program| {
        let mut app = Account { key: key.clone(), ..Account::new("APP", none()) };
        app.nats["signing_keys"] = scope("a");
        let bearer = app.user(none(), json!({ "bearer_token": true }));
        let scoped = User::scoped(&role, &app, none(), none());
        let mut it = Running::start(program, &world, &[&app]);
        let mut conns = [it.log_in(&bearer).0, it.log_in(&scoped).0];
        let mut stays = it.log_in(&app.user(none(), none())).0;
        limits(&mut app, "subs", 100);
        it.push(&app);
        let mut told: Vec<String> =
            conns.iter_mut().map(|conn| shown("same", &conn.settle())).collect();
        app.nats["limits"]["disallow_bearer"] = json!(true);
        it.push(&app);
        told.push(shown("bearer", &conns[0].rest()));
        app.nats["signing_keys"] = scope("b");
        it.push(&app);
        told.push(shown("role", &conns[1].rest()));
        told.push(shown("stays", &stays.settle()));
        let mut again = it.log_in(&scoped).0;
        again.send("PUB a 0\r\n\r\nPUB b 0\r\n\r\n");
        told.push(shown("again", &again.settle()));
        told
    });
    assert!(told[2].ends_with("(closed)") && told[3].ends_with("(closed)"), "{told:#?}");
}

#[test]
fn an_account_that_has_ended_and_is_renewed() {
    let world = World::new();
    let key = KeyPair::new_account();
    let work = |program: &Program, exp: i64| {
        let mut app = Account { key: key.clone(), ..Account::new("APP", none()) };
        let user = app.user(none(), none());
        let mut it = Running::start(program, &world, &[&app]);
        let (mut conn, mut told) = (it.log_in(&user).0, Vec::new());
        app.claims["exp"] = json!(exp);
        it.push(&app);
        if now_s() >= exp {
            return None;
        }
        told.push(shown("ended", &conn.rest()));
        told.push(shown("ended", &it.log_in(&user).1));
        app.claims["exp"] = json!(now_s() + 1000);
        it.push(&app);
        told.push(shown("renewed", &it.log_in(&user).1));
        Some(told)
    };
    let told = same_of_each(|program| before_it_ends(|exp| work(program, exp)));
    assert!(told[0].contains("Account Authentication Expired"), "{told:#?}");
    assert_eq!(told[2], "renewed: ", "{told:#?}");
}
