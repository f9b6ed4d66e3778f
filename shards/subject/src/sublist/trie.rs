//! Patterns with wildcards: a trie of tokens.

use std::hash::{BuildHasher, Hasher};
use std::ops::ControlFlow;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::NONE;
use super::literals::Key;
use super::text::Text;
use crate::pattern::well_formed;
use crate::token::{has_empty_token, token_end, tokens};

const ROOT: u32 = 0;

/// Nodes live in one arena; the edges that are named by a token live in one table keyed by (parent,
/// token), however many nodes there are. Without patterns there is no node either, not even a root.
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// Head of the list of unused nodes, linked through `parent`.
    free: u32,
    edges: HashTable<Key>,
    hasher: FixedState,
}

struct Node {
    parent: u32,
    /// The child behind `*`.
    star: u32,
    /// The pattern that ends with `>` right after this node.
    rest: u32,
    /// The pattern that ends here.
    here: u32,
    /// How many children are behind a token of their own.
    named: u32,
    /// The token that leads here; empty for the root and behind `*`.
    token: Text,
}

impl Node {
    fn new(parent: u32, token: &[u8]) -> Self {
        let token = Text::new(token);
        Self { parent, star: NONE, rest: NONE, here: NONE, named: 0, token }
    }

    fn is_bare(&self) -> bool {
        self.star == NONE && self.rest == NONE && self.here == NONE && self.named == 0
    }
}

impl Trie {
    pub(super) fn new(hasher: FixedState) -> Self {
        Self { nodes: Vec::new(), free: NONE, edges: HashTable::new(), hasher }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn find(&self, pattern: &[u8]) -> Option<u32> {
        if self.is_empty() || !well_formed(pattern) {
            return None;
        }
        let mut node = ROOT;
        for token in tokens(pattern) {
            if token == b">" {
                let rest = self.nodes[node as usize].rest;
                return (rest != NONE).then_some(rest);
            }
            node = self.child(node, token);
            if node == NONE {
                return None;
            }
        }
        let here = self.nodes[node as usize].here;
        (here != NONE).then_some(here)
    }

    pub(super) fn insert(&mut self, pattern: &[u8], id: u32) {
        if self.is_empty() {
            self.nodes.push(Node::new(NONE, b""));
        }
        let mut node = ROOT;
        for token in tokens(pattern) {
            if token == b">" {
                self.nodes[node as usize].rest = id;
                return;
            }
            node = match self.child(node, token) {
                NONE => self.add_child(node, token),
                child => child,
            };
        }
        self.nodes[node as usize].here = id;
    }

    pub(super) fn remove(&mut self, pattern: &[u8]) {
        let mut node = ROOT;
        for token in tokens(pattern) {
            if token == b">" {
                self.nodes[node as usize].rest = NONE;
                return self.prune(node);
            }
            node = self.child(node, token);
        }
        self.nodes[node as usize].here = NONE;
        self.prune(node);
    }

    #[inline]
    fn child(&self, parent: u32, token: &[u8]) -> u32 {
        if token == b"*" {
            return self.nodes[parent as usize].star;
        }
        self.named_child(parent, token)
    }

    #[inline]
    fn named_child(&self, parent: u32, token: &[u8]) -> u32 {
        let tag = self.tag(parent, token);
        let same = |key: &Key| {
            let node = &self.nodes[key.id as usize];
            key.tag == tag && node.parent == parent && node.token.bytes() == token
        };
        self.edges.find(Key::spread(tag), same).map_or(NONE, |key| key.id)
    }

    fn add_child(&mut self, parent: u32, token: &[u8]) -> u32 {
        if token == b"*" {
            let id = self.add_node(Node::new(parent, b""));
            self.nodes[parent as usize].star = id;
            return id;
        }
        let tag = self.tag(parent, token);
        let id = self.add_node(Node::new(parent, token));
        self.edges.insert_unique(Key::spread(tag), Key { tag, id }, |key| Key::spread(key.tag));
        self.nodes[parent as usize].named += 1;
        id
    }

    fn add_node(&mut self, node: Node) -> u32 {
        if self.free == NONE {
            let id = self.nodes.len();
            assert!(id < NONE as usize - 1, "a sublist holds at most 2^32 - 2 nodes");
            self.nodes.push(node);
            return id as u32;
        }
        let id = self.free;
        self.free = self.nodes[id as usize].parent;
        self.nodes[id as usize] = node;
        id
    }

    /// Frees a node and those above it for as long as no pattern needs them.
    fn prune(&mut self, mut id: u32) {
        while self.nodes[id as usize].is_bare() {
            if id == ROOT {
                // The last pattern gone: give the memory back.
                *self = Self::new(self.hasher.clone());
                return;
            }
            let free = Node::new(self.free, b"");
            let node = std::mem::replace(&mut self.nodes[id as usize], free);
            self.free = id;
            self.unlink(id, &node);
            id = node.parent;
        }
    }

    fn unlink(&mut self, id: u32, node: &Node) {
        let parent = &mut self.nodes[node.parent as usize];
        if parent.star == id {
            parent.star = NONE;
            return;
        }
        parent.named -= 1;
        let tag = self.tag(node.parent, node.token.bytes());
        if let Ok(entry) = self.edges.find_entry(Key::spread(tag), |key| key.id == id) {
            entry.remove();
        }
    }

    #[inline]
    fn tag(&self, parent: u32, token: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(parent);
        hasher.write(token);
        let hash = hasher.finish();
        (hash ^ hash >> 32) as u32
    }

    /// Visits the patterns that match, each once, until `visit` breaks. Allocates nothing.
    #[inline]
    pub(super) fn walk<F>(&self, subject: &[u8], visit: &mut F) -> ControlFlow<()>
    where
        F: FnMut(u32) -> ControlFlow<()>,
    {
        if self.is_empty() {
            return ControlFlow::Continue(());
        }
        self.walker(subject, visit).from(ROOT, 0)
    }

    /// As [`Trie::walk`], to the end. True if nothing depended on what the last token is.
    #[inline]
    pub(super) fn walk_all(&self, subject: &[u8], visit: &mut impl FnMut(u32)) -> bool {
        let visit = &mut |id| {
            visit(id);
            ControlFlow::Continue(())
        };
        let mut walk = self.walker(subject, visit);
        let _ = walk.from(ROOT, 0);
        !walk.asked_last
    }

    #[inline]
    fn walker<'a, F>(&'a self, subject: &'a [u8], visit: &'a mut F) -> Walk<'a, F> {
        assert!(subject.len() < NONE as usize, "a subject is shorter than 4 GiB");
        Walk { trie: self, subject, no_empty_token: false, asked_last: false, visit }
    }
}

