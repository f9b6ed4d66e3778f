//! Message headers: the few this server writes itself.
//!
//! Headers that clients publish are opaque and never read here.

/// Length of [`no_responders_into`] without the subject.
const NO_RESPONDERS_LEN: usize = 32;

/// Bytes of the header that [`no_responders_into`] writes.
pub const fn no_responders_len(subject: &[u8]) -> usize {
    NO_RESPONDERS_LEN + subject.len()
}

/// Appends the header that tells a requester nobody listens on `subject`.
pub fn no_responders_into(out: &mut Vec<u8>, subject: &[u8]) {
    out.extend_from_slice(b"NATS/1.0 503\r\nNats-Subject: ");
    out.extend_from_slice(subject);
    out.extend_from_slice(b"\r\n\r\n");
}

/// Appends a status line and its CRLF; `description` may be empty. A header starts with it, goes
/// on with `Key: Value` lines and ends with an empty line.
pub fn status_line_into(out: &mut Vec<u8>, code: u16, description: &str) {
    out.extend_from_slice(b"NATS/1.0 ");
    crate::emit::decimal(out, usize::from(code));
    if !description.is_empty() {
        out.push(b' ');
        out.extend_from_slice(description.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends `Key: Value` and CRLF.
pub fn field_into(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a message with one field set, whatever it was set to before; gives the new length of the
/// header. `message` begins with `header_len` bytes of header. One that doesn't end in a CRLF is
/// left out, since the field would belong to its last line.
pub fn set_into(
    out: &mut Vec<u8>,
    key: &str,
    value: &[u8],
    header_len: usize,
    message: &[u8],
) -> usize {
    out.clear();
    // A header that can't have a line is none: what it was stays with the payload.
    let header_len = if header_len > b"\r\n".len() { header_len } else { 0 };
    let (header, payload) = message.split_at(header_len);
    let fields = header.strip_suffix(b"\r\n").unwrap_or_default();
    for line in fields.split_inclusive(|byte| *byte == b'\n') {
        let is_set = line.strip_prefix(key.as_bytes()).is_some_and(|rest| rest.starts_with(b":"));
        if out.is_empty() || !is_set {
            out.extend_from_slice(line);
        }
    }
    if out.is_empty() {
        out.extend_from_slice(b"NATS/1.0\r\n");
    }
    if !out.ends_with(b"\n") {
        // A client's header need not be well formed; it must not swallow the field.
        out.extend_from_slice(b"\r\n");
    }
    field_into(out, key, value);
    out.extend_from_slice(b"\r\n");
    let len = out.len();
    out.extend_from_slice(payload);
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_set_once() {
        for (message, header_len, wanted) in [
            ("hi", 0, "NATS/1.0\r\nK: v\r\n\r\nhi"),
            ("?hi", 1, "NATS/1.0\r\nK: v\r\n\r\n?hi"),
            ("\r\nhi", 2, "NATS/1.0\r\nK: v\r\n\r\n\r\nhi"),
            ("???hi", 3, "NATS/1.0\r\nK: v\r\n\r\nhi"),
            ("NATS/1.0\r\n\r\nhi", 12, "NATS/1.0\r\nK: v\r\n\r\nhi"),
            ("NATS/1.0\r\na: b\r\n\r\nhi", 18, "NATS/1.0\r\na: b\r\nK: v\r\n\r\nhi"),
            ("NATS/1.0\r\na: b\r\nhi", 16, "NATS/1.0\r\na: b\r\nK: v\r\n\r\nhi"),
            ("NATS/1.0\r\nK: x\r\na: b\r\n\r\n", 24, "NATS/1.0\r\na: b\r\nK: v\r\n\r\n"),
        ] {
            let mut out = Vec::new();
            let len = set_into(&mut out, "K", b"v", header_len, message.as_bytes());
            assert_eq!(String::from_utf8_lossy(&out), wanted);
            assert!(out[..len].ends_with(b"\r\n\r\n"));
        }
    }

    #[test]
    fn no_responders_length_is_what_is_written() {
        for subject in [&b"a"[..], b"foo.bar", b""] {
            let mut out = Vec::new();
            no_responders_into(&mut out, subject);
            assert_eq!(out.len(), no_responders_len(subject));
        }
    }

    #[test]
    fn a_status_with_fields() {
        let mut out = Vec::new();
        status_line_into(&mut out, 408, "Request Timeout");
        field_into(&mut out, "Nats-Pending-Messages", b"1");
        status_line_into(&mut out, 100, "");
        let want = "NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 1\r\nNATS/1.0 100\r\n";
        assert_eq!(String::from_utf8(out), Ok(want.to_owned()));
    }
}
