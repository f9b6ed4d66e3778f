//! Patterns and their values by id.

use super::NONE;
use super::text::Text;

/// Ids are positions; a freed one is the next to be given out.
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    len: usize,
}

enum Slot<T> {
    Taken { text: Text, value: T },
    Free { next: u32 },
}

// The tag of `Text` has room for the tag of the slot.
const _: () = assert!(size_of::<Slot<u64>>() == 40);

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: NONE, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, text: &[u8], value: T) -> u32 {
        let slot = Slot::Taken { text: Text::new(text), value };
        self.len += 1;
        if self.free == NONE {
            return self.push(slot);
        }
        let id = self.free;
        let Slot::Free { next } = std::mem::replace(&mut self.slots[id as usize], slot) else {
            unreachable!("slot {id} of the free list is taken");
        };
        self.free = next;
        id
    }

    /// Grows by a quarter, not by doubling: the slack is part of what a pattern may cost.
    fn push(&mut self, slot: Slot<T>) -> u32 {
        let id = self.slots.len();
        assert!(id < NONE as usize - 1, "a sublist holds at most 2^32 - 2 patterns");
        if id == self.slots.capacity() {
            self.slots.reserve_exact(id / 4 + 4);
        }
        self.slots.push(slot);
        id as u32
    }

    pub(super) fn remove(&mut self, id: u32) -> T {
        let slot = &mut self.slots[id as usize];
        let Slot::Taken { value, .. } = std::mem::replace(slot, Slot::Free { next: self.free })
        else {
            vacant(id);
        };
        self.free = id;
        self.len -= 1;
        if self.len == 0 {
            // The last one gone: give the memory of a once large table back.
            *self = Self::new();
        }
        value
    }

    #[inline]
    pub(super) fn text(&self, id: u32) -> &[u8] {
        match &self.slots[id as usize] {
            Slot::Taken { text, .. } => text.bytes(),
            Slot::Free { .. } => vacant(id),
        }
    }

    #[inline]
    pub(super) fn value(&self, id: u32) -> &T {
        match &self.slots[id as usize] {
            Slot::Taken { value, .. } => value,
            Slot::Free { .. } => vacant(id),
        }
    }

    #[inline]
    pub(super) fn value_mut(&mut self, id: u32) -> &mut T {
        match &mut self.slots[id as usize] {
            Slot::Taken { value, .. } => value,
            Slot::Free { .. } => vacant(id),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u8], &T)> {
        self.slots.iter().enumerate().filter_map(|(id, slot)| match slot {
            Slot::Taken { text, value } => Some((id as u32, text.bytes(), value)),
            Slot::Free { .. } => None,
        })
    }
}

#[cold]
fn vacant(id: u32) -> ! {
    panic!("pattern {id} has been removed");
}
