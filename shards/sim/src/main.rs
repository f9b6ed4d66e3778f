//! `sim`: runs seeds and tells which fail.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "worlds run side by side on threads and are timed; what happens in them sees neither"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sim::{Defect, Detail, Failure, Subject, Summary, replay, run};

const USAGE: &str = "usage: sim --seed N [--verbose] [--canary NAME] [--table]
       sim --seeds A..B [--jobs N] [--canary NAME] [--table]

Runs the shards of the server in a simulated world, once per seed, and judges what its clients see.
  --seed N       one seed; --verbose prints everything that happens
  --seeds A..B   the seeds from A up to, but not including, B
  --jobs N       as many at a time (1)
  --canary NAME  with this defect put in: it must fail
  --table        the simple bus instead of the shards
Exit code: 0 all is well, 1 a seed failed, 2 wrong usage.";

struct Order {
    seeds: std::ops::Range<u64>,
    jobs: usize,
    subject: Subject,
    verbose: bool,
}

fn main() -> ExitCode {
    let Some(order) = order(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if order.seeds.end - order.seeds.start == 1 { one(&order) } else { many(&order) }
}

fn order(words: impl Iterator<Item = String>) -> Option<Order> {
    let mut words = words;
    let mut order = Order { seeds: 0..0, jobs: 1, subject: Subject::Shards, verbose: false };
    let (mut defect, mut table) = (None, false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seed" => {
                let seed = words.next()?.parse().ok()?;
                order.seeds = seed..seed + 1;
            }
            "--seeds" => {
                let range = words.next()?;
                let (first, end) = range.split_once("..")?;
                order.seeds = first.parse().ok()?..end.parse().ok()?;
            }
            "--jobs" => order.jobs = words.next()?.parse().ok().filter(|jobs| *jobs > 0)?,
            "--canary" => defect = Some(Defect::named(&words.next()?)?),
            "--table" => table = true,
            "--verbose" => order.verbose = true,
            _ => return None,
        }
    }
    order.subject = match (defect, table) {
        (None, false) => Subject::Shards,
        (None, true) => Subject::Table,
        (Some(defect), false) => Subject::Spoiled(defect),
        (Some(defect), true) => Subject::SpoiledTable(defect),
    };
    (!order.seeds.is_empty()).then_some(order)
}

fn one(order: &Order) -> ExitCode {
    let detail = if order.verbose { Detail::Verbose } else { Detail::Tail };
    match replay(order.seeds.start, order.subject, detail) {
        Ok(summary) => {
            println!("seed {}: {summary:x?}", order.seeds.start);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let tail = if order.verbose { Vec::new() } else { failure.tail.clone() };
            println!("{}", Failure { tail, ..failure });
            ExitCode::FAILURE
        }
    }
}

/// What all runs together came to.
#[derive(Default)]
struct Tally {
    sum: Summary,
    kinds: BTreeMap<String, (u64, u64)>,
    shown: u32,
}

/// Failures that are shown with their last lines.
const SHOWN_MAX: u32 = 3;

fn many(order: &Order) -> ExitCode {
    let (next, start) = (AtomicU64::new(order.seeds.start), Instant::now());
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..order.jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= order.seeds.end {
                        return;
                    }
                    let result = run(seed, order.subject);
                    count(
                        &mut tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
                        result,
                    );
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (failed, sum) = (tally.kinds.values().map(|(count, _)| count).sum::<u64>(), tally.sum);
    for (kind, (count, seed)) in &tally.kinds {
        println!("{count:6} × {kind} (first: seed {seed})");
    }
    println!(
        "seeds {}..{}: {failed} failed; {} events, {} publications, {} deliveries, \
         {} obligations; {:.1} s",
        order.seeds.start,
        order.seeds.end,
        sum.events,
        sum.publications,
        sum.deliveries,
        sum.obligations,
        start.elapsed().as_secs_f64(),
    );
    println!("{:?}", sum.rare);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn count(tally: &mut Tally, result: Result<Summary, Failure>) {
    match result {
        Ok(summary) => tally.sum.add(&summary),
        Err(failure) => {
            let kind = kind(&failure.why);
            let entry = tally.kinds.entry(kind).or_insert((0, failure.seed));
            entry.0 += 1;
            if tally.shown < SHOWN_MAX && entry.0 == 1 {
                tally.shown += 1;
                println!("{failure}\n");
            }
        }
    }
}

/// The part of a failure that it shares with others.
fn kind(why: &str) -> String {
    let end = why.find(['[', '(', '\n', '{', ',']).unwrap_or(why.len());
    let end = why.find(": #").unwrap_or(end).min(end);
    let mut kind = String::new();
    for c in why[..end].chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !kind.ends_with('#') {
            kind.push(c);
        }
    }
    kind
}
