//! Exports that ask for activations, and imports that have them.

use serde_json::json;

use super::{before_it_ends, none, same_of_both, shown};
use crate::command::await_that;
use crate::harness::server::{Program, Server, Setup, same_of_each};
use crate::harness::tokens::{Account, Conn, World, now_s, sign};

#[test]
fn imports_with_and_without_activations() {
    let world = World::new();
    let mut exporter = Account::new("EXP", none());
    exporter.nats["exports"] = json!([
        { "subject": "open.>", "type": "stream" },
        { "subject": "private.>", "type": "stream", "token_req": true },
        { "subject": "ask.*", "type": "service" },
    ]);
    let mut importer = Account::new("IMP", none());
    let activation = |subject: &str| {
        let body = json!({ "subject": subject, "kind": "stream" });
        sign(&exporter.key, "activation", &importer.id(), none(), body)
    };
    let import = |subject: &str, to: &str, kind: &str, token: &str| {
        json!({ "subject": subject, "local_subject": to, "type": kind, "token": token,
                "account": exporter.id() })
    };
    importer.nats["imports"] = json!([
        import("open.a", "got.open", "stream", ""),
        import("private.a", "got.a", "stream", &activation("private.a")),
        import("private.b", "got.b", "stream", ""),
        import("private.c", "got.c", "stream", &activation("private.other")),
        import("ask.it", "please", "service", ""),
    ]);
    // One bad activation makes the whole token invalid, as the official library has it.
    let mut fair = Account::new("FAIR", none());
    fair.nats["imports"] = json!([
        import("open.a", "got.open", "stream", ""),
        import("private.b", "got.b", "stream", ""),
        import("ask.it", "please", "service", ""),
    ]);
    let conf = world.conf(&[&exporter, &importer, &fair]);
    let users = [exporter.user(none(), none()), importer.user(none(), none())];
    let fair_user = fair.user(none(), none());
    let told = same_of_both(&conf, |server| {
        let mut told = vec![shown("invalid", &Conn::with(server, &users[1]).1)];
        // The importer comes first: its exporter is not known yet.
        let (mut to, lines) = Conn::with(server, &fair_user);
        told.push(shown("importer", &lines));
        to.send("SUB got.> 1\r\nSUB answer 2\r\n");
        told.push(shown("importer", &to.settle()));
        let (mut from, lines) = Conn::with(server, &users[0]);
        told.push(shown("exporter", &lines));
        from.send("SUB ask.it 1\r\n");
        told.push(shown("exporter", &from.settle()));
        from.send("PUB open.a 1\r\nx\r\nPUB private.b 1\r\ny\r\n");
        told.push(shown("exporter", &from.settle()));
        to.send("PUB please answer 2\r\nhi\r\n");
        let last = to.until("x");
        told.push(shown("importer", &last));
        let asked = from.until("hi");
        let reply = asked[0].split(' ').nth(3).expect("a reply subject").to_string();
        from.send(&format!("PUB {reply} 3\r\nyes\r\n"));
        from.settle();
        told.push(shown("answer", &to.until("yes")));
        told.push(shown("nothing else", &to.settle()));
        told
    });
    assert!(told[0].contains("Authorization Violation"), "{told:?}");
}

/// Its streams are for those with an activation.
fn exporter() -> Account {
    let exports = json!([{ "subject": "private.>", "type": "stream", "token_req": true }]);
    Account::new("EXP", json!({ "exports": exports }))
}

/// Has `private.a` as `got`, by an activation with these claims.
fn importer(exporter: &Account, claims: serde_json::Value) -> Account {
    let mut importer = Account::new("IMP", none());
    let body = json!({ "subject": "private.a", "kind": "stream" });
    let token = sign(&exporter.key, "activation", &importer.id(), claims, body);
    importer.nats["imports"] = json!([{
        "subject": "private.a", "local_subject": "got", "type": "stream", "token": token,
        "account": exporter.id(),
    }]);
    importer
}

#[test]
fn an_import_ends_with_its_activation() {
    let world = World::new();
    let exporter = exporter();
    let work = |program: &Program, exp: i64| {
        let importer = importer(&exporter, json!({ "exp": exp }));
        let setup =
            Setup { conf: world.conf(&[&exporter, &importer]), shards: 2, ..Setup::default() };
        let started = Server::start(program, &setup);
        if now_s() >= exp {
            return None;
        }
        let server = started.unwrap_or_else(|fault| panic!("{fault}"));
        let (mut to, _) = Conn::with(&server, &importer.user(none(), none()));
        to.send("SUB got 1\r\n");
        to.settle();
        let (mut from, _) = Conn::with(&server, &exporter.user(none(), none()));
        let mut arrives = || {
            from.send("PUB private.a 1\r\nx\r\n");
            from.settle();
            to.settle().iter().any(|line| line.starts_with("MSG"))
        };
        let before = arrives();
        if now_s() >= exp {
            return None;
        }
        await_that("it ends", || !arrives());
        Some(vec![format!("before: {before}, after: {}", arrives())])
    };
    let told = same_of_each(|program| before_it_ends(|exp| work(program, exp)));
    assert_eq!(told, ["before: true, after: false"]);
}

#[test]
fn a_role_with_an_activation_of_its_own() {
    let world = World::new();
    let exporter = exporter();
    let importer = importer(&exporter, none());
    let conf = world.conf(&[&exporter, &importer]);
    let (from, to) = (exporter.user(none(), none()), importer.user(none(), none()));
    same_of_both(&conf, |server| {
        let (mut to, lines) = Conn::with(server, &to);
        to.send("SUB got 1\r\n");
        to.settle();
        let mut from = Conn::with(server, &from).0;
        from.send("PUB private.b 1\r\ny\r\nPUB private.a 1\r\nx\r\n");
        from.settle();
        vec![shown("in", &lines), shown("got", &to.until("x"))]
    });
}
