//! What a configuration file says of operators and accounts, and a file that is read again.

use serde_json::json;

use super::{ask, none, same_of_both, shown, start};
use crate::command::Scratch;
use crate::harness::server::{Program, Server, Setup, same_of_each};
use crate::harness::tokens::{Account, Conn, VIOLATION, World, now_s};

#[test]
fn operators_and_the_rest_of_a_file() {
    let world = World::new();
    let app = Account::new("APP", none());
    let bad = |lines: &[&str]| {
        let mut conf = world.head();
        conf.extend(lines.iter().map(|line| line.to_string()));
        conf
    };
    let mut two = world.head();
    two[0] = two[0].replace("operator: ", "operators: [") + ", " + &two[0][10..] + "]";
    let cases = [
        two,
        bad(&["resolver: MEMORY", "accounts { A { } }"]),
        bad(&["resolver: MEMORY", "authorization { users: [{ user: a, password: a }] }"]),
        bad(&["resolver: MEMORY", "no_auth_user: a"]),
        bad(&["resolver: MEMORY", &format!("trusted: {}", world.operator.public_key())]),
        bad(&["resolver: MEMORY", "resolver_pinned_accounts: x"]),
        bad(&["resolver: MEMORY", "default_sentinel: x"]),
        vec!["default_sentinel: x".to_string()],
        bad(&["resolver: URL(\"http://127.0.0.1:1/\")", &world.preload(&[&app]).join("\n")]),
    ];
    for conf in &cases {
        let why = Program::both().map(|program| {
            let setup = Setup { conf: conf.clone(), ..Setup::default() };
            let refusal = Server::start(&program, &setup).err().expect("it must not start");
            let last = refusal.lines().rev().find(|line| !line.is_empty()).unwrap_or_default();
            let last = last.split("[FTL] ").last().unwrap_or_default();
            last.trim_start_matches("nats-server: ").to_string()
        });
        assert_eq!(why[0], why[1], "{conf:#?}");
    }
}

#[test]
fn pinned_accounts_and_a_sentinel() {
    let world = World::new();
    let (app, other) = (Account::new("APP", none()), Account::new("OTHER", none()));
    let sentinel = app.user(none(), json!({ "bearer_token": true }));
    let mut conf = world.conf(&[&app, &other]);
    conf.push(format!("resolver_pinned_accounts: [{}]", app.id()));
    conf.push(format!("default_sentinel: {}", sentinel.token));
    let system = world.system.user(none(), none());
    same_of_both(&conf, |server| {
        vec![
            shown("pinned", &Conn::with(server, &app.user(none(), none())).1),
            shown("not", &Conn::with(server, &other.user(none(), none())).1),
            shown("system", &Conn::with(server, &system).1),
            shown("nothing shown", &Conn::open(server).connect(none())),
        ]
    });
}

#[test]
fn accounts_of_a_file_that_is_read_again() {
    let mut world = World::new();
    let mut app = Account::new("APP", none());
    let user = app.user(none(), none());
    let late = Account::new("LATE", none());
    let first = world.conf(&[&app]);
    app.nats["revocations"] = json!({ user.key.public_key(): now_s() + 60 });
    // The operator's token is the very same, as it is in a file.
    let mut second = world.conf(&[&app, &late]);
    second[0] = first[0].clone();
    world.operator = nkeys::KeyPair::new_operator();
    let other_operator = world.conf(&[&late]);
    let of_late = late.user(none(), none());
    for shards in [1, 3] {
        let mut server = Server::with_conf(&Program::under_test(), &first, shards);
        let (mut conn, lines) = Conn::with(&server, &user);
        assert_eq!(lines, [""; 0]);
        assert_eq!(Conn::with(&server, &of_late).1, VIOLATION);
        server.reload(&second.join("\n"));
        assert_eq!(conn.rest(), ["-ERR 'User Authentication Revoked'", "(closed)"]);
        assert_eq!(Conn::with(&server, &user).1, VIOLATION);
        assert_eq!(Conn::with(&server, &of_late).1, [""; 0]);
        let refused = "config reload not supported for TrustedOperators";
        server.reread(&other_operator.join("\n"), refused);
        assert_eq!(Conn::with(&server, &of_late).1, [""; 0]);
    }
}

#[test]
fn an_account_that_is_taken_out_of_the_file() {
    let world = World::new();
    let (app, stays) = (Account::new("APP", none()), Account::new("STAYS", none()));
    let (user, other) = (app.user(none(), none()), stays.user(none(), none()));
    let first = world.conf(&[&app, &stays]);
    let mut second = world.conf(&[&stays]);
    second[0] = first[0].clone();
    let told = same_of_each(|program| {
        let mut own = start(program, &first);
        let (mut conn, lines) = Conn::with(&own, &user);
        let mut there = Conn::with(&own, &other).0;
        own.reload(&second.join("\n"));
        vec![
            shown("in", &lines),
            shown("taken out", &conn.rest()),
            shown("again", &Conn::with(&own, &user).1),
            shown("stays", &there.settle()),
            shown("stays", &Conn::with(&own, &other).1),
        ]
    });
    assert!(told[1].ends_with("(closed)") && told[3] == "stays: ", "{told:#?}");
}

#[test]
fn a_token_that_was_pushed_outlives_a_reload() {
    let world = World::new();
    let system = world.system.user(none(), none());
    let mut app = Account::new("APP", none());
    let user = app.user(none(), none());
    let deny = |subject: &str| json!({ "pub": { "deny": [subject] }, "sub": {} });
    let mut of_time = |at: i64, denied: &str| {
        app.claims["iat"] = json!(now_s() + at);
        app.nats["default_permissions"] = deny(denied);
        (world.preload(&[&app]), world.token_of(&app))
    };
    let (old, pushed) = (of_time(-100, "old").0, of_time(-50, "pushed").1);
    let update = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", app.id());
    let told = same_of_each(|program| {
        let scratch = Scratch::new("jwt-pushed");
        let dir = scratch.0.join("tokens");
        let mut head = world.head();
        head.push(format!("resolver: {{ type: full, dir: {dir:?}, allow_delete: true }}"));
        let file = [head, old.clone()].concat();
        let mut own = start(program, &file);
        let mut admin = Conn::with(&own, &system).0;
        let mut conn = Conn::with(&own, &user).0;
        let mut told = vec![ask(&mut admin, &update, &pushed).replace(&app.id(), "APP")];
        own.reload(&file.join("\n"));
        let publish = "PUB old 0\r\n\r\nPUB pushed 0\r\n\r\n";
        conn.send(publish);
        told.push(shown("stays", &conn.settle()));
        let mut again = Conn::with(&own, &user).0;
        again.send(publish);
        told.push(shown("comes", &again.settle()));
        told
    });
    let denied = told.iter().filter(|line| line.contains("Publish to \"pushed\""));
    assert_eq!(denied.count(), 2, "{told:#?}");
}
