//! The table of distinct patterns.

mod literals;
mod slab;
mod text;
mod trie;

use std::ops::{ControlFlow, Index, IndexMut};

use foldhash::fast::FixedState;

use self::literals::Literals;
use self::slab::Slab;
use self::trie::Trie;
use crate::pattern::{has_wildcard, well_formed};

/// "No node" or "no pattern" where an id is stored.
const NONE: u32 = u32::MAX;

/// Names one pattern of one [`Sublist`] from its insertion to its removal; then it may be reused.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct PatternId(u32);

impl PatternId {
    /// The id as a small number, for tables kept beside the sublist. The numbers in use are dense:
    /// always below the largest [`Sublist::len`] there has been.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Distinct patterns with one `T` each, matched against published subjects.
///
/// A literal pattern is an entry of a hash table, whose bytes live once, in the slab beside its
/// `T`. Patterns with wildcards are paths of a token trie. As long as there are none, a match is
/// one hash lookup. Memory: at most 64 bytes plus the pattern's own for each literal pattern, `T`
/// apart. At most 2^32 - 2 patterns.
pub struct Sublist<T> {
    slab: Slab<T>,
    literals: Literals,
    trie: Trie,
}

impl<T> Sublist<T> {
    /// An empty table. The seed keys its hashes and nothing else: neither ids nor the order of
    /// matches depend on it. An empty table has nothing allocated.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self { slab: Slab::new(), literals: Literals::new(hasher.clone()), trie: Trie::new(hasher) }
    }

    /// How many distinct patterns there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is no pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of the patterns have wildcards.
    #[must_use]
    pub fn wildcard_len(&self) -> usize {
        self.len() - self.literals.len()
    }

    /// The id of exactly this pattern.
    #[must_use]
    pub fn find(&self, pattern: &[u8]) -> Option<PatternId> {
        if has_wildcard(pattern) {
            self.trie.find(pattern).map(PatternId)
        } else {
            self.literals.find(pattern, &self.slab).map(PatternId)
        }
    }

    /// Adds a pattern that is not there yet. It must have no empty token and `>` only at the end
    /// (see [`crate::valid_pattern`]).
    ///
    /// # Panics
    /// With debug assertions, if the pattern is there already or is malformed.
    pub fn insert(&mut self, pattern: &[u8], value: T) -> PatternId {
        debug_assert!(well_formed(pattern), "malformed pattern {pattern:?}");
        debug_assert!(self.find(pattern).is_none(), "pattern inserted twice: {pattern:?}");
        let id = self.slab.insert(pattern, value);
        if has_wildcard(pattern) {
            self.trie.insert(pattern, id);
        } else {
            self.literals.insert(pattern, id);
        }
        PatternId(id)
    }

    /// Takes a pattern out and gives its value back. The id may be given to a later pattern.
    ///
    /// # Panics
    /// If the id names no pattern.
    pub fn remove(&mut self, id: PatternId) -> T {
        let pattern = self.slab.text(id.0);
        if has_wildcard(pattern) {
            self.trie.remove(pattern);
        } else {
            self.literals.remove(pattern, id.0);
        }
        self.slab.remove(id.0)
    }

    /// The bytes of a pattern.
    ///
    /// # Panics
    /// If the id names no pattern.
    #[must_use]
    pub fn pattern(&self, id: PatternId) -> &[u8] {
        self.slab.text(id.0)
    }

    /// All patterns in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (PatternId, &[u8], &T)> {
        self.slab.iter().map(|(id, pattern, value)| (PatternId(id), pattern, value))
    }

    /// Appends the patterns that match a published subject, each once; nothing if the subject has
    /// an empty token. The order depends on the patterns alone, not on how the table came to hold
    /// them: the literal one first, then token by token `>` before the token's own bytes before
    /// `*`.
    #[inline]
    pub fn matches(&self, subject: &[u8], out: &mut Vec<PatternId>) {
        self.visit(subject, |id| out.push(id));
    }

    /// As [`Sublist::matches`], one after the other. True if, the literal pattern apart, that did
    /// not depend on what the last token is, which must not be empty: the same patterns with
    /// wildcards match every subject with the same tokens before another last one.
    #[inline]
    pub fn visit(&self, subject: &[u8], mut visit: impl FnMut(PatternId)) -> bool {
        if let Some(id) = self.literals.find(subject, &self.slab) {
            visit(PatternId(id));
        }
        self.trie.is_empty() || self.trie.walk_all(subject, &mut |id| visit(PatternId(id)))
    }

    /// Whether there is a pattern without wildcards that is just this subject.
    #[must_use]
    #[inline]
    pub fn has_literal(&self, subject: &[u8]) -> bool {
        self.literals.len() > 0 && self.literals.find(subject, &self.slab).is_some()
    }

    /// Whether any pattern matches a published subject.
    #[must_use]
    pub fn has_match(&self, subject: &[u8]) -> bool {
        if self.literals.find(subject, &self.slab).is_some() {
            return true;
        }
        let mut found = false;
        let _ = self.trie.walk(subject, &mut |_| {
            found = true;
            ControlFlow::Break(())
        });
        found
    }
}

impl<T> Index<PatternId> for Sublist<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: PatternId) -> &T {
        self.slab.value(id.0)
    }
}

impl<T> IndexMut<PatternId> for Sublist<T> {
    #[inline]
    fn index_mut(&mut self, id: PatternId) -> &mut T {
        self.slab.value_mut(id.0)
    }
}
