//! What waits to be sent to each connection: the last room of a delivery.
//!
//! Invariant: `pending_bytes` = bytes in `full` + bytes in `tail` + bytes of the chunk the driver
//! holds that are not sent yet.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::effect::Effects;
use crate::ids::{ConnId, Nanos};
use crate::limits::{ARRIVALS_MAX, CHUNK_BYTES_MAX, POOL_BYTES_MAX};
use crate::table;

/// A piece that is copied rather than sent by itself, if more wait.
const SHORT_BYTES_MAX: usize = 16 * 1024;
/// Of pieces that are sent together.
const JOINED_BYTES_MAX: usize = 64 * 1024;
/// A piece of many that may wait takes up to so many times the memory of its bytes, or of
/// [`FIT_BYTES_MIN`] if it has fewer.
const SLACK_MAX: usize = 8;
const FIT_BYTES_MIN: usize = 2 * 1024;
/// Whoever has so much waiting gets a buffer for a whole chunk.
const MUCH_BYTES: usize = 64 * 1024;
/// Buffers of more bytes are large, and only for them.
const SMALL_BYTES_MAX: usize = 256 * 1024;
/// Larger ones are not kept.
const LARGE_BYTES_MAX: usize = 2 * CHUNK_BYTES_MAX;

/// Bytes on their way out. The driver may keep them as long as the kernel needs them.
#[derive(Debug)]
pub struct Chunk(Piece);

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Bytes of one receiver, or of many.
#[derive(Debug)]
pub(crate) enum Piece {
    /// To be copied, or already one receiver's own.
    Copied(Vec<u8>),
    /// The same for all.
    Shared(Bytes),
}

impl Piece {
    fn as_slice(&self) -> &[u8] {
        match self {
            Piece::Copied(bytes) => bytes,
            Piece::Shared(bytes) => bytes,
        }
    }

    /// Are both so short that to copy them costs less than to send them one by one?
    #[inline]
    fn joins(&self, next: &Piece) -> bool {
        self.fits(0) && next.fits(self.as_slice().len())
    }

    /// Does it go behind so many bytes?
    fn fits(&self, bytes: usize) -> bool {
        let len = self.as_slice().len();
        len <= SHORT_BYTES_MAX && bytes + len <= JOINED_BYTES_MAX
    }
}

/// What may be written for a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Door {
    /// Nothing: only what is already here may go out.
    #[default]
    Shut,
    /// No messages.
    Ajar,
    Open,
}

/// The side of a connection that deliveries see. Kept apart from its session so that a fan-out
/// touches little memory.
#[derive(Default)]
pub(crate) struct Receiver {
    generation: u32,
    pub door: Door,
    /// Understands HMSG.
    pub headers: bool,
    /// In [`crate::Effects::dirty`], or the driver is not yet through with its chunks.
    driven: bool,
    /// Nobody waits for it: it took no byte for longer than anybody's patience, and none since, or
    /// is the server's own.
    pub stuck: bool,
    /// Publishers wait for it.
    pub stalling: bool,
    /// A timer is set to see whether it moves.
    pub probing: bool,
    /// A write deadline is set.
    pub watched: bool,
    /// A casting owes it something.
    pub casting: bool,
    pub tail: Vec<u8>,
    /// When the first message in `tail` came in.
    tail_since: Nanos,
    full: VecDeque<Waiting>,
    pub pending_bytes: u64,
    pub sent_bytes: u64,
    /// When it last took a byte, or had nothing to take.
    pub progress_at: Nanos,
    pub out_msgs: u64,
    pub out_bytes: u64,
    /// When messages came in that it was given last.
    pub delivered_at: Nanos,
    /// Of `out_msgs`, those in front of `tail`: the lower half, as `tail` has no more than that.
    ahead_msgs: u32,
}

// Of the 1 KiB that an idle connection may cost.
const _: () = assert!(size_of::<Receiver>() <= 128);

/// A chunk that is full.
struct Waiting {
    piece: Piece,
    /// When its first message came in, and how many messages end in it.
    since: Nanos,
    msgs: u64,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// There is nobody any more.
    No,
    /// Not yet: too much is waiting already.
    Behind,
    /// It waits to be sent.
    Yes {
        pending_bytes: u64,
        /// A write deadline is set.
        watched: bool,
    },
}

