//! A share of seeds, the same every time; `SIM_SEEDS` sets how many.
#![allow(clippy::disallowed_methods, reason = "halves of the seeds run on two threads")]

use sim::{Detail, Subject, Summary, replay, run};

fn seeds() -> u64 {
    std::env::var("SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(400)
}

/// Runs seeds on two threads; gives the sum, or panics with the first failure.
fn run_all(seeds: std::ops::Range<u64>, subject: Subject) -> Summary {
    let half = |odd: u64| {
        let seeds = seeds.clone().filter(move |seed| seed % 2 == odd);
        std::thread::spawn(move || {
            let mut sum = Summary::default();
            for seed in seeds {
                match run(seed, subject) {
                    Ok(summary) => sum.add(&summary),
                    Err(failure) => panic!("{failure}\nreplay: sim --seed {seed} --verbose"),
                }
            }
            sum
        })
    };
    let (even, odd) = (half(0), half(1));
    let mut sum = even.join().expect("no even seed fails");
    sum.add(&odd.join().expect("no odd seed fails"));
    sum
}

#[test]
fn the_shards_do_what_they_promise() {
    let sum = run_all(0..seeds(), Subject::Shards);
    assert!(sum.deliveries > 0 && sum.obligations > sum.publications);
}

/// Worlds that once showed a fault, of the shards or of the oracle.
#[test]
fn what_was_found_before_is_not_found_again() {
    for seed in [40020, 40030, 40279, 43630, 48446, 49964, 53413, 78897, 84718, 94500] {
        if let Err(failure) = run(seed, Subject::Shards) {
            panic!("{failure}");
        }
    }
}

#[test]
fn the_oracle_accepts_the_simple_bus() {
    run_all(0..seeds().min(200), Subject::Table);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..30 {
        let first = replay(seed, Subject::Shards, Detail::Hash)
            .map(|summary| (summary.hash, summary.events));
        let again = replay(seed, Subject::Shards, Detail::Tail)
            .map(|summary| (summary.hash, summary.events));
        let first = first.unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(Some(first), again.ok(), "seed {seed}");
    }
}

#[test]
fn seeds_make_different_worlds() {
    let mut hashes: Vec<u64> =
        (0..20).filter_map(|seed| run(seed, Subject::Table).ok()).map(|sum| sum.hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 20);
}

/// What is rare must still happen, or the seeds prove nothing about it.
#[test]
fn the_seeds_reach_the_rare_cases() {
    let rare = run_all(0..seeds().max(400), Subject::Shards).rare;
    assert!(rare.forwarded_msgs > 1000, "{rare:?}");
    assert!(rare.congested > 0, "{rare:?}");
    assert!(rare.stalled_clients > 0, "{rare:?}");
    assert!(rare.slow_pending_bytes > 0, "{rare:?}");
    assert!(rare.slow_write_deadline + rare.stale_connections > 0, "{rare:?}");
}
