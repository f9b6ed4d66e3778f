//! What clients do, again and again: the rows that are counted.

use crate::houses::{self, BOUND, OTHER};
use crate::rig::{Conn, Rig, Traffic};

/// Bytes of one read, as large as the runtime's.
const READ_BYTES: usize = 64 * 1024;

/// A row.
pub struct Script {
    /// Short and unique.
    pub name: &'static str,
    /// What a reader sees.
    pub title: &'static str,
    /// What its cost is divided by.
    pub unit: &'static str,
    /// Shards it needs; the rows that take any number are in [`ACROSS`].
    pub shards: usize,
    /// How often the scene is played to be counted.
    pub rounds: u64,
    stage: fn(&mut Rig) -> Vec<Act>,
}

/// One thing that happens.
enum Act {
    /// A client's bytes, in one read.
    Say(Conn, Vec<u8>),
    /// A client connects to shard 0, subscribes, gets its PONG and goes.
    Visit,
    /// A service answers all requests it has been sent since it last did.
    Answer(Conn),
}

/// A script made ready to be played.
pub struct Scene {
    rig: Rig,
    acts: Vec<Act>,
}

/// What came of some rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Played {
    /// Messages published.
    pub published: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// What the script counts: deliveries, publications, or acts.
    pub units: u64,
    /// What crossed the rings.
    pub traffic: Traffic,
    /// Chunks handed to clients: a send each, or less.
    pub writes: u64,
}

/// The rows of the instruction gate.
pub const GATE: &[Script] = &[
    row("pub-16", "1→0, 16 B", "publication", 1, 20, |rig| one_to(rig, 0, 0, 16)),
    row("one-16", "1→1, 16 B", "delivery", 1, 20, |rig| one_to(rig, 1, 0, 16)),
    row("one-128", "1→1, 128 B", "delivery", 1, 40, |rig| one_to(rig, 1, 0, 128)),
    row("one-1k", "1→1, 1 KiB", "delivery", 1, 200, |rig| one_to(rig, 1, 0, 1024)),
    row("one-64k", "1→1, 64 KiB", "delivery", 1, 400, |rig| one_to(rig, 1, 0, 65_536)),
    row("one-alone", "1→1, 16 B, one message a read", "delivery", 1, 4000, alone),
    row("cast-100", "1→100, 128 B, one sid", "delivery", 1, 10, |rig| one_to(rig, 100, 0, 128)),
    row("cast-alone", "1→1000, 128 B, one message a read", "delivery", 1, 40, cast_alone),
    row("fan-100", "1→100, 128 B, a sid each", "delivery", 1, 4, fan_sids),
    row("headers", "1→1, HPUB, 128 B", "delivery", 1, 40, headers),
    row("queue-10", "1→ queue group of 10, 128 B", "delivery", 1, 40, |rig| queue(rig, 10)),
    row("request-1", "Request/reply, 1 in flight", "delivery", 1, 4000, |rig| request(rig, 1)),
    row("request-50", "Request/reply, 50 in flight", "delivery", 1, 200, |rig| request(rig, 50)),
    row("wild-1k", "1,000 subjects, t.> and 100 narrower", "delivery", 1, 6, |rig| wild(rig, 10)),
    row("wild-100k", "100,000 subjects, the same", "delivery", 1, 1, |rig| wild(rig, 1000)),
    row("perm-16", "1→1, 16 B, with permissions", "delivery", 1, 20, |rig| {
        walled(rig);
        one_to(rig, 1, 0, 16)
    }),
    row("perm-128", "1→1, 128 B, with permissions", "delivery", 1, 40, |rig| {
        walled(rig);
        one_to(rig, 1, 0, 128)
    }),
    row("perm-wide", "1→1, 128 B, a wide subscription", "delivery", 1, 40, |rig| {
        walled(rig);
        wide(rig, 1)
    }),
    row("perm-100", "1→100, 128 B, wide subscriptions", "delivery", 1, 10, |rig| {
        walled(rig);
        wide(rig, 100)
    }),
    row("perm-1k", "1,000 subjects, as wild-1k", "delivery", 1, 6, |rig| {
        walled(rig);
        wild(rig, 10)
    }),
    row("wide-5", "1→5, 128 B, wide, no permissions", "delivery", 1, 40, |rig| wide(rig, 5)),
    row("kept-5", "the same, kept from 5 more", "delivery", 1, 40, |rig| kept(rig, 5)),
    row("wide-50", "1→50, 128 B, wide, no permissions", "delivery", 1, 10, |rig| wide(rig, 50)),
    row("kept-50", "the same, kept from 50 more", "delivery", 1, 10, |rig| kept(rig, 50)),
    row("kept-1k", "1,000 subjects, as wild-1k, kept from 1", "delivery", 1, 6, |rig| {
        *rig = Rig::under(rig.shards(), houses::partly_kept());
        rig.connect_as(0, BOUND, "SUB t.> 1\r\n");
        wild(rig, 10)
    }),
    row("map-one", "1→1, 128 B, mapped", "delivery", 1, 40, |rig| mapped(rig, &[("to.$1", 100)])),
    row("map-split", "1→1, 128 B, mapped by weight", "delivery", 1, 40, |rig| {
        mapped(rig, &[("to.$1", 50), ("to.other.$1", 50)])
    }),
    row("stream", "1→1 in another account, 128 B", "delivery", 1, 40, |rig| stream(rig, 1)),
    row("stream-100", "1→100 in another account", "delivery", 1, 10, |rig| stream(rig, 100)),
    row("service-1", "Request/reply across accounts", "delivery", 1, 4000, |rig| service(rig, 1)),
    row("service-50", "the same, 50 in flight", "delivery", 1, 200, |rig| service(rig, 50)),
    row("churn", "SUB and UNSUB", "act", 1, 20, churn),
    row("visit", "connect, SUB, PING→PONG, leave", "act", 1, 2000, |_| vec![Act::Visit]),
    row("ping-2", "PING→PONG behind a publication, 2 shards", "act", 2, 2000, fenced_ping),
    row("forward", "1→1 on another shard, 128 B", "delivery", 2, 40, |rig| {
        one_to(rig, 1, 1, 128)
    }),
    row("forward-100", "1→100 on another shard", "delivery", 2, 10, |rig| {
        one_to(rig, 100, 1, 128)
    }),
    row("forward-queue", "1→ queue group on 2 shards", "delivery", 2, 40, |rig| queue(rig, 10)),
    row("forward-ask", "Request/reply on another shard, 50 in flight", "delivery", 2, 200, |rig| {
        request(rig, 50)
    }),
];

