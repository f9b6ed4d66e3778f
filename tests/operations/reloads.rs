//! Every setting that a reload may change, changed while messages flow; and those that make it
//! refuse the whole file. nats-server is put to the same.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::load::Load;
use super::{Client, get, is_end_of_reload, read_to_close};
use crate::command::{Running, Scratch, await_text, await_that};
use crate::harness::server::Program;
use crate::tls::files_for_configurations;

const LOAD: &str = ",\"user\":\"load\",\"pass\":\"load\"";

/// A server whose settings all come from its file.
struct Bus {
    name: &'static str,
    program: Program,
    scratch: Scratch,
    running: Running,
    address: String,
    http: String,
    /// Where log lines go, and up to where they are known.
    log: PathBuf,
    known: u64,
    /// What the file says besides.
    users: String,
}

impl Bus {
    fn start(name: &'static str, program: Program, title: &str) -> Bus {
        let scratch = Scratch::new(&format!("{title}-{name}"));
        fs::create_dir_all(scratch.0.join("ports")).unwrap();
        fs::create_dir_all(scratch.0.join("ports2")).unwrap();
        files_for_configurations(&scratch.0);
        let log = scratch.0.join("log");
        fs::write(scratch.0.join("c.conf"), conf("", "")).unwrap();
        let child = Command::new(&program.path)
            .args(["-c", "c.conf"])
            .current_dir(&scratch.0)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running(child);
        await_text(&log, "Server is ready");
        let ports = scratch.0.join("ports");
        let address = running.address("nats", &program, &ports);
        let http = running.address("monitoring", &program, &ports);
        let users = String::new();
        Bus { name, program, scratch, running, address, http, log, known: 0, users }
    }

    /// Has the file read with these settings in it, and waits for the words about it.
    fn set(&mut self, settings: &str, words: &str) {
        self.reload(settings);
        self.has_read(words);
    }

    /// Waits for words about a reload, and for its end: they may come before it.
    fn has_read(&self, words: &str) {
        await_that(&format!("{}: a reload says {words}", self.name), || {
            let news = self.news();
            news.contains(words) && is_end_of_reload(&news)
        });
    }

    fn reload(&mut self, settings: &str) {
        self.write(&conf(settings, &self.users));
    }

    /// Has this read.
    fn write(&mut self, text: &str) {
        fs::write(self.scratch.0.join("c.conf"), text).unwrap();
        self.known = fs::metadata(&self.log).map_or(0, |log| log.len());
        self.running.signal("HUP");
    }

    /// Other users, besides the one of the load, and the usual settings.
    fn let_in(&mut self, users: &str) {
        self.users = users.to_string();
        self.set("", "[INF] Reloaded: authorization users");
        assert!(self.news().contains("Reloaded server configuration"), "{}", self.name);
    }

    /// What the log says since the last reload.
    fn news(&self) -> String {
        let Ok(mut file) = File::open(&self.log) else { return String::new() };
        file.seek(SeekFrom::Start(self.known)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn logs(&self, words: &str) {
        await_that(&format!("{}: the log says {words}", self.name), || self.news().contains(words));
    }

    fn varz(&self, words: &str) {
        await_that(&format!("{}: /varz says {words}", self.name), || {
            get(&self.http, "/varz").contains(words)
        });
    }

    fn client(&self, user: &str, pass: &str) -> Client {
        let words = format!(",\"headers\":true,\"user\":\"{user}\",\"pass\":\"{pass}\"");
        Client::log_in(&self.address, &words)
    }

    fn loader(&self) -> Client {
        self.client("load", "load")
    }

    /// All that comes to a client of this name until it is let go of.
    fn turned_away(&self, user: &str, pass: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let word = format!("CONNECT {{\"user\":\"{user}\",\"pass\":\"{pass}\"}}\r\nPING\r\n");
        stream.write_all(word.as_bytes()).unwrap();
        read_to_close(&mut stream)
    }

    fn info(&self) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (mut text, mut byte) = (String::new(), [0]);
        while !text.ends_with('\n') {
            stream.read_exact(&mut byte).unwrap();
            text.push(byte[0] as char);
        }
        text
    }

    fn end(mut self) {
        self.running.signal("INT");
        assert_eq!(self.running.end(), Some(0), "{}", self.name);
    }
}

fn conf(settings: &str, users: &str) -> String {
    let log = if settings.contains("syslog") || settings.contains("logfile") {
        ""
    } else {
        "logfile: log\n"
    };
    let ports =
        if settings.contains("ports_file_dir") { "" } else { "ports_file_dir: \"ports\"\n" };
    format!(
        "listen: \"127.0.0.1:-1\"\nhttp: \"127.0.0.1:-1\"\n{log}{ports}\
         authorization {{ users: [ {{ user: load, password: load }}\n {users} ] }}\n{settings}\n"
    )
}

/// The next one; an interrupted read is made again.
fn datagram(socket: &UdpSocket) -> String {
    let mut buffer = [0; 1024];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => return String::from_utf8_lossy(&buffer[..length]).into_owned(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("nothing came: {error}"),
        }
    }
}

