//! Nanoseconds per operation of the parser and of the delivery emitter, on this thread.
//!
//! `cargo run --release -p ringbus-wire --example parse_speed [milliseconds per case]`
#![allow(clippy::disallowed_types, reason = "a measurement reads a clock")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use wire::{ClientOp, ClientParser, Limits, Next, emit};

const LIMITS: Limits = Limits { control_line_max: 4096, payload_max: 1 << 20, headers: true };
const READ_BUFFER_BYTES: usize = 64 * 1024;

fn main() {
    let millis = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(300);
    let time = Duration::from_millis(millis);
    let pub_16 = publication("PUB foo.bar.baz 16\r\n", 16);
    let pub_128 = publication("PUB foo.bar.baz 128\r\n", 128);
    let reply_128 = publication("PUB foo.bar.baz _INBOX.k3Jd8fjQpoE2.1 128\r\n", 128);
    let long_16 = publication("PUB telemetry.site-0042.rack-17.sensor-000931.temp 16\r\n", 16);
    let header_128 = publication("HPUB foo.bar.baz 24 128\r\n", 128);
    for (name, op) in [
        ("PUB 16 B", &pub_16),
        ("PUB 128 B", &pub_128),
        ("PUB reply 128 B", &reply_128),
        ("PUB long subject 16 B", &long_16),
        ("HPUB 128 B", &header_128),
    ] {
        report(name, op, time, parse_all);
        report(&format!("{name}, slow lane"), op, time, parse_all_slow);
        report(&format!("{name}, and one MSG"), op, time, parse_and_deliver);
    }
    report("SUB", b"SUB foo.bar.* queue 17\r\n", time, parse_all);
    report("UNSUB", b"UNSUB 17 5\r\n", time, parse_all);
    report("PING", b"PING\r\n", time, parse_all);
}

fn publication(line: &str, payload_len: usize) -> Vec<u8> {
    let mut op = line.as_bytes().to_vec();
    op.resize(op.len() + payload_len, b'x');
    op.extend_from_slice(b"\r\n");
    op
}

/// Runs `pass` over a read buffer full of `op` until `time` is up, and prints the best pass.
fn report(name: &str, op: &[u8], time: Duration, pass: fn(&[u8], &mut Vec<u8>) -> usize) {
    let count = READ_BUFFER_BYTES / op.len();
    let bytes = op.repeat(count);
    let mut out = Vec::with_capacity(4 * READ_BUFFER_BYTES);
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    while begin.elapsed() < time {
        let start = Instant::now();
        for _ in 0..16 {
            out.clear();
            assert_eq!(pass(black_box(&bytes), &mut out), count);
        }
        best = best.min(start.elapsed().as_nanos() as f64 / (16 * count) as f64);
    }
    println!("{name:36} {best:7.2} ns/op");
}

/// Reads all and uses of each operation what a router would: the places of its parts.
fn parse_all(bytes: &[u8], _: &mut Vec<u8>) -> usize {
    parse_with(bytes, ClientParser::next)
}

fn parse_all_slow(bytes: &[u8], _: &mut Vec<u8>) -> usize {
    parse_with(bytes, ClientParser::next_slow)
}

#[inline(always)]
fn parse_with<'a>(
    bytes: &'a [u8],
    next: impl Fn(&mut ClientParser, &'a [u8], &Limits) -> Next<'a>,
) -> usize {
    let mut parser = ClientParser::new();
    let (mut at, mut ops, mut sum) = (0, 0, 0);
    while at < bytes.len() {
        let Next::Op { op, used } = next(&mut parser, &bytes[at..], &LIMITS) else {
            return ops;
        };
        sum += match op {
            ClientOp::Pub(p) => p.subject.len() + p.reply.len() + p.payload.len() + p.tail.len(),
            ClientOp::Sub { subject, sid, .. } => subject.len() + sid.len(),
            ClientOp::Unsub { sid, .. } => sid.len(),
            _ => 1,
        };
        at += used;
        ops += 1;
    }
    black_box(sum);
    ops
}

fn parse_and_deliver(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let mut parser = ClientParser::new();
    let (mut at, mut ops) = (0, 0);
    while at < bytes.len() {
        let Next::Op { op, used } = parser.next(&bytes[at..], &LIMITS) else {
            return ops;
        };
        if let ClientOp::Pub(p) = op {
            let sid = black_box(&b"17"[..]);
            emit::message(out, p.subject, sid, p.reply, p.header_len, p.payload, p.tail, true);
        }
        at += used;
        ops += 1;
    }
    black_box(&out);
    ops
}