/// The rows that say what more shards cost: the same clients, dealt out to 1, 2, 4 or 8 shards,
/// publishers and subscribers apart. `shards` is the least number of them.
pub const ACROSS: &[Script] = &[
    row("one", "1→1, 128 B, apart", "delivery", 1, 40, |rig| {
        let apart = 1 % rig.shards();
        one_to(rig, 1, apart, 128)
    }),
    row("pairs", "8→8 pairs, 128 B, each apart", "delivery", 1, 5, |rig| pairs(rig, 8)),
    row("fan", "1→100, 128 B, over all shards", "delivery", 1, 10, |rig| spread(rig, 1, 100)),
    row("many", "8→8 each to all, 128 B", "delivery", 1, 2, |rig| spread(rig, 8, 8)),
    row("queue", "8→ queue group of 8, 128 B", "delivery", 1, 5, queues),
    row("request", "Request/reply, 50 in flight, apart", "delivery", 1, 200, |rig| {
        request(rig, 50)
    }),
];

const fn row(
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    shards: usize,
    rounds: u64,
    stage: fn(&mut Rig) -> Vec<Act>,
) -> Script {
    Script { name, title, unit, shards, rounds, stage }
}

impl Script {
    /// Sets the scene, and plays it once so that what is made once is made.
    ///
    /// # Panics
    /// If `shards` are fewer than it needs.
    pub fn scene(&self, shards: usize) -> Scene {
        assert!(shards >= self.shards, "{} needs {} shards", self.name, self.shards);
        let mut rig = Rig::new(shards);
        let acts = (self.stage)(&mut rig);
        let mut scene = Scene { rig, acts };
        scene.round();
        scene
    }

