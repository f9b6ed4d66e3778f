//! A client of the bus: what it does next and how it writes that down.

use std::collections::BTreeSet;

use crate::oracle::{Fault, Flags, Oracle, PubId, Publication, Session, SubId, queue_name};
use crate::prng::Prng;
use crate::swarm::Swarm;
use crate::walls::person_name;

/// Long enough for any message's number.
const ALIKE_BODY_MIN: u64 = 12;
/// A burst of more than two messages that are alike has at most so many bytes.
const ALIKE_BYTES_MAX: u64 = 128 * 1024;

/// Does it read what the server sends?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// As soon as it comes.
    Now,
    /// Not before this step.
    From(u64),
    /// Never again.
    Never,
}

/// One connection's client.
pub struct Client {
    /// The connection.
    pub session: Session,
    /// Where it lives.
    pub shard: usize,
    /// Who it says it is; none says nothing.
    pub person: Option<usize>,
    /// Its account gets messages of others, which limits do not count.
    pub imports: bool,
    /// What it said in its CONNECT.
    pub flags: Flags,
    /// Does it read?
    pub hears: Hears,
    /// It does not answer PINGs.
    pub mute: bool,
    /// It has ended its side.
    pub left: bool,
    /// It is here to look at the bus at rest.
    pub is_probe: bool,
    /// It was sent away.
    pub refused: bool,
    subs: Vec<Live>,
    requests: Vec<Vec<u8>>,
    answered: BTreeSet<Vec<u8>>,
    sids: u64,
    has_inbox: bool,
}

struct Live {
    id: SubId,
    sid: Vec<u8>,
    limited: bool,
    ended: bool,
}

impl Client {
    /// A client that has just connected.
    pub fn new(session: Session, shard: usize, person: Option<usize>, flags: Flags) -> Client {
        Client {
            session,
            shard,
            person,
            imports: false,
            flags,
            hears: Hears::Now,
            mute: false,
            left: false,
            is_probe: false,
            refused: false,
            subs: Vec::new(),
            requests: Vec::new(),
            answered: BTreeSet::new(),
            sids: 0,
            has_inbox: false,
        }
    }

    /// Flags as drawn.
    pub fn draw_flags(p: &mut Prng, swarm: &Swarm) -> Flags {
        if p.chance(40) && !swarm.is_walled() {
            return Flags::default();
        }
        let no_responders = p.chance(swarm.no_responders_per_mille);
        Flags {
            connect: true,
            verbose: p.chance(swarm.verbose_per_mille),
            pedantic: p.chance(200),
            echo: !p.chance(250),
            headers: no_responders || p.chance(600),
            no_responders,
            protocol: u8::from(p.chance(700)),
        }
    }

    /// Can it still write operations?
    pub fn acts(&self) -> bool {
        !self.left && !self.refused
    }

    /// A request came that it may answer.
    pub fn asked(&mut self, reply: Vec<u8>) {
        let again = self.person.is_some() && self.answered.contains(&reply);
        if self.requests.len() < 8 && !again {
            self.requests.push(reply);
        }
    }

    /// What it was asked before, it does not answer.
    pub fn forget_requests(&mut self) {
        self.answered.extend(self.requests.drain(..));
    }

    /// Writes its CONNECT, and listens for answers to its requests.
    pub fn greet(&mut self, oracle: &mut Oracle, out: &mut Vec<u8>) {
        let flags = &self.flags;
        if flags.connect {
            oracle.sent_connect(self.session);
            let person = self.person.map_or_else(String::new, |person| {
                format!("\"user\":\"{}\",\"pass\":\"p\",", person_name(person))
            });
            let line = format!(
                "CONNECT {{{person}\"verbose\":{},\"pedantic\":{},\"echo\":{},\"headers\":{},\
                 \"no_responders\":{},\"protocol\":{},\"lang\":\"sim\",\
                 \"version\":\"1\",\"name\":\"c{}\"}}\r\n",
                flags.verbose,
                flags.pedantic,
                flags.echo,
                flags.headers,
                flags.no_responders,
                flags.protocol,
                self.session,
            );
            out.extend_from_slice(line.as_bytes());
        }
        if flags.no_responders {
            let inbox = format!("r.{}.>", self.session);
            self.subscribe(oracle, &inbox, None, out);
            self.has_inbox = true;
        }
    }

