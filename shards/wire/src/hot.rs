//! The fast lane: a complete, plainly spaced `PUB` or `HPUB`, read without a state machine.
//!
//! Whatever is not exactly that (other blanks, bare '\n', a limit passed, bytes missing) is `None`
//! and left to the careful lane, which decides what it is.

use crate::args::SIZE_DIGITS_MAX;
use crate::client_op::Pub;
use crate::framer::Limits;
use crate::short;

/// Reads the publication at the start of `bytes` and says how many bytes it takes.
#[inline(always)]
pub(crate) fn publication<'a>(bytes: &'a [u8], limits: &Limits) -> Option<(Pub<'a>, usize)> {
    let word = u32::from_le_bytes(*bytes.first_chunk()?);
    if word | LOWER_3 == u32::from_le_bytes(*b"pub ") {
        plain(bytes, limits)
    } else if word | LOWER_4 == u32::from_le_bytes(*b"hpub") {
        with_header(bytes, limits)
    } else {
        None
    }
}

/// Bit that makes an ASCII letter lower case, in three or four bytes of a word. No other byte is
/// turned into one of the letters compared with.
const LOWER_3: u32 = 0x0020_2020;
const LOWER_4: u32 = 0x2020_2020;

#[inline(always)]
fn plain<'a>(bytes: &'a [u8], limits: &Limits) -> Option<(Pub<'a>, usize)> {
    let subject_at = b"PUB ".len();
    let subject_end = token_end(bytes, subject_at)?;
    let tail_at = subject_end + 1;
    let mut reply_end = tail_at;
    let mut number = number(bytes, tail_at);
    if number.is_none_or(|(_, end)| bytes[end] != b'\r') {
        reply_end = token_end(bytes, tail_at)?;
        number = self::number(bytes, reply_end + 1);
    }
    let (size, line_end) = number?;
    let payload_at = payload_at(bytes, subject_at, line_end, limits)?;
    let payload_end = payload_end(bytes, payload_at, size, limits)?;
    let used = payload_end + 2;
    let publication = Pub {
        subject: &bytes[subject_at..subject_end],
        reply: &bytes[tail_at..reply_end],
        header_len: 0,
        payload: &bytes[payload_at..payload_end],
        tail: &bytes[tail_at..used],
    };
    Some((publication, used))
}

#[inline(never)]
fn with_header<'a>(bytes: &'a [u8], limits: &Limits) -> Option<(Pub<'a>, usize)> {
    if !limits.headers || bytes.get(4) != Some(&b' ') {
        return None;
    }
    let subject_at = b"HPUB ".len();
    let subject_end = token_end(bytes, subject_at)?;
    let tail_at = subject_end + 1;
    let mut reply_end = tail_at;
    let mut numbers = two_numbers(bytes, tail_at);
    if numbers.is_none() {
        reply_end = token_end(bytes, tail_at)?;
        numbers = two_numbers(bytes, reply_end + 1);
    }
    let (header_len, size, line_end) = numbers?;
    // Without a header the delivery is a MSG, whose tail has no header length.
    if header_len == 0 || header_len > size {
        return None;
    }
    let payload_at = payload_at(bytes, subject_at, line_end, limits)?;
    let payload_end = payload_end(bytes, payload_at, size, limits)?;
    let used = payload_end + 2;
    let publication = Pub {
        subject: &bytes[subject_at..subject_end],
        reply: &bytes[tail_at..reply_end],
        header_len,
        payload: &bytes[payload_at..payload_end],
        tail: &bytes[tail_at..used],
    };
    Some((publication, used))
}

/// How many publications follow the one in the first `stride` of `bytes`, whole and the same but
/// for their payloads of `payload_len`; `most` at most. A parser that was at the start of an
/// operation there would find just those.
#[inline]
pub fn alike(bytes: &[u8], stride: usize, payload_len: usize, most: usize) -> usize {
    let Some(line_len) = stride.checked_sub(payload_len + 2) else { return 0 };
    let line = &bytes[..line_len];
    let same =
        |message: &&[u8]| short::equal(&message[..line_len], line) && message.ends_with(b"\r\n");
    bytes.chunks_exact(stride).skip(1).take(most).take_while(same).count()
}

/// `a b` with `\r` after: both numbers and where the `\r` is.
#[inline(always)]
fn two_numbers(bytes: &[u8], from: usize) -> Option<(usize, usize, usize)> {
    let (first, end) = number(bytes, from)?;
    if bytes[end] != b' ' {
        return None;
    }
    let (second, end) = number(bytes, end + 1)?;
    (bytes[end] == b'\r').then_some((first, second, end))
}

/// Where the payload starts, if the line ends canonically at `line_end` and is not too long.
#[inline(always)]
fn payload_at(bytes: &[u8], from: usize, line_end: usize, limits: &Limits) -> Option<usize> {
    let ends = bytes.get(line_end..line_end + 2)? == b"\r\n";
    (ends && line_end - from <= limits.control_line_max).then_some(line_end + 2)
}

/// Where the payload ends, if all of it and its CRLF are here and it is not too large.
#[inline(always)]
fn payload_end(bytes: &[u8], from: usize, size: usize, limits: &Limits) -> Option<usize> {
    let end = from + size;
    let ends = bytes.get(end..end + 2)? == b"\r\n";
    (ends && size <= limits.payload_max).then_some(end)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x80 * ONES;

/// End of the token at `from`, which must not be empty and must be followed by a space.
#[inline(always)]
fn token_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    let mut rest = bytes.get(from..)?;
    while let Some(chunk) = rest.first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        // The lowest high bit left standing marks the first byte below '!'.
        let low = word.wrapping_sub(0x21 * ONES) & !word & HIGH_BITS;
        if low != 0 {
            at += (low.trailing_zeros() / 8) as usize;
            return (bytes[at] == b' ' && at > from).then_some(at);
        }
        at += 8;
        rest = &rest[8..];
    }
    at += rest.iter().position(|b| *b < b'!')?;
    (bytes[at] == b' ' && at > from).then_some(at)
}

/// Value of the 1 to 9 digits at `from` and the index of the byte after them, which exists.
#[inline(always)]
fn number(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut value = 0_usize;
    for (count, byte) in bytes.get(from..)?.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (count > 0).then_some((value, from + count));
        }
        if count == SIZE_DIGITS_MAX {
            return None;
        }
        value = value * 10 + usize::from(digit);
    }
    None
}
