//! Making the subject.

use std::io::Write;

use super::{Function, Step, Transform};
use crate::token::tokens;

impl Transform {
    /// Appends what becomes of `subject`, which must match the source. `random` gives 31 random
    /// bits.
    pub fn apply(&self, subject: &[u8], random: &mut dyn FnMut() -> u32, out: &mut Vec<u8>) {
        for (n, step) in self.steps.iter().enumerate() {
            if n > 0 {
                out.push(b'.');
            }
            step.apply(subject, random, out);
        }
        if !self.has_rest {
            return;
        }
        if !self.steps.is_empty() {
            out.push(b'.');
        }
        for (n, token) in tokens(subject).skip(self.source_len - 1).enumerate() {
            if n > 0 {
                out.push(b'.');
            }
            out.extend_from_slice(token);
        }
    }

    /// As [`Transform::apply`], where nothing random is used.
    #[must_use]
    pub fn applied(&self, subject: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.apply(subject, &mut || 0, &mut out);
        out
    }
}

impl Step {
    fn apply(&self, subject: &[u8], random: &mut dyn FnMut() -> u32, out: &mut Vec<u8>) {
        let token = self.at.first().and_then(|at| tokens(subject).nth(*at)).unwrap_or_default();
        match &self.function {
            Function::Literal => out.extend_from_slice(&self.text),
            Function::Wildcard(_) => out.extend_from_slice(token),
            Function::Partition { buckets, .. } => {
                digits(i64::from(self.partition(subject, *buckets)), out);
            }
            Function::SplitFromLeft(_, n) => cut(token, size(*n), out),
            Function::SplitFromRight(_, n) => {
                let n = size(*n);
                let at = if n > 0 && n < token.len() { token.len() - n } else { 0 };
                cut(token, at, out);
            }
            Function::SliceFromLeft(_, n) => slices(token, 0, size(*n), out),
            Function::SliceFromRight(_, n) => {
                let n = size(*n);
                slices(token, token.len().checked_rem(n).unwrap_or(0), n, out);
            }
            Function::Left(_, n) => out.extend_from_slice(match size(*n) {
                0 => token,
                n => &token[..n.min(token.len())],
            }),
            Function::Right(_, n) => out.extend_from_slice(match size(*n) {
                0 => token,
                n => &token[token.len().saturating_sub(n)..],
            }),
            Function::Split(_, delimiter) => split(token, delimiter, out),
            Function::Random(max) => {
                let drawn = i64::from(random() & i32::MAX as u32);
                digits(drawn.checked_rem(i64::from(*max)).unwrap_or(0), out);
            }
        }
    }

    /// 32-bit FNV-1a of the named tokens with nothing between them, or of the whole subject.
    fn partition(&self, subject: &[u8], buckets: u32) -> u32 {
        let mut hash = Fnv::default();
        match &self.at[..] {
            [] => hash.write(subject),
            named => {
                named.iter().for_each(|at| {
                    hash.write(tokens(subject).nth(*at).unwrap_or_default());
                });
            }
        }
        hash.0.checked_rem(buckets).unwrap_or(0)
    }
}

/// How many bytes; 0 if there is nothing to cut off.
fn size(n: i32) -> usize {
    usize::try_from(n).unwrap_or(0)
}

fn digits(number: i64, out: &mut Vec<u8>) {
    // Writing to a vector can't fail.
    let _ = write!(out, "{number}");
}

/// In two, unless one of them were empty.
fn cut(token: &[u8], at: usize, out: &mut Vec<u8>) {
    if at == 0 || at >= token.len() {
        return out.extend_from_slice(token);
    }
    out.extend_from_slice(&token[..at]);
    out.push(b'.');
    out.extend_from_slice(&token[at..]);
}

/// In slices of `n` bytes after a first one of `first`; what is left is the last.
fn slices(token: &[u8], first: usize, n: usize, out: &mut Vec<u8>) {
    if n == 0 || n >= token.len() {
        return out.extend_from_slice(token);
    }
    let (head, rest) = token.split_at(first);
    let parts = (!head.is_empty()).then_some(head).into_iter().chain(rest.chunks(n));
    for (at, part) in parts.enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(part);
    }
}

/// At each delimiter; an empty part gives no token, but may leave a dot behind, as in nats-server.
fn split(token: &[u8], delimiter: &[u8], out: &mut Vec<u8>) {
    let parts = parts(token, delimiter);
    for (at, part) in parts.iter().enumerate() {
        out.extend_from_slice(part);
        let more = parts.get(at + 1).is_some_and(|next| !next.is_empty());
        if more && !(at == 0 && part.is_empty()) {
            out.push(b'.');
        }
    }
}

/// An empty delimiter parts letter from letter.
fn parts<'t>(token: &'t [u8], delimiter: &[u8]) -> Vec<&'t [u8]> {
    if delimiter.is_empty() {
        return letters(token);
    }
    let mut parts = Vec::new();
    let (mut from, mut at) = (0, 0);
    while at + delimiter.len() <= token.len() {
        if token[at..].starts_with(delimiter) {
            parts.push(&token[from..at]);
            at += delimiter.len();
            from = at;
        } else {
            at += 1;
        }
    }
    parts.push(&token[from..]);
    parts
}

/// The UTF-8 sequences, and each byte that is part of none.
fn letters(token: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    let mut rest = token;
    while !rest.is_empty() {
        let text = (1..=rest.len().min(4)).find(|len| std::str::from_utf8(&rest[..*len]).is_ok());
        let (letter, after) = rest.split_at(text.unwrap_or(1));
        all.push(letter);
        rest = after;
    }
    all
}

/// The hash of Fowler, Noll and Vo in its variant 1a, 32 bits wide.
struct Fnv(u32);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0x811c_9dc5)
    }
}

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}
