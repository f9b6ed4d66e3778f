//! Clients that prove who they are with tokens: nats-server and ringbus hear the same and answer the
//! same.

mod advisories;
mod changes;
mod files;
mod flood;
mod imports;
mod said;
mod served;
mod shown;
mod users;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::command::{Scratch, await_that};
use crate::harness::server::{Program, Server, Setup, same_of_each};
use crate::harness::tokens::{Account, Conn, User, VIOLATION, World, now_s, sign};

/// As [`same_of_each`], with a server that has this configuration.
fn same_of_both(conf: &[String], work: impl Fn(&mut Server) -> Vec<String>) -> Vec<String> {
    same_of_each(|program| work(&mut start(program, conf)))
}

fn start(program: &Program, conf: &[String]) -> Server {
    Server::with_conf(program, conf, 3)
}

/// Lets `work` make something that ends at this time, seconds since 1970. It gives nothing if the
/// time had come when the last step was done that must come before it: then it gets more.
fn before_it_ends<T>(work: impl Fn(i64) -> Option<T>) -> T {
    let run = |life_s| work(now_s() + life_s);
    [2, 4, 8].into_iter().find_map(run).expect("8 seconds are enough")
}

fn shown(what: &str, lines: &[String]) -> String {
    format!("{what}: {}", lines.join(" | "))
}

fn none() -> serde_json::Value {
    json!({})
}

#[test]
fn info_asks_for_a_signature() {
    let world = World::new();
    same_of_both(&world.conf(&[]), |server| {
        let info = Conn::open(server).info;
        let nonce = info["nonce"].as_str().map(str::len);
        vec![format!("{:?} {:?}", info["auth_required"], nonce)]
    });
}

#[test]
fn who_is_let_in_and_who_is_not() {
    let world = World::new();
    let mut app = Account::new("APP", none());
    let (signing, gone) = (nkeys::KeyPair::new_account(), nkeys::KeyPair::new_user());
    app.nats["signing_keys"] = json!([signing.public_key()]);
    app.nats["revocations"] = json!({ gone.public_key(): now_s() + 60 });
    let strict = Account::new("STRICT", json!({ "limits": { "disallow_bearer": true } }));
    let mut late = Account::new("LATE", none());
    late.claims["exp"] = json!(now_s() - 10);
    let unknown = Account::new("UNKNOWN", none());
    let conf = world.conf(&[&app, &strict, &late]);
    let of_app = json!({ "issuer_account": app.id() });
    let body = json!({ "subs": -1, "data": -1, "payload": -1 });
    let revoked = {
        let token = sign(&app.key, "user", &gone.public_key(), none(), body);
        User { key: gone, token }
    };
    let foreign = nkeys::KeyPair::new_account();
    let users = [
        ("by the account", app.user(none(), none())),
        ("by a signing key", User::signed_by(&signing, none(), of_app.clone())),
        ("by a stranger", User::signed_by(&foreign, none(), of_app)),
        ("of no account", unknown.user(none(), none())),
        ("ended", app.user(json!({ "exp": now_s() - 5 }), none())),
        ("not yet", app.user(json!({ "nbf": now_s() + 100 }), none())),
        ("revoked", revoked),
        ("of an account that has ended", late.user(none(), none())),
        ("from elsewhere", app.user(none(), json!({ "src": ["192.0.2.0/24"] }))),
        ("from here", app.user(none(), json!({ "src": ["127.0.0.0/8"] }))),
        ("mqtt", app.user(none(), json!({ "allowed_connection_types": ["MQTT"] }))),
        ("standard", app.user(none(), json!({ "allowed_connection_types": ["standard"] }))),
        ("of a new kind", app.user(none(), json!({ "allowed_connection_types": ["NEW"] }))),
        ("bad subject", app.user(none(), json!({ "pub": { "allow": ["a..b"] } }))),
        ("strictly", strict.user(none(), none())),
    ];
    let bearer = json!({ "bearer_token": true });
    let bearers = [
        ("bearer", app.user(none(), bearer.clone())),
        ("bearer where none may", strict.user(none(), bearer)),
        ("no bearer", app.user(none(), none())),
    ];
    let told = same_of_both(&conf, |server| {
        let mut told = Vec::new();
        for (what, user) in &users {
            told.push(shown(what, &Conn::with(server, user).1));
        }
        for (what, user) in &bearers {
            let lines = Conn::open(server).connect(json!({ "jwt": user.token }));
            told.push(shown(what, &lines));
        }
        told.extend(without_a_token(server, &users[0].1));
        told
    });
    let is_in = |line: &&String| line.ends_with(": ");
    let inside: Vec<&str> = told.iter().filter(is_in).map(|l| l.trim_end_matches(": ")).collect();
    let expected =
        ["by the account", "by a signing key", "from here", "standard", "strictly", "bearer"];
    assert_eq!(inside, expected, "{told:#?}");
    let outside = told.iter().filter(|line| !is_in(line));
    assert!(outside.clone().all(|line| line.ends_with(&VIOLATION.join(" | "))), "{told:#?}");
}

