//! What `nats server …` and `nats account info` ask, and nats-top, word by word as recorded.

use super::peer::{Message, Peer, both};
use super::shape;
use crate::harness::server::Server;
use crate::monitoring::{ask, monitor_address};

const SNAPPY: &str = "Accept-Encoding: snappy";
const EXACT: &str = "{\"exact_match\":true}";
const OF_HUB: &str = "{\"server_name\":\"hub\",\"exact_match\":true}";

/// Who asks, of what, with which header, which body, and how many bytes that was.
type Exchange = (&'static str, &'static str, &'static str, &'static str, usize);

/// `<id>` is the server's, `<cid>` the connection of user `app`.
const EXCHANGES: [Exchange; 20] = [
    // server ls, server ping, server report mem
    ("sys", "$SYS.REQ.SERVER.PING", "", "{}", 2),
    ("sys", "$SYS.REQ.SERVER.PING", "", "", 0),
    ("sys", "$SYS.REQ.SERVER.PING", "", EXACT, 20),
    // server info, server check server
    ("sys", "$SYS.REQ.SERVER.PING.VARZ", "", OF_HUB, 40),
    // server report connections
    ("sys", "$SYS.REQ.SERVER.PING.CONNZ", SNAPPY, CONNECTIONS, 227),
    // server report health, server request jetstream-health
    ("sys", "$SYS.REQ.SERVER.PING.HEALTHZ", SNAPPY, "{\"details\":true,\"exact_match\":true}", 72),
    // server request
    ("sys", "$SYS.REQ.SERVER.PING.VARZ", SNAPPY, EXACT, 57),
    ("sys", "$SYS.REQ.SERVER.PING.CONNZ", SNAPPY, BY_CID, 231),
    (
        "sys",
        "$SYS.REQ.SERVER.PING.SUBSZ",
        SNAPPY,
        "{\"offset\":0,\"limit\":2048,\"subscriptions\":false,\"exact_match\":true}",
        103,
    ),
    ("sys", "$SYS.REQ.SERVER.PING.ACCOUNTZ", SNAPPY, "{\"account\":\"\",\"exact_match\":true}", 70),
    ("sys", "$SYS.REQ.SERVER.<id>.KICK", SNAPPY, "{\"cid\":777777}", 51),
    // server config reload: the second of two looks at what has become of it
    ("sys", "$SYS.REQ.SERVER.<id>.RELOAD", SNAPPY, "{}", 39),
    ("sys", "$SYS.REQ.SERVER.<id>.VARZ", "", "{}", 2),
    // server account info
    (
        "sys",
        "$SYS.REQ.SERVER.PING.ACCOUNTZ",
        SNAPPY,
        "{\"account\":\"APP\",\"exact_match\":true}",
        73,
    ),
    // account info
    ("app", "$SYS.REQ.USER.INFO", "", "", 0),
    ("few", "$SYS.REQ.USER.INFO", "", "", 0),
    ("sys", "$SYS.REQ.USER.INFO", "", "", 0),
    ("app", "$JS.API.INFO", "", "", 0),
    // request nobody
    ("app", "nobody", "", "hi", 2),
    // What its other commands ask of JetStream, which is off.
    ("sys", "$SYS.REQ.SERVER.PING.JSZ", SNAPPY, EXACT, 57),
];

const CONNECTIONS: &str = "{\"sort\":\"\",\"auth\":true,\"subscriptions\":true,\
    \"subscriptions_detail\":false,\"offset\":0,\"limit\":1024,\"cid\":0,\"mqtt_client\":\"\",\
    \"state\":0,\"user\":\"\",\"acc\":\"\",\"filter_subject\":\"\",\"exact_match\":true}";
const BY_CID: &str = "{\"sort\":\"cid\",\"auth\":true,\"subscriptions\":false,\
    \"subscriptions_detail\":false,\"offset\":0,\"limit\":2048,\"cid\":0,\"mqtt_client\":\"\",\
    \"state\":0,\"user\":\"\",\"acc\":\"\",\"filter_subject\":\"\",\"exact_match\":true}";

/// The connections of the recording: one subscriber in APP, one operator; and one with permissions.
struct Peers {
    app: Peer,
    sys: Peer,
    few: Peer,
}

impl Peers {
    fn of(server: &Server) -> Peers {
        let mut app = Peer::log_in(server, "app");
        app.say("SUB tele.> 7\r\n");
        app.ping();
        Peers { app, sys: Peer::log_in(server, "sys"), few: Peer::log_in(server, "few") }
    }

    fn ask(&mut self, (who, subject, header, body, _): Exchange) -> Message {
        let peer = match who {
            "app" => &mut self.app,
            "few" => &mut self.few,
            _ => &mut self.sys,
        };
        let subject = subject.replace("<id>", &peer.server_id);
        peer.ask(&subject, header, body)
    }
}

