//! Shards, the rings between them, and connections whose far end is a counter.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mesh::{Receiver, Sender};
use shard::access::Access;
use shard::limits::RING_FRAMES;
use shard::{ConnId, Effects, Frame, Hangup, Input, Nanos, Options, Peer, Shard, ShardId};

/// Frames taken off a ring at once, as the runtime does.
const FRAMES_AT_ONCE: usize = 16;
/// What a rig starts its random numbers with; any number would do, as long as it stays.
const SEED: u64 = 1;

/// A connection of a rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conn {
    /// The shard it lives on.
    pub shard: usize,
    id: ConnId,
}

/// What has crossed the rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames of every kind.
    pub frames: u64,
    /// Of those, batches of publications.
    pub batches: u64,
    /// Bytes of those batches.
    pub bytes: u64,
}

/// One shard with its ends of the rings.
struct Seat {
    shard: Shard,
    effects: Effects,
    inbound: Vec<Option<Receiver<Frame>>>,
    outbound: Vec<Option<Sender<Frame>>>,
    /// Slots of connections that are over, and how many there have been.
    free: Vec<ConnId>,
    slots: u32,
    /// What has been written to this one of them.
    heard: Option<(ConnId, Vec<u8>)>,
}

/// Some shards and their clients.
pub struct Rig {
    seats: Vec<Seat>,
    now: Nanos,
    cids: u64,
    /// What has crossed the rings so far.
    pub traffic: Traffic,
    /// Bytes written to clients so far.
    pub written_bytes: u64,
    /// Times a client had bytes to be written: what would have been a send each.
    pub writes: u64,
}

impl Rig {
    /// Shards with no connections.
    pub fn new(shards: usize) -> Rig {
        Rig::under(shards, Access::default())
    }

    /// Shards that go by what an operator says of accounts and users. As on any server, each
    /// account may ask the system account about itself.
    pub fn under(shards: usize, mut access: Access) -> Rig {
        access.open_system();
        let options = &Options { access: Arc::new(access), ..Options::default() };
        let mut seats: Vec<Seat> = (0..shards).map(|id| Seat::new(id, shards, options)).collect();
        for from in 0..shards {
            for to in (0..shards).filter(|to| *to != from) {
                let (sender, receiver) = mesh::ring(RING_FRAMES);
                seats[from].outbound[to] = Some(sender);
                seats[to].inbound[from] = Some(receiver);
            }
        }
        Rig { seats, now: 0, cids: 0, traffic: Traffic::default(), written_bytes: 0, writes: 0 }
    }

    /// How many shards.
    pub fn shards(&self) -> usize {
        self.seats.len()
    }

    /// A client connects to a shard and says `CONNECT`, and then `says`.
    pub fn connect(&mut self, shard: usize, says: &str) -> Conn {
        self.connect_as(shard, "", says)
    }

    /// As [`Rig::connect`], as the user of that name.
    pub fn connect_as(&mut self, shard: usize, user: &str, says: &str) -> Conn {
        let seat = &mut self.seats[shard];
        let id = seat.free.pop().unwrap_or_else(|| {
            seat.slots += 1;
            ConnId { slot: seat.slots - 1, generation: 0 }
        });
        let conn = Conn { shard, id: ConnId { generation: id.generation + 1, ..id } };
        self.cids += 1;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 4000));
        let peer = Peer {
            cid: self.cids,
            addr,
            start_unix_ns: 0,
            refused: false,
            tls: None,
            proxied: false,
        };
        self.step(shard, Input::Open { conn: conn.id, peer });
        let connect = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\
            \"no_responders\":true,\"lang\":\"rust\",\"version\":\"1\",\"protocol\":1";
        let who = match user {
            "" => String::new(),
            user => format!(",\"user\":\"{user}\",\"pass\":\"\""),
        };
        self.say(conn, format!("{connect}{who}}}\r\n{says}").as_bytes());
        conn
    }

    /// From here on what is written to this connection is kept for [`Rig::take`].
    pub fn listen(&mut self, conn: Conn) {
        self.seats[conn.shard].heard = Some((conn.id, Vec::new()));
    }

    /// What has been written to this connection, which is listened to, since this was last asked.
    pub fn take(&mut self, conn: Conn) -> Vec<u8> {
        let heard = self.seats[conn.shard].heard.as_mut();
        heard.map(|(_, bytes)| std::mem::take(bytes)).unwrap_or_default()
    }

    /// A client's bytes arrive in one read, and all that follows from them happens.
    pub fn say(&mut self, conn: Conn, bytes: &[u8]) {
        self.step(conn.shard, Input::Bytes { conn: conn.id, at: self.now, bytes });
        self.settle();
    }

    /// A client closes its socket.
    pub fn leave(&mut self, conn: Conn) {
        let cause = Hangup::Closed;
        self.step(conn.shard, Input::Hangup { conn: conn.id, cause });
        self.settle();
        self.step(conn.shard, Input::Turn);
        self.settle();
        self.seats[conn.shard].free.push(conn.id);
    }

    /// Messages in from clients and out to them, since the beginning.
    pub fn messages(&self) -> (u64, u64) {
        let figures = self.seats.iter().map(|seat| seat.shard.figures());
        figures.fold((0, 0), |(came, went), f| (came + f.in_msgs, went + f.out_msgs))
    }

    fn step(&mut self, shard: usize, input: Input<'_>) {
        let seat = &mut self.seats[shard];
        seat.shard.step(self.now, input, &mut seat.effects);
    }

    /// Turns of all shards until nothing is under way.
    fn settle(&mut self) {
        self.now += 1000;
        let mut busy = true;
        while busy {
            busy = false;
            for place in 0..self.seats.len() {
                busy |= self.seats[place].write_dirty(
                    self.now,
                    &mut self.written_bytes,
                    &mut self.writes,
                );
                busy |= self.seats[place].send_frames(self.now, &mut self.traffic);
                busy |= self.seats[place].take_frames(self.now, &mut self.traffic);
            }
        }
        for seat in &mut self.seats {
            // What the runtime makes a histogram of.
            seat.shard.handed_over(|since, msgs| {
                std::hint::black_box((since, msgs));
            });
        }
    }
}

