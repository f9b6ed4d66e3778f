//! Secrets that a server is given by its operator and by its clients, and everything it says: none
//! of the one is in the other.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Client, get, write_conf};
use crate::command::{Running, Scratch, answer, await_text};
use crate::harness::server::Program;

/// For what a server is to say.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// In every secret here. A bcrypt hash is known by its middle.
const MARKS: [&str; 2] = ["hush", "stuu2r9OfJnf"];

const HASH: &str = "$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

/// What clients say at their first word, to get in or not.
const CONNECTS: [&str; 14] = [
    r#"CONNECT {"user":"a","pass":"hush-a"}"#,
    r#"CONNECT {"user":"a","pass":"hush-wrong"}"#,
    r#"CONNECT {"auth_token":"hush-token"}"#,
    r#"CONNECT { "PASS" : "hush\"-quoted" , "user":"hushed?no" }"#,
    r#"CONNECT {"p\u0061ss":"hush-escaped"}"#,
    r#"CONNECT {"pass":["hush-array"]}"#,
    r#"CONNECT {"pass":"hush-cut"#,
    r#"CONNECT {pass:hush-bare}"#,
    r#"CONNECT {'pass':'hush-single'}"#,
    r#"CONNECT {"jwt":"hush.hush.hush","sig":"hush","nkey":"UPUBLIC"}"#,
    r#"CONNECT {"user":"a","proxy_sig":"hush-proxy","pass":"hush"}"#,
    r#"CONECT {"pass":"hush"}"#,
    r#"{"pass":"hush"}"#,
    r#"CONNECT {"user":5,"pass":"hush-type"}"#,
];

const ENDPOINTS: [&str; 21] = [
    "/",
    "/varz",
    "/connz?auth=1&subs=detail&state=all",
    "/connz?auth=1&state=closed&subs=1",
    "/subsz?subs=1",
    "/accountz",
    "/accountz?acc=A",
    "/accountz?acc=$G",
    "/accstatz?unused=1",
    "/routez?subs=1",
    "/gatewayz?accs=1",
    "/leafz?subs=1",
    "/jsz?accounts=1&config=1",
    "/healthz?details=true",
    "/ipqueuesz?all=1",
    "/raftz",
    "/expvarz",
    "/metrics",
    "/dashboard",
    "/debug/vars",
    "/stacksz",
];

/// The requests that the system account's users may make.
const REQUESTS: [&str; 11] = [
    "PING",
    "PING.VARZ",
    "PING.CONNZ",
    "PING.SUBSZ",
    "PING.ACCOUNTZ",
    "PING.STATSZ",
    "PING.HEALTHZ",
    "PING.EXPVARZ",
    "PING.PROFILEZ",
    "PING.JSZ",
    "PING.ROUTEZ",
];

/// A server told to say all it can, and what it and its endpoints have said so far.
struct Gossip {
    running: Running,
    scratch: Scratch,
    said: String,
}

impl Gossip {
    fn start(name: &str, flags: &[&str], conf: &str) -> Gossip {
        let program = Program::under_test();
        let scratch = Scratch::new(&format!("secrets-{name}"));
        write_conf(&scratch, conf);
        let output = File::create(scratch.0.join("output")).unwrap();
        let child = Command::new(&program.path)
            .args(["-c", "c.conf", "-a", "127.0.0.1", "-p", "-1", "-m", "-1", "-DVV"])
            .args(["--ports_file_dir", ".", "-l", "log"])
            .args(flags)
            .current_dir(&scratch.0)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let gossip = Gossip { running: Running(child), scratch, said: String::new() };
        await_text(&gossip.scratch.0.join("log"), "Server is ready");
        gossip
    }

    fn address(&self, kind: &str) -> String {
        self.running.address(kind, &Program::under_test(), &self.scratch.0)
    }

