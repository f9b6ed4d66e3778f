//! Slowing publishers for a receiver that is behind but draining, and letting go of one that is
//! stuck.
//!
//! A receiver earns patience by showing how long it takes between two signs of progress, and with
//! what it has taken before: more than its limit, and it has [`PATIENCE_PROVEN`] from the start, so
//! that a pause of its collector of garbage is not its end. One that has shown nothing gets
//! [`PATIENCE_MIN`] and is then left to run into its limit, so that it costs the others next to
//! nothing.

use std::collections::VecDeque;

use hashbrown::{HashMap, HashSet};

use foldhash::fast::FixedState;

use crate::ids::{ConnId, Nanos, ShardId};
use crate::interest::Plan;
use crate::limits::{PATIENCE_MAX, PATIENCE_MIN, PATIENCE_PROVEN};

/// A publisher anywhere on this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Publisher {
    pub shard: ShardId,
    pub conn: ConnId,
}

/// Receivers of this shard that publishers wait for.
pub(crate) struct Stalls {
    behind: HashMap<ConnId, Behind, FixedState>,
    /// Those that nobody need wait for any more. Whoever still does goes on one after the other:
    /// what one of them brings may be too much for the next.
    relieved: VecDeque<ConnId>,
    /// Plans are looked at anew once another receiver has fallen behind.
    fallen: u64,
}

struct Behind {
    /// Those who have waited longest come first.
    waiting: VecDeque<Publisher>,
    /// Who is in `waiting`.
    known: HashSet<Publisher, FixedState>,
    /// Publishers of peers that have gone on, and may not have said yet what they had to.
    away: usize,
    /// As first asked after the wait began; none before.
    acked_bytes: Option<u64>,
    progress_at: Nanos,
    patience_ns: Nanos,
}

impl Stalls {
    pub fn new(seed: u64) -> Stalls {
        Stalls {
            behind: HashMap::with_hasher(FixedState::with_seed(seed)),
            relieved: VecDeque::new(),
            fallen: 0,
        }
    }

    /// The receiver has just become one that publishers wait for, perhaps once more.
    pub fn begin(&mut self, receiver: ConnId, now: Nanos) {
        self.fallen += 1;
        self.relieved.retain(|relieved| *relieved != receiver);
        let behind = self.behind.entry(receiver).or_insert_with(|| Behind {
            waiting: VecDeque::new(),
            known: HashSet::with_hasher(FixedState::default()),
            away: 0,
            acked_bytes: None,
            progress_at: now,
            patience_ns: PATIENCE_MIN,
        });
        behind.acked_bytes = None;
        behind.progress_at = now;
        behind.patience_ns = PATIENCE_MIN;
    }

