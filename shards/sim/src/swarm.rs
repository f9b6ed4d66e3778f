//! What kind of world a seed makes.

use std::sync::Arc;

use shard::Options;
use shard::access::Access;
use shard::limits::{MILLIS, SECONDS};

use crate::oracle::Rules;
use crate::prng::Prng;
use crate::walls::{self, Gap, Walls};

/// The draws that hold for a whole run.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// How many shards.
    pub shards: usize,
    /// Frames a ring holds.
    pub ring_frames: usize,
    /// Connections there should be.
    pub clients: usize,
    /// Things that happen before the run winds down.
    pub steps: u64,
    /// Odds of each kind of event, see [`crate::world`].
    pub events: [u32; 12],
    /// Odds of each kind of operation, see [`crate::client`].
    pub operations: [u32; 7],
    /// Patterns in use.
    pub patterns: Vec<&'static str>,
    /// Subjects in use.
    pub subjects: Vec<&'static str>,
    /// How often a client sends PING after a change or a publication, in a thousand.
    pub careful_per_mille: u32,
    /// How many queue groups.
    pub queues: u8,
    /// How often a subscription joins one, in a thousand.
    pub queue_per_mille: u32,
    /// Longest body, bytes; a tenth of messages may be much longer.
    pub body_max: u64,
    /// Bodies of the longer kind.
    pub big_body_max: u64,
    /// How often a message is of that kind, in a thousand.
    pub big_per_mille: u32,
    /// Most messages written in one go.
    pub burst_max: u64,
    /// Bursts of messages that differ in their payloads alone, in a thousand.
    pub alike_per_mille: u32,
    /// Bytes a read or write takes at most.
    pub cut_max: u64,
    /// Bytes the kernel holds for a client.
    pub down_capacity: usize,
    /// How often a shard's effects are carried out right after a step, in a thousand.
    pub settle_per_mille: u32,
    /// Longest step of time, nanoseconds.
    pub tick_max: u64,
    /// Clients that stop reading for good, among those that stop reading, in a thousand.
    pub stuck_per_mille: u32,
    /// Verbose clients, in a thousand.
    pub verbose_per_mille: u32,
    /// Clients that ask to be told of no responders, in a thousand.
    pub no_responders_per_mille: u32,
    /// Resets among the ends of connections, in a thousand.
    pub reset_per_mille: u32,
    /// Clients that never answer a PING, in a thousand.
    pub mute_per_mille: u32,
    /// Accounts, users and what is between them.
    pub walls: Walls,
    /// What is wrong with the walls as the shards have them.
    pub gap: Option<Gap>,
    /// What the operator set, access apart.
    pub options: Options,
}

const PATTERNS: [&str; 14] = [
    "a", "a.b", "a.c", "b.a", "a.b.c", "*", "a.*", "*.b", "a.>", ">", "a.b.>", "*.*", "a.*.c",
    "b.*",
];
const SUBJECTS: [&str; 9] = ["a", "a.b", "a.c", "b.a", "a.b.c", "b", "a.*", "a.b.x", "a..b"];

impl Swarm {
    /// The world of a seed.
    pub fn draw(seed: u64) -> Swarm {
        let mut prng = Prng::stream(seed, "swarm");
        let p = &mut prng;
        let big = p.chance(250);
        let options = options(p, big);
        let payload_max = options.payload_max as u64;
        let mut swarm = Swarm {
            shards: *p.pick(&[1, 2, 2, 2, 3, 3, 4, 5]),
            ring_frames: *p.pick(&[2, 2, 4, 8]),
            clients: p.between(2, 14) as usize,
            steps: p.between(300, 3000),
            events: events(p),
            operations: operations(p),
            patterns: subset(p, &PATTERNS),
            subjects: subset(p, &SUBJECTS),
            careful_per_mille: *p.pick(&[0, 300, 800]),
            queues: p.between(1, 3) as u8,
            queue_per_mille: *p.pick(&[0, 300, 500, 800, 1000]),
            body_max: (*p.pick(&[16, 64, 600])).min(payload_max / 2),
            big_body_max: if big { payload_max - 64 } else { (payload_max - 64).min(5000) },
            big_per_mille: if big { 300 } else { 10 },
            burst_max: *p.pick(&[1, 3, 10, 40]),
            alike_per_mille: *p.pick(&[0, 300, 900]),
            cut_max: *p.pick(&[7, 100, 4096, 65_536, 65_536]),
            down_capacity: *p.pick(&[64, 2048, 16_384, 1 << 20]),
            settle_per_mille: *p.pick(&[1000, 1000, 300, 30]),
            tick_max: *p.pick(&[MILLIS / 100, MILLIS, 20 * MILLIS]),
            stuck_per_mille: *p.pick(&[0, 0, 300]),
            verbose_per_mille: *p.pick(&[0, 100, 900]),
            no_responders_per_mille: *p.pick(&[100, 500, 900]),
            reset_per_mille: *p.pick(&[0, 500, 1000]),
            mute_per_mille: *p.pick(&[0, 0, 0, 200]),
            walls: Walls::default(),
            gap: None,
            options,
        };
        // Without, plans are shared by subjects that match the same, as those of many subjects are.
        swarm.options.match_cache = !Prng::stream(seed, "plans").chance(300);
        swarm.build_walls(&mut Prng::stream(seed, "walls"), seed);
        swarm
    }

