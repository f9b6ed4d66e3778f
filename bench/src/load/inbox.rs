//! What a server says to a client, parsed in place.

use super::protocol::Protocol;
use memchr::memchr;

/// One operation from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerOp<'a> {
    /// The JSON after `INFO`.
    Info(&'a [u8]),
    /// MSG or HMSG.
    Message(Message<'a>),
    /// PING.
    Ping,
    /// PONG.
    Pong,
    /// `+OK`.
    Ok,
    /// The text of an `-ERR`, quotes included.
    Err(&'a [u8]),
}

/// A delivery.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Subject.
    pub subject: &'a [u8],
    /// Subscription id, as sent.
    pub sid: &'a [u8],
    /// Reply subject; empty when there is none.
    pub reply: &'a [u8],
    /// Header block, if any, and payload.
    pub payload: &'a [u8],
}

/// The first operation in `bytes` and how many bytes it took; nothing while it is incomplete.
///
/// # Errors
/// A line that says what no server may send.
pub fn parse(bytes: &[u8]) -> Result<Option<(ServerOp<'_>, usize)>, String> {
    let Some(end) = memchr(b'\n', bytes) else { return Ok(None) };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let (verb, rest) = match memchr(b' ', line) {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &line[line.len()..]),
    };
    let op = match verb {
        b"MSG" => return message(rest, bytes, end + 1, 4).map_err(|()| strange(line)),
        b"HMSG" => return message(rest, bytes, end + 1, 5).map_err(|()| strange(line)),
        b"PING" => ServerOp::Ping,
        b"PONG" => ServerOp::Pong,
        b"+OK" => ServerOp::Ok,
        b"INFO" => ServerOp::Info(rest),
        b"-ERR" => ServerOp::Err(rest),
        _ => return Err(strange(line)),
    };
    Ok(Some((op, end + 1)))
}

fn strange(line: &[u8]) -> String {
    format!(
        "unexpected from the server: {:?}",
        String::from_utf8_lossy(&line[..line.len().min(80)])
    )
}

type Parsed<'a> = Result<Option<(ServerOp<'a>, usize)>, ()>;

/// `most` is the number of arguments with a reply subject.
fn message<'a>(line: &'a [u8], bytes: &'a [u8], body: usize, most: usize) -> Parsed<'a> {
    let mut args: [&[u8]; 5] = [&[]; 5];
    let mut count = 0;
    for arg in line.split(|b| *b == b' ').filter(|arg| !arg.is_empty()) {
        *args.get_mut(count).ok_or(())? = arg;
        count += 1;
    }
    if count != most && count + 1 != most {
        return Err(());
    }
    let size = number(args[count - 1]).ok_or(())? as usize;
    let Some(payload) = bytes.get(body..body + size) else { return Ok(None) };
    match bytes.get(body + size..body + size + 2) {
        None => Ok(None),
        Some(b"\r\n") => {
            let reply = if count == most { args[2] } else { &[] };
            let message = Message { subject: args[0], sid: args[1], reply, payload };
            Ok(Some((ServerOp::Message(message), body + size + 2)))
        }
        Some(_) => Err(()),
    }
}

/// A decimal number of at most nine digits.
pub fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0u64, |n, d| d.is_ascii_digit().then(|| n * 10 + u64::from(d - b'0')))
}

/// Turns reads of any size into whole operations.
#[derive(Default)]
pub struct Inbox {
    protocol: Protocol,
    carry: Vec<u8>,
}

impl Inbox {
    /// Of a server that speaks this.
    pub fn of(protocol: Protocol) -> Self {
        Self { protocol, carry: Vec::new() }
    }

    /// Hands every operation completed by `bytes` to `each`, in order.
    ///
    /// # Errors
    /// What [`parse`] or `each` refuses; the inbox is of no use afterwards.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(ServerOp<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        if self.carry.is_empty() {
            let used = run(self.protocol, bytes, &mut each)?;
            self.carry.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        self.carry.extend_from_slice(bytes);
        let used = run(self.protocol, &self.carry, &mut each)?;
        self.carry.drain(..used);
        if self.carry.is_empty() {
            // Ten thousand connections that once carried must not keep their buffers.
            self.carry = Vec::new();
        }
        Ok(())
    }
}

fn run(
    protocol: Protocol,
    bytes: &[u8],
    each: &mut impl FnMut(ServerOp<'_>) -> Result<(), String>,
) -> Result<usize, String> {
    let mut used = 0;
    while let Some((op, size)) = protocol.parse(&bytes[used..])? {
        each(op)?;
        used += size;
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &[u8] = b"INFO {\"a\":1} \r\nPING\r\nMSG a.b 1 5\r\nhe\nlo\r\n+OK\r\n\
        MSG a.b 2 _INBOX.x 0\r\n\r\nHMSG s 3 4 6\r\nhhhhpp\r\n-ERR 'no'\r\nPONG\r\n";

    fn told(op: &ServerOp<'_>) -> String {
        format!("{op:?}")
    }

    #[test]
    fn every_split_gives_the_same_operations() {
        let mut whole = Vec::new();
        let mut inbox = Inbox::default();
        inbox
            .feed(SCRIPT, |op| {
                whole.push(told(&op));
                Ok(())
            })
            .unwrap();
        assert_eq!(whole.len(), 8);
        for at in 0..SCRIPT.len() {
            let mut halves = Vec::new();
            let mut inbox = Inbox::default();
            for part in [&SCRIPT[..at], &SCRIPT[at..]] {
                inbox
                    .feed(part, |op| {
                        halves.push(told(&op));
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(halves, whole, "split at {at}");
        }
    }

    #[test]
    fn a_reply_and_a_payload_are_found() {
        let (op, used) = parse(b"MSG a.b 2 _INBOX.x 3\r\nabc\r\nPING").unwrap().unwrap();
        let message = Message { subject: b"a.b", sid: b"2", reply: b"_INBOX.x", payload: b"abc" };
        assert_eq!(op, ServerOp::Message(message));
        assert_eq!(used, 27);
    }

    #[test]
    fn what_no_server_says_is_an_error() {
        for bad in [&b"HELLO\r\n"[..], b"MSG a 1\r\n", b"MSG a 1 x\r\n", b"MSG a 1 1\r\nabc\r\n"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