/// What comes of less than a token and its owner's signature.
fn without_a_token(server: &Server, user: &User) -> Vec<String> {
    let mut conn = Conn::open(server);
    let sig = conn.signature(&nkeys::KeyPair::new_user());
    let borrowed = conn.connect(json!({ "jwt": user.token, "sig": sig }));
    let mut silent = Conn::open(server);
    silent.send("SUB a 1\r\n");
    let open = |words| Conn::open(server).connect(words);
    vec![
        shown("signed by another", &borrowed),
        shown("nothing", &open(none())),
        shown("a password", &open(json!({ "user": "a", "pass": "b" }))),
        shown("junk", &open(json!({ "jwt": "x", "sig": "y" }))),
        shown("no CONNECT", &silent.rest()),
    ]
}

#[test]
fn advisory_2026_23_tokens_with_broken_keys_end_one_connection_only() {
    let world = World::new();
    let app = Account::new("APP", none());
    let good = app.user(none(), none());
    same_of_both(&world.conf(&[&app]), |server| {
        let mut told = Vec::new();
        for subject in ["U", "UAAAA", "", &"U".repeat(200), &app.id()] {
            let body = json!({ "subs": -1, "data": -1, "payload": -1 });
            let token = sign(&app.key, "user", subject, none(), body);
            let mut conn = Conn::open(server);
            let sig = conn.signature(&good.key);
            told.push(shown(subject, &conn.connect(json!({ "jwt": token, "sig": sig }))));
        }
        told.push(shown("good", &Conn::with(server, &good).1));
        told
    });
}

#[test]
fn permissions_and_limits_of_a_token() {
    let world = World::new();
    let role = nkeys::KeyPair::new_account();
    let mut app = Account::new("APP", json!({ "limits": { "subs": 3, "payload": 20 } }));
    app.nats["default_permissions"] = json!({ "pub": { "allow": ["default.>"] } });
    app.nats["mappings"] = json!({ "from": [{ "subject": "to", "weight": 100 }] });
    app.nats["signing_keys"] = json!([{
        "kind": "user_scope", "key": role.public_key(), "role": "device",
        "template": {
            "pub": { "allow": ["{{name()}}.>", "{{tag(team)}}.x"] }, "sub": {},
            "subs": 1, "data": -1, "payload": 9,
        },
    }]);
    let conf = world.conf(&[&app]);
    let by_default = app.user(none(), none());
    let own = app.user(
        none(),
        json!({
            "pub": { "allow": ["mine", "from"], "deny": ["mine.not"] },
            "sub": { "allow": ["get.>", "to", "work q"], "deny": ["get.no"] },
            "payload": 10,
        }),
    );
    let tags = json!({ "tags": ["team:red"] });
    let scoped = User::scoped(&role, &app, json!({ "name": "dev7" }), tags);
    let loud = User::scoped(&role, &app, none(), json!({ "pub": { "allow": ["a"] } }));
    same_of_both(&conf, |server| {
        let mut told = Vec::new();
        let (mut conn, lines) = Conn::with(server, &by_default);
        told.push(shown("defaults", &lines));
        conn.send("PUB default.a 1\r\na\r\nPUB other 1\r\nb\r\nSUB any 1\r\n");
        told.push(shown("defaults", &conn.settle()));
        let (mut conn, lines) = Conn::with(server, &own);
        told.push(shown("own", &lines));
        conn.send("SUB to 1\r\nSUB get.no 2\r\nSUB work 3\r\nSUB work q 4\r\nPUB from 2\r\nhi\r\n");
        told.push(shown("own", &conn.settle()));
        conn.send("SUB get.a 5\r\nSUB get.b 6\r\n");
        told.push(shown("too many", &conn.settle()));
        conn.send("PUB mine 11\r\n");
        told.push(shown("too long", &conn.rest()));
        let (mut conn, lines) = Conn::with(server, &scoped);
        told.push(shown("role", &lines));
        conn.send("PUB dev7.a 1\r\na\r\nPUB red.x 1\r\na\r\nPUB blue.x 1\r\na\r\n");
        told.push(shown("role", &conn.settle()));
        conn.send("SUB a 1\r\nSUB b 2\r\nPUB dev7.a 10\r\n");
        told.push(shown("role", &conn.rest()));
        told.push(shown("more than its role", &Conn::with(server, &loud).1));
        told
    });
}

