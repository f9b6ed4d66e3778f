//! The monitoring endpoints under a small load, compared with nats-server's answers to the same.
//!
//! The answers are recorded in `shards/monitor/tests/golden/load.txt`; `RINGBUS_RECORD=1` records
//! them anew.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::server::{Program, Server, Setup};

#[path = "../shards/monitor/tests/shape/mod.rs"]
mod shape;

const GOLDEN: &str = "shards/monitor/tests/golden/load.txt";
/// For one answer, and for a load to show in the figures.
const WAIT_MAX: Duration = Duration::from_secs(10);

#[test]
fn answers_are_those_of_nats_server() {
    for shards in [1, 2] {
        let recorded = record(&Program::under_test(), shards);
        assert_same(&recorded, &golden());
    }
}

#[test]
fn recorded_answers_are_those_of_the_reference() {
    let recorded = record(&Program::reference(), 0);
    if std::env::var_os("RINGBUS_RECORD").is_some() {
        std::fs::write(golden_path(), &recorded).expect("the golden file can be written");
    }
    assert_same(&recorded, &golden());
}

#[test]
fn metrics_are_what_prometheus_takes() {
    let conf = vec!["metrics { top_subjects: 5 }".to_owned()];
    let args = vec!["-m".to_owned(), "-1".to_owned()];
    let setup = Setup { conf, args, shards: 2, ..Setup::default() };
    let mut server = Server::start(&Program::under_test(), &setup).expect("the server starts");
    let monitor = monitor_address(&mut server);
    let connect = r#"{"verbose":false}"#;
    let mut listener = Client::connect(&server, connect);
    listener.say("SUB a.> 1\r\n");
    let mut talker = Client::connect(&server, connect);
    talker.say(&"PUB a.b 5\r\nhello\r\n".repeat(1000));
    listener.wait_for("MSG", 1000);
    let told = ["ringbus_in_messages_total 1000\n", "ringbus_out_messages_total 1000\n"];
    wait_until(monitor, "/metrics", &told);
    let response = ask(monitor, "/metrics");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    for line in [
        "ringbus_in_bytes_total 5000",
        "ringbus_account_out_messages_total{account=\"$G\"} 1000",
        "ringbus_delivery_latency_seconds_count 1000",
        "ringbus_slow_consumers_total{reason=\"pending_bytes\"} 0",
        "# TYPE ringbus_top_subject_messages_per_second gauge",
    ] {
        assert!(body.lines().any(|found| found == line), "no `{line}` in\n{body}");
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there: Debian has it in the package prometheus");
    let stdin = promtool.stdin.take().expect("a pipe");
    (&stdin).write_all(body.as_bytes()).expect("promtool reads");
    drop(stdin);
    let said = promtool.wait_with_output().expect("promtool ends");
    let text = String::from_utf8_lossy(&said.stderr) + String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && text.is_empty(), "promtool says:\n{text}\nof:\n{body}");
}

/// What is sent is counted once by the server, by its account, and by its connections.
#[test]
fn figures_balance_with_what_was_sent() {
    let args = vec!["-m".to_owned(), "-1".to_owned()];
    let setup = Setup { args, shards: 2, ..Setup::default() };
    let mut server = Server::start(&Program::under_test(), &setup).expect("the server starts");
    let monitor = monitor_address(&mut server);
    let connect = r#"{"verbose":false}"#;
    let mut listeners: Vec<Client> = (0..3).map(|_| Client::connect(&server, connect)).collect();
    for listener in &mut listeners {
        listener.say("SUB a.> 1\r\n");
    }
    for talker in 0..4 {
        let mut talker_client = Client::connect(&server, connect);
        talker_client.say(&format!("PUB a.{talker} 3\r\nabc\r\n").repeat(100));
        // Its messages count after its end.
    }
    for listener in &mut listeners {
        listener.wait_for("MSG", 400);
    }
    let open = listeners.len();
    wait_until(monitor, "/varz", &[&format!("\"connections\": {open},")]);
    let sent = "\"sent\": {\n        \"msgs\": 1200,\n        \"bytes\": 3600,";
    let received = "\"received\": {\n        \"msgs\": 400,\n        \"bytes\": 1200,";
    wait_until(monitor, "/accstatz", &[sent, received, "\"conns\": 3,"]);
    let varz = ask(monitor, "/varz");
    for text in ["\"in_msgs\": 400,", "\"in_bytes\": 1200,", "\"out_msgs\": 1200,"] {
        assert!(varz.contains(text), "{text} in {varz}");
    }
    let connz = ask(monitor, "/connz?state=all");
    let count = |key: &str| -> u64 {
        let prefix = format!("\"{key}\": ");
        let values = connz.lines().filter_map(|line| line.trim().strip_prefix(&prefix));
        values.map(|value| value.trim_end_matches(',').parse::<u64>().expect("a number")).sum()
    };
    assert_eq!((count("in_msgs"), count("out_msgs"), count("out_bytes")), (400, 1200, 3600));
}

