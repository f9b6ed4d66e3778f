//! The simplest bus that is right: one table, no rings, everything at once. It shows that the
//! oracle accepts a right bus.

use std::collections::BTreeMap;

use shard::{Close, ConnId, Effects, Frame, Hangup, Input, Nanos};
use wire::CloseReason;

use crate::bus::Bus;
use crate::oracle::{is_literal, is_valid, matches};
use crate::prng::Prng;

type Key = (usize, ConnId);

/// A server without limits and timers.
pub struct Table {
    effects: Vec<Effects>,
    conns: BTreeMap<Key, Conn>,
    subs: Vec<Sub>,
    prng: Prng,
    payload_max: usize,
}

#[derive(Default)]
struct Conn {
    inbox: Vec<u8>,
    out: Vec<u8>,
    driven: bool,
    open: bool,
    connected: bool,
    quiet: bool,
    lenient: bool,
    no_echo: bool,
    headers: bool,
    no_responders: bool,
    protocol: bool,
    pinged: bool,
}

struct Sub {
    conn: Key,
    sid: String,
    pattern: Vec<u8>,
    queue: Option<String>,
    max: usize,
    got: usize,
}

struct Message<'a> {
    subject: &'a [u8],
    reply: &'a [u8],
    header_len: usize,
    payload: &'a [u8],
}

impl Table {
    /// Pretends to have this many shards. Longer payloads than `payload_max` bytes are a fault.
    pub fn new(shards: usize, payload_max: usize, seed: u64) -> Table {
        let effects = (0..shards).map(|_| Effects::new(shards)).collect();
        Table {
            effects,
            conns: BTreeMap::new(),
            subs: Vec::new(),
            prng: Prng::stream(seed, "table"),
            payload_max,
        }
    }

    fn say(&mut self, key: Key, text: &[u8]) {
        let Some(conn) = self.conns.get_mut(&key).filter(|conn| conn.open) else { return };
        conn.out.extend_from_slice(text);
        if !std::mem::replace(&mut conn.driven, true) {
            self.effects[key.0].dirty.push(key.1);
        }
    }

    fn say_ok(&mut self, key: Key) {
        if self.conns.get(&key).is_some_and(|conn| !conn.quiet) {
            self.say(key, b"+OK\r\n");
        }
    }

    fn close(&mut self, key: Key, reason: CloseReason) {
        let Some(conn) = self.conns.get_mut(&key).filter(|conn| conn.open) else { return };
        conn.open = false;
        let flush = reason.flushes();
        if !flush {
            conn.out.clear();
        }
        self.subs.retain(|sub| sub.conn != key);
        self.effects[key.0].closes.push(Close { conn: key.1, reason, flush });
    }

