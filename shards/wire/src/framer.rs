//! Cuts a client's byte stream into operations.

use memchr::memchr;

use crate::args;
use crate::client_op::{ClientOp, Pub};
use crate::errors::{Fault, UNKNOWN_SNIPPET_BYTES_MAX};
use crate::hot;
use crate::info;
use crate::verb::{self, Read, VERB_LEN_MAX, Verb, state};

/// What one connection may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest argument part of a control line in bytes, verb, leading blanks and line end not
    /// counted.
    pub control_line_max: usize,
    /// Largest payload in bytes, header included; `usize::MAX` for no limit.
    pub payload_max: usize,
    /// Whether `HPUB` is allowed: the server has headers on and `CONNECT` said `headers:true`.
    pub headers: bool,
}

/// What [`ClientParser::next`] found at the start of the bytes.
#[derive(Debug)]
pub enum Next<'a> {
    /// An operation in the first `used` bytes.
    Op {
        /// The operation.
        op: ClientOp<'a>,
        /// Bytes it took, never 0.
        used: usize,
    },
    /// `used` bytes (never 0) are done with and carry no operation of their own.
    Skip {
        /// Bytes to drop.
        used: usize,
    },
    /// Not enough: keep all bytes and call again when at least `need` are there.
    More {
        /// Total bytes wanted, greater than the number given.
        need: usize,
    },
    /// The connection has to be closed; the parser must not be called again.
    Fault(Fault),
}

/// Parser of what one client sends. It keeps no bytes, only what was skipped.
#[derive(Clone, Debug, Default)]
pub struct ClientParser {
    place: Place,
}

/// Where in an operation the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    /// After a verb and any number of blanks, before the first byte of its argument.
    Argument(Verb),
    /// After a verb whose line is ignored up to its end.
    Junk(Verb),
}

const _: () = assert!(size_of::<ClientParser>() <= 16);

impl ClientParser {
    /// A parser at the start of an operation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the next byte begins an operation.
    #[inline]
    pub fn is_at_start(&self) -> bool {
        self.place == Place::Start
    }

    /// Whether `bytes` begin an operation that can't be `CONNECT`. While a connection has still to
    /// authenticate, nats-server refuses at this first byte, before it looks at the verb.
    pub fn begins_without_connect(&self, bytes: &[u8]) -> bool {
        self.place == Place::Start && bytes.first().is_some_and(|b| !matches!(b, b'C' | b'c'))
    }

