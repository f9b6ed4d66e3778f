//! What both servers log, at every level, of connections that do the same: the same lines as often, in
//! whatever order, with what differs from run to run hidden.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::server::{Program, Server, Setup};
use crate::harness::text::unescape;
use crate::tls::Certificates;

/// For an answer, and for a line of the log.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What connections do, one after the other: `a> …` sends a line, `a< text` reads up to that text,
/// `a eof` up to the end, `a close` closes, `a close 2` when it has two subscriptions, whose ends are
/// told, too; `log text` waits for a line.
struct Dialogue {
    name: &'static str,
    conf: &'static str,
    acts: &'static str,
}

const WHO: &str = r#"{"name":"nobody","lang":"py","version":"1"}"#;

const USERS: &str = "authorization { users: [ {user: u, password: p}, \
    {user: few, password: p, permissions: {publish: a, subscribe: [b, \"b q\"]}} ], timeout: 1 }";

const DIALOGUES: &[Dialogue] = &[
    Dialogue {
        name: "a good login, and all that a client may say",
        conf: "",
        acts: r#"a< INFO
            a> CONNECT <who>
            a> PING
            a< PONG
            a> SUB foo 1
            a> SUB bar q 2
            a> PUB foo 2\r\nhi
            a< hi
            a> PUB bar re 3\r\nabc
            a< abc
            a> UNSUB 2 5
            a> UNSUB 1
            a> PUB nobody 0\r\n
            a> PING
            a< PONG
            a close 1"#,
    },
    Dialogue {
        name: "subscriptions that have had all they wanted",
        conf: "",
        acts: r#"a> CONNECT <who>
            a> SUB foo 1
            a> UNSUB 1 2
            a> SUB foo q 2
            a> UNSUB 2 1
            a> SUB bar 3
            a> PUB foo 2\r\nhi
            a> PUB foo 2\r\nho
            a> PUB foo 2\r\nhu
            a> UNSUB 3 1
            a> PUB bar 0\r\n
            a> PING
            a< PONG
            a close"#,
    },
    Dialogue {
        name: "mappings",
        conf: "mappings { foo: bar, \"a.*\": \"b.{{wildcard(1)}}\" }",
        acts: r#"a> CONNECT <who>
            a> SUB > 1
            a> PUB foo 2\r\nhi
            a> PUB a.x re 0\r\n
            a> PUB other 1\r\nx
            a> PING
            a< PONG
            a close 1"#,
    },
    Dialogue {
        name: "what is left half said",
        conf: "",
        acts: r#"a> CONNECT <who>
            a> SUB foo 1
            a> PING
            a< PONG
            a> PUB foo re 12\r\nsome
            a> PING
            a close 1
            b> CONNECT <who>
            b> SUB foo
            b eof"#,
    },
    Dialogue {
        name: "headers",
        conf: "",
        acts: r#"a> CONNECT {"headers":true,"no_responders":true,"verbose":true}
            a< +OK
            a> SUB h.* 1
            a< +OK
            a> HPUB h.x 12 14\r\nNATS/1.0\r\n\r\nhi
            a< hi
            a> PUB to.nobody h.re 0\r\n
            a< 503
            a> PING
            a< PONG
            a close 1
            b> CONNECT {"name":"nobody","lang":"py","version":"1"}
            b> HPUB h.x 12 14\r\nNATS/1.0\r\n\r\nhi
            b eof
            c> CONNECT {"headers":true,"name":"nobody","lang":"py","version":"1"}
            c> HPUB h.x 15 14
            c eof"#,
    },
    Dialogue {
        name: "who says nothing of itself",
        conf: "",
        acts: r#"a> PING
            a< PONG
            a> CONNECT {}
            a> PING
            a< PONG
            a close"#,
    },
    Dialogue {
        name: "logins that fail",
        conf: USERS,
        acts: r#"a> CONNECT {"user":"u","pass":"no","name":"nobody","lang":"py","version":"1"}
            a eof
            b> CONNECT {"user":"who","pass":"p","lang":"py"}
            b eof
            c> CONNECT {"name":"nobody"}
            c eof
            d> PING
            d eof
            e> CONNECT {"auth_token":"t","nkey":"U","version":"1"}
            e eof
            f> CONNECT nonsense
            f eof
            log ACCOUNT - <<- MSG_PAYLOAD"#,
    },
    Dialogue {
        name: "a login that is late",
        conf: "authorization { user: u, password: p, timeout: 0.2 }",
        acts: r#"a< INFO
            a eof"#,
    },
    Dialogue {
        name: "a user, and what it must not",
        conf: USERS,
        acts: r#"a> CONNECT {"user":"few","pass":"p","name":"nobody","lang":"py","version":"1"}
            a> PUB c 0\r\n
            a< -ERR
            a> SUB c 1
            a< -ERR
            a> SUB b other 2
            a< -ERR
            a> PUB a c 0\r\n
            a> PING
            a< PONG
            a close
            b> CONNECT {"user":"u","pass":"p"}
            b> PING
            b< PONG
            b> CONNECT {"user":"u","pass":"no","name":"again"}
            b eof
            log ACCOUNT - <<- MSG_PAYLOAD"#,
    },
    Dialogue {
        name: "subjects that are none",
        conf: "",
        acts: r#"a> CONNECT {"pedantic":true,"name":"nobody","lang":"py","version":"1"}
            a> SUB a..b 1
            a< -ERR
            a> PUB a.*.b 0\r\n
            a< -ERR
            a> PUB a..b 0\r\n
            a< -ERR
            a> PING
            a< PONG
            a close"#,
    },
    Dialogue {
        name: "what nobody understands",
        conf: "max_payload: 10\nmax_control_line: 300",
        acts: r#"a> CONNECT <who>
            a> FOO
            a eof
            b> GET / HTTP/1.1
            b eof
            c> PUB
            c eof
            d> PUB foo 11
            d eof
            e> SUB <long> 1
            e eof
            f> CONNECT <who>
            f> PUB foo 2\r\nhixx
            f eof
            g> SUB
            g eof
            h> PUB foo -1
            h eof
            i> -ERR 'it is you'
            i eof
            j> UNSUB
            j eof"#,
    },
    Dialogue {
        name: "more than there is room for",
        conf: "max_connections: 1\nmax_subscriptions: 1\nmax_subscription_tokens: 2",
        acts: r#"a> CONNECT <who>
            a> SUB a.b.c 1
            a< -ERR
            a> SUB a.b.c q 1
            a< -ERR
            a> SUB foo 1
            a> SUB bar 2
            a< -ERR
            a> SUB bar 2
            a< -ERR
            a> PING
            a< PONG
            b eof
            a close 1"#,
    },
    Dialogue {
        name: "an account that is full",
        conf: "accounts { A { users: [{user: u, password: p}], limits { max_connections: 1 } } }",
        acts: r#"a> CONNECT {"user":"u","pass":"p"}
            a> PING
            a< PONG
            b> CONNECT {"user":"u","pass":"p","name":"nobody","lang":"py","version":"1"}
            b eof
            a close"#,
    },
    Dialogue {
        name: "a client that does not answer",
        conf: "ping_interval: \"200ms\"\nping_max: 1",
        acts: r#"a> CONNECT <who>
            a< INFO
            a eof"#,
    },
    Dialogue {
        name: "a client that does not read",
        conf: "max_pending: 1000000\nmax_payload: 900000\nmax_traced_msg_len: 10",
        acts: r#"a> CONNECT {"verbose":false}
            a> SUB foo 1
            a> PING
            a< PONG
            b> CONNECT {"verbose":false,"name":"nobody","lang":"py","version":"1"}
            b> <flood>
            b> PING
            b< PONG
            log Slow Consumer
            b close
            log Client Closed"#,
    },
    Dialogue {
        name: "no TLS where it has to be",
        conf: "<tls>",
        acts: r#"a< INFO
            a> CONNECT <who>
            a eof
            b< INFO
            b close
            c< INFO
            c eof"#,
    },
];

