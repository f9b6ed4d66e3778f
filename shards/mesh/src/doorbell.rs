//! Waking a core that sleeps, and only one that sleeps.

use crate::counter::Padded;
use crate::primitives::{AtomicBool, Ordering, fence};

/// One per consumer, shared by it and all its producers.
///
/// The consumer, before it sleeps: [`doze`](Self::doze), look at all its rings once more, sleep
/// only if all are empty; [`wake_up`](Self::wake_up) when it goes on. A producer, after it has
/// pushed: [`ring`](Self::ring), and if that says so, wake the consumer with a system call. Then
/// either the consumer sees what was pushed or the producer sees that it dozes.
pub struct Doorbell {
    asleep: Padded<AtomicBool>,
}

impl Doorbell {
    /// The doorbell of a consumer that is awake.
    #[must_use]
    pub fn new() -> Self {
        Self { asleep: Padded(AtomicBool::new(false)) }
    }

    /// Consumer: from here on producers ring. Look at the rings again before really sleeping.
    #[inline]
    pub fn doze(&self) {
        // A swap, though nobody needs the old value: it puts this doze after whatever ring ended
        // the one before. Once per sleep it costs nothing.
        self.asleep.swap(true, Ordering::AcqRel);
        // Pairs with the fence in `ring`: of "asleep, then look at the rings" here and "push, then
        // look whether asleep" there, at least one sees the other's write.
        fence(Ordering::SeqCst);
    }

    /// Consumer: awake again, for whatever reason. A producer may have rung already; the sleep that
    /// follows may then end at once without anything to do.
    #[inline]
    pub fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Producer: once after pushing a batch. True exactly once for each `doze`, to the producer
    /// that must now wake the consumer.
    #[inline]
    #[must_use]
    pub fn ring(&self) -> bool {
        // Pairs with the fence in `doze`.
        fence(Ordering::SeqCst);
        // The load keeps the line shared while the consumer is awake.
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }
}

impl Default for Doorbell {
    fn default() -> Self {
        Self::new()
    }
}