/// Runs it on both servers while messages flow.
fn under_load(title: &str, work: fn(&mut Bus)) {
    std::thread::scope(|scope| {
        for (name, program) in ["reference", "ringbus"].into_iter().zip(Program::both()) {
            let title = title.to_string();
            scope.spawn(move || {
                let mut bus = Bus::start(name, program, &title);
                let load = Load::start(&bus.address, LOAD);
                work(&mut bus);
                let sent = load.sent();
                await_that("the load still goes on", || load.sent() > sent);
                load.end();
                bus.end();
            });
        }
    });
}

#[test]
fn logging_is_reloaded_under_load() {
    under_load("matrix-logging", |bus| {
        bus.set("debug: true", "[INF] Reloaded: debug = true");
        let mut client = bus.loader();
        bus.logs("[DBG] 127.0.0.1:");
        bus.set("trace: true", "[INF] Reloaded: trace = true");
        client.say("SUB traced 7\r\nHPUB traced 12 20\r\nNATS/1.0\r\n\r\nfar away\r\n");
        client.say("PUB traced 11\r\nhello world\r\n");
        bus.logs("MSG_PAYLOAD: [\"hello world\"]");
        bus.set("trace: true\nmax_traced_msg_len: 5", "[INF] Reloaded: max_traced_msg_len = 5");
        client.say("PUB traced 11\r\nhello again\r\n");
        bus.logs("MSG_PAYLOAD: [\"hello...\"]");
        bus.set("trace_headers: true", "[INF] Reloaded: trace_headers = true");
        client.say("HPUB traced 12 20\r\nNATS/1.0\r\n\r\nhideaway\r\n");
        client.ping();
        bus.logs("[HPUB traced 12 20]");
        assert!(!bus.news().contains("hideaway"), "{}: the payload is shown", bus.name);
        bus.set("trace_verbose: true", "[INF] Reloaded: trace_verbose = true");
        bus.set("logtime: false", "[INF] Reloaded: logtime = false");
        bus.logs("] [INF] Reloaded server configuration");
        bus.set("", "[INF] Reloaded: logtime = true");
        bus.set("logtime_utc: true", "[INF] Reloaded: logtime_utc = true");
        let first = bus.log.clone();
        bus.known = 0;
        bus.log = bus.scratch.0.join("log2");
        bus.set("logfile: log2", "[INF] Reloaded server configuration");
        bus.log = first;
        bus.set("", "[INF] Reloaded server configuration");

        let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
        daemon.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let port = daemon.local_addr().unwrap().port();
        bus.reload(&format!("remote_syslog: \"udp://127.0.0.1:{port}\""));
        let mut line = datagram(&daemon);
        assert!(line.starts_with('<') && line.contains("Reloaded"), "{}: {line}", bus.name);
        while !is_end_of_reload(&line) {
            line = datagram(&daemon);
        }
        bus.set("", "Reloaded server configuration");
    });
}

#[test]
fn limits_are_reloaded_under_load() {
    under_load("matrix-limits", |bus| {
        let mut long = bus.loader();
        bus.set("max_control_line: 300", "[INF] Reloaded: max_control_line = 300");
        long.say(&format!("SUB {} 1\r\n", "x".repeat(400)));
        assert!(long.rest().contains("-ERR 'maximum control line exceeded'"), "{}", bus.name);

        let mut large = bus.loader();
        bus.set("max_payload: 1000", "[INF] Reloaded: max_payload = 1000");
        assert!(bus.info().contains("\"max_payload\":1000,"), "{}", bus.name);
        large.say(&format!("PUB a 1001\r\n{}\r\n", "x".repeat(1001)));
        assert!(large.rest().contains("-ERR 'Maximum Payload Violation'"), "{}", bus.name);

        bus.varz("\"connections\": 2,");
        bus.set("max_connections: 2", "[INF] Reloaded: max_connections = 2");
        let refused = bus.turned_away("load", "load");
        assert!(refused.contains("-ERR 'maximum connections exceeded'"), "{}: {refused}", bus.name);

        bus.set("ping_interval: \"2s\"", "[INF] Reloaded: ping_interval = 2s");
        let mut pinged = bus.loader();
        pinged.read_to("PING\r\n");
        bus.set("ping_interval: \"2s\"\nping_max: 1", "[INF] Reloaded: ping_max = 1");
        let mut silent = bus.loader();
        assert!(silent.rest().contains("-ERR 'Stale Connection'"), "{}", bus.name);

        bus.set("write_deadline: \"300ms\"", "[INF] Reloaded: write_deadline = 300ms");
        let mut stuck = bus.loader();
        stuck.say("SUB flood 1\r\n");
        stuck.ping();
        let mut flood = bus.loader();
        let burst = format!("PUB flood 10000\r\n{}\r\n", "x".repeat(10_000)).repeat(100);
        // More than all buffers on the way hold.
        (0..40).for_each(|_| flood.say(&burst));
        bus.logs("WriteDeadline of 300ms exceeded");
        flood.ping();
        bus.set(
            "no_fast_producer_stall: true",
            "[INF] Reloaded: fast producers will not be stalled",
        );
    });
}