    fn bytes(&mut self, key: Key, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(&key).filter(|conn| conn.open) else { return };
        let mut inbox = std::mem::take(&mut conn.inbox);
        inbox.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(used) = self.operation(key, &inbox[at..]) {
            at += used;
        }
        inbox.drain(..at);
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.inbox = inbox;
        }
    }

    /// Takes one operation; none if it is not all there.
    fn operation(&mut self, key: Key, bytes: &[u8]) -> Option<usize> {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let mut used = end + 2;
        match words[..] {
            ["CONNECT", json] => self.connect(key, json),
            ["PING"] => self.ping(key),
            ["PONG"] => {}
            ["SUB", pattern, sid] => self.sub(key, pattern, None, sid),
            ["SUB", pattern, queue, sid] => self.sub(key, pattern, Some(queue), sid),
            ["UNSUB", sid] => self.unsub(key, sid, 0),
            ["UNSUB", sid, max] => self.unsub(key, sid, max.parse().unwrap_or(0)),
            [verb @ ("PUB" | "HPUB"), subject, ref rest @ ..] => {
                let sizes = if verb == "PUB" { 1 } else { 2 };
                let (reply, sizes) = rest.split_at(rest.len() - sizes);
                let size: usize = sizes.last()?.parse().ok()?;
                if size > self.payload_max {
                    self.say(key, b"-ERR 'Maximum Payload Violation'\r\n");
                    self.close(key, CloseReason::MaximumPayloadExceeded);
                    return None;
                }
                let header_len = if verb == "PUB" { 0 } else { sizes[0].parse().ok()? };
                let payload = bytes.get(used..used + size)?;
                bytes.get(used + size..used + size + 2)?;
                used += size + 2;
                let reply = reply.first().copied().unwrap_or_default().as_bytes();
                self.publish(
                    key,
                    &Message { subject: subject.as_bytes(), reply, header_len, payload },
                );
            }
            _ => {
                self.say(key, b"-ERR 'Unknown Protocol Operation'\r\n");
                self.close(key, CloseReason::ProtocolViolation);
                return None;
            }
        }
        Some(used)
    }

    fn connect(&mut self, key: Key, json: &str) {
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.connected = true;
            conn.quiet = json.contains("\"verbose\":false");
            conn.lenient = json.contains("\"pedantic\":false");
            conn.no_echo = json.contains("\"echo\":false");
            conn.headers = json.contains("\"headers\":true");
            conn.no_responders = json.contains("\"no_responders\":true");
            conn.protocol = json.contains("\"protocol\":1");
        }
        self.say_ok(key);
    }

    fn ping(&mut self, key: Key) {
        self.say(key, b"PONG\r\n");
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let first = conn.connected && !std::mem::replace(&mut conn.pinged, true);
        if first && conn.protocol {
            self.say(key, b"INFO {\"connect_info\":true} \r\n");
        }
    }

    fn sub(&mut self, key: Key, pattern: &str, queue: Option<&str>, sid: &str) {
        if !is_valid(pattern.as_bytes()) {
            return self.say(key, b"-ERR 'Invalid Subject'\r\n");
        }
        if !self.subs.iter().any(|sub| sub.conn == key && sub.sid == sid) {
            let (pattern, queue) = (pattern.as_bytes().to_vec(), queue.map(str::to_owned));
            self.subs.push(Sub { conn: key, sid: sid.to_owned(), pattern, queue, max: 0, got: 0 });
        }
        self.say_ok(key);
    }

    fn unsub(&mut self, key: Key, sid: &str, max: usize) {
        for sub in self.subs.iter_mut().filter(|sub| sub.conn == key && sub.sid == sid) {
            sub.max = max;
        }
        self.subs.retain(|sub| sub.conn != key || sub.sid != sid || sub.max > sub.got);
        self.say_ok(key);
    }

    fn publish(&mut self, key: Key, message: &Message<'_>) {
        if self.conns.get(&key).is_some_and(|conn| !conn.lenient) && !is_literal(message.subject) {
            self.say(key, b"-ERR 'Invalid Publish Subject'\r\n");
        }
        self.say_ok(key);
        let muffled = self.conns.get(&key).is_some_and(|conn| conn.no_echo);
        let takers: Vec<usize> = (0..self.subs.len())
            .filter(|at| {
                let sub = &self.subs[*at];
                matches(&sub.pattern, message.subject) && !(muffled && sub.conn == key)
            })
            .collect();
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut chosen = Vec::new();
        for at in takers {
            match &self.subs[at].queue {
                None => chosen.push(at),
                Some(queue) => groups.entry(queue.clone()).or_default().push(at),
            }
        }
        chosen.extend(groups.into_values().map(|members| *self.prng.pick(&members)));
        for at in &chosen {
            self.deliver(*at, message);
        }
        self.subs.retain(|sub| sub.max == 0 || sub.max > sub.got);
        if chosen.is_empty() && !message.reply.is_empty() {
            self.refuse(key, message);
        }
    }

    fn deliver(&mut self, at: usize, message: &Message<'_>) {
        let sub = &mut self.subs[at];
        sub.got += 1;
        let (key, sid) = (sub.conn, sub.sid.clone());
        let headers = self.conns.get(&key).is_some_and(|conn| conn.headers);
        let with_header = headers && message.header_len > 0;
        let payload = &message.payload[if with_header { 0 } else { message.header_len }..];
        let mut text = if with_header { b"HMSG ".to_vec() } else { b"MSG ".to_vec() };
        text.extend_from_slice(message.subject);
        text.extend_from_slice(format!(" {sid} ").as_bytes());
        if !message.reply.is_empty() {
            text.extend_from_slice(message.reply);
            text.push(b' ');
        }
        if with_header {
            text.extend_from_slice(format!("{} ", message.header_len).as_bytes());
        }
        text.extend_from_slice(format!("{}\r\n", payload.len()).as_bytes());
        text.extend_from_slice(payload);
        text.extend_from_slice(b"\r\n");
        self.say(key, &text);
    }

    fn refuse(&mut self, key: Key, message: &Message<'_>) {
        let listens = |sub: &&Sub| {
            sub.conn == key && sub.queue.is_none() && matches(&sub.pattern, message.reply)
        };
        let Some(sub) = self.subs.iter().find(listens) else { return };
        if self.conns.get(&key).is_some_and(|conn| conn.no_responders) {
            let (subject, reply) =
                (String::from_utf8_lossy(message.subject), String::from_utf8_lossy(message.reply));
            let status = format!("NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n");
            let len = status.len();
            let text = format!("HMSG {reply} {} {len} {len}\r\n{status}\r\n", sub.sid);
            self.say(key, text.as_bytes());
        }
    }
}

