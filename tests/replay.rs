//! The recorded exchanges of the `nats` command line: the same lines again must get the same lines,
//! and the same keys of INFO, of the same types, in the same order.

mod agreements;
mod events;
mod operator;
mod peer;
pub mod shape;
mod walls;

use crate::harness::mask;
use crate::harness::player::{self, Delivery, Options, Transcript};
use crate::harness::script::Script;
use crate::harness::server::{Program, Server, Setup};

/// What the tool says first: everything that natscli (August 2026) puts into CONNECT.
const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\
    \"name\":\"NATS CLI Version development\",\"lang\":\"go\",\"version\":\"1.48.0\",\
    \"protocol\":1,\"echo\":true,\"headers\":true,\"no_responders\":true}";

const INBOX: &str = "_INBOX.Ku2vZ1oVyGd8kZzG4bV8cN.5tyUw7xn";

/// Keys of the first INFO that a client needs, and the type of each.
const INFO_KEYS: [(&str, &str); 12] = [
    ("server_id", "string"),
    ("server_name", "string"),
    ("version", "string"),
    ("proto", "number"),
    ("go", "string"),
    ("host", "string"),
    ("port", "number"),
    ("headers", "bool"),
    ("max_payload", "number"),
    ("client_id", "number"),
    ("client_ip", "string"),
    ("api_lvl", "number"),
];

fn play(source: &str) -> Vec<(Program, Transcript)> {
    let script = Script::parse("replay", source).expect("it parses");
    let play = |program: Program| {
        let setup = Setup { shards: 2, ..Setup::default() };
        let server = Server::start(&program, &setup).unwrap_or_else(|fault| panic!("{fault}"));
        let played = player::play(&script, &server, &Options::new(Delivery::Lines));
        (program, played.expect("a transcript"))
    };
    Program::both().map(play).into()
}

fn kind(value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        Some(b'[') => "array",
        Some(b'{') => "object",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// Keys and types of a shown INFO.
fn shape(line: &str) -> Vec<(String, &'static str)> {
    let json = line.strip_prefix("INFO ").and_then(|l| l.strip_suffix("\\x20"));
    let json = json.unwrap_or_else(|| panic!("`{line}` is no INFO with a blank at its end"));
    let fields = mask::object(json.as_bytes()).expect("an object");
    fields.into_iter().map(|(key, value)| (key, kind(&value))).collect()
}

/// The keys that the recording names are there, in that order; others may stand between them.
fn assert_info(line: &str, more: &[(&str, &str)]) {
    let shape = shape(line);
    let mut rest = shape.iter();
    for (key, kind) in INFO_KEYS.iter().take(11).chain(more) {
        let found = rest.any(|(k, t)| k == key && t == kind);
        assert!(found, "{key}: {kind} is missing or out of its order in {shape:?}");
    }
}

#[test]
fn nats_pub() {
    let source = format!("a open\na> {CONNECT}\na ping\na> PUB tele.a 5\na> hello\na ping\n");
    for (program, got) in play(&source) {
        println!("{}", program.path.display());
        assert_info(&got.acts[0][0], &INFO_KEYS[11..]);
        assert_eq!(got.acts[2], ["PONG"]);
        // The INFO after the first PONG was on its way; it stands before the second PONG.
        assert_eq!(got.acts[5].len(), 2, "{:?}", got.acts[5]);
        let more = [("connect_info", "bool"), ("remote_account", "string"), ("api_lvl", "number")];
        assert_info(&got.acts[5][0], &more);
        assert_eq!(got.acts[5][1], "PONG");
        assert_eq!(got.rest, []);
    }
}

#[test]
fn nats_request_to_nobody() {
    let source = format!(
        "a open\na> {CONNECT}\na ping\na wait INFO\na> SUB {INBOX}  1\n\
         a> PUB nobody {INBOX} 2\na> hi\na wait HMSG\n"
    );
    for (program, got) in play(&source) {
        println!("{}", program.path.display());
        assert_eq!(got.acts[2], ["PONG"]);
        let text = "NATS/1.0 503\\r\\nNats-Subject: nobody\\r\\n\\r\\n";
        assert_eq!(got.acts[7], [format!("HMSG {INBOX} 1 38 38\\r\\n{text}")]);
        assert_eq!(got.rest, []);
    }
}

/// `nats rtt` dials, greets and measures PING to PONG, five times.
#[test]
fn nats_rtt() {
    let pings = "a ping\n".repeat(6);
    for (program, got) in play(&format!("a> {CONNECT}\n{pings}")) {
        println!("{}", program.path.display());
        for act in &got.acts[1..] {
            assert_eq!(act.last().map(String::as_str), Some("PONG"));
        }
    }
}

/// Recorded with wrong credentials; here a server without users, where the only refusal left is an
/// account.
#[test]
fn a_refused_greeting() {
    let connect = CONNECT.replace("{\"verbose\"", "{\"account\":\"APP\",\"verbose\"");
    for (program, got) in play(&format!("a> {connect}\na> PING\na eof\n")) {
        println!("{}", program.path.display());
        assert_eq!(got.acts[2], ["-ERR 'Authorization Violation'", player::CLOSED]);
    }
}
