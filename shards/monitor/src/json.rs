//! JSON with the layout and escapes of Go's encoder.

use std::io::{self, Write};

use serde::{Serialize, Serializer};
use serde_json::ser::{Formatter, PrettyFormatter};

/// How JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Indented by two blanks: over HTTP.
    Pretty,
    /// On one line: to subscribers.
    Compact,
}

pub(crate) fn write<T: Serialize>(value: &T, layout: Layout) -> Vec<u8> {
    match layout {
        Layout::Pretty => pretty(value),
        Layout::Compact => compact(value),
    }
}

/// Indented by two blanks.
pub(crate) fn pretty<T: Serialize>(value: &T) -> Vec<u8> {
    serialize(value, Go(PrettyFormatter::with_indent(b"  ")))
}

/// On one line.
pub(crate) fn compact<T: Serialize>(value: &T) -> Vec<u8> {
    serialize(value, Go(serde_json::ser::CompactFormatter))
}

fn serialize<T: Serialize, F: Formatter>(value: &T, format: F) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
    value.serialize(&mut serializer).expect("plain structs with string keys, into memory");
    out
}

/// A number without a fraction prints as an integer.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) fn float<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    const EXACT_MAX: f64 = (1_u64 << 53) as f64;
    if value.fract() == 0.0 && value.abs() <= EXACT_MAX {
        serializer.serialize_i64(*value as i64)
    } else {
        serializer.serialize_f64(*value)
    }
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Text of bytes that should be UTF-8: each byte that is not becomes one U+FFFD.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// Adds the escapes that make JSON safe inside HTML.
struct Go<F>(F);

/// Passes calls to the wrapped formatter, which keeps its own indentation.
macro_rules! pass {
    ($($name:ident $(($arg:ident: $type:ty))?),*) => {
        $(fn $name<W: ?Sized + Write>(&mut self, out: &mut W $(, $arg: $type)?) -> io::Result<()> {
            self.0.$name(out $(, $arg)?)
        })*
    };
}

impl<F: Formatter> Formatter for Go<F> {
    pass!(begin_array, end_array, begin_array_value(first: bool), end_array_value);
    pass!(begin_object, end_object, begin_object_key(first: bool), end_object_key);
    pass!(begin_object_value, end_object_value);

    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, s: &str) -> io::Result<()> {
        let special = ['<', '>', '&', '\u{2028}', '\u{2029}'];
        for piece in s.split_inclusive(special) {
            match piece.chars().next_back() {
                Some(last) if special.contains(&last) => {
                    out.write_all(&piece.as_bytes()[..piece.len() - last.len_utf8()])?;
                    write!(out, "\\u{:04x}", u32::from(last))?;
                }
                _ => out.write_all(piece.as_bytes())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Sample {
        #[serde(serialize_with = "float")]
        a: f64,
        #[serde(serialize_with = "float")]
        b: f64,
        c: &'static str,
        d: [u8; 0],
        e: Empty,
        f: [u8; 2],
    }

    #[derive(Serialize)]
    struct Empty {}

    #[test]
    fn layout_is_that_of_go() {
        let c = "a.> <&\u{2028}\" \\ \u{1} \n é";
        let sample = Sample { a: 2.0, b: 0.25, c, d: [], e: Empty {}, f: [1, 2] };
        let escaped = r#"a.\u003e \u003c\u0026\u2028\" \\ \u0001 \n é"#;
        let wanted = format!(
            "{{\n  \"a\": 2,\n  \"b\": 0.25,\n  \"c\": \"{escaped}\",\n  \"d\": [],\n  \
             \"e\": {{}},\n  \"f\": [\n    1,\n    2\n  ]\n}}"
        );
        assert_eq!(String::from_utf8(pretty(&sample)).unwrap(), wanted);
        assert_eq!(compact(&Empty {}), b"{}");
    }

    #[test]
    fn bytes_that_are_not_utf8() {
        assert_eq!(text(b"a\xff\xe2\x82b"), "a\u{fffd}\u{fffd}\u{fffd}b");
    }
}
