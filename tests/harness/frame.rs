//! Cuts what a server sends into frames: one control line each, with its payload for MSG and HMSG.

/// The length of the first whole frame in `bytes`, or `None` while more bytes are needed.
pub fn first_len(bytes: &[u8]) -> Option<usize> {
    let line = bytes.iter().position(|b| *b == b'\n')? + 1;
    let payload = match payload_len(&bytes[..line]) {
        Some(len) => len + 2,
        None => 0,
    };
    (bytes.len() >= line + payload).then_some(line + payload)
}

fn payload_len(line: &[u8]) -> Option<usize> {
    if !line.starts_with(b"MSG ") && !line.starts_with(b"HMSG ") {
        return None;
    }
    let size = line.trim_ascii_end().rsplit(|b| *b == b' ').next()?;
    std::str::from_utf8(size).ok()?.parse().ok()
}

/// The parts of a delivered message that tell it from others.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub verb: &'a [u8],
    pub subject: &'a [u8],
    pub sid: &'a [u8],
    /// Everything after the sid: reply, sizes, payload, CRLFs.
    pub rest: &'a [u8],
}

/// Reads a MSG or HMSG frame; `None` for any other frame.
pub fn message(frame: &[u8]) -> Option<Message<'_>> {
    let mut parts = frame.splitn(4, |b| *b == b' ');
    let verb = parts.next()?;
    if verb != b"MSG" && verb != b"HMSG" {
        return None;
    }
    Some(Message { verb, subject: parts.next()?, sid: parts.next()?, rest: parts.next()? })
}

impl Message<'_> {
    /// True if both are copies of the same publication for two subscriptions.
    pub fn same_publication(&self, other: &Message<'_>) -> bool {
        self.subject == other.subject && self.rest == other.rest
    }
}

#[test]
fn frames_end_where_their_payload_ends() {
    assert_eq!(first_len(b"+OK\r\nPONG\r\n"), Some(5));
    assert_eq!(first_len(b"MSG a 1 4\r\nPO\r\n\r\nPONG\r\n"), Some(17));
    assert_eq!(first_len(b"MSG a 1 4\r\nPO\r\n"), None);
    assert_eq!(first_len(b"HMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"), Some(34));
    assert_eq!(first_len(b"MSG a \xff 2\r\nhi\r\n+OK\r\n"), Some(15));
    assert_eq!(first_len(b"PON"), None);
    let read = message(b"MSG a 1 r 0\r\n\r\n").expect("a message");
    assert_eq!((read.subject, read.sid, read.rest), (&b"a"[..], &b"1"[..], &b"r 0\r\n\r\n"[..]));
}