impl Seat {
    fn new(id: usize, shards: usize, options: &Options) -> Seat {
        let info = wire::ServerInfo::default();
        let id = ShardId(id as u16);
        Seat {
            shard: Shard::new(id, shards, options.clone(), info, SEED, 0),
            effects: Effects::new(shards),
            inbound: (0..shards).map(|_| None).collect(),
            outbound: (0..shards).map(|_| None).collect(),
            free: Vec::new(),
            slots: 0,
            heard: None,
        }
    }

    /// Hands every dirty connection its bytes; whether there were any.
    fn write_dirty(&mut self, now: Nanos, written_bytes: &mut u64, writes: &mut u64) -> bool {
        self.effects.copied_bytes = 0;
        self.effects.reads.clear();
        self.effects.closes.clear();
        if self.effects.dirty.is_empty() {
            return false;
        }
        let mut dirty = std::mem::take(&mut self.effects.dirty);
        for conn in dirty.drain(..) {
            while let Some(chunk) = self.shard.take_chunk(conn) {
                let bytes = chunk.as_ref().len() as u64;
                *written_bytes += bytes;
                *writes += 1;
                if let Some((ear, heard)) = &mut self.heard
                    && *ear == conn
                {
                    heard.extend_from_slice(chunk.as_ref());
                }
                self.shard.recycle(chunk);
                self.shard.step(now, Input::Sent { conn, bytes }, &mut self.effects);
            }
        }
        if self.effects.dirty.is_empty() {
            self.effects.dirty = dirty;
        }
        true
    }

    /// Moves what is staged to the rings; whether there was anything.
    fn send_frames(&mut self, now: Nanos, traffic: &mut Traffic) -> bool {
        let mut moved = false;
        for to in 0..self.outbound.len() {
            let Some(ring) = &mut self.outbound[to] else { continue };
            let to = ShardId(to as u16);
            if self.effects.is_clear(to) {
                continue;
            }
            while ring.free() > 0
                && let Some(frame) = self.effects.pull(to)
            {
                if let Frame::Deliver(batch) = &frame {
                    traffic.batches += 1;
                    traffic.bytes += batch.len() as u64;
                }
                traffic.frames += 1;
                moved = true;
                assert!(ring.push(frame).is_ok(), "there was room");
            }
            if self.effects.relieved(to) {
                self.shard.step(now, Input::Room { to }, &mut self.effects);
            }
        }
        moved
    }

    /// Takes in what peers have sent; whether that was anything.
    fn take_frames(&mut self, now: Nanos, traffic: &mut Traffic) -> bool {
        let mut took = false;
        let mut frames = Vec::new();
        for from in 0..self.inbound.len() {
            let Some(ring) = &mut self.inbound[from] else { continue };
            ring.drain(FRAMES_AT_ONCE, |frame| frames.push(frame));
            for frame in frames.drain(..) {
                let from = ShardId(from as u16);
                self.shard.step(now, Input::Frame { from, frame }, &mut self.effects);
                took = true;
            }
        }
        // As the runtime does: a lane that has filled a batch is not left waiting.
        let full = (0..self.outbound.len()).any(|to| self.effects.is_due(ShardId(to as u16)));
        if full {
            self.send_frames(now, traffic);
        }
        took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_reaches_subscribers_of_all_shards() {
        let mut rig = Rig::new(3);
        for shard in [0, 1, 1, 2] {
            rig.connect(shard, "SUB a.* 1\r\nPING\r\n");
        }
        let publisher = rig.connect(0, "PING\r\n");
        let (before, traffic) = (rig.written_bytes, rig.traffic);
        rig.say(publisher, b"PUB a.b 2\r\nhi\r\nPUB a.c 2\r\nhi\r\n");
        assert_eq!(rig.messages(), (2, 8));
        assert_eq!(rig.written_bytes - before, 8 * b"MSG a.b 1 2\r\nhi\r\n".len() as u64);
        assert_eq!(rig.traffic.batches - traffic.batches, 2, "both messages in one batch each");
    }

    #[test]
    fn who_leaves_hears_no_more_and_its_slot_is_used_again() {
        let mut rig = Rig::new(1);
        let first = rig.connect(0, "SUB a 1\r\n");
        let publisher = rig.connect(0, "");
        rig.leave(first);
        rig.say(publisher, b"PUB a 2\r\nhi\r\n");
        assert_eq!(rig.messages(), (1, 0));
        let second = rig.connect(0, "SUB a 1\r\n");
        assert_eq!(second.id.slot, first.id.slot);
        rig.say(publisher, b"PUB a 2\r\nhi\r\n");
        assert_eq!(rig.messages(), (2, 1));
    }
}