/// Lines that nats-server alone may have.
const THEIRS: &[&str] = &[
    // What nobody can read is hidden here.
    "[CONNECT nonsense]",
    // Publishers wait otherwise.
    "Producer was stalled",
    "Timed out of fast producer stall",
];

/// Lines that nats-server has twice, or that come when others are looked at already.
const TWICE: &[&str] = &[
    " - maximum account active connections exceeded",
    "] ACCOUNT - <<- ",
    "TLS handshake timeout",
];

/// Lines that ringbus alone may have.
const OURS: &[&str] = &[
    "[CONNECT [REDACTED]]",
    // The reason, for the operator.
    "Not let in: ",
    "Producer was stalled",
    // Either a timer fires first there, which says this too, or a read ends.
    "->> [-ERR Secure Connection - TLS Required]",
    // Of one that does not read: nats-server's write to it has to end first, ten seconds later.
    "[TRC] 1 - <-> [DELSUB 1]",
];

/// More than sockets hold and the server keeps for one that does not read.
fn flood() -> String {
    r"PUB foo 900000\r\n\{x*900000}\r\n".repeat(29) + r"PUB foo 1\r\nx"
}

fn long(text: &str) -> String {
    text.replace("<who>", WHO).replace("<long>", &"x".repeat(400)).replace("<flood>", &flood())
}