    /// Does something. While access changes, that is no new subscription, and no limit.
    pub fn act(&mut self, p: &mut Prng, swarm: &Swarm, oracle: &mut Oracle, out: &mut Vec<u8>) {
        let drawn = p.weighted(&swarm.operations);
        match if oracle.is_changing() && matches!(drawn, 0..=2 | 6) { 3 } else { drawn } {
            0 => {
                self.act_sub(p, swarm, oracle, out);
                self.careful_ping(p, swarm, oracle, out);
            }
            1 => {
                self.act_unsub(p, oracle, out);
                self.careful_ping(p, swarm, oracle, out);
            }
            2 => self.act_limit(p, oracle, out),
            3 if p.chance(swarm.alike_per_mille) => {
                self.publish_alike(p, swarm, oracle, out);
                self.careful_ping(p, swarm, oracle, out);
            }
            3 => {
                for _ in 0..p.between(1, swarm.burst_max) {
                    let subject = self.draw_subject(p, swarm, oracle.next_pub());
                    self.publish(p, swarm, oracle, &subject, out);
                }
                self.careful_ping(p, swarm, oracle, out);
            }
            4 => self.ping(oracle, out),
            5 => self.answer(p, swarm, oracle, out),
            _ => {
                let fault = *p.pick(&[Fault::UnknownOperation, Fault::TooLarge]);
                oracle.sent_fault(self.session, fault);
                match fault {
                    Fault::UnknownOperation => out.extend_from_slice(b"XYZ\r\n"),
                    Fault::TooLarge => {
                        out.extend_from_slice(
                            format!("PUB a {}\r\n", swarm.options.payload_max + 1).as_bytes(),
                        );
                    }
                }
                self.left = true;
            }
        }
    }

    /// Libraries have their users flush after some calls.
    fn careful_ping(
        &mut self,
        p: &mut Prng,
        swarm: &Swarm,
        oracle: &mut Oracle,
        out: &mut Vec<u8>,
    ) {
        if p.chance(swarm.careful_per_mille) {
            self.ping(oracle, out);
        }
    }

    fn act_sub(&mut self, p: &mut Prng, swarm: &Swarm, oracle: &mut Oracle, out: &mut Vec<u8>) {
        if self.subs.len() > 12 {
            return self.act_unsub(p, oracle, out);
        }
        if p.chance(20) && !swarm.is_walled() {
            return self.subscribe(oracle, "a..b", None, out);
        }
        let queue = p.chance(swarm.queue_per_mille).then(|| p.below(u64::from(swarm.queues)) as u8);
        let pattern = *p.pick(&swarm.patterns);
        self.subscribe(oracle, pattern, queue, out);
        if swarm.operations[2] > 0 && p.chance(300) && !self.subs.is_empty() {
            let last = self.subs.len() - 1;
            self.limit(p, last, oracle, out);
        }
    }

    /// Writes SUB.
    pub fn subscribe(
        &mut self,
        oracle: &mut Oracle,
        pattern: &str,
        queue: Option<u8>,
        out: &mut Vec<u8>,
    ) {
        self.forget_ended(oracle);
        self.sids += 1;
        let reused = (0..self.sids).map(|sid| format!("s{sid}").into_bytes());
        let mut free = reused.filter(|sid| self.subs.iter().all(|sub| sub.sid != *sid));
        let sid = free.next().unwrap_or_else(|| b"0".to_vec());
        let line = match queue {
            Some(queue) => {
                format!("SUB {pattern} {} {}\r\n", queue_name(queue), sid.escape_ascii())
            }
            None => format!("SUB {pattern} {}\r\n", sid.escape_ascii()),
        };
        out.extend_from_slice(line.as_bytes());
        if let Some(id) = oracle.sent_sub(self.session, &sid, pattern.as_bytes(), queue) {
            self.subs.push(Live { id, sid, limited: false, ended: false });
        }
    }

