//! What an operator does to a server that runs: signals, new settings, the end in stages; and what
//! becomes of its log when nothing takes it.

mod away;
mod load;
mod reloads;
mod secrets;
mod syslog;

use std::fs;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use crate::command::{Running, Scratch, answer, await_text, await_that, first_line};
use crate::harness::server::Program;

/// A client that has said CONNECT and got its PONG, and the INFO after it.
struct Client(BufReader<TcpStream>);

impl Client {
    fn dial(address: &str) -> Client {
        Client::log_in(address, "")
    }

    /// With these further words in its CONNECT.
    fn log_in(address: &str, words: &str) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client(BufReader::new(stream));
        client.say(&format!("CONNECT {{\"verbose\":false,\"protocol\":1{words}}}\r\nPING\r\n"));
        client.read_to("\"connect_info\":true");
        client.read_to("\r\n");
        client
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// What has come before its own PONG.
    fn ping(&mut self) -> String {
        self.say("PING\r\n");
        self.read_to("PONG\r\n")
    }

    /// Reads until these words have come.
    fn read_to(&mut self, words: &str) -> String {
        let mut text = String::new();
        let mut byte = [0];
        while !text.ends_with(words) {
            // An interrupted read is made again.
            let read = self.0.read_exact(&mut byte);
            read.unwrap_or_else(|error| panic!("{error} before {words}: {text}"));
            text.push(byte[0] as char);
        }
        text
    }

    /// All that comes until the server closes.
    fn rest(&mut self) -> String {
        read_to_close(&mut self.0)
    }
}

/// All that comes until the server closes, of which a reset is one way.
fn read_to_close(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if let Err(error) = read {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error} after {text}");
    }
    text
}

/// Is the last line of a reload among these, whatever became of it?
fn is_end_of_reload(news: &str) -> bool {
    ["Reloaded server configuration", "Failed to reload server configuration"]
        .iter()
        .any(|end| news.contains(end))
}