    /// Everything that comes for a first word, until the PONG or the end.
    fn try_to_come_in(&mut self, word: &str) {
        let mut stream = TcpStream::connect(self.address("nats")).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        stream.write_all(format!("{word}\r\nPING\r\nSUB a 1\r\nPING\r\n").as_bytes()).unwrap();
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        while bytes.windows(6).filter(|at| at == b"PONG\r\n").count() < 2 {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What was unread of ours has made the close a reset.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{word}: {error}"),
            }
        }
        self.said.push_str(&String::from_utf8_lossy(&bytes));
    }

    fn ask_everywhere(&mut self) {
        let http = self.address("monitoring");
        for path in ENDPOINTS {
            self.said.push_str(&get(&http, path));
        }
    }

    fn ask_as_system(&mut self, words: &str) {
        let mut client = Client::log_in(&self.address("nats"), words);
        client.say("SUB answers.> 1\r\nSUB $SYS.ACCOUNT.> 2\r\nSUB $SYS.SERVER.> 3\r\n");
        for name in REQUESTS {
            let body = "{\"auth\":true,\"subscriptions\":true,\"state\":2}";
            let length = body.len();
            let request =
                format!("PUB $SYS.REQ.SERVER.{name} answers.{name} {length}\r\n{body}\r\n");
            client.say(&request);
        }
        let (mut said, end) = (String::new(), Instant::now() + WAIT_MAX);
        while REQUESTS.iter().any(|name| !said.contains(&format!("MSG answers.{name} "))) {
            // What the server tells unasked comes all the time.
            assert!(Instant::now() < end, "not all is answered: {said}");
            said.push_str(&client.read_to("\r\n"));
        }
        // The body of the last.
        said.push_str(&client.ping());
        self.said.push_str(&said);
    }

    /// Writes another configuration, has it read, and waits for these words about it.
    fn reload(&mut self, conf: &str, words: &str) {
        let log = self.scratch.0.join("log");
        let before = fs::read_to_string(&log).unwrap().matches(words).count();
        write_conf(&self.scratch, conf);
        self.running.signal("HUP");
        crate::command::await_that(&format!("{words}, once more"), || {
            fs::read_to_string(&log).unwrap().matches(words).count() > before
        });
    }

    fn end(mut self) -> String {
        let pid = self.running.0.id();
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        self.said.push_str(&String::from_utf8_lossy(&line));
        self.running.signal("INT");
        assert_eq!(self.running.end(), Some(0));
        for name in ["log", "output"] {
            self.said.push_str(&fs::read_to_string(self.scratch.0.join(name)).unwrap());
        }
        self.said
    }
}

fn assert_silent(said: &str) {
    for line in said.lines() {
        // The one word that is no secret, so that this test is known to look.
        let line = line.replace("hushed?no", "");
        assert!(!MARKS.iter().any(|mark| line.contains(mark)), "{line}");
    }
}

#[test]
fn no_secret_of_flags_is_told() {
    if !Program::under_test().takes_shards {
        return;
    }
    let flags: [&[&str]; 4] = [
        &["--user", "hush-user", "--pass", "hush-pass"],
        &["-user=a", "--pass=hush-pass"],
        &["--auth", "hush-token"],
        &["--user", "a", "--pass", HASH],
    ];
    for (number, flags) in flags.into_iter().enumerate() {
        let mut gossip = Gossip::start(&format!("flags-{number}"), flags, "debug: true\n");
        CONNECTS.iter().for_each(|word| gossip.try_to_come_in(word));
        gossip.ask_everywhere();
        gossip.reload("debug: true\nmax_payload: 1000\n", "Reloaded server configuration");
        let said = gossip.end();
        assert!(said.contains("CONNECT") && said.contains("[REDACTED]"), "{said}");
        assert_silent(&said);
    }
}

#[test]
fn no_secret_of_the_configuration_or_of_clients_is_told() {
    if !Program::under_test().takes_shards {
        return;
    }
    let conf = |pass: &str| {
        format!(
            "accounts {{\n A {{ users: [ {{ user: a, password: {pass} }}\n\
             {{ user: b, password: \"{HASH}\" }} ] }}\n\
             $SYS {{ users: [ {{ user: sys, password: hush-sys }} ] }} }}\n\
             system_account: \"$SYS\"\n"
        )
    };
    let mut gossip = Gossip::start("conf", &[], &conf("hush-a"));
    CONNECTS.iter().for_each(|word| gossip.try_to_come_in(word));
    let mut inside = Client::log_in(&gossip.address("nats"), ",\"user\":\"a\",\"pass\":\"hush-a\"");
    gossip.ask_as_system(",\"user\":\"sys\",\"pass\":\"hush-sys\"");
    gossip.ask_everywhere();
    for broken in ["password: [hush]", "password: hush hush", "max_payload: \"hush\""] {
        let broken = format!("{}{broken}\n", conf("hush-b"));
        gossip.reload(&broken, "Failed to reload server configuration");
    }
    gossip.reload(&conf("hush-b"), "Reloaded server configuration");
    gossip.said.push_str(&inside.rest());
    gossip.ask_everywhere();
    let said = gossip.end();
    assert!(said.contains("hushed?no"), "user names are told:\n{said}");
    assert_silent(&said);
}

