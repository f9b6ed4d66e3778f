//! Makes random dialogues whose outcome does not depend on chance or on time.
//!
//! Declared exclusions, where nats-server's own answer depends on how bytes happen to be read or on
//! a random pick: a carriage return inside arguments; a max on a queue member; members of one group
//! that differ in headers. Before another connection speaks, the one before has had its PONG. A
//! connection whose bytes were mutated ends with them, so that no half message can hang the
//! dialogue. A PONG follows each CONNECT of a user, since the mappings of its account count for
//! later reads only. Of users, which subscription a 503 is for is not compared, and who answers
//! requests is in no queue group, whose members are picked by chance; `access` has more.

use super::access::{self, World};
use super::peer::{Peer, connect};
use crate::harness::rng::Rng;
use crate::harness::script::{Act, Group, Script, Step};

/// Both servers of a run are started with these.
pub const CONF: [&str; 3] = ["max_payload: 1024", "max_control_line: 512", "max_subscriptions: 12"];

const TOKENS: [&str; 5] = ["a", "b", "c", "d*", "long-token-of-some-length"];
const NAMES: [&str; 3] = ["a", "b", "c"];
const QUEUES: [&str; 2] = ["q", "workers"];
const SIDS: [&str; 6] = ["1", "2", "3", "44", "5x", "sid-6"];

fn rng_of(seed: u64, case: u64) -> Rng {
    Rng::new(seed ^ case.wrapping_mul(0xD6E8_FEB8_6659_FD93))
}

fn plain_conf() -> Vec<String> {
    CONF.iter().map(|line| line.to_string()).collect()
}

/// A dialogue for `case`; its subjects stand under a token of its own, so that many can share a
/// server.
pub fn dialogue(seed: u64, case: u64) -> Script {
    script(case, None, rng_of(seed, case))
}

/// A dialogue of users with accounts of their own, so that many can share a server.
pub fn dialogue_of_users(seed: u64, case: u64) -> Script {
    let mut rng = rng_of(seed, case);
    let world = World::new(case, &mut rng);
    script(case, Some(world), rng)
}

pub fn is_of_users(script: &Script) -> bool {
    script.conf.len() > CONF.len()
}

/// What servers must be started with that play all of `scripts`.
pub fn shared_conf(scripts: &[Script]) -> Vec<String> {
    let mut conf = plain_conf();
    let mut accounts: Vec<String> = Vec::new();
    for script in scripts.iter().filter(|script| is_of_users(script)) {
        accounts.extend_from_slice(&script.conf[CONF.len() + 1..script.conf.len() - 1]);
    }
    if !accounts.is_empty() {
        conf.push(access::OPENING.to_string());
        conf.extend(accounts);
        conf.push(access::CLOSING.to_string());
    }
    conf
}

fn script(case: u64, world: Option<World>, mut rng: Rng) -> Script {
    let mut conf = plain_conf();
    conf.extend(world.iter().flat_map(World::conf));
    let conns = if world.is_some() { 2 + rng.below(3) } else { 1 + rng.below(4) };
    let mut generator = Generator {
        prefix: format!("z{case}"),
        conns: (0..conns).map(|at| Peer::new(at, world.as_ref(), &mut rng)).collect(),
        groups: Vec::new(),
        acts: Vec::new(),
        queues: false,
        world,
        rng,
    };
    let accounts = generator.world.as_ref().map_or(1, |world| world.accounts.len());
    generator.groups =
        (0..accounts).flat_map(|at| QUEUES.map(|name| empty_group(name, at))).collect();
    let headers: Vec<bool> = generator.conns.iter().map(|peer| peer.headers).collect();
    generator.queues = headers.iter().all(|h| *h == headers[0]);
    generator.run();
    Script {
        name: format!("case-{case}"),
        cast: Vec::new(),
        conf,
        groups: generator.groups.into_iter().filter(|group| !group.members.is_empty()).collect(),
        acts: generator.acts,
        rest: Vec::new(),
    }
}

fn empty_group(queue: &str, account: usize) -> Group {
    Group { name: format!("group{queue}{account}"), members: Vec::new(), expected: Vec::new() }
}

