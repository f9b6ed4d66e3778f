//! Uses a parser as a connection does: appends what arrives, keeps what is not yet done with.

use wire::{ClientOp, ClientParser, Connect, Limits, Next, emit};

use super::Event;

/// A parser and the bytes kept for it.
pub struct Driver {
    parser: ClientParser,
    limits: Limits,
    kept: Vec<u8>,
    need: usize,
    events: Vec<Event>,
    faulted: bool,
}

impl Driver {
    pub fn new(limits: Limits) -> Self {
        let parser = ClientParser::new();
        Self { parser, limits, kept: Vec::new(), need: 1, events: Vec::new(), faulted: false }
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.faulted {
            return;
        }
        self.kept.extend_from_slice(chunk);
        let mut at = 0;
        while !self.faulted && self.kept.len() - at >= self.need {
            self.need = 1;
            at += self.step(at);
        }
        self.kept.drain(..at);
        self.check_bound();
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }

    pub fn into_events(self) -> Vec<Event> {
        self.events
    }

    fn step(&mut self, at: usize) -> usize {
        let bytes = &self.kept[at..];
        let mut slow_parser = self.parser.clone();
        let next = self.parser.next(bytes, &self.limits);
        let slow = slow_parser.next_slow(bytes, &self.limits);
        assert_eq!(format!("{next:?}"), format!("{slow:?}"), "lanes differ");
        match next {
            Next::Op { op, used } => {
                assert!(0 < used && used <= bytes.len());
                check_tail(&op, &bytes[..used]);
                self.events.push(Event::of_op(&op));
                used
            }
            Next::Skip { used } => {
                assert!(0 < used && used <= bytes.len());
                used
            }
            Next::More { need } => {
                assert!(need > bytes.len());
                self.need = need;
                0
            }
            Next::Fault(fault) => {
                self.events.push(Event::of_fault(&fault));
                self.faulted = true;
                0
            }
        }
    }

    fn check_bound(&self) {
        // Verb and blank, argument with CRLF, payload with CRLF.
        let payload_max = self.limits.payload_max.min(999_999_999);
        let bound = self.limits.control_line_max.saturating_add(8 + 2 + payload_max + 2);
        assert!(self.faulted || self.kept.len() <= bound, "keeps {} bytes", self.kept.len());
        assert!(self.faulted || self.need <= bound, "wants {} bytes", self.need);
    }
}

/// A delivery made with the sender's own tail is the one made from the parts; only zeros before a
/// size may be more.
fn check_tail(op: &wire::ClientOp<'_>, bytes: &[u8]) {
    let wire::ClientOp::Pub(p) = op else { return };
    if p.tail.is_empty() {
        return;
    }
    assert!(bytes.ends_with(p.tail));
    let mut made = Vec::new();
    emit::canonical_tail(&mut made, p.reply, p.header_len, p.payload);
    let sizes_at = if p.reply.is_empty() { 0 } else { p.reply.len() + 1 };
    let line_end = p.tail.len() - p.payload.len() - 4;
    assert_eq!(p.tail[..sizes_at], made[..sizes_at]);
    let sizes = std::str::from_utf8(&p.tail[sizes_at..line_end]).unwrap();
    let plain: Vec<&str> = sizes.split(' ').map(|size| size.trim_start_matches('0')).collect();
    let plain: Vec<&str> = plain.iter().map(|s| if s.is_empty() { "0" } else { *s }).collect();
    let made_end = made.len() - p.payload.len() - 4;
    assert_eq!(plain.join(" ").as_bytes(), &made[sizes_at..made_end]);
    assert_eq!(p.tail[line_end..], made[made_end..]);
}

/// All of `input` in one piece.
pub fn whole(input: &[u8], limits: Limits) -> Vec<Event> {
    let mut driver = Driver::new(limits);
    driver.feed(input);
    driver.into_events()
}

/// `input` in pieces that end at the given offsets, ascending.
pub fn split(input: &[u8], ends: &[usize], limits: Limits) -> Vec<Event> {
    let mut driver = Driver::new(limits);
    let mut from = 0;
    for end in ends.iter().copied().chain([input.len()]) {
        driver.feed(&input[from..end]);
        from = end;
    }
    driver.into_events()
}

/// `input` byte by byte: each event with the number of bytes that had arrived.
pub fn bytewise(input: &[u8], limits: Limits) -> Vec<(usize, Event)> {
    let mut driver = Driver::new(limits);
    let mut events = Vec::new();
    for (at, byte) in input.iter().enumerate() {
        driver.feed(std::slice::from_ref(byte));
        let new = driver.events()[events.len()..].to_vec();
        events.extend(new.into_iter().map(|event| (at + 1, event)));
    }
    events
}

/// Bytes that a parser, and the reader of CONNECTs behind it, may have allocated at once: the words
/// of one CONNECT or the text of one fault, no more than two control lines by default have.
pub const ALLOCATED_MAX: u64 = 8192;

/// Most bytes that they have allocated at once for `input` in pieces; what a connection keeps for
/// them is its own.
pub fn allocated(input: &[u8], ends: &[usize], limits: Limits) -> u64 {
    let mut kept = Vec::with_capacity(input.len());
    let taken = allocation_counter::measure(|| drain(&mut kept, input, ends, limits));
    assert_eq!(taken.bytes_current, 0, "something is kept");
    taken.bytes_max
}

/// Keeps nothing of what is read.
fn drain(kept: &mut Vec<u8>, input: &[u8], ends: &[usize], limits: Limits) {
    let mut parser = ClientParser::new();
    let (mut from, mut need) = (0, 1);
    for end in ends.iter().copied().chain([input.len()]) {
        kept.extend_from_slice(&input[from..end]);
        from = end;
        let mut at = 0;
        while kept.len() - at >= need {
            need = 1;
            match parser.next(&kept[at..], &limits) {
                Next::Op { op, used } => {
                    if let ClientOp::Connect(json) = op {
                        // Right or wrong: it is its memory that counts.
                        let _ = wire::connect::parse(&Connect::default(), json);
                    }
                    at += used;
                }
                Next::Skip { used } => at += used,
                Next::More { need: more } => need = more,
                Next::Fault(_) => return,
            }
        }
        kept.drain(..at);
    }
}
