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
}

#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Nanos, Due, ConnId)>>,
}

impl Timers {
    pub fn set(&mut self, at: Nanos, due: Due, conn: ConnId) {
        self.heap.push(Reverse((at, due, conn)));
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
