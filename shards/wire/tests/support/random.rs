//! Seeded random input: what clients send, then what they should not.

use wire::Limits;

use super::rng::Rng;

const WORDS: &str = r#"{"user":"u","pass":"secret","name":"a client","lang":"x","jwt":"e.y.J"}"#;

/// Limits, half of the time so tight that they are reached.
pub fn limits(random: &mut Rng) -> Limits {
    let tight = random.one_in(2);
    Limits {
        control_line_max: if tight { random.below(48) } else { 4096 },
        payload_max: if tight { random.below(40) } else { 1 << 20 },
        headers: !random.one_in(4),
    }
}

/// Up to `ops_max` operations, and mutations of them in two cases of three.
pub fn input(random: &mut Rng, ops_max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=random.below(ops_max) {
        operation(random, &mut bytes);
    }
    if !random.one_in(3) {
        for _ in 0..=random.below(4) {
            mutate(random, &mut bytes);
        }
    }
    bytes
}

/// Ascending offsets at which to split an input of `len` bytes.
pub fn splits(random: &mut Rng, len: usize) -> Vec<usize> {
    let mut ends: Vec<usize> = (0..random.below(6)).map(|_| random.below(len + 1)).collect();
    ends.sort_unstable();
    ends
}

fn operation(random: &mut Rng, out: &mut Vec<u8>) {
    match random.below(12) {
        0..4 => publication(random, out),
        4..6 => publication_with_header(random, out),
        6 => line(random, out, "SUB", &["foo", "1"]),
        7 => line(random, out, "sub", &["foo.*", "workers", "22"]),
        8 => {
            let max = *random.pick(&["", "5", "0", "x", "1234567890"]);
            line(random, out, "UNSUB", &["22", max]);
        }
        9 => {
            let verb = *random.pick(&["PING", "PONG", "+OK", "ping", "PINGjunk \r x", "+okok"]);
            out.extend_from_slice(verb.as_bytes());
            line_end(random, out);
        }
        10 => {
            let json = *random.pick(&[
                "{}",
                "null",
                r#"{"verbose":false}"#,
                WORDS,
                r#"{"port":"a"}"#,
                "[",
            ]);
            let verb = *random.pick(&["CONNECT", "INFO"]);
            line(random, out, verb, &[json]);
        }
        _ => line(random, out, "-ERR", &["'Some", "text'"]),
    }
}

fn publication(random: &mut Rng, out: &mut Vec<u8>) {
    let subject = *random.pick(&["a", "foo.bar", "telemetry.site.17.temp", "gr\u{fc}n", "5"]);
    let reply = *random.pick(&["", "", "_INBOX.x7", "7"]);
    let payload_len = payload_len(random);
    let size = size(random, payload_len);
    let verb = *random.pick(&["PUB", "PUB", "PUB", "Pub"]);
    line(random, out, verb, &[subject, reply, &size]);
    payload(random, out, payload_len);
}

fn publication_with_header(random: &mut Rng, out: &mut Vec<u8>) {
    let subject = *random.pick(&["a", "foo.bar"]);
    let reply = *random.pick(&["", "", "_INBOX.x7", "7"]);
    let payload_len = payload_len(random);
    let header_len = random.below(payload_len + 2);
    let (header, total) = (size(random, header_len), size(random, payload_len));
    let verb = *random.pick(&["HPUB", "HPUB", "hpub"]);
    line(random, out, verb, &[subject, reply, &header, &total]);
    payload(random, out, payload_len);
}

fn payload_len(random: &mut Rng) -> usize {
    if random.one_in(40) { random.below(5000) } else { random.below(24) }
}

fn size(random: &mut Rng, value: usize) -> String {
    match random.below(30) {
        0 => format!("0{value}"),
        1 => format!("-{value}"),
        2 => format!("{value:#x}"),
        3 => format!("{value:09}"),
        4 => format!("{value:010}"),
        5 => format!("99999{value}"),
        _ => value.to_string(),
    }
}

fn payload(random: &mut Rng, out: &mut Vec<u8>, len: usize) {
    let bytes = b"ab\r\nPING 0";
    out.extend((0..len).map(|_| bytes[random.below(bytes.len())]));
    match random.below(20) {
        0 => out.push(b'\n'),
        1 => out.push(b'\r'),
        _ => out.extend_from_slice(b"\r\n"),
    }
}

fn line(random: &mut Rng, out: &mut Vec<u8>, verb: &str, words: &[&str]) {
    out.extend_from_slice(verb.as_bytes());
    for word in words.iter().filter(|word| !word.is_empty()) {
        out.push(b' ');
        while random.one_in(12) {
            out.push(*random.pick(b" \t"));
        }
        out.extend_from_slice(word.as_bytes());
    }
    while random.one_in(16) {
        out.push(b' ');
    }
    line_end(random, out);
}

fn line_end(random: &mut Rng, out: &mut Vec<u8>) {
    out.extend_from_slice(if random.one_in(8) { b"\n" } else { b"\r\n" });
}

fn mutate(random: &mut Rng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    let special = b" \t\r\n\0\xff09-+PpHhUuSsCcIi{}\"\\";
    let byte = special[random.below(special.len())];
    match random.below(7) {
        0 => bytes[at] = byte,
        1 => bytes.insert(at, byte),
        2 => drop(bytes.remove(at)),
        3 => bytes[at] = random.next() as u8,
        4 => bytes.truncate(at),
        5 => {
            let len = random.below(200);
            bytes.splice(at..at, std::iter::repeat_n(byte, len));
        }
        _ => {
            let end = at + random.below(bytes.len() - at);
            let copy = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, copy);
        }
    }
}