#[test]
fn a_connection_ends_when_its_token_does() {
    let world = World::new();
    let app = Account::new("APP", none());
    // Time passes between the two servers: each gets a token of its own.
    let told = same_of_both(&world.conf(&[&app]), |server| {
        before_it_ends(|exp| {
            let user = app.user(json!({ "exp": exp }), none());
            let (mut conn, lines) = Conn::with(server, &user);
            (now_s() < exp).then(|| vec![shown("in", &lines), shown("out", &conn.rest())])
        })
    });
    assert!(told[1].contains("-ERR 'User Authentication Expired'"), "{told:?}");
}

#[test]
fn connections_end_when_their_account_does() {
    let world = World::new();
    let system = world.system.user(none(), none());
    let work = |program: &Program, exp: i64| {
        let mut app = Account::new("APP", none());
        app.claims["exp"] = json!(exp);
        // The server ends before its directory does.
        let scratch = Scratch::new("jwt-end");
        let mut conf = world.head();
        conf.push(format!("resolver: {{ type: full, dir: {:?} }}", scratch.0.join("jwt")));
        conf.extend(world.preload(&[&app]));
        let setup = Setup { conf, shards: 3, ..Setup::default() };
        let started = Server::start(program, &setup);
        if now_s() >= exp {
            return None;
        }
        let mut server = started.unwrap_or_else(|fault| panic!("{fault}"));
        let user = app.user(none(), none());
        let (mut conn, lines) = Conn::with(&server, &user);
        if now_s() >= exp {
            return None;
        }
        let mut told = vec![shown("in", &lines), shown("out", &conn.rest())];
        told.push(shown("again", &Conn::with(&server, &user).1));
        told.push(shown("system", &Conn::with(&server, &system).1));
        assert!(server.is_running());
        Some(told)
    };
    let told = same_of_each(|program| before_it_ends(|exp| work(program, exp)));
    assert!(told[1].contains("-ERR 'Account Authentication Expired'"), "{told:?}");
}

#[test]
fn an_account_has_as_many_connections_as_it_may() {
    let world = World::new();
    let app = Account::new("APP", json!({ "limits": { "conn": 2 } }));
    let user = app.user(none(), none());
    let told = same_of_both(&world.conf(&[&app]), |server| {
        let (first, one) = Conn::with(server, &user);
        let (_second, two) = Conn::with(server, &user);
        let three = Conn::with(server, &user).1;
        drop(first);
        // The server hears of it when it does.
        let mut next = None;
        await_that("there is room", || {
            next = Some(Conn::with(server, &user)).filter(|(_, lines)| lines.is_empty());
            next.is_some()
        });
        let (_third, again) = next.expect("there is room");
        let full = Conn::with(server, &user).1;
        [one, two, three, again, full].iter().map(|lines| shown("", lines)).collect()
    });
    assert!(told[2].contains("maximum account active connections exceeded"), "{told:?}");
}