    /// A sid may be used again once its subscription is known to be gone.
    fn forget_ended(&mut self, oracle: &Oracle) {
        self.subs.retain(|sub| !oracle.is_unsub_fenced(sub.id));
    }

    fn act_unsub(&mut self, p: &mut Prng, oracle: &mut Oracle, out: &mut Vec<u8>) {
        self.forget_ended(oracle);
        let first = usize::from(self.has_inbox);
        if self.subs.len() <= first {
            return;
        }
        let at = first + p.index(self.subs.len() - first);
        let sub = &mut self.subs[at];
        if std::mem::replace(&mut sub.ended, true) {
            return;
        }
        out.extend_from_slice(format!("UNSUB {}\r\n", sub.sid.escape_ascii()).as_bytes());
        oracle.sent_unsub(self.session, sub.id, 0);
    }

    fn act_limit(&mut self, p: &mut Prng, oracle: &mut Oracle, out: &mut Vec<u8>) {
        let first = usize::from(self.has_inbox);
        if self.subs.len() > first {
            let at = first + p.index(self.subs.len() - first);
            self.limit(p, at, oracle, out);
        }
    }

    fn limit(&mut self, p: &mut Prng, at: usize, oracle: &mut Oracle, out: &mut Vec<u8>) {
        let sub = &mut self.subs[at];
        if self.imports || sub.ended || std::mem::replace(&mut sub.limited, true) {
            return;
        }
        let more = if p.chance(500) { oracle.got(sub.id) } else { 0 };
        let max = p.between(1, 6) as usize + more;
        out.extend_from_slice(format!("UNSUB {} {max}\r\n", sub.sid.escape_ascii()).as_bytes());
        oracle.sent_unsub(self.session, sub.id, max);
    }

    /// Writes PING.
    pub fn ping(&mut self, oracle: &mut Oracle, out: &mut Vec<u8>) {
        out.extend_from_slice(b"PING\r\n");
        oracle.sent_ping(self.session);
    }

    fn draw_subject(&self, p: &mut Prng, swarm: &Swarm, id: PubId) -> String {
        if p.chance(150) {
            format!("{}.i{id}", p.pick(&["a", "a.b", "z"]))
        } else {
            (*p.pick(&swarm.subjects)).into()
        }
    }

    fn answer(&mut self, p: &mut Prng, swarm: &Swarm, oracle: &mut Oracle, out: &mut Vec<u8>) {
        if self.requests.is_empty() {
            return;
        }
        let subject = self.requests.swap_remove(p.index(self.requests.len()));
        if self.person.is_some() && !self.answered.insert(subject.clone()) {
            return;
        }
        let subject = String::from_utf8_lossy(&subject).into_owned();
        // Where answers are counted, it may try some too many.
        let most = oracle.answers_of(self.person).map(|answers| answers.most);
        let most = most.filter(|most| *most > 0);
        let times = most.map_or(1, |most| p.between(1, u64::from(most) + 2));
        for _ in 0..times {
            self.publish(p, swarm, oracle, &subject, out);
        }
    }

    /// Answers all it was asked.
    pub fn answer_all(
        &mut self,
        p: &mut Prng,
        swarm: &Swarm,
        oracle: &mut Oracle,
        out: &mut Vec<u8>,
    ) {
        while !self.requests.is_empty() {
            self.answer(p, swarm, oracle, out);
        }
    }

    fn publish(
        &mut self,
        p: &mut Prng,
        swarm: &Swarm,
        oracle: &mut Oracle,
        subject: &str,
        out: &mut Vec<u8>,
    ) {
        let id = oracle.next_pub();
        let body_max =
            if p.chance(swarm.big_per_mille) { swarm.big_body_max } else { swarm.body_max };
        let len = if p.chance(100) { 0 } else { p.below(body_max + 1) };
        let wants_reply = (self.flags.no_responders && p.chance(400) || p.chance(100))
            && !subject.starts_with("_R_.");
        let subject_tells = subject.ends_with(&format!(".i{id}"));
        let reply = if wants_reply { format!("r.{}.{id}", self.session) } else { String::new() };
        // Between accounts, replies and subjects become others.
        let told = (wants_reply || (subject_tells && reply.is_empty())) && !swarm.is_walled();
        let kinds = if swarm.is_walled() { 2 } else { 3 };
        let with_header = self.flags.headers && p.chance(300);
        let header = if with_header { header(p, id, kinds) } else { Vec::new() };
        let what = Publication {
            subject: subject.as_bytes().to_vec(),
            reply: reply.into_bytes(),
            header,
            body: body(id, len as usize, told),
        };
        write_pub(p, &what, out);
        oracle.sent_pub(self.session, what);
    }