/// Mistakes close to a secret. All are refused; the reason has no part of it.
const MISTAKES: [&str; 25] = [
    "authorization { user: a, password: [hush] }",
    "authorization { user: a, password: { hush: hush } }",
    "authorization { user: a, password: \"hush }",
    "authorization { user: a, password: 'hush }",
    "authorization { user: a, password: 99999999999999999999 hush }",
    "authorization { user: a, password: \"hush\\q\" }",
    "authorization { user: a, password: $2y$11$hushhushhush }",
    "authorization { user: a, password: $2b$11$hushhushhush }",
    "authorization { user: a, password: 2016-13-04T18:53:41Z, hash: hush }",
    "authorization { user: a, token: \"hush-token\", password: hush }",
    "authorization { user: a, pasword: hush }",
    "authorization { users: [ { user: a, password: hush, what: hush } ] }",
    "authorization { users: [ { user: a, password: hush }, { user: a, password: hush } ] }",
    "authorization { users: [ { user: a, nkey: hush } ] }",
    "authorization { users: [ { password: hush } ] }",
    "accounts { A { users: [ { user: a, password: hush }, hush ] } }",
    "authorization { user: a, password: $HUSH_ENVIRONMENT }",
    "cluster { port: 6222, routes: [ \"nats://route:hush@127.0.0.1:6222\" ] }",
    "cluster { port: 6222, routes: [ \"nats://route:hush@%zz:x:6222\" ] }",
    "cluster { port: 6222, authorization { user: r, password: hush, timeout: \"soon\" } }",
    "leafnodes { remotes [ { url: \"nats://a:hush@127.0.0.1:7422\" } ] }",
    "resolver: URL(ftp://a:hush@127.0.0.1/)",
    "resolver: URL(a:hush)",
    "resolver: URL(http://a:hush@127.0.0.1:99999/)",
    "resolver: \"URL(http://a:hu sh@127.0.0.1/hush)\"",
];

#[test]
fn no_secret_is_in_what_a_check_says() {
    if !Program::under_test().takes_shards {
        return;
    }
    let scratch = Scratch::new("secrets-check");
    let check = |name: &str, text: &str| {
        let path = scratch.0.join(name);
        fs::write(&path, text).unwrap();
        let output = Command::new(Program::under_test().path)
            .args(["-t", "-c", &path.display().to_string()])
            .env("HUSH_ENVIRONMENT", "[hush")
            .output()
            .unwrap();
        assert!(!output.status.success(), "{text}");
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    };
    for text in MISTAKES {
        let said = check("c.conf", text);
        assert!(said.contains("c.conf:1:"), "{text}: {said}");
        assert_silent(&said);
    }
    for text in [
        "[authorization]\nuser = \"a\"\npassword = \"hush",
        "[authorization]\nuser = \"a\"\npassword = hush",
        "[authorization]\nuser = \"a\"\npassword = 999999999999999999999\nx = \"hush\"",
    ] {
        let said = check("c.toml", text);
        assert!(said.contains("c.toml:3:"), "{text}: {said}");
        assert_silent(&said);
    }
    for line in [
        "--pass=hush --shards x",
        "--auth hush --nonsense",
        "--cluster nats://u:hush@h:1",
        "--routes=nats://u:hush@h:1,nats://u:hush@h:2",
        "--user a --pass",
        "-t --pass hush",
    ] {
        let output = answer(&Program::under_test(), line);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!said.is_empty(), "{line}");
        assert_silent(&said);
    }
}
