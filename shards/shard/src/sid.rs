//! A client's names for its subscriptions.

use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Longest sid kept in place.
const INLINE_MAX: usize = 14;

/// Opaque bytes, nearly always a short number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sid(Repr);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Repr {
    Inline {
        len: u8,
        bytes: [u8; INLINE_MAX],
    },
    /// A thin pointer: a long name is rare, and must not make the short ones larger.
    Shared(Rc<Box<[u8]>>),
}

const _: () = assert!(size_of::<Sid>() == 16);

impl Sid {
    pub fn new(sid: &[u8]) -> Sid {
        if sid.len() > INLINE_MAX {
            return Sid(Repr::Shared(Rc::new(sid.into())));
        }
        let mut bytes = [0; INLINE_MAX];
        bytes[..sid.len()].copy_from_slice(sid);
        Sid(Repr::Inline { len: sid.len() as u8, bytes })
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
        }
    }
}

/// Index of a subscription in its shard's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubId(pub u32);

/// One connection's subscriptions by sid: a short list, a hash table when it grows. Their names are
/// where the subscriptions are.
pub(crate) enum Sids {
    /// Most connections have one, in place.
    One(Option<SubId>),
    Few(Vec<SubId>),
    Many(Box<HashTable<SubId>>),
}

/// Up to this many a list is searched from end to end.
const FEW_MAX: usize = 12;

impl Default for Sids {
    fn default() -> Sids {
        Sids::One(None)
    }
}

impl Sids {
    pub fn len(&self) -> usize {
        match self {
            Sids::One(one) => one.iter().len(),
            Sids::Few(list) => list.len(),
            Sids::Many(table) => table.len(),
        }
    }

    pub fn find(&self, sid: &[u8], names: &impl Names) -> Option<SubId> {
        let is_it = |sub: &SubId| names.name(*sub) == sid;
        match self {
            Sids::One(one) => one.filter(is_it),
            Sids::Few(list) => list.iter().copied().find(is_it),
            Sids::Many(table) => table.find(hash(sid), is_it).copied(),
        }
    }

    /// Adds a subscription whose name is not there yet.
    pub fn insert(&mut self, sub: SubId, names: &impl Names) {
        let hashed = |sub: &SubId| hash(names.name(*sub));
        match self {
            Sids::One(Some(one)) => *self = Sids::Few(vec![*one, sub]),
            Sids::One(one) => *one = Some(sub),
            Sids::Few(list) if list.len() < FEW_MAX => {
                list.reserve_exact(1);
                list.push(sub);
            }
            Sids::Few(list) => {
                let mut table = HashTable::with_capacity(2 * FEW_MAX);
                for sub in list.drain(..).chain([sub]) {
                    table.insert_unique(hashed(&sub), sub, hashed);
                }
                *self = Sids::Many(Box::new(table));
            }
            Sids::Many(table) => {
                table.insert_unique(hashed(&sub), sub, hashed);
            }
        }
    }

    /// Takes a subscription out, which must still have its name.
    pub fn remove(&mut self, sid: &[u8], names: &impl Names) -> Option<SubId> {
        let is_it = |sub: &SubId| names.name(*sub) == sid;
        match self {
            Sids::One(one) => one.take_if(|sub| is_it(sub)),
            Sids::Few(list) => {
                let at = list.iter().position(is_it)?;
                Some(list.swap_remove(at))
            }
            Sids::Many(table) => Some(table.find_entry(hash(sid), is_it).ok()?.remove().0),
        }
    }

    /// All subscriptions, oldest table slot first: what peers see of it must not depend on hashing.
    pub fn in_order(&self) -> Vec<SubId> {
        let mut subs: Vec<SubId> = match self {
            Sids::One(one) => one.iter().copied().collect(),
            Sids::Few(list) => list.clone(),
            Sids::Many(table) => table.iter().copied().collect(),
        };
        sort(&mut subs);
        subs
    }
}

/// Of many, each has its bit, which is several times as fast as to compare them.
fn sort(subs: &mut Vec<SubId>) {
    let words = subs.iter().map(|sub| sub.0 as usize / 64 + 1).max().unwrap_or(0);
    if words > subs.len() {
        return subs.sort_unstable();
    }
    let mut bits = vec![0u64; words];
    for sub in subs.drain(..) {
        bits[sub.0 as usize / 64] |= 1 << (sub.0 % 64);
    }
    for (at, mut word) in bits.into_iter().enumerate() {
        while word != 0 {
            subs.push(SubId(at as u32 * 64 + word.trailing_zeros()));
            word &= word - 1;
        }
    }
}

/// Where subscriptions' names are.
pub(crate) trait Names {
    fn name(&self, sub: SubId) -> &[u8];
}

fn hash(sid: &[u8]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(sid);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sids_of_any_length_compare_by_bytes() {
        for len in [0, 1, 14, 15, 300] {
            let bytes = vec![b'7'; len];
            assert_eq!(Sid::new(&bytes).as_bytes(), bytes);
            assert_eq!(Sid::new(&bytes), Sid::new(&bytes));
        }
    }

    /// Every subscription is called by its number.
    struct Numbers(Vec<String>);

    impl Names for Numbers {
        fn name(&self, sub: SubId) -> &[u8] {
            self.0[sub.0 as usize].as_bytes()
        }
    }

    #[test]
    fn a_growing_table_keeps_every_name() {
        let names = Numbers((0..100).map(|n: u32| n.to_string()).collect());
        let mut sids = Sids::default();
        for n in 0..100u32 {
            sids.insert(SubId(n), &names);
            assert_eq!(sids.len(), n as usize + 1);
        }
        for n in 0..100u32 {
            assert_eq!(sids.find(n.to_string().as_bytes(), &names), Some(SubId(n)));
        }
        assert_eq!(sids.remove(b"41", &names), Some(SubId(41)));
        assert_eq!(sids.remove(b"41", &names), None);
        assert_eq!(sids.in_order().len(), 99);
    }

    #[test]
    fn they_are_in_order_however_far_apart_they_are() {
        for far in [1, 2, 63, 64, 65, 1000] {
            let mut subs: Vec<SubId> = (0..200).map(|n| SubId(n * 77 % 200 * far)).collect();
            sort(&mut subs);
            let wanted: Vec<SubId> = (0..200).map(|n| SubId(n * far)).collect();
            assert_eq!(subs, wanted);
        }
        sort(&mut Vec::new());
    }
}
