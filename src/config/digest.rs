//! The digest of a configuration: SHA-256 over the canonical JSON of its values, as nats-server
//! computes it, so that both print the same text for the same file.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::value::{Data, Map, Value};

/// `sha256:` and 64 hexadecimal digits.
pub fn digest(map: &Map) -> String {
    let mut json = String::new();
    write_map(&mut json, map);
    json.push('\n');
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(json.as_bytes()) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn write_map(json: &mut String, map: &Map) {
    json.push('{');
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        write_text(json, key);
        json.push(':');
        write_value(json, value);
    }
    json.push('}');
}

fn write_value(json: &mut String, value: &Value) {
    match &value.data {
        Data::Text(text) | Data::Date(text) => write_text(json, text),
        Data::Integer(number) => drop(write!(json, "{number}")),
        Data::Float(number) => write_float(json, *number),
        Data::Bool(flag) => drop(write!(json, "{flag}")),
        Data::Map(map) => write_map(json, map),
        Data::Array(items) => {
            json.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_value(json, item);
            }
            json.push(']');
        }
    }
}

/// Strings the way Go's encoding/json escapes them, `<`, `>` and `&` included.
fn write_text(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(json, "\\u{:04x}", c as u32);
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

/// Shortest digits; an exponent below 1e-6 and from 1e21 up, as in Go.
fn write_float(json: &mut String, number: f64) {
    let magnitude = number.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        let _ = write!(json, "{number}");
        return;
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let sign = if exponent.starts_with('-') { "" } else { "+" };
    let _ = write!(json, "{digits}e{sign}{exponent}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_go_writes_them() {
        let table: &[(f64, &str)] = &[
            (0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.000_001, "0.000001"),
            (0.000_000_1, "1e-7"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.25e30, "1.25e+30"),
        ];
        for (number, text) in table {
            let mut json = String::new();
            write_float(&mut json, *number);
            assert_eq!(json, *text);
        }
    }

    #[test]
    fn strings_as_go_writes_them() {
        let mut json = String::new();
        write_text(&mut json, "a\"\\\u{1}<&>\u{7f}\u{2028}é\n");
        assert_eq!(json, "\"a\\\"\\\\\\u0001\\u003c\\u0026\\u003e\u{7f}\\u2028é\\n\"");
    }
}
