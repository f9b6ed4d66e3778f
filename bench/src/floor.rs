//! The floor: what the kernel alone charges. A single-threaded server on plain sockets that reads
//! what is there, and makes one send to each subscriber of all that came for it from the sockets
//! that were ready at once. It keeps no accounts, no permissions, no queue groups and no maxima,
//! trusts its clients, and waits for a receiver that is full: it is a yardstick, not a server.

mod routes;

use crate::sys::{self, Epoll, Ready, Watch, wait_writable};
use routes::Routes;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const INFO: &[u8] =
    b"INFO {\"server_id\":\"FLOOR\",\"version\":\"floor\",\"max_payload\":1048576} \r\n";
/// A client that takes nothing for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of one read.
const READ: usize = 64 << 10;
/// With so many bytes to send they are sent at once, while they are in the cache.
const GATHERED: usize = 64 << 10;
/// Subjects of up to so many subscriptions are framed into each client's own bytes; those of more
/// are framed once for all that have one sid.
const NARROW: usize = 8;
/// A payload from this size on is sent from where it was read, on its own.
const LARGE: usize = 16 << 10;
/// From so many clients on that keep talking, input is left to gather for [`NAP`]: they can't all
/// be waiting for answers.
const CROWD: usize = 256;
const NAP: Duration = Duration::from_micros(500);
/// Reads after which a client is one that keeps talking: more than a greeting takes.
const TALKS: u32 = 4;
const LISTENER: usize = usize::MAX;

struct Client {
    stream: TcpStream,
    /// What a read left incomplete.
    carry: Vec<u8>,
    /// To be sent to it.
    out: Vec<u8>,
    /// Places of its subscriptions.
    subscriptions: Vec<u32>,
    reads: u32,
}

/// The last subject, so that the next PUB on it costs no look-up.
#[derive(Default)]
struct Last {
    subject: Vec<u8>,
    /// Its subscriptions; where they are many, those of one sid are together.
    takers: Vec<u32>,
    /// Where they are many: for each sid how many takers it has, and what is to be sent to them.
    frames: Vec<(usize, Vec<u8>)>,
}

struct Floor {
    epoll: Epoll,
    clients: Vec<Option<Client>>,
    routes: Routes,
    last: Last,
    /// Clients with bytes to be sent.
    dirty: Vec<usize>,
    /// About how many bytes wait to be sent.
    gathered: usize,
    /// Clients that keep talking.
    talkers: usize,
}