    /// Plays a scene, and checks that as much came of it as each time.
    ///
    /// # Panics
    /// If not every message that was owed was delivered.
    pub fn play(&self, scene: &mut Scene, rounds: u64) -> Played {
        let before = scene.ledger();
        scene.round();
        let once = scene.ledger().since(&before);
        let before = scene.ledger();
        scene.counted(rounds);
        let played = scene.ledger().since(&before);
        let owed = (once.published * rounds, once.delivered * rounds);
        assert_eq!((played.published, played.delivered), owed, "{}", self.name);
        let units = match self.unit {
            "publication" => played.published,
            "delivery" => played.delivered,
            _ => scene.acts.len() as u64 * rounds,
        };
        assert!(units > 0, "{}: nothing happened", self.name);
        Played { units, ..played }
    }
}

impl Scene {
    /// What callgrind counts: everything happens `rounds` times.
    #[inline(never)]
    fn counted(&mut self, rounds: u64) {
        for _ in 0..rounds {
            self.round();
        }
    }

    /// Everything happens once.
    pub fn round(&mut self) {
        for act in &self.acts {
            match act {
                Act::Say(conn, bytes) => self.rig.say(*conn, bytes),
                Act::Visit => {
                    let visitor = self.rig.connect(0, "SUB visit.me 1\r\nPING\r\n");
                    self.rig.leave(visitor);
                }
                Act::Answer(conn) => {
                    let answers = answers(&self.rig.take(*conn));
                    self.rig.say(*conn, &answers);
                }
            }
        }
    }

    fn ledger(&self) -> Played {
        let (published, delivered) = self.rig.messages();
        let (traffic, writes) = (self.rig.traffic, self.rig.writes);
        Played { published, delivered, units: 0, traffic, writes }
    }
}

impl Played {
    fn since(&self, earlier: &Played) -> Played {
        Played {
            published: self.published - earlier.published,
            delivered: self.delivered - earlier.delivered,
            units: 0,
            traffic: Traffic {
                frames: self.traffic.frames - earlier.traffic.frames,
                batches: self.traffic.batches - earlier.traffic.batches,
                bytes: self.traffic.bytes - earlier.traffic.bytes,
            },
            writes: self.writes - earlier.writes,
        }
    }
}

fn publication(subject: &str, reply: &str, payload: usize) -> String {
    format!("PUB {subject} {reply}{payload}\r\n{}\r\n", "x".repeat(payload))
}

/// As many of a message as fit in one read.
fn full_read(message: &str) -> Vec<u8> {
    message.repeat((READ_BYTES / message.len()).max(1)).into_bytes()
}

/// Nobody's turn yet: everybody subscribed is known to all.
fn ready(rig: &mut Rig, shard: usize) -> Conn {
    rig.connect(shard, "PING\r\n")
}

/// `subscribers` on shard `there` under one sid, and a publisher on shard 0 that saturates.
fn one_to(rig: &mut Rig, subscribers: usize, there: usize, payload: usize) -> Vec<Act> {
    for _ in 0..subscribers {
        rig.connect(there, "SUB bench.000 1\r\nPING\r\n");
    }
    let publisher = ready(rig, 0);
    let message = publication("bench.000", "", payload);
    // A message larger than a read comes in pieces.
    let bytes = full_read(&message);
    bytes.chunks(READ_BYTES).map(|read| Act::Say(publisher, read.to_vec())).collect()
}

/// From here on everybody may publish and hear much, but not all.
fn walled(rig: &mut Rig) {
    *rig = Rig::under(rig.shards(), houses::walled());
}

/// As [`one_to`], by a pattern: of what it matches, something might be kept from them.
fn wide(rig: &mut Rig, subscribers: usize) -> Vec<Act> {
    for _ in 0..subscribers {
        rig.connect(0, "SUB bench.> 1\r\nPING\r\n");
    }
    let publisher = ready(rig, 0);
    vec![Act::Say(publisher, full_read(&publication("bench.000", "", 128)))]
}

/// As [`wide`], and as many more have the same subscription, but may not see these messages.
fn kept(rig: &mut Rig, subscribers: usize) -> Vec<Act> {
    *rig = Rig::under(rig.shards(), houses::partly_kept());
    for _ in 0..subscribers {
        rig.connect_as(0, BOUND, "SUB bench.> 1\r\nPING\r\n");
    }
    wide(rig, subscribers)
}

