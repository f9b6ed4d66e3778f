//! Requesters and responders.

use super::inbox::{Inbox, ServerOp};
use super::lane::{Got, Lane};
use super::timing::Timing;
use crate::stamp::{FILLING, Stamp};
use crate::sys::Epoll;

/// Subject the responders serve.
pub const SERVICE: &str = "bench.service";

/// A connection with `in_flight` requests under way.
pub struct Requester {
    /// The connection.
    pub lane: Lane,
    /// Requests sent.
    pub sent: u64,
    /// Replies received.
    pub received: u64,
    index: u32,
    inbox: Inbox,
    request: Vec<u8>,
    payload_at: usize,
}

/// Inbox subject of a requester.
pub fn reply_subject(index: usize) -> String {
    format!("_INBOX.bench.{index}")
}

impl Requester {
    /// Prepares requester number `index`.
    pub fn new(lane: Lane, index: usize, payload: usize) -> Self {
        let line = format!("PUB {SERVICE} {} {payload}\r\n", reply_subject(index));
        let mut request = line.into_bytes();
        let payload_at = request.len();
        request.resize(payload_at + payload, FILLING);
        request.extend_from_slice(b"\r\n");
        let (index, inbox) = (index as u32, Inbox::default());
        Self { lane, sent: 0, received: 0, index, inbox, request, payload_at }
    }

    fn add_request(&mut self, now_ns: u64) {
        let stamp =
            Stamp { intended_ns: now_ns, publisher: self.index, sequence: self.sent as u32 };
        stamp.write(&mut self.request[self.payload_at..]);
        self.lane.out().extend_from_slice(&self.request);
        self.sent += 1;
    }

    /// Sends one more request.
    pub fn ask(&mut self, epoll: &Epoll, now_ns: u64) {
        self.add_request(now_ns);
        self.lane.flush(epoll);
    }

    /// Takes replies; each is followed by a request while `go_on`. Gives how many came.
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        epoll: &Epoll,
        timing: &mut Timing,
        go_on: bool,
    ) -> u64 {
        let Got::Bytes(n) = self.lane.read(buffer, epoll) else { return 0 };
        let now_ns = timing.now_ns();
        let (before, mine, sent) = (self.received, self.index, self.sent);
        let received = &mut self.received;
        let mut pings = 0;
        let fed = self.inbox.feed(&buffer[..n], |op| match op {
            ServerOp::Message(message) => {
                let stamp = Stamp::read(message.payload)
                    .filter(|stamp| stamp.publisher == mine && u64::from(stamp.sequence) < sent);
                let stamp = stamp.ok_or("a reply to no request of ours")?;
                timing.record(stamp.intended_ns, now_ns);
                *received += 1;
                Ok(())
            }
            ServerOp::Ping => {
                pings += 1;
                Ok(())
            }
            ServerOp::Err(text) => Err(format!("-ERR {}", String::from_utf8_lossy(text))),
            _ => Ok(()),
        });
        if let Err(reason) = fed {
            self.lane.fail(epoll, reason);
        }
        let came = self.received - before;
        (0..pings).for_each(|_| self.lane.out().extend_from_slice(b"PONG\r\n"));
        if go_on {
            let now_ns = timing.now_ns();
            (0..came).for_each(|_| self.add_request(now_ns));
        }
        self.lane.flush(epoll);
        came
    }

    /// Every request has its reply, or the connection is lost.
    pub fn finished(&self) -> bool {
        self.received >= self.sent || self.lane.fault.is_some()
    }
}

/// A connection that answers each request with its own payload.
pub struct Responder {
    /// The connection.
    pub lane: Lane,
    inbox: Inbox,
}

impl Responder {
    /// Takes a connection subscribed to the service.
    pub fn new(lane: Lane) -> Self {
        Self { lane, inbox: Inbox::default() }
    }

    /// Answers what is there; gives how many requests that was.
    pub fn receive(&mut self, buffer: &mut [u8], epoll: &Epoll) -> u64 {
        let Got::Bytes(n) = self.lane.read(buffer, epoll) else { return 0 };
        let mut came = 0;
        let out = self.lane.out();
        let fed = self.inbox.feed(&buffer[..n], |op| match op {
            ServerOp::Message(message) => {
                out.extend_from_slice(b"PUB ");
                out.extend_from_slice(message.reply);
                out.extend_from_slice(format!(" {}\r\n", message.payload.len()).as_bytes());
                out.extend_from_slice(message.payload);
                out.extend_from_slice(b"\r\n");
                came += 1;
                Ok(())
            }
            ServerOp::Ping => {
                out.extend_from_slice(b"PONG\r\n");
                Ok(())
            }
            ServerOp::Err(text) => Err(format!("-ERR {}", String::from_utf8_lossy(text))),
            _ => Ok(()),
        });
        if let Err(reason) = fed {
            self.lane.fail(epoll, reason);
        }
        self.lane.flush(epoll);
        came
    }
}