    /// A burst of messages that differ in their payloads alone, as sensors send them.
    fn publish_alike(
        &mut self,
        p: &mut Prng,
        swarm: &Swarm,
        oracle: &mut Oracle,
        out: &mut Vec<u8>,
    ) {
        let subject = self.draw_subject(p, swarm, oracle.next_pub()).into_bytes();
        let is_big = p.chance(swarm.big_per_mille);
        let len_max = if is_big { swarm.big_body_max } else { swarm.body_max };
        let len = p.between(ALIKE_BODY_MIN, len_max.max(ALIKE_BODY_MIN));
        let most = (ALIKE_BYTES_MAX / len).clamp(2, 3 * swarm.burst_max);
        for _ in 0..p.between(2, most) {
            let what = Publication {
                subject: subject.clone(),
                reply: Vec::new(),
                header: Vec::new(),
                body: body(oracle.next_pub(), len as usize, false),
            };
            write_line(&what, " ", out);
            oracle.sent_pub(self.session, what);
        }
    }

    /// Asks on a subject, with a body that says nothing else.
    pub fn request(&mut self, oracle: &mut Oracle, subject: &str, out: &mut Vec<u8>) {
        let id = oracle.next_pub();
        let what = Publication {
            subject: subject.as_bytes().to_vec(),
            reply: format!("r.{}.{id}", self.session).into_bytes(),
            header: Vec::new(),
            body: body(id, 0, false),
        };
        write_line(&what, " ", out);
        oracle.sent_pub(self.session, what);
    }
}

/// A body of about this length. One that need not tell its number may be shorter than that takes.
fn body(id: PubId, len: usize, told: bool) -> Vec<u8> {
    let number = format!("#{id};");
    if told && len < number.len() {
        return vec![b'x'; len];
    }
    let mut body = number.into_bytes();
    let filler = format!("\r\nPONG\r\nMSG a s1 {id}\r\n");
    while body.len() < len {
        let rest = len - body.len();
        body.extend_from_slice(&filler.as_bytes()[..rest.min(filler.len())]);
    }
    body
}

fn header(p: &mut Prng, id: PubId, kinds: u64) -> Vec<u8> {
    match p.below(kinds) {
        0 => b"NATS/1.0\r\n\r\n".to_vec(),
        1 => format!("NATS/1.0\r\nId: {id}\r\nX: y\r\n\r\n").into_bytes(),
        _ => b"whatever\r\n".to_vec(),
    }
}

/// Writes PUB or HPUB, mostly as libraries do.
fn write_pub(p: &mut Prng, what: &Publication, out: &mut Vec<u8>) {
    let blank = if p.chance(60) { *p.pick(&["  ", "\t", " \t "]) } else { " " };
    write_line(what, blank, out);
}

fn write_line(what: &Publication, blank: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(if what.header.is_empty() { b"PUB" } else { b"HPUB" });
    out.extend_from_slice(blank.as_bytes());
    out.extend_from_slice(&what.subject);
    out.extend_from_slice(blank.as_bytes());
    if !what.reply.is_empty() {
        out.extend_from_slice(&what.reply);
        out.extend_from_slice(blank.as_bytes());
    }
    if !what.header.is_empty() {
        out.extend_from_slice(format!("{}{blank}", what.header.len()).as_bytes());
    }
    out.extend_from_slice(format!("{}\r\n", what.header.len() + what.body.len()).as_bytes());
    out.extend_from_slice(&what.header);
    out.extend_from_slice(&what.body);
    out.extend_from_slice(b"\r\n");
}