/// One subscriber, who gets what goes to any of the destinations.
fn mapped(rig: &mut Rig, destinations: &[(&str, u8)]) -> Vec<Act> {
    *rig = Rig::under(rig.shards(), houses::mapped(destinations));
    rig.connect(0, "SUB to.> 1\r\nPING\r\n");
    let publisher = ready(rig, 0);
    vec![Act::Say(publisher, full_read(&publication("bench.000", "", 128)))]
}

/// Subscribers of a stream of another account.
fn stream(rig: &mut Rig, subscribers: usize) -> Vec<Act> {
    *rig = Rig::under(rig.shards(), houses::imported());
    for _ in 0..subscribers {
        rig.connect(0, "SUB bench.000 1\r\nPING\r\n");
    }
    let publisher = rig.connect_as(0, OTHER, "PING\r\n");
    vec![Act::Say(publisher, full_read(&publication("bench.000", "", 128)))]
}

/// As [`request`], and the service is another account's.
fn service(rig: &mut Rig, in_flight: usize) -> Vec<Act> {
    *rig = Rig::under(rig.shards(), houses::imported());
    let responder = rig.connect_as(0, OTHER, "SUB ask.service 1\r\nPING\r\n");
    let requester = rig.connect(0, "SUB _INBOX.bench.0 1\r\nPING\r\n");
    rig.listen(responder);
    let asks = publication("far.service", "_INBOX.bench.0 ", 16).repeat(in_flight);
    vec![Act::Say(requester, asks.into_bytes()), Act::Answer(responder)]
}

/// One to each request, 16 bytes each.
fn answers(requests: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(requests.len() + 64);
    let mut rest = requests;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        // HMSG <subject> <sid> <reply> <header> <all>
        let line = rest[..end].trim_ascii_end();
        let mut words = line.split(|byte| *byte == b' ');
        let (reply, size) = (words.nth(3), words.nth(1).map(String::from_utf8_lossy));
        let size: usize = size.and_then(|size| size.parse().ok()).expect("requests with headers");
        all.extend_from_slice(b"PUB ");
        all.extend_from_slice(reply.expect("a reply subject"));
        all.extend_from_slice(b" 16\r\nxxxxxxxxxxxxxxxx\r\n");
        rest = &rest[end + 1 + size + 2..];
    }
    all
}

fn alone(rig: &mut Rig) -> Vec<Act> {
    rig.connect(0, "SUB bench.000 1\r\n");
    let publisher = ready(rig, 0);
    vec![Act::Say(publisher, publication("bench.000", "", 16).into_bytes())]
}

fn cast_alone(rig: &mut Rig) -> Vec<Act> {
    for _ in 0..1000 {
        rig.connect(0, "SUB bench.000 1\r\n");
    }
    let publisher = ready(rig, 0);
    vec![Act::Say(publisher, publication("bench.000", "", 128).into_bytes())]
}

fn fan_sids(rig: &mut Rig) -> Vec<Act> {
    for sid in 100..200 {
        rig.connect(0, &format!("SUB bench.000 {sid}\r\n"));
    }
    let publisher = ready(rig, 0);
    vec![Act::Say(publisher, full_read(&publication("bench.000", "", 128)))]
}

fn headers(rig: &mut Rig) -> Vec<Act> {
    rig.connect(0, "SUB bench.000 1\r\n");
    let publisher = ready(rig, 0);
    let header = "NATS/1.0\r\nTrace: 0123456789\r\n\r\n";
    let (head, all) = (header.len(), header.len() + 128);
    let body = "x".repeat(128);
    let message = format!("HPUB bench.000 {head} {all}\r\n{header}{body}\r\n");
    vec![Act::Say(publisher, full_read(&message))]
}

/// Members dealt out to all shards.
fn queue(rig: &mut Rig, members: usize) -> Vec<Act> {
    for member in 0..members {
        rig.connect(member % rig.shards(), "SUB work crew 1\r\nPING\r\n");
    }
    let publisher = ready(rig, 0);
    vec![Act::Say(publisher, full_read(&publication("work", "", 128)))]
}

fn queues(rig: &mut Rig) -> Vec<Act> {
    for member in 0..8 {
        rig.connect(member % rig.shards(), "SUB work crew 1\r\nPING\r\n");
    }
    let read = full_read(&publication("work", "", 128));
    (0..8).map(|p| Act::Say(ready(rig, p % rig.shards()), read.clone())).collect()
}

