//! TLS between a shard's loop and its engine. To the loop it is an engine that takes in and gives
//! out records; to the engine it is a loop that knows plain bytes.
//!
//! Connections that do not use TLS cost one look at an empty place per input. Handshakes are work
//! of a kind that comes in bursts: a step may sign, which takes 0.05 ms with an elliptic key and
//! 1 ms with RSA, and everybody on this core waits for that long. So each waits in a queue, and one
//! is done between two turns.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::mem;
use std::sync::Arc;

use mesh::Rate;
use shard::limits::{MILLIS, SECONDS};
use shard::{ConnId, Effects, Hangup, Input, Nanos, Peer, Secured};

use super::Tls;
use super::session::{Channel, Heard, in_words, sealed_bytes_max};
use super::spare::Spare;
use crate::engine::Engine;

/// Connections whose keys are looked at in one turn, once other ones may be.
const RECHECKED_PER_TURN: usize = 64;
/// A chunk of records is not made longer than this by another piece.
const SEALED_BYTES: usize = 64 * 1024;
/// Rejected handshakes are told of this often.
const REPORT_NS: Nanos = SECONDS;

/// An engine with TLS in front.
pub(crate) struct Secure<E: Engine> {
    inner: E,
    /// For connections to come; none are offered TLS without it.
    tls: Option<Arc<Tls>>,
    rate: Arc<Rate>,
    /// By slot.
    sessions: Vec<Option<Box<Session>>>,
    live: usize,
    /// Connections with a step of a handshake to do, in the order they came.
    steps: VecDeque<ConnId>,
    /// Open connections whose keys are used up, of which the engine has not heard.
    used_up: Vec<ConnId>,
    /// Slots of those whose keys are still to be compared with those that may be now.
    unchecked: Vec<usize>,
    due: BinaryHeap<Reverse<(Nanos, ConnId)>>,
    scratch: Vec<u8>,
    spare: Spare,
    rejected: u64,
    report_at: Option<Nanos>,
}

/// Bytes for the kernel.
pub(crate) enum Sealed<C> {
    /// The engine's own.
    Plain(C),
    /// Records. The buffer may be longer.
    Records(Vec<u8>, usize),
}

impl<C: AsRef<[u8]>> AsRef<[u8]> for Sealed<C> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Sealed::Plain(chunk) => chunk.as_ref(),
            Sealed::Records(bytes, length) => &bytes[..*length],
        }
    }
}

/// A connection that uses TLS, or is about to.
struct Session {
    conn: ConnId,
    /// Until its handshake is done: an idle connection holds no settings that were replaced.
    tls: Option<Arc<Tls>>,
    stage: Stage,
    /// When the present stage is over.
    deadline: Nanos,
    /// INFO has not been sent.
    first: bool,
    flight: Flight,
}

enum Stage {
    /// Nothing has come yet. What the engine says goes out as it is.
    Awaiting(Wait),
    /// The engine is not asked for anything meanwhile.
    Shaking {
        channel: Channel,
        /// In [`Secure::steps`].
        queued: bool,
    },
    Open(Channel),
    /// The engine is done with it: its last words, then a goodbye.
    Closing(Channel),
    /// Over, with some bytes still to go out.
    Ended(Vec<u8>),
}

/// What a connection that says nothing is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// A handshake.
    Handshake,
    /// A handshake, or else it wants INFO first.
    Fallback,
    /// A handshake, or else it does without.
    Choice,
}

/// The chunk the kernel has.
#[derive(Clone, Copy, Default)]
struct Flight {
    /// Of the engine's bytes, in it.
    plain: u64,
    records: u64,
    sent: u64,
    /// Of `plain`, told to the engine.
    told: u64,
}