#[test]
fn what_a_server_says_of_itself_is_reloaded_under_load() {
    under_load("matrix-identity", |bus| {
        bus.set(
            "client_advertise: \"h.example:77\"",
            "[INF] Reload: client_advertise = h.example:77",
        );
        let info = bus.info();
        let told = info.contains("\"host\":\"h.example\"") && info.contains("\"port\":77,");
        assert!(told, "{}: {info}", bus.name);
        bus.set("server_tags: [North, \"rack:7\"]", "[INF] Reloaded: tags");
        bus.varz("\"rack:7\"");
        bus.set("server_metadata: { site: north }", "[INF] Reloaded: metadata");
        bus.varz("\"site\": \"north\"");
        bus.set("pid_file: pid2", "[INF] Reloaded: pid_file = pid2");
        let pid = bus.running.0.id().to_string();
        assert_eq!(fs::read_to_string(bus.scratch.0.join("pid2")).unwrap(), pid, "{}", bus.name);
        bus.set("ports_file_dir: ports2", "[INF] Reloaded: ports_file_dir = ports2");
        let moved = bus.running.address("nats", &bus.program, &bus.scratch.0.join("ports2"));
        assert_eq!(moved, bus.address, "{}", bus.name);
        let left = fs::read_dir(bus.scratch.0.join("ports")).unwrap().count();
        assert_eq!(left, 0, "{}: the old ports file stays", bus.name);
        for key in ["connect_error_reports", "reconnect_error_reports"] {
            let words = match bus.program.takes_shards {
                true => format!("{key} is not supported yet"),
                false => format!("[INF] Reloaded: {key} = 5"),
            };
            bus.set(&format!("{key}: 5"), &words);
        }
        bus.set("mappings { old.name: new.name }", "Reloaded server configuration");
        let mut client = bus.loader();
        client.say("SUB new.name 1\r\nPUB old.name 2\r\nhi\r\n");
        let heard = client.ping();
        assert!(heard.contains("MSG new.name 1 2\r\nhi\r\n"), "{}: {heard}", bus.name);
    });
}

#[test]
fn users_are_reloaded_under_load() {
    under_load("matrix-users", |bus| {
        let refused = bus.turned_away("a", "p");
        assert!(refused.contains("-ERR 'Authorization Violation'"), "{}: {refused}", bus.name);
        bus.let_in("{ user: a, password: p }");
        let mut old = bus.client("a", "p");
        bus.let_in("{ user: a, password: q }");
        assert!(old.rest().contains("-ERR 'Authorization Violation'"), "{}", bus.name);
        assert!(bus.turned_away("a", "p").contains("-ERR 'Authorization Violation'"));

        let mut client = bus.client("a", "q");
        client.say("SUB foo 1\r\nSUB bar 2\r\nSUB foo grp 3\r\n");
        client.ping();
        bus.let_in(
            "{ user: a, password: q, permissions {\n subscribe { deny: foo }\n\
             publish { deny: \"no.>\" } } }",
        );
        // In any order.
        let told = client.read_to("\")'\r\n") + &client.read_to("\")'\r\n");
        let lost = "-ERR 'Permissions Violation for Subscription to \"foo\"";
        assert!(told.contains(&format!("{lost} (sid \"1\")'")), "{}: {told}", bus.name);
        let group = format!("{lost} using queue \"grp\" (sid \"3\")'");
        assert!(told.contains(&group), "{}: {told}", bus.name);
        client.say("PUB no.way 0\r\n\r\nPUB bar 2\r\nhi\r\nPUB foo 0\r\n\r\n");
        let told = client.ping();
        let denied = "-ERR 'Permissions Violation for Publish to \"no.way\"'";
        assert!(told.contains(denied), "{}: {told}", bus.name);
        assert!(told.contains("MSG bar 2 2\r\nhi\r\n"), "{}: {told}", bus.name);
        assert!(!told.contains("MSG foo"), "{}: {told}", bus.name);

        let patient =
            conf("", &bus.users).replace("authorization {", "authorization { timeout: 7\n");
        bus.write(&patient);
        bus.has_read("[INF] Reloaded: authorization timeout = 7");
        bus.varz("\"auth_timeout\": 7,");
        bus.let_in("");
        let told = client.rest();
        assert!(!told.contains("MSG"), "{}: {told}", bus.name);
        assert!(bus.turned_away("a", "q").contains("-ERR 'Authorization Violation'"));
    });
}

