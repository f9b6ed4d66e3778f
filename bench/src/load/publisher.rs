//! A publishing connection: sends a prepared round of PUBs, never stopping inside one.

use super::inbox::Inbox;
use super::lane::{CHUNK, Lane};
use super::protocol::Protocol;
use crate::plan::Plan;
use crate::stamp::{self, FILLING, Stamp};
use crate::sys::Epoll;

/// Publishers beyond this number keep one message each, not a buffer of them.
const CROWD: usize = 256;

/// A publishing connection.
pub struct Publisher {
    /// The connection.
    pub lane: Lane,
    /// Index in the plan.
    pub index: usize,
    /// Messages it may have begun by now.
    pub allowed: u64,
    /// Its last PING has been answered.
    pub answered: bool,
    /// On the worker's list of those that can send.
    pub listed: bool,
    /// Operations the server sends it.
    pub inbox: Inbox,
    protocol: Protocol,
    wire: Vec<u8>,
    frame: usize,
    bytes: u64,
    stamped: bool,
    asked: bool,
}

impl Publisher {
    /// Prepares what publisher `index` sends.
    pub fn new(lane: Lane, index: usize, plan: &Plan, protocol: Protocol) -> Self {
        let (wire, frame) = round(plan, index, protocol);
        Self {
            lane,
            index,
            allowed: 0,
            answered: false,
            listed: false,
            inbox: Inbox::of(protocol),
            protocol,
            wire,
            frame,
            bytes: 0,
            stamped: plan.verify,
            asked: false,
        }
    }

    /// Messages whose first byte has been given away.
    pub fn begun(&self) -> u64 {
        self.bytes.div_ceil(self.frame as u64)
    }

    /// Whether it could send if it were asked to.
    pub fn eager(&self) -> bool {
        self.lane.fault.is_none()
            && !self.lane.blocked()
            && (self.begun() < self.allowed || !self.whole())
    }

    fn whole(&self) -> bool {
        self.bytes.is_multiple_of(self.frame as u64)
    }

    /// Everything allowed is with the kernel.
    pub fn done(&self) -> bool {
        self.whole() && self.begun() >= self.allowed && !self.lane.pending()
    }

    /// Sends about a chunk of what is allowed; `stamp_ns` gives the intended time of message n.
    pub fn pump(&mut self, epoll: &Epoll, stamp_ns: impl Fn(u64) -> u64) {
        if self.lane.fault.is_some() {
            return;
        }
        if self.stamped {
            self.pump_stamped(epoll, stamp_ns);
        } else {
            self.pump_plain(epoll);
        }
    }

    fn pump_plain(&mut self, epoll: &Epoll) {
        let mut budget = CHUNK.max(self.frame) as u64;
        while budget > 0 && self.lane.fault.is_none() {
            if self.whole() && self.lane.pending() {
                self.lane.flush(epoll);
                if self.lane.pending() {
                    return;
                }
            }
            // Control bytes that wait get in at the next end of a message.
            let goal = if self.lane.pending() { self.begun() } else { self.allowed };
            let room = goal.saturating_mul(self.frame as u64).saturating_sub(self.bytes);
            let at = (self.bytes % self.wire.len() as u64) as usize;
            let n = room.min(budget).min((self.wire.len() - at) as u64) as usize;
            if n == 0 {
                break;
            }
            let sent = self.lane.send(&self.wire[at..at + n], epoll);
            if sent == 0 {
                return;
            }
            self.bytes += sent as u64;
            budget = budget.saturating_sub(sent as u64);
        }
        self.lane.unblock(epoll);
    }

    fn pump_stamped(&mut self, epoll: &Epoll, stamp_ns: impl Fn(u64) -> u64) {
        self.lane.flush(epoll);
        if self.lane.pending() || self.lane.fault.is_some() {
            return;
        }
        let most = (CHUNK / self.frame).max(1) as u64;
        let end = self.allowed.min(self.begun() + most);
        while self.begun() < end {
            let n = self.begun();
            let at = (self.bytes % self.wire.len() as u64) as usize;
            let out = self.lane.out();
            out.extend_from_slice(&self.wire[at..at + self.frame]);
            let payload_end = out.len() - 2;
            let publisher = self.index as u32;
            let stamp = Stamp { intended_ns: stamp_ns(n), publisher, sequence: n as u32 };
            let payload = payload_end - self.payload_size()..payload_end;
            stamp.write(&mut self.lane.out()[payload]);
            self.bytes += self.frame as u64;
        }
        self.lane.flush(epoll);
    }

    fn payload_size(&self) -> usize {
        let line = memchr::memchr(b'\n', &self.wire).map_or(0, |end| end + 1);
        self.frame - line - 2
    }

    /// Stops at the end of the message in hand.
    pub fn stop(&mut self) {
        self.allowed = self.begun();
    }

    /// Asks the server to say that it has taken everything; once.
    pub fn ask(&mut self, epoll: &Epoll) {
        if !self.asked {
            self.asked = true;
            self.lane.out().extend_from_slice(self.protocol.ping());
            self.lane.flush(epoll);
        }
    }
}

/// The PUBs of a publisher once round its subjects (more often when they are few), and the size
/// of each.
fn round(plan: &Plan, index: usize, protocol: Protocol) -> (Vec<u8>, usize) {
    let publisher = plan.publishers[index];
    let payload = vec![FILLING; plan.payload];
    let mut wire = Vec::new();
    let mut frame = 0;
    let aim = if plan.publishers.len() > CROWD { 1 } else { CHUNK };
    while wire.len() < aim {
        for n in 0..publisher.count as u64 {
            let subject = &plan.subjects[publisher.subject(n)];
            let before = wire.len();
            protocol.publish(&mut wire, subject, &payload);
            frame = wire.len() - before;
        }
    }
    debug_assert!(wire.len().is_multiple_of(frame));
    debug_assert!(!plan.verify || plan.payload >= stamp::SIZE);
    (wire, frame)
}
