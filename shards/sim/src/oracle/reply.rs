//! What a server says, read back by somebody who has never seen the code that wrote it.

/// One thing a server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// With its JSON.
    Info(&'a [u8]),
    /// PING
    Ping,
    /// PONG
    Pong,
    /// +OK
    Ok,
    /// With the text between the quotes.
    Err(&'a [u8]),
    /// MSG or HMSG.
    Message(Message<'a>),
}

/// A delivery as it arrives.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// As published.
    pub subject: &'a [u8],
    /// Of the receiving subscription.
    pub sid: &'a [u8],
    /// Empty if there is none.
    pub reply: &'a [u8],
    /// None is MSG, anything else HMSG.
    pub header_len: Option<usize>,
    /// Header and body.
    pub payload: &'a [u8],
}

/// Reads one reply and tells its length; none if it is not all there yet. An error says what is
/// wrong.
pub fn parse(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, String> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() > 8192 { Err(wrong("an endless line", bytes)) } else { Ok(None) };
    };
    let (line, rest) = (&bytes[..end], &bytes[end + 2..]);
    let simple = |reply| Ok(Some((reply, end + 2)));
    match line {
        b"PING" => return simple(Reply::Ping),
        b"PONG" => return simple(Reply::Pong),
        b"+OK" => return simple(Reply::Ok),
        _ => {}
    }
    if let Some(json) = line.strip_prefix(b"INFO ") {
        if !(json.starts_with(b"{") && json.ends_with(b"} ")) {
            return Err(wrong("an INFO that is no object", line));
        }
        return simple(Reply::Info(json));
    }
    if let Some(text) = line.strip_prefix(b"-ERR '").and_then(|text| text.strip_suffix(b"'")) {
        return simple(Reply::Err(text));
    }
    let (message, size) = control_line(line).ok_or_else(|| wrong("an unknown line", line))?;
    let Some(payload) = rest.get(..size) else { return Ok(None) };
    match rest.get(size..size + 2) {
        None => Ok(None),
        Some(b"\r\n") => {
            Ok(Some((Reply::Message(Message { payload, ..message }), end + 2 + size + 2)))
        }
        Some(_) => Err(wrong("a payload without its end", line)),
    }
}

fn control_line(line: &[u8]) -> Option<(Message<'_>, usize)> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let none: &[u8] = b"";
    let (subject, sid, reply, header_len, size) = match words[..] {
        [b"MSG", subject, sid, size] => (subject, sid, none, None, size),
        [b"MSG", subject, sid, reply, size] => (subject, sid, reply, None, size),
        [b"HMSG", subject, sid, header, size] => (subject, sid, none, Some(number(header)?), size),
        [b"HMSG", subject, sid, reply, header, size] => {
            (subject, sid, reply, Some(number(header)?), size)
        }
        _ => return None,
    };
    let size = number(size)?;
    let sound = !subject.is_empty() && !sid.is_empty() && header_len.is_none_or(|len| len <= size);
    sound.then_some((Message { subject, sid, reply, header_len, payload: none }, size))
}

/// Decimal digits, without a leading zero that a server would not write.
fn number(digits: &[u8]) -> Option<usize> {
    let canonical = digits == b"0" || digits.first().is_some_and(|first| *first != b'0');
    let text = std::str::from_utf8(digits).ok()?;
    if canonical && digits.iter().all(u8::is_ascii_digit) { text.parse().ok() } else { None }
}

fn wrong(what: &str, bytes: &[u8]) -> String {
    format!("the server wrote {what}: {}", crate::trace::shown(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_a_server_says() {
        let text: &[u8] =
            b"INFO {\"a\":1} \r\nPING\r\n+OK\r\n-ERR 'Bad Thing'\r\nMSG a.b 7 0\r\n\r\n\
            MSG a 7 r 3\r\n\r\nx\r\nHMSG a 9 r 2 4\r\nhhbb\r\nHMSG a 9 2 2\r\nhh\r\nPONG\r\n";
        let (mut at, mut seen) = (0, Vec::new());
        while at < text.len() {
            let (reply, used) = parse(&text[at..]).expect("sound").expect("whole");
            for cut in at..at + used {
                assert_eq!(parse(&text[at..cut]), Ok(None));
            }
            seen.push(reply);
            at += used;
        }
        assert_eq!(seen.len(), 9);
        assert_eq!(seen[3], Reply::Err(b"Bad Thing"));
        let with_reply =
            Message { subject: b"a", sid: b"7", reply: b"r", header_len: None, payload: b"\r\nx" };
        assert_eq!(seen[5], Reply::Message(with_reply));
        let with_header = Message {
            subject: b"a",
            sid: b"9",
            reply: b"r",
            header_len: Some(2),
            payload: b"hhbb",
        };
        assert_eq!(seen[6], Reply::Message(with_header));
    }

    #[test]
    fn what_no_server_says() {
        for text in [
            "MSG a 7 1\r\nxy\r\n",
            "MSG a  7 0\r\n\r\n",
            "MSG a 7 01\r\n",
            "HMSG a 7 3 2\r\n",
            "NOPE\r\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