#[test]
fn accounts_are_reloaded_under_load() {
    under_load("matrix-accounts", |bus| {
        let accounts = |a: &str, b: &str, m_in_b: bool| {
            let user = |name: &str| format!("{{ user: {name}, password: p }}");
            let (of_a, of_b) = match m_in_b {
                false => (format!("{}, {}", user("a"), user("m")), user("b")),
                true => (user("a"), format!("{}, {}", user("b"), user("m"))),
            };
            format!(
                "accounts {{\n A {{ users: [ {of_a} ]\n{a} }}\n B {{ users: [ {of_b} ]\n{b} }} }}"
            )
        };
        bus.set(&accounts("", "", false), "Reloaded server configuration");
        let (mut a, mut b) = (bus.client("a", "p"), bus.client("b", "p"));
        let mut moving = bus.client("m", "p");
        for client in [&mut a, &mut b, &mut moving] {
            client.say("SUB ev.> 1\r\n");
            client.ping();
        }
        bus.set(&accounts("", "", true), "Reloaded server configuration");
        let told = moving.rest();
        assert!(!told.contains("MSG"), "{}: {told}", bus.name);
        a.say("PUB ev.a 1\r\nx\r\n");
        assert!(a.ping().contains("MSG ev.a 1 1"), "{}", bus.name);
        assert!(!b.ping().contains("MSG"), "{}: no wall", bus.name);

        let export = "exports: [ { stream: \"ev.>\" } ]";
        let import = "imports: [ { stream: { account: A, subject: \"ev.>\" } } ]";
        bus.set(&accounts(export, import, true), "Reloaded server configuration");
        a.say("PUB ev.b 1\r\nx\r\n");
        a.ping();
        assert!(b.read_to("\r\nx\r\n").contains("MSG ev.b 1 1"), "{}: no import", bus.name);
        bus.set(&accounts("", "", true), "Reloaded server configuration");
        a.say("PUB ev.c 1\r\nx\r\n");
        a.ping();
        assert!(!b.ping().contains("MSG"), "{}: still imported", bus.name);
        bus.set("", "Reloaded server configuration");
        // The account is gone, and so is everybody in it.
        a.rest();
        b.rest();
    });
}

const TLS: &str = "tls { cert_file: server.pem, key_file: server.key, timeout: 5 }";

#[test]
fn tls_is_reloaded_under_load() {
    under_load("matrix-tls", |bus| {
        let mut plain = bus.loader();
        bus.set(TLS, "[INF] Reloaded: tls = enabled");
        let info = bus.info();
        assert!(info.contains("\"tls_required\":true"), "{}: {info}", bus.name);
        assert!(!bus.turned_away("load", "load").contains("PONG"), "{}", bus.name);
        // Whoever was in stays in.
        plain.ping();
        let files: [&[u8]; 2] = ["server.pem", "client.pem"]
            .map(|name| &*fs::read(bus.scratch.0.join(name)).unwrap().leak());
        fs::write(bus.scratch.0.join("server.pem"), files[1]).unwrap();
        bus.set(&format!("{TLS}\nmax_payload: 999"), "Failed to reload server configuration");
        assert!(!bus.info().contains("\"max_payload\":999,"), "{}: half a reload", bus.name);
        fs::write(bus.scratch.0.join("server.pem"), files[0]).unwrap();
        bus.set("", "[INF] Reloaded: tls = disabled");
        plain.ping();
        bus.loader().ping();
    });
}