    /// Is there a receiver that publishers wait for?
    #[inline]
    pub fn any(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Is it known that a plan reaches nobody who is behind?
    pub fn is_clear(&self, plan: &Plan) -> bool {
        plan.clear_since.get() == self.fallen
    }

    /// A plan reaches nobody who is behind.
    pub fn clears(&self, plan: &Plan) {
        plan.clear_since.set(self.fallen);
    }

    /// A publisher waits for it. False if it did already.
    pub fn wait(&mut self, receiver: ConnId, publisher: Publisher) -> bool {
        let Some(behind) = self.behind.get_mut(&receiver) else { return false };
        let is_new = behind.known.insert(publisher);
        if is_new {
            behind.waiting.push_back(publisher);
        }
        is_new
    }

    /// The peer is known to have taken this many bytes since the connection began, of which so many
    /// may wait for it. False if it has shown no progress for longer than its patience lasts.
    pub fn progress(
        &mut self,
        receiver: ConnId,
        acked_bytes: u64,
        pending_bytes_max: u64,
        now: Nanos,
    ) -> bool {
        let Some(behind) = self.behind.get_mut(&receiver) else { return true };
        let idle = now.saturating_sub(behind.progress_at);
        if acked_bytes > pending_bytes_max {
            behind.patience_ns = behind.patience_ns.max(PATIENCE_PROVEN);
        }
        let before = *behind.acked_bytes.get_or_insert(acked_bytes);
        if acked_bytes > before {
            behind.acked_bytes = Some(acked_bytes);
            behind.progress_at = now;
            behind.patience_ns = behind.patience_ns.max(2 * idle).min(PATIENCE_MAX);
            return true;
        }
        idle < behind.patience_ns
    }

    /// Nobody need wait for it any more: see [`Stalls::release`].
    pub fn relieve(&mut self, receiver: ConnId) {
        match self.behind.get(&receiver) {
            Some(behind) if behind.waiting.is_empty() => self.forget(receiver),
            Some(_) if !self.relieved.contains(&receiver) => self.relieved.push_back(receiver),
            Some(_) | None => {}
        }
    }

    /// The receiver whose publishers go on next.
    #[inline]
    pub fn relieved(&self) -> Option<ConnId> {
        self.relieved.front().copied()
    }

    /// Whoever has waited longest for a receiver does so no longer.
    pub fn release(&mut self, receiver: ConnId) -> Option<Publisher> {
        let behind = self.behind.get_mut(&receiver)?;
        let publisher = behind.waiting.pop_front()?;
        behind.known.remove(&publisher);
        if behind.waiting.is_empty() {
            self.forget(receiver);
        }
        Some(publisher)
    }

    /// A publisher of a peer goes on, and so may others of `at_once`. False if they are all gone:
    /// nobody else does until [`Stalls::resume`].
    pub fn goes_away(&mut self, receiver: ConnId, at_once: usize) -> bool {
        let Some(behind) = self.behind.get_mut(&receiver) else { return true };
        behind.away += 1;
        let full = behind.away >= at_once;
        if full {
            self.relieved.retain(|relieved| *relieved != receiver);
        }
        !full
    }

    /// What publishers of peers had to say is here: the next ones may go on.
    pub fn resume(&mut self, receiver: ConnId) {
        if let Some(behind) = self.behind.get_mut(&receiver) {
            behind.away = 0;
            self.relieve(receiver);
        }
    }

    fn forget(&mut self, receiver: ConnId) {
        self.behind.remove(&receiver);
        self.relieved.retain(|relieved| *relieved != receiver);
    }

    /// A publisher of this shard is gone.
    pub fn withdraw(&mut self, publisher: Publisher) {
        let knows = |behind: &mut Behind| behind.known.remove(&publisher);
        let receivers: Vec<ConnId> = self
            .behind
            .iter_mut()
            .filter_map(|(receiver, behind)| knows(behind).then_some(*receiver))
            .collect();
        for receiver in receivers {
            let Some(behind) = self.behind.get_mut(&receiver) else { continue };
            behind.waiting.retain(|waiting| *waiting != publisher);
            if behind.waiting.is_empty() && self.relieved.contains(&receiver) {
                self.forget(receiver);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MILLIS;

    const SLOW: ConnId = ConnId { slot: 1, generation: 0 };
    const LIMIT: u64 = 10_000;

    #[test]
    fn patience_ends_for_one_that_never_moves() {
        let mut stalls = Stalls::new(1);
        stalls.begin(SLOW, 0);
        // What was acknowledged before the wait began is no progress.
        assert!(stalls.progress(SLOW, 5000, LIMIT, PATIENCE_MIN - 1));
        assert!(!stalls.progress(SLOW, 5000, LIMIT, PATIENCE_MIN));
    }

    #[test]
    fn patience_is_longer_with_one_that_has_taken_more_than_its_limit() {
        for (acked_bytes, patience) in [(LIMIT, PATIENCE_MIN), (LIMIT + 1, PATIENCE_PROVEN)] {
            let mut stalls = Stalls::new(1);
            stalls.begin(SLOW, 0);
            assert!(stalls.progress(SLOW, acked_bytes, LIMIT, patience - 1));
            assert!(!stalls.progress(SLOW, acked_bytes, LIMIT, patience));
        }
    }

    #[test]
    fn patience_grows_with_the_gaps_shown() {
        let mut stalls = Stalls::new(1);
        stalls.begin(SLOW, 0);
        assert!(stalls.progress(SLOW, 0, LIMIT, 20 * MILLIS));
        assert!(stalls.progress(SLOW, 1, LIMIT, 90 * MILLIS));
        assert!(stalls.progress(SLOW, 1, LIMIT, 260 * MILLIS));
        assert!(stalls.progress(SLOW, 2, LIMIT, 261 * MILLIS));
        assert!(stalls.progress(SLOW, 2, LIMIT, 600 * MILLIS));
        assert!(!stalls.progress(SLOW, 2, LIMIT, 604 * MILLIS));
    }

    #[test]
    fn a_publisher_waits_once_and_goes_on_when_those_before_it_have() {
        let mut stalls = Stalls::new(1);
        let publisher =
            |slot| Publisher { shard: ShardId(0), conn: ConnId { slot, generation: 1 } };
        stalls.begin(SLOW, 0);
        assert!(stalls.wait(SLOW, publisher(4)));
        assert!(stalls.wait(SLOW, publisher(2)));
        assert!(!stalls.wait(SLOW, publisher(4)));
        stalls.relieve(SLOW);
        stalls.relieve(SLOW);
        assert_eq!((stalls.relieved(), stalls.release(SLOW)), (Some(SLOW), Some(publisher(4))));
        // What that one brought was too much: it waits behind the other.
        stalls.begin(SLOW, 0);
        assert!(stalls.wait(SLOW, publisher(4)) && stalls.relieved().is_none());
        stalls.relieve(SLOW);
        assert_eq!(stalls.release(SLOW), Some(publisher(2)));
        assert_eq!((stalls.relieved(), stalls.any()), (Some(SLOW), true));
        assert_eq!(stalls.release(SLOW), Some(publisher(4)));
        assert_eq!((stalls.relieved(), stalls.any()), (None, false));
    }

    #[test]
    fn nobody_goes_on_where_nobody_waits() {
        let mut stalls = Stalls::new(1);
        stalls.begin(SLOW, 0);
        assert!(stalls.any());
        stalls.relieve(SLOW);
        assert_eq!((stalls.relieved(), stalls.any()), (None, false));
    }

    #[test]
    fn a_publisher_that_is_gone_waits_for_nobody() {
        let mut stalls = Stalls::new(1);
        let publisher =
            |slot| Publisher { shard: ShardId(0), conn: ConnId { slot, generation: 1 } };
        stalls.begin(SLOW, 0);
        assert!(stalls.wait(SLOW, publisher(2)) && stalls.wait(SLOW, publisher(4)));
        stalls.withdraw(publisher(2));
        stalls.relieve(SLOW);
        assert_eq!(stalls.relieved(), Some(SLOW), "there is another");
        stalls.withdraw(publisher(4));
        assert!(stalls.relieved().is_none() && !stalls.any());
    }
}
