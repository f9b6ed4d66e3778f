//! Prints what one match costs: `cargo run --release -p ringbus-subject --example match_speed`.
#![allow(clippy::disallowed_types, reason = "a measurement reads a clock")]

use std::hint::black_box;
use std::time::Instant;

use subject::{PatternId, Sublist};

const SUBJECTS: usize = 1024;
const ROUNDS: usize = 500;
const REPEATS: usize = 7;

fn literal(at: usize) -> String {
    format!("t.site{}.device{at}", at % 100)
}

/// Median over the repeats.
fn time(name: &str, sublist: &Sublist<u64>, subjects: &[String]) {
    let mut out: Vec<PatternId> = Vec::with_capacity(64);
    let mut found = 0;
    let mut costs: Vec<f64> = (0..REPEATS)
        .map(|_| {
            found = 0;
            let start = Instant::now();
            for _ in 0..ROUNDS {
                for subject in subjects {
                    out.clear();
                    sublist.matches(black_box(subject.as_bytes()), &mut out);
                    found += out.len();
                }
            }
            start.elapsed().as_nanos() as f64 / (ROUNDS * subjects.len()) as f64
        })
        .collect();
    costs.sort_by(f64::total_cmp);
    let each = found as f64 / (ROUNDS * subjects.len()) as f64;
    println!("{name:<58} {:>7.1} ns  {each:.2} matches", costs[REPEATS / 2]);
}

fn main() {
    // A stride that visits the whole table in no order.
    let spread: Vec<String> = (0..SUBJECTS).map(|at| literal(at * 7919 % 100_000)).collect();
    let missing: Vec<String> = (0..SUBJECTS).map(|at| literal(100_000 + at)).collect();
    let one = vec![literal(5)];

    let mut sublist = Sublist::new(42);
    time("empty table", &sublist, &one);
    sublist.insert(literal(5).as_bytes(), 0);
    time("1 literal, hit", &sublist, &one);
    time("1 literal, miss", &sublist, &missing);
    for at in (0..100_000).filter(|at| *at != 5) {
        sublist.insert(literal(at).as_bytes(), 0);
    }
    time("100k literals, the same one", &sublist, &one);
    time("100k literals, 1024 of them in turn", &sublist, &spread);
    time("100k literals, miss", &sublist, &missing);
    sublist.insert(b"t.>", 0);
    time("100k literals + t.>", &sublist, &spread);
    for at in 0..1000 {
        let wildcard = match at % 4 {
            0 => format!("t.site{}.*", at % 100 + at / 4 * 100),
            1 => format!("t.*.device{at}"),
            2 => format!("t.site{}.>", at % 100 + at / 4 * 100),
            _ => format!("t.site{at}.*.status"),
        };
        sublist.insert(wildcard.as_bytes(), 0);
    }
    time("100k literals + t.> + 1000 narrower wildcards", &sublist, &spread);
    time("100k literals + t.> + 1000 narrower wildcards, miss", &sublist, &missing);

    let mut wildcards = Sublist::new(42);
    wildcards.insert(b"t.>", 0);
    time("t.> alone", &wildcards, &spread);
}
