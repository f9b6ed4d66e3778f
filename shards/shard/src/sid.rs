//! A client's names for its subscriptions.

use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Longest sid kept in place.
const INLINE_MAX: usize = 14;

/// Opaque bytes, nearly always a short number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sid(Repr);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_MAX] },
    Shared(Rc<[u8]>),
}

impl Sid {
    pub fn new(sid: &[u8]) -> Sid {
        if sid.len() > INLINE_MAX {
            return Sid(Repr::Shared(sid.into()));
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

/// One connection's subscriptions by sid: a short list, a hash table when it grows.
pub(crate) enum Sids {
    Few(Vec<(Sid, SubId)>),
    Many(HashMap<Sid, SubId, FixedState>),
}

/// Up to this many a list is searched from end to end.
const FEW_MAX: usize = 12;

impl Default for Sids {
    fn default() -> Sids {
        Sids::Few(Vec::new())
    }
}

impl Sids {
    pub fn len(&self) -> usize {
        match self {
            Sids::Few(list) => list.len(),
            Sids::Many(map) => map.len(),
        }
    }

    pub fn find(&self, sid: &[u8]) -> Option<SubId> {
        match self {
            Sids::Few(list) => {
                list.iter().find(|(name, _)| name.as_bytes() == sid).map(|(_, sub)| *sub)
            }
            Sids::Many(map) => map.get(&Sid::new(sid)).copied(),
        }
    }

    /// Adds a name that is not there yet.
    pub fn insert(&mut self, sid: Sid, sub: SubId) {
        match self {
            Sids::Few(list) if list.len() < FEW_MAX => {
                list.reserve_exact(1);
                list.push((sid, sub));
            }
            Sids::Few(list) => {
                let mut map = HashMap::with_hasher(FixedState::default());
                map.extend(list.drain(..));
                map.insert(sid, sub);
                *self = Sids::Many(map);
            }
            Sids::Many(map) => {
                map.insert(sid, sub);
            }
        }
    }

    pub fn remove(&mut self, sid: &[u8]) -> Option<SubId> {
        match self {
            Sids::Few(list) => {
                let at = list.iter().position(|(name, _)| name.as_bytes() == sid)?;
                Some(list.swap_remove(at).1)
            }
            Sids::Many(map) => map.remove(&Sid::new(sid)),
        }
    }

    /// All subscriptions, oldest table slot first: what peers see of it must not depend on hashing.
    pub fn in_order(&self) -> Vec<SubId> {
        let mut subs: Vec<SubId> = match self {
            Sids::Few(list) => list.iter().map(|(_, sub)| *sub).collect(),
            Sids::Many(map) => map.values().copied().collect(),
        };
        subs.sort_unstable();
        subs
    }
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

    #[test]
    fn a_growing_table_keeps_every_name() {
        let mut sids = Sids::default();
        for n in 0..100u32 {
            sids.insert(Sid::new(n.to_string().as_bytes()), SubId(n));
            assert_eq!(sids.len(), n as usize + 1);
        }
        for n in 0..100u32 {
            assert_eq!(sids.find(n.to_string().as_bytes()), Some(SubId(n)));
        }
        assert_eq!(sids.remove(b"41"), Some(SubId(41)));
        assert_eq!(sids.remove(b"41"), None);
        assert_eq!(sids.in_order().len(), 99);
    }
}
