//! Makes random dialogues whose outcome does not depend on chance or on time.
//!
//! Declared exclusions, where nats-server's own answer depends on how bytes happen to be read or on
//! a random pick: a carriage return inside arguments; a max on a queue member; members of one group
//! that differ in headers. Before another connection speaks, the one before has had its PONG. A
//! connection whose bytes were mutated ends with them, so that no half message can hang the
//! dialogue.

use crate::harness::rng::Rng;
use crate::harness::script::{Act, Group, Script, Step};

/// Both servers of a run are started with these.
pub const CONF: [&str; 3] = ["max_payload: 1024", "max_control_line: 512", "max_subscriptions: 12"];

const TOKENS: [&str; 5] = ["a", "b", "c", "d*", "long-token-of-some-length"];
const NAMES: [&str; 3] = ["a", "b", "c"];
const QUEUES: [&str; 2] = ["q", "workers"];
const SIDS: [&str; 6] = ["1", "2", "3", "44", "5x", "sid-6"];

/// A dialogue for `case`; its subjects stand under a token of its own, so that many can share a
/// server.
pub fn dialogue(seed: u64, case: u64) -> Script {
    let mut rng = Rng::new(seed ^ case.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    let conns = 1 + rng.below(4);
    let mut generator = Generator {
        prefix: format!("z{case}"),
        conns: (0..conns).map(|at| Peer::new(at, &mut rng)).collect(),
        groups: QUEUES.iter().map(|name| empty_group(name)).collect(),
        acts: Vec::new(),
        queues: false,
        rng,
    };
    let headers: Vec<bool> = generator.conns.iter().map(|peer| peer.headers).collect();
    generator.queues = headers.iter().all(|h| *h == headers[0]);
    generator.run();
    Script {
        name: format!("case-{case}"),
        cast: Vec::new(),
        conf: CONF.iter().map(|line| line.to_string()).collect(),
        groups: generator.groups.into_iter().filter(|group| !group.members.is_empty()).collect(),
        acts: generator.acts,
        rest: Vec::new(),
    }
}

fn empty_group(queue: &str) -> Group {
    Group { name: format!("group{queue}"), members: Vec::new(), expected: Vec::new() }
}

struct Peer {
    name: String,
    headers: bool,
    connect: Option<String>,
    greeted: bool,
    over: bool,
    queue_subs: usize,
}

impl Peer {
    fn new(at: usize, rng: &mut Rng) -> Peer {
        let name = ((b'a' + at as u8) as char).to_string();
        let mut fields = Vec::new();
        let mut headers = false;
        for key in ["verbose", "pedantic", "echo", "headers", "no_responders"] {
            if !rng.chance(60) {
                continue;
            }
            let value = rng.chance(if key == "verbose" { 25 } else { 60 });
            if key == "headers" {
                headers = value;
            }
            if key == "no_responders" && !headers {
                continue;
            }
            fields.push(format!("\"{key}\":{value}"));
        }
        if rng.chance(30) {
            fields.push(format!("\"protocol\":{}", rng.below(2)));
        }
        let connect = rng.chance(85).then(|| format!("CONNECT {{{}}}\r\n", fields.join(",")));
        headers &= connect.is_some();
        Peer { name, headers, connect, greeted: false, over: false, queue_subs: 0 }
    }
}

struct Generator {
    rng: Rng,
    prefix: String,
    conns: Vec<Peer>,
    groups: Vec<Group>,
    acts: Vec<Act>,
    /// Queue groups may be used in this dialogue.
    queues: bool,
}

impl Generator {
    fn run(&mut self) {
        for _ in 0..2 + self.rng.below(8) {
            let open: Vec<usize> = (0..self.conns.len()).filter(|c| !self.conns[*c].over).collect();
            if open.is_empty() {
                return;
            }
            let conn = *self.rng.pick(&open);
            self.turn(conn);
        }
    }

    /// One connection says a few things and waits for its PONG, or says something mutated and ends.
    fn turn(&mut self, conn: usize) {
        if !self.conns[conn].greeted {
            self.conns[conn].greeted = true;
            if let Some(connect) = self.conns[conn].connect.clone() {
                self.act(conn, Step::Send(connect.into_bytes()));
            }
        }
        for _ in 0..1 + self.rng.below(6) {
            let bytes = self.operation(conn, true);
            self.act(conn, Step::Send(bytes));
        }
        if self.rng.chance(18) {
            let bytes = self.mutated(conn);
            self.act(conn, Step::Send(bytes));
            self.conns[conn].over = true;
            self.act(conn, Step::Shut);
        } else {
            self.act(conn, Step::Ping);
        }
    }

    fn act(&mut self, conn: usize, step: Step) {
        let conn = self.conns[conn].name.clone();
        self.acts.push(Act { conn, step, expected: Vec::new(), line: 0 });
    }

    fn operation(&mut self, conn: usize, may_queue: bool) -> Vec<u8> {
        match self.rng.below(100) {
            0..=24 => self.sub(conn, may_queue),
            25..=34 => self.unsub(conn),
            35..=74 => self.publish(conn),
            75..=79 => b"+OK\r\n".to_vec(),
            80..=84 => b"PONG junk\r\n".to_vec(),
            85..=89 => b"INFO {}\r\n".to_vec(),
            90..=94 => b"CONNECT {\"name\":\"again\"}\r\n".to_vec(),
            _ => format!("UNSUB {}\r\n", self.rng.below(1000)).into_bytes(),
        }
    }

    fn sub(&mut self, conn: usize, may_queue: bool) -> Vec<u8> {
        let pattern = self.pattern();
        if may_queue && self.queues && self.rng.chance(30) {
            let queue = self.rng.below(QUEUES.len());
            let peer = &mut self.conns[conn];
            peer.queue_subs += 1;
            let sid = format!("g{}", peer.queue_subs);
            self.groups[queue].members.push((peer.name.clone(), sid.clone()));
            let queue = QUEUES[queue];
            return self.line(&["SUB", &pattern, queue, &sid]);
        }
        let sid = *self.rng.pick(&SIDS);
        self.line(&["SUB", &pattern, sid])
    }

    fn unsub(&mut self, conn: usize) -> Vec<u8> {
        let queue_subs = self.conns[conn].queue_subs;
        if queue_subs > 0 && self.rng.chance(30) {
            let sid = format!("g{}", 1 + self.rng.below(queue_subs));
            return self.line(&["UNSUB", &sid]);
        }
        let sid = *self.rng.pick(&SIDS);
        let max = self.rng.below(4).to_string();
        if self.rng.chance(50) {
            self.line(&["UNSUB", sid, &max])
        } else {
            self.line(&["UNSUB", sid])
        }
    }

    fn publish(&mut self, conn: usize) -> Vec<u8> {
        let subject = if self.rng.chance(10) { self.pattern() } else { self.subject() };
        let reply = if self.rng.chance(40) { self.subject() } else { String::new() };
        let body = self.payload();
        if self.conns[conn].headers && self.rng.chance(40) {
            let header =
                *self.rng.pick(&["NATS/1.0\r\n\r\n", "NATS/1.0 42 x\r\nA:b\r\n\r\n", "?", ""]);
            let (header_len, total) = (header.len(), header.len() + body.len());
            let sizes = [header_len.to_string(), total.to_string()];
            let mut out = self.line(&["HPUB", &subject, &reply, &sizes[0], &sizes[1]]);
            out.extend_from_slice(format!("{header}{body}\r\n").as_bytes());
            return out;
        }
        let mut out = self.line(&["PUB", &subject, &reply, &body.len().to_string()]);
        out.extend_from_slice(format!("{body}\r\n").as_bytes());
        out
    }

    fn payload(&mut self) -> String {
        match self.rng.below(20) {
            0 => "x".repeat(1024 - 24),
            1 => "PING\r\nPUB a 1\r\n".to_string(),
            2 => String::new(),
            _ => format!("m{}", self.rng.below(1_000_000)),
        }
    }

    /// Joins the arguments that aren't empty, now and then with odd blanks, in odd case, ended
    /// oddly.
    fn line(&mut self, args: &[&str]) -> Vec<u8> {
        let mut out = String::new();
        for (at, arg) in args.iter().filter(|arg| !arg.is_empty()).enumerate() {
            if at == 0 {
                out.push_str(&if self.rng.chance(10) {
                    arg.to_lowercase()
                } else {
                    arg.to_string()
                });
                continue;
            }
            let odd = self.rng.chance(5);
            out.push_str(if odd { self.rng.pick::<&str>(&["  ", "\t", " \t "]) } else { " " });
            out.push_str(arg);
        }
        if self.rng.chance(3) {
            out.push(' ');
        }
        out.push_str(if self.rng.chance(5) { "\n" } else { "\r\n" });
        out.into_bytes()
    }

    fn subject(&mut self) -> String {
        let mut subject = self.prefix.clone();
        for _ in 0..1 + self.rng.below(3) {
            subject.push('.');
            subject.push_str(self.rng.pick::<&str>(&NAMES));
        }
        subject
    }

    fn pattern(&mut self) -> String {
        let mut pattern = self.prefix.clone();
        for _ in 0..1 + self.rng.below(3) {
            pattern.push('.');
            match self.rng.below(10) {
                0..=5 => pattern.push_str(self.rng.pick::<&str>(&TOKENS)),
                6 | 7 => pattern.push('*'),
                8 => pattern.push('>'),
                _ => {}
            }
        }
        pattern
    }

    /// A few operations with some bytes changed. No queues here: chance must not decide who gets
    /// what.
    fn mutated(&mut self, conn: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.rng.chance(25) {
            let connect = self.conns[conn].connect.clone().unwrap_or("CONNECT {}\r\n".into());
            bytes.extend_from_slice(connect.as_bytes());
        }
        for _ in 0..1 + self.rng.below(4) {
            bytes.extend(self.operation(conn, false));
        }
        for _ in 0..1 + self.rng.below(3) {
            self.mutate(&mut bytes);
        }
        drop_stray_returns(&mut bytes);
        bytes
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let at = self.rng.below(bytes.len());
        match self.rng.below(8) {
            0 => bytes[at] = self.rng.next() as u8,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, *self.rng.pick(b" \t\n.*>0123456789\"{}:,abPUSxX-+\x00\xff")),
            3 => bytes.truncate(at),
            4 => {
                let end = (at + 1 + self.rng.below(12)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let end = (at + 1 + self.rng.below(8)).min(bytes.len());
                drop(bytes.drain(at..end));
            }
            6 => {
                if let Some(digit) = bytes[at..].iter().position(u8::is_ascii_digit) {
                    bytes[at + digit] = b'0' + self.rng.below(10) as u8;
                }
            }
            _ => {
                let long = "9".repeat(1 + self.rng.below(600));
                bytes.splice(at..at, long.into_bytes());
            }
        }
    }
}

/// Keeps only the carriage returns that end a line.
fn drop_stray_returns(bytes: &mut Vec<u8>) {
    let kept: Vec<u8> = bytes
        .iter()
        .enumerate()
        .filter(|(at, byte)| **byte != b'\r' || bytes.get(at + 1) == Some(&b'\n'))
        .map(|(_, byte)| *byte)
        .collect();
    *bytes = kept;
}
