//! A whole bus in memory, driven one step at a time, for scenarios in the protocol's own text.
#![allow(dead_code, missing_docs, reason = "each test binary uses its part")]

use std::collections::VecDeque;

use shard::access::{Check, Outcome};
use shard::report::{Ask, News};
use shard::{ConnId, Effects, Frame, Hangup, Input, Nanos, Options, Peer, Seat, Shard, ShardId};
use wire::ServerInfo;

/// Shards, and between each two of them a lane.
pub struct Bus {
    pub shards: Vec<Shard>,
    effects: Vec<Effects>,
    /// `lanes[from][to]`
    lanes: Vec<Vec<VecDeque<Frame>>>,
    clients: Vec<Client>,
    /// Proofs that wait to be looked at.
    pub checks: VecDeque<(usize, ConnId, Box<Check>)>,
    /// They wait until they are asked for.
    pub holds_checks: bool,
    /// Connections that accounts count, come or gone unasked.
    pub seats: Vec<Seat>,
    /// What shards have told the server of.
    pub news: Vec<News>,
    /// How often the kernel was to be asked about a connection.
    pub probes: usize,
    /// What the latest client was greeted with.
    pub info: String,
    pub now: Nanos,
    /// Frames a lane takes; more stay staged.
    pub lane_frames: usize,
}

/// A connection as its client sees it.
struct Client {
    shard: usize,
    conn: ConnId,
    got: Vec<u8>,
    closed: bool,
    /// It reads nothing: what is sent stays in the server.
    stuck: bool,
}

pub type Id = usize;

pub const QUIET: &str =
    r#"CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#;

impl Bus {
    pub fn new(shards: usize) -> Bus {
        Bus::with(shards, Options::default())
    }

    pub fn with(shards: usize, options: Options) -> Bus {
        let shard = |id| {
            let id = ShardId(id as u16);
            Shard::new(id, shards, options.clone(), ServerInfo::default(), 42 + id.0 as u64, 0)
        };
        let effects = |_| {
            let mut effects = Effects::new(shards);
            effects.bound(options.flow_bounds(shards));
            effects
        };
        Bus {
            shards: (0..shards).map(shard).collect(),
            effects: (0..shards).map(effects).collect(),
            lanes: (0..shards).map(|_| (0..shards).map(|_| VecDeque::new()).collect()).collect(),
            clients: Vec::new(),
            checks: VecDeque::new(),
            holds_checks: false,
            seats: Vec::new(),
            news: Vec::new(),
            probes: 0,
            info: String::new(),
            now: 1,
            lane_frames: usize::MAX,
        }
    }

    /// A client connects to a shard; its INFO is read off.
    pub fn connect(&mut self, shard: usize) -> Id {
        self.connect_from(shard, [127, 0, 0, 1])
    }

    /// As [`Bus::connect`], from this address.
    pub fn connect_from(&mut self, shard: usize, address: [u8; 4]) -> Id {
        let id = self.clients.len();
        let conn = ConnId { slot: id as u32, generation: 1 };
        self.clients.push(Client { shard, conn, got: Vec::new(), closed: false, stuck: false });
        let addr = (address, 1000 + id as u16).into();
        let cid = id as u64 + 1;
        let peer = Peer { cid, addr, start_unix_ns: 0, refused: false, tls: None, proxied: false };
        self.step(shard, Input::Open { conn, peer });
        self.settle();
        self.info = self.take(id);
        assert!(self.info.starts_with("INFO {"));
        id
    }

    /// As [`Bus::connect`], and says CONNECT without verbose and pedantic.
    pub fn quiet(&mut self, shard: usize) -> Id {
        let id = self.connect(shard);
        self.send(id, &format!("{QUIET}\r\n"));
        id
    }

    /// The client sends, and everything settles.
    pub fn send(&mut self, id: Id, text: &str) {
        self.post(id, text.as_bytes());
        self.settle();
    }

    /// The client sends; lanes stay as they are.
    pub fn post(&mut self, id: Id, bytes: &[u8]) {
        let Client { shard, conn, .. } = self.clients[id];
        self.step(shard, Input::Bytes { conn, at: self.now, bytes });
    }

    /// What the client has got since it was last asked.
    pub fn take(&mut self, id: Id) -> String {
        String::from_utf8(std::mem::take(&mut self.clients[id].got)).expect("text")
    }

    /// As [`Bus::take`], whatever the bytes are.
    pub fn take_bytes(&mut self, id: Id) -> Vec<u8> {
        std::mem::take(&mut self.clients[id].got)
    }

    /// The control plane asks every shard for the same.
    pub fn ask(&mut self, ask: &Ask) {
        self.tell(ask);
        self.settle();
    }

    /// As [`Bus::ask`], but what follows from it has not happened yet.
    pub fn tell(&mut self, ask: &Ask) {
        for shard in 0..self.shards.len() {
            self.step(shard, Input::Ask(ask.clone()));
        }
    }

    pub fn is_closed(&self, id: Id) -> bool {
        self.clients[id].closed
    }

