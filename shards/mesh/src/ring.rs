//! The ring.

use std::cell::Cell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::counter::Padded;
use crate::primitives::{Arc, AtomicUsize, Ordering, UnsafeCell};

/// A ring of `capacity` slots from one thread to another. Its memory, `capacity * size_of::<T>()`,
/// is allocated here and never again.
///
/// # Panics
/// If the capacity is not a power of two.
#[must_use]
pub fn ring<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity.is_power_of_two(), "ring capacity {capacity} is not a power of two");
    let shared = Arc::new(Shared {
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        tail: Padded(AtomicUsize::new(0)),
        head: Padded(AtomicUsize::new(0)),
    });
    let sender = Sender { shared: shared.clone(), tail: 0, head_seen: 0, not_sync: PhantomData };
    let receiver = Receiver { shared, head: 0, tail_seen: 0, not_sync: PhantomData };
    (sender, receiver)
}

/// Positions count up forever and wrap with `usize`; a position's slot is the position modulo the
/// capacity. `head..tail` are the positions that hold an item.
struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Written by the sender alone.
    tail: Padded<AtomicUsize>,
    /// Written by the receiver alone.
    head: Padded<AtomicUsize>,
}

// SAFETY: items move from the sender's thread to the receiver's, which `T: Send` allows; none is
// ever referred to from both. Access to a slot is handed over by release stores and acquire loads
// of `tail` (to the receiver) and `head` (back to the sender).
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; whichever side is last drops what is left.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    #[inline]
    fn slot(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[position & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Both sides are gone, and dropping the `Arc` has made what they wrote visible here.
        let tail = self.tail.load(Ordering::Relaxed);
        let mut head = self.head.load(Ordering::Relaxed);
        while head != tail {
            // SAFETY: `head..tail` hold items, nobody else is left, and each is taken once.
            drop(self.slot(head).with(|slot| unsafe { (*slot).assume_init_read() }));
            head = head.wrapping_add(1);
        }
    }
}

/// The producer's end. May move to another thread, not be shared between threads:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<mesh::Sender<u8>>();
/// ```
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    /// The receiver's head when it was last looked at: a lower bound, so `free` errs to too little.
    head_seen: usize,
    not_sync: PhantomData<Cell<()>>,
}

impl<T> Sender<T> {
    /// How many items the ring can hold.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// How many items fit now, after a look at the receiver's progress. More may fit later, never
    /// less but for what is pushed.
    #[inline]
    pub fn free(&mut self) -> usize {
        self.head_seen = self.shared.head.load(Ordering::Acquire);
        self.free_seen()
    }

    #[inline]
    fn free_seen(&self) -> usize {
        self.capacity() - self.tail.wrapping_sub(self.head_seen)
    }

    /// Appends an item and shows it to the receiver.
    ///
    /// # Errors
    /// The item comes back if the ring is full.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.free_seen() == 0 && self.free() == 0 {
            return Err(item);
        }
        self.write(item);
        self.publish();
        Ok(())
    }

    /// Moves items from the front of `items` for as long as they fit, and shows them to the
    /// receiver all at once. Returns how many.
    #[inline]
    pub fn push_all(&mut self, items: &mut VecDeque<T>) -> usize {
        let mut fit = self.free_seen();
        if fit < items.len() {
            fit = self.free();
        }
        let count = fit.min(items.len());
        if count == 0 {
            return 0;
        }
        for item in items.drain(..count) {
            self.write(item);
        }
        self.publish();
        count
    }

    /// The caller has made sure that a slot is free.
    #[inline]
    fn write(&mut self, item: T) {
        // SAFETY: the slot at `tail` is free: `tail - head_seen < capacity`, and `head_seen` was
        // loaded with acquire, after the receiver had moved the slot's last item out. The receiver
        // does not touch it before `publish`.
        self.shared.slot(self.tail).with_mut(|slot| unsafe {
            (*slot).write(item);
        });
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline]
    fn publish(&self) {
        self.shared.tail.store(self.tail, Ordering::Release);
    }
}

/// The consumer's end. May move to another thread, not be shared between threads:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<mesh::Receiver<u8>>();
/// ```
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    /// The sender's tail when it was last looked at: a lower bound.
    tail_seen: usize,
    not_sync: PhantomData<Cell<()>>,
}

impl<T> Receiver<T> {
    /// How many items the ring can hold.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// How many items are waiting. More may be by the time it is known, never less.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.tail.load(Ordering::Acquire).wrapping_sub(self.head)
    }

    /// Whether no item is waiting.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves up to `max` items out, in the order they were pushed, and hands each to `take`; then
    /// gives all their slots back to the sender at once. Returns how many. If `take` panics, the
    /// items handed to it are gone and the rest stay.
    #[inline]
    pub fn drain(&mut self, max: usize, mut take: impl FnMut(T)) -> usize {
        let mut waiting = self.tail_seen.wrapping_sub(self.head);
        if waiting < max {
            self.tail_seen = self.shared.tail.load(Ordering::Acquire);
            waiting = self.tail_seen.wrapping_sub(self.head);
        }
        let count = waiting.min(max);
        if count == 0 {
            return 0;
        }
        let taken = Taken { shared: &self.shared, head: &mut self.head };
        for _ in 0..count {
            // SAFETY: `head` is before `tail_seen`, which was loaded with acquire after the sender
            // had written the item. Moving `head` on before anything else runs makes this the only
            // time it is read; the sender reuses the slot only once `head` is published.
            let item =
                taken.shared.slot(*taken.head).with(|slot| unsafe { (*slot).assume_init_read() });
            *taken.head = taken.head.wrapping_add(1);
            take(item);
        }
        count
    }
}

/// Publishes the receiver's head when the drain ends, also by a panic.
struct Taken<'a, T> {
    shared: &'a Shared<T>,
    head: &'a mut usize,
}

impl<T> Drop for Taken<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.shared.head.store(*self.head, Ordering::Release);
    }
}