    /// The subject of a `PUB` or `HPUB` at the start of `bytes` whose control line is whole, while
    /// its payload is not. Asked after [`Next::More`].
    pub fn unfinished_publication<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (verb, line) = self.control_line(bytes)?;
        let words = line.split(|b| matches!(b, b' ' | b'\t' | b'\r'));
        matches!(verb, "PUB" | "HPUB").then_some(words)?.find(|word| !word.is_empty())
    }

    /// Verb and arguments of a whole `PUB`, `HPUB`, `SUB` or `UNSUB` line at the start of `bytes`,
    /// right or wrong. For what [`next`](Self::next) gives no operation of.
    pub fn control_line<'a>(&self, bytes: &'a [u8]) -> Option<(&'static str, &'a [u8])> {
        let (verb, from) = match (self.place, verb::read(bytes)) {
            (Place::Argument(verb), _) => (verb, 0),
            (Place::Start, Read::Verb { verb, len }) => (verb, len),
            _ => return None,
        };
        let name = match verb {
            Verb::Pub => "PUB",
            Verb::Hpub => "HPUB",
            Verb::Sub => "SUB",
            Verb::Unsub => "UNSUB",
            _ => return None,
        };
        let blanks = bytes[from..].iter().take_while(|b| args::is_blank(**b)).count();
        let line = &bytes[from + blanks..];
        Some((name, without_carriage_return(&line[..memchr(b'\n', line)?])))
    }

    /// The publication at the start of `bytes` and how many bytes it takes, if it is whole and
    /// plainly spaced: what [`next`](Self::next) would give, and nothing that it keeps changes.
    #[inline(always)]
    pub fn whole_publication<'a>(
        &self,
        bytes: &'a [u8],
        limits: &Limits,
    ) -> Option<(Pub<'a>, usize)> {
        if self.place == Place::Start { hot::publication(bytes, limits) } else { None }
    }

    /// Reads what is at the start of `bytes`. Faults come with the first byte that decides them.
    // Returning an operation through memory costs as much as reading it: 11 ns a PUB against 7.
    #[inline(always)]
    pub fn next<'a>(&mut self, bytes: &'a [u8], limits: &Limits) -> Next<'a> {
        if let Some((publication, used)) = self.whole_publication(bytes, limits) {
            return Next::Op { op: ClientOp::Pub(publication), used };
        }
        self.next_slow(bytes, limits)
    }

    /// Like [`next`](Self::next) without the fast lane: same results for any input.
    #[inline(never)]
    pub fn next_slow<'a>(&mut self, bytes: &'a [u8], limits: &Limits) -> Next<'a> {
        let (verb, from) = match self.place {
            Place::Start => match verb::read(bytes) {
                Read::Verb { verb, len } => (verb, len),
                Read::Short => {
                    return Next::More { need: bytes.len() + 1 };
                }
                Read::Wrong { state, at } => return unknown(state, at, bytes),
            },
            Place::Argument(verb) | Place::Junk(verb) => (verb, 0),
        };
        match verb {
            Verb::Ping => self.line_of_junk(verb, ClientOp::Ping, bytes, from),
            Verb::Pong => self.line_of_junk(verb, ClientOp::Pong, bytes, from),
            Verb::Ok => self.line_of_junk(verb, ClientOp::Ok, bytes, from),
            _ => self.line_of_arguments(verb, bytes, from, limits),
        }
    }

    fn line_of_junk<'a>(
        &mut self,
        verb: Verb,
        op: ClientOp<'a>,
        bytes: &'a [u8],
        from: usize,
    ) -> Next<'a> {
        match memchr(b'\n', &bytes[from..]) {
            Some(at) => self.done(op, from + at + 1),
            None if bytes.is_empty() => Next::More { need: 1 },
            None => {
                self.place = Place::Junk(verb);
                Next::Skip { used: bytes.len() }
            }
        }
    }

    fn line_of_arguments<'a>(
        &mut self,
        verb: Verb,
        bytes: &'a [u8],
        from: usize,
        limits: &Limits,
    ) -> Next<'a> {
        let blanks = bytes[from..].iter().take_while(|b| args::is_blank(**b)).count();
        let start = from + blanks;
        if start == bytes.len() {
            return self.skip_to(verb, start, start + 1);
        }
        // nats-server takes the first byte after the blanks into the argument unseen, even '\n'.
        let Some(end) = memchr(b'\n', &bytes[start + 1..]).map(|at| start + 1 + at) else {
            if without_carriage_return(&bytes[start..]).len() > limits.control_line_max {
                return control_line_too_long(limits);
            }
            return self.wait(verb, start, bytes.len() + 1);
        };
        let line = Line { verb, bytes, start, end };
        let arguments = without_carriage_return(&bytes[start..end]);
        if arguments.len() > limits.control_line_max {
            return control_line_too_long(limits);
        }
        match self.finish(&line, arguments, limits) {
            Ok(next) => next,
            Err(fault) => Next::Fault(fault),
        }
    }

    fn finish<'a>(
        &mut self,
        line: &Line<'a>,
        arguments: &'a [u8],
        limits: &Limits,
    ) -> Result<Next<'a>, Fault> {
        let op = match line.verb {
            Verb::Pub => {
                let size = args::publish(arguments)?;
                return self.publication(line, size, limits);
            }
            Verb::Hpub if !limits.headers => return Err(Fault::HeadersUnsupported),
            Verb::Hpub => {
                let size = args::publish_with_header(arguments)?;
                return self.publication(line, size, limits);
            }
            Verb::Sub => args::subscribe(arguments)?,
            Verb::Unsub => args::unsubscribe(arguments)?,
            Verb::Connect => ClientOp::Connect(arguments),
            Verb::Info => {
                info::check(arguments)?;
                ClientOp::Info(arguments)
            }
            Verb::Err => ClientOp::Err(arguments),
            Verb::Ping => ClientOp::Ping,
            Verb::Pong => ClientOp::Pong,
            Verb::Ok => ClientOp::Ok,
        };
        Ok(self.done(op, line.end + 1))
    }

    fn publication<'a>(
        &mut self,
        line: &Line<'a>,
        args: args::Publish<'a>,
        limits: &Limits,
    ) -> Result<Next<'a>, Fault> {
        let bytes = line.bytes;
        if args.size > limits.payload_max {
            return Err(Fault::PayloadTooLarge {
                size: i64::try_from(args.size).unwrap_or(i64::MAX),
                max: i64::try_from(limits.payload_max).unwrap_or(i64::MAX),
            });
        }
        let from = line.end + 1;
        let to = from + args.size;
        match bytes.get(to) {
            None => return Ok(self.wait(line.verb, line.start, to + 1)),
            Some(b'\r') => {}
            Some(_) => return Ok(unknown(state::PAYLOAD_CR, to, bytes)),
        }
        match bytes.get(to + 1) {
            None => return Ok(self.wait(line.verb, line.start, to + 2)),
            Some(b'\n') => {}
            Some(_) => return Ok(unknown(state::PAYLOAD_LF, to + 1, bytes)),
        }
        let used = to + 2;
        let tail = args.tail_len(line.verb).map_or(&[][..], |len| {
            let from = line.end.checked_sub(len + 1);
            let ends_canonically = bytes[line.end - 1] == b'\r';
            from.filter(|_| ends_canonically).map_or(&[][..], |from| &bytes[from..used])
        });
        let publication = Pub {
            subject: args.subject,
            reply: args.reply,
            header_len: args.header_len,
            payload: &bytes[from..to],
            tail,
        };
        Ok(self.done(ClientOp::Pub(publication), used))
    }

    fn done<'a>(&mut self, op: ClientOp<'a>, used: usize) -> Next<'a> {
        self.place = Place::Start;
        Next::Op { op, used }
    }

    /// Waits for `need` bytes, first letting go of the verb and its blanks if they are long.
    fn wait<'a>(&mut self, verb: Verb, start: usize, need: usize) -> Next<'a> {
        if start > VERB_LEN_MAX { self.skip_to(verb, start, need) } else { Next::More { need } }
    }

    fn skip_to<'a>(&mut self, verb: Verb, start: usize, need: usize) -> Next<'a> {
        if start == 0 {
            return Next::More { need };
        }
        self.place = Place::Argument(verb);
        Next::Skip { used: start }
    }
}