struct Generator {
    rng: Rng,
    prefix: String,
    conns: Vec<Peer>,
    groups: Vec<Group>,
    acts: Vec<Act>,
    /// Queue groups may be used in this dialogue.
    queues: bool,
    world: Option<World>,
}

impl Generator {
    fn run(&mut self) {
        let fewest = if self.world.is_some() { 6 } else { 2 };
        if self.world.is_some() {
            (0..self.conns.len()).for_each(|conn| self.greet(conn));
        }
        for _ in 0..fewest + self.rng.below(8) {
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
            self.greet(conn);
        }
        for _ in 0..1 + self.rng.below(6) {
            let bytes = self.operation(conn, true);
            let connects = bytes.starts_with(b"CONNECT") && self.world.is_some();
            self.act(conn, Step::Send(bytes));
            if connects {
                self.act(conn, Step::Ping);
            }
        }
        if !self.asks() && self.rng.chance(18) {
            let bytes = self.mutated(conn);
            self.act(conn, Step::Send(bytes));
            self.conns[conn].over = true;
            self.act(conn, Step::Shut);
        } else {
            self.act(conn, Step::Ping);
        }
    }

    fn greet(&mut self, conn: usize) {
        self.conns[conn].greeted = true;
        let Some(mut connect) = self.conns[conn].connect.clone() else { return };
        let stranger = self.world.is_some() && self.rng.chance(3);
        if stranger {
            connect = connect.replace("\"pass\":\"p\"", "\"pass\":\"q\"");
        }
        self.act(conn, Step::Send(connect.into_bytes()));
        if stranger {
            self.conns[conn].over = true;
            self.act(conn, Step::Shut);
        } else if self.world.is_some() {
            self.settle_down(conn);
        }
    }

    /// A user has its inbox and looks at something from the beginning.
    fn settle_down(&mut self, conn: usize) {
        if self.asks() {
            let line = format!("SUB {} in\r\n", self.conns[conn].inbox());
            self.act(conn, Step::Send(line.into_bytes()));
        }
        self.act(conn, Step::Ping);
        for _ in 0..1 + self.rng.below(3) {
            let bytes = self.sub(conn, true);
            self.act(conn, Step::Send(bytes));
        }
        self.act(conn, Step::Ping);
    }

    fn asks(&self) -> bool {
        self.world.as_ref().is_some_and(|world| world.asks)
    }

    fn act(&mut self, conn: usize, step: Step) {
        let conn = self.conns[conn].name.clone();
        self.acts.push(Act { conn, step, expected: Vec::new(), line: 0 });
    }

    fn operation(&mut self, conn: usize, may_queue: bool) -> Vec<u8> {
        let kind = self.rng.below(100);
        match kind {
            75.. if self.world.is_some() && !kind.is_multiple_of(3) => self.publish(conn),
            0..=24 => self.sub(conn, may_queue),
            25..=34 => self.unsub(conn),
            35..=74 => self.publish(conn),
            75..=79 => b"+OK\r\n".to_vec(),
            80..=84 => b"PONG junk\r\n".to_vec(),
            85..=89 => b"INFO {}\r\n".to_vec(),
            90..=94 => self.connect_again(conn, !may_queue),
            _ => format!("UNSUB {}\r\n", self.rng.below(1000)).into_bytes(),
        }
    }

    /// Once more the same, or as somebody else.
    fn connect_again(&mut self, conn: usize, mutated: bool) -> Vec<u8> {
        let peer = &mut self.conns[conn];
        match &self.world {
            // It would forget its inbox.
            Some(world) if world.asks => b"+OK\r\n".to_vec(),
            Some(world) if !mutated && self.rng.chance(60) => {
                let other = world.anybody(usize::MAX, &mut self.rng);
                let user = world.user(other);
                if user.answers && !peer.answers {
                    return b"+OK\r\n".to_vec();
                }
                peer.user = other;
                connect(&peer.fields, Some(&user.name)).into_bytes()
            }
            _ => b"CONNECT {\"name\":\"again\"}\r\n".to_vec(),
        }
    }

