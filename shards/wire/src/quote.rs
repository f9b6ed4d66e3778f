//! Go's `%q`: the quoting of nats-server's log lines and `-ERR` texts.

use std::fmt::Write;

/// Appends `bytes` in double quotes, escaped as Go's `strconv.Quote` does.
pub(crate) fn quote_into(out: &mut String, bytes: &[u8]) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            quote_char(out, c);
        }
        for byte in chunk.invalid() {
            hex(out, *byte);
        }
    }
    out.push('"');
}

/// `bytes` in double quotes, escaped as Go's `strconv.Quote` does.
#[must_use]
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    quote_into(&mut out, bytes);
    out
}

fn quote_char(out: &mut String, c: char) {
    let short = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        ' '..='~' => return out.push(c),
        '\0'..='\x1f' | '\x7f' => return hex(out, c as u8),
        _ if is_printable(c) => return out.push(c),
        _ => return unicode(out, c),
    };
    out.push_str(short);
}

fn hex(out: &mut String, byte: u8) {
    // Writing to a String can't fail.
    let _ = write!(out, "\\x{byte:02x}");
}

fn unicode(out: &mut String, c: char) {
    let code = u32::from(c);
    let _ =
        if code < 0x1_0000 { write!(out, "\\u{code:04x}") } else { write!(out, "\\U{code:08x}") };
}

/// Whether Go calls a non-ASCII character printable; the standard library's debug escaping decides
/// from the same Unicode categories. (A letter stands before it because an initial combining mark
/// would be escaped for another reason.)
fn is_printable(c: char) -> bool {
    let mut buffer = [b'a'; 5];
    let len = c.encode_utf8(&mut buffer[1..]).len();
    str::from_utf8(&buffer[..=len]).is_ok_and(|s| s.escape_debug().nth(1) == Some(c))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn quotes_like_go() {
        let cases: [(&[u8], &str); 9] = [
            (b"foo.bar", r#""foo.bar""#),
            (b"a\"b\\c'", r#""a\"b\\c'""#),
            (b"\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            (b"\x00\x1f\x7f", r#""\x00\x1f\x7f""#),
            (b"\xff\xc3", r#""\xff\xc3""#),
            ("gr\u{fc}n.\u{4e16}\u{1f600}".as_bytes(), "\"gr\u{fc}n.\u{4e16}\u{1f600}\""),
            ("\u{85}\u{a0}\u{200b}\u{feff}".as_bytes(), r#""\u0085\u00a0\u200b\ufeff""#),
            ("e\u{301}".as_bytes(), "\"e\u{301}\""),
            ("\u{10ffff}".as_bytes(), r#""\U0010ffff""#),
        ];
        for (bytes, want) in cases {
            assert_eq!(quoted(bytes), want);
        }
    }
}
