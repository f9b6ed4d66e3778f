//! Classes of nats-server's advisories that tokens have a part in.

use serde_json::json;

use super::{none, same_of_both, shown};
use crate::harness::tokens::{Account, Conn, World};

/// Two accounts take the same service from each other, a third one its own.
#[test]
fn cve_2020_28466_and_2022_42709_tokens_that_import_in_a_ring() {
    let world = World::new();
    let [mut one, mut other, mut own] = ["ONE", "OTHER", "OWN"].map(|it| Account::new(it, none()));
    let ids = [one.id(), other.id(), own.id()];
    for (account, from) in [(&mut one, 1), (&mut other, 0), (&mut own, 2)] {
        let import = |kind: &str, subject: &str| {
            json!({ "subject": subject, "local_subject": subject, "type": kind,
                    "account": ids[from] })
        };
        account.nats["exports"] =
            json!([{ "subject": "s", "type": "service" }, { "subject": "n", "type": "stream" }]);
        account.nats["imports"] = json!([import("service", "s"), import("stream", "n")]);
    }
    let conf = world.conf(&[&one, &other, &own]);
    let users = [&one, &other, &own].map(|account| account.user(none(), none()));
    same_of_both(&conf, |server| {
        let mut told = Vec::new();
        for user in &users {
            let (mut conn, lines) = Conn::with(server, user);
            told.push(shown("in", &lines));
            if lines.is_empty() {
                conn.send("SUB s 1\r\nSUB n 2\r\nPUB s 1\r\nx\r\nPUB n 1\r\ny\r\n");
                let lines = conn.settle();
                let count = |of: &str| lines.iter().filter(|line| line.contains(of)).count();
                told.push(format!("s {} n {}", count("MSG s"), count("MSG n")));
            }
        }
        assert!(server.is_running());
        told
    });
}
