//! Nanoseconds of the engine's parts, one by one: `make microbench`, or
//! `cargo bench -p ringbus-engine-bench -- emit`.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

mod parser {
    use super::*;
    use wire::{ClientParser, Limits, Next};

    const LIMITS: Limits = Limits { control_line_max: 4096, payload_max: 1 << 20, headers: true };

    fn read_of(line: &str, payload: usize) -> Vec<u8> {
        let message = format!("{line} {payload}\r\n{}\r\n", "x".repeat(payload));
        message.repeat(65_536 / message.len()).into_bytes()
    }

    fn parse_all(bencher: Bencher<'_, '_>, read: &[u8]) {
        let mut parser = ClientParser::new();
        let mut count = |count: &mut u64| {
            let mut at = 0;
            loop {
                match parser.next(black_box(&read[at..]), &LIMITS) {
                    Next::Op { op, used } => {
                        black_box(&op);
                        at += used;
                        *count += 1;
                    }
                    Next::Skip { used } => at += used,
                    Next::More { .. } => return,
                    Next::Fault(fault) => panic!("{fault:?}"),
                }
            }
        };
        let mut operations = 0;
        count(&mut operations);
        bencher
            .counter(ItemsCount::new(operations))
            .counter(BytesCount::of_slice(read))
            .bench_local(|| count(&mut 0));
    }

    #[divan::bench(args = [16, 128, 1024])]
    fn publications(bencher: Bencher<'_, '_>, payload: usize) {
        parse_all(bencher, &read_of("PUB bench.subject", payload));
    }

    #[divan::bench]
    fn publications_with_replies(bencher: Bencher<'_, '_>) {
        parse_all(bencher, &read_of("PUB bench.subject _INBOX.abcdefgh.1", 16));
    }

    #[divan::bench]
    fn publications_oddly_spaced(bencher: Bencher<'_, '_>) {
        parse_all(bencher, &read_of("pub \t bench.subject ", 16));
    }

    #[divan::bench]
    fn subscriptions(bencher: Bencher<'_, '_>) {
        parse_all(bencher, &b"SUB tele.site.*.temperature 17\r\n".repeat(2000));
    }

    #[divan::bench]
    fn pings(bencher: Bencher<'_, '_>) {
        parse_all(bencher, &b"PING\r\n".repeat(10_000));
    }
}

mod sublist {
    use super::*;
    use subject::Sublist;

    /// `count` patterns, and as many subjects of which each has a match.
    fn table(count: usize, pattern: fn(usize) -> String) -> Sublist<u32> {
        let mut table = Sublist::new(1);
        for n in 0..count {
            table.insert(pattern(n).as_bytes(), n as u32);
        }
        table
    }

    fn match_all(bencher: Bencher<'_, '_>, table: &Sublist<u32>, subjects: &[String]) {
        let mut found = Vec::new();
        bencher.counter(ItemsCount::new(subjects.len())).bench_local(|| {
            for subject in subjects {
                found.clear();
                table.matches(black_box(subject.as_bytes()), &mut found);
                black_box(&found);
            }
        });
    }

    fn subjects(count: usize) -> Vec<String> {
        (0..1000).map(|n| format!("t.{}.{}", n % count, n / 7)).collect()
    }

    #[divan::bench(args = [10, 1000, 100_000])]
    fn literals(bencher: Bencher<'_, '_>, count: usize) {
        let table = table(count, |n| format!("t.{n}"));
        let subjects: Vec<String> = (0..1000).map(|n| format!("t.{}", n * 7 % count)).collect();
        match_all(bencher, &table, &subjects);
    }

    #[divan::bench(args = [10, 1000, 100_000])]
    fn one_star(bencher: Bencher<'_, '_>, count: usize) {
        match_all(bencher, &table(count, |n| format!("t.{n}.*")), &subjects(count));
    }

    #[divan::bench]
    fn all_and_narrower(bencher: Bencher<'_, '_>) {
        let mut table = table(1000, |n| format!("t.{n}.*"));
        table.insert(b"t.>", 0);
        match_all(bencher, &table, &subjects(1000));
    }

    #[divan::bench]
    fn insert_and_remove(bencher: Bencher<'_, '_>) {
        let mut table = table(1000, |n| format!("t.{n}.*"));
        bencher.bench_local(|| {
            let id = table.insert(black_box(b"some.other.*"), 0);
            table.remove(id)
        });
    }
}

mod ring {
    use super::*;

    #[divan::bench(args = [1, 4, 16, 64])]
    fn push_and_drain(bencher: Bencher<'_, '_>, batch: usize) {
        let (mut sender, mut receiver) = mesh::ring::<[u64; 3]>(64);
        bencher.counter(ItemsCount::new(batch)).bench_local(|| {
            for n in 0..batch as u64 {
                assert!(sender.push(black_box([n; 3])).is_ok());
            }
            let mut sum = 0;
            receiver.drain(64, |item| sum += item[0]);
            sum
        });
    }
}

mod emit {
    use super::*;

    #[divan::bench(args = [16, 128, 1024, 16_384])]
    fn message(bencher: Bencher<'_, '_>, payload: usize) {
        let tail = format!("{payload}\r\n{}\r\n", "x".repeat(payload));
        let body = &tail.as_bytes()[tail.len() - payload - 2..tail.len() - 2];
        let mut out = Vec::with_capacity(1 << 20);
        let frame = b"MSG bench.subject 1 ".len() + tail.len();
        let count = ((1 << 16) / frame).max(1);
        bencher
            .counter(ItemsCount::new(count))
            .counter(BytesCount::new(count * frame))
            .bench_local(|| {
                out.clear();
                for _ in 0..count {
                    let (subject, tail) = (black_box(b"bench.subject"), tail.as_bytes());
                    wire::emit::message(&mut out, subject, b"1", b"", 0, body, tail, true);
                }
                black_box(&out);
            });
    }

    #[divan::bench]
    fn pong(bencher: Bencher<'_, '_>) {
        let mut out = Vec::with_capacity(1 << 16);
        bencher.counter(ItemsCount::new(1000usize)).bench_local(|| {
            out.clear();
            (0..1000).for_each(|_| wire::emit::pong(black_box(&mut out)));
        });
    }
}

mod step {
    use super::*;
    use rig::script::GATE;

    /// The rows of the instruction gate, by the clock: items are deliveries (or what the row
    /// counts instead).
    #[divan::bench(args = GATE.iter().map(|script| script.name))]
    fn row(bencher: Bencher<'_, '_>, name: &str) {
        let script = GATE.iter().find(|script| script.name == name).expect("a name of the list");
        let mut scene = script.scene(script.shards);
        let units = script.play(&mut scene, 1).units;
        bencher.counter(ItemsCount::new(units)).bench_local(|| scene.round());
    }
}