/// Settings that only a start can change, and what the log says of them.
const FIXED: [(&str, &str); 18] = [
    ("server_name: x", "ServerName: old="),
    ("max_subs: 5", "MaxSubs: old=0, new=5"),
    ("max_sub_tokens: 5", "MaxSubTokens: old=0, new=5"),
    ("max_pending: 2MB", "MaxPending: old=67108864, new=2097152"),
    ("max_closed_clients: 5", "MaxClosedClients: old=10000, new=5"),
    ("lame_duck_duration: \"1m\"", "LameDuckDuration: old=2m0s, new=1m0s"),
    ("lame_duck_grace_period: \"1s\"", "LameDuckGracePeriod: old=10s, new=1s"),
    (
        "tls { cert_file: server.pem, key_file: server.key, connection_rate_limit: 5 }",
        "TLSRateLimit: old=0, new=5",
    ),
    (
        "tls { cert_file: server.pem, key_file: server.key, verify_and_map: true }",
        "TLSMap: old=false, new=true",
    ),
    ("allow_non_tls: true", "AllowNonTLS: old=false, new=true"),
    ("no_header_support: true", "NoHeaderSupport: old=false, new=true"),
    ("http_base_path: /x", "HTTPBasePath: old="),
    ("disable_sublist_cache: true", "NoSublistCache: old=false, new=true"),
    ("write_timeout: retry", "WriteTimeout: old=, new=retry"),
    ("no_auth_user: load", "NoAuthUser: old=, new=load"),
    ("no_system_account: true", "NoSystemAccount: old=false, new=true"),
    ("listen: \"localhost:-1\"", "Host: old=127.0.0.1, new=localhost"),
    ("http: \"localhost:-1\"", "HTTPHost: old=127.0.0.1, new=localhost"),
];

#[test]
fn one_setting_that_is_fixed_refuses_the_whole_file() {
    under_load("matrix-fixed", |bus| {
        for (setting, words) in FIXED {
            let words = format!(
                "[ERR] Failed to reload server configuration: \
                 config reload not supported for {words}"
            );
            bus.set(&format!("max_payload: 999\nserver_tags: [hasty]\n{setting}"), &words);
        }
        let words = match bus.program.takes_shards {
            true => "feature flag \"js_ack_fc_v2\" is not supported yet",
            false => "FeatureFlags: old=map[], new=map[js_ack_fc_v2:true]",
        };
        let flags = "feature_flags { js_ack_fc_v2: true }";
        bus.set(&format!("max_payload: 999\nserver_tags: [hasty]\n{flags}"), words);
        assert!(bus.news().contains("[ERR] Failed to reload server configuration: "));
        bus.varz("\"max_payload\": 1048576,");
        assert!(!get(&bus.http, "/varz").contains("hasty"), "{}: half a reload", bus.name);
        bus.set("server_tags: [calm]", "[INF] Reloaded: tags");
        bus.varz("calm");
    });
}

#[test]
fn a_log_that_can_not_be_had_leaves_everything_as_it_was() {
    let program = Program::under_test();
    if !program.takes_shards {
        return;
    }
    let mut bus = Bus::start("ringbus", program, "matrix-half");
    bus.set(
        &format!("logfile: \"nowhere/log\"\nmax_payload: 999\n{TLS}"),
        "Failed to reload server configuration",
    );
    let info = bus.info();
    assert!(info.contains("\"max_payload\":1048576,") && !info.contains("tls"), "{info}");
    bus.loader().ping();
    bus.end();
}

#[test]
fn users_of_the_system_account_reload_as_signals_do() {
    for (name, program) in ["reference", "ringbus"].into_iter().zip(Program::both()) {
        let mut bus = Bus::start(name, program, "matrix-asked");
        let system = "accounts { $SYS { users: [ { user: sys, password: p } ] } }";
        bus.set(system, "Reloaded server configuration");
        let info = bus.info();
        let id = info.split("\"server_id\":\"").nth(1).unwrap().split('"').next().unwrap();
        let mut client = bus.client("sys", "p");
        client.say("SUB answer.* 1\r\n");
        let ask = |client: &mut Client, settings: &str, number: u8| {
            let text = conf(&format!("{system}\n{settings}"), "");
            fs::write(bus.scratch.0.join("c.conf"), text).unwrap();
            client.say(&format!("PUB $SYS.REQ.SERVER.{id}.RELOAD answer.{number} 0\r\n\r\n"));
            client.read_to(&format!("MSG answer.{number} 1 "));
            client.read_to("\r\n");
            client.read_to("}\r\n")
        };
        let answer = ask(&mut client, "max_payload: 1001", 1);
        assert!(!answer.contains("error"), "{name}: {answer}");
        assert!(bus.info().contains("\"max_payload\":1001,"), "{name}");
        let answer = ask(&mut client, "max_payload: 1002\nmax_subs: 7", 2);
        assert!(answer.contains("config reload not supported for MaxSubs"), "{name}: {answer}");
        assert!(bus.info().contains("\"max_payload\":1001,"), "{name}");
        bus.end();
    }
}
