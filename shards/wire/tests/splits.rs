//! However the bytes arrive, the same operations come out, at the same byte, and little is kept.

mod support;

use support::rng::Rng;
use support::{DEFAULT, driver, machine, random};
use wire::{ClientParser, Limits, Next};

/// Inputs with something odd at every place where a read may end.
const SCRIPTS: [&[u8]; 24] = [
    b"CONNECT {\"verbose\":false,\"name\":\"x\"}\r\nPING\r\nSUB foo.* 1\r\nSUB a q 2\r\nUNSUB 1 5\r\n",
    b"PUB foo 5\r\nhello\r\nPUB foo reply 5\r\nhello\r\nPUB foo 0\r\n\r\nPING\r\n",
    b"HPUB foo 12 17\r\nNATS/1.0\r\n\r\nhello\r\nHPUB foo r 12 12\r\nNATS/1.0\r\n\r\n\r\nPONG\r\n",
    b"pub\tfoo\t 5 \nhello\r\nhPuB  foo  r  0  2\nhi\r\n",
    b"PUB foo \r\n",
    b"PUB \r\nPING\r\n",
    b"PUB \nfoo 2\r\nhi\r\n",
    b"SUB \nfoo 1\r\n",
    b"SUB fo\ro 12\n",
    b"PUB fo\ro 25\nhi\r\nPING\r\n",
    b"PINGPONG junk \r \t\r\nPONG\n+OK whatever\r\n+ok\nPING\r\n",
    b"-ERR 'Some Error'\r\n-ERR \t x\nPING\r\n",
    b"INFO {\"server_id\":\"x\",\"port\":1}\r\nINFO{}\r\nINFO null\nINFO []\r\n",
    b"CONNECT{}\r\nCONNECT\t{}\nCONNECT\n{}\r\nCONNECT\r\n",
    b"PUB foo 3\r\nhello\r\n",
    b"PUB foo 5\r\nhello\n\r\n",
    b"PUB foo 5\r\nhello\rX",
    b"PUB foo 1234567890\r\n",
    b"PUB foo 999999999\r\n",
    b"HPUB foo 6 5\r\nhello\r\n",
    b"UNSUB 1 2 3\r\n",
    b"PUBX foo 1\r\n",
    b"PUB                                                            foo            5\r\nhello\r\n",
    b"PUB a 00005\r\nhello\r\nHPUB a b 002 05\r\nhello\r\nUNSUB   \r\n",
];

/// So tight that the scripts reach them.
const TIGHT: [Limits; 4] = [
    Limits { control_line_max: 0, payload_max: 0, headers: true },
    Limits { control_line_max: 5, payload_max: 4, headers: true },
    Limits { control_line_max: 11, payload_max: 5, headers: false },
    Limits { control_line_max: 33, payload_max: 12, headers: true },
];

#[test]
fn every_split_in_two_and_three() {
    for limits in TIGHT.into_iter().chain([DEFAULT]) {
        for script in SCRIPTS {
            let want = driver::whole(script, limits);
            for first in 0..=script.len() {
                assert_eq!(driver::split(script, &[first], limits), want);
                for second in first..=script.len() {
                    assert_eq!(driver::split(script, &[first, second], limits), want);
                }
            }
        }
    }
}

#[test]
fn each_event_at_its_byte() {
    for limits in TIGHT.into_iter().chain([DEFAULT]) {
        for script in SCRIPTS {
            let input = support::latin1(script);
            let want = machine::run(script, limits);
            assert_eq!(driver::bytewise(script, limits), want, "{input:?} {limits:?}");
        }
    }
}

#[test]
fn random_inputs_and_splits() {
    for seed in 0..20_000 {
        let mut random = Rng::new(seed);
        let limits = random::limits(&mut random);
        let input = random::input(&mut random, 5);
        let want: Vec<_> = machine::run(&input, limits);
        assert_eq!(driver::bytewise(&input, limits), want, "seed {seed}");
        let want: Vec<_> = want.into_iter().map(|(_, event)| event).collect();
        assert_eq!(driver::whole(&input, limits), want, "seed {seed}");
        for _ in 0..4 {
            let ends = random::splits(&mut random, input.len());
            assert_eq!(driver::split(&input, &ends, limits), want, "seed {seed} at {ends:?}");
        }
    }
}

#[test]
fn the_random_inputs_reach_every_kind_of_event() {
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for seed in 0..20_000 {
        let mut random = Rng::new(seed);
        let limits = random::limits(&mut random);
        for (_, event) in machine::run(&random::input(&mut random, 5), limits) {
            let name = match event {
                support::Event::Fault { what, .. } => {
                    what.split([':', ',']).next().map(str::to_owned)
                }
                other => format!("{other:?}").split([' ', '(']).next().map(str::to_owned),
            };
            *seen.entry(name.unwrap_or_default()).or_default() += 1;
        }
    }
    for name in [
        "Connect",
        "Info",
        "Ping",
        "Pong",
        "Ok",
        "Err",
        "Pub",
        "Sub",
        "Unsub",
        "unknown operation",
        "maximum control line exceeded",
        "maximum payload exceeded",
        "message headers not supported",
        "processPub Parse Error",
        "processPub Bad or Missing Size",
        "processHeaderPub Parse Error",
        "processHeaderPub Bad or Missing Header Size",
        "processHeaderPub Bad or Missing Total Size",
        "processHeaderPub Header Size larger then TotalSize",
        "processSub Parse Error",
        "processUnsub Parse Error",
    ] {
        assert!(seen.get(name).is_some_and(|count| *count >= 20), "{name}: {seen:#?}");
    }
}

#[test]
fn random_inputs_take_little_memory() {
    let mut most = 0;
    for seed in 0..20_000 {
        let mut random = Rng::new(seed);
        let limits = random::limits(&mut random);
        let input = random::input(&mut random, 5);
        let ends = random::splits(&mut random, input.len());
        let allocated = driver::allocated(&input, &ends, limits);
        assert!(allocated <= driver::ALLOCATED_MAX, "seed {seed}: {allocated} bytes");
        most = most.max(allocated);
    }
    assert!(most > 100, "faults and CONNECTs take some, not {most} bytes");
}

/// Blanks and junk are let go of as they come, however many there are.
#[test]
fn endless_blanks_and_junk_are_not_kept() {
    for begin in ["PUB ", "SUB\t", "CONNECT", "INFO", "-ERR ", "UNSUB ", "HPUB ", "PING", "+OK"] {
        let mut parser = ClientParser::new();
        let mut bytes = begin.as_bytes().to_vec();
        for _ in 0..1000 {
            bytes.extend_from_slice(&[b' '; 64]);
            while let Next::Skip { used } = parser.next(&bytes, &DEFAULT) {
                bytes.drain(..used);
            }
            assert!(bytes.is_empty(), "{begin} keeps {}", bytes.len());
        }
    }
}

/// What is wanted for a payload is wanted at once, not byte by byte.
#[test]
fn a_payload_is_asked_for_in_one() {
    let mut parser = ClientParser::new();
    let next = parser.next(b"PUB foo 1000\r\nhello", &DEFAULT);
    assert!(matches!(next, Next::More { need: 1015 }), "{next:?}");
}
