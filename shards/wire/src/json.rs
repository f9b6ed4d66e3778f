//! JSON as Go's `encoding/json` reads it into a struct.
//!
//! The differences from stricter readers are visible on the wire: a client may send broken UTF-8,
//! lone surrogates, keys in any case, deep nesting in keys nobody knows.

mod check;

use std::borrow::Cow;
use std::fmt;

use crate::quote::quoted;

/// Why a text can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The text ends too soon.
    End,
    /// A byte that can't be where it is.
    Byte { byte: u8, place: &'static str },
    /// Nested too deeply.
    Depth,
    /// A value of another type than the field's.
    Kind { found: &'static str },
    /// The same, in the field of that name.
    Field { found: &'static str, key: String },
}

impl Wrong {
    /// The fault of a value of JSON type `found`.
    pub(crate) fn kind(found: &'static str) -> Self {
        Self::Kind { found }
    }

    fn in_field(self, key: &str) -> Self {
        match self {
            Self::Kind { found } => Self::Field { found, key: key.to_owned() },
            other => other,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("unexpected end of JSON input"),
            Self::Byte { byte: b'"', place } => write!(f, "invalid character '\"' {place}"),
            Self::Byte { byte: b'\'', place } => write!(f, "invalid character '\\'' {place}"),
            Self::Byte { byte, place } => {
                // The byte as a character of its own, in single quotes.
                let c = quoted(char::from(*byte).encode_utf8(&mut [0; 4]).as_bytes());
                write!(f, "invalid character '{}' {place}", c.trim_matches('"'))
            }
            Self::Depth => f.write_str("exceeded max depth"),
            Self::Kind { found } => write!(f, "json: cannot unmarshal {found}"),
            Self::Field { found, key } => {
                write!(f, "json: cannot unmarshal {found} into field {key}")
            }
        }
    }
}

/// A value of a text that is known to be well-formed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Number(&'a [u8]),
    /// What stands between the quotes.
    Text(&'a [u8]),
    /// With its brackets.
    Array(&'a [u8]),
    /// With its braces.
    Object(&'a [u8]),
}

/// Calls `field` with each key, in lower case, and value of the object `text`, in order. A `null`
/// has no fields; anything else is wrong. Nothing is called if the text as a whole is malformed.
pub(crate) fn fields<'a>(
    text: &'a [u8],
    field: impl FnMut(&str, Value<'a>) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    check::well_formed(text)?;
    let (value, _) = value_at(text, blanks_end(text, 0));
    match value {
        Value::Null => Ok(()),
        Value::Object(object) => object_fields(object, field),
        other => Err(Wrong::kind(other.kind())),
    }
}

impl<'a> Value<'a> {
    fn kind(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    fn wrong<T>(self) -> Result<T, Wrong> {
        Err(Wrong::kind(self.kind()))
    }

    /// A boolean; `None` for null.
    pub(crate) fn bool(self) -> Result<Option<bool>, Wrong> {
        match self {
            Self::Null => Ok(None),
            Self::Bool(value) => Ok(Some(value)),
            other => other.wrong(),
        }
    }

    /// An integer without fraction or exponent; `None` for null.
    pub(crate) fn int(self) -> Result<Option<i64>, Wrong> {
        self.number()
    }

    /// A whole number without sign, fraction or exponent; `None` for null.
    pub(crate) fn uint(self) -> Result<Option<u64>, Wrong> {
        self.number()
    }

    fn number<N: std::str::FromStr>(self) -> Result<Option<N>, Wrong> {
        match self {
            Self::Null => Ok(None),
            Self::Number(digits) => {
                let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
                number.map(Some).ok_or(Wrong::kind("number"))
            }
            other => other.wrong(),
        }
    }

    /// A text; `None` for null.
    pub(crate) fn text(self) -> Result<Option<String>, Wrong> {
        match self {
            Self::Null => Ok(None),
            Self::Text(raw) => Ok(Some(unescaped(raw).into_owned())),
            other => other.wrong(),
        }
    }

    /// A list of texts, a null among them read as an empty one; nothing for null.
    pub(crate) fn texts(self) -> Result<Vec<String>, Wrong> {
        match self {
            Self::Null => Ok(Vec::new()),
            Self::Array(array) => {
                array_items(array).map(|item| Ok(item.text()?.unwrap_or_default())).collect()
            }
            other => other.wrong(),
        }
    }

    /// Checks for base64 text or an array of byte values.
    pub(crate) fn check_bytes(self) -> Result<(), Wrong> {
        match self {
            Self::Null => Ok(()),
            Self::Text(raw) if is_base64(&unescaped(raw)) => Ok(()),
            Self::Array(array) => array_items(array).try_for_each(|item| match item.uint()? {
                Some(byte) if byte > u64::from(u8::MAX) => Err(Wrong::kind("number")),
                _ => Ok(()),
            }),
            other => other.wrong(),
        }
    }

    /// Is it `{"allow": […], "deny": […]}`, or null?
    pub(crate) fn permission(self) -> Result<(), Wrong> {
        match self {
            Self::Null => Ok(()),
            Self::Object(object) => object_fields(object, |key, value| match key {
                "allow" | "deny" => value.texts().map(drop),
                _ => Ok(()),
            }),
            other => other.wrong(),
        }
    }
}

fn is_base64(text: &str) -> bool {
    let bytes: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    let padding = bytes.iter().rev().take(2).take_while(|b| **b == b'=').count();
    let digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    bytes.len().is_multiple_of(4) && bytes[..bytes.len() - padding].iter().all(digit)
}

fn object_fields<'a>(
    object: &'a [u8],
    mut field: impl FnMut(&str, Value<'a>) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    let mut at = blanks_end(object, 1);
    while object.get(at) == Some(&b'"') {
        let end = text_end(object, at);
        let key = folded(&unescaped(&object[at + 1..end - 1]));
        let colon = blanks_end(object, end);
        let (value, end) = value_at(object, blanks_end(object, colon + 1));
        field(&key, value).map_err(|wrong| wrong.in_field(&key))?;
        let comma = blanks_end(object, end);
        at = blanks_end(object, comma + 1);
    }
    Ok(())
}

fn array_items(array: &[u8]) -> impl Iterator<Item = Value<'_>> {
    let mut at = blanks_end(array, 1);
    std::iter::from_fn(move || {
        if matches!(array.get(at), None | Some(b']')) {
            return None;
        }
        let (value, end) = value_at(array, at);
        let comma = blanks_end(array, end);
        at = blanks_end(array, comma + 1);
        Some(value)
    })
}

/// The value at `at` of a well-formed text and the index after it.
fn value_at(text: &[u8], at: usize) -> (Value<'_>, usize) {
    match text[at] {
        b'"' => {
            let end = text_end(text, at);
            (Value::Text(&text[at + 1..end - 1]), end)
        }
        b'{' => {
            let end = container_end(text, at);
            (Value::Object(&text[at..end]), end)
        }
        b'[' => {
            let end = container_end(text, at);
            (Value::Array(&text[at..end]), end)
        }
        b't' => (Value::Bool(true), at + 4),
        b'f' => (Value::Bool(false), at + 5),
        b'n' => (Value::Null, at + 4),
        _ => {
            let part = |b: &u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
            let end = at + text[at..].iter().take_while(|b| part(b)).count();
            (Value::Number(&text[at..end]), end)
        }
    }
}

fn container_end(text: &[u8], from: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = from;
    loop {
        match text[at] {
            b'"' => {
                at = text_end(text, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
}

fn text_end(text: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    loop {
        match text[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn blanks_end(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count()
}

/// A key as Go compares it: without case, by Unicode's simple folding. Beyond ASCII two characters
/// fold to letters that occur in keys.
fn folded(key: &str) -> String {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).collect()
}

/// The text between two quotes, with U+FFFD for each byte that is not UTF-8 and for each surrogate
/// without its other half.
fn unescaped(raw: &[u8]) -> Cow<'_, str> {
    if let Ok(plain) = str::from_utf8(raw)
        && !plain.contains('\\')
    {
        return Cow::Borrowed(plain);
    }
    let mut out = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        unescape_into(&mut out, chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(out)
}

fn unescape_into(out: &mut String, valid: &str) {
    let mut rest = valid;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let short = match escape.as_bytes().first() {
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let (c, used) = hex_escape(escape.as_bytes());
                out.push(c);
                rest = &escape[used..];
                continue;
            }
            // '"', '\\' and '/' stand for themselves.
            Some(other) => char::from(*other),
            None => break,
        };
        out.push(short);
        rest = &escape[1..];
    }
    out.push_str(rest);
}

/// The character of `uXXXX` or of a pair `uXXXX\uXXXX`, and how many bytes it took.
fn hex_escape(escape: &[u8]) -> (char, usize) {
    let first = hex4(escape, 1);
    if let Some(c) = char::from_u32(first) {
        return (c, 5);
    }
    let is_pair = first < 0xdc00 && escape.get(5..7) == Some(b"\\u");
    let second = if is_pair { hex4(escape, 7) } else { 0 };
    if (0xdc00..0xe000).contains(&second) {
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 11);
    }
    (char::REPLACEMENT_CHARACTER, 5)
}

fn hex4(text: &[u8], at: usize) -> u32 {
    let digits = text.get(at..at + 4).unwrap_or_default();
    digits.iter().fold(0, |code, b| code * 16 + char::from(*b).to_digit(16).unwrap_or(0))
}