/// Serves those who connect to `listener` until it is ended.
///
/// # Errors
/// When epoll or accept fails.
pub fn serve(listener: TcpListener) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    sys::expect_a_crowd(&listener)?;
    let mut floor = Floor {
        epoll: Epoll::new()?,
        clients: Vec::new(),
        routes: Routes::default(),
        last: Last::default(),
        dirty: Vec::new(),
        gathered: 0,
        talkers: 0,
    };
    floor.epoll.add(&listener, LISTENER, Watch::Read)?;
    let mut ready: Vec<Ready> = Vec::new();
    let mut buffer = vec![0u8; READ];
    loop {
        floor.epoll.wait(Duration::from_secs(3600), &mut ready)?;
        for event in &ready {
            if event.token == LISTENER {
                floor.accept(&listener)?;
            } else {
                floor.hear(event.token, &mut buffer);
            }
            if floor.gathered >= GATHERED {
                floor.deliver();
            }
        }
        floor.deliver();
        if floor.talkers >= CROWD {
            std::thread::sleep(NAP);
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> std::io::Result<()> {
        loop {
            let mut stream = match sys::accept(listener) {
                Ok(stream) => stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            };
            // A fresh socket takes a hundred bytes at once.
            let _ = stream.write_all(INFO);
            self.epoll.add(&stream, self.clients.len(), Watch::Read)?;
            let (carry, out, subscriptions) = (Vec::new(), Vec::new(), Vec::new());
            self.clients.push(Some(Client { stream, carry, out, subscriptions, reads: 0 }));
        }
    }

    fn hear(&mut self, from: usize, buffer: &mut Vec<u8>) {
        let Some(client) = self.clients[from].as_mut() else { return };
        let carried = client.carry.len();
        if buffer.len() < carried + READ {
            buffer.resize(carried + READ, 0);
        }
        buffer[..carried].copy_from_slice(&client.carry);
        let n = match client.stream.read(&mut buffer[carried..carried + READ]) {
            Ok(n) if n > 0 => carried + n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            _ => return self.drop_client(from),
        };
        client.reads = client.reads.saturating_add(1);
        self.talkers += usize::from(client.reads == TALKS);
        let used = self.take(from, &buffer[..n]);
        if let Some(client) = self.clients[from].as_mut() {
            client.carry.clear();
            client.carry.extend_from_slice(&buffer[used..n]);
        }
    }

    fn drop_client(&mut self, index: usize) {
        let Some(client) = self.clients[index].take() else { return };
        self.talkers -= usize::from(client.reads >= TALKS);
        for place in client.subscriptions {
            self.end_last();
            self.routes.remove(place);
        }
    }

    /// Takes whole operations; gives the bytes they were.
    fn take(&mut self, from: usize, bytes: &[u8]) -> usize {
        let mut used = 0;
        while let Some(end) = memchr::memchr(b'\n', &bytes[used..]) {
            let line = &bytes[used..used + end - usize::from(end > 0)];
            let body = used + end + 1;
            if line.starts_with(b"PUB ") {
                let Some(size) = self.publish(&line[4..], &bytes[body..]) else { break };
                used = body + size + 2;
                continue;
            }
            if let Some(words) = line.strip_prefix(b"SUB ") {
                self.subscribe(from, words);
            } else if let Some(sid) = line.strip_prefix(b"UNSUB ") {
                self.unsubscribe(from, sid);
            } else if line == b"PING" {
                self.send_many();
                self.say(from, b"PONG\r\n");
            }
            used = body;
        }
        used
    }

    fn subscribe(&mut self, from: usize, words: &[u8]) {
        let mut words = words.split(|b| *b == b' ');
        let (Some(pattern), Some(sid)) = (words.next(), words.next()) else { return };
        self.end_last();
        if let Some(client) = self.clients[from].as_mut() {
            client.subscriptions.push(self.routes.add(from, pattern, sid));
        }
    }

    fn unsubscribe(&mut self, from: usize, sid: &[u8]) {
        self.end_last();
        let Some(client) = self.clients[from].as_mut() else { return };
        let is_it = |place: &u32| *self.routes.at(*place).sid == *sid;
        if let Some(at) = client.subscriptions.iter().position(is_it) {
            self.routes.remove(client.subscriptions.swap_remove(at));
        }
    }

    /// Frames one PUB for each subscription to its subject, or once for those of one sid; gives
    /// its payload's size, or nothing while that is not all there.
    fn publish(&mut self, args: &[u8], rest: &[u8]) -> Option<usize> {
        let space = memchr::memchr(b' ', args)?;
        let (subject, tail) = (&args[..space], &args[space + 1..]);
        let digits = tail.rsplit(|b| *b == b' ').next().unwrap_or(tail);
        let size = digits.iter().fold(0usize, |n, d| n * 10 + usize::from(d.wrapping_sub(b'0')));
        let payload = rest.get(..size + 2)?;
        if self.last.subject != subject {
            self.begin(subject);
        }
        if size >= LARGE {
            self.send_large([subject, tail, payload]);
            return Some(size);
        }
        let parts = |sid| [b"MSG ", subject, b" ", sid, b" ", tail, b"\r\n", payload];
        let mut takers = self.last.takers.iter().map(|place| self.routes.at(*place));
        for (count, frame) in &mut self.last.frames {
            let before = frame.len();
            // Those of one sid are together.
            if let Some(taker) = takers.nth(*count - 1) {
                parts(&taker.sid).iter().for_each(|part| frame.extend_from_slice(part));
            }
            self.gathered += frame.len() - before;
        }
        for taker in takers {
            let Some(client) = self.clients[taker.client].as_mut() else { continue };
            let before = client.out.len();
            if before == 0 {
                self.dirty.push(taker.client);
            }
            parts(&taker.sid).iter().for_each(|part| client.out.extend_from_slice(part));
            self.gathered += client.out.len() - before;
        }
        Some(size)
    }

    /// Another subject.
    fn begin(&mut self, subject: &[u8]) {
        self.end_last();
        let (last, routes) = (&mut self.last, &self.routes);
        last.subject.extend_from_slice(subject);
        routes.find(subject, &mut last.takers);
        if last.takers.len() > NARROW {
            last.takers.sort_by(|one, other| routes.at(*one).sid.cmp(&routes.at(*other).sid));
            let same =
                last.takers.chunk_by(|one, other| routes.at(*one).sid == routes.at(*other).sid);
            last.frames = same.map(|takers| (takers.len(), Vec::new())).collect();
        }
    }

    /// The subscriptions to the last subject may not be what they were.
    fn end_last(&mut self) {
        self.send_many();
        self.last.subject.clear();
        self.last.takers.clear();
        self.last.frames.clear();
    }

    /// One send to each of many takers of the last subject, after what came for them before it.
    fn send_many(&mut self) {
        if self.last.frames.iter().all(|(_, frame)| frame.is_empty()) {
            return;
        }
        let mut last = std::mem::take(&mut self.last);
        let mut lost = Vec::new();
        let mut takers = last.takers.iter();
        for (count, frame) in &mut last.frames {
            for place in takers.by_ref().take(*count) {
                let to = self.routes.at(*place).client;
                let Some(client) = self.clients[to].as_mut() else { continue };
                if !client.flush() || !send(&client.stream, frame) {
                    lost.push(to);
                }
            }
            frame.clear();
        }
        self.last = last;
        lost.into_iter().for_each(|client| self.drop_client(client));
    }

    /// One send of a message to each taker of the last subject, without a copy.
    fn send_large(&mut self, [subject, tail, payload]: [&[u8]; 3]) {
        self.send_many();
        let mut lost = Vec::new();
        for place in &self.last.takers {
            let taker = self.routes.at(*place);
            let Some(client) = self.clients[taker.client].as_mut() else { continue };
            let head = [b"MSG ", subject, b" ", &taker.sid, b" ", tail, b"\r\n"].concat();
            if !client.flush() || !send_both(&client.stream, &head, payload) {
                lost.push(taker.client);
            }
        }
        lost.into_iter().for_each(|client| self.drop_client(client));
    }

    /// One send to each client that something has come for.
    fn deliver(&mut self) {
        self.send_many();
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            if self.clients[index].as_mut().is_some_and(|client| !client.flush()) {
                self.drop_client(index);
            }
        }
        self.dirty = dirty;
        self.gathered = 0;
    }

    fn say(&mut self, to: usize, words: &[u8]) {
        let Some(client) = self.clients[to].as_mut() else { return };
        if client.out.is_empty() {
            self.dirty.push(to);
        }
        client.out.extend_from_slice(words);
    }
}

impl Client {
    /// Sends what waits for it; false when it is lost.
    fn flush(&mut self) -> bool {
        let sent = send(&self.stream, &self.out);
        self.out.clear();
        sent
    }
}

/// Sends one after the other, with one call where there is room; false when the client is lost.
fn send_both(mut stream: &TcpStream, head: &[u8], rest: &[u8]) -> bool {
    let sent = match stream.write_vectored(&[IoSlice::new(head), IoSlice::new(rest)]) {
        Ok(n) => n,
        Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
        Err(_) => return false,
    };
    let of_head = sent.min(head.len());
    send(stream, &head[of_head..]) && send(stream, &rest[sent - of_head..])
}

/// Sends all of it, waiting for room where there is none; false when the client is lost.
fn send(mut stream: &TcpStream, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                if !matches!(wait_writable(stream, PATIENCE), Ok(true)) {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}