/// Buffers to fill, kept for reuse so that an idle connection owns none.
#[derive(Default)]
pub(crate) struct Pool {
    small: Spare,
    large: Spare,
}

/// Those of one kind, so that neither keeps out the other: [`POOL_BYTES_MAX`] together at most.
#[derive(Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// The receivers of a shard, by slot.
#[derive(Default)]
pub(crate) struct Outbound {
    receivers: Vec<Receiver>,
    pool: Pool,
    /// When what is being delivered came in.
    pub since: Nanos,
    pub handed: Handed,
}

/// Deliveries in chunks that were taken since they were last told of: when they came in, and how
/// many. Bounded by [`ARRIVALS_MAX`]; beyond it they count with those before.
#[derive(Default)]
pub(crate) struct Handed {
    /// Of what was taken last.
    since: Nanos,
    msgs: u64,
    earlier: Vec<(Nanos, u64)>,
}

impl Handed {
    #[inline]
    fn count(&mut self, since: Nanos, msgs: u64) {
        if since == self.since {
            self.msgs = self.msgs.wrapping_add(msgs);
        } else {
            self.count_anew(since, msgs);
        }
    }

    #[cold]
    #[inline(never)]
    fn count_anew(&mut self, since: Nanos, msgs: u64) {
        if self.msgs > 0 && self.earlier.len() < ARRIVALS_MAX {
            self.earlier.push((self.since, self.msgs));
            self.msgs = 0;
        }
        if self.msgs == 0 {
            self.since = since;
        }
        self.msgs += msgs;
    }

    /// Tells of them, once.
    #[inline]
    pub fn tell(&mut self, mut tell: impl FnMut(Nanos, u64)) {
        if !self.earlier.is_empty() {
            for (since, msgs) in self.earlier.drain(..) {
                tell(since, msgs);
            }
        }
        if self.msgs > 0 {
            tell(self.since, std::mem::take(&mut self.msgs));
        }
    }

    /// Forgets some that were no deliveries to a client.
    pub fn uncount(&mut self, msgs: u64) {
        self.msgs = self.msgs.saturating_sub(msgs);
    }
}

impl Outbound {
    /// Makes a slot ready for a new connection.
    pub fn open(&mut self, conn: ConnId, now: Nanos) {
        table::fill_to(&mut self.receivers, conn.index(), Receiver::default);
        let receiver = &mut self.receivers[conn.index()];
        receiver.discard(&mut self.pool);
        *receiver = Receiver {
            generation: conn.generation,
            door: Door::Open,
            progress_at: now,
            ..Receiver::default()
        };
    }

    /// The receiver, unless its slot has gone to another connection.
    pub fn receiver(&mut self, conn: ConnId) -> Option<&mut Receiver> {
        let receiver = self.receivers.get_mut(conn.index())?;
        (receiver.generation == conn.generation).then_some(receiver)
    }

    /// As [`Outbound::receiver`], to look at only.
    pub fn peek(&self, conn: ConnId) -> Option<&Receiver> {
        let receiver = self.receivers.get(conn.index())?;
        (receiver.generation == conn.generation).then_some(receiver)
    }

    /// Lets `write` append to an open connection's bytes, telling it whether headers are
    /// understood; gives how many bytes came, none if it is closed. Puts the connection in `dirty`
    /// if the driver does not know yet.
    #[inline]
    pub fn write(
        &mut self,
        conn: ConnId,
        now: Nanos,
        dirty: &mut Vec<ConnId>,
        write: impl FnOnce(&mut Vec<u8>, bool),
    ) -> Option<u64> {
        let receiver = self.receivers.get_mut(conn.index())?;
        if receiver.generation != conn.generation || !receiver.is_open() {
            return None;
        }
        Some(receiver.append(conn, now, self.since, &mut self.pool, dirty, write))
    }

