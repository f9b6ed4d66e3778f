//! A connection whose subscriptions come and go.

use super::inbox::{Inbox, ServerOp};
use super::lane::{Got, Lane};
use crate::sys::Epoll;
use std::io::Write;

/// A connection whose subscriptions come and go.
pub struct Churner {
    /// The connection.
    pub lane: Lane,
    /// Its last PING has been answered.
    pub answered: bool,
    inbox: Inbox,
    prefix: String,
    kept: u64,
    oldest: u64,
    next: u64,
}

impl Churner {
    /// Prepares churner number `index`; it starts with no subscription.
    pub fn new(lane: Lane, index: usize, subject: &str, kept: u64) -> Self {
        let prefix = format!("{subject}.{index}");
        Self { lane, answered: false, inbox: Inbox::default(), prefix, kept, oldest: 1, next: 1 }
    }

    /// One SUB, or one UNSUB of the oldest once there are enough.
    pub fn turn(&mut self, epoll: &Epoll) {
        let (oldest, next, prefix) = (self.oldest, self.next, &self.prefix);
        let out = self.lane.out();
        // Writing into a Vec can't fail.
        if next - oldest <= self.kept {
            let _ = write!(out, "SUB {prefix}.{} {next}\r\n", next % 1000);
            self.next += 1;
        } else {
            let _ = write!(out, "UNSUB {oldest}\r\n");
            self.oldest += 1;
        }
        self.lane.flush(epoll);
    }

    /// Asks the server to say that it has taken everything.
    pub fn ask(&mut self, epoll: &Epoll) {
        self.lane.out().extend_from_slice(b"PING\r\n");
        self.lane.flush(epoll);
    }

    /// Takes control operations; a message is a fault, for none is owed here.
    pub fn receive(&mut self, buffer: &mut [u8], epoll: &Epoll) {
        let Got::Bytes(n) = self.lane.read(buffer, epoll) else { return };
        let fed = self.inbox.feed(&buffer[..n], control(self.lane.out(), &mut self.answered));
        if let Err(reason) = fed {
            self.lane.fail(epoll, reason);
        }
        self.lane.flush(epoll);
    }
}

/// What a connection that is owed no message does with what it gets: a PING is answered into
/// `out`, a PONG noted, anything unasked for a fault.
pub fn control<'a>(
    out: &'a mut Vec<u8>,
    answered: &'a mut bool,
) -> impl FnMut(ServerOp<'_>) -> Result<(), String> + 'a {
    |op| {
        match op {
            ServerOp::Ping => out.extend_from_slice(b"PONG\r\n"),
            ServerOp::Pong => *answered = true,
            ServerOp::Err(text) => return Err(format!("-ERR {}", String::from_utf8_lossy(text))),
            ServerOp::Message(_) => return Err("a message that nobody owed".into()),
            ServerOp::Info(_) | ServerOp::Ok => {}
        }
        Ok(())
    }
}