/// Connections by their names.
#[derive(Default)]
struct Table(Vec<(String, TcpStream, Vec<u8>)>);

impl Table {
    fn seat(&mut self, server: &Server, name: &str) -> &mut (String, TcpStream, Vec<u8>) {
        if let Some(at) = self.0.iter().position(|(known, ..)| known == name) {
            return &mut self.0[at];
        }
        let stream = server.dial().expect("the server accepts");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("a timeout can be set");
        self.0.push((name.to_owned(), stream, Vec::new()));
        self.0.last_mut().expect("it was pushed")
    }

    fn read_to(&mut self, server: &Server, name: &str, text: Option<&str>) {
        let (_, stream, unread) = self.seat(server, name);
        loop {
            let found = text.and_then(|text| {
                let at = unread.windows(text.len()).position(|part| part == text.as_bytes())?;
                Some(at + text.len())
            });
            if let Some(end) = found {
                unread.drain(..end);
                return;
            }
            let mut bytes = [0; 4096];
            match stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(len) => unread.extend_from_slice(&bytes[..len]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => break,
                Err(e) => panic!("{name}: {e} instead of {text:?}"),
            }
        }
        let rest = String::from_utf8_lossy(unread);
        assert_eq!(text, None, "{name}: the server closed instead, after {rest}");
    }
}

