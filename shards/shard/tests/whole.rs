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

/// What a subscriber gets of three messages in a row, each in two pieces; and whether the last was
/// copied.
fn heard(subscribe: &str, published: &str, cut: usize) -> (Vec<u8>, bool) {
    let mut bus = Bus::new(1);
    let (publisher, subscriber) = (bus.quiet(0), bus.quiet(0));
    bus.send(subscriber, &format!("{subscribe}PING\r\n"));
    bus.take(subscriber);
    let mut copied = 0;
    for fill in *b"abc" {
        let before = bus.copied_bytes(0);
        say_in_two(&mut bus, publisher, &message(published, fill), cut);
        copied = bus.copied_bytes(0) - before;
    }
    bus.send(publisher, "PUB big 2\r\nhi\r\nPING\r\n");
    assert!(bus.take(publisher).ends_with("PONG\r\n"), "{published}");
    let got = bus.take_bytes(subscriber);
    let last = b"2\r\nhi\r\n";
    assert!(got.ends_with(last), "{subscribe}");
    let last_line = got[..got.len() - last.len()].iter().rposition(|byte| *byte == b'\n');
    (got[..=last_line.expect("lines")].to_vec(), copied >= BODY)
}

fn wanted(line: &str) -> Vec<u8> {
    b"abc".iter().flat_map(|fill| message(line, *fill)).collect()
}

#[test]
fn a_large_message_for_one_receiver_goes_on_in_its_buffer() {
    for cut in [20, 700, BODY] {
        assert_eq!(
            heard("SUB big 1\r\n", "PUB big 40000\r\n", cut),
            (wanted("MSG big 1 40000\r\n"), false)
        );
        let reply = heard("SUB big 12345678\r\n", "PUB big re 40000\r\n", cut);
        assert!(reply == (wanted("MSG big 12345678 re 40000\r\n"), false), "{cut}");
        let header = heard("SUB *  7\r\n", "HPUB big 12 40000\r\n", cut);
        assert_eq!(header, (wanted("HMSG big 7 12 40000\r\n"), false));
    }
}

#[test]
fn one_that_needs_more_is_copied() {
    let long = "x".repeat(40);
    let sid = heard(&format!("SUB big {long}\r\n"), "PUB big 40000\r\n", 700);
    assert_eq!(sid, (wanted(&format!("MSG big {long} 40000\r\n")), true));
    let counted = heard("SUB big 1\r\nUNSUB 1 9\r\n", "PUB big 40000\r\n", 700);
    assert_eq!(counted, (wanted("MSG big 1 40000\r\n"), true));
    let (blanks, copied) = heard("SUB big 1\r\n", "PUB big 40000 \r\n", 700);
    assert!(copied && blanks == wanted("MSG big 1 40000\r\n"));
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
fn a_buffer_that_has_held_more_is_not_passed_on() {
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
    let before = bus.copied_bytes(0);
    bus.post(publisher, &whole[20_000..]);
    assert!(bus.copied_bytes(0) - before >= BODY);
    assert!(bus.take_bytes(subscriber).ends_with(&message("MSG big 1 40000\r\n", b'w')));
}
