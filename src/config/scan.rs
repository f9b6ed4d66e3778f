//! A cursor over a configuration text that knows its line and column, and lets nom parsers eat from
//! it.

use std::rc::Rc;

use nom::Parser;

use super::value::{Fault, Position};

/// What `peek` and `bump` answer at the end of the text. A NUL in the text ends it just the same.
pub const END: char = '\0';

pub struct Scan<'a> {
    file: Rc<str>,
    text: &'a str,
    offset: usize,
    line: u32,
    line_start: usize,
}

impl<'a> Scan<'a> {
    pub fn new(file: Rc<str>, text: &'a str) -> Scan<'a> {
        Scan { file, text, offset: 0, line: 1, line_start: 0 }
    }

    pub fn peek(&self) -> char {
        self.rest().chars().next().unwrap_or(END)
    }

    /// Takes one character; at the end of the text takes nothing.
    pub fn bump(&mut self) -> char {
        let c = self.peek();
        if self.offset < self.text.len() {
            self.advance(c.len_utf8());
        }
        c
    }

    pub fn rest(&self) -> &'a str {
        &self.text[self.offset..]
    }

    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The text from `start` (an earlier `offset()`) up to here.
    pub fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.offset]
    }

    /// Applies a nom parser to the rest. On success what it used is taken, else nothing is.
    pub fn take<O, P>(&mut self, mut parser: P) -> Option<O>
    where
        P: Parser<&'a str, Output = O, Error = nom::error::Error<&'a str>>,
    {
        let (left, output) = parser.parse(self.rest()).ok()?;
        self.advance(self.rest().len() - left.len());
        Some(output)
    }

    pub fn advance(&mut self, bytes: usize) {
        let end = self.offset + bytes;
        for at in newlines(self.text, self.offset, end) {
            self.line += 1;
            self.line_start = at + 1;
        }
        self.offset = end;
    }

    pub fn position(&self) -> Position {
        Position {
            file: self.file.clone(),
            line: self.line,
            column: u32::try_from(self.offset - self.line_start + 1).unwrap_or(u32::MAX),
        }
    }

    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault { at: Some(self.position()), message: message.into() }
    }
}

fn newlines(text: &str, from: usize, to: usize) -> impl Iterator<Item = usize> {
    text.as_bytes()[from..to]
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'\n')
        .map(move |(i, _)| from + i)
}
