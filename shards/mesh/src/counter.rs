//! Numbers one core keeps and others read.

use std::ops::{Deref, DerefMut};

use crate::primitives::{AtomicU64, Ordering};

/// A counter or gauge of a report. All operations are relaxed: a reader gets some recent value of
/// each counter, and no order between counters. `add` and `sub` are right from any number of
/// threads at some 5 ns each; a hot path counts in a plain `u64` and calls `set` once per turn.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at a first value.
    #[must_use]
    pub fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Adds; wraps around at 2^64.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Subtracts; wraps around below zero.
    #[inline]
    pub fn sub(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Replaces the value, as cheap as a plain store.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Some recent value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.value().fmt(f)
    }
}

/// A value with cache lines of its own, so that a core writing it does not slow others down that
/// use its neighbours. 128 bytes: the prefetcher takes lines in pairs. Group the counters one core
/// writes in one struct and pad that, not each of them.
#[derive(Default, Debug)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

impl<T> Deref for Padded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Padded<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