    /// As [`Outbound::write`], for `msgs` messages of `payload_bytes` together; refuses a receiver
    /// with `behind_bytes` or more waiting, unless it is stuck.
    #[inline]
    #[allow(clippy::too_many_arguments, reason = "what is delivered, to whom, and when")]
    pub fn deliver(
        &mut self,
        conn: ConnId,
        now: Nanos,
        msgs: u64,
        payload_bytes: u64,
        behind_bytes: u64,
        dirty: &mut Vec<ConnId>,
        write: impl FnOnce(&mut Vec<u8>, bool),
    ) -> Taken {
        let receiver = match self.taker(conn, behind_bytes) {
            Ok(receiver) => receiver,
            Err(taken) => return taken,
        };
        let before = receiver.tail.len();
        write(&mut receiver.tail, receiver.headers);
        receiver.delivered(conn, now, before, (msgs, payload_bytes), dirty)
    }

    /// The receiver, for messages to be appended to its `tail`, or why it takes none. Then tell it
    /// that they are: see [`Receiver::delivered`].
    #[inline(always)]
    pub fn taker(&mut self, conn: ConnId, behind_bytes: u64) -> Result<&mut Receiver, Taken> {
        let Some(receiver) = self.receivers.get_mut(conn.index()) else { return Err(Taken::No) };
        if receiver.generation != conn.generation || !receiver.takes() {
            return Err(Taken::No);
        }
        if receiver.pending_bytes >= behind_bytes && !receiver.stuck {
            return Err(Taken::Behind);
        }
        receiver.begin(self.since, &mut self.pool);
        Ok(receiver)
    }

    /// Does a casting owe it something?
    #[inline]
    pub fn is_casting(&self, conn: ConnId) -> bool {
        self.peek(conn).is_some_and(|receiver| receiver.casting)
    }