    /// In half of all worlds there are several accounts.
    fn build_walls(&mut self, p: &mut Prng, seed: u64) {
        if !p.chance(500) {
            return;
        }
        self.walls = Walls::draw(p);
        self.walls.hurry(&mut Prng::stream(seed, "answers"));
        self.events[11] = *p.pick(&[0, 1, 4]);
        // Where answers are counted, there are some to count.
        if self.walls.people.iter().any(|person| person.may.answers.is_some()) {
            self.operations[5] = *p.pick(&[20, 100]);
        }
        // What is no subject at all is not compared with permissions.
        self.subjects.retain(|subject| *subject != "a..b");
        self.subjects.extend(walls::SUBJECTS);
        self.patterns.extend(walls::PATTERNS.into_iter().filter(|_| p.chance(500)));
    }

    /// What the shards are given for these walls, in place of `before`.
    pub fn access_of(&self, walls: &Walls, before: Option<&Access>) -> Arc<Access> {
        match self.gap {
            None => walls.access(before),
            Some(gap) => walls.with(gap, &self.walls).access(before),
        }
    }

    /// Are there several accounts?
    pub fn is_walled(&self) -> bool {
        self.walls.accounts > 0
    }

    /// What the oracle must know of it.
    pub fn rules(&self) -> Rules {
        Rules {
            lossy: self.options.no_fast_producer_stall && self.options.pending_bytes_max < 1 << 24,
            stale_possible: self.options.ping_interval_ns < 60 * SECONDS,
            pending_bytes_max: self.options.pending_bytes_max,
        }
    }
}

fn options(p: &mut Prng, big: bool) -> Options {
    let standard = Options::default();
    let payload_max =
        if big { *p.pick(&[20_000, 70_000, 300_000]) } else { *p.pick(&[1024, 8192, 1 << 20]) };
    let small_pending = p.chance(350);
    let small = (payload_max as u64 * 2).min(1 << 20).max(*p.pick(&[2048, 8192, 40_000]));
    Options {
        payload_max,
        pending_bytes_max: if small_pending { small } else { standard.pending_bytes_max },
        write_deadline_ns: *p.pick(&[SECONDS / 2, 2 * SECONDS, 10 * SECONDS]),
        ping_interval_ns: *p.pick(&[200 * MILLIS, 3 * SECONDS, 120 * SECONDS, 120 * SECONDS]),
        no_fast_producer_stall: p.chance(100),
        closed_clients_max: *p.pick(&[0, 3, 10_000]),
        ..standard
    }
}

/// Odds of events: turn, pump, drain, read, write, hear, act, wait, chores, arrive, disturb,
/// reload.
fn events(p: &mut Prng) -> [u32; 12] {
    let mut lanes = || *p.pick(&[30, 100, 300]);
    let (pump, drain) = (lanes(), lanes());
    let mut sockets = || *p.pick(&[60, 200, 400]);
    let (read, write, hear) = (sockets(), sockets(), sockets());
    let act = *p.pick(&[30, 80, 200]);
    let turn = *p.pick(&[10, 60, 200]);
    let disturb = *p.pick(&[0, 2, 8]);
    let (wait, chores) = (*p.pick(&[5, 40]), *p.pick(&[5, 40]));
    [turn, pump, drain, read, write, hear, act, wait, chores, 15, disturb, 0]
}

/// Odds of operations: sub, unsub, unsub with max, publish, ping, answer a request, garbage.
fn operations(p: &mut Prng) -> [u32; 7] {
    let publish = *p.pick(&[30, 80, 200]);
    let ping = *p.pick(&[5, 30, 100]);
    let change = *p.pick(&[2, 20, 60]);
    let limited = *p.pick(&[0, 20, 60]);
    [
        change + limited + 3,
        change,
        limited,
        publish,
        ping,
        *p.pick(&[0, 20]),
        u32::from(p.chance(50)),
    ]
}

fn subset(p: &mut Prng, all: &[&'static str]) -> Vec<&'static str> {
    let keep = *p.pick(&[300, 600, 1000]);
    let mut kept: Vec<&str> = all.iter().copied().filter(|_| p.chance(keep)).collect();
    if kept.is_empty() {
        kept.push(*p.pick(all));
    }
    kept
}