#[test]
fn the_tool_gets_what_nats_server_gives() {
    for (who, subject, header, body, recorded_bytes) in EXCHANGES {
        let header_bytes = if header.is_empty() { 0 } else { header.len() + 14 };
        assert_eq!(header_bytes + body.len(), recorded_bytes, "{who}: {subject} {body}");
    }
    let [theirs, ours] = both().map(|server| {
        let mut peers = Peers::of(&server);
        EXCHANGES.map(|exchange| peers.ask(exchange))
    });
    for ((exchange, theirs), ours) in EXCHANGES.iter().zip(theirs).zip(ours) {
        let (who, subject, ..) = exchange;
        assert_eq!(ours.header, theirs.header, "{who}: {subject}");
        assert_eq!(shape::of(&ours.text()), shape::of(&theirs.text()), "{who}: {subject}");
    }
}

/// A round trip to itself, a PING, and the greeting with a wrong password.
#[test]
fn a_connection_is_checked() {
    for server in both() {
        let mut sys = Peer::log_in(&server, "sys");
        let inbox = "_INBOX.Ku2vZ1oVyGd8kZzG4bV8cN.glK8KR4J";
        let body = "chll3B09LPkEA0YXP8ZKbUNNzYdMU666A&go2yMnoCqwC%BL(^mYhNud";
        let bytes = body.len();
        sys.say(&format!("SUB {inbox}  2\r\nUNSUB 2 1\r\nPUB {inbox} {bytes}\r\n{body}\r\n"));
        let line = format!("MSG {inbox} 2 {bytes}\r\n{body}\r\n");
        assert_eq!(sys.wait_for("MSG"), line);
        assert_eq!(sys.ping(), []);
        let mut stranger = Peer::dial(&server);
        stranger.connect_and("stranger", "PING\r\n");
        assert_eq!(stranger.wait_for("-ERR"), "-ERR 'Authorization Violation'\r\n");
        assert_eq!(stranger.wait_for("-"), "(closed)\r\n");
    }
}

/// nats-top asks for these once a second.
#[test]
fn nats_top_gets_what_nats_server_gives() {
    let mut targets = vec!["/varz".to_string()];
    let sorts = ["cid", "start", "subs", "pending", "msgs_to", "msgs_from", "bytes_to"];
    let more = ["bytes_from", "last", "idle", "uptime", "rtt"];
    for sort in sorts.iter().chain(&more) {
        targets.push(format!("/connz?limit=1024&sort={sort}"));
        targets.push(format!("/connz?limit=1024&sort={sort}&subs=1"));
    }
    let [theirs, ours] = both().map(|mut server| {
        let monitor = monitor_address(&mut server);
        let _app = Peer::log_in(&server, "app");
        let fetch = |target: &String| {
            let text = ask(monitor, target);
            let (_, body) = text.split_once("\r\n\r\n").expect("a head and a body");
            shape::of(body)
        };
        targets.iter().map(fetch).collect::<Vec<_>>()
    });
    for ((target, theirs), ours) in targets.iter().zip(theirs).zip(ours) {
        assert_eq!(ours, theirs, "{target}");
    }
}

/// `nats server config reload`: the file is read anew, and what is wrong with it comes back.
#[test]
fn the_configuration_is_read_anew_on_demand() {
    let steps = ["debug: true\n", "server_name: other\n", "max_payload: \"x\n"];
    let [theirs, ours] = both().map(|server| {
        let file = server.conf.clone().expect("it has a file");
        let conf = std::fs::read_to_string(&file).expect("the file can be read");
        let mut sys = Peer::log_in(&server, "sys");
        let id = sys.server_id.clone();
        let mut answers = Vec::new();
        for step in steps {
            std::fs::write(&file, format!("{conf}{step}")).expect("it can be written");
            let done = sys.ask(&format!("$SYS.REQ.SERVER.{id}.RELOAD"), SNAPPY, "{}").text();
            let varz = sys.ask(&format!("$SYS.REQ.SERVER.{id}.VARZ"), "", "{}").text();
            let digest = varz.split("\"config_digest\":").nth(1).and_then(|t| t.split(',').next());
            answers.push((shape::of(&done), digest.map(str::to_string)));
        }
        answers
    });
    // The digest, and so what was taken, is that of nats-server; words for a mistake in the file
    // are each server's own.
    assert_eq!(ours[..2], theirs[..2]);
    for answers in [&theirs, &ours] {
        assert_eq!(answers[2].1, answers[0].1, "nothing of a wrong file is taken");
        assert!(answers[2].0.contains("code: 500"), "{}", answers[2].0);
    }
}