    /// A buffer to fill.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.pool.take()
    }

    /// What many share, and some perhaps for long.
    pub fn shared(&mut self, buffer: Vec<u8>) -> Piece {
        Piece::Shared(Bytes::from(self.pool.fit(buffer)))
    }

    /// As [`Outbound::deliver`], for `msgs` messages that were written before.
    #[allow(clippy::too_many_arguments, reason = "what is given, to whom, and when")]
    pub fn give(
        &mut self,
        conn: ConnId,
        now: Nanos,
        piece: &Piece,
        msgs: u64,
        payload_bytes: u64,
        behind_bytes: u64,
        out: &mut Effects,
    ) -> Taken {
        let Some(receiver) = self.receivers.get_mut(conn.index()) else { return Taken::No };
        if receiver.generation != conn.generation || !receiver.takes() {
            return Taken::No;
        }
        if receiver.pending_bytes >= behind_bytes && !receiver.stuck {
            return Taken::Behind;
        }
        receiver.out_msgs += msgs;
        receiver.out_bytes += payload_bytes;
        match piece {
            Piece::Copied(bytes) => {
                out.copied_bytes += bytes.len();
                let write = |tail: &mut Vec<u8>, _| tail.extend_from_slice(bytes);
                receiver.append(conn, now, self.since, &mut self.pool, &mut out.dirty, write);
            }
            Piece::Shared(bytes) => {
                let waiting =
                    Waiting { piece: Piece::Shared(bytes.clone()), since: self.since, msgs };
                receiver.share(conn, now, waiting, &mut self.pool, &mut out.dirty);
            }
        }
        Taken::Yes { pending_bytes: receiver.pending_bytes, watched: receiver.watched }
    }

    /// See [`crate::Shard::take_chunk`].
    // By itself it would not be, and a call costs more than all of this.
    #[inline(always)]
    pub fn take_chunk(&mut self, conn: ConnId) -> Option<Chunk> {
        let receiver = self.receivers.get_mut(conn.index())?;
        if receiver.generation != conn.generation {
            return None;
        }
        if let Some(Waiting { piece, since, msgs }) = receiver.full.pop_front() {
            receiver.is_handed(since, msgs, &mut self.handed);
            return match receiver.full.front().is_some_and(|next| piece.joins(&next.piece)) {
                true => Some(self.join(conn, piece)),
                false => Some(Chunk(piece)),
            };
        }
        if receiver.tail.is_empty() {
            receiver.driven = false;
            self.rest(conn);
            return None;
        }
        let (since, before) = (receiver.tail_since, receiver.ahead_msgs);
        let msgs = (receiver.out_msgs as u32).wrapping_sub(before).into();
        receiver.ahead_msgs = receiver.out_msgs as u32;
        let chunk = Chunk(Piece::Copied(std::mem::take(&mut receiver.tail)));
        receiver.is_handed(since, msgs, &mut self.handed);
        Some(chunk)
    }

    /// A piece and those behind it, in one: a send costs the same whatever it carries.
    #[cold]
    fn join(&mut self, conn: ConnId, first: Piece) -> Chunk {
        let mut all = self.pool.take();
        all.extend_from_slice(first.as_slice());
        self.pool.take_back(first);
        let receiver = &mut self.receivers[conn.index()];
        while receiver.full.front().is_some_and(|next| next.piece.fits(all.len()))
            && let Some(next) = receiver.full.pop_front()
        {
            receiver.is_handed(next.since, next.msgs, &mut self.handed);
            all.extend_from_slice(next.piece.as_slice());
            self.pool.take_back(next.piece);
        }
        Chunk(Piece::Copied(all))
    }

    /// An idle connection keeps no buffer.
    fn rest(&mut self, conn: ConnId) {
        let receiver = &mut self.receivers[conn.index()];
        if receiver.tail.capacity() > 0 {
            self.pool.give(std::mem::take(&mut receiver.tail));
        }
        if receiver.full.capacity() > 0 {
            receiver.full = VecDeque::new();
        }
    }

    /// See [`crate::Shard::recycle`].
    pub fn recycle(&mut self, chunk: Chunk) {
        self.recycle_piece(chunk.0);
    }

    /// Takes back what nobody needs any more.
    pub fn recycle_piece(&mut self, piece: Piece) {
        self.pool.take_back(piece);
    }

    /// Takes no more for a connection, and drops what waits unless it is to be flushed.
    pub fn close(&mut self, conn: ConnId, flush: bool) {
        if let Some(receiver) = self.receivers.get_mut(conn.index())
            && receiver.generation == conn.generation
        {
            receiver.door = Door::Shut;
            if !flush {
                receiver.discard(&mut self.pool);
            }
        }
    }

    /// See [`crate::Shard::flush_over`].
    pub fn flush_over(&mut self, conn: ConnId) {
        if let Some(receiver) = self.receivers.get_mut(conn.index())
            && receiver.generation == conn.generation
            && !receiver.is_open()
        {
            receiver.discard(&mut self.pool);
        }
    }
}

impl Receiver {
    #[inline(always)]
    pub fn is_open(&self) -> bool {
        self.door != Door::Shut
    }

    /// Are messages delivered to it?
    #[inline(always)]
    pub fn takes(&self) -> bool {
        self.door == Door::Open
    }

    /// There is something to append to.
    #[inline(always)]
    fn begin(&mut self, since: Nanos, pool: &mut Pool) {
        if self.tail.capacity() == 0 {
            self.tail = pool.take();
            self.tail_since = since;
        } else if self.tail.len() >= MUCH_BYTES && self.tail.capacity() < CHUNK_BYTES_MAX {
            self.tail = pool.enlarge(std::mem::take(&mut self.tail));
        }
    }

    /// Messages, and bytes of payload, were appended behind `before`.
    #[inline(always)]
    pub fn delivered(
        &mut self,
        conn: ConnId,
        now: Nanos,
        before: usize,
        (msgs, payload_bytes): (u64, u64),
        dirty: &mut Vec<ConnId>,
    ) -> Taken {
        // No sum of these passes 64 bits, and to check that costs more than the sum.
        self.out_msgs = self.out_msgs.wrapping_add(msgs);
        self.out_bytes = self.out_bytes.wrapping_add(payload_bytes);
        self.appended(conn, now, before, dirty);
        Taken::Yes { pending_bytes: self.pending_bytes, watched: self.watched }
    }