#[test]
fn a_configured_account_has_as_many_connections_as_it_may() {
    let conf = [
        "accounts {",
        "  A { users: [{ user: a, password: a }], limits { max_connections: 1 } }",
        "  B { users: [{ user: b, password: b }] }",
        "}",
    ]
    .map(str::to_string);
    let told = same_of_both(&conf, |server| {
        let words = |name: &str| json!({ "user": name, "pass": name });
        let open = |name: &str| {
            let mut conn = Conn::open(server);
            let lines = conn.connect(words(name));
            (conn, lines)
        };
        let (mut first, one) = open("a");
        let two = open("a").1;
        let other = open("b").1;
        // Whoever says CONNECT again keeps its place.
        let again = first.connect(words("a"));
        [one, two, other, again].iter().map(|lines| shown("", lines)).collect()
    });
    assert!(told[1].contains("maximum account active connections exceeded"), "{told:?}");
    assert!(told[3].ends_with(": "), "{told:?}");
}

/// Asks in the system account; the answer's payload without what no two servers have in common.
fn ask(conn: &mut Conn, subject: &str, payload: &str) -> String {
    conn.send(&format!(
        "SUB _INBOX.x 9\r\nPUB {subject} _INBOX.x {}\r\n{payload}\r\n",
        payload.len()
    ));
    let answer = conn.message();
    conn.send("UNSUB 9\r\n");
    conn.settle();
    let Ok(mut json) = serde_json::from_str::<serde_json::Value>(&answer) else { return answer };
    json.as_object_mut().map(|all| all.remove("server"));
    json.to_string()
}

#[test]
fn a_token_that_changes_takes_effect_everywhere() {
    let world = World::new();
    let system = world.system.user(none(), none());
    let told = same_of_each(|program| {
        let scratch = Scratch::new("jwt-change");
        let dir = scratch.0.join("jwt");
        let mut conf = world.head();
        conf.push(format!("resolver: {{ type: full, dir: {dir:?}, allow_delete: true }}"));
        conf.extend(world.preload(&[]));
        let own = start(program, &conf);
        let mut admin = Conn::with(&own, &system).0;
        let mut app = Account::new("APP", none());
        let (one, two) = (app.user(none(), none()), app.user(none(), none()));
        let (id, system_id) = (app.id(), world.system.id());
        let mask = |text: String| text.replace(&id, "APP").replace(&system_id, "SYS");
        let update = "$SYS.REQ.CLAIMS.UPDATE";
        let mut told = vec![shown("unknown", &Conn::with(&own, &one).1)];
        told.push(mask(ask(&mut admin, update, "junk")));
        // It says the second in which it was made.
        let token = world.token_of(&app);
        told.push(mask(ask(&mut admin, update, &token)));
        let (mut first, lines) = Conn::with(&own, &one);
        told.push(shown("one", &lines));
        let (mut second, lines) = Conn::with(&own, &two);
        told.push(shown("two", &lines));
        let lookup = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.LOOKUP", app.id());
        told.push((ask(&mut admin, &lookup, "") == token).to_string());
        let list = ask(&mut admin, "$SYS.REQ.CLAIMS.LIST", "");
        told.push(format!("{} {}", list.contains(&app.id()), list.contains(&world.system.id())));
        app.nats["default_permissions"] = json!({ "pub": { "deny": ["no"] } });
        app.nats["revocations"] = json!({ two.key.public_key(): now_s() + 5 });
        let wrong = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", world.system.id());
        told.push(mask(ask(&mut admin, &wrong, &world.token_of(&app))));
        let right = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", app.id());
        told.push(mask(ask(&mut admin, &right, &world.token_of(&app))));
        told.push(shown("revoked", &second.rest()));
        first.send("PUB no 1\r\nx\r\n");
        told.push(shown("other defaults", &first.settle()));
        told.push(shown("revoked", &Conn::with(&own, &two).1));
        told.extend(deletions(&mut admin, &world, &app).into_iter().map(mask));
        told.push(shown("deleted", &first.rest()));
        told.push(shown("deleted", &Conn::with(&own, &one).1));
        told
    });
    assert!(told.iter().any(|line| line.contains("User Authentication Revoked")), "{told:#?}");
    assert!(told.iter().any(|line| line.contains("jwt updated")), "{told:#?}");
}