fn write_conf(scratch: &Scratch, text: &str) {
    fs::write(scratch.0.join("c.conf"), text).unwrap();
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_lame_duck_tells_its_clients_and_lets_them_go_one_by_one() {
    for (name, program) in ["reference", "ringbus"].iter().zip(Program::both()) {
        let scratch = Scratch::new(&format!("ldm-{name}"));
        let grace = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"500ms\"\n";
        write_conf(&scratch, &format!("{grace}logtime: false\n"));
        let mut running = Running::start(&program, &scratch.0);
        let log = scratch.0.join("log");
        await_text(&log, "Server is ready");
        let address = running.address("nats", &program, &scratch.0);
        let http = running.address("monitoring", &program, &scratch.0);
        let mut clients: Vec<Client> = (0..3).map(|_| Client::dial(&address)).collect();
        running.signal("USR2");
        await_text(&log, "[INF] Entering lame duck mode, stop accepting new clients\n");
        await_that("no new clients", || TcpStream::connect(&address).is_err());
        assert!(get(&http, "/healthz").starts_with("HTTP/1.1 500"), "{name}");
        running.signal("TERM");
        await_text(&log, "Trapped \"terminated\" signal");
        for client in &mut clients {
            let text = client.rest();
            assert!(text.starts_with("INFO ") && text.contains("\"ldm\":true"), "{name}: {text}");
            assert!(!text.contains("connect_urls"), "{name}: {text}");
            assert!(!text.contains("-ERR"), "{name}: {text}");
        }
        assert_eq!(running.end(), Some(0), "{name}");
        let text = fs::read_to_string(&log).unwrap();
        let place = |line: &str| text.find(line).unwrap_or_else(|| panic!("no {line}: {text}"));
        let lines =
            ["stop accepting", "Closing existing clients", "Initiating Shutdown...", "Exiting.."];
        assert!(lines.map(place).is_sorted(), "{name}: {text}");
    }
}

#[test]
fn a_lame_duck_nobody_uses_is_gone_at_once() {
    for (name, program) in ["reference", "ringbus"].iter().zip(Program::both()) {
        let scratch = Scratch::new(&format!("ldm-alone-{name}"));
        write_conf(&scratch, "debug: false\n");
        let mut running = Running::start(&program, &scratch.0);
        await_text(&scratch.0.join("log"), "Server is ready");
        // The default grace period is 10 seconds, and `end` waits no longer than 20 for the 120.
        running.signal("USR2");
        assert_eq!(running.end(), Some(0), "{name}");
    }
}

/// Old settings, new ones, and what the log says of the change.
const RELOADS: &[(&str, &str, &str)] = &[
    ("debug: false", "debug: true", "[INF] Reloaded: debug = true"),
    ("trace: false", "trace: true", "[INF] Reloaded: trace = true"),
    ("", "trace_headers: true", "[INF] Reloaded: trace_headers = true"),
    ("", "trace_verbose: true", "[INF] Reloaded: trace_verbose = true"),
    ("logtime: false", "logtime: false\nlogtime_utc: true", "[INF] Reloaded: logtime_utc = true"),
    ("", "max_connections: 10", "[INF] Reloaded: max_connections = 10"),
    ("", "max_control_line: 8KB", "[INF] Reloaded: max_control_line = 8192"),
    ("", "max_payload: 1000", "[INF] Reloaded: max_payload = 1000"),
    ("", "ping_interval: \"3s\"", "[INF] Reloaded: ping_interval = 3s"),
    ("", "ping_max: 7", "[INF] Reloaded: ping_max = 7"),
    ("", "write_deadline: \"1500ms\"", "[INF] Reloaded: write_deadline = 1.5s"),
    ("", "max_traced_msg_len: 9", "[INF] Reloaded: max_traced_msg_len = 9"),
    ("", "client_advertise: \"h:77\"", "[INF] Reload: client_advertise = h:77"),
    ("", "server_tags: [a]", "[INF] Reloaded: tags"),
    ("", "server_metadata: {a: b}", "[INF] Reloaded: metadata"),
    (
        "authorization { user: a, password: p }",
        "authorization { user: b, password: p }",
        "[INF] Reloaded: authorization username",
    ),
    (
        "authorization { user: a, password: p }",
        "authorization { user: a, password: q }",
        "[INF] Reloaded: authorization password",
    ),
    (
        "authorization { token: p }",
        "authorization { token: q, timeout: 2.5 }",
        "[INF] Reloaded: authorization token",
    ),
    (
        "authorization { token: q }",
        "authorization { token: q, timeout: 2.5 }",
        "[INF] Reloaded: authorization timeout = 2.5",
    ),
    ("", "no_fast_producer_stall: true", "[INF] Reloaded: fast producers will not be stalled"),
    (
        "",
        "server_name: x",
        "[ERR] Failed to reload server configuration: \
         config reload not supported for ServerName: old=",
    ),
    (
        "",
        "max_subs: 5",
        "[ERR] Failed to reload server configuration: \
         config reload not supported for MaxSubs: old=0, new=5",
    ),
    (
        "",
        "max_pending: 2MB",
        "[ERR] Failed to reload server configuration: \
         config reload not supported for MaxPending: old=67108864, new=2097152",
    ),
    (
        "",
        "lame_duck_duration: \"1m\"",
        "[ERR] Failed to reload server configuration: \
         config reload not supported for LameDuckDuration: old=2m0s, new=1m0s",
    ),
    (
        "",
        "max_payload: 7MB\nmax_pending: 6MB",
        "[ERR] Failed to reload server configuration: \
         max_payload (7340032) cannot be higher than max_pending (6291456)",
    ),
    ("", "nonsense: 1", "[ERR] Failed to reload server configuration: "),
];

#[test]
fn settings_are_reloaded_or_refused_in_the_words_of_nats_server() {
    std::thread::scope(|scope| {
        for (name, program) in ["reference", "ringbus"].into_iter().zip(Program::both()) {
            scope.spawn(move || {
                let scratch = Scratch::new(&format!("reload-{name}"));
                write_conf(&scratch, "logtime: false\nport: -1\n");
                let mut running = Running::start(&program, &scratch.0);
                let log = scratch.0.join("log");
                await_text(&log, "Server is ready");
                for (old, new, line) in RELOADS {
                    for (settings, said) in
                        [(old, "Reloaded server configuration (sha256:"), (new, line)]
                    {
                        let from = fs::read_to_string(&log).unwrap().len();
                        write_conf(&scratch, &format!("logtime: false\nport: -1\n{settings}\n"));
                        running.signal("HUP");
                        await_that(&format!("{name}: {said} for {settings}"), || {
                            let news = &fs::read_to_string(&log).unwrap()[from..];
                            news.contains(said) && is_end_of_reload(news)
                        });
                    }
                }
                running.signal("INT");
                assert_eq!(running.end(), Some(0));
            });
        }
    });
}

#[test]
fn a_reload_takes_effect_and_loses_no_message() {
    let program = Program::under_test();
    let scratch = Scratch::new("reload-effect");
    write_conf(&scratch, "max_payload: 1000\n");
    let mut running = Running::start(&program, &scratch.0);
    let log = scratch.0.join("log");
    await_text(&log, "Server is ready");
    let address = running.address("nats", &program, &scratch.0);
    let http = running.address("monitoring", &program, &scratch.0);
    let mut subscriber = Client::dial(&address);
    subscriber.say("SUB load 1\r\nPING\r\n");
    subscriber.read_to("PONG\r\n");
    let idle: Vec<Client> = (0..8).map(|_| Client::dial(&address)).collect();

    // A publisher that never stops while the settings change to and fro.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut publisher = Client::dial(&address);
            let mut sent = 0u64;
            while !stop.load(relaxed) {
                let text = format!("{sent:08}");
                publisher.say(&format!("PUB load 8\r\n{text}\r\n"));
                sent += 1;
                if sent.is_multiple_of(64) {
                    publisher.say("PING\r\n");
                    publisher.read_to("PONG\r\n");
                }
            }
            publisher.say("PING\r\n");
            publisher.read_to("PONG\r\n");
            sent
        });
        for round in 1..=10 {
            let size = 1000 + round;
            write_conf(&scratch, &format!("max_payload: {size}\nping_max: {round}\n"));
            running.signal("HUP");
            let told = subscriber_info(&mut subscriber);
            assert!(told.contains(&format!("\"max_payload\":{size},")), "{told}");
        }
        stop.store(true, relaxed);
        let sent = publisher.join().unwrap();
        subscriber.say("PING\r\n");
        let text = subscriber.read_to("PONG\r\n");
        let all = SEEN.with_borrow(|seen| format!("{seen}{text}"));
        let got = all.matches("MSG load 1 8\r\n").count() as u64;
        assert_eq!(got, sent, "messages were lost");
    });

    // Monitoring hears of it after the shards.
    await_that("the last reload shows", || get(&http, "/varz").contains("\"ping_max\": 10"));
    write_conf(&scratch, "max_payload: 1000\nmax_connections: 2\nping_max: 10\n");
    running.signal("HUP");
    let text = await_text(&log, "Reloaded: max_connections = 2");
    // The publisher may be counted until its end has been noticed.
    assert!(text.contains("connections to fall within max_connections"), "{text}");
    await_that("two connections are left", || get(&http, "/varz").contains("\"connections\": 2,"));
    drop(idle);
    running.signal("INT");
    assert_eq!(running.end(), Some(0));
}

