//! What the sublist allocates. One test: the counts are those of the whole process.

mod common;

use std::alloc::System;
use std::hint::black_box;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use subject::Sublist;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Live bytes beyond those of the patterns and of `T`, per pattern.
fn overhead(count: usize, pattern: impl Fn(usize) -> String) -> f64 {
    let patterns: Vec<String> = (0..count).map(pattern).collect();
    let text: usize = patterns.iter().map(String::len).sum();
    let region = Region::new(ALLOCATOR);
    let mut sublist = Sublist::<u64>::new(9);
    for pattern in &patterns {
        sublist.insert(pattern.as_bytes(), 0);
    }
    let change = region.change();
    // Growing in place is counted apart from allocating; it may be negative.
    let live = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    black_box(&sublist);
    (live - (text + count * size_of::<u64>()) as isize) as f64 / count as f64
}

fn literals_cost_at_most_64_bytes() {
    // The worst counts are just after the table or the slab has grown, the worst widths just beyond
    // what is stored in place.
    let counts = (5..15).flat_map(|power| [7 << power, (7 << power) + 1, 9 << power]);
    let mut worst = (0.0, 0, 0);
    for (count, width) in counts.flat_map(|count| [(count, 6), (count, 22), (count, 23)]) {
        let cost = overhead(count, |at| format!("t.{at:0>width$}.value"));
        assert!(cost <= 64.0, "{cost} bytes each for {count} patterns of width {width}");
        if cost > worst.0 {
            worst = (cost, count, width);
        }
    }
    println!("worst: {:.1} bytes each beyond the pattern's own and T ({worst:?})", worst.0);
    println!("wildcards t.N.*: {:.1}", overhead(100_000, |at| format!("t.{at:0>6}.*")));
}

fn matching_allocates_nothing() {
    let mut sublist = Sublist::new(9);
    let stars = common::all_of(&["a", "*"], 10);
    let others = ["a.b.c", ">", "*.>", "a.>", "a.*.c"].map(String::from);
    for pattern in stars.iter().chain(&others) {
        if sublist.find(pattern.as_bytes()).is_none() {
            sublist.insert(pattern.as_bytes(), ());
        }
    }
    let subjects = [["a"; 10].join("."), "a.b.c".into(), "b..c".into(), ["a"; 500].join(".")];
    let mut out = Vec::with_capacity(sublist.len());
    let region = Region::new(ALLOCATOR);
    for subject in &subjects {
        out.clear();
        sublist.matches(subject.as_bytes(), &mut out);
        black_box(sublist.has_match(subject.as_bytes()));
        black_box(sublist.find(subject.as_bytes()));
        black_box(&out);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
}

fn removal_gives_everything_back() {
    let region = Region::new(ALLOCATOR);
    let mut sublist = Sublist::new(9);
    assert_eq!(region.change().allocations, 0, "an empty table has nothing allocated");
    let patterns: Vec<String> = (0..10_000)
        .flat_map(|at| [format!("t.{at}"), format!("t.{at}.*"), format!("t.{at}.a-long-tail.>")])
        .collect();
    let region = Region::new(ALLOCATOR);
    let ids: Vec<_> = patterns.iter().map(|text| sublist.insert(text.as_bytes(), ())).collect();
    let held = region.change();
    for id in ids {
        sublist.remove(id);
    }
    let change = region.change();
    assert!(held.bytes_allocated > 1_000_000);
    assert_eq!(change.bytes_allocated, change.bytes_deallocated);
}

fn churn_does_not_grow() {
    let names = |round: usize| {
        let at = move |at: usize| at * 31 + round * 7919;
        (0..1000).flat_map(move |n| [format!("c.{}", at(n)), format!("c.*.{}", at(n))])
    };
    let fill = |sublist: &mut Sublist<()>, round: usize| -> Vec<_> {
        names(round).map(|text| sublist.insert(text.as_bytes(), ())).collect()
    };
    let live = |region: &Region<System>| {
        let change = region.change();
        change.bytes_allocated as isize - change.bytes_deallocated as isize
    };
    let region = Region::new(ALLOCATOR);
    let mut sublist = Sublist::new(9);
    // Two stay, so that emptying the table is not what frees the memory.
    sublist.insert(b"stays.*", ());
    sublist.insert(b"stays", ());
    drop(fill(&mut sublist, 0));
    let fresh = live(&region);
    let mut ids: Vec<_> = names(0).filter_map(|text| sublist.find(text.as_bytes())).collect();
    for round in 1..300 {
        ids.drain(..).for_each(|id| sublist.remove(id));
        ids = fill(&mut sublist, round);
    }
    drop(ids);
    // Deleted entries leave marks in a hash table, so it may double once.
    assert!(live(&region) <= fresh * 3 / 2, "{fresh} bytes at first, then {}", live(&region));
}

#[test]
fn memory() {
    literals_cost_at_most_64_bytes();
    matching_allocates_nothing();
    removal_gives_everything_back();
    churn_does_not_grow();
}
