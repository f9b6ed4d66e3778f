//! What a proxy says ahead of its client, between a shard's loop and its engine: read before
//! anything else looks at the bytes, encryption included.
//!
//! Connections that have been introduced cost one look at an empty place per input.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;

use shard::limits::SECONDS;
use shard::proxy::{self, HEADER_MAX};
use shard::{ConnId, Effects, Hangup, Input, Introduction, Nanos, Peer};

use crate::engine::Engine;
use crate::tls::Tls;

/// How long the first bytes may take, and then again the rest, as with nats-server.
const WAIT_NS: Nanos = 5 * SECONDS;

/// An engine whose connections may come from a proxy.
pub(crate) struct Proxied<E: Engine> {
    inner: E,
    /// Where clients connect; none if there is no proxy.
    listens: Option<SocketAddr>,
    waiting: BTreeMap<ConnId, Waiting>,
    due: BinaryHeap<Reverse<(Nanos, ConnId)>>,
}

/// As [`proxy::missing`] says it.
type Lacking = (&'static str, bool);

/// A connection that has not been introduced.
struct Waiting {
    addr: SocketAddr,
    opened: Nanos,
    deadline: Nanos,
    /// At most [`HEADER_MAX`] bytes.
    held: Vec<u8>,
    /// Whom a header names of which some bytes are still to come, how many, and what they are.
    rest: Option<(Introduction, usize, Lacking)>,
}

impl<E: Engine> Proxied<E> {
    /// `listens` is where clients connect, if a proxy speaks first there.
    pub fn new(inner: E, listens: Option<SocketAddr>) -> Proxied<E> {
        Proxied { inner, listens, waiting: BTreeMap::new(), due: BinaryHeap::new() }
    }

    fn open(&mut self, now: Nanos, conn: ConnId, mut peer: Peer, effects: &mut Effects) {
        self.waiting.remove(&conn);
        if self.waiting.is_empty() {
            // Of those who have been introduced.
            self.due.clear();
        }
        if self.listens.is_some() && !peer.refused {
            peer.proxied = true;
            let (addr, deadline) = (peer.addr, now + 2 * WAIT_NS);
            let waiting = Waiting { addr, opened: now, deadline, held: Vec::new(), rest: None };
            self.waiting.insert(conn, waiting);
            self.due.push(Reverse((deadline, conn)));
        }
        self.inner.step(now, Input::Open { conn, peer }, effects);
    }

    fn received(
        &mut self,
        now: Nanos,
        conn: ConnId,
        at: Nanos,
        mut bytes: &[u8],
        effects: &mut Effects,
    ) {
        let Some(waiting) = self.waiting.get_mut(&conn) else { return };
        if waiting.rest.is_none() {
            let take = bytes.len().min(HEADER_MAX - waiting.held.len());
            waiting.held.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            match proxy::parse(&waiting.held) {
                Ok(proxy::Proxied::More) => return self.wait_on(now, conn),
                Ok(proxy::Proxied::Absent) => {
                    waiting.rest = Some((Introduction::Itself, 0, ("", false)))
                }
                Ok(proxy::Proxied::Header { source, len }) => {
                    let what = source.map_or(Introduction::Itself, Introduction::Client);
                    let rest = len.saturating_sub(waiting.held.len());
                    waiting.rest = Some((what, rest, proxy::missing(&waiting.held)));
                    waiting.held.drain(..len.min(waiting.held.len()));
                }
                Err(fault) => return self.fail(now, conn, &fault.to_string(), effects),
            }
        }
        let Some((what, rest, _)) = &mut waiting.rest else { return };
        let skip = bytes.len().min(*rest);
        *rest -= skip;
        bytes = &bytes[skip..];
        if *rest > 0 {
            return;
        }
        let what = *what;
        let held = self.waiting.remove(&conn).map(|waiting| waiting.held).unwrap_or_default();
        self.inner.step(now, Input::Introduced { conn, what }, effects);
        for bytes in [&held[..], bytes] {
            if !bytes.is_empty() {
                self.inner.step(now, Input::Bytes { conn, at, bytes }, effects);
            }
        }
    }

    /// Once it is known that there is a header, the rest of it is waited for.
    fn wait_on(&mut self, now: Nanos, conn: ConnId) {
        let Some(waiting) = self.waiting.get_mut(&conn) else { return };
        let (what, _) = proxy::missing(&waiting.held);
        let deadline = now.min(waiting.opened + WAIT_NS) + WAIT_NS;
        if what != proxy::NOTHING && deadline < waiting.deadline {
            waiting.deadline = deadline;
            self.due.push(Reverse((deadline, conn)));
        }
    }

    fn fail(&mut self, now: Nanos, conn: ConnId, why: &str, effects: &mut Effects) {
        if let Some(waiting) = self.waiting.remove(&conn) {
            log::warn!("Error reading PROXY protocol header from {}: {why}", waiting.addr);
            let what = Introduction::Wrong;
            self.inner.step(now, Input::Introduced { conn, what }, effects);
        }
    }

    /// No more of the header comes.
    fn hang_up(&mut self, now: Nanos, conn: ConnId, cause: Hangup, effects: &mut Effects) {
        let Some(waiting) = self.waiting.get(&conn) else { return };
        let (what, begun) = waiting.missing();
        let why = match (cause, begun) {
            (Hangup::Closed, true) => format!("{what}: unexpected EOF"),
            (Hangup::Closed, false) => format!("{what}: EOF"),
            _ => format!("{what}: {}: connection reset by peer", self.between(waiting)),
        };
        self.fail(now, conn, &why, effects);
    }

    #[cold]
    fn look_for_late(&mut self, now: Nanos, effects: &mut Effects) {
        while let Some(Reverse((at, conn))) = self.due.peek().copied().filter(|it| it.0.0 <= now) {
            self.due.pop();
            let late = self.waiting.get(&conn).filter(|waiting| waiting.deadline == at);
            if let Some(waiting) = late {
                let why =
                    format!("{}: {}: i/o timeout", waiting.missing().0, self.between(waiting));
                self.fail(now, conn, &why, effects);
            }
        }
    }

    /// As nats-server names the socket.
    fn between(&self, waiting: &Waiting) -> String {
        let here = self.listens.map(|listens| match listens.ip().is_unspecified() {
            true => SocketAddr::new(waiting.addr.ip(), listens.port()),
            false => listens,
        });
        let here = here.map(|here| here.to_string()).unwrap_or_default();
        format!("read tcp {here}->{}", waiting.addr)
    }

    /// Whoever the engine is done with is not waited for.
    #[cold]
    fn after(&mut self, from: usize, effects: &Effects) {
        for close in &effects.closes[from..] {
            self.waiting.remove(&close.conn);
        }
    }
}

impl Waiting {
    fn missing(&self) -> Lacking {
        self.rest.map_or_else(|| proxy::missing(&self.held), |(.., lacking)| lacking)
    }
}

// SAFETY: chunks are the inner engine's, and it promises the same.
unsafe impl<E: Engine> Engine for Proxied<E> {
    type Chunk = E::Chunk;

    #[inline]
    fn step(&mut self, now: Nanos, input: Input<'_>, effects: &mut Effects) {
        if self.waiting.is_empty() && !matches!(input, Input::Open { .. }) {
            return self.inner.step(now, input, effects);
        }
        let closes = effects.closes.len();
        match input {
            Input::Open { conn, peer } => self.open(now, conn, peer, effects),
            Input::Bytes { conn, at, bytes } if self.waiting.contains_key(&conn) => {
                self.received(now, conn, at, bytes, effects);
            }
            Input::Hangup { conn, cause } if self.waiting.contains_key(&conn) => {
                self.hang_up(now, conn, cause, effects);
            }
            Input::Turn => {
                self.look_for_late(now, effects);
                self.inner.step(now, Input::Turn, effects);
            }
            input => self.inner.step(now, input, effects),
        }
        if effects.closes.len() > closes {
            self.after(closes, effects);
        }
    }

    #[inline]
    fn take_chunk(&mut self, conn: ConnId) -> Option<Self::Chunk> {
        self.inner.take_chunk(conn)
    }

    #[inline]
    fn recycle(&mut self, chunk: Self::Chunk) {
        self.inner.recycle(chunk);
    }

    fn flush_over(&mut self, conn: ConnId) {
        self.inner.flush_over(conn);
    }

    fn deadline(&self) -> Option<Nanos> {
        let own = self.due.peek().filter(|_| !self.waiting.is_empty());
        [self.inner.deadline(), own.map(|Reverse((at, _))| *at)].into_iter().flatten().min()
    }

    fn has_work(&self) -> bool {
        self.inner.has_work()
    }

    fn has_toil(&self) -> bool {
        self.inner.has_toil()
    }

    fn toil(&mut self, now: Nanos, effects: &mut Effects) {
        let closes = effects.closes.len();
        self.inner.toil(now, effects);
        if effects.closes.len() > closes {
            self.after(closes, effects);
        }
    }

    fn handed_over(&mut self, tell: impl FnMut(Nanos, u64)) {
        self.inner.handed_over(tell);
    }

    fn secure_with(&mut self, tls: Option<Arc<Tls>>) {
        self.inner.secure_with(tls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes everything and says nothing.
    struct Deaf;

    // SAFETY: a `Vec`'s bytes stay where they are; none is ever given out.
    unsafe impl Engine for Deaf {
        type Chunk = Vec<u8>;

        fn step(&mut self, _now: Nanos, _input: Input<'_>, _effects: &mut Effects) {}

        fn take_chunk(&mut self, _conn: ConnId) -> Option<Vec<u8>> {
            None
        }

        fn recycle(&mut self, _chunk: Vec<u8>) {}

        fn flush_over(&mut self, _conn: ConnId) {}

        fn deadline(&self) -> Option<Nanos> {
            None
        }

        fn has_work(&self) -> bool {
            false
        }

        fn handed_over(&mut self, _tell: impl FnMut(Nanos, u64)) {}
    }

    #[test]
    fn nothing_is_kept_of_those_who_have_been_introduced() {
        let listens: SocketAddr = "127.0.0.1:4222".parse().unwrap();
        let mut proxied = Proxied::new(Deaf, Some(listens));
        let mut effects = Effects::new(1);
        for slot in 0..100 {
            let (conn, now) = (ConnId { slot, generation: 0 }, Nanos::from(slot));
            let peer = Peer {
                cid: 1,
                addr: listens,
                start_unix_ns: 0,
                refused: false,
                tls: None,
                proxied: false,
            };
            proxied.step(now, Input::Open { conn, peer }, &mut effects);
            assert!(proxied.deadline().is_some());
            let bytes = b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n";
            proxied.step(now, Input::Bytes { conn, at: now, bytes }, &mut effects);
            assert_eq!((proxied.waiting.len(), proxied.due.len()), (0, 1));
            assert_eq!(proxied.deadline(), None);
        }
    }
}