/// Requests on shard 0, answered on the last shard.
fn request(rig: &mut Rig, in_flight: usize) -> Vec<Act> {
    let service = rig.shards() - 1;
    let responder = rig.connect(service, "SUB bench.service 1\r\nPING\r\n");
    let requester = rig.connect(0, "SUB _INBOX.bench.0 1\r\nPING\r\n");
    let asks = publication("bench.service", "_INBOX.bench.0 ", 16).repeat(in_flight);
    let answers = publication("_INBOX.bench.0", "", 16).repeat(in_flight);
    vec![Act::Say(requester, asks.into_bytes()), Act::Say(responder, answers.into_bytes())]
}

/// 100 groups of `leaves` subjects each, one after the other.
fn wild(rig: &mut Rig, leaves: usize) -> Vec<Act> {
    rig.connect(0, "SUB t.> 1\r\n");
    let narrow: String =
        (0..100).map(|group| format!("SUB t.{group:02}.* {group:02}\r\n")).collect();
    rig.connect(0, &narrow);
    let publisher = ready(rig, 0);
    let mut acts = Vec::new();
    let mut read = String::new();
    for leaf in 0..leaves {
        for group in 0..100 {
            read.push_str(&publication(&format!("t.{group:02}.{leaf:03}"), "", 16));
            if read.len() >= READ_BYTES {
                acts.push(Act::Say(publisher, std::mem::take(&mut read).into_bytes()));
            }
        }
    }
    acts.push(Act::Say(publisher, read.into_bytes()));
    acts
}

/// A connection among a thousand patterns that takes ten more and gives them back.
fn churn(rig: &mut Rig) -> Vec<Act> {
    let others: String = (0..1000).map(|n| format!("SUB flow.{n}.* {n}\r\n")).collect();
    rig.connect(0, &others);
    let churner = ready(rig, 0);
    let change = |n: usize| {
        let (sub, unsub) = (format!("SUB churn.{n} {n}\r\n"), format!("UNSUB {n}\r\n"));
        [Act::Say(churner, sub.into_bytes()), Act::Say(churner, unsub.into_bytes())]
    };
    (0..100).flat_map(change).collect()
}

/// The PONG waits until the other shard has taken the publication in.
fn fenced_ping(rig: &mut Rig) -> Vec<Act> {
    rig.connect(1, "SUB bench.000 1\r\nPING\r\n");
    let publisher = ready(rig, 0);
    let says = publication("bench.000", "", 16) + "PING\r\n";
    vec![Act::Say(publisher, says.into_bytes())]
}

/// Publisher i on shard i, its subscriber on the next one.
fn pairs(rig: &mut Rig, pairs: usize) -> Vec<Act> {
    for pair in 0..pairs {
        rig.connect((pair + 1) % rig.shards(), &format!("SUB bench.{pair} 1\r\nPING\r\n"));
    }
    let publisher = |pair: usize| {
        let read = full_read(&publication(&format!("bench.{pair}"), "", 128));
        Act::Say(ready(rig, pair % rig.shards()), read)
    };
    (0..pairs).map(publisher).collect()
}

/// Publishers and subscribers of one subject dealt out to all shards.
fn spread(rig: &mut Rig, publishers: usize, subscribers: usize) -> Vec<Act> {
    for subscriber in 0..subscribers {
        rig.connect(subscriber % rig.shards(), "SUB bench.000 1\r\nPING\r\n");
    }
    let read = full_read(&publication("bench.000", "", 128));
    (0..publishers).map(|p| Act::Say(ready(rig, p % rig.shards()), read.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_brings_what_it_owes_each_time() {
        for script in GATE {
            script.play(&mut script.scene(script.shards), 1);
        }
        for script in ACROSS {
            for shards in [1, 3] {
                let played = script.play(&mut script.scene(shards), 1);
                assert_eq!(played.traffic.frames > 0, shards > 1, "{}", script.name);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        for rows in [GATE, ACROSS] {
            for (at, row) in rows.iter().enumerate() {
                assert!(rows[..at].iter().all(|other| other.name != row.name), "{}", row.name);
            }
        }
    }
}
