//! Names for the things a shard talks about. All are plain numbers, valid on every core.

/// A shard of this server, counted from 0. One shard is one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard's place in arrays that have one entry per shard.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A connection of one shard: a slot of its table and how often that slot has been used.
///
/// Slots are given out by whoever drives the shard; a stale id never reaches a newer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Index in the shard's connection table.
    pub slot: u32,
    /// Counts the connections that have lived in this slot.
    pub generation: u32,
}

impl ConnId {
    /// The slot as an array index.
    pub fn index(self) -> usize {
        self.slot as usize
    }

    /// Both halves in one word, for frames and ring tags.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The inverse of [`ConnId::to_bits`].
    pub fn from_bits(bits: u64) -> ConnId {
        ConnId { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// An account, part of every routing key. Numbered alike on every shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AccountId(pub u32);

impl AccountId {
    /// The account of everybody who has not been given another one.
    pub const GLOBAL: AccountId = AccountId(0);
    /// Its name on the wire.
    pub const GLOBAL_NAME: &'static str = "$G";
}

/// A point in time: nanoseconds since an origin the driver chose. Only differences mean anything.
pub type Nanos = u64;
