//! The query of a URL and its values, with the errors nats-server gives for them.

use std::fmt::Write;

use crate::http::Response;

/// What is shown of subscriptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Subscriptions {
    #[default]
    Hidden,
    Subjects,
    Detail,
}

/// Names and values in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(Vec<u8>, Vec<u8>)>);

impl Query {
    /// Parts that hold a `;` or a broken escape are left out.
    pub fn parse(text: &str) -> Query {
        let parts = text.split('&').filter(|part| !part.is_empty() && !part.contains(';'));
        Query(parts.filter_map(pair).collect())
    }

    /// Of names and values as they are.
    pub(crate) fn of(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Query {
        Query(pairs)
    }

    /// The first value of this name; empty if there is none.
    pub fn value(&self, name: &str) -> &[u8] {
        let found = self.0.iter().find(|(other, _)| other == name.as_bytes());
        found.map_or(&[], |(_, value)| value)
    }

    /// The value as text, each byte that is not UTF-8 replaced.
    pub(crate) fn text(&self, name: &str) -> String {
        crate::json::text(self.value(name))
    }

    /// False when absent.
    pub(crate) fn boolean(&self, name: &str) -> Result<bool, Response> {
        match self.value(name) {
            b"" | b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => Ok(false),
            b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => Ok(true),
            value => Err(refuse("boolean", name, "ParseBool", value, Wrong::Syntax)),
        }
    }

    /// Whether subscriptions are to be listed: `1`, or `detail` for more of each.
    pub(crate) fn subscriptions(&self) -> Result<Subscriptions, Response> {
        if self.value("subs").eq_ignore_ascii_case(b"detail") {
            return Ok(Subscriptions::Detail);
        }
        let shown = self.boolean("subs")?;
        Ok(if shown { Subscriptions::Subjects } else { Subscriptions::Hidden })
    }

    /// 0 when absent.
    pub(crate) fn int(&self, name: &str) -> Result<i64, Response> {
        let value = self.value(name);
        let (negative, digits) = match value {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        if value.is_empty() {
            return Ok(0);
        }
        let size = decimal(digits).and_then(|size| {
            let size = if negative { -i128::from(size) } else { i128::from(size) };
            i64::try_from(size).map_err(|_| Wrong::Range)
        });
        size.map_err(|wrong| refuse("int", name, "Atoi", value, wrong))
    }

    /// 0 when absent.
    pub(crate) fn uint64(&self, name: &str) -> Result<u64, Response> {
        match self.value(name) {
            b"" => Ok(0),
            value => {
                decimal(value).map_err(|wrong| refuse("uint64", name, "ParseUint", value, wrong))
            }
        }
    }
}

/// Takes `%xx` apart; none if an escape is broken. `plus` makes `+` a blank.
pub(crate) fn unescape(text: &str, plus: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' if plus => b' ',
            _ => byte,
        });
    }
    Some(out)
}

