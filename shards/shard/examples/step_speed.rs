//! Time per message of the state machine alone: publications in 64 KiB reads, one shard, N
//! subscribers.
//!
//! `cargo run --release -p ringbus-shard --example step_speed [reads [subscribers payload]]`
#![allow(clippy::disallowed_types, reason = "a measurement reads a clock")]

use std::time::Instant;

use shard::{ConnId, Effects, Input, Options, Peer, Shard, ShardId};

fn main() {
    let argument = |at| std::env::args().nth(at).and_then(|n| n.parse::<usize>().ok());
    let reads = argument(1).unwrap_or(2000);
    let mut cases = vec![(0, 16), (1, 16), (1, 128), (1, 1024), (10, 128), (100, 128), (1000, 128)];
    if let (Some(subscribers), Some(payload)) = (argument(2), argument(3)) {
        cases = vec![(subscribers as u32, payload)];
    }
    println!("{:>12} {:>8} {:>12} {:>14}", "subscribers", "payload", "ns/publish", "ns/delivery");
    for (subscribers, payload) in cases {
        let reads = (reads / (subscribers as usize).max(1)).max(3);
        let (published, ns) = run(subscribers, payload, reads);
        let deliveries = (published * subscribers as usize).max(1);
        println!(
            "{subscribers:>12} {payload:>8} {:>12.1} {:>14.1}",
            ns as f64 / published as f64,
            ns as f64 / deliveries as f64,
        );
    }
}

fn run(subscribers: u32, payload: usize, reads: usize) -> (usize, u128) {
    let mut shard =
        Shard::new(ShardId(0), 1, Options::default(), wire::ServerInfo::default(), 1, 0);
    let mut out = Effects::new(1);
    for slot in 0..=subscribers {
        let conn = ConnId { slot, generation: 1 };
        let addr = ([127, 0, 0, 1], 1).into();
        let cid = u64::from(slot) + 1;
        let peer = Peer { cid, addr, start_unix_ns: 0, refused: false, tls: None, proxied: false };
        shard.step(0, Input::Open { conn, peer }, &mut out);
        let sub = if slot > 0 { "SUB bench.subject 1\r\n" } else { "" };
        let hello = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\n{sub}");
        shard.step(0, Input::Bytes { conn, at: 0, bytes: hello.as_bytes() }, &mut out);
    }
    take_all(&mut shard, &mut out);
    let message = format!("PUB bench.subject {payload}\r\n{}\r\n", "x".repeat(payload));
    let per_read = 65_536 / message.len();
    let read = message.repeat(per_read);
    let conn = ConnId { slot: 0, generation: 1 };
    let start = Instant::now();
    for _ in 0..reads {
        shard.step(0, Input::Bytes { conn, at: 0, bytes: read.as_bytes() }, &mut out);
        take_all(&mut shard, &mut out);
    }
    let ns = start.elapsed().as_nanos();
    assert_eq!(shard.figures().out_msgs, (reads * per_read) as u64 * u64::from(subscribers));
    (reads * per_read, ns)
}

fn take_all(shard: &mut Shard, out: &mut Effects) {
    for conn in std::mem::take(&mut out.dirty) {
        while let Some(chunk) = shard.take_chunk(conn) {
            let bytes = chunk.as_ref().len() as u64;
            shard.recycle(chunk);
            shard.step(0, Input::Sent { conn, bytes }, out);
        }
    }
}
