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

#[cfg(test)]
mod tests {
    use super::*;

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
