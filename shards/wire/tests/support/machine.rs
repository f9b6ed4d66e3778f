//! The protocol once more, as slowly and plainly as possible: one byte at a time, everything
//! copied. The parser is compared with it; the two share no code but the reading of JSON.

use wire::{CloseReason, Limits, error_text};

use super::{Event, driver, latin1};

const VERBS: [&str; 10] =
    ["CONNECT", "INFO", "PING", "PONG", "PUB ", "HPUB ", "SUB ", "UNSUB ", "+OK", "-ERR "];

#[derive(Default)]
struct Machine {
    verb: String,
    /// The verb is complete.
    known: bool,
    argument: Vec<u8>,
    carriage_return: bool,
    /// The line is complete and announced a payload.
    publication: Option<(Event, usize)>,
    payload: Vec<u8>,
}

/// Each event of `input` with the number of bytes after which it is decided.
pub fn run(input: &[u8], limits: Limits) -> Vec<(usize, Event)> {
    let mut machine = Machine::default();
    let mut events = Vec::new();
    for (at, byte) in input.iter().enumerate() {
        if let Some(event) = machine.step(*byte, limits) {
            let over = matches!(event, Event::Fault { .. });
            events.push((at + 1, event));
            if over {
                break;
            }
            machine = Machine::default();
        }
    }
    events
}

impl Machine {
    fn step(&mut self, byte: u8, limits: Limits) -> Option<Event> {
        if self.publication.is_some() {
            return self.payload(byte);
        }
        if !self.known {
            let letter = if byte == b'\t' { ' ' } else { char::from(byte.to_ascii_uppercase()) };
            // Only the blank after a verb may be a tab.
            self.verb.push(letter);
            let mut fitting = VERBS.iter().filter(|verb| verb.starts_with(&self.verb));
            let verb = fitting.next();
            self.known = verb.is_some_and(|verb| **verb == self.verb);
            return verb.is_none().then(unknown);
        }
        match self.verb.as_str() {
            "PING" => (byte == b'\n').then_some(Event::Ping),
            "PONG" => (byte == b'\n').then_some(Event::Pong),
            "+OK" => (byte == b'\n').then_some(Event::Ok),
            _ => self.argument(byte, limits),
        }
    }

    fn argument(&mut self, byte: u8, limits: Limits) -> Option<Event> {
        if self.argument.is_empty() {
            if byte != b' ' && byte != b'\t' {
                self.argument.push(byte);
                return self.too_long(limits);
            }
            return None;
        }
        if byte == b'\n' {
            if self.carriage_return {
                self.argument.pop();
            }
            return self.line(limits);
        }
        self.carriage_return |= byte == b'\r';
        self.argument.push(byte);
        self.too_long(limits)
    }

    fn too_long(&self, limits: Limits) -> Option<Event> {
        let len = self.argument.len() - usize::from(self.carriage_return);
        (len > limits.control_line_max).then(|| Event::Fault {
            text: Some(error_text::MAXIMUM_CONTROL_LINE),
            reason: CloseReason::MaximumControlLineExceeded,
            what: error_text::MAXIMUM_CONTROL_LINE.to_owned(),
        })
    }

    fn line(&mut self, limits: Limits) -> Option<Event> {
        let argument = self.argument.clone();
        let text = latin1(&argument);
        match self.verb.as_str() {
            "CONNECT" => return Some(Event::Connect(text)),
            "-ERR " => return Some(Event::Err(text)),
            "INFO" => return Some(info(&argument)),
            "SUB " => return Some(sub(&argument)),
            "UNSUB " => return Some(unsub(&argument)),
            _ => {}
        }
        let header = self.verb == "HPUB ";
        if header && !limits.headers {
            return Some(silent("message headers not supported".to_owned()));
        }
        match publication(&argument, header, limits) {
            Ok(publication) => self.publication = Some(publication),
            Err(fault) => return Some(fault),
        }
        None
    }

