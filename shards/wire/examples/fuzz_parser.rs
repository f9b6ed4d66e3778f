//! Random and mutated input for the parser, compared with a byte-at-a-time machine: whole, in
//! random pieces, byte by byte, fast and slow lane, and in bounded memory. A failure panics and has
//! printed its seed.
//!
//! `cargo run --release -p ringbus-wire --example fuzz_parser -- [executions] [first seed]`
#![allow(clippy::disallowed_types, reason = "it says how long it took")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Instant;

use support::rng::Rng;
use support::{driver, machine, random};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().ok());
    let executions = args.next().flatten().unwrap_or(100_000);
    let first = args.next().flatten().unwrap_or(0);
    let start = Instant::now();
    let (mut bytes, mut events, mut most) = (0, 0, 0);
    for seed in first..first + executions {
        match catch_unwind(|| execute(seed)) {
            Ok((new_bytes, new_events, allocated)) => {
                bytes += new_bytes;
                events += new_events;
                most = most.max(allocated);
            }
            Err(_) => {
                eprintln!("seed {seed} fails: fuzz_parser 1 {seed}");
                return ExitCode::FAILURE;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{executions} executions, {bytes} bytes, {events} events, {most} bytes of memory at most, \
         {seconds:.1} s"
    );
    ExitCode::SUCCESS
}

fn execute(seed: u64) -> (usize, usize, u64) {
    let mut random = Rng::new(seed);
    let limits = random::limits(&mut random);
    let input = random::input(&mut random, 8);
    let timed = machine::run(&input, limits);
    let want: Vec<_> = timed.iter().map(|(_, event)| event.clone()).collect();
    assert_eq!(driver::whole(&input, limits), want);
    for _ in 0..3 {
        let ends = random::splits(&mut random, input.len());
        assert_eq!(driver::split(&input, &ends, limits), want, "split at {ends:?}");
    }
    if input.len() < 2000 && random.one_in(4) {
        assert_eq!(driver::bytewise(&input, limits), timed);
    }
    let ends = random::splits(&mut random, input.len());
    let allocated = driver::allocated(&input, &ends, limits);
    assert!(allocated <= driver::ALLOCATED_MAX, "{allocated} bytes are allocated");
    (input.len(), want.len(), allocated)
}