struct Walk<'a, F> {
    trie: &'a Trie,
    subject: &'a [u8],
    /// Whether the subject has been looked through. Only a `>` needs that: on any other way to a
    /// pattern the walk meets all tokens itself.
    no_empty_token: bool,
    /// Whether some node has named children where the last token leads on.
    asked_last: bool,
    visit: &'a mut F,
}

impl<F: FnMut(u32) -> ControlFlow<()>> Walk<'_, F> {
    /// Visits what matches below a node that the tokens before `start` lead to.
    #[inline]
    fn from(&mut self, mut id: u32, mut start: usize) -> ControlFlow<()> {
        let mut later = Later { branches: [(0, 0); BRANCHES], len: 0 };
        loop {
            let (star, named, next) = self.step(id, start)?;
            if named != NONE {
                if star != NONE && !later.push(star, next) {
                    // Deeper than the list is long, once in BRANCHES tokens at most. The order of
                    // matches is kept: what waits in a list comes after all that is below it.
                    self.deeper(named, next)?;
                    (id, start) = (star, next);
                    continue;
                }
                (id, start) = (named, next);
            } else if star != NONE {
                (id, start) = (star, next);
            } else if let Some(branch) = later.pop() {
                (id, start) = branch;
            } else {
                return ControlFlow::Continue(());
            }
        }
    }

    #[cold]
    fn deeper(&mut self, id: u32, start: usize) -> ControlFlow<()> {
        self.from(id, start)
    }

    /// Visits what ends at this node or with the next token, and gives the children to go on with:
    /// behind `*`, behind the token itself, and where the token after it starts.
    #[inline]
    fn step(&mut self, id: u32, start: usize) -> ControlFlow<(), (u32, u32, usize)> {
        const DONE: (u32, u32, usize) = (NONE, NONE, 0);
        let trie = self.trie;
        let node = &trie.nodes[id as usize];
        if node.rest != NONE {
            self.rest(node.rest)?;
        }
        if node.named == 0 && node.star == NONE {
            return ControlFlow::Continue(DONE);
        }
        let end = token_end(self.subject, start);
        if end == start {
            return ControlFlow::Continue(DONE);
        }
        let named = match node.named {
            0 => NONE,
            _ => trie.named_child(id, &self.subject[start..end]),
        };
        if end < self.subject.len() {
            return ControlFlow::Continue((node.star, named, end + 1));
        }
        self.asked_last |= node.named > 0;
        for child in [named, node.star] {
            if child != NONE {
                let here = trie.nodes[child as usize].here;
                if here != NONE {
                    (self.visit)(here)?;
                }
            }
        }
        ControlFlow::Continue(DONE)
    }

    /// A pattern ends with `>` here. If a token is empty, no pattern matches at all, and the walk
    /// has not visited any: all those before the first `>` needed the last token.
    #[inline]
    fn rest(&mut self, pattern: u32) -> ControlFlow<()> {
        if !self.no_empty_token {
            if has_empty_token(self.subject) {
                return ControlFlow::Break(());
            }
            self.no_empty_token = true;
        }
        (self.visit)(pattern)
    }
}

/// Branches to be taken after the one being followed: small, because it is cleared for every walk.
struct Later {
    branches: [(u32, u32); BRANCHES],
    len: usize,
}

const BRANCHES: usize = 8;

impl Later {
    #[inline]
    fn push(&mut self, id: u32, start: usize) -> bool {
        let Some(branch) = self.branches.get_mut(self.len) else {
            return false;
        };
        *branch = (id, start as u32);
        self.len += 1;
        true
    }

    #[inline]
    fn pop(&mut self) -> Option<(u32, usize)> {
        self.len = self.len.checked_sub(1)?;
        let (id, start) = self.branches[self.len];
        Some((id, start as usize))
    }
}