impl<E: Engine> Secure<E> {
    /// `rate` is shared by all shards.
    pub fn new(inner: E, tls: Option<Arc<Tls>>, rate: Arc<Rate>) -> Secure<E> {
        Secure {
            inner,
            tls,
            rate,
            sessions: Vec::new(),
            live: 0,
            steps: VecDeque::new(),
            used_up: Vec::new(),
            unchecked: Vec::new(),
            due: BinaryHeap::new(),
            scratch: Vec::new(),
            spare: Spare::default(),
            rejected: 0,
            report_at: None,
        }
    }

    #[cfg(test)]
    pub fn inner(&self) -> &E {
        &self.inner
    }

    #[cfg(test)]
    pub fn inner_mut(&mut self) -> &mut E {
        &mut self.inner
    }

    #[cfg(test)]
    pub fn live(&self) -> usize {
        self.live
    }

    #[cfg(test)]
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    #[inline]
    fn is_secured(&self, conn: ConnId) -> bool {
        self.live > 0 && matches!(self.sessions.get(conn.index()), Some(Some(_)))
    }

    fn session(&mut self, conn: ConnId) -> Option<&mut Session> {
        let session = self.sessions.get_mut(conn.index())?.as_deref_mut()?;
        (session.conn == conn).then_some(session)
    }

    fn forget(&mut self, conn: ConnId) {
        if self.session(conn).is_some() {
            self.sessions[conn.index()] = None;
            self.live -= 1;
        }
    }

    fn open(&mut self, now: Nanos, conn: ConnId, mut peer: Peer, effects: &mut Effects) {
        // Whoever had the slot before is gone.
        if self.is_secured(conn) {
            self.sessions[conn.index()] = None;
            self.live -= 1;
        }
        let Some(tls) = self.tls.clone() else {
            return self.inner.step(now, Input::Open { conn, peer }, effects);
        };
        peer.tls = Some(tls.offer());
        let (refused, proxied) = (peer.refused, peer.proxied);
        self.inner.step(now, Input::Open { conn, peer }, effects);
        if refused {
            return;
        }
        let settings = &tls.settings;
        let wait = match (settings.first, settings.fallback_ns) {
            (true, 1..) => Wait::Fallback,
            (false, _) if settings.optional => Wait::Choice,
            _ => Wait::Handshake,
        };
        let first = settings.first;
        if self.sessions.len() <= conn.index() {
            self.sessions.resize_with(conn.index() + 1, || None);
        }
        let session = Session {
            conn,
            tls: Some(tls),
            stage: Stage::Awaiting(wait),
            deadline: 0,
            first,
            flight: Flight::default(),
        };
        self.sessions[conn.index()] = Some(Box::new(session));
        self.live += 1;
        if !proxied {
            self.await_handshake(now, conn, effects);
        }
    }

    /// From now on the time for a handshake counts.
    fn await_handshake(&mut self, now: Nanos, conn: ConnId, effects: &mut Effects) {
        let Some(session) = self.session(conn) else { return };
        let (Stage::Awaiting(wait), Some(tls)) = (&session.stage, &session.tls) else { return };
        let (wait, settings) = (*wait, &tls.settings);
        let after = match wait {
            Wait::Fallback => settings.fallback_ns,
            Wait::Choice | Wait::Handshake => settings.timeout_ns,
        };
        self.set_deadline(conn, now + after);
        if wait == Wait::Handshake {
            self.tell(now, conn, Secured::Started, effects);
        }
    }

    fn set_deadline(&mut self, conn: ConnId, at: Nanos) {
        if let Some(session) = self.session(conn) {
            session.deadline = at;
            self.due.push(Reverse((at, conn)));
        }
    }

    fn tell(&mut self, now: Nanos, conn: ConnId, what: Secured, effects: &mut Effects) {
        self.inner.step(now, Input::Secured { conn, what }, effects);
    }