/// Two accounts change places in the file, and a third comes before them: clients stay who and where
/// they are, a new password ends those that showed the old one, and no account hears another.
#[test]
fn a_reload_leaves_clients_in_their_accounts() {
    let account = |name: &str, pass: &str| {
        format!("{} {{ users: [ {{ user: {name}, password: {pass} }} ] }}\n", name.to_uppercase())
    };
    let conf = |accounts: &[String]| format!("accounts {{\n{}}}\n", accounts.concat());
    for (name, program) in ["reference", "ringbus"].into_iter().zip(Program::both()) {
        let scratch = Scratch::new(&format!("reload-accounts-{name}"));
        let [a, b] = ["a", "b"].map(|name| account(name, "p"));
        write_conf(&scratch, &conf(&[a.clone(), b.clone(), account("d", "old")]));
        let mut running = Running::start(&program, &scratch.0);
        let log = scratch.0.join("log");
        await_text(&log, "Server is ready");
        let address = running.address("nats", &program, &scratch.0);
        let log_in = |user: &str, pass: &str| {
            Client::log_in(&address, &format!(",\"user\":\"{user}\",\"pass\":\"{pass}\""))
        };
        let (mut old_a, mut old_b) = (log_in("a", "p"), log_in("b", "p"));
        let mut old_d = log_in("d", "old");
        for client in [&mut old_a, &mut old_b] {
            client.say("SUB > 1\r\n");
            client.ping();
        }
        write_conf(&scratch, &conf(&[account("c", "p"), account("d", "new"), b, a]));
        running.signal("HUP");
        await_text(&log, "Reloaded server configuration");
        assert!(old_d.rest().contains("-ERR 'Authorization Violation'"), "{name}");
        old_a.say("PUB from.old.a 1\r\nx\r\n");
        let heard = old_a.ping();
        assert!(heard.contains("MSG from.old.a"), "{name}: {heard}");
        for (user, pass) in [("a", "p"), ("b", "p"), ("c", "p"), ("d", "new")] {
            let mut client = log_in(user, pass);
            client.say(&format!("PUB from.new.{user} 1\r\nx\r\n"));
            client.ping();
        }
        let heard = (old_a.ping(), old_b.ping());
        let subjects = |text: &str| text.matches("MSG ").count();
        assert!(heard.0.contains("from.new.a") && subjects(&heard.0) == 1, "{name}: {heard:?}");
        assert!(heard.1.contains("from.new.b") && subjects(&heard.1) == 1, "{name}: {heard:?}");
        running.signal("INT");
        assert_eq!(running.end(), Some(0));
    }
}