/// What `/varz` says of a configuration.
const CONFIGURED: &[&str] = &[
    "",
    "client_advertise: \"bus.example:4333\"",
    "client_advertise: bus.example",
    "write_timeout: retry\nwrite_deadline: \"5s\"",
    "write_timeout: default",
    "http_base_path: \"/\"",
    "no_auth_user: a\naccounts { A { users: [ {user: a, password: b} ] } }",
    "authorization { token: t, timeout: 3 }",
    "authorization { users: [] }",
    "accounts { SYS { users: [ {user: s, password: b} ] } }\nsystem_account: SYS",
    "no_system_account: true",
    "max_connections: 0",
    "max_connections: 7\nmax_subscriptions: 6\nmax_payload: 5MB\nmax_pending: 70MB",
    "max_control_line: 2KB\nping_interval: \"7s\"\nping_max: 9",
    "server_tags: [b, \" a \", b]\nserver_metadata: {k: v, a: b}\nserver_name: it",
    "feature_flags: { js_ack_fc_v2: false }",
];

/// All that does not go by the time or the run.
#[test]
fn varz_shows_the_configuration_as_nats_server_does() {
    const KEYS: &[&str] = &[
        "server_name",
        "host",
        "port",
        "auth_required",
        "max_",
        "ping_",
        "http_base_path",
        "auth_timeout",
        "tls_timeout",
        "write_",
        "system_account",
        "js_",
        "config_digest",
    ];
    const BLOCKS: &[&str] = &["tags", "metadata", "feature_flags"];
    let told = |program: &Program, conf: &str| {
        let args = vec!["-m".to_owned(), "-1".to_owned()];
        let conf = conf.lines().map(str::to_owned).collect();
        let setup = Setup { conf, args, ..Setup::default() };
        let mut server = Server::start(program, &setup).expect("the server starts");
        let log = server.log_text();
        let monitor = monitor_address(&mut server);
        let varz = ask(monitor, "/varz");
        let id = varz.split("\"server_id\": \"").nth(1).expect("an id");
        let id = id.split('"').next().expect("a quote").to_owned();
        let mut in_block = false;
        let mut lines = Vec::new();
        for line in varz.lines() {
            let key = line.trim().trim_start_matches('"');
            in_block |= BLOCKS.iter().any(|block| key.starts_with(&format!("{block}\": ")));
            if in_block || KEYS.iter().any(|known| key.starts_with(known)) {
                lines.push(line.replace(&id, "<id>"));
            }
            in_block &= !matches!(key, "}," | "],");
        }
        let port = log.split("Listening for client connections on ").nth(1).expect("it listens");
        let port = port.lines().next().and_then(|it| it.rsplit(':').next()).expect("a port");
        lines.iter().map(|line| line.replace(port, "<port>")).collect::<Vec<_>>()
    };
    for conf in CONFIGURED {
        let [theirs, ours] =
            [Program::reference(), Program::under_test()].map(|program| told(&program, conf));
        assert_eq!(ours, theirs, "of {conf:?}");
    }
}

/// A subscriber is not idle while it gets messages.
#[test]
fn what_a_connection_gets_is_its_activity() {
    for program in [Program::reference(), Program::under_test()] {
        let args = vec!["-m".to_owned(), "-1".to_owned()];
        let setup = Setup { args, shards: 2, ..Setup::default() };
        let mut server = Server::start(&program, &setup).expect("the server starts");
        let monitor = monitor_address(&mut server);
        let mut listener = Client::connect(&server, r#"{"verbose":false,"name":"listener"}"#);
        listener.say("SUB a 1\r\n");
        let mut talker = Client::connect(&server, r#"{"verbose":false,"name":"talker"}"#);
        let last = || {
            let connz = ask(monitor, "/connz?sort=cid");
            let times = connz.lines().filter(|line| line.contains("\"last_activity\""));
            times.map(str::to_owned).next().expect("the listener is there")
        };
        let before = last();
        talker.say("PUB a 2\r\nhi\r\n");
        listener.wait_for("MSG", 1);
        let end = Instant::now() + WAIT_MAX;
        while last() == before {
            assert!(Instant::now() < end, "a message is no activity: {before}");
        }
        let heard = last();
        listener.say("");
        assert_eq!(last(), heard, "a PING is none");
    }
}

fn golden_path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN)
}

fn golden() -> String {
    std::fs::read_to_string(golden_path()).expect("the golden file can be read")
}

fn assert_same(found: &str, wanted: &str) {
    let mut request = "";
    for (number, (found, wanted)) in found.lines().zip(wanted.lines()).enumerate() {
        if wanted.starts_with("> ") {
            request = wanted;
        }
        assert_eq!(found, wanted, "line {} of the recording, in `{request}`", number + 1);
    }
    assert_eq!(found.lines().count(), wanted.lines().count());
}