    #[inline]
    fn append(
        &mut self,
        conn: ConnId,
        now: Nanos,
        since: Nanos,
        pool: &mut Pool,
        dirty: &mut Vec<ConnId>,
        write: impl FnOnce(&mut Vec<u8>, bool),
    ) -> u64 {
        self.begin(since, pool);
        let before = self.tail.len();
        write(&mut self.tail, self.headers);
        self.appended(conn, now, before, dirty)
    }

    /// Something was appended behind `before`; gives how many bytes.
    #[inline(always)]
    fn appended(
        &mut self,
        conn: ConnId,
        now: Nanos,
        before: usize,
        dirty: &mut Vec<ConnId>,
    ) -> u64 {
        let added = (self.tail.len() - before) as u64;
        if self.pending_bytes == 0 {
            self.progress_at = now;
        }
        self.pending_bytes += added;
        if !self.driven {
            self.driven = true;
            dirty.push(conn);
        }
        if self.tail.len() >= CHUNK_BYTES_MAX {
            let tail = self.cut(0);
            self.full.push_back(tail);
        }
        added
    }

    /// Messages that came in then are on their way out.
    #[inline(always)]
    fn is_handed(&mut self, since: Nanos, msgs: u64, handed: &mut Handed) {
        if msgs > 0 {
            self.delivered_at = since;
        }
        handed.count(since, msgs);
    }

    /// What is in `tail`, as a chunk. The last `behind` messages counted are not in it.
    #[inline]
    fn cut(&mut self, behind: u64) -> Waiting {
        let ahead_msgs = self.out_msgs.wrapping_sub(behind) as u32;
        let msgs = ahead_msgs.wrapping_sub(self.ahead_msgs).into();
        self.ahead_msgs = ahead_msgs;
        let piece = Piece::Copied(std::mem::take(&mut self.tail));
        Waiting { piece, since: self.tail_since, msgs }
    }

    /// Queues bytes it shares with others behind its own; their messages are counted.
    fn share(
        &mut self,
        conn: ConnId,
        now: Nanos,
        shared: Waiting,
        pool: &mut Pool,
        dirty: &mut Vec<ConnId>,
    ) {
        if !self.tail.is_empty() {
            self.tail = pool.fit(std::mem::take(&mut self.tail));
            let tail = self.cut(shared.msgs);
            self.full.push_back(tail);
        }
        self.ahead_msgs = self.ahead_msgs.wrapping_add(shared.msgs as u32);
        if self.pending_bytes == 0 {
            self.progress_at = now;
        }
        self.pending_bytes += shared.piece.as_slice().len() as u64;
        self.full.push_back(shared);
        if !self.driven {
            self.driven = true;
            dirty.push(conn);
        }
    }

    fn discard(&mut self, pool: &mut Pool) {
        for full in std::mem::take(&mut self.full) {
            pool.take_back(full.piece);
        }
        pool.give(std::mem::take(&mut self.tail));
        self.pending_bytes = 0;
    }

    /// Forgets the messages it has had, all of which are taken; gives how many.
    pub fn uncount_msgs(&mut self) -> u64 {
        self.ahead_msgs = 0;
        std::mem::take(&mut self.out_msgs)
    }

    /// The kernel took bytes.
    pub fn sent(&mut self, bytes: u64, now: Nanos) {
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        self.sent_bytes += bytes;
        self.progress_at = now;
    }
}

