//! Slowing publishers for a receiver that is behind but draining, and letting go of one that is
//! stuck.
//!
//! A receiver earns patience by showing how long it takes between two signs of progress, and with
//! what it has taken before: more than its limit, and it has [`PATIENCE_PROVEN`] from the start, so
//! that a pause of its collector of garbage is not its end. One that has shown nothing gets
//! [`PATIENCE_MIN`] and is then left to run into its limit, so that it costs the others next to
//! nothing.

use hashbrown::HashMap;

use foldhash::fast::FixedState;

use crate::ids::{ConnId, Nanos, ShardId};
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
}

struct Behind {
    waiting: HashMap<Publisher, (), FixedState>,
    /// As first asked after the wait began; none before.
    acked_bytes: Option<u64>,
    progress_at: Nanos,
    patience_ns: Nanos,
}

impl Stalls {
    pub fn new(seed: u64) -> Stalls {
        Stalls { behind: HashMap::with_hasher(FixedState::with_seed(seed)) }
    }

    /// The receiver has just become one that publishers wait for.
    pub fn begin(&mut self, receiver: ConnId, now: Nanos) {
        self.behind.entry(receiver).or_insert_with(|| Behind {
            waiting: HashMap::with_hasher(FixedState::default()),
            acked_bytes: None,
            progress_at: now,
            patience_ns: PATIENCE_MIN,
        });
    }

    /// A publisher waits for it. False if it did already.
    pub fn wait(&mut self, receiver: ConnId, publisher: Publisher) -> bool {
        let Some(behind) = self.behind.get_mut(&receiver) else { return false };
        behind.waiting.insert(publisher, ()).is_none()
    }

    /// Is anybody waiting for it?
    pub fn is_waited_for(&self, receiver: ConnId) -> bool {
        self.behind.contains_key(&receiver)
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

    /// Nobody need wait for it any more. Gives who did, in order.
    pub fn end(&mut self, receiver: ConnId) -> Vec<Publisher> {
        let Some(behind) = self.behind.remove(&receiver) else { return Vec::new() };
        let mut waiting: Vec<Publisher> = behind.waiting.into_keys().collect();
        waiting.sort_unstable();
        waiting
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
    fn a_publisher_waits_once() {
        let mut stalls = Stalls::new(1);
        let publisher =
            |slot| Publisher { shard: ShardId(0), conn: ConnId { slot, generation: 1 } };
        stalls.begin(SLOW, 0);
        assert!(stalls.wait(SLOW, publisher(4)));
        assert!(stalls.wait(SLOW, publisher(2)));
        assert!(!stalls.wait(SLOW, publisher(4)));
        assert_eq!(stalls.end(SLOW), [publisher(2), publisher(4)]);
        assert!(stalls.end(SLOW).is_empty() && !stalls.is_waited_for(SLOW));
    }
}