/// Loads a server and asks it everything.
fn record(program: &Program, shards: usize) -> String {
    let args = vec!["-m".to_owned(), "-1".to_owned()];
    let setup = Setup { args, shards, ..Setup::default() };
    let mut server = Server::start(program, &setup).expect("the server starts");
    let monitor = monitor_address(&mut server);
    let _open = load(&server, monitor);
    shape::REQUESTS.iter().map(|target| shape::section(target, &ask(monitor, target))).collect()
}

pub fn monitor_address(server: &mut Server) -> SocketAddr {
    let log = server.log_text();
    let line = log.lines().find(|line| line.contains("Starting http monitor on "));
    let port = line.and_then(|line| line.rsplit(':').next()?.trim().parse().ok());
    SocketAddr::from(([127, 0, 0, 1], port.unwrap_or_else(|| panic!("no monitor port in:\n{log}"))))
}

/// The whole response.
pub fn ask(monitor: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect_timeout(&monitor, WAIT_MAX).expect("the monitor listens");
    stream.set_read_timeout(Some(WAIT_MAX)).expect("a timeout can be set");
    // Of HTTP/1.0, so that the answer is not in chunks.
    let request = format!("GET {target} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the monitor reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap_or_else(|e| panic!("{target}: {e}"));
    response
}

/// Asks until the answer holds all of `texts`.
fn wait_until(monitor: SocketAddr, target: &str, texts: &[&str]) {
    let end = Instant::now() + WAIT_MAX;
    loop {
        let response = ask(monitor, target);
        if texts.iter().all(|text| response.contains(text)) {
            return;
        }
        assert!(Instant::now() < end, "{target} does not show {texts:?}:\n{response}");
    }
}

/// Three open connections, two closed ones; no two alike in anything to sort by.
fn load(server: &Server, monitor: SocketAddr) -> Vec<Client> {
    let mut orders = Client::connect(
        server,
        r#"{"verbose":false,"name":"orders","lang":"go","version":"1.2.3","user":"derek"}"#,
    );
    orders.say("SUB orders.* 1\r\nSUB jobs.> workers 22\r\nUNSUB 22 10\r\nSUB a<b 3\r\n");
    let mut clock = Client::connect(server, r#"{"verbose":false,"name":"clock","lang":"rust"}"#);
    clock.say("SUB big 9\r\n");
    let idle = Client::connect(server, r#"{"verbose":false}"#);

    let guest = r#"{"verbose":false,"name":"guest","user":"guest","pass":"x"}"#;
    let mut gone = Client::connect(server, guest);
    gone.say("SUB gone.> g 5\r\nUNSUB 5 3\r\n");
    drop(gone);
    wait_until(monitor, "/connz?state=closed", &["Client Closed"]);
    let mut wrong = Client::connect(server, r#"{"verbose":false,"name":"wrong"}"#);
    wrong.send("BOGUS\r\n");
    wait_until(monitor, "/connz?state=closed", &["Protocol Violation"]);

    for _ in 0..3 {
        clock.say("PUB orders.new 5\r\nhello\r\n");
    }
    orders.wait_for("MSG", 3);
    orders.say(&format!("PUB big 100\r\n{}\r\n", "x".repeat(100)));
    clock.wait_for("MSG", 1);
    orders.say("SUB late 4\r\n");
    let open = ["\"in_msgs\": 3,", "\"in_msgs\": 1,", "\"out_msgs\": 3,", "\"out_msgs\": 1,"];
    wait_until(monitor, "/connz", &open);
    vec![orders, clock, idle]
}

/// A client that says what it is told to.
struct Client {
    stream: BufReader<TcpStream>,
    /// Lines that came while another was waited for.
    seen: Vec<String>,
}

impl Client {
    fn connect(server: &Server, connect: &str) -> Client {
        let stream = server.dial().expect("the server accepts");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("a timeout can be set");
        let mut client = Client { stream: BufReader::new(stream), seen: Vec::new() };
        client.say(&format!("CONNECT {connect}\r\n"));
        client
    }

    fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("the server reads");
    }

    /// Sends, and waits until the server has taken it in.
    fn say(&mut self, text: &str) {
        self.send(text);
        self.send("PING\r\n");
        self.seen.retain(|line| !line.starts_with("PONG"));
        self.wait_for("PONG", 1);
    }

    /// Waits for so many lines that begin with a word.
    fn wait_for(&mut self, word: &str, count: usize) {
        while self.seen.iter().filter(|line| line.starts_with(word)).count() < count {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("the server answers");
            assert!(!line.is_empty(), "the server closed; it said {:?}", self.seen);
            self.seen.push(line);
        }
    }
}
