//! Plays a script against one server and writes down what came back.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::cast::Cast;
use super::rng::Rng;
use super::script::{Act, Script, Step};
use super::server::Server;
use super::{compare, frame};

/// How the bytes of a script reach the server. None of them may change what comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// One write a line.
    Lines,
    /// One write for all that is sent up to the next act that reads.
    Merged,
    /// Cut at random places; the seed tells where.
    Split(u64),
}

/// What one run received, masked and in canonical order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// For each act of the script, the frames that it read.
    pub acts: Vec<Vec<String>>,
    /// For each group of the script, what its members got together, sorted.
    pub groups: Vec<Vec<String>>,
    /// What was left to read at the end, by connection in order of opening.
    pub rest: Vec<(String, String)>,
}

/// What a frame list says instead of a frame.
pub const CLOSED: &str = "(closed)";
pub const STILL_OPEN: &str = "(still open)";
pub const TIMED_OUT: &str = "(nothing more came)";

pub struct Options {
    pub delivery: Delivery,
    /// How long one read may take before the script goes on without.
    pub read_time_max: Duration,
    /// Quiet time after a connection has ended. Nobody promises that what it published has reached
    /// the others by then, so where only that is at stake a caller may ask for it.
    pub settle: Duration,
}

impl Options {
    pub fn new(delivery: Delivery) -> Options {
        Options { delivery, read_time_max: Duration::from_secs(10), settle: Duration::ZERO }
    }
}

/// Plays the whole script; errors are ours (no connection to be had), never the server's answers.
pub fn play(script: &Script, server: &Server, options: &Options) -> Result<Transcript, String> {
    let seed = if let Delivery::Split(seed) = options.delivery { seed } else { 0 };
    let mut player = Player {
        script,
        server,
        options,
        rng: Rng::new(seed),
        conns: HashMap::new(),
        opened: Vec::new(),
        pooled: vec![Vec::new(); script.groups.len()],
        // Server PINGs come by the clock; only scripts about them look at them.
        show_pings: script.conf.iter().any(|line| line.starts_with("ping_interval")),
        replies: HashMap::new(),
        cast: Cast::read(&script.cast)?,
    };
    let mut transcript = Transcript::default();
    for act in &script.acts {
        let frames = player.act(act)?;
        transcript.acts.push(player.shown(&act.conn, frames));
    }
    transcript.rest = player.rest()?;
    player.pooled.iter_mut().for_each(|frames| frames.sort());
    transcript.groups = player.pooled;
    Ok(transcript)
}

struct Player<'a> {
    script: &'a Script,
    server: &'a Server,
    options: &'a Options,
    rng: Rng,
    conns: HashMap<String, Conn>,
    opened: Vec<String>,
    pooled: Vec<Vec<String>>,
    show_pings: bool,
    /// The last reply subject of the server's making that a connection got.
    replies: HashMap<String, Vec<u8>>,
    cast: Cast,
}

/// Frames as received, and what ended the reading if not the frame that was waited for.
struct Frames {
    frames: Vec<Vec<u8>>,
    end: Option<&'static str>,
}

impl Player<'_> {
    fn act(&mut self, act: &Act) -> Result<Frames, String> {
        let fresh = !self.conns.contains_key(&act.conn);
        let mut greeting = Vec::new();
        if fresh {
            let stream = self.server.dial().map_err(|e| format!("dial: {e}"))?;
            self.conns.insert(act.conn.clone(), Conn::new(stream));
            self.opened.push(act.conn.clone());
            let time_max = self.options.read_time_max;
            greeting = self.conn(&act.conn).read_to(b"INFO ", time_max).frames;
            self.conn(&act.conn).nonce = nonce(&greeting).unwrap_or_default();
        }
        if act.step == Step::Open {
            return Ok(Frames { frames: greeting, end: None });
        }
        if let Step::Send(bytes) = &act.step {
            self.send(&act.conn, bytes);
            return Ok(Frames { frames: Vec::new(), end: None });
        }
        self.flush(&act.conn);
        Ok(self.read(act))
    }

    fn read(&mut self, act: &Act) -> Frames {
        let time_max = self.options.read_time_max;
        if act.step == Step::Ping {
            self.send(&act.conn, b"PING\r\n");
            self.flush(&act.conn);
        }
        let conn = self.conn(&act.conn);
        let frames = match &act.step {
            Step::Ping | Step::Pong => conn.read_to(b"PONG", time_max),
            Step::Wait(start) => conn.read_to(start, time_max),
            Step::Eof => conn.read_to_end(time_max),
            Step::Shut => {
                conn.shut();
                conn.read_to_end(time_max)
            }
            Step::Close => {
                conn.close();
                Frames { frames: Vec::new(), end: None }
            }
            Step::Open | Step::Send(_) => unreachable!("handled before"),
        };
        if conn.is_over() {
            std::thread::sleep(self.options.settle);
        }
        frames
    }

    fn conn(&mut self, name: &str) -> &mut Conn {
        self.conns.get_mut(name).expect("opened before")
    }

    fn send(&mut self, name: &str, bytes: &[u8]) {
        let at_once = self.options.delivery == Delivery::Lines;
        let bytes = with_reply(bytes, self.replies.get(name));
        let bytes = self.cast.expand(&bytes, &self.conns[name].nonce);
        self.conn(name).pending.extend_from_slice(&bytes);
        if at_once {
            self.flush(name);
        }
    }

    /// Writes what is pending. A connection that the server has closed takes no more; that shows in
    /// reading.
    fn flush(&mut self, name: &str) {
        let bytes = std::mem::take(&mut self.conn(name).pending);
        let split = matches!(self.options.delivery, Delivery::Split(_));
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let cut = if split { self.cut(rest.len()) } else { rest.len() };
            if self.conn(name).stream.write_all(&rest[..cut]).is_err() {
                return;
            }
            rest = &rest[cut..];
        }
    }

    fn cut(&mut self, len: usize) -> usize {
        if self.rng.chance(30) {
            std::thread::sleep(Duration::from_micros(200));
        }
        let longest = if len > 4096 { len } else { 24 };
        (1 + self.rng.below(longest)).min(len)
    }

    /// Canonical text of what was read, without what belongs to a group.
    fn shown(&mut self, conn: &str, read: Frames) -> Vec<String> {
        let mut own = Vec::new();
        for bytes in read.frames {
            if bytes == b"PING\r\n" && !self.show_pings {
                continue;
            }
            if let Some(reply) = reply_of(&bytes) {
                self.replies.insert(conn.to_string(), reply);
            }
            let group = frame::message(&bytes).and_then(|m| self.script.group_of(conn, m.sid));
            match group {
                Some(group) => self.pooled[group].push(compare::line_without_sid(&bytes)),
                None => own.push(bytes),
            }
        }
        let mut lines = compare::canonical(own);
        lines.extend(read.end.map(str::to_string));
        lines
    }

    /// Two rounds of PING over all connections still open: what any of them has published has then
    /// arrived.
    fn rest(&mut self) -> Result<Vec<(String, String)>, String> {
        let mut left: Vec<(String, Vec<String>)> = Vec::new();
        for name in self.opened.clone() {
            self.flush(&name);
            left.push((name, Vec::new()));
        }
        for _ in 0..2 {
            for (name, lines) in &mut left {
                if self.conn(name).is_over() {
                    continue;
                }
                let act = Act { conn: name.clone(), step: Step::Ping, expected: vec![], line: 0 };
                let frames = self.act(&act)?;
                lines.extend(self.shown(name, frames));
            }
        }
        let flat = left.into_iter().flat_map(|(name, lines)| {
            lines.into_iter().filter(|line| line != "PONG").map(move |line| (name.clone(), line))
        });
        Ok(flat.collect())
    }
}

