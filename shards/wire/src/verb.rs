//! The verbs of a client, recognised byte by byte.

/// The verb of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `CONNECT`
    Connect,
    /// `INFO`
    Info,
    /// `PING`
    Ping,
    /// `PONG`
    Pong,
    /// `PUB`
    Pub,
    /// `HPUB`
    Hpub,
    /// `SUB`
    Sub,
    /// `UNSUB`
    Unsub,
    /// `+OK`
    Ok,
    /// `-ERR`
    Err,
}

/// Longest verb with the blank it may need.
pub(crate) const VERB_LEN_MAX: usize = 8;

/// nats-server's numbers of the parser states that only appear in its log line.
pub(crate) mod state {
    pub(crate) const PAYLOAD_CR: u8 = 41;
    pub(crate) const PAYLOAD_LF: u8 = 42;
}

/// What the first bytes of an operation are.
pub(crate) enum Read {
    /// The verb, with its first blank where one is required.
    Verb { verb: Verb, len: usize },
    /// A proper prefix of a verb.
    Short,
    /// The byte `at` can't be; `state` is nats-server's number for what was read before.
    Wrong { state: u8, at: usize },
}

struct Name {
    verb: Verb,
    /// In capitals; ' ' stands for one blank, space or tab.
    letters: &'static [u8],
    /// State before the letter of the same index.
    states: &'static [u8],
}

const CONNECT: Name =
    Name { verb: Verb::Connect, letters: b"CONNECT", states: &[0, 10, 11, 12, 13, 14, 15] };
const INFO: Name = Name { verb: Verb::Info, letters: b"INFO", states: &[0, 71, 72, 73] };
const PING: Name = Name { verb: Verb::Ping, letters: b"PING", states: &[0, 29, 34, 35] };
const PONG: Name = Name { verb: Verb::Pong, letters: b"PONG", states: &[0, 29, 37, 38] };
const PUB: Name = Name { verb: Verb::Pub, letters: b"PUB ", states: &[0, 29, 30, 31] };
const HPUB: Name = Name { verb: Verb::Hpub, letters: b"HPUB ", states: &[0, 18, 19, 20, 21] };
const SUB: Name = Name { verb: Verb::Sub, letters: b"SUB ", states: &[0, 43, 44, 45] };
const UNSUB: Name =
    Name { verb: Verb::Unsub, letters: b"UNSUB ", states: &[0, 59, 60, 61, 62, 63] };
const OK: Name = Name { verb: Verb::Ok, letters: b"+OK", states: &[0, 1, 2] };
const ERR: Name = Name { verb: Verb::Err, letters: b"-ERR ", states: &[0, 4, 5, 6, 7] };

/// Reads the verb at the start of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Read {
    let Some(first) = bytes.first() else {
        return Read::Short;
    };
    let name = match first.to_ascii_uppercase() {
        b'P' => match bytes.get(1).map(u8::to_ascii_uppercase) {
            Some(b'I') => &PING,
            Some(b'O') => &PONG,
            // A missing or wrong second letter reads the same whichever name is tried.
            _ => &PUB,
        },
        b'S' => &SUB,
        b'H' => &HPUB,
        b'U' => &UNSUB,
        b'C' => &CONNECT,
        b'I' => &INFO,
        b'+' => &OK,
        b'-' => &ERR,
        _ => return Read::Wrong { state: 0, at: 0 },
    };
    read_name(name, bytes)
}

fn read_name(name: &Name, bytes: &[u8]) -> Read {
    for (at, letter) in name.letters.iter().enumerate() {
        let Some(byte) = bytes.get(at) else {
            return Read::Short;
        };
        let fits = byte.to_ascii_uppercase() == *letter || (*letter == b' ' && *byte == b'\t');
        if !fits {
            return Read::Wrong { state: name.states[at], at };
        }
    }
    Read::Verb { verb: name.verb, len: name.letters.len() }
}
