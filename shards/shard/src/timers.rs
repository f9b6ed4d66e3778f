//! Deadlines of connections, soonest first. A timer is never cancelled: whoever set it looks again
//! when it fires.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ids::{ConnId, Nanos};
use crate::table;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Due {
    const ALL: [Due; 5] = [Due::Ping, Due::Write, Due::Probe, Due::Login, Due::Expiry];
    /// In so many bits of a [`Timer`].
    const BITS: u32 = 3;
}

/// A deadline: what it is for is below the time, so that an idle connection's costs little.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    at_and_due: u64,
    conn: ConnId,
}

// Of the 1 KiB that an idle connection may cost: it has two.
const _: () = assert!(size_of::<Timer>() == 16);

impl Timer {
    /// A time more than 73 years after the origin comes then.
    fn new(at: Nanos, due: Due, conn: ConnId) -> Timer {
        let at = at.min(Nanos::MAX >> Due::BITS);
        Timer { at_and_due: at << Due::BITS | due as u64, conn }
    }

    fn at(self) -> Nanos {
        self.at_and_due >> Due::BITS
    }

    fn due(self) -> Due {
        Due::ALL[(self.at_and_due & ((1 << Due::BITS) - 1)) as usize]
    }
}

#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
}

impl Timers {
    pub fn set(&mut self, at: Nanos, due: Due, conn: ConnId) {
        table::push_heap(&mut self.heap, Reverse(Timer::new(at, due, conn)));
    }

    /// Drops those of connections that are gone, when they may be the larger part.
    pub fn prune(&mut self, live: usize, is_live: impl Fn(ConnId) -> bool) {
        if self.heap.len() > 4 * live + 256 {
            self.heap.retain(|Reverse(timer)| is_live(timer.conn));
            self.heap.shrink_to_fit();
        }
    }

    /// When the next one fires.
    pub fn next(&self) -> Option<Nanos> {
        self.heap.peek().map(|Reverse(timer)| timer.at())
    }

    /// Takes one that has fired.
    pub fn fired(&mut self, now: Nanos) -> Option<(Due, ConnId)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(timer)| (timer.due(), timer.conn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_for_what_they_were_set() {
        let mut timers = Timers::default();
        let conn = |slot| ConnId { slot, generation: u32::MAX };
        for (slot, due) in Due::ALL.into_iter().enumerate() {
            timers.set(9, due, conn(slot as u32));
        }
        timers.set(Nanos::MAX, Due::Expiry, conn(7));
        timers.set(8, Due::Expiry, conn(6));
        assert_eq!((timers.next(), timers.fired(7)), (Some(8), None));
        assert_eq!(timers.fired(8), Some((Due::Expiry, conn(6))));
        for (slot, due) in Due::ALL.into_iter().enumerate() {
            assert_eq!(timers.fired(9), Some((due, conn(slot as u32))));
        }
        assert_eq!(timers.fired(1 << 60), None);
        assert_eq!(timers.fired(Nanos::MAX), Some((Due::Expiry, conn(7))));
    }
}
