//! The sockets of a shard's connections: what is asked of each, and how each ends.
//!
//! A slot goes Open → Flushing → Draining → Dying → free; each step may be skipped. It is given to
//! a new connection only when the kernel has completed every request for the old one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use shard::limits::MILLIS;
use shard::{ConnId, Nanos, table};

use crate::buffers::Size;
use crate::ring::{Op, Ring, Tag};

/// How long a closed connection may take to accept what was still to be written.
const FLUSH_NS_MAX: Nanos = 1_000 * MILLIS;
/// How long what a peer still sends is read and dropped, so that no reset of ours overtakes our
/// last words on their way to it.
const DRAIN_NS_MAX: Nanos = 500 * MILLIS;

/// Short reads in a row after which a connection does with small buffers.
const SHORT_READS_MAX: u8 = 8;

/// One slot.
struct Socket<C> {
    stream: Option<TcpStream>,
    generation: u32,
    phase: Phase,
    reading: Reading,
    /// It has found no buffer, and has had nothing since.
    hungry: bool,
    /// Buffers of the request under way, or of the next.
    size: Size,
    /// How many short reads in a row it takes before large buffers are wasted on it.
    bulk: u8,
    /// The engine wants to read from it.
    wanted: bool,
    end: End,
    /// Counts for the limit of connections.
    admitted: bool,
    write: Option<Write<C>>,
}

/// What is known of the end of what a peer sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// It has come, and is not seen to yet.
    Known,
    /// The engine has heard of it.
    SeenTo,
}

// Of the 1 KiB that an idle connection may cost.
const _: () = assert!(size_of::<Socket<shard::Chunk>>() <= 64);

/// A chunk on its way to the kernel.
struct Write<C> {
    chunk: C,
    done: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Free,
    Open,
    /// Closed by the engine; the last bytes are being written.
    Flushing,
    /// Everything is written and said to be; whatever the peer sends is dropped.
    Draining,
    /// Waits for the kernel to complete what is under way.
    Dying,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Idle,
    /// Waits for its turn to ask for buffers again: there was none.
    Starved,
    Armed,
    Cancelling,
}

/// What a completed send means.
pub(crate) enum Written<C> {
    /// The connection is past caring. A chunk to recycle.
    Stale(Option<C>),
    /// This many bytes went out; the chunk is through if it is here.
    Progress { bytes: usize, chunk: Option<C> },
    /// Writing has failed.
    Failed(C),
}

/// All sockets of one shard. `C` is the engine's chunk.
pub(crate) struct Sockets<C> {
    slots: Vec<Socket<C>>,
    free: Vec<u32>,
    live: usize,
    due: BinaryHeap<Reverse<(Nanos, u32, u32)>>,
}

impl<C: AsRef<[u8]>> Sockets<C> {
    /// None.
    pub fn new() -> Sockets<C> {
        Sockets { slots: Vec::new(), free: Vec::new(), live: 0, due: BinaryHeap::new() }
    }

