//! Whole sessions of made-up bytes through two shards, without a panic, whatever the cuts, and in
//! bounded memory.
//!
//! `RINGBUS_FUZZ_CASES=1000000 \
//!  cargo test --profile tests -p ringbus-shard --test fuzz -- --nocapture`
//!
//! Each execution is a few clients on two shards and a stream of mutated protocol for each. It is
//! run twice, cut at different places: what every client gets must be the same, unless there are
//! queue groups, which choose at random, or limited subscriptions, whose end another shard hears of
//! at its own time. In every other execution clients have to say who they are, and one user may
//! not do everything. At the end all clients hang up and every table must be empty.

#[path = "support/bus.rs"]
mod bus;
#[path = "../../wire/tests/support/rng.rs"]
mod rng;

use std::sync::Arc;

use bus::Bus;
use rng::Rng;
use shard::Options;
use shard::access::{
    Access, ConnectionTypes, Permissions, Proof, Responses, Rule, RuleSet, Rules, Secret, User,
};

/// What two shards and two clients with their sessions may take, both plays together.
const BYTES_MAX: u64 = 256 * 1024;

#[test]
fn fuzz_session_no_bytes_upset_a_shard() {
    let executions: u64 =
        std::env::var("RINGBUS_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let (mut bytes, mut most) = (0, 0);
    for seed in 1..=executions {
        let taken = allocation_counter::measure(|| bytes += execute(seed));
        assert!(taken.bytes_max <= BYTES_MAX, "seed {seed}: {} bytes", taken.bytes_max);
        assert_eq!(taken.bytes_current, 0, "seed {seed}: something is kept");
        most = most.max(taken.bytes_max);
    }
    println!("{executions} executions, {bytes} bytes sent, {most} bytes of memory at most");
}

fn execute(seed: u64) -> usize {
    let mut rng = Rng::new(seed);
    let queues = rng.below(2) == 0;
    let streams: Vec<Vec<u8>> = (0..2).map(|_| stream(&mut rng, queues)).collect();
    let whole = play(seed, &streams, |_| usize::MAX);
    let mut cuts = Rng::new(!seed);
    let cut = play(seed, &streams, |_| 1 + cuts.below(40));
    let chooses = streams.iter().any(|stream| has_choice(stream));
    let text = |seen: &[(Vec<u8>, bool)]| -> Vec<String> {
        seen.iter().map(|(got, closed)| format!("{closed} {}", got.escape_ascii())).collect()
    };
    assert!(
        chooses || whole == cut,
        "seed {seed}: cuts change the answers\nsent {:#?}\nwhole {:#?}\ncut {:#?}",
        streams.iter().map(|s| s.escape_ascii().to_string()).collect::<Vec<_>>(),
        text(&whole),
        text(&cut)
    );
    streams.iter().map(Vec::len).sum()
}

/// Is there a queue group, or an `UNSUB` with a maximum?
fn has_choice(stream: &[u8]) -> bool {
    let limited = |line: &[u8]| {
        let words = line.split(|b| b.is_ascii_whitespace()).filter(|word| !word.is_empty()).count();
        line.to_ascii_uppercase().windows(5).any(|w| w == b"UNSUB") && words > 2
    };
    stream.windows(2).any(|w| w == b" q") || stream.split(|b| *b == b'\n').any(limited)
}

/// Client by client, so that only the cuts differ between two plays.
fn play(
    seed: u64,
    streams: &[Vec<u8>],
    mut cut: impl FnMut(usize) -> usize,
) -> Vec<(Vec<u8>, bool)> {
    let options = Options {
        control_line_max: 128,
        payload_max: 512,
        subscriptions_max: if seed.is_multiple_of(3) { 5 } else { 0 },
        pending_bytes_max: 1 << 20,
        access: Arc::new(access(seed)),
        ..Options::default()
    };
    let mut bus = Bus::with(2, options);
    let clients: Vec<_> = (0..streams.len()).map(|at| bus.connect(at % 2)).collect();
    for (client, stream) in clients.iter().zip(streams) {
        let mut rest = &stream[..];
        while !rest.is_empty() && !bus.is_closed(*client) {
            let (now, later) = rest.split_at(cut(rest.len()).min(rest.len()));
            bus.post(*client, now);
            bus.settle();
            rest = later;
        }
    }
    let seen = clients.iter().map(|client| (bus.take_bytes(*client), bus.is_closed(*client)));
    let seen = seen.collect();
    for client in clients {
        bus.hangup(client);
    }
    bus.assert_replicated();
    assert!(bus.shards.iter().all(|shard| shard.announced().is_empty()), "seed {seed}");
    seen
}

/// Of `secret`, at the lowest cost there is.
const HASH: &str = "$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

/// Nobody is asked, or everybody is.
fn access(seed: u64) -> Access {
    let mut access = Access::default();
    if seed.is_multiple_of(2) {
        return access;
    }
    let rules = |texts: &[&str]| {
        let rules: Vec<Rule> =
            texts.iter().filter_map(|text| Rule::parse(text, true).ok()).collect();
        Some(RuleSet::new(&rules))
    };
    let bound = Permissions {
        publish: Rules { allow: rules(&["a.>", "inbox.*"]), deny: rules(&["a.b"]) },
        subscribe: Rules { allow: None, deny: rules(&["a.b", "a q"]) },
        responses: Some(Responses { max: Some(1), expires_ns: None }),
    };
    let users = [("u", "p", None), ("bound", "p", Some(Arc::new(bound))), ("h", HASH, None)];
    for (at, (name, secret, permissions)) in users.into_iter().enumerate() {
        let account = access.account(["$G", "$G", "A"][at]);
        access.add_user(User {
            name: name.into(),
            proof: Proof::Password(Secret::new(secret)),
            account,
            permissions,
            connection_types: ConnectionTypes::ANY,
            limits: Default::default(),
        });
    }
    if seed.is_multiple_of(3) {
        access.let_in_as("bound");
    }
    access
}

fn stream(rng: &mut Rng, queues: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    if rng.below(4) > 0 {
        let connect = rng.pick(&[
            "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"protocol\":1}\r\n",
            "CONNECT {\"verbose\":true,\"headers\":true,\"no_responders\":true}\r\n",
            "CONNECT {\"verbose\":false,\"echo\":false}\r\n",
            "connect {}\r\n",
            "CONNECT {\"user\":\"u\",\"pass\":\"p\",\"verbose\":false}\r\n",
            "CONNECT {\"user\":\"bound\",\"pass\":\"p\"}\r\n",
            "CONNECT {\"user\":\"bound\",\"pass\":\"q\"}\r\n",
        ]);
        bytes.extend_from_slice(connect.as_bytes());
    }
    for _ in 0..1 + rng.below(12) {
        operation(rng, queues, &mut bytes);
    }
    for _ in 0..rng.below(3) {
        mutate(rng, &mut bytes);
    }
    bytes
}

fn operation(rng: &mut Rng, queues: bool, bytes: &mut Vec<u8>) {
    const SUBJECTS: [&str; 8] = ["a", "a.b", "a.*", "a.>", ">", "a..b", "_GR_.x", "inbox.1"];
    let subject = rng.pick(&SUBJECTS);
    let sid = rng.pick(&["1", "2", "3", "x"]);
    let line = match rng.below(10) {
        0 | 1 => format!("SUB {subject} {sid}\r\n"),
        2 if queues => format!("SUB {subject} {} {sid}\r\n", rng.pick(&["q", "_sys_"])),
        3 => format!("UNSUB {sid}\r\n"),
        4 => format!("UNSUB {sid} {}\r\n", rng.below(4)),
        5 => rng.pick(&["PING\r\n", "PONG\r\n", "+OK\r\n", "PING\n"]).to_string(),
        6 => {
            let body = "b".repeat(rng.below(30));
            format!("HPUB {subject} inbox.1 12 {}\r\nNATS/1.0\r\n\r\n{body}\r\n", 12 + body.len())
        }
        _ => {
            let longest = if rng.below(20) == 0 { 600 } else { 20 };
            let body = "x".repeat(rng.below(longest));
            let reply = rng.pick(&["", "inbox.1 ", "_R_.x "]);
            format!("PUB {subject} {reply}{}\r\n{body}\r\n", body.len())
        }
    };
    bytes.extend_from_slice(line.as_bytes());
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let at = rng.below(bytes.len().max(1));
    match rng.below(5) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << rng.below(8),
        1 => bytes.insert(at.min(bytes.len()), *b" \t\n0>*.".get(rng.below(7)).unwrap_or(&0)),
        2 if !bytes.is_empty() => drop(bytes.remove(at)),
        3 => bytes.truncate(at),
        _ => {
            let copy = bytes[at..bytes.len().min(at + rng.below(60))].to_vec();
            bytes.splice(at..at, copy);
        }
    }
}
