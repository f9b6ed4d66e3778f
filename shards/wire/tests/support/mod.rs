//! What the protocol tests and the fuzz example share.
#![allow(dead_code, reason = "each user takes a part of it")]

pub mod driver;
pub mod machine;
pub mod random;
pub mod rng;

use wire::{ClientOp, CloseReason, Fault, Limits};

/// Limits of a server with nothing configured.
pub const DEFAULT: Limits = Limits { control_line_max: 4096, payload_max: 1 << 20, headers: true };

/// What came of some input: operations, and perhaps a fault at the end. Owned, to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Connect(String),
    Info(String),
    Ping,
    Pong,
    Ok,
    Err(String),
    Pub { subject: String, reply: String, header_len: usize, payload: String },
    Sub { subject: String, queue: Option<String>, sid: String },
    Unsub { sid: String, max: u64 },
    Fault { text: Option<&'static str>, reason: CloseReason, what: String },
}

impl Event {
    pub fn of_op(op: &ClientOp<'_>) -> Self {
        match op {
            ClientOp::Connect(json) => Self::Connect(latin1(json)),
            ClientOp::Info(json) => Self::Info(latin1(json)),
            ClientOp::Ping => Self::Ping,
            ClientOp::Pong => Self::Pong,
            ClientOp::Ok => Self::Ok,
            ClientOp::Err(text) => Self::Err(latin1(text)),
            ClientOp::Pub(publication) => Self::Pub {
                subject: latin1(publication.subject),
                reply: latin1(publication.reply),
                header_len: publication.header_len,
                payload: latin1(publication.payload),
            },
            ClientOp::Sub { subject, queue, sid } => {
                Self::Sub { subject: latin1(subject), queue: queue.map(latin1), sid: latin1(sid) }
            }
            ClientOp::Unsub { sid, max } => Self::Unsub { sid: latin1(sid), max: *max },
        }
    }

    /// Without what depends on how much of the input was there: the snippet of unknown bytes and
    /// where in the buffer they were.
    pub fn of_fault(fault: &Fault) -> Self {
        let what = match fault {
            Fault::UnknownOperation { .. } => "unknown operation".to_owned(),
            other => other.to_string(),
        };
        Self::Fault { text: fault.error_text(), reason: fault.reason(), what }
    }
}

/// One character per byte, so that different bytes never compare equal.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