    /// Slots in use, whatever their phase.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Gives a socket a slot. Nothing is read before [`Sockets::read`].
    pub fn open(&mut self, stream: TcpStream, admitted: bool) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            table::push(&mut self.slots, Socket::none(0));
            (self.slots.len() - 1) as u32
        });
        let socket = &mut self.slots[slot as usize];
        debug_assert_eq!(socket.phase, Phase::Free);
        let generation = socket.generation.wrapping_add(1);
        *socket = Socket {
            stream: Some(stream),
            phase: Phase::Open,
            admitted,
            ..Socket::none(generation)
        };
        self.live += 1;
        ConnId { slot, generation }
    }

    /// A slot without a socket, for good.
    pub fn reserve(&mut self) -> ConnId {
        table::push(&mut self.slots, Socket { wanted: false, end: End::SeenTo, ..Socket::none(1) });
        ConnId { slot: (self.slots.len() - 1) as u32, generation: 1 }
    }

    /// The connection a completion is about, unless it is gone.
    pub fn conn(&self, tag: Tag) -> Option<ConnId> {
        let socket = self.slots.get(tag.slot as usize)?;
        let known = socket.phase != Phase::Free && tag.is_generation(socket.generation);
        known.then_some(ConnId { slot: tag.slot, generation: socket.generation })
    }

    /// How far a connection is; free if it is gone.
    pub fn phase(&self, conn: ConnId) -> Phase {
        match self.slots.get(conn.index()) {
            Some(socket) if socket.generation == conn.generation => socket.phase,
            _ => Phase::Free,
        }
    }

    /// The descriptor of an open connection.
    pub fn fd(&self, conn: ConnId) -> Option<RawFd> {
        let open = self.phase(conn) == Phase::Open;
        if open { self.slots[conn.index()].stream.as_ref().map(AsRawFd::as_raw_fd) } else { None }
    }

    /// Every open connection.
    pub fn all_live(&self) -> Vec<ConnId> {
        let live = |(_, socket): &(usize, &Socket<C>)| socket.phase != Phase::Free;
        let id = |(slot, socket): (usize, &Socket<C>)| ConnId {
            slot: slot as u32,
            generation: socket.generation,
        };
        self.slots.iter().enumerate().filter(live).map(id).collect()
    }

    /// Starts to read if the connection wants that and is not being read already.
    pub fn read(&mut self, ring: &mut Ring, conn: ConnId) {
        let socket = &mut self.slots[conn.index()];
        let willing = match socket.phase {
            Phase::Open => socket.wanted,
            Phase::Flushing | Phase::Draining => true,
            Phase::Free | Phase::Dying => false,
        };
        if !willing || socket.end == End::SeenTo || socket.reading != Reading::Idle {
            return;
        }
        if let Some(stream) = &socket.stream {
            socket.reading = Reading::Armed;
            socket.size = if socket.bulk > 0 { Size::Large } else { Size::Small };
            ring.receive(stream.as_raw_fd(), tag_of(Op::receive(socket.size), conn));
        }
    }

    /// A receive request found no buffer: nothing is read before [`Sockets::feed`]. True if it has
    /// had nothing since the last time.
    pub fn starved(&mut self, conn: ConnId) -> bool {
        let socket = &mut self.slots[conn.index()];
        socket.reading = Reading::Starved;
        std::mem::replace(&mut socket.hungry, true)
    }

    /// Reads again from one that found no buffer, as [`Sockets::read`] does.
    pub fn feed(&mut self, ring: &mut Ring, conn: ConnId) {
        if self.phase(conn) == Phase::Free {
            return;
        }
        let reading = &mut self.slots[conn.index()].reading;
        if *reading == Reading::Starved {
            *reading = Reading::Idle;
            self.read(ring, conn);
        }
    }

    /// The engine has had enough, or wants more.
    pub fn set_wanted(&mut self, ring: &mut Ring, conn: ConnId, wanted: bool) {
        if self.phase(conn) != Phase::Open {
            return;
        }
        let socket = &mut self.slots[conn.index()];
        socket.wanted = wanted;
        if wanted {
            self.read(ring, conn);
        } else {
            self.stop_reading(ring, conn);
        }
    }

    fn stop_reading(&mut self, ring: &mut Ring, conn: ConnId) {
        let socket = &mut self.slots[conn.index()];
        if socket.reading == Reading::Armed {
            socket.reading = Reading::Cancelling;
            ring.cancel(tag_of(Op::receive(socket.size), conn));
        }
    }

    /// What a connection has filled of a buffer decides which buffers it is given. One that fills
    /// small ones gets large ones at once; one that leaves large ones nearly empty gets small ones
    /// when it is next read from.
    #[inline]
    pub fn has_filled(&mut self, ring: &mut Ring, conn: ConnId, bytes: usize) {
        let socket = &mut self.slots[conn.index()];
        socket.hungry = false;
        if bytes < Size::Small.bytes() {
            socket.bulk = socket.bulk.saturating_sub(1);
            return;
        }
        socket.bulk = SHORT_READS_MAX;
        if socket.size == Size::Small {
            self.stop_reading(ring, conn);
        }
    }

    /// The end of a connection will be seen to later.
    pub fn end_comes(&mut self, tag: Tag) {
        if let Some(conn) = self.conn(tag) {
            let end = &mut self.slots[conn.index()].end;
            *end = if *end == End::Open { End::Known } else { *end };
        }
    }

    /// Its end is known, and not seen to yet.
    pub fn is_ending(&self, conn: ConnId) -> bool {
        let socket = &self.slots[conn.index()];
        socket.end == End::Known && socket.phase == Phase::Open
    }

    /// A receive request is over.
    pub fn reading_ended(&mut self, conn: ConnId) {
        self.slots[conn.index()].reading = Reading::Idle;
    }

    /// The peer will send nothing more, or reading has failed. True the first time, if the
    /// connection is still open: the engine must hear of it.
    pub fn input_ended(&mut self, conn: ConnId) -> bool {
        let socket = &mut self.slots[conn.index()];
        let first = std::mem::replace(&mut socket.end, End::SeenTo) != End::SeenTo;
        first && socket.phase == Phase::Open
    }

    /// May a chunk be sent now?
    pub fn takes_chunk(&self, conn: ConnId) -> bool {
        matches!(self.phase(conn), Phase::Open | Phase::Flushing)
            && self.slots[conn.index()].write.is_none()
    }

    /// Starts to write a chunk. Only if [`Sockets::takes_chunk`].
    ///
    /// # Safety
    /// The chunk's bytes stay where they are until the chunk is dropped, even if it moves.
    pub unsafe fn write(&mut self, ring: &mut Ring, conn: ConnId, chunk: C) {
        let socket = &mut self.slots[conn.index()];
        debug_assert!(socket.write.is_none());
        socket.write = Some(Write { chunk, done: 0 });
        // SAFETY: passed on.
        unsafe { self.write_on(ring, conn) };
    }

    /// Goes on with a chunk that was written in part.
    ///
    /// # Safety
    /// As for [`Sockets::write`].
    pub unsafe fn write_on(&mut self, ring: &mut Ring, conn: ConnId) {
        let socket = &self.slots[conn.index()];
        if let (Some(stream), Some(write)) = (&socket.stream, &socket.write) {
            let rest = &write.chunk.as_ref()[write.done..];
            // SAFETY: the chunk is kept in the slot until the request has completed.
            unsafe { ring.send(stream.as_raw_fd(), rest, tag_of(Op::Send, conn)) };
        }
    }

    /// A send has completed.
    pub fn written(&mut self, conn: ConnId, result: i32) -> Written<C> {
        let socket = &mut self.slots[conn.index()];
        let Some(write) = &mut socket.write else { return Written::Stale(None) };
        if !matches!(socket.phase, Phase::Open | Phase::Flushing) {
            return Written::Stale(socket.write.take().map(|write| write.chunk));
        }
        let interrupted = matches!(-result, libc::EAGAIN | libc::EINTR);
        let bytes = usize::try_from(result).unwrap_or(0);
        write.done += bytes;
        let through = write.done == write.chunk.as_ref().len();
        let failed = !through && bytes == 0 && !interrupted;
        let chunk = if through || failed { socket.write.take() } else { None };
        match chunk.map(|write| write.chunk) {
            Some(chunk) if failed => Written::Failed(chunk),
            chunk => Written::Progress { bytes, chunk },
        }
    }

    /// The engine is done with a connection. If `flush`, what it still gives goes out first. Gives
    /// whether the connection counted for the limit.
    pub fn close(&mut self, ring: &mut Ring, conn: ConnId, flush: bool, now: Nanos) -> bool {
        if self.phase(conn) != Phase::Open {
            return false;
        }
        if flush {
            self.slots[conn.index()].phase = Phase::Flushing;
            self.due.push(Reverse((now + FLUSH_NS_MAX, conn.slot, conn.generation)));
            self.read(ring, conn);
        } else {
            self.abandon(conn);
        }
        std::mem::take(&mut self.slots[conn.index()].admitted)
    }

    /// Everything is written: tell the peer, and give it a moment to hear it.
    pub fn flushed(&mut self, ring: &mut Ring, conn: ConnId, now: Nanos) {
        let socket = &mut self.slots[conn.index()];
        if socket.end == End::SeenTo {
            self.abandon(conn);
        } else if let Some(stream) = &socket.stream {
            socket.phase = Phase::Draining;
            // Fails if the peer has reset the connection; reading it says so too.
            let _ = stream.shutdown(Shutdown::Write);
            self.due.push(Reverse((now + DRAIN_NS_MAX, conn.slot, conn.generation)));
            self.read(ring, conn);
        }
    }

    /// Ends a connection as soon as the kernel lets go of it.
    pub fn abandon(&mut self, conn: ConnId) {
        let socket = &mut self.slots[conn.index()];
        socket.phase = Phase::Dying;
        if let Some(stream) = socket.stream.as_ref().filter(|_| !socket.is_idle()) {
            // Whatever is under way completes at once. Fails if it has already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.release(conn);
    }

    /// Frees the slot of a dying connection if nothing is under way for it.
    pub fn release(&mut self, conn: ConnId) {
        let socket = &mut self.slots[conn.index()];
        if socket.phase == Phase::Dying && socket.is_idle() {
            socket.phase = Phase::Free;
            socket.stream = None;
            self.free.push(conn.slot);
            self.live -= 1;
        }
    }

    /// When the time of a closing connection is over, at the earliest.
    pub fn next_due(&mut self) -> Option<Nanos> {
        while let Some(&Reverse((at, slot, generation))) = self.due.peek() {
            let conn = ConnId { slot, generation };
            if matches!(self.phase(conn), Phase::Flushing | Phase::Draining) {
                return Some(at);
            }
            self.due.pop();
        }
        None
    }

    /// A closing connection whose time is over.
    pub fn pop_due(&mut self, now: Nanos) -> Option<ConnId> {
        self.next_due().filter(|at| *at <= now)?;
        let Reverse((_, slot, generation)) = self.due.pop()?;
        Some(ConnId { slot, generation })
    }
}

impl<C> Drop for Sockets<C> {
    fn drop(&mut self) {
        // None in an orderly end. In any other the kernel may still read them: they are leaked.
        for write in self.slots.iter_mut().filter_map(|socket| socket.write.take()) {
            std::mem::forget(write.chunk);
        }
    }
}

impl<C> Socket<C> {
    /// A slot's state before it has a socket.
    fn none(generation: u32) -> Socket<C> {
        Socket {
            stream: None,
            generation,
            phase: Phase::Free,
            reading: Reading::Idle,
            hungry: false,
            size: Size::Small,
            bulk: 0,
            wanted: true,
            end: End::Open,
            admitted: false,
            write: None,
        }
    }

    fn is_idle(&self) -> bool {
        matches!(self.reading, Reading::Idle | Reading::Starved) && self.write.is_none()
    }
}

fn tag_of(op: Op, conn: ConnId) -> Tag {
    Tag { op, slot: conn.slot, generation: conn.generation & 0x00ff_ffff }
}

/// What the kernel holds of a connection that its peer has not acknowledged; 0 if it is gone.
pub(crate) fn unacknowledged_bytes(fd: RawFd) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int.
    let done = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
    if done == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
}