    /// Bytes from a connection that has a session.
    fn received(
        &mut self,
        now: Nanos,
        conn: ConnId,
        at: Nanos,
        bytes: &[u8],
        effects: &mut Effects,
    ) {
        let Some(session) = self.session(conn) else { return };
        match &mut session.stage {
            Stage::Open(_) => self.take_in(now, conn, at, bytes, effects),
            Stage::Shaking { channel, queued } => {
                let fits = channel.keep(bytes);
                let answered = channel.answered;
                if !mem::replace(queued, true) {
                    self.steps.push_back(conn);
                }
                if !fits {
                    // A `ClientHello` is never that long. Later there is little to do, and it is
                    // done at once, so that no more need be kept.
                    if answered {
                        self.shake(now, conn, effects);
                    }
                    self.refuse_hoarder(now, conn, effects);
                }
            }
            Stage::Awaiting(wait) => {
                let wait = *wait;
                self.begin(now, conn, wait, bytes, effects);
            }
            Stage::Closing(_) | Stage::Ended(_) => {}
        }
    }

    /// A handshake for which more is kept than it can need.
    fn refuse_hoarder(&mut self, now: Nanos, conn: ConnId, effects: &mut Effects) {
        if let Some(session) = self.session(conn)
            && let Stage::Shaking { channel, .. } = &mut session.stage
            && !channel.keep(&[])
        {
            let why = "tls: handshake message too large".to_owned();
            self.fail(now, conn, why, false, effects);
        }
    }

    /// The first bytes of a connection.
    fn begin(&mut self, now: Nanos, conn: ConnId, wait: Wait, bytes: &[u8], effects: &mut Effects) {
        if wait == Wait::Choice && bytes.first() != Some(&0x16) {
            self.forget(conn);
            self.tell(now, conn, Secured::Declined, effects);
            return self.inner.step(now, Input::Bytes { conn, at: now, bytes }, effects);
        }
        let Some(tls) = self.session(conn).and_then(|session| session.tls.clone()) else { return };
        let (timeout_ns, rate_max) = (tls.settings.timeout_ns, tls.settings.rate_max);
        if rate_max > 0 && !self.rate.admits(now / MILLIS, rate_max) {
            self.rejected += 1;
            self.report_at.get_or_insert(now + REPORT_NS);
            self.forget(conn);
            return self.tell(now, conn, Secured::Throttled, effects);
        }
        if wait != Wait::Handshake {
            self.tell(now, conn, Secured::Started, effects);
            self.set_deadline(conn, now + timeout_ns);
        }
        // What the engine has said so far goes out before any answer of ours.
        let mut plain = Vec::new();
        while let Some(chunk) = self.inner.take_chunk(conn) {
            plain.extend_from_slice(chunk.as_ref());
            self.inner.recycle(chunk);
        }
        let Some(session) = self.session(conn) else { return };
        match Channel::new(&tls.clients, plain) {
            Ok(channel) => session.stage = Stage::Shaking { channel, queued: false },
            Err(error) => return self.fail(now, conn, in_words(&error), false, effects),
        }
        self.received(now, conn, now, bytes, effects);
    }

    /// A step of a handshake.
    fn shake(&mut self, now: Nanos, conn: ConnId, effects: &mut Effects) {
        let mut early = Vec::new();
        let mut scratch = mem::take(&mut self.scratch);
        let Some(session) = self.session(conn) else { return self.scratch = scratch };
        let Stage::Shaking { channel, queued } = &mut session.stage else {
            return self.scratch = scratch;
        };
        *queued = false;
        let probe = !channel.looks_like_tls();
        let heard = channel.take_in(&[], &mut scratch, &mut |plain| early.extend_from_slice(plain));
        let (done, answers) = (channel.is_done(), !channel.outgoing.is_empty());
        self.scratch = scratch;
        if answers {
            effects.dirty.push(conn);
        }
        match heard {
            Err(error) => self.fail(now, conn, in_words(&error), probe, effects),
            Ok(_) if !done => {}
            Ok(heard) => {
                if self.establish(now, conn, effects) && !early.is_empty() {
                    self.inner.step(now, Input::Bytes { conn, at: now, bytes: &early }, effects);
                }
                if heard == Heard::End {
                    self.hang_up(now, conn, Hangup::Closed, effects);
                }
            }
        }
    }

