//! The part of the runtime that a simulation needs: slots, sockets, rings, and the promises a
//! driver makes to a shard.

mod lanes;
mod sockets;

use std::sync::Arc;

use mesh::{Receiver, Sender};
use shard::access::Access;
use shard::limits::{BATCH_BYTES_MAX, LANE_STAGED_BYTES_MAX, MILLIS, SECONDS};
use shard::report::{Ask, Report, Wanted};
use shard::{ConnId, Frame, Input, Nanos, Options, Peer, Reads, ShardId};
use wire::CloseReason;

use crate::bus::Bus;
use crate::oracle::Session;
use crate::pipe::Pipe;
use crate::prng::Prng;

/// How long a closing connection may take to write its last bytes.
const FLUSH_NS: Nanos = SECONDS;
/// What control frames may add to a lane that is as full as it gets, bytes.
const LANE_SLACK_BYTES: usize = 64 * 1024;

/// Both directions of a connection.
pub struct Link {
    /// From the client.
    pub up: Pipe,
    /// To the client.
    pub down: Pipe,
    /// Reads and writes fail.
    pub reset: bool,
}

impl Link {
    /// The server's end of the connection does not exist any more.
    fn cut(&mut self) {
        self.up.lose();
        self.down.end();
        if self.reset {
            self.down.lose();
        }
    }
}

/// A connection as the driver holds it.
struct Socket<C> {
    session: Session,
    conn: ConnId,
    /// It was dirty, and `take_chunk` has not said yet that there is no more.
    writing: bool,
    chunk: Option<(C, usize)>,
    paused: bool,
    /// Reads that still come although it is paused.
    grace: u64,
    /// The shard has been told that the socket is gone.
    hung_up: bool,
    closing: Option<Nanos>,
    sent_bytes: u64,
    /// What the shard knew of when it gave the connection up; more may go out until it is closed.
    sent_bytes_known: Option<u64>,
    /// When the kernel last took something.
    idle_since: Nanos,
}

struct Slot<C> {
    generation: u32,
    socket: Option<Socket<C>>,
    /// Chunks of a closed connection that the kernel has not given back.
    lent: Vec<C>,
}

/// A connection that is over.
pub struct Closed {
    /// Whose.
    pub session: Session,
    /// Why.
    pub reason: CloseReason,
    /// What had been written of what was for it when that was decided.
    pub sent_bytes: u64,
}

type Lanes<T> = Vec<Vec<Option<T>>>;

/// A bus with its sockets and rings.
pub struct Driver<B: Bus> {
    /// What is driven.
    pub bus: B,
    /// The time.
    pub now: Nanos,
    /// Connections closed since this was last looked at.
    pub closed: Vec<Closed>,
    /// Shards that had nothing left to take back at the end of a turn.
    pub withdrawn: Vec<usize>,
    /// Sessions whose last bytes were given up.
    pub cut_short: Vec<Session>,
    /// Reports since this was last looked at.
    pub reports: Vec<Report>,
    senders: Lanes<Sender<Frame>>,
    receivers: Lanes<Receiver<Frame>>,
    slots: Vec<Vec<Slot<B::Chunk>>>,
    probes: Vec<Vec<ConnId>>,
    staged_max: usize,
    write_deadline_ns: Nanos,
    prng: Prng,
    settle_per_mille: u32,
    connections: u64,
}

impl<B: Bus> Driver<B> {
    /// Rings hold `capacity` frames, and a publication has at most `copies_max` ways. Effects are
    /// carried out after a step this often in a thousand, and after a turn.
    pub fn new(
        bus: B,
        capacity: usize,
        options: &Options,
        settle_per_mille: u32,
        copies_max: usize,
        seed: u64,
    ) -> Driver<B> {
        let shards = bus.shards();
        let mut senders: Lanes<Sender<Frame>> = Vec::new();
        let mut receivers: Lanes<Receiver<Frame>> = Vec::new();
        for _ in 0..shards {
            senders.push((0..shards).map(|_| None).collect());
            receivers.push((0..shards).map(|_| None).collect());
        }
        for from in 0..shards {
            for to in (0..shards).filter(|to| *to != from) {
                let (sender, receiver) = mesh::ring(capacity);
                senders[from][to] = Some(sender);
                receivers[to][from] = Some(receiver);
            }
        }
        Driver {
            bus,
            now: 0,
            closed: Vec::new(),
            withdrawn: Vec::new(),
            cut_short: Vec::new(),
            reports: Vec::new(),
            senders,
            receivers,
            slots: (0..shards).map(|_| Vec::new()).collect(),
            probes: (0..shards).map(|_| Vec::new()).collect(),
            staged_max: LANE_STAGED_BYTES_MAX
                + BATCH_BYTES_MAX
                + options.payload_max * copies_max
                + LANE_SLACK_BYTES,
            write_deadline_ns: options.write_deadline_ns,
            prng: Prng::stream(seed, "driver"),
            settle_per_mille,
            connections: 0,
        }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.slots.len()
    }

