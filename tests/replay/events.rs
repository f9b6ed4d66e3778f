//! What a server tells the system account by itself: who comes and goes, who is turned away, how
//! many an account has, that the server leaves.

use std::collections::BTreeMap;

use super::peer::{Message, Peer, both};
use super::shape;
use crate::harness::server::Server;

/// Everything that is told in these tests; figures of the server come by the clock.
const TOLD: [&str; 7] = [
    "$SYS.ACCOUNT.*.CONNECT",
    "$SYS.ACCOUNT.*.DISCONNECT",
    "$SYS.ACCOUNT.*.SERVER.CONNS",
    "$SYS.SERVER.ACCOUNT.*.CONNS",
    "$SYS.SERVER.*.CLIENT.AUTH.ERR",
    "$SYS.SERVER.*.SHUTDOWN",
    "$SYS.SERVER.*.LAMEDUCK",
];

/// Shapes of events by subject, in order.
type Events = BTreeMap<String, Vec<String>>;

fn listener(server: &Server) -> Peer {
    let mut sys = Peer::log_in(server, "sys");
    // nats-server tells of what has happened one after the other: its own coming is told by then.
    sys.ask("$SYS.REQ.SERVER.PING.IDZ", "", "");
    for (at, subject) in TOLD.iter().enumerate() {
        sys.say(&format!("SUB {subject} {}\r\n", at + 10));
    }
    sys.ping();
    sys
}

/// Takes in so many events.
fn hear(sys: &mut Peer, count: usize, events: &mut Events) {
    for _ in 0..count {
        let Message { subject, body, .. } = sys.message();
        let subject = subject.replace(&sys.server_id, "<id>");
        let shape = shape::of(&String::from_utf8(body).expect("text"));
        events.entry(subject).or_default().push(shape);
    }
}

fn assert_alike([theirs, ours]: [Events; 2]) {
    let subjects = |events: &Events| events.keys().cloned().collect::<Vec<_>>();
    assert_eq!(subjects(&ours), subjects(&theirs));
    for (subject, theirs) in theirs {
        assert_eq!(ours[&subject], theirs, "{subject}");
    }
}

#[test]
fn comings_and_goings_are_told_like_nats_server_does() {
    assert_alike(both().map(|server| {
        let mut events = Events::new();
        let mut sys = listener(&server);
        let mut app = Peer::log_in(&server, "app");
        hear(&mut sys, 3, &mut events);
        app.say("PUB a 3\r\nabc\r\n");
        app.ping();
        app.close();
        hear(&mut sys, 3, &mut events);
        // A stranger is told of as one turned away, and as one who leaves the global account.
        let mut stranger = Peer::dial(&server);
        stranger.connect("stranger");
        stranger.wait_for("(closed)");
        hear(&mut sys, 2, &mut events);
        Peer::dial(&server).close();
        hear(&mut sys, 1, &mut events);
        events
    }));
}

/// The number of a connection, as its CONNECT event has it.
fn number(sys: &mut Peer) -> u64 {
    loop {
        let message = sys.message();
        if message.subject.ends_with(".CONNECT") {
            let text = message.text();
            let client = text.split("\"client\":").nth(1).expect("a client");
            let id = client.split("\"id\":").nth(1).and_then(|rest| rest.split(',').next());
            return id.and_then(|id| id.parse().ok()).expect("a number");
        }
    }
}

#[test]
fn a_client_is_sent_away_and_kicked_on_demand() {
    let [theirs, ours] = both().map(|server| {
        let mut sys = Peer::log_in(&server, "sys");
        sys.say("SUB $SYS.ACCOUNT.APP.CONNECT 3\r\nSUB $SYS.ACCOUNT.APP.DISCONNECT 4\r\n");
        sys.ping();
        let mut app = Peer::log_in(&server, "app");
        let body = format!("{{\"cid\":{}}}", number(&mut sys));
        let id = sys.server_id.clone();
        let mut answers = vec![sys.ask(&format!("$SYS.REQ.SERVER.{id}.LDM"), "", &body).text()];
        loop {
            let info = app.wait_for("INFO");
            assert_ne!(info, "(closed)\r\n", "it is only told to go");
            if info.contains("\"ldm\":true") {
                break;
            }
        }
        assert_eq!(app.ping(), [], "it stays");
        answers.push(sys.ask(&format!("$SYS.REQ.SERVER.{id}.KICK"), "", &body).text());
        assert_eq!(app.wait_for("(closed)"), "(closed)\r\n");
        for deed in ["KICK", "LDM"] {
            // It is gone when the event of it has come.
            answers.push(sys.ask(&format!("$SYS.REQ.SERVER.{id}.{deed}"), "", &body).text());
        }
        answers.iter().map(|answer| shape::of(answer)).collect::<Vec<_>>()
    });
    assert_eq!(ours, theirs);
}

#[test]
fn the_end_of_a_server_is_told() {
    for name in ["TERM", "USR2"] {
        let [theirs, ours] = both().map(|server| {
            let mut sys = listener(&server);
            server.signal(name);
            let mut events = Events::new();
            hear(&mut sys, 1, &mut events);
            if name == "TERM" {
                assert_eq!(sys.wait_for("(closed)"), "(closed)\r\n");
            }
            events
        });
        let ends: Vec<&String> = theirs.keys().collect();
        let kind = if name == "TERM" { "SHUTDOWN" } else { "LAMEDUCK" };
        assert_eq!(ends, [&format!("$SYS.SERVER.<id>.{kind}")]);
        assert_alike([theirs, ours]);
    }
}