/// Plays it and gives the log's lines about connections, hidden what varies.
fn logged(program: &Program, dialogue: &Dialogue, tls: &str) -> Vec<String> {
    let conf = dialogue.conf.replace("<tls>", tls).lines().map(str::to_owned).collect();
    let args = vec!["-DV".to_owned()];
    let setup = Setup { conf, args, shards: 1, ..Setup::default() };
    let mut server = Server::start(program, &setup).expect("the server starts");
    let mut table = Table::default();
    for act in dialogue.acts.lines().map(str::trim) {
        let (who, what) = act.split_once([' ', '>', '<']).expect("two words");
        let what = long(what.trim_start());
        match act.as_bytes()[who.len()] {
            b'>' => {
                let bytes = [&unescape(&what).expect("no wrong escape")[..], b"\r\n"].concat();
                let (_, stream, _) = table.seat(&server, who);
                stream.write_all(&bytes).expect("the server reads");
            }
            b'<' => table.read_to(&server, who, Some(&what)),
            _ if who == "log" && server.log_text().contains(&what) => {}
            _ if who == "log" => drop(server.wait_log(&what, WAIT_MAX).expect("it is logged")),
            _ if what.starts_with("eof") => table.read_to(&server, who, None),
            _ if what.starts_with("close") => {
                table.seat(&server, who);
                table.0.retain(|(name, ..)| name != who);
            }
            _ => panic!("`{act}` is no act"),
        }
        if let Some(ended) = what.strip_prefix("eof").or(what.strip_prefix("close")) {
            server.wait_log("Client connection closed: ", WAIT_MAX).expect("its end is logged");
            for _ in 0..ended.trim().parse().unwrap_or(0) {
                server.wait_log("<-> [DELSUB ", WAIT_MAX).expect("their ends are logged");
            }
        }
    }
    let log = server.log_text();
    let log = log.split("Server is ready").nth(1).expect("it is ready");
    let mut cids = Vec::new();
    let lines = log.lines().skip(1).map(|line| normal(line, &mut cids));
    // A flood's messages may get through or not.
    let floods = dialogue.acts.contains("<flood>");
    let of_flood = |line: &String| line.contains("->> [MSG ") || line.contains("MSG_PAYLOAD");
    lines.filter(|line| !floods || !of_flood(line)).collect()
}