impl Spare {
    fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        let bytes = self.bytes + buffer.capacity();
        if buffer.capacity() > 0 && bytes <= POOL_BYTES_MAX {
            buffer.clear();
            self.buffers.push(buffer);
            self.bytes = bytes;
        }
    }
}

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        self.small.take()
    }

    /// The bytes of a buffer in one that takes a whole chunk.
    #[cold]
    fn enlarge(&mut self, small: Vec<u8>) -> Vec<u8> {
        let mut large = self.large.take();
        large.reserve_exact(CHUNK_BYTES_MAX + MUCH_BYTES);
        large.extend_from_slice(&small);
        self.give(small);
        large
    }

    /// The bytes of a buffer that may wait for long, in one that is not much longer than they are:
    /// bytes that wait are limited, and so must be the memory they take.
    fn fit(&mut self, buffer: Vec<u8>) -> Vec<u8> {
        if buffer.capacity() <= SLACK_MAX * buffer.len().max(FIT_BYTES_MIN) {
            return buffer;
        }
        let fitting = buffer.as_slice().to_vec();
        self.give(buffer);
        fitting
    }

    /// A shared block comes back with the last who had it.
    fn take_back(&mut self, piece: Piece) {
        match piece {
            Piece::Copied(buffer) => self.give(buffer),
            Piece::Shared(bytes) if bytes.is_unique() => self.give(Vec::from(bytes)),
            Piece::Shared(_) => {}
        }
    }

    fn give(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= SMALL_BYTES_MAX {
            self.small.give(buffer);
        } else if buffer.capacity() <= LARGE_BYTES_MAX {
            self.large.give(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONN: ConnId = ConnId { slot: 3, generation: 7 };

    fn opened() -> Outbound {
        let mut outbound = Outbound::default();
        outbound.open(CONN, 0);
        outbound
    }

    #[test]
    fn a_connection_is_dirty_once_until_the_driver_is_through() {
        let (mut outbound, mut dirty) = (opened(), Vec::new());
        for _ in 0..3 {
            outbound.write(CONN, 0, &mut dirty, |out, _| out.extend_from_slice(b"PONG\r\n"));
        }
        assert_eq!(dirty, [CONN]);
        let chunk = outbound.take_chunk(CONN).expect("bytes");
        assert_eq!(chunk.as_ref(), b"PONG\r\nPONG\r\nPONG\r\n");
        outbound.write(CONN, 0, &mut dirty, |out, _| out.push(b'x'));
        assert_eq!(dirty, [CONN]);
        assert_eq!(outbound.take_chunk(CONN).expect("more").as_ref(), b"x");
        assert!(outbound.take_chunk(CONN).is_none());
        outbound.write(CONN, 0, &mut dirty, |out, _| out.push(b'y'));
        assert_eq!(dirty, [CONN, CONN]);
    }

    #[test]
    fn pending_counts_what_the_kernel_has_not_taken() {
        let (mut outbound, mut dirty) = (opened(), Vec::new());
        outbound.write(CONN, 5, &mut dirty, |out, _| out.extend_from_slice(&[0; 100]));
        let _chunk = outbound.take_chunk(CONN);
        outbound.receiver(CONN).expect("open").sent(60, 9);
        let receiver = outbound.peek(CONN).expect("open");
        assert_eq!(
            (receiver.pending_bytes, receiver.sent_bytes, receiver.progress_at),
            (40, 60, 9)
        );
    }

    #[test]
    fn bytes_leave_in_order_across_chunks() {
        let (mut outbound, mut dirty) = (opened(), Vec::new());
        let mut wanted = Vec::new();
        for i in 0..8000u32 {
            let line = [i as u8; 300];
            wanted.extend_from_slice(&line);
            outbound.write(CONN, 0, &mut dirty, |out, _| out.extend_from_slice(&line));
        }
        let mut got = Vec::new();
        while let Some(chunk) = outbound.take_chunk(CONN) {
            assert!(chunk.as_ref().len() < CHUNK_BYTES_MAX + 300);
            got.extend_from_slice(chunk.as_ref());
            outbound.recycle(chunk);
        }
        assert!(got == wanted);
    }

    #[test]
    fn short_pieces_that_wait_leave_together() {
        let (mut outbound, mut out) = (opened(), Effects::new(1));
        let mut wanted = Vec::new();
        for (at, len) in
            [100, 30_000, 500, 16_000, 16_000, 16_000, 16_000, 2_000, 20].iter().enumerate()
        {
            let bytes = vec![at as u8; *len];
            wanted.extend_from_slice(&bytes);
            outbound.since = at as Nanos;
            outbound.give(CONN, 0, &Piece::Shared(bytes.into()), 1, 0, u64::MAX, &mut out);
            if *len == 2_000 {
                outbound.write(CONN, 0, &mut out.dirty, |tail, _| tail.push(b'x'));
                wanted.push(b'x');
            }
        }
        let (mut lens, mut got) = (Vec::new(), Vec::new());
        while let Some(chunk) = outbound.take_chunk(CONN) {
            lens.push(chunk.as_ref().len());
            got.extend_from_slice(chunk.as_ref());
            outbound.recycle(chunk);
        }
        assert_eq!(lens, [100, 30_000, 64_500, 2_021]);
        assert!(got == wanted);
        assert_eq!(outbound.receivers[CONN.index()].delivered_at, 8, "the last of those that join");
        let told = told(&mut outbound);
        assert_eq!(told, (0..9).map(|at| (at, 1)).collect::<Vec<_>>());
    }

    /// Many slow receivers of little may not hold what a busy one has left, each.
    #[test]
    fn a_large_buffer_is_for_whoever_has_much_waiting() {
        let (mut outbound, mut out) = (opened(), Effects::new(1));
        let mut deliver = |outbound: &mut Outbound, bytes: usize| {
            outbound.write(CONN, 0, &mut out.dirty, |to, _| to.resize(to.len() + bytes, b'x'));
            outbound.receivers[CONN.index()].tail.capacity()
        };
        deliver(&mut outbound, MUCH_BYTES);
        assert!(deliver(&mut outbound, 1) >= CHUNK_BYTES_MAX);
        let chunk = outbound.take_chunk(CONN).expect("much");
        outbound.recycle(chunk);
        assert!(outbound.pool.large.bytes >= CHUNK_BYTES_MAX, "kept for whoever needs it next");
        assert!(deliver(&mut outbound, 1) <= SMALL_BYTES_MAX);
        deliver(&mut outbound, MUCH_BYTES);
        assert!(deliver(&mut outbound, 1) >= CHUNK_BYTES_MAX);
        assert_eq!(outbound.pool.large.bytes, 0, "the large one is in use again");
    }

    /// Or whoever is sent little had to ask the system for memory each time.
    #[test]
    fn large_buffers_leave_room_for_small_ones() {
        let mut pool = Pool::default();
        let large = POOL_BYTES_MAX / LARGE_BYTES_MAX;
        (0..2 * large).for_each(|_| pool.give(Vec::with_capacity(LARGE_BYTES_MAX)));
        pool.give(Vec::with_capacity(LARGE_BYTES_MAX + 1));
        assert_eq!((pool.large.buffers.len(), pool.large.bytes), (large, POOL_BYTES_MAX));
        pool.give(Vec::with_capacity(100));
        assert_eq!(pool.take().capacity(), 100);
    }

    /// What a busy connection leaves in the pool is not held by what waits for a slow one.
    #[test]
    fn what_waits_takes_not_much_more_memory_than_its_bytes() {
        let (mut outbound, mut out) = (opened(), Effects::new(1));
        let large = || Chunk(Piece::Copied(Vec::with_capacity(SMALL_BYTES_MAX)));
        for _ in 0..100 {
            outbound.recycle(large());
            outbound.write(CONN, 0, &mut out.dirty, |tail, _| tail.extend_from_slice(b"PONG\r\n"));
            outbound.recycle(large());
            let mut block = outbound.buffer();
            block.resize(2000, b'x');
            let shared = outbound.shared(block);
            outbound.give(CONN, 0, &shared, 1, 0, u64::MAX, &mut out);
        }
        let receiver = &mut outbound.receivers[CONN.index()];
        let memory = |piece| match piece {
            Piece::Copied(bytes) => bytes.capacity(),
            Piece::Shared(bytes) => Vec::from(bytes).capacity(),
        };
        let held: usize = receiver.full.drain(..).map(|waiting| memory(waiting.piece)).sum();
        assert_eq!(receiver.pending_bytes, 200_600);
        assert!(held <= 2 * 8 * 200_600, "{held} bytes are held");
    }

    fn told(outbound: &mut Outbound) -> Vec<(Nanos, u64)> {
        let mut told = Vec::new();
        outbound.handed.tell(|since, msgs| told.push((since, msgs)));
        told
    }

    #[test]
    fn deliveries_are_told_of_when_they_leave() {
        let (mut outbound, mut out) = (opened(), Effects::new(1));
        let deliver = |outbound: &mut Outbound, out: &mut Effects, since, msgs, bytes: usize| {
            outbound.since = since;
            let write = |to: &mut Vec<u8>, _: bool| to.resize(to.len() + bytes, b'x');
            let taken = outbound.deliver(CONN, since, msgs, 0, u64::MAX, &mut out.dirty, write);
            assert!(matches!(taken, Taken::Yes { .. }));
        };
        deliver(&mut outbound, &mut out, 10, 1, 100);
        deliver(&mut outbound, &mut out, 20, 2, 100);
        outbound.since = 30;
        let shared = Piece::Shared(Bytes::from(vec![b'y'; 2000]));
        outbound.give(CONN, 30, &shared, 5, 0, u64::MAX, &mut out);
        deliver(&mut outbound, &mut out, 40, 7, CHUNK_BYTES_MAX);
        deliver(&mut outbound, &mut out, 50, 1, 100);
        outbound.write(CONN, 60, &mut out.dirty, |to, _| to.extend_from_slice(b"PONG\r\n"));
        assert!(told(&mut outbound).is_empty(), "nothing has left");
        while outbound.take_chunk(CONN).is_some() {}
        assert_eq!(told(&mut outbound), [(10, 3), (30, 5), (40, 7), (50, 1)]);
        outbound.write(CONN, 70, &mut out.dirty, |to, _| to.extend_from_slice(b"PONG\r\n"));
        while outbound.take_chunk(CONN).is_some() {}
        assert!(told(&mut outbound).is_empty(), "a PONG is no delivery");
        for since in 100..200 + ARRIVALS_MAX as u64 {
            deliver(&mut outbound, &mut out, since, 1, 1);
            while outbound.take_chunk(CONN).is_some() {}
        }
        let told = told(&mut outbound);
        assert_eq!(told.len(), ARRIVALS_MAX + 1);
        assert_eq!(told.iter().map(|(_, msgs)| msgs).sum::<u64>(), 100 + ARRIVALS_MAX as u64);
    }

    /// A slot may wait for its next connection for ever.
    #[test]
    fn a_closed_connection_holds_nothing_once_its_flush_is_over() {
        let (mut outbound, mut out) = (opened(), Effects::new(1));
        let shared = Bytes::from(vec![b'y'; 2 * SHORT_BYTES_MAX]);
        for _ in 0..10 {
            let piece = Piece::Shared(shared.clone());
            outbound.give(CONN, 0, &piece, 1, 0, u64::MAX, &mut out);
            let write = |tail: &mut Vec<u8>, _: bool| tail.resize(tail.len() + 100, b'x');
            outbound.write(CONN, 0, &mut out.dirty, write);
        }
        let under_way = outbound.take_chunk(CONN).expect("bytes");
        outbound.flush_over(CONN);
        let receiver = outbound.peek(CONN).expect("it is there");
        assert!(receiver.is_open() && receiver.pending_bytes > 0, "nobody has closed it");
        outbound.close(CONN, true);
        outbound.flush_over(ConnId { generation: 6, ..CONN });
        assert!(!outbound.peek(CONN).expect("it is there").full.is_empty(), "not its flush");
        outbound.flush_over(CONN);
        outbound.recycle(under_way);
        let receiver = outbound.peek(CONN).expect("it is there");
        let held = (receiver.pending_bytes, receiver.full.capacity(), receiver.tail.capacity());
        assert_eq!(held, (0, 0, 0), "bytes that wait, and room for some");
        assert!(shared.is_unique(), "others' blocks are let go of");
        assert!(outbound.pool.small.bytes > 0, "its buffers are there for others");
    }

    #[test]
    fn a_stale_id_reaches_nobody() {
        let (mut outbound, mut dirty) = (opened(), Vec::new());
        let stale = ConnId { generation: 6, ..CONN };
        assert_eq!(outbound.write(stale, 0, &mut dirty, |out, _| out.push(1)), None);
        assert!(dirty.is_empty() && outbound.take_chunk(stale).is_none());
    }
}
