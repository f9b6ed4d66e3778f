//! A client that asks, and the servers it asks: both with the accounts of the recording.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::frame;
use crate::harness::server::{Program, Server, Setup};

/// What is read where the server has closed.
const CLOSED: &str = "(closed)\r\n";

/// For one frame.
const WAIT_MAX: Duration = Duration::from_secs(10);

const CONF: &str = "server_name: hub\n\
    server_tags: [\"site:a\"]\n\
    system_account: SYS\n\
    accounts {\n\
    SYS { users: [{user: sys, password: sys}] }\n\
    APP { users: [\n\
    {user: app, password: app}\n\
    {user: few, password: few, permissions: {\n\
    publish: {allow: [a, \"$SYS.REQ.USER.INFO\"], deny: b}\n\
    subscribe: [\"_INBOX.>\", \"jobs workers\"]\n\
    allow_responses: {max: 3, expires: \"1m\"} }}\n\
    ] }\n\
    OTHER { users: [{user: other, password: other}] }\n\
    }";

/// The reference, then the server under test, one after the other.
pub fn both() -> [Server; 2] {
    Program::both().map(|program| {
        let conf = CONF.lines().map(str::to_string).collect();
        let args = vec!["-m".to_string(), "-1".to_string()];
        let setup = Setup { conf, args, shards: 2, ..Setup::default() };
        Server::start(&program, &setup).unwrap_or_else(|fault| panic!("{fault}"))
    })
}

pub struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
    inbox: String,
    pub server_id: String,
}

/// A message: what it was published to, its header, its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub subject: String,
    pub header: String,
    pub body: Vec<u8>,
}

impl Message {
    /// The body; unpacked, if the header says that it is packed.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match self.header.contains("Content-Encoding: snappy") {
            true => snap::read::FrameDecoder::new(&*self.body).read_to_string(&mut text).unwrap(),
            false => (&*self.body).read_to_string(&mut text).unwrap(),
        };
        text
    }
}

impl Peer {
    pub fn dial(server: &Server) -> Peer {
        let stream = server.dial().expect("the server accepts");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("a timeout can be set");
        let inbox = "_INBOX.Ku2vZ1oVyGd8kZzG4bV8cN".to_string();
        let mut peer = Peer { stream, unread: Vec::new(), inbox, server_id: String::new() };
        let info = String::from_utf8(peer.frame()).expect("text");
        let id = info.split("\"server_id\":\"").nth(1).expect("an id");
        peer.server_id = id.split('"').next().unwrap_or_default().to_string();
        peer
    }

    /// As a user whose password is its name; with its inbox subscribed.
    pub fn log_in(server: &Server, user: &str) -> Peer {
        let mut peer = Peer::dial(server);
        peer.connect(user);
        peer.inbox.push_str(&format!(".{user}"));
        let inbox = peer.inbox.clone();
        peer.say(&format!("SUB {inbox} 1\r\n"));
        peer.ping();
        peer
    }

    pub fn connect(&mut self, user: &str) {
        self.connect_and(user, "");
    }

    /// With more behind it in one write: a server that turns it away leaves nothing unread.
    pub fn connect_and(&mut self, user: &str, more: &str) {
        self.say(&format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"user\":\"{user}\",\
             \"pass\":\"{user}\",\"name\":\"{user}'s\",\"lang\":\"go\",\"version\":\"1.48.0\",\
             \"protocol\":1,\"echo\":true,\"headers\":true,\"no_responders\":true}}\r\n{more}"
        ));
    }

    pub fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("the server reads");
    }

    pub fn frame(&mut self) -> Vec<u8> {
        loop {
            if let Some(len) = frame::first_len(&self.unread) {
                let rest = self.unread.split_off(len);
                return std::mem::replace(&mut self.unread, rest);
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return CLOSED.as_bytes().to_vec(),
                Ok(read) => self.unread.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What was unread of ours has made the close a reset.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return CLOSED.as_bytes().to_vec();
                }
                Err(error) => panic!("no frame in time: {error}"),
            }
        }
    }

    /// The next frame that begins so, or the end; others are left out.
    pub fn wait_for(&mut self, start: &str) -> String {
        loop {
            let frame = self.frame();
            if frame.starts_with(start.as_bytes()) || frame == CLOSED.as_bytes() {
                return String::from_utf8_lossy(&frame).into_owned();
            }
        }
    }

    fn frame_while_open(&mut self) -> Vec<u8> {
        let frame = self.frame();
        assert_ne!(frame, CLOSED.as_bytes(), "the server closed");
        frame
    }

    /// What comes before its PONG.
    pub fn ping(&mut self) -> Vec<Message> {
        self.say("PING\r\n");
        let mut messages = Vec::new();
        loop {
            let frame = self.frame_while_open();
            match message(&frame) {
                Some(message) => messages.push(message),
                None if frame.starts_with(b"PONG") => return messages,
                None => {}
            }
        }
    }

    /// The next message.
    pub fn message(&mut self) -> Message {
        loop {
            let frame = self.frame_while_open();
            if let Some(message) = message(&frame) {
                return message;
            }
        }
    }

    /// As the tool says it: without a header it is a PUB.
    pub fn ask(&mut self, subject: &str, header: &str, body: &str) -> Message {
        self.publish(subject, header, body);
        loop {
            let message = self.message();
            if message.subject == self.inbox {
                return message;
            }
        }
    }

    pub fn publish(&mut self, subject: &str, header: &str, body: &str) {
        let inbox = &self.inbox;
        let text = match header {
            "" => format!("PUB {subject} {inbox} {}\r\n{body}\r\n", body.len()),
            field => {
                let header = format!("NATS/1.0\r\n{field}\r\n\r\n");
                let (head, all) = (header.len(), header.len() + body.len());
                format!("HPUB {subject} {inbox} {head} {all}\r\n{header}{body}\r\n")
            }
        };
        self.say(&text);
    }

    pub fn close(self) {}
}

fn message(frame: &[u8]) -> Option<Message> {
    let line_end = frame.iter().position(|b| *b == b'\n')?;
    let line = String::from_utf8_lossy(&frame[..line_end]).trim_end().to_string();
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let header_len: usize = match *words.first()? {
        "MSG" => 0,
        "HMSG" => words[words.len() - 2].parse().ok()?,
        _ => return None,
    };
    let body = &frame[line_end + 1..frame.len() - 2];
    let (header, body) = body.split_at(header_len);
    Some(Message {
        subject: words[1].to_string(),
        header: String::from_utf8_lossy(header).into_owned(),
        body: body.to_vec(),
    })
}