/// What stands in a script for the last reply subject.
const REPLY: &[u8] = b"<reply>";

fn with_reply(bytes: &[u8], reply: Option<&Vec<u8>>) -> Vec<u8> {
    let at = bytes.windows(REPLY.len()).position(|window| window == REPLY);
    let (Some(at), Some(reply)) = (at, reply) else { return bytes.to_vec() };
    [&bytes[..at], reply, &bytes[at + REPLY.len()..]].concat()
}

/// What INFO asks to sign.
fn nonce(greeting: &[Vec<u8>]) -> Option<String> {
    let info = greeting.first()?.strip_prefix(b"INFO ")?;
    let info: serde_json::Value = serde_json::from_slice(info).ok()?;
    info["nonce"].as_str().map(str::to_string)
}

/// The reply subject of a message, if the server made it.
fn reply_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let line = bytes.split(|byte| *byte == b'\r').next()?;
    let mut words = line.split(|byte| *byte == b' ').skip(3);
    words.next().filter(|word| word.starts_with(b"_R_.") && word.len() > 12).map(<[u8]>::to_vec)
}

struct Conn {
    stream: TcpStream,
    nonce: String,
    pending: Vec<u8>,
    received: Vec<u8>,
    ended: bool,
    closed_by_us: bool,
    /// A read ran out of time: what comes after it means nothing.
    stuck: bool,
}

impl Conn {
    fn new(stream: TcpStream) -> Conn {
        let (pending, received) = (Vec::new(), Vec::new());
        Conn {
            stream,
            nonce: String::new(),
            pending,
            received,
            ended: false,
            closed_by_us: false,
            stuck: false,
        }
    }

    fn is_over(&self) -> bool {
        self.ended || self.closed_by_us || self.stuck
    }

    fn shut(&mut self) {
        // Refused when the server has closed already; reading tells.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        self.closed_by_us = true;
    }

    fn read_to(&mut self, start: &[u8], time_max: Duration) -> Frames {
        let end = Instant::now() + time_max;
        let mut frames = Vec::new();
        loop {
            while let Some(len) = frame::first_len(&self.received) {
                let rest = self.received.split_off(len);
                let whole = std::mem::replace(&mut self.received, rest);
                let found = whole.starts_with(start);
                frames.push(whole);
                if found {
                    return Frames { frames, end: None };
                }
            }
            if self.ended || !self.more(end) {
                return self.unfinished(frames, TIMED_OUT);
            }
        }
    }

    fn read_to_end(&mut self, time_max: Duration) -> Frames {
        let end = Instant::now() + time_max;
        while !self.ended && self.more(end) {}
        let mut frames = Vec::new();
        while let Some(len) = frame::first_len(&self.received) {
            let rest = self.received.split_off(len);
            frames.push(std::mem::replace(&mut self.received, rest));
        }
        self.unfinished(frames, STILL_OPEN)
    }

    fn unfinished(&mut self, mut frames: Vec<Vec<u8>>, late: &'static str) -> Frames {
        if !self.received.is_empty() {
            frames.push(std::mem::take(&mut self.received));
        }
        self.stuck = !self.ended;
        Frames { frames, end: Some(if self.ended { CLOSED } else { late }) }
    }

    /// Reads once; false when `end` has come first.
    fn more(&mut self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        self.stream.set_read_timeout(Some(left)).expect("a timeout above zero");
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(len) => self.received.extend_from_slice(&buffer[..len]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            // A reset is how a close looks when bytes of ours were still unread.
            Err(_) => self.ended = true,
        }
        true
    }
}