thread_local! {
    /// What the subscriber has read besides INFO.
    static SEEN: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// Reads on until an INFO has come, and gives it.
fn subscriber_info(subscriber: &mut Client) -> String {
    let before = subscriber.read_to("INFO ");
    let info = subscriber.read_to("\r\n");
    SEEN.with_borrow_mut(|seen| seen.push_str(&before));
    info
}

#[test]
fn a_log_nobody_takes_stops_no_message() {
    let program = Program::under_test();
    let never_read = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("tcp://{}", never_read.local_addr().unwrap());
    for (name, flags) in [("full", ["-l", "/dev/full"]), ("stuck", ["-r", remote.as_str()])] {
        let scratch = Scratch::new(&format!("log-{name}"));
        write_conf(&scratch, "debug: true\ntrace: true\n");
        let mut running = Running::start_with(&program, &scratch.0, &flags);
        let address = running.address("nats", &program, &scratch.0);
        let mut client = Client::dial(&address);
        client.say("SUB a 1\r\n");
        // Some 10 MB of traces, more than a socket's buffers and the log's own hold.
        let body = "x".repeat(500);
        for _ in 0..60 {
            client.say(&format!("PUB a 500\r\n{body}\r\n").repeat(100));
            client.say("PING\r\n");
            client.read_to("PONG\r\n");
        }
        running.signal("INT");
        assert_eq!(running.end(), Some(0), "{name}");
    }
}

#[test]
fn a_log_file_that_is_too_long_is_put_aside() {
    for (name, program) in ["reference", "ringbus"].iter().zip(Program::both()) {
        let scratch = Scratch::new(&format!("rotate-{name}"));
        write_conf(&scratch, "trace: true\nlogfile_max_num: 3\nlogtime: false\n");
        let flags = ["-l", "log", "--log_size_limit", "2000"];
        let mut running = Running::start_with(&program, &scratch.0, &flags);
        let address = running.address("nats", &program, &scratch.0);
        let mut client = Client::dial(&address);
        let backups = || {
            let names = fs::read_dir(&scratch.0).unwrap().flatten();
            names.filter(|entry| entry.file_name().to_string_lossy().starts_with("log.2")).count()
        };
        let text = || fs::read_to_string(scratch.0.join("log")).unwrap_or_default();
        await_that("a log file is purged", || {
            client.say("PING\r\n");
            client.read_to("PONG\r\n");
            text().contains("[INF] Purged log file \"log.2")
        });
        assert!(
            text().contains("[INF] Rotated log, backup saved as \"log.2"),
            "{name}: {}",
            text()
        );
        await_that("two backups are left", || backups() == 2);
        running.signal("INT");
        assert_eq!(running.end(), Some(0), "{name}");
    }
}

#[test]
fn the_signal_flag_finds_a_server_and_complains_like_nats_server() {
    let scratch = Scratch::new("signal");
    write_conf(&scratch, "debug: false\n");
    let program = Program::under_test();
    let mut running = Running::start(&program, &scratch.0);
    let log = scratch.0.join("log");
    await_text(&log, "Server is ready");
    let pid_file = scratch.0.join("pid").display().to_string();
    let reopened = answer(&program, &format!("--signal reopen={pid_file}"));
    assert!(reopened.status.success(), "{reopened:?}");
    await_text(&log, "Trapped \"user defined signal 1\" signal");
    let pid = running.0.id();
    // A star finds all whose numbers begin so: with the whole number before it, this one.
    let found = answer(&program, &format!("--signal=reload={pid}*"));
    assert!(found.status.success(), "{found:?}");
    await_text(&log, "Trapped \"hangup\" signal");
    assert!(answer(&program, &format!("-sl term={pid}")).status.success());
    assert_eq!(running.end(), Some(0));
    for line in [
        "--signal nonsense=1",
        "--signal=stop=a=b=c",
        "-sl quit=nowhere.pid",
        "-sl reload=99999999",
        "-sl ldm=4194305",
    ] {
        let (theirs, ours) = (answer(&Program::reference(), line), answer(&program, line));
        assert_eq!(ours.status.code(), theirs.status.code(), "{line}");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(text(&ours.stderr), text(&theirs.stderr), "{line}");
        assert_ne!(first_line(&ours.stderr), "", "{line}");
    }
}

/// Gives what systemd is told, one thing after the other.
fn notifications(scratch: &Scratch) -> impl Fn() -> String {
    let socket = UnixDatagram::bind(scratch.0.join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    move || {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }
}

#[test]
fn systemd_hears_of_every_stage() {
    let scratch = Scratch::new("notify");
    write_conf(&scratch, "debug: false\n");
    let hear = notifications(&scratch);
    let mut running = Running::start(&Program::under_test(), &scratch.0);
    assert_eq!(hear(), "READY=1");
    running.signal("HUP");
    assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(hear(), "READY=1");
    running.signal("TERM");
    assert_eq!(hear(), "STOPPING=1");
    assert_eq!(running.end(), Some(0));
}

/// `systemctl stop` sends what the unit says and waits; clients are told before it is over.
#[test]
fn systemd_stops_it_as_a_lame_duck() {
    let unit = lines(&Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/ringbus.service"));
    let said = |key: &str| unit.iter().find_map(|line| line.strip_prefix(key));
    assert_eq!(said("ExecStop="), None, "systemd would not wait for what it asks for");
    let signal = said("KillSignal=SIG").expect("how it ends");
    let scratch = Scratch::new("notify-stop");
    write_conf(&scratch, "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"300ms\"\n");
    let hear = notifications(&scratch);
    let program = Program::under_test();
    let mut running = Running::start(&program, &scratch.0);
    assert_eq!(hear(), "READY=1");
    let address = running.address("nats", &program, &scratch.0);
    let mut client = Client::dial(&address);
    running.signal(signal);
    assert_eq!(hear(), "STOPPING=1");
    let text = client.rest();
    assert!(text.contains("\"ldm\":true"), "{text}");
    assert_eq!(running.end(), Some(0));
    assert!(fs::read_to_string(scratch.0.join("log")).unwrap().contains("Closing existing"));
}

#[test]
fn traces_hide_secrets() {
    for (name, program) in ["reference", "ringbus"].iter().zip(Program::both()) {
        let scratch = Scratch::new(&format!("secrets-{name}"));
        write_conf(&scratch, "trace: true\nmax_traced_msg_len: 4\n");
        let mut running = Running::start(&program, &scratch.0);
        let log = scratch.0.join("log");
        let address = running.address("nats", &program, &scratch.0);
        let mut client = Client::dial(&address);
        client.say("CONNECT {\"verbose\":false,\"protocol\":1,\"user\":\"u\",");
        client.say("\"pass\":\"hush\",\"auth_token\":\"hush\"}\r\n");
        client.say("SUB a 1\r\nPUB a b 6\r\nhel\"lo\r\nPING\r\n");
        client.read_to("PONG\r\n");
        let text = await_text(&log, "->> [PONG]");
        await_text(&log, "->> MSG_PAYLOAD");
        let text = format!("{text}{}", fs::read_to_string(&log).unwrap());
        assert!(!text.contains("hush"), "{name}: {text}");
        for line in [
            "\"pass\":\"[REDACTED]\"",
            "<<- [PUB a b 6]",
            "<<- MSG_PAYLOAD: [\"hel\\\"...\"]",
            "->> [MSG a 1 b 6]",
            "->> MSG_PAYLOAD: [\"hel\\\"...\"]",
        ] {
            assert!(text.contains(line), "{name}: no {line}: {text}");
        }
        running.signal("INT");
        assert_eq!(running.end(), Some(0), "{name}");
    }
}

/// The lines of a file, or none.
pub fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_string).collect()
}
