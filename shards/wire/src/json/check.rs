//! Whether a text is well-formed JSON, by the rules and with the words of Go.

use super::{Wrong, blanks_end};

/// Deepest nesting of arrays and objects.
const DEPTH_MAX: usize = 10_000;

/// Checks that `text` is one well-formed value and nothing else.
pub(super) fn well_formed(text: &[u8]) -> Result<(), Wrong> {
    Checker { text, at: 0, open: Vec::new() }.check()
}

/// Not recursive: nesting is the sender's choice.
struct Checker<'a> {
    text: &'a [u8],
    at: usize,
    /// The brackets and braces that are open.
    open: Vec<u8>,
}

const VALUE: &str = "looking for beginning of value";

/// Where a letter of these words is wrong, from the second letter on.
const TRUE: &[&str] = &[
    "in literal true (expecting 'r')",
    "in literal true (expecting 'u')",
    "in literal true (expecting 'e')",
];
const FALSE: &[&str] = &[
    "in literal false (expecting 'a')",
    "in literal false (expecting 'l')",
    "in literal false (expecting 's')",
    "in literal false (expecting 'e')",
];
const NULL: &[&str] = &[
    "in literal null (expecting 'u')",
    "in literal null (expecting 'l')",
    "in literal null (expecting 'l')",
];

impl Checker<'_> {
    fn check(mut self) -> Result<(), Wrong> {
        loop {
            if self.value()? {
                continue;
            }
            loop {
                self.blanks();
                let Some(opened) = self.open.last().copied() else {
                    return match self.text.get(self.at) {
                        None => Ok(()),
                        Some(byte) => wrong(*byte, "after top-level value"),
                    };
                };
                if self.after_item(opened)? {
                    break;
                }
            }
        }
    }

    /// Reads a value up to its first item; true if another value must follow.
    fn value(&mut self) -> Result<bool, Wrong> {
        self.blanks();
        match self.take()? {
            bracket @ (b'{' | b'[') => return self.opened(bracket),
            b'"' => self.rest_of_text()?,
            b'-' => {
                let digit = self.take_or_blank();
                self.rest_of_number(digit, "in numeric literal")?;
            }
            digit @ b'0'..=b'9' => self.rest_of_number(digit, VALUE)?,
            b't' => self.rest_of_word("true", TRUE)?,
            b'f' => self.rest_of_word("false", FALSE)?,
            b'n' => self.rest_of_word("null", NULL)?,
            other => return wrong(other, VALUE),
        }
        Ok(false)
    }

    fn opened(&mut self, bracket: u8) -> Result<bool, Wrong> {
        if self.open.len() == DEPTH_MAX {
            return Err(Wrong::Depth);
        }
        self.blanks();
        let close = if bracket == b'{' { b'}' } else { b']' };
        if self.peek()? == close {
            self.at += 1;
            return Ok(false);
        }
        self.open.push(bracket);
        if bracket == b'{' {
            self.key()?;
        }
        Ok(true)
    }

    /// Reads what follows an item of the open bracket; true if it was a comma.
    fn after_item(&mut self, opened: u8) -> Result<bool, Wrong> {
        match (opened, self.take()?) {
            (b'{', b',') => {
                self.blanks();
                self.key()?;
                Ok(true)
            }
            (b'[', b',') => Ok(true),
            (b'{', b'}') | (b'[', b']') => {
                self.open.pop();
                Ok(false)
            }
            (b'{', other) => wrong(other, "after object key:value pair"),
            (_, other) => wrong(other, "after array element"),
        }
    }

    fn key(&mut self) -> Result<(), Wrong> {
        match self.take()? {
            b'"' => self.rest_of_text()?,
            other => return wrong(other, "looking for beginning of object key string"),
        }
        self.blanks();
        match self.take()? {
            b':' => Ok(()),
            other => wrong(other, "after object key"),
        }
    }

    fn rest_of_text(&mut self) -> Result<(), Wrong> {
        loop {
            match self.take()? {
                b'"' => return Ok(()),
                b'\\' => match self.take_or_blank() {
                    b'u' => {
                        for _ in 0..4 {
                            let digit = self.take_or_blank();
                            if !digit.is_ascii_hexdigit() {
                                return wrong(digit, "in \\u hexadecimal character escape");
                            }
                        }
                    }
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    other => return wrong(other, "in string escape code"),
                },
                control @ 0..=0x1f => return wrong(control, "in string literal"),
                _ => {}
            }
        }
    }

    fn rest_of_number(&mut self, first: u8, place: &'static str) -> Result<(), Wrong> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            other => return wrong(other, place),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digit(&mut self, place: &'static str) -> Result<(), Wrong> {
        let digit = self.take_or_blank();
        if !digit.is_ascii_digit() {
            return wrong(digit, place);
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        self.at += self.text[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
    }

    fn rest_of_word(&mut self, word: &str, places: &[&'static str]) -> Result<(), Wrong> {
        for (want, place) in word.bytes().skip(1).zip(places) {
            let byte = self.take_or_blank();
            if byte != want {
                return wrong(byte, place);
            }
        }
        Ok(())
    }

    fn blanks(&mut self) {
        self.at = blanks_end(self.text, self.at);
    }

    fn peek(&self) -> Result<u8, Wrong> {
        self.text.get(self.at).copied().ok_or(Wrong::End)
    }

    fn take(&mut self) -> Result<u8, Wrong> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    /// Like [`take`](Self::take) inside a word, number or escape, which Go closes with a blank.
    fn take_or_blank(&mut self) -> u8 {
        self.take().unwrap_or(b' ')
    }
}

fn wrong<T>(byte: u8, place: &'static str) -> Result<T, Wrong> {
    Err(Wrong::Byte { byte, place })
}