    /// Accepts a connection.
    pub fn open(
        &mut self,
        at: usize,
        session: Session,
        refused: bool,
        links: &mut [Link],
    ) -> Result<(), String> {
        let free: Vec<usize> = (0..self.slots[at].len())
            .filter(|slot| {
                self.slots[at][*slot].socket.is_none() && self.slots[at][*slot].lent.is_empty()
            })
            .collect();
        let slot = if free.is_empty() || self.prng.chance(100) {
            self.slots[at].push(Slot { generation: 0, socket: None, lent: Vec::new() });
            self.slots[at].len() - 1
        } else {
            *self.prng.pick(&free)
        };
        let entry = &mut self.slots[at][slot];
        entry.generation += 1;
        let conn = ConnId { slot: slot as u32, generation: entry.generation };
        entry.socket = Some(Socket {
            session,
            conn,
            writing: false,
            chunk: None,
            paused: false,
            grace: 0,
            hung_up: false,
            closing: None,
            sent_bytes: 0,
            sent_bytes_known: None,
            idle_since: self.now,
        });
        self.connections += 1;
        let peer = Peer {
            cid: self.connections,
            addr: ([127, 0, 0, 1], 40_000).into(),
            start_unix_ns: self.now,
            refused,
            tls: None,
            proxied: false,
        };
        self.step(at, Input::Open { conn, peer }, links)
    }

    /// Steps a shard, and carries out what it wants now or some time later.
    fn step(&mut self, at: usize, input: Input<'_>, links: &mut [Link]) -> Result<(), String> {
        self.bus.step(at, self.now, input);
        self.note_sent(at);
        for to in 0..self.shards() {
            let staged = self.bus.effects(at).staged_bytes(ShardId(to as u16));
            if staged > self.staged_max {
                return Err(format!("{staged} bytes are staged on the lane {at} → {to}"));
            }
        }
        if self.prng.chance(self.settle_per_mille) { self.settle(at, links) } else { Ok(()) }
    }

    /// A connection that is to be closed is judged by what its shard knew then.
    fn note_sent(&mut self, at: usize) {
        let conns: Vec<ConnId> = self.bus.effects(at).closes.iter().map(|it| it.conn).collect();
        for conn in conns {
            if let Some(socket) = self.socket(at, conn) {
                socket.sent_bytes_known.get_or_insert(socket.sent_bytes);
            }
        }
    }

    /// Ends a turn of a shard.
    pub fn turn(&mut self, at: usize, links: &mut [Link]) -> Result<(), String> {
        self.step(at, Input::Turn, links)?;
        self.settle(at, links)?;
        if !self.bus.has_work(at) {
            self.withdrawn.push(at);
        }
        Ok(())
    }

    /// Asks a shard for a report of its connections.
    pub fn ask(&mut self, at: usize, ticket: u64, links: &mut [Link]) -> Result<(), String> {
        let what = Wanted { open: true, subscriptions: true, ..Wanted::default() };
        self.step(at, Input::Ask(Ask::Report { ticket, what }), links)
    }

    /// Gives a shard another access.
    pub fn change_access(
        &mut self,
        at: usize,
        access: &Arc<Access>,
        links: &mut [Link],
    ) -> Result<(), String> {
        self.step(at, Input::Ask(Ask::Access(access.clone())), links)
    }

