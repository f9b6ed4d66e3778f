//! What an idle connection allocates in its shard. One test: the counts are those of the whole
//! process.

use std::alloc::System;

use shard::{ConnId, Effects, Input, Options, Peer, Shard, ShardId};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// So many that what tables ask for at least does not count.
const CONNECTIONS: u32 = 50_000;
/// Of 1 KiB: the rest is for the socket, and for what an allocator adds.
const BYTES_EACH_MAX: isize = 790;

/// Connects as client libraries do, and subscribes once.
fn connect(shard: &mut Shard, out: &mut Effects, number: u32) {
    let conn = ConnId { slot: number, generation: 1 };
    let peer = Peer {
        cid: u64::from(number),
        addr: ([127, 0, 0, 1], 1000).into(),
        start_unix_ns: 0,
        refused: false,
        tls: None,
        proxied: false,
    };
    shard.step(1, Input::Open { conn, peer }, out);
    let connect = r#"{"verbose":false,"pedantic":false,"tls_required":false,"name":"idle","lang":"go",
        "version":"1.55.0","protocol":1,"echo":true,"headers":true,"no_responders":true}"#;
    let says = format!(
        "CONNECT {}\r\nSUB idle.{number:06}.000001 1\r\nPING\r\n",
        connect.replace('\n', "")
    );
    shard.step(1, Input::Bytes { conn, at: 1, bytes: says.as_bytes() }, out);
    let mut heard = Vec::new();
    while let Some(chunk) = shard.take_chunk(conn) {
        let bytes = chunk.as_ref().len() as u64;
        heard.extend_from_slice(chunk.as_ref());
        shard.recycle(chunk);
        shard.step(1, Input::Sent { conn, bytes }, out);
    }
    out.dirty.clear();
    let text = String::from_utf8_lossy(&heard);
    assert!(text.contains("PONG\r\n"), "{text}");
}

#[test]
fn an_idle_connection_with_a_subscription_costs_less_than_1_kib() {
    let info = wire::ServerInfo::default();
    let mut shard = Shard::new(ShardId(0), 1, Options::default(), info, 1, 1);
    let mut out = Effects::new(1);
    let region = Region::new(ALLOCATOR);
    for number in 0..CONNECTIONS {
        connect(&mut shard, &mut out, number);
    }
    let change = region.change();
    // Growing in place is counted apart from allocating; it may be negative.
    let live = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    let each = live / CONNECTIONS as isize;
    println!("{each} bytes each");
    assert!(each <= BYTES_EACH_MAX, "{each} bytes each");
}