fn pair(part: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (name, value) = part.split_once('=').unwrap_or((part, ""));
    Some((unescape(name, true)?, unescape(value, true)?))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[derive(Clone, Copy)]
enum Wrong {
    Syntax,
    Range,
}

/// Whichever is wrong first is what is said.
fn decimal(digits: &[u8]) -> Result<u64, Wrong> {
    if digits.is_empty() {
        return Err(Wrong::Syntax);
    }
    digits.iter().try_fold(0_u64, |sum, byte| {
        if !byte.is_ascii_digit() {
            return Err(Wrong::Syntax);
        }
        let digit = u64::from(byte - b'0');
        sum.checked_mul(10).and_then(|sum| sum.checked_add(digit)).ok_or(Wrong::Range)
    })
}

fn refuse(kind: &str, name: &str, function: &str, value: &[u8], wrong: Wrong) -> Response {
    let value = quote(value);
    let wrong = match wrong {
        Wrong::Syntax => "invalid syntax",
        Wrong::Range => "value out of range",
    };
    let text =
        format!("Error decoding {kind} for '{name}': strconv.{function}: parsing {value}: {wrong}");
    Response::bad_request(text.into_bytes())
}

/// As Go's `%q`.
fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            push_quoted(&mut out, char);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

fn push_quoted(out: &mut String, char: char) {
    let short = match char {
        '"' | '\\' => char,
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{b}' => 'v',
        _ => {
            let code = u32::from(char);
            let _ = match code {
                0..0x20 | 0x7f => write!(out, "\\x{code:02x}"),
                _ if char != ' ' && (char.is_control() || char.is_whitespace()) => {
                    write!(out, "\\u{code:04x}")
                }
                _ => write!(out, "{char}"),
            };
            return;
        }
    };
    out.push('\\');
    out.push(short);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error<T>(answer: Result<T, Response>) -> String {
        let response = answer.err().expect("an error");
        assert_eq!(response.status, 400);
        String::from_utf8_lossy(&response.body).into_owned()
    }

    #[test]
    fn pairs() {
        let query = Query::parse("a=1&&b&c=x%20y+z&a=2&d;e=1&%zz=1&f=%4&=g&h=a=b");
        assert_eq!(query.value("a"), b"1");
        assert_eq!(query.value("b"), b"");
        assert_eq!(query.value("c"), b"x y z");
        assert_eq!(query.value("f"), b"");
        assert_eq!(query.value(""), b"g");
        assert_eq!(query.value("h"), b"a=b");
        assert_eq!(query.0.len(), 6);
    }

    #[test]
    fn booleans() {
        let query = Query::parse("t=True&f=0&n=zz&y=yes+%22");
        assert!(query.boolean("t").unwrap());
        assert!(!query.boolean("f").unwrap());
        assert!(!query.boolean("absent").unwrap());
        assert_eq!(
            error(query.boolean("n")),
            r#"Error decoding boolean for 'n': strconv.ParseBool: parsing "zz": invalid syntax"#
        );
        assert_eq!(
            error(query.boolean("y")),
            r#"Error decoding boolean for 'y': strconv.ParseBool: parsing "yes \"": invalid syntax"#
        );
    }

    #[test]
    fn integers() {
        let int = |text: &str| Query::parse(&format!("n={text}")).int("n");
        assert_eq!(int("").unwrap(), 0);
        assert_eq!(int("%2B5").unwrap(), 5);
        assert_eq!(int("-5").unwrap(), -5);
        assert_eq!(int("9223372036854775807").unwrap(), i64::MAX);
        assert_eq!(int("-9223372036854775808").unwrap(), i64::MIN);
        for (text, shown, wrong) in [
            ("x", "x", "invalid syntax"),
            ("+5", " 5", "invalid syntax"),
            ("-", "-", "invalid syntax"),
            ("1_0", "1_0", "invalid syntax"),
            ("9223372036854775808", "9223372036854775808", "value out of range"),
            ("99999999999999999999x", "99999999999999999999x", "value out of range"),
            ("%ff%00%22%e2%82%ac%7f%0a", r#"\xff\x00\"€\x7f\n"#, "invalid syntax"),
        ] {
            let wanted =
                format!("Error decoding int for 'n': strconv.Atoi: parsing \"{shown}\": {wrong}");
            assert_eq!(error(int(text)), wanted);
        }
    }

    #[test]
    fn unsigned_integers() {
        let uint64 = |text: &str| Query::parse(&format!("cid={text}")).uint64("cid");
        assert_eq!(uint64("18446744073709551615").unwrap(), u64::MAX);
        for (text, shown, wrong) in [
            ("-1", "-1", "invalid syntax"),
            ("%2B5", "+5", "invalid syntax"),
            ("18446744073709551616", "18446744073709551616", "value out of range"),
        ] {
            let wanted = format!(
                "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"{shown}\": {wrong}"
            );
            assert_eq!(error(uint64(text)), wanted);
        }
    }
}
