//! The floor: what the kernel alone charges. A single-threaded server that reads PUBs, frames
//! each once, and makes one send per subscriber and read. It keeps no accounts, no permissions,
//! no wildcards and no queue groups, trusts its clients, and waits for a receiver that is full:
//! it is a yardstick, not a server.

use crate::sys::{Epoll, Ready, Watch, wait_writable};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const INFO: &[u8] =
    b"INFO {\"server_id\":\"FLOOR\",\"version\":\"floor\",\"max_payload\":1048576} \r\n";
/// A client that takes nothing for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of one read.
const READ: usize = 64 << 10;
const LISTENER: usize = usize::MAX;

struct Client {
    stream: TcpStream,
    /// What a read left incomplete.
    carry: Vec<u8>,
}

/// Who subscribed under one sid; a frame is written once for all of them.
struct Group {
    sid: Vec<u8>,
    clients: Vec<usize>,
}

/// Deliveries of one read that go to the same clients.
#[derive(Default)]
struct Batch {
    /// The last subject, so that the next PUB on it costs no look-up.
    subject: Vec<u8>,
    /// Its place in [`Floor::groups`], if anyone listens.
    place: Option<usize>,
    /// One buffer for each group of the subject.
    frames: Vec<Vec<u8>>,
}

struct Floor {
    epoll: Epoll,
    clients: Vec<Option<Client>>,
    /// From subject to its place in `groups`.
    subjects: HashMap<Vec<u8>, usize>,
    groups: Vec<Vec<Group>>,
    batch: Batch,
}

/// Serves those who connect to `listener` until it is ended.
///
/// # Errors
/// When epoll or accept fails.
pub fn serve(listener: TcpListener) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut floor = Floor {
        epoll: Epoll::new()?,
        clients: Vec::new(),
        subjects: HashMap::new(),
        groups: Vec::new(),
        batch: Batch::default(),
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
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> std::io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            // A fresh socket takes a hundred bytes at once.
            let _ = stream.write_all(INFO);
            self.epoll.add(&stream, self.clients.len(), Watch::Read)?;
            self.clients.push(Some(Client { stream, carry: Vec::new() }));
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
        let used = self.take(from, &buffer[..n]);
        if let Some(client) = self.clients[from].as_mut() {
            client.carry.clear();
            client.carry.extend_from_slice(&buffer[used..n]);
        }
        self.deliver();
    }

    fn drop_client(&mut self, index: usize) {
        self.clients[index] = None;
        for groups in &mut self.groups {
            groups.iter_mut().for_each(|group| group.clients.retain(|client| *client != index));
        }
    }

    /// Takes whole operations; gives the bytes they were.
    fn take(&mut self, from: usize, bytes: &[u8]) -> usize {
        let mut used = 0;
        while let Some(end) = memchr::memchr(b'\n', &bytes[used..]) {
            let line = &bytes[used..used + end - usize::from(end > 0)];
            let body = used + end + 1;
            if line.starts_with(b"PUB ") {
                let Some(size) = self.publish(line, &bytes[body..]) else { break };
                used = body + size + 2;
                continue;
            }
            if line.starts_with(b"SUB ") {
                self.deliver();
                self.subscribe(from, line);
            } else if line == b"PING" {
                self.deliver();
                self.send(from, b"PONG\r\n");
            }
            used = body;
        }
        used
    }

    fn subscribe(&mut self, from: usize, line: &[u8]) {
        let mut words = line.split(|b| *b == b' ').skip(1);
        let (Some(subject), Some(sid)) = (words.next(), words.next()) else { return };
        self.batch = Batch::default();
        let fresh = self.groups.len();
        let place = *self.subjects.entry(subject.to_vec()).or_insert(fresh);
        if place == fresh {
            self.groups.push(Vec::new());
        }
        let groups = &mut self.groups[place];
        match groups.iter_mut().find(|group| group.sid == sid) {
            Some(group) => group.clients.push(from),
            None => groups.push(Group { sid: sid.to_vec(), clients: vec![from] }),
        }
    }

    /// Frames one PUB for each group of its subject; gives its payload's size, or nothing while
    /// that is not all there.
    fn publish(&mut self, line: &[u8], rest: &[u8]) -> Option<usize> {
        let args = &line[4..];
        let space = memchr::memchr(b' ', args)?;
        let (subject, tail) = (&args[..space], &args[space + 1..]);
        let digits = tail.rsplit(|b| *b == b' ').next().unwrap_or(tail);
        let size = digits.iter().fold(0usize, |n, d| n * 10 + usize::from(d.wrapping_sub(b'0')));
        let payload = rest.get(..size + 2)?;
        if self.batch.subject != subject {
            self.deliver();
            self.batch.subject.clear();
            self.batch.subject.extend_from_slice(subject);
            self.batch.place = self.subjects.get(subject).copied();
            let groups = self.batch.place.map_or(0, |place| self.groups[place].len());
            self.batch.frames.resize_with(groups, Vec::new);
        }
        if let Some(place) = self.batch.place {
            for (group, frame) in self.groups[place].iter().zip(&mut self.batch.frames) {
                for part in [b"MSG ", subject, b" ", &group.sid, b" ", tail, b"\r\n", payload] {
                    frame.extend_from_slice(part);
                }
            }
        }
        Some(size)
    }

    /// One send to each subscriber of what the batch holds.
    fn deliver(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        let mut lost = Vec::new();
        if let Some(place) = batch.place {
            for (group, frame) in self.groups[place].iter().zip(&batch.frames) {
                for &client in group.clients.iter().filter(|_| !frame.is_empty()) {
                    if !send(&self.clients, client, frame) {
                        lost.push(client);
                    }
                }
            }
        }
        batch.frames.iter_mut().for_each(Vec::clear);
        self.batch = batch;
        lost.into_iter().for_each(|client| self.drop_client(client));
    }

    fn send(&mut self, to: usize, bytes: &[u8]) {
        if !send(&self.clients, to, bytes) {
            self.drop_client(to);
        }
    }
}

/// Sends all of it, waiting for room where there is none; false when the client is lost.
fn send(clients: &[Option<Client>], to: usize, mut bytes: &[u8]) -> bool {
    let Some(client) = clients.get(to).and_then(Option::as_ref) else { return true };
    let mut stream = &client.stream;
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