impl Bus for Table {
    type Chunk = Vec<u8>;

    fn shards(&self) -> usize {
        self.effects.len()
    }

    fn step(&mut self, at: usize, _now: Nanos, input: Input<'_>) {
        match input {
            Input::Open { conn, peer } => {
                let key = (at, conn);
                self.conns.insert(key, Conn { open: true, ..Conn::default() });
                self.say(key, b"INFO {} \r\n");
                if peer.refused {
                    self.say(key, b"-ERR 'maximum connections exceeded'\r\n");
                    self.close(key, CloseReason::MaximumConnectionsExceeded);
                }
            }
            Input::Bytes { conn, bytes, .. } => self.bytes((at, conn), bytes),
            Input::Hangup { conn, cause } => {
                let reason = match cause {
                    Hangup::Closed => CloseReason::ClientClosed,
                    Hangup::ReadError => CloseReason::ReadError,
                    Hangup::WriteError => CloseReason::WriteError,
                };
                self.close((at, conn), reason);
            }
            _ => {}
        }
    }

    fn effects(&mut self, at: usize) -> &mut Effects {
        &mut self.effects[at]
    }

    fn pull(&mut self, _from: usize, _to: usize) -> Option<Frame> {
        None
    }

    fn take_chunk(&mut self, at: usize, conn: ConnId) -> Option<Vec<u8>> {
        let conn = self.conns.get_mut(&(at, conn))?;
        conn.driven = !conn.out.is_empty();
        conn.driven.then(|| std::mem::take(&mut conn.out))
    }

    fn recycle(&mut self, _at: usize, _chunk: Vec<u8>) {}

    fn deadline(&self, _at: usize) -> Option<Nanos> {
        None
    }

    fn has_work(&self, _at: usize) -> bool {
        false
    }

    fn check_reports(&self, _asked: u64, _answered: u64) -> Result<(), String> {
        Ok(())
    }

    fn check_rest(&self) -> Result<(), String> {
        match self.subs.iter().find(|sub| !self.conns.get(&sub.conn).is_some_and(|conn| conn.open))
        {
            Some(sub) => Err(format!("the subscription {} outlives its connection", sub.sid)),
            None => Ok(()),
        }
    }
}
