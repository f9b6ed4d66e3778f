//! Arguments of a control line, off the fast lane.

use nom::bytes::complete::{take_while, take_while_m_n, take_while1};
use nom::combinator::{all_consuming, map};
use nom::multi::fold_many_m_n;
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

use crate::client_op::ClientOp;
use crate::errors::{Fault, PubFault};
use crate::verb::Verb;

/// Longest size in digits: anything longer is malformed, whatever its value.
pub(crate) const SIZE_DIGITS_MAX: usize = 9;

/// Arguments of `PUB` and `HPUB`.
pub(crate) struct Publish<'a> {
    pub(crate) subject: &'a [u8],
    /// Empty if there is none.
    pub(crate) reply: &'a [u8],
    pub(crate) header_len: usize,
    /// Payload bytes, header included.
    pub(crate) size: usize,
    header_text: &'a [u8],
    size_text: &'a [u8],
    argument: &'a [u8],
}

impl Publish<'_> {
    /// Length of `[reply ][header_len ]size` as a delivery wants it, if the argument ends with
    /// exactly these bytes.
    pub(crate) fn tail_len(&self, verb: Verb) -> Option<usize> {
        let mut parts: [&[u8]; 3] = [self.reply, b"", self.size_text];
        if self.header_len > 0 {
            parts[1] = self.header_text;
        } else if verb == Verb::Hpub && !self.reply.is_empty() {
            // A header length of 0 stands between reply and size, but is not delivered.
            return None;
        }
        let mut rest = self.argument;
        for (index, part) in parts.iter().rev().filter(|part| !part.is_empty()).enumerate() {
            if index > 0 {
                rest = rest.strip_suffix(b" ")?;
            }
            rest = rest.strip_suffix(*part)?;
        }
        Some(self.argument.len() - rest.len())
    }
}

/// Whether `byte` separates arguments.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Like [`is_blank`], for `SUB` and `UNSUB`, where nats-server also splits at line ends.
fn is_blank_or_line_end(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// `subject [reply] size`
pub(crate) fn publish(argument: &[u8]) -> Result<Publish<'_>, Fault> {
    let bad = |what| Fault::BadPub { what, args: argument.into() };
    let (subject, reply, size_text) = match tokens::<3>(is_blank, argument).as_slice() {
        [subject, size] => (*subject, &b""[..], *size),
        [subject, reply, size] => (*subject, *reply, *size),
        _ => return Err(bad(PubFault::Arguments)),
    };
    let size = size(size_text).ok_or_else(|| bad(PubFault::Size))?;
    Ok(Publish { subject, reply, header_len: 0, size, header_text: b"", size_text, argument })
}

/// `subject [reply] header_len total_len`
pub(crate) fn publish_with_header(argument: &[u8]) -> Result<Publish<'_>, Fault> {
    let bad = |what| Fault::BadPub { what, args: argument.into() };
    let (subject, reply, header_text, size_text) = match tokens::<4>(is_blank, argument).as_slice()
    {
        [subject, header, size] => (*subject, &b""[..], *header, *size),
        [subject, reply, header, size] => (*subject, *reply, *header, *size),
        _ => return Err(bad(PubFault::HeaderArguments)),
    };
    let header_len = size(header_text).ok_or_else(|| bad(PubFault::HeaderSize))?;
    let size = size(size_text).ok_or_else(|| bad(PubFault::TotalSize))?;
    if header_len > size {
        return Err(bad(PubFault::HeaderLargerThanTotal));
    }
    Ok(Publish { subject, reply, header_len, size, header_text, size_text, argument })
}

/// `subject [queue] sid`
pub(crate) fn subscribe(argument: &[u8]) -> Result<ClientOp<'_>, Fault> {
    match tokens::<3>(is_blank_or_line_end, argument).as_slice() {
        [subject, sid] => Ok(ClientOp::Sub { subject, queue: None, sid }),
        [subject, queue, sid] => Ok(ClientOp::Sub { subject, queue: Some(queue), sid }),
        _ => Err(Fault::BadSub { args: argument.into() }),
    }
}

/// `sid [max]`
pub(crate) fn unsubscribe(argument: &[u8]) -> Result<ClientOp<'_>, Fault> {
    match tokens::<2>(is_blank_or_line_end, argument).as_slice() {
        [sid] => Ok(ClientOp::Unsub { sid, max: 0 }),
        [sid, max] => Ok(ClientOp::Unsub { sid, max: size(max).unwrap_or(0) as u64 }),
        _ => Err(Fault::BadUnsub { args: argument.into() }),
    }
}

/// Up to `N` tokens; one more than that is counted but not kept.
struct Tokens<'a, const N: usize> {
    tokens: [&'a [u8]; N],
    count: usize,
}

impl<'a, const N: usize> Tokens<'a, N> {
    fn with(mut self, token: &'a [u8]) -> Self {
        if let Some(slot) = self.tokens.get_mut(self.count) {
            *slot = token;
        }
        self.count += 1;
        self
    }

    /// The tokens, or nothing if there were more than `N`.
    fn as_slice(&self) -> &[&'a [u8]] {
        self.tokens.get(..self.count).unwrap_or(&[])
    }
}

fn tokens<const N: usize>(blank: fn(u8) -> bool, argument: &[u8]) -> Tokens<'_, N> {
    let none = || Tokens { tokens: [&b""[..]; N], count: 0 };
    let token = terminated(take_while1(move |b| !blank(b)), take_while(blank));
    let line: IResult<&[u8], Tokens<'_, N>> =
        preceded(take_while(blank), fold_many_m_n(0, N + 1, token, none, Tokens::with))
            .parse(argument);
    line.map_or_else(|_| none(), |(_, tokens)| tokens)
}

/// A size: 1 to 9 decimal digits and nothing else.
fn size(text: &[u8]) -> Option<usize> {
    let digits = take_while_m_n(1, SIZE_DIGITS_MAX, |b: u8| b.is_ascii_digit());
    let value = map(digits, |digits: &[u8]| {
        digits.iter().fold(0, |value, digit| value * 10 + usize::from(digit - b'0'))
    });
    let parsed: IResult<&[u8], usize> = all_consuming(value).parse(text);
    parsed.ok().map(|(_, value)| value)
}
