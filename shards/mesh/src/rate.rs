//! A bound on how often something may begin, shared by all cores. Not for a hot path.

use crate::primitives::{AtomicU64, Ordering};

const COUNT_BITS: u32 = 24;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const WINDOW_MS: u64 = 1000;

/// Counts in windows of a second, each of which starts with the first event after the last one.
#[derive(Default)]
pub struct Rate(AtomicU64);

impl Rate {
    /// An event `now_ms` milliseconds after some fixed beginning: may it be, with at most `max` of
    /// them in a window? It counts if so. Any `max` above 16 million is that.
    pub fn admits(&self, now_ms: u64, max: u64) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let (since, count) = (seen >> COUNT_BITS, seen & COUNT_MAX);
            let (since, count) = if count == 0 || now_ms >= since + WINDOW_MS {
                (now_ms, 0)
            } else {
                (since, count)
            };
            if count >= max.min(COUNT_MAX) {
                return false;
            }
            let next = since << COUNT_BITS | (count + 1);
            let swap = (Ordering::Relaxed, Ordering::Relaxed);
            match self.0.compare_exchange_weak(seen, next, swap.0, swap.1) {
                Ok(_) => return true,
                Err(other) => seen = other,
            }
        }
    }
}

impl std::fmt::Debug for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seen = self.0.load(Ordering::Relaxed);
        write!(f, "{} since {} ms", seen & COUNT_MAX, seen >> COUNT_BITS)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Rate;

    #[test]
    fn a_second_admits_so_many() {
        let rate = Rate::default();
        let admitted = |at: u64, events: usize| (0..events).filter(|_| rate.admits(at, 3)).count();
        assert_eq!(admitted(0, 5), 3);
        assert_eq!(admitted(999, 5), 0);
        assert_eq!(admitted(1000, 2), 2);
        assert_eq!(admitted(1500, 5), 1);
        assert_eq!(admitted(9000, 5), 3);
        assert!(!Rate::default().admits(0, 0));
    }

    #[test]
    fn cores_share_it() {
        let rate = Rate::default();
        let count = || (0..1000).filter(|_| rate.admits(5, 700)).count();
        let all = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().expect("counts")).sum::<usize>()
        });
        assert_eq!(all, 700);
    }
}
