//! Literal patterns: one hash table of ids.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::slab::Slab;

pub(super) struct Literals {
    table: HashTable<Key>,
    hasher: FixedState,
}

/// The hash stays beside the id: a lookup that finds nothing rarely leaves the table, and growing
/// the table reads no pattern.
#[derive(Copy, Clone)]
pub(super) struct Key {
    pub(super) tag: u32,
    pub(super) id: u32,
}

impl Key {
    /// The table takes its bucket from the low bits and its one-byte filter from the high ones.
    #[inline]
    pub(super) fn spread(tag: u32) -> u64 {
        u64::from(tag) << 32 | u64::from(tag)
    }
}

impl Literals {
    pub(super) fn new(hasher: FixedState) -> Self {
        Self { table: HashTable::new(), hasher }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub(super) fn find<T>(&self, subject: &[u8], slab: &Slab<T>) -> Option<u32> {
        if self.table.is_empty() {
            return None;
        }
        let tag = self.tag(subject);
        let same = |key: &Key| key.tag == tag && slab.text(key.id) == subject;
        self.table.find(Key::spread(tag), same).map(|key| key.id)
    }

    pub(super) fn insert(&mut self, pattern: &[u8], id: u32) {
        let tag = self.tag(pattern);
        self.table.insert_unique(Key::spread(tag), Key { tag, id }, |key| Key::spread(key.tag));
    }

    pub(super) fn remove(&mut self, pattern: &[u8], id: u32) {
        let tag = self.tag(pattern);
        if let Ok(entry) = self.table.find_entry(Key::spread(tag), |key| key.id == id) {
            entry.remove();
        }
        if self.table.is_empty() {
            self.table = HashTable::new();
        }
    }

    #[inline]
    fn tag(&self, bytes: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(bytes);
        let hash = hasher.finish();
        (hash ^ hash >> 32) as u32
    }
}