    fn payload(&mut self, byte: u8) -> Option<Event> {
        let (event, size) = self.publication.as_mut()?;
        self.payload.push(byte);
        let rest = self.payload.get(*size..).unwrap_or_default();
        match rest {
            [] | [b'\r'] => None,
            [b'\r', b'\n'] => {
                if let Event::Pub { payload, .. } = event {
                    *payload = latin1(&self.payload[..*size]);
                }
                Some(event.clone())
            }
            _ => Some(unknown()),
        }
    }
}

fn publication(argument: &[u8], header: bool, limits: Limits) -> Result<(Event, usize), Event> {
    let (process, sizes) = if header { ("processHeaderPub", 2) } else { ("processPub", 1) };
    let fault = |what: &str| silent(format!("{process} {what}: {}", quoted(argument)));
    let words = words(argument, b" \t");
    if words.len() != 1 + sizes && words.len() != 2 + sizes {
        return Err(fault("Parse Error"));
    }
    let reply = if words.len() == 2 + sizes { latin1(&words[1]) } else { String::new() };
    let mut header_len = 0;
    if header {
        header_len =
            number(&words[words.len() - 2]).ok_or_else(|| fault("Bad or Missing Header Size"))?;
    }
    let total = if header { "Bad or Missing Total Size" } else { "Bad or Missing Size" };
    let size = number(&words[words.len() - 1]).ok_or_else(|| fault(total))?;
    if header_len > size {
        return Err(fault("Header Size larger then TotalSize"));
    }
    if size > limits.payload_max {
        let what = format!("maximum payload exceeded: {size} vs {}", limits.payload_max);
        let text = Some(error_text::MAXIMUM_PAYLOAD_VIOLATION);
        return Err(Event::Fault { text, reason: CloseReason::MaximumPayloadExceeded, what });
    }
    let subject = latin1(&words[0]);
    Ok((Event::Pub { subject, reply, header_len, payload: String::new() }, size))
}

fn sub(argument: &[u8]) -> Event {
    let words: Vec<String> = words(argument, b" \t\r\n").iter().map(|w| latin1(w)).collect();
    match words.as_slice() {
        [subject, sid] => Event::Sub { subject: subject.clone(), queue: None, sid: sid.clone() },
        [subject, queue, sid] => {
            let queue = Some(queue.clone());
            Event::Sub { subject: subject.clone(), queue, sid: sid.clone() }
        }
        _ => silent(format!("processSub Parse Error: {}", quoted(argument))),
    }
}

fn unsub(argument: &[u8]) -> Event {
    let words = words(argument, b" \t\r\n");
    match words.as_slice() {
        [sid] => Event::Unsub { sid: latin1(sid), max: 0 },
        [sid, max] => Event::Unsub { sid: latin1(sid), max: number(max).unwrap_or(0) as u64 },
        _ => silent(format!("processUnsub Parse Error: {}", quoted(argument))),
    }
}

/// Reading JSON is not what is compared here: a parser decides, given the line alone.
fn info(argument: &[u8]) -> Event {
    let mut line = b"INFO ".to_vec();
    line.extend_from_slice(argument);
    line.extend_from_slice(b"\r\n");
    let limits = Limits { control_line_max: usize::MAX - 100, payload_max: 0, headers: false };
    driver::whole(&line, limits).remove(0)
}

fn words(argument: &[u8], blanks: &[u8]) -> Vec<Vec<u8>> {
    let words = argument.split(|b| blanks.contains(b)).filter(|word| !word.is_empty());
    words.map(<[u8]>::to_vec).collect()
}

fn number(word: &[u8]) -> Option<usize> {
    let plain = !word.is_empty() && word.len() <= 9 && word.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(word).ok().filter(|_| plain)?.parse().ok()
}

fn unknown() -> Event {
    Event::Fault {
        text: Some(error_text::UNKNOWN_PROTOCOL_OPERATION),
        reason: CloseReason::ProtocolViolation,
        what: "unknown operation".to_owned(),
    }
}

fn silent(what: String) -> Event {
    Event::Fault { text: None, reason: CloseReason::ProtocolViolation, what }
}

fn quoted(bytes: &[u8]) -> String {
    let text = error_text::permissions_violation_publish(bytes);
    text.trim_start_matches("Permissions Violation for Publish to ").to_owned()
}
