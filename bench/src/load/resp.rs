//! Redis' protocol, as far as SUBSCRIBE, PUBLISH and PING go.

use super::inbox::{Message, ServerOp, number};
use memchr::memchr;

/// A command as an array of bulk strings.
pub fn command(words: &[&[u8]]) -> String {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out += &format!("${}\r\n{}\r\n", word.len(), String::from_utf8_lossy(word));
    }
    out
}

/// A line without its end, and where the next one starts.
fn line(bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let end = from + memchr(b'\n', bytes.get(from..)?)?;
    Some((bytes[from..end].strip_suffix(b"\r").unwrap_or(&bytes[from..end]), end + 1))
}

/// One element of an array: a bulk string or an integer, and where the next one starts. The outer
/// layer is nothing while it is incomplete, the inner one where it is neither.
fn element(bytes: &[u8], from: usize) -> Option<Result<(&[u8], usize), ()>> {
    let (head, body) = line(bytes, from)?;
    match head.split_first() {
        Some((b':', digits)) => Some(Ok((digits, body))),
        Some((b'$', digits)) => {
            let Some(size) = number(digits) else { return Some(Err(())) };
            let end = body + size as usize;
            match bytes.get(end..end + 2) {
                None => None,
                Some(b"\r\n") => Some(Ok((&bytes[body..end], end + 2))),
                Some(_) => Some(Err(())),
            }
        }
        _ => Some(Err(())),
    }
}

/// As [`super::inbox::parse`]. The answer to a PUBLISH or SUBSCRIBE is [`ServerOp::Ok`].
///
/// # Errors
/// A line that says what no server may send here.
pub fn parse(bytes: &[u8]) -> Result<Option<(ServerOp<'_>, usize)>, String> {
    let Some((head, mut at)) = line(bytes, 0) else { return Ok(None) };
    let strange = || {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
        format!("unexpected from the server: {shown:?}")
    };
    let count = match head.split_first() {
        Some((b'+', b"PONG")) => return Ok(Some((ServerOp::Pong, at))),
        Some((b'+', _) | (b':', _)) => return Ok(Some((ServerOp::Ok, at))),
        Some((b'-', text)) => return Ok(Some((ServerOp::Err(text), at))),
        Some((b'*', digits)) => {
            number(digits).filter(|n| matches!(n, 2 | 3)).ok_or_else(strange)?
        }
        _ => return Err(strange()),
    };
    let mut parts: [&[u8]; 3] = [b""; 3];
    for part in &mut parts[..count as usize] {
        match element(bytes, at) {
            None => return Ok(None),
            Some(Err(())) => return Err(strange()),
            Some(Ok((text, next))) => (*part, at) = (text, next),
        }
    }
    let op = match parts[0] {
        b"pong" => ServerOp::Pong,
        b"subscribe" => ServerOp::Ok,
        b"message" => ServerOp::Message(Message {
            subject: parts[1],
            sid: b"",
            reply: b"",
            payload: parts[2],
        }),
        _ => return Err(strange()),
    };
    Ok(Some((op, at)))
}

/// The version in the answer to `INFO server`, once all of it is there.
///
/// # Errors
/// When it is something else.
pub fn version(heard: &[u8]) -> Result<Option<String>, String> {
    match element(heard, 0) {
        None => Ok(None),
        Some(Err(())) => Err("no answer to INFO".into()),
        Some(Ok((text, _))) => {
            let text = String::from_utf8_lossy(text);
            // Valkey says both; its own is the one that is meant.
            let named = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
            let version = named("valkey_version:").or_else(|| named("redis_version:"));
            Ok(Some(version.unwrap_or_default().trim().to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::protocol::Protocol;

    #[test]
    fn commands_and_deliveries_are_of_the_size_that_is_counted() {
        assert_eq!(command(&[b"PING"]).as_bytes(), Protocol::Resp.ping());
        let delivery = b"*3\r\n$7\r\nmessage\r\n$5\r\nbench\r\n$3\r\nabc\r\n";
        assert_eq!(Protocol::Resp.delivery_bytes("bench", 1, 3), delivery.len());
        let message = Message { subject: b"bench", sid: b"", reply: b"", payload: b"abc" };
        assert_eq!(parse(delivery), Ok(Some((ServerOp::Message(message), delivery.len()))));
        for end in 0..delivery.len() {
            assert_eq!(parse(&delivery[..end]), Ok(None), "cut at {end}");
        }
    }

    #[test]
    fn answers_are_told_apart() {
        let op = |bytes: &'static [u8]| parse(bytes).unwrap().unwrap();
        assert_eq!(op(b":100\r\n+PONG\r\n"), (ServerOp::Ok, 6));
        assert_eq!(op(b"+PONG\r\n"), (ServerOp::Pong, 7));
        assert_eq!(op(Protocol::Resp.subscribers_pong()).0, ServerOp::Pong);
        assert_eq!(op(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n").0, ServerOp::Ok);
        assert_eq!(op(b"-ERR no\r\n").0, ServerOp::Err(b"ERR no"));
        for bad in [&b"INFO {}\r\n"[..], b"*9\r\n", b"*2\r\n$1\r\nab\r\n", b"*2\r\n+x\r\n"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_server_says_its_version() {
        let info = "# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.0.1\r\n";
        let heard = format!("${}\r\n{info}\r\n", info.len());
        assert_eq!(version(heard.as_bytes()), Ok(Some("8.0.1".into())));
        assert_eq!(version(&heard.as_bytes()[..20]), Ok(None));
    }
}