    /// The handshake is done. True if the client may go on.
    fn establish(&mut self, now: Nanos, conn: ConnId, effects: &mut Effects) -> bool {
        let Some(session) = self.session(conn) else { return false };
        let ended = Stage::Ended(Vec::new());
        let Stage::Shaking { channel, .. } = mem::replace(&mut session.stage, ended) else {
            return false;
        };
        let facts = channel.facts(session.first);
        session.stage = Stage::Open(channel);
        // What may be now counts, not what might have been when it came.
        let begun_with = session.tls.take();
        let tls = self.tls.as_ref().or(begun_with.as_ref());
        if !tls.is_some_and(|tls| tls.lets_in(&facts.certificates)) {
            self.fail(now, conn, "certificate not pinned".to_owned(), false, effects);
            return false;
        }
        self.tell(now, conn, Secured::Established(Arc::new(facts)), effects);
        // Whatever the engine has said meanwhile may go out now.
        effects.dirty.push(conn);
        true
    }

    /// The handshake went wrong: what is still to be sent is sent, and the connection closed.
    fn fail(&mut self, now: Nanos, conn: ConnId, why: String, probe: bool, effects: &mut Effects) {
        if let Some(session) = self.session(conn) {
            let stage = mem::replace(&mut session.stage, Stage::Ended(Vec::new()));
            session.stage = Stage::Ended(match stage {
                // A probe would not know what an alert is.
                Stage::Shaking { .. } if probe => Vec::new(),
                Stage::Shaking { channel, .. } => channel.outgoing,
                Stage::Open(mut channel) => {
                    channel.say_goodbye();
                    channel.outgoing
                }
                _ => Vec::new(),
            });
        }
        self.tell(now, conn, Secured::Failed { why, probe }, effects);
    }

    /// Closes some of those who are in with a key that may not be any more.
    #[cold]
    fn recheck(&mut self, now: Nanos, effects: &mut Effects) {
        for _ in 0..RECHECKED_PER_TURN {
            let Some(slot) = self.unchecked.pop() else { return };
            let (Some(tls), Some(Some(session))) = (&self.tls, self.sessions.get(slot)) else {
                continue;
            };
            let Stage::Open(channel) = &session.stage else { continue };
            if !tls.lets_in(&channel.facts(session.first).certificates) {
                let conn = session.conn;
                self.fail(now, conn, "certificate not pinned any more".to_owned(), false, effects);
                effects.dirty.push(conn);
            }
        }
    }

    /// Nothing more can be written to a connection.
    #[cold]
    fn cut_off(&mut self, now: Nanos, conn: ConnId, effects: &mut Effects) {
        let session = self.session(conn);
        if session.is_some_and(|session| matches!(session.stage, Stage::Open(_))) {
            log::warn!("A TLS 1.2 connection has used up its keys and is closed");
            self.hang_up(now, conn, Hangup::WriteError, effects);
        }
    }

    /// Records for a connection whose handshake is done.
    fn take_in(
        &mut self,
        now: Nanos,
        conn: ConnId,
        at: Nanos,
        bytes: &[u8],
        effects: &mut Effects,
    ) {
        let Secure { inner, sessions, scratch, .. } = self;
        let Some(Some(session)) = sessions.get_mut(conn.index()) else { return };
        let Stage::Open(channel) = &mut session.stage else { return };
        let mut hear =
            |plain: &[u8]| inner.step(now, Input::Bytes { conn, at, bytes: plain }, effects);
        let heard = channel.take_in(bytes, scratch, &mut hear);
        if !channel.outgoing.is_empty() {
            effects.dirty.push(conn);
        }
        match heard {
            Ok(Heard::More) => {}
            Ok(Heard::End) => self.hang_up(now, conn, Hangup::Closed, effects),
            Err(error) => {
                log::debug!("TLS of {conn:?}: {}", in_words(&error));
                if let Some(session) = self.session(conn)
                    && let Stage::Open(channel) = &mut session.stage
                {
                    session.stage = Stage::Ended(mem::take(&mut channel.outgoing));
                }
                self.hang_up(now, conn, Hangup::ReadError, effects);
            }
        }
    }