/// What is said to those who have an account's token deleted; the last one may.
fn deletions(admin: &mut Conn, world: &World, app: &Account) -> Vec<String> {
    let stranger = nkeys::KeyPair::new_operator();
    let by = |key: &nkeys::KeyPair, account: String| {
        let body = json!({ "accounts": [account] });
        sign(key, "generic", &key.public_key(), none(), body)
    };
    let requests = [
        by(&stranger, app.id()),
        by(&world.operator, world.system.id()),
        by(&world.operator, "A".to_string()),
        by(&world.operator, app.id()),
    ];
    let mut told = Vec::new();
    for request in requests {
        let answer = ask(admin, "$SYS.REQ.CLAIMS.DELETE", &request);
        let answer = answer.replace(&stranger.public_key(), "X");
        told.push(answer.replace(&world.operator.public_key(), "O"));
    }
    told
}

#[test]
fn a_signing_key_that_goes_takes_its_users_with_it() {
    let world = World::new();
    let system = world.system.user(none(), none());
    same_of_each(|program| {
        let signing = nkeys::KeyPair::new_account();
        let mut app = Account::new("APP", none());
        app.nats["signing_keys"] = json!([signing.public_key()]);
        let own = start(program, &world.conf(&[&app]));
        let user = User::signed_by(&signing, none(), json!({ "issuer_account": app.id() }));
        let (mut conn, lines) = Conn::with(&own, &user);
        let mut stays = Conn::with(&own, &app.user(none(), none())).0;
        let mut admin = Conn::with(&own, &system).0;
        app.nats["signing_keys"] = json!([]);
        let update = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", app.id());
        let answer = ask(&mut admin, &update, &world.token_of(&app)).replace(&app.id(), "APP");
        vec![
            shown("in", &lines),
            answer,
            shown("out", &conn.rest()),
            shown("stays", &stays.settle()),
            shown("again", &Conn::with(&own, &user).1),
        ]
    });
}

/// Serves tokens by their accounts' keys, for as long as the test runs, and leaves it to `otherwise`
/// what becomes of who asks for another.
fn serve_tokens(
    tokens: Vec<(String, String)>,
    otherwise: impl Fn(TcpStream) + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a port");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
            let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            let Some(Ok(first)) = lines.next() else { continue };
            while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
            let path = first.split(' ').nth(1).unwrap_or_default();
            let key = path.rsplit('/').next().unwrap_or_default();
            match tokens.iter().find(|(known, _)| known == key) {
                Some((_, token)) => respond(stream, "200 OK", token),
                None if key.is_empty() => respond(stream, "200 OK", ""),
                None => otherwise(stream),
            }
        }
    });
    format!("http://{address}/jwt/v1/accounts/")
}

fn respond(mut stream: TcpStream, status: &str, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close");
    // Fails if whoever asked has lost patience.
    let _ = write!(stream, "{head}\r\n\r\n{body}");
}

#[test]
fn accounts_behind_a_url() {
    let world = World::new();
    let exporter =
        Account::new("EXP", json!({ "exports": [{ "subject": "a", "type": "stream" }] }));
    let import = json!({ "subject": "a", "local_subject": "b", "type": "stream",
                         "account": exporter.id() });
    let app = Account::new("APP", json!({ "imports": [import] }));
    let (unknown, foreign) = (Account::new("UNKNOWN", none()), World::new());
    let impostor = Account::new("IMPOSTOR", none());
    let all = [&app, &exporter, &world.system];
    let mut tokens: Vec<_> = all.iter().map(|it| (it.id(), world.token_of(it))).collect();
    tokens.push((impostor.id(), foreign.token_of(&impostor)));
    // Under another account's key.
    tokens.push((unknown.id(), world.token_of(&app)));
    let mut conf = world.head();
    let unknown_to_it = |stream| respond(stream, "404 Not Found", "");
    conf.push(format!("resolver: URL({})", serve_tokens(tokens, unknown_to_it)));
    let users = [app.user(none(), none()), exporter.user(none(), none())];
    let others = [unknown.user(none(), none()), impostor.user(none(), none())];
    same_of_both(&conf, |server| {
        let (mut to, lines) = Conn::with(server, &users[0]);
        to.send("SUB b 1\r\n");
        to.settle();
        let (mut from, there) = Conn::with(server, &users[1]);
        from.send("PUB a 1\r\nx\r\n");
        from.settle();
        let mut told = vec![shown("in", &lines), shown("in", &there), shown("b", &to.until("x"))];
        told.extend(others.iter().map(|user| shown("other", &Conn::with(server, user).1)));
        told
    });
}