    fn sub(&mut self, conn: usize, may_queue: bool) -> Vec<u8> {
        let pattern = self.pattern_of_sub(conn);
        if may_queue && self.queues && !self.conns[conn].answers && self.rng.chance(30) {
            let queue = self.rng.below(QUEUES.len());
            let peer = &mut self.conns[conn];
            peer.queue_subs += 1;
            let sid = format!("g{}", peer.queue_subs);
            let group = peer.user.0 * QUEUES.len() + queue;
            self.groups[group].members.push((peer.name.clone(), sid.clone()));
            let name = match &self.world {
                Some(world) => world.accounts[peer.user.0].queues[queue].clone(),
                None => QUEUES[queue].to_string(),
            };
            return self.line(&["SUB", &pattern, &name, &sid]);
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
        let (subject, reply) = self.addressed(conn);
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

    /// The subject of a publication, and where answers go, if anywhere.
    fn addressed(&mut self, conn: usize) -> (String, String) {
        let subject = match self.rng.below(100) {
            0..=9 => self.pattern(conn),
            10..=34 if self.asks() && self.conns[conn].answers => "<reply>".to_string(),
            10..=29 if self.conns[conn].answers => self.answer_to(),
            _ => self.subject(conn),
        };
        let reply = match self.rng.chance(if self.asks() { 65 } else { 40 }) {
            true if self.asks() => self.conns[conn].inbox(),
            true if self.world.is_some() => self.answer_to(),
            true => self.subject(conn),
            false => String::new(),
        };
        (subject, reply)
    }

    fn answer_to(&mut self) -> String {
        format!("r.{}", self.rng.pick(&NAMES))
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

    /// The first token of a subject.
    fn word(&mut self, conn: usize) -> String {
        match &self.world {
            Some(world) => self.rng.pick(&world.accounts[self.conns[conn].user.0].words).clone(),
            None => self.prefix.clone(),
        }
    }

    /// What the account of a user shares with others, now and then.
    fn shared(&mut self, conn: usize, percent: usize) -> Option<String> {
        let world = self.world.as_ref().filter(|_| self.rng.chance(percent))?;
        world.accounts[self.conns[conn].user.0].shared(&mut self.rng)
    }

    fn subject(&mut self, conn: usize) -> String {
        if let Some(pattern) = self.shared(conn, 60) {
            let name = |token| match token {
                "*" | ">" => *self.rng.pick(&NAMES),
                _ => token,
            };
            return pattern.split('.').map(name).collect::<Vec<_>>().join(".");
        }
        let mut subject = self.word(conn);
        let more = match self.world {
            Some(_) => *self.rng.pick(&[0, 1, 1, 1, 2]),
            None => 1 + self.rng.below(3),
        };
        for _ in 0..more {
            subject.push('.');
            subject.push_str(self.rng.pick::<&str>(&NAMES));
        }
        subject
    }

    fn pattern(&mut self, conn: usize) -> String {
        let mut pattern = self.word(conn);
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

    /// As [`Generator::pattern`]; users look across first tokens too.
    fn pattern_of_sub(&mut self, conn: usize) -> String {
        let Some(world) = &self.world else { return self.pattern(conn) };
        let one_more_token = world.user(self.conns[conn].user).one_more_token;
        let shared = self.shared(conn, 40);
        let pattern = match self.rng.below(100) {
            _ if shared.is_some() => shared.unwrap_or_default(),
            0..=9 => ">".to_string(),
            10..=19 => "*.*".to_string(),
            20..=26 => "*.>".to_string(),
            27..=34 if !self.asks() => "r.*".to_string(),
            27..=55 => format!("{}.>", self.word(conn)),
            56..=70 => self.subject(conn),
            _ => self.pattern(conn),
        };
        if one_more_token { pattern.replace('>', "*") } else { pattern }
    }

    /// A few operations with some bytes changed. No queues here: chance must not decide who gets
    /// what.
    fn mutated(&mut self, conn: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.world.is_none() && self.rng.chance(25) {
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
