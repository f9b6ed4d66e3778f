//! The readable form of bytes in scripts and diffs: `\r \n \t \\ \xNN`, and `\{x*200}` for a long
//! run of one character.

/// Runs this long are written as `\{x*N}`.
const RUN_MIN: usize = 40;

pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let run = bytes[at..].iter().take_while(|b| **b == byte).count();
        if run >= RUN_MIN && byte.is_ascii_alphanumeric() {
            out.push_str(&format!("\\{{{}*{run}}}", byte as char));
            at += run;
            continue;
        }
        match byte {
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            // Seen, and not lost to an editor that trims lines.
            b' ' if at + 1 == bytes.len() => out.push_str("\\x20"),
            0x20..=0x7e => out.push(byte as char),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
        at += 1;
    }
    out
}

pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = unescape_one(&rest[at + 1..], &mut out)
            .ok_or_else(|| format!("bad escape at `{}`", &rest[at..]))?;
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// Takes what follows a backslash; gives what follows the escape.
fn unescape_one<'a>(rest: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    let kind = rest.as_bytes().first()?;
    match kind {
        b'r' => out.push(b'\r'),
        b'n' => out.push(b'\n'),
        b't' => out.push(b'\t'),
        b'\\' => out.push(b'\\'),
        b'x' => {
            out.push(u8::from_str_radix(rest.get(1..3)?, 16).ok()?);
            return Some(&rest[3..]);
        }
        b'{' => {
            let end = rest.find('}')?;
            let (unit, count) = rest[1..end].split_once('*')?;
            for _ in 0..count.parse::<usize>().ok()? {
                out.extend_from_slice(unit.as_bytes());
            }
            return Some(&rest[end + 1..]);
        }
        _ => return None,
    }
    Some(&rest[1..])
}

#[test]
fn escaped_bytes_come_back() {
    let every: Vec<u8> = (0..=255u8).chain([b'x'; 100]).collect();
    assert_eq!(unescape(&escape(&every)), Ok(every.clone()));
    assert_eq!(unescape("ab\\{xy*2}\\x00"), Ok(b"abxyxy\0".to_vec()));
    assert!(unescape("\\q").is_err());
    assert!(unescape("end\\").is_err());
}