    /// The peer is gone, or has said that it will say no more.
    fn hang_up(&mut self, now: Nanos, conn: ConnId, cause: Hangup, effects: &mut Effects) {
        if let Some(session) = self.session(conn) {
            match &session.stage {
                Stage::Shaking { channel, .. } if channel.answered => {
                    // It may have ended its part of the handshake, and its business, at once.
                    self.shake(now, conn, effects);
                }
                _ => {}
            }
        }
        let waits = self.session(conn).is_some_and(|session| {
            matches!(
                session.stage,
                Stage::Shaking { .. } | Stage::Awaiting(Wait::Handshake | Wait::Fallback)
            )
        });
        if waits {
            let why =
                if cause == Hangup::Closed { "EOF" } else { "read: connection reset by peer" };
            return self.fail(now, conn, why.to_owned(), false, effects);
        }
        self.inner.step(now, Input::Hangup { conn, cause }, effects);
    }

    /// The kernel has taken some bytes of a chunk.
    fn sent(&mut self, now: Nanos, conn: ConnId, bytes: u64, effects: &mut Effects) {
        let Some(session) = self.session(conn) else { return };
        let flight = &mut session.flight;
        flight.sent = (flight.sent + bytes).min(flight.records);
        let share = u128::from(flight.plain) * u128::from(flight.sent);
        let plain = (share / u128::from(flight.records.max(1))) as u64;
        let news = plain - flight.told;
        flight.told = plain;
        if news > 0 {
            self.inner.step(now, Input::Sent { conn, bytes: news }, effects);
        }
    }

    fn has_own_work(&self) -> bool {
        !self.steps.is_empty() || !self.unchecked.is_empty() || !self.used_up.is_empty()
    }

    /// What is due.
    fn turn(&mut self, now: Nanos, effects: &mut Effects) {
        while let Some(Reverse((at, conn))) = self.due.peek().copied().filter(|it| it.0.0 <= now) {
            self.due.pop();
            if self.session(conn).is_some_and(|session| session.deadline == at) {
                self.overdue(now, conn, effects);
            }
        }
        while let Some(conn) = self.used_up.pop() {
            self.cut_off(now, conn, effects);
        }
        if !self.unchecked.is_empty() {
            self.recheck(now, effects);
        }
        if self.report_at.is_some_and(|at| at <= now) {
            self.report_at = None;
            let rejected = mem::take(&mut self.rejected);
            log::warn!("Rejected {rejected} connections due to TLS rate limiting");
        }
    }

    fn overdue(&mut self, now: Nanos, conn: ConnId, effects: &mut Effects) {
        let Some(session) = self.session(conn) else { return };
        let Some(tls) = &session.tls else { return };
        let (optional, timeout_ns) = (tls.settings.optional, tls.settings.timeout_ns);
        match session.stage {
            Stage::Awaiting(Wait::Fallback) => {
                let wait = if optional { Wait::Choice } else { Wait::Handshake };
                session.stage = Stage::Awaiting(wait);
                session.first = false;
                self.set_deadline(conn, now + timeout_ns);
                self.tell(now, conn, Secured::Silent, effects);
                if wait == Wait::Handshake {
                    self.tell(now, conn, Secured::Started, effects);
                }
            }
            Stage::Awaiting(Wait::Choice) => {
                self.forget(conn);
                self.tell(now, conn, Secured::Declined, effects);
            }
            Stage::Awaiting(Wait::Handshake) | Stage::Shaking { .. } => {
                session.stage = Stage::Ended(Vec::new());
                self.tell(now, conn, Secured::TimedOut, effects);
            }
            Stage::Open(_) | Stage::Closing(_) | Stage::Ended(_) => {}
        }
    }

