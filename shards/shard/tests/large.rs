//! Large messages that come in pieces.

#[path = "support/bus.rs"]
mod bus;

use bus::{Bus, Id};

const BODY: usize = 40_000;

/// The two parts of `PUB` or `HPUB`, line and payload, cut after so many bytes.
fn say_in_two(bus: &mut Bus, publisher: Id, message: &[u8], cut: usize) {
    bus.post(publisher, &message[..cut]);
    bus.post(publisher, &message[cut..]);
}

fn message(line: &str, fill: u8) -> Vec<u8> {
    let mut bytes = line.as_bytes().to_vec();
    bytes.resize(line.len() + BODY, fill);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// What a subscriber gets of three messages in a row, each in two pieces.
fn heard(subscribe: &str, published: &str, cut: usize) -> Vec<u8> {
    let mut bus = Bus::new(1);
    let (publisher, subscriber) = (bus.quiet(0), bus.quiet(0));
    bus.send(subscriber, &format!("{subscribe}PING\r\n"));
    bus.take(subscriber);
    for fill in *b"abc" {
        say_in_two(&mut bus, publisher, &message(published, fill), cut);
    }
    bus.take_bytes(subscriber)
}

fn wanted(line: &str) -> Vec<u8> {
    b"abc".iter().flat_map(|fill| message(line, *fill)).collect()
}

#[test]
fn a_large_message_comes_whole_wherever_it_is_cut() {
    let long = format!("SUB big {}\r\n", "x".repeat(40));
    for cut in [5, 20, 700, BODY] {
        for (subscribe, published, line) in [
            ("SUB big 1\r\n", "PUB big 40000\r\n", "MSG big 1 40000\r\n"),
            ("SUB big 12345678\r\n", "PUB big re 40000\r\n", "MSG big 12345678 re 40000\r\n"),
            ("SUB *  7\r\n", "HPUB big 12 40000\r\n", "HMSG big 7 12 40000\r\n"),
            (&long, "PUB big 40000\r\n", &format!("MSG big {} 40000\r\n", "x".repeat(40))),
            ("SUB big 1\r\nUNSUB 1 9\r\n", "PUB big 40000\r\n", "MSG big 1 40000\r\n"),
            ("SUB big 1\r\n", "PUB big 40000 \r\n", "MSG big 1 40000\r\n"),
        ] {
            assert!(heard(subscribe, published, cut) == wanted(line), "{published} {cut}");
        }
    }
}

#[test]
fn what_follows_a_large_message_comes_after_it() {
    let mut bus = Bus::new(1);
    let (publisher, subscriber) = (bus.quiet(0), bus.quiet(0));
    bus.send(subscriber, "SUB big 1\r\nSUB other 2\r\nPING\r\n");
    bus.take(subscriber);
    let mut sent = message("PUB big 40000\r\n", b'a');
    sent.extend_from_slice(&message("PUB big 40000\r\n", b'b'));
    sent.extend_from_slice(b"PUB other 0\r\n\r\n");
    sent.extend_from_slice(&message("PUB big 40000\r\n", b'c'));
    let mut wanted = message("MSG big 1 40000\r\n", b'a');
    wanted.extend_from_slice(&message("MSG big 1 40000\r\n", b'b'));
    wanted.extend_from_slice(b"MSG other 2 0\r\n\r\n");
    wanted.extend_from_slice(&message("MSG big 1 40000\r\n", b'c'));
    for piece in [13_000, 30_000, 70_000] {
        sent.chunks(piece).for_each(|bytes| bus.post(publisher, bytes));
        assert!(bus.take_bytes(subscriber) == wanted, "in pieces of {piece}");
    }
}

#[test]
fn one_for_a_subscription_that_has_gone_goes_nowhere() {
    let mut bus = Bus::new(1);
    let (publisher, subscriber) = (bus.quiet(0), bus.quiet(0));
    bus.send(subscriber, "SUB big 1\r\nPING\r\n");
    for fill in *b"ab" {
        say_in_two(&mut bus, publisher, &message("PUB big 40000\r\n", fill), 700);
    }
    let whole = message("PUB big 40000\r\n", b'c');
    bus.post(publisher, &whole[..700]);
    bus.send(subscriber, "UNSUB 1\r\nPING\r\n");
    bus.take_bytes(subscriber);
    bus.post(publisher, &whole[700..]);
    assert!(bus.take_bytes(subscriber).is_empty());
}

#[test]
fn a_large_message_behind_many_small_ones_comes_whole() {
    let mut bus = Bus::new(2);
    let (publisher, subscriber) = (bus.quiet(0), bus.quiet(0));
    bus.send(subscriber, "SUB big 1\r\nPING\r\n");
    bus.take(subscriber);
    let small = "PUB big 1000\r\n".to_string() + &"s".repeat(1000) + "\r\n";
    bus.send(publisher, &small.repeat(2));
    let whole = message("PUB big 40000\r\n", b'w');
    // It waits for its PONG until the other shard has caught up, and meanwhile says more.
    bus.post(publisher, b"SUB other 9\r\nPING\r\n");
    for _ in 0..300 {
        bus.post(publisher, small.as_bytes());
    }
    bus.post(publisher, &whole[..20_000]);
    bus.settle();
    bus.post(publisher, &whole[20_000..]);
    assert!(bus.take_bytes(subscriber).ends_with(&message("MSG big 1 40000\r\n", b'w')));
}
