//! Prints what a 32-byte message costs between two threads, by batch size:
//! `cargo run --release -p ringbus-mesh --example ring_speed`.
//!
//! Needs two cores to itself; with less it measures the scheduler.

use std::collections::VecDeque;
use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use mesh::{Doorbell, ring};

type Message = [u64; 4];

const CAPACITY: usize = 4096;
const MESSAGES: u64 = 8_000_000;
const REPEATS: usize = 7;

/// Producer: build a batch in a deque, move it over, ring. Consumer: drain whatever is there.
fn run(batch: u64) -> f64 {
    let (mut sender, mut receiver) = ring::<Message>(CAPACITY);
    let bell = Arc::new(Doorbell::new());
    let start = Instant::now();
    let producer = thread::spawn(move || {
        let mut waiting = VecDeque::with_capacity(batch as usize);
        let mut sent = 0;
        while sent < MESSAGES {
            let end = (sent + batch).min(MESSAGES);
            waiting.extend((sent..end).map(|number| [number; 4]));
            sent = end;
            loop {
                sender.push_all(&mut waiting);
                if waiting.is_empty() {
                    break;
                }
                spin_loop();
            }
            black_box(bell.ring());
        }
    });
    let (mut taken, mut sum) = (0, 0u64);
    while taken < MESSAGES {
        let drained = receiver.drain(1024, |message| sum = sum.wrapping_add(message[3]));
        taken += drained as u64;
        if drained == 0 {
            spin_loop();
        }
    }
    let nanoseconds = start.elapsed().as_nanos() as f64 / MESSAGES as f64;
    assert_eq!(sum, MESSAGES * (MESSAGES - 1) / 2);
    producer.join().expect("the producer");
    nanoseconds
}

/// The same work on one thread: what the code costs without the traffic between cores.
fn run_alone(batch: u64) -> f64 {
    let (mut sender, mut receiver) = ring::<Message>(CAPACITY);
    let bell = Doorbell::new();
    let mut waiting = VecDeque::with_capacity(batch as usize);
    let (mut sent, mut sum) = (0, 0u64);
    let start = Instant::now();
    while sent < MESSAGES {
        let end = (sent + batch).min(MESSAGES);
        waiting.extend((sent..end).map(|number| [number; 4]));
        sent = end;
        sender.push_all(&mut waiting);
        black_box(bell.ring());
        receiver.drain(1024, |message| sum = sum.wrapping_add(message[3]));
    }
    assert_eq!(sum, MESSAGES * (MESSAGES - 1) / 2);
    start.elapsed().as_nanos() as f64 / MESSAGES as f64
}

fn median(measure: impl Fn() -> f64) -> f64 {
    let mut costs: Vec<f64> = (0..REPEATS).map(|_| measure()).collect();
    costs.sort_by(f64::total_cmp);
    costs[REPEATS / 2]
}

fn main() {
    println!("batch   two threads   one thread   (ns per 32-byte message, a doorbell per batch)");
    for batch in [1, 4, 16, 64, 256] {
        let (two, one) = (median(|| run(batch)), median(|| run_alone(batch)));
        println!("{batch:>5}   {two:>11.1}   {one:>10.1}");
    }
}