    /// The engine is done with a connection. True if there is something to say yet.
    fn closed(&mut self, conn: ConnId, flush: bool) -> bool {
        let Some(session) = self.session(conn) else { return flush };
        let stage = mem::replace(&mut session.stage, Stage::Ended(Vec::new()));
        let says = match stage {
            Stage::Open(mut channel) if channel.is_used_up => {
                channel.say_goodbye();
                let says = !channel.outgoing.is_empty();
                session.stage = Stage::Ended(channel.outgoing);
                says
            }
            Stage::Open(channel) if flush => {
                session.stage = Stage::Closing(channel);
                true
            }
            Stage::Ended(last) if !last.is_empty() => {
                session.stage = Stage::Ended(last);
                true
            }
            // In plain text.
            Stage::Awaiting(_) => {
                self.forget(conn);
                return flush;
            }
            _ => false,
        };
        // A flush with nothing to say is an orderly end all the same. Until it is over nothing else
        // may go out: it would be plain text between records.
        let flushes = says || flush;
        if !flushes {
            self.forget(conn);
        }
        flushes
    }

    #[cold]
    fn after(&mut self, from: usize, effects: &mut Effects) {
        for at in from..effects.closes.len() {
            let close = effects.closes[at];
            effects.closes[at].flush = self.closed(close.conn, close.flush);
        }
    }

    /// The next bytes for a connection that has a session.
    fn take_records(&mut self, conn: ConnId) -> Option<Sealed<E::Chunk>> {
        let Secure { inner, sessions, spare, used_up, .. } = self;
        let session = sessions.get_mut(conn.index())?.as_deref_mut()?;
        if session.conn != conn {
            return None;
        }
        let flight = &mut session.flight;
        let (outgoing, closing) = match &mut session.stage {
            Stage::Awaiting(_) => {
                let chunk = inner.take_chunk(conn)?;
                let plain = chunk.as_ref().len() as u64;
                *flight = Flight { plain, records: plain, ..Flight::default() };
                return Some(Sealed::Plain(chunk));
            }
            // The goodbye goes out once the engine has heard of it.
            Stage::Open(channel) if channel.is_used_up => return None,
            Stage::Shaking { channel, .. } | Stage::Open(channel) => (&mut channel.outgoing, false),
            Stage::Closing(channel) => (&mut channel.outgoing, true),
            Stage::Ended(last) => (last, false),
        };
        if !outgoing.is_empty() {
            let records = mem::take(outgoing);
            let length = records.len();
            *flight = Flight { records: length as u64, ..Flight::default() };
            return Some(Sealed::Records(records, length));
        }
        let channel = match &mut session.stage {
            Stage::Open(channel) | Stage::Closing(channel) => channel,
            _ => return None,
        };
        if !channel.is_used_up {
            let sealed = seal(inner, channel, spare, conn, flight);
            if channel.is_used_up && !closing {
                used_up.push(conn);
            }
            if sealed.is_some() || !closing {
                return sealed;
            }
        }
        channel.say_goodbye();
        let goodbye = mem::take(&mut channel.outgoing);
        session.stage = Stage::Ended(Vec::new());
        let length = goodbye.len();
        *flight = Flight { records: length as u64, ..Flight::default() };
        (length > 0).then_some(Sealed::Records(goodbye, length))
    }
}

/// Records of what the engine has for a connection, some chunks of it at once.
fn seal<E: Engine>(
    inner: &mut E,
    channel: &mut Channel,
    spare: &mut Spare,
    conn: ConnId,
    flight: &mut Flight,
) -> Option<Sealed<E::Chunk>> {
    let mut chunk = inner.take_chunk(conn)?;
    let (mut records, mut plain, mut at) = (Vec::new(), 0, 0);
    loop {
        let until = at + sealed_bytes_max(chunk.as_ref().len());
        records = spare.lengthen(records, at, until);
        let end = channel.seal(chunk.as_ref(), &mut records, at);
        plain += chunk.as_ref().len() as u64;
        inner.recycle(chunk);
        channel.is_used_up = end.is_none();
        at = end.unwrap_or(at);
        if at >= SEALED_BYTES || end.is_none() {
            break;
        }
        match inner.take_chunk(conn) {
            Some(next) => chunk = next,
            None => break,
        }
    }
    *flight = Flight { plain, records: at as u64, ..Flight::default() };
    if at == 0 {
        spare.give(records);
        return None;
    }
    Some(Sealed::Records(records, at))
}

