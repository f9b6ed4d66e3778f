//! Values that are not maps or arrays: strings in their four spellings, numbers, booleans,
//! variables.

use std::path::Path;

use super::super::number::{self, Shape};
use super::super::scan::END;
use super::super::value::{Data, Fault, Position};
use super::{Parsed, Parser};

impl Parser<'_, '_> {
    /// `'…'`: everything up to the next quote, as it is.
    pub(super) fn single_quoted(&mut self) -> Parsed<String> {
        let opened = self.scan.position();
        self.scan.bump();
        let start = self.scan.offset();
        self.skip(|c| c != '\'' && c != END);
        if self.scan.peek() == END {
            return Err(Fault {
                at: Some(opened),
                message: "this string has no closing '".to_string(),
            });
        }
        let text = self.scan.since(start).to_string();
        self.scan.bump();
        Ok(text)
    }

    pub(super) fn double_quoted(&mut self) -> Parsed<String> {
        let opened = self.scan.position();
        self.scan.bump();
        let mut bytes = Vec::new();
        loop {
            match self.scan.bump() {
                END => {
                    return Err(Fault {
                        at: Some(opened),
                        message: "this string has no closing \"".to_string(),
                    });
                }
                '"' => return Ok(text_of(bytes)),
                '\\' => bytes.push(self.escape()?),
                c => push(&mut bytes, c),
            }
        }
    }

    /// The byte an escape stands for. The backslash is taken.
    fn escape(&mut self) -> Parsed<u8> {
        use nom::bytes::complete::take_while_m_n;
        let at = self.scan.position();
        Ok(match self.scan.bump() {
            't' => b'\t',
            'n' => b'\n',
            'r' => b'\r',
            '"' => b'"',
            '\\' => b'\\',
            'x' => {
                let digits = self.scan.take(take_while_m_n(2, 2, |c: char| c.is_ascii_hexdigit()));
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                byte.ok_or_else(|| Fault {
                    at: Some(at),
                    message: "\\x needs two hexadecimal digits".to_string(),
                })?
            }
            c => {
                let message = format!(
                    "\\{} is no escape: use \\t \\n \\r \\\" \\\\ \\xHH, or single quotes",
                    c.escape_debug()
                );
                return Err(Fault { at: Some(at), message });
            }
        })
    }

    /// `(` … `)`, the closing one alone on its line. The line break before it belongs to the text,
    /// and so does the bracket itself when the file ends right after it.
    pub(super) fn block_text(&mut self) -> Parsed<String> {
        let opened = self.scan.position();
        self.scan.bump();
        let text = self.scan.rest();
        let bytes = text.as_bytes();
        let closes = |at: &usize| {
            let follower = bytes.get(at + 1);
            *at > 0 && bytes[at - 1] == b'\n' && matches!(follower, None | Some(b'\n' | 0))
        };
        let end = text.find(END).unwrap_or(text.len());
        let close = text[..end].match_indices(')').map(|(at, _)| at).find(closes);
        let Some(close) = close else {
            let message = "this block has no ')' alone on a line, without blanks around it";
            return Err(Fault { at: Some(opened), message: message.to_string() });
        };
        self.scan.advance(close + 1);
        let length = if close + 1 == text.len() { close + 1 } else { close };
        Ok(text[..length].to_string())
    }

    pub(super) fn number(&mut self) -> Parsed<Data> {
        let text = self.scan.rest();
        let at = self.scan.position();
        let fault = |message: String| Fault { at: Some(at.clone()), message };
        let (shape, length) = number::recognise(text).map_err(fault)?;
        let word = &text[..length];
        if shape == Shape::Word {
            let start = self.scan.offset();
            self.scan.advance(length);
            return self.word_from(start);
        }
        self.scan.advance(length);
        match shape {
            Shape::Integer => number::integer(word).map(Data::Integer),
            Shape::Float => number::float(word).map(Data::Float),
            Shape::Date => number::check_date(word).map(|()| Data::Date(word.to_string())),
            Shape::Address | Shape::Word => Ok(Data::Text(word.to_string())),
        }
        .map_err(fault)
    }

    pub(super) fn bare_word(&mut self) -> Parsed<Data> {
        self.word_from(self.scan.offset())
    }

    /// A bare word that began at `start`: a boolean, a variable or a string. A single quote ends
    /// it.
    fn word_from(&mut self, start: usize) -> Parsed<Data> {
        let at = self.scan.position();
        let mut bytes = self.scan.since(start).as_bytes().to_vec();
        let mut escaped = false;
        loop {
            match self.scan.peek() {
                '\\' => {
                    self.scan.bump();
                    bytes.push(self.escape()?);
                    escaped = true;
                }
                '\'' => {
                    self.scan.bump();
                    return Ok(Data::Text(text_of(bytes)));
                }
                '\r' | '\n' | ';' | ',' | ']' | '}' | ' ' | '\t' | END => break,
                c => {
                    self.scan.bump();
                    push(&mut bytes, c);
                }
            }
        }
        let word = text_of(bytes);
        if escaped {
            return Ok(Data::Text(word));
        }
        match word.strip_prefix('$') {
            Some(name) => self.variable(name, &at),
            None => Ok(boolean(&word).map_or(Data::Text(word), Data::Bool)),
        }
    }

    fn variable(&mut self, name: &str, at: &Position) -> Parsed<Data> {
        let fault = |message: String| Fault { at: Some(at.clone()), message };
        // An unquoted bcrypt hash; only this prefix is spared.
        if name.starts_with("2a$") {
            return Ok(Data::Text(format!("${name}")));
        }
        if is_hash(name) {
            return Err(fault(format!(
                "quote this bcrypt hash: ${}$… is read as a variable",
                &name[..2]
            )));
        }
        if let Some(value) = self.scopes.iter().rev().find_map(|scope| scope.get(name)) {
            value.referenced.set(true);
            return Ok(value.data.clone());
        }
        if self.context.looking_up.contains(name) {
            return Err(fault(format!("variable reference cycle for '{name}'")));
        }
        let Some(text) = (self.context.environment)(name) else {
            return Err(fault(format!(
                "variable reference for '{name}' can not be found: \
                 set it above this line or in the environment, or quote the value"
            )));
        };
        let mut context = self.context.clone();
        context.looking_up.insert(name.to_string());
        let text = format!("pk={text}");
        let mut map = Parser::new(Path::new("$"), &text, context).parse().map_err(|inner| {
            fault(format!("variable reference for '{name}' could not be parsed: {}", inner.message))
        })?;
        let value = map.remove("pk");
        value
            .map(|value| value.data)
            .ok_or_else(|| fault(format!("variable reference for '{name}' can not be found")))
    }
}

/// What follows the first `$` of a bcrypt hash. It is a secret, so no message shows it.
fn is_hash(name: &str) -> bool {
    matches!(name.as_bytes(), [b'2', b'b' | b'x' | b'y', b'$', ..])
}

fn boolean(word: &str) -> Option<bool> {
    match word.to_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Bytes that are no UTF-8 become U+FFFD one by one.
pub(super) fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let mut text = String::new();
        for chunk in error.as_bytes().utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        text
    })
}
