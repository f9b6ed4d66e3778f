//! What a server speaks, as far as a load needs to know.

use super::dial::{self, Greeting};
use super::inbox::{self, ServerOp};
use super::resp;

/// What a server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// The text protocol of NATS.
    #[default]
    Nats,
    /// Version 2 of Redis' protocol: SUBSCRIBE and PUBLISH on literal channels.
    Resp,
}

impl Protocol {
    /// The first operation in what a server sent and how many bytes it took; nothing while it is
    /// incomplete.
    ///
    /// # Errors
    /// A line that says what no server may send.
    pub fn parse(self, bytes: &[u8]) -> Result<Option<(ServerOp<'_>, usize)>, String> {
        match self {
            Self::Nats => inbox::parse(bytes),
            Self::Resp => resp::parse(bytes),
        }
    }

    /// What a client says first, after whose answers nothing comes but what it subscribed to: a
    /// nats-server may send another INFO behind its first PONG, and none behind the second.
    pub fn greeting(self, subscriptions: &str) -> Greeting {
        match self {
            Self::Nats => {
                let mut greeting = dial::greeting(subscriptions);
                greeting.words.extend_from_slice(self.ping());
                greeting.answers += 1;
                greeting
            }
            Self::Resp => {
                let words = [subscriptions.as_bytes(), self.ping()].concat();
                Greeting { words, answers: 1 }
            }
        }
    }

    /// Whether a client waits to be greeted before it says anything.
    pub fn greets(self) -> bool {
        self == Self::Nats
    }

    /// A subscription as a client asks for it.
    pub fn subscribe(self, pattern: &str, queue: Option<&str>, sid: u64) -> String {
        match (self, queue) {
            (Self::Nats, None) => format!("SUB {pattern} {sid}\r\n"),
            (Self::Nats, Some(queue)) => format!("SUB {pattern} {queue} {sid}\r\n"),
            (Self::Resp, _) => resp::command(&[b"SUBSCRIBE", pattern.as_bytes()]),
        }
    }

    /// Appends a publication.
    pub fn publish(self, out: &mut Vec<u8>, subject: &str, payload: &[u8]) {
        match self {
            Self::Nats => {
                out.extend_from_slice(format!("PUB {subject} {}\r\n", payload.len()).as_bytes());
                out.extend_from_slice(payload);
                out.extend_from_slice(b"\r\n");
            }
            Self::Resp => {
                let command = resp::command(&[b"PUBLISH", subject.as_bytes(), payload]);
                out.extend_from_slice(command.as_bytes());
            }
        }
    }

    /// Bytes of a delivery.
    pub fn delivery_bytes(self, subject: &str, sid: u64, payload: usize) -> usize {
        match self {
            Self::Nats => format!("MSG {subject} {sid} {payload}\r\n\r\n").len() + payload,
            Self::Resp => {
                let head = format!("*3\r\n$7\r\nmessage\r\n${}\r\n{subject}\r\n", subject.len());
                head.len() + format!("${payload}\r\n\r\n").len() + payload
            }
        }
    }

    /// Asks for an answer behind everything else.
    pub fn ping(self) -> &'static [u8] {
        match self {
            Self::Nats => b"PING\r\n",
            Self::Resp => b"*1\r\n$4\r\nPING\r\n",
        }
    }

    /// That answer, as a subscriber gets it.
    pub fn subscribers_pong(self) -> &'static [u8] {
        match self {
            Self::Nats => b"PONG\r\n",
            Self::Resp => b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        }
    }

    /// What makes a server tell its version.
    pub fn who_are_you(self) -> &'static [u8] {
        match self {
            Self::Nats => b"",
            Self::Resp => b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n",
        }
    }

    /// The version, once enough has been heard.
    ///
    /// # Errors
    /// A line that says what was heard instead.
    pub fn version(self, heard: &[u8]) -> Result<Option<String>, String> {
        match self {
            Self::Resp => resp::version(heard),
            Self::Nats => {
                let Some((ServerOp::Info(json), _)) = inbox::parse(heard)? else { return Ok(None) };
                let info: serde_json::Value =
                    serde_json::from_slice(json).map_err(|e| format!("INFO: {e}"))?;
                Ok(Some(info["version"].as_str().unwrap_or_default().to_string()))
            }
        }
    }
}