    /// Carries out a shard's effects, but for frames.
    fn settle(&mut self, at: usize, links: &mut [Link]) -> Result<(), String> {
        let effects = self.bus.effects(at);
        effects.copied_bytes = 0;
        let dirty = std::mem::take(&mut effects.dirty);
        let reads = std::mem::take(&mut effects.reads);
        let closes = std::mem::take(&mut effects.closes);
        self.probes[at].append(&mut effects.probes);
        self.reports.append(&mut effects.reports);
        effects.notes.clear();
        for conn in dirty {
            let Some(socket) = self.socket(at, conn) else { continue };
            if std::mem::replace(&mut socket.writing, true) {
                return Err(format!("{conn:?} of shard {at} is dirty twice"));
            }
        }
        for (conn, wanted) in reads {
            let grace = self.prng.below(3);
            let Some(socket) = self.socket(at, conn) else { continue };
            socket.paused = wanted == Reads::Pause;
            socket.grace = grace;
        }
        for close in closes {
            let (now, deadline) = (self.now, self.write_deadline_ns);
            let Some(socket) = self.socket(at, close.conn) else {
                return Err(format!("{:?} of shard {at} is closed, but not open", close.conn));
            };
            if socket.closing.is_some() {
                return Err(format!("{:?} of shard {at} is closed twice", close.conn));
            }
            let waited = now.saturating_sub(socket.idle_since);
            if close.reason == CloseReason::SlowConsumerWriteDeadline && waited < deadline {
                return Err(format!(
                    "{:?} of shard {at} is closed after {waited} ns of its deadline",
                    close.conn
                ));
            }
            let sent_bytes = socket.sent_bytes_known.unwrap_or(socket.sent_bytes);
            let session = socket.session;
            if close.flush {
                socket.closing = Some(now + FLUSH_NS);
                socket.writing = true;
            }
            self.closed.push(Closed { session, reason: close.reason, sent_bytes });
            if !close.flush {
                self.finish(at, close.conn.index(), links);
            }
        }
        Ok(())
    }

    fn socket(&mut self, at: usize, conn: ConnId) -> Option<&mut Socket<B::Chunk>> {
        let socket = self.slots[at].get_mut(conn.index())?.socket.as_mut()?;
        (socket.conn == conn).then_some(socket)
    }

    /// The socket is closed. Its slot is free once the kernel holds nothing of it.
    fn finish(&mut self, at: usize, slot: usize, links: &mut [Link]) {
        let entry = &mut self.slots[at][slot];
        let Some(socket) = entry.socket.take() else { return };
        links[socket.session].cut();
        entry.lent.extend(socket.chunk.map(|(chunk, _)| chunk));
    }

    /// Answers what a shard wants to know of the kernel, and gets back what the kernel had
    /// borrowed.
    pub fn chores(&mut self, at: usize, links: &mut [Link]) -> Result<bool, String> {
        let probes = std::mem::take(&mut self.probes[at]);
        let mut busy = !probes.is_empty();
        for conn in probes {
            let Some(socket) = self.socket(at, conn) else { continue };
            let bytes = links[socket.session].down.len() as u64;
            self.step(at, Input::Unacknowledged { conn, bytes }, links)?;
        }
        for slot in 0..self.slots[at].len() {
            for chunk in std::mem::take(&mut self.slots[at][slot].lent) {
                busy = true;
                self.bus.recycle(at, chunk);
            }
        }
        Ok(busy)
    }

    /// The soonest deadline of any shard.
    pub fn deadline(&self) -> Option<Nanos> {
        (0..self.shards()).filter_map(|at| self.bus.deadline(at)).min()
    }

    /// Is a turn of this shard due?
    pub fn is_due(&self, at: usize) -> bool {
        self.bus.has_work(at) || self.bus.deadline(at).is_some_and(|deadline| deadline <= self.now)
    }

    /// Lets time pass.
    pub fn advance(&mut self, to: Nanos) {
        debug_assert!(
            to >= self.now && to - self.now < 1_000_000 * MILLIS,
            "time goes forward, in steps"
        );
        self.now = to;
    }

    /// How many connections a shard has open.
    pub fn open_connections(&self, at: usize) -> usize {
        let open = |slot: &&Slot<B::Chunk>| {
            slot.socket.as_ref().is_some_and(|socket| socket.closing.is_none())
        };
        self.slots[at].iter().filter(open).count()
    }

    /// What keeps the driver from resting, if anything.
    pub fn unrest(&mut self) -> Option<String> {
        let shards = self.shards();
        for at in 0..shards {
            for to in 0..shards {
                let held = self.receivers[to][at].as_ref().map_or(0, Receiver::len);
                if held > 0 || !self.bus.effects(at).is_clear(ShardId(to as u16)) {
                    return Some(format!("the lane {at} → {to} is not empty"));
                }
            }
            if self.bus.has_work(at) {
                return Some(format!("shard {at} has work"));
            }
            let waits = |slot: &Slot<B::Chunk>| match &slot.socket {
                Some(socket) if socket.writing || socket.closing.is_some() || socket.hung_up => {
                    Some(format!(
                        "session {} of shard {at} has something to write or to end",
                        socket.session
                    ))
                }
                _ => None,
            };
            if let Some(who) = self.slots[at].iter().find_map(waits) {
                return Some(who);
            }
        }
        None
    }

    /// Is this session's socket not read from?
    pub fn is_paused(&self, session: Session) -> bool {
        let sockets = self.slots.iter().flatten().filter_map(|slot| slot.socket.as_ref());
        sockets.filter(|socket| socket.session == session).any(|socket| socket.paused)
    }
}
