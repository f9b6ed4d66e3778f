//! Deadlines of connections, soonest first. A timer is never cancelled: whoever set it looks again
//! when it fires.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ids::{ConnId, Nanos};

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Time to ask whether the client is still there.
    Ping,
    /// Bytes may have waited too long.
    Write,
    /// Publishers wait for this receiver: has it moved?
    Probe,
    /// The client must have said who it is.
    Login,
    /// The client's right to be here may have ended.
    Expiry,
}

#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Nanos, Due, ConnId)>>,
}

impl Timers {
    pub fn set(&mut self, at: Nanos, due: Due, conn: ConnId) {
        self.heap.push(Reverse((at, due, conn)));
    }

    /// Drops those of connections that are gone, when they may be the larger part.
    pub fn prune(&mut self, live: usize, is_live: impl Fn(ConnId) -> bool) {
        if self.heap.len() > 4 * live + 256 {
            self.heap.retain(|Reverse((_, _, conn))| is_live(*conn));
            self.heap.shrink_to_fit();
        }
    }

    /// When the next one fires.
    pub fn next(&self) -> Option<Nanos> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes one that has fired.
    pub fn fired(&mut self, now: Nanos) -> Option<(Due, ConnId)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, due, conn))| (due, conn))
    }
}