// SAFETY: records are in a `Vec<u8>` on the heap that nobody else can reach, from `take_chunk`
// until it is dropped or recycled; for plain chunks the inner engine promises the same.
unsafe impl<E: Engine> Engine for Secure<E> {
    type Chunk = Sealed<E::Chunk>;

    #[inline]
    fn step(&mut self, now: Nanos, input: Input<'_>, effects: &mut Effects) {
        let closes = effects.closes.len();
        match input {
            Input::Bytes { conn, at, bytes } if self.is_secured(conn) => {
                self.received(now, conn, at, bytes, effects);
            }
            Input::Sent { conn, bytes } if self.is_secured(conn) => {
                self.sent(now, conn, bytes, effects);
            }
            Input::Hangup { conn, cause } if self.is_secured(conn) => {
                self.hang_up(now, conn, cause, effects);
            }
            Input::Open { conn, peer } => self.open(now, conn, peer, effects),
            Input::Introduced { conn, .. } => {
                self.inner.step(now, input, effects);
                self.await_handshake(now, conn, effects);
            }
            Input::Turn => {
                if self.live > 0 || self.report_at.is_some() || self.has_own_work() {
                    self.turn(now, effects);
                }
                if self.inner.has_work() || self.inner.deadline().is_some_and(|at| at <= now) {
                    self.inner.step(now, Input::Turn, effects);
                }
            }
            input => self.inner.step(now, input, effects),
        }
        if self.live > 0 && effects.closes.len() > closes {
            self.after(closes, effects);
        }
    }

    #[inline]
    fn take_chunk(&mut self, conn: ConnId) -> Option<Self::Chunk> {
        if self.is_secured(conn) {
            return self.take_records(conn);
        }
        self.inner.take_chunk(conn).map(Sealed::Plain)
    }

    #[inline]
    fn recycle(&mut self, chunk: Self::Chunk) {
        match chunk {
            Sealed::Plain(chunk) => self.inner.recycle(chunk),
            Sealed::Records(buffer, _) => self.spare.give(buffer),
        }
    }

    fn flush_over(&mut self, conn: ConnId) {
        self.forget(conn);
        self.inner.flush_over(conn);
    }

    fn deadline(&self) -> Option<Nanos> {
        let own = if self.live > 0 { self.due.peek().map(|Reverse((at, _))| *at) } else { None };
        [self.inner.deadline(), own, self.report_at].into_iter().flatten().min()
    }

    fn has_work(&self) -> bool {
        self.has_own_work() || self.inner.has_work()
    }

    fn has_toil(&self) -> bool {
        !self.steps.is_empty()
    }

    /// The next step of a handshake.
    fn toil(&mut self, now: Nanos, effects: &mut Effects) {
        let closes = effects.closes.len();
        if let Some(conn) = self.steps.pop_front() {
            self.shake(now, conn, effects);
        }
        if self.live > 0 && effects.closes.len() > closes {
            self.after(closes, effects);
        }
    }

    fn handed_over(&mut self, tell: impl FnMut(Nanos, u64)) {
        self.inner.handed_over(tell);
    }

    fn secure_with(&mut self, tls: Option<Arc<Tls>>) {
        let pinned = |tls: &Option<Arc<Tls>>| match tls {
            Some(tls) => tls.settings.pinned.clone(),
            None => Vec::new(),
        };
        if pinned(&tls) != pinned(&self.tls) {
            self.unchecked = (0..self.sessions.len()).rev().collect();
        }
        self.tls = tls;
    }
}