/// Without process, time and ports; connections are counted from the first one.
fn normal(line: &str, cids: &mut Vec<String>) -> String {
    // `[12] 2026/11/27 17:00:00.000000 [DBG] 127.0.0.1:40000 - cid:5 - …`
    let text = line.splitn(4, ' ').nth(3).unwrap_or(line);
    let Some((head, rest)) = text.split_once(" - cid:") else {
        // Who says it, when, and so how long it is, are of the run.
        let digits = |c: char| c.is_ascii_digit() || c == ']';
        return match text.split_once(" - <<- MSG_PAYLOAD: ") {
            Some((who, _)) => format!("{who} - <<- MSG_PAYLOAD: "),
            None if text.contains("] ACCOUNT - ") => text.trim_end_matches(digits).to_owned(),
            None => text.to_owned(),
        };
    };
    let level = head.split(' ').next().unwrap_or_default();
    let (cid, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let at = cids.iter().position(|known| known == cid).unwrap_or_else(|| {
        cids.push(cid.to_owned());
        cids.len() - 1
    });
    let rest = match (rest.split_once(", i="), rest.split_once("TLS handshake error: read tcp ")) {
        // Where in what was read.
        (Some((start, end)), _) => {
            format!("{start}, i={}", end.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        (_, Some((start, end))) if end.ends_with("i/o timeout") => {
            format!("{start}TLS handshake timeout")
        }
        _ => rest.to_owned(),
    };
    format!("{level} {} {rest}", at + 1)
}

/// The lines that only `some` have, or have more often, but for those that they may have.
fn alone(some: &[String], others: &[String], may: &[&str]) -> Vec<String> {
    let mut left = others.to_vec();
    let is_alone = |line: &&String| {
        if let Some(at) = left.iter().position(|other| other == *line) {
            left.swap_remove(at);
            return false;
        }
        let has = |parts: &[&str]| parts.iter().any(|part| line.contains(part));
        let is_known = has(may) || (has(TWICE) && others.contains(line));
        !is_known
    };
    some.iter().filter(is_alone).cloned().collect()
}

#[test]
fn connections_are_logged_as_nats_server_does() {
    let files = Certificates::new("ringbus-lines");
    let tls = files.block("server", "timeout: 2");
    let mut wrong = Vec::new();
    for dialogue in DIALOGUES {
        let [theirs, ours] = Program::both().map(|program| logged(&program, dialogue, &tls));
        let (lost, extra) = (alone(&theirs, &ours, THEIRS), alone(&ours, &theirs, OURS));
        if !lost.is_empty() || !extra.is_empty() {
            let (lost, extra) = (lost.join("\n- "), extra.join("\n+ "));
            wrong.push(format!("{}:\n- {lost}\n+ {extra}\n", dialogue.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lines of a start up to its end, without who it is and of which version.
fn started(program: &Program, conf: &str) -> Vec<String> {
    let setup = Setup { conf: conf.lines().map(str::to_owned).collect(), ..Setup::default() };
    let mut server = Server::start(program, &setup).expect("the server starts");
    let log = server.log_text();
    let lines = log.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or(line));
    let own = ["  Version:", "  Git:", "  Name:", "  ID:"];
    let lines = lines.filter(|line| !own.iter().any(|word| line.contains(word)));
    let varies = |line: &str| match line.rsplit_once(':') {
        Some((start, _)) if line.contains("Listening for") => start.to_owned(),
        _ if line.contains("Using configuration file") => "[INF] Using it".to_owned(),
        _ => line.to_owned(),
    };
    lines.map(varies).collect()
}

#[test]
fn starts_are_told_as_nats_server_tells_them() {
    let files = Certificates::new("ringbus-starts");
    let operator = include_str!("../configs/operator.conf");
    let operator = operator.lines().filter(|line| !line.starts_with("listen"));
    let operator = operator.collect::<Vec<_>>().join("\n");
    let place = std::env::temp_dir().join(format!("ringbus-starts-{}", std::process::id()));
    let operator = operator.replace("./jwt", &place.display().to_string());
    let map = format!(
        "{}\nauthorization {{ users: [ {{user: u}} ] }}",
        files.block("server", "map: true")
    );
    let map = map.replace("map: true", "verify_and_map: true");
    let confs = [
        "",
        "max_payload: 9MB\nauthorization { user: u, password: p }",
        "feature_flags: { js_ack_fc_v2: false, nobody: true }",
        "proxy_protocol: true",
        &files.block("server", ""),
        &files.block("server", "handshake_first: true"),
        &map,
        &operator,
    ];
    for conf in confs {
        let [theirs, ours] =
            [Program::reference(), Program::under_test()].map(|program| started(&program, conf));
        assert_eq!(ours, theirs, "of {conf}");
    }
    // It is not there if the directory could not be made.
    let _ = std::fs::remove_dir_all(place);
}

/// With `-DVV` both servers show what they themselves listen to and say, but for who they are.
#[test]
fn the_servers_own_messages_are_traced() {
    let conf = "accounts { SYS { users: [{user: s, password: p}] } }\nsystem_account: SYS";
    let conf = conf.lines().map(str::to_owned).collect::<Vec<_>>();
    for program in [Program::reference(), Program::under_test()] {
        let args = vec!["-DVV".to_owned()];
        let setup = Setup { conf: conf.clone(), args, shards: 1, ..Setup::default() };
        let mut server = Server::start(&program, &setup).expect("the server starts");
        let started = server.log_text();
        let mut table = Table::default();
        let (_, stream, _) = table.seat(&server, "a");
        let said = b"CONNECT {\"verbose\":false,\"user\":\"s\",\"pass\":\"p\"}\r\nSUB in.* 1\r\n\
            PUB $SYS.REQ.SERVER.PING.IDZ in.1 0\r\n\r\n";
        stream.write_all(said).expect("the server reads");
        table.read_to(&server, "a", Some("MSG in.1 1 "));
        drop(table);
        let wanted = ["$SYS.ACCOUNT.SYS.CONNECT  ", "in.1  ", "$SYS.ACCOUNT.SYS.DISCONNECT  "];
        for subject in wanted {
            let line = format!("[TRC] SYSTEM - <<- [PUB {subject}");
            server.wait_log(&line, WAIT_MAX).expect("it is traced");
            server.wait_log("SYSTEM - <<- MSG_PAYLOAD: [", WAIT_MAX).expect("and what it says");
        }
        let line = "[TRC] SYSTEM - <<- [SUB $SYS.REQ.SERVER.PING  ";
        assert!(started.contains(line), "{started}");
    }
}