    pub fn stick(&mut self, id: Id, stuck: bool) {
        self.clients[id].stuck = stuck;
        if !stuck {
            self.collect(id);
            self.settle();
        }
    }

    pub fn hangup(&mut self, id: Id) {
        self.drop(id);
        self.settle();
    }

    /// The server ends the connection.
    pub fn kick(&mut self, id: Id) {
        let cid = id as u64 + 1;
        self.step(self.clients[id].shard, Input::Ask(Ask::Kick { cid }));
    }

    /// As [`Bus::hangup`], but what follows from it has not happened yet.
    pub fn drop(&mut self, id: Id) {
        let Client { shard, conn, .. } = self.clients[id];
        self.step(shard, Input::Hangup { conn, cause: Hangup::Closed });
    }

    /// The kernel took so many bytes for a client that reads nothing.
    pub fn trickle(&mut self, id: Id, bytes: u64) {
        let Client { shard, conn, .. } = self.clients[id];
        self.step(shard, Input::Sent { conn, bytes });
        self.settle();
    }

    /// Time passes; what is due happens.
    pub fn pass(&mut self, ns: Nanos) {
        self.now += ns;
        for shard in 0..self.shards.len() {
            self.step(shard, Input::Turn);
        }
        self.settle();
    }

    /// Lanes move and turns end until nothing does any more.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut moved = false;
            for from in 0..self.shards.len() {
                for to in 0..self.shards.len() {
                    moved |= self.pump(from, to);
                    moved |= self.drain(from, to);
                }
                if !self.holds_checks {
                    moved |= self.check();
                }
                if self.shards[from].has_work() {
                    moved = true;
                    self.step(from, Input::Turn);
                }
            }
            if !moved {
                return;
            }
        }
        panic!("the bus does not come to rest");
    }

    /// Looks at one proof.
    pub fn check(&mut self) -> bool {
        let Some((shard, conn, check)) = self.checks.pop_front() else { return false };
        self.step(shard, Input::Checked { conn, outcome: check.outcome() });
        true
    }

    /// Somebody else has looked at one.
    pub fn answer(&mut self, outcome: Outcome) {
        let (shard, conn, _) = self.checks.pop_front().expect("a check is out");
        self.step(shard, Input::Checked { conn, outcome });
        self.settle();
    }

    /// What waits for the lane, and how much may.
    pub fn staged_bytes(&self, from: usize, to: usize) -> (usize, usize) {
        let effects = &self.effects[from];
        (effects.staged_bytes(ShardId(to as u16)), effects.bounds().staged)
    }

    /// Staged frames into the lane.
    pub fn pump(&mut self, from: usize, to: usize) -> bool {
        let peer = ShardId(to as u16);
        let mut moved = false;
        while self.lanes[from][to].len() < self.lane_frames
            && let Some(frame) = self.effects[from].pull(peer)
        {
            self.lanes[from][to].push_back(frame);
            moved = true;
        }
        if self.effects[from].relieved(peer) {
            self.step(from, Input::Room { to: peer });
        }
        moved
    }

    /// One frame out of the lane.
    pub fn drain(&mut self, from: usize, to: usize) -> bool {
        let Some(frame) = self.lanes[from][to].pop_front() else { return false };
        self.step(to, Input::Frame { from: ShardId(from as u16), frame });
        true
    }

    pub fn step(&mut self, shard: usize, input: Input<'_>) {
        self.shards[shard].step(self.now, input, &mut self.effects[shard]);
        for (conn, check) in std::mem::take(&mut self.effects[shard].checks) {
            self.checks.push_back((shard, conn, check));
        }
        self.seats.append(&mut self.effects[shard].seats);
        self.news.append(&mut self.effects[shard].news);
        for close in std::mem::take(&mut self.effects[shard].closes) {
            let id = close.conn.slot as usize;
            if close.flush {
                self.collect(id);
            }
            self.clients[id].closed = true;
        }
        for conn in std::mem::take(&mut self.effects[shard].dirty) {
            self.collect(conn.slot as usize);
        }
        // A turn of the driver ends with what was written in it.
        self.effects[shard].copied_bytes = 0;
        for conn in std::mem::take(&mut self.effects[shard].probes) {
            self.probes += 1;
            self.step(shard, Input::Unacknowledged { conn, bytes: 0 });
        }
    }

    fn collect(&mut self, id: Id) {
        let Client { shard, conn, stuck, .. } = self.clients[id];
        while !stuck && let Some(chunk) = self.shards[shard].take_chunk(conn) {
            let bytes = chunk.as_ref().len() as u64;
            self.clients[id].got.extend_from_slice(chunk.as_ref());
            self.shards[shard].recycle(chunk);
            self.step(shard, Input::Sent { conn, bytes });
        }
    }

    /// Replicas agree with what they replicate.
    pub fn assert_replicated(&self) {
        for (a, shard) in self.shards.iter().enumerate() {
            for (b, peer) in self.shards.iter().enumerate() {
                if a != b {
                    assert_eq!(peer.heard(ShardId(a as u16)), shard.announced(), "{a} on {b}");
                }
            }
            assert!(shard.is_at_rest(), "shard {a}");
        }
    }
}