/// A complete control line: `bytes[start..end]` is its argument, `bytes[end]` the '\n'.
struct Line<'a> {
    verb: Verb,
    bytes: &'a [u8],
    start: usize,
    end: usize,
}

/// nats-server shortens an argument by one byte if a '\r' was anywhere after its first byte. Nearly
/// always that byte is the '\r' of the line end itself.
fn without_carriage_return(argument: &[u8]) -> &[u8] {
    let dropped = usize::from(argument.get(1..).is_some_and(|a| memchr(b'\r', a).is_some()));
    &argument[..argument.len() - dropped]
}

#[cold]
fn unknown<'a>(state: u8, at: usize, bytes: &[u8]) -> Next<'a> {
    let rest = &bytes[at..];
    // nats-server's own snippet is a byte short when it reaches the end of its buffer.
    let len = if rest.len() < UNKNOWN_SNIPPET_BYTES_MAX {
        rest.len() - 1
    } else {
        UNKNOWN_SNIPPET_BYTES_MAX
    };
    Next::Fault(Fault::UnknownOperation { state, at, snippet: rest[..len].into() })
}

#[cold]
fn control_line_too_long<'a>(limits: &Limits) -> Next<'a> {
    Next::Fault(Fault::ControlLineTooLong { max: limits.control_line_max })
}
