//! What a server sends to a client, appended to its output buffer.

use crate::headers;
use crate::info::ServerInfo;
use crate::short;

const CRLF: &[u8] = b"\r\n";

/// Appends `INFO {json} ` and CRLF; the space before CRLF is part of the protocol as spoken.
pub fn info(out: &mut Vec<u8>, info: &ServerInfo) {
    out.extend_from_slice(b"INFO ");
    info.write_json(out);
    out.extend_from_slice(b" \r\n");
}

/// Appends `PING`.
#[inline]
pub fn ping(out: &mut Vec<u8>) {
    out.extend_from_slice(b"PING\r\n");
}

/// Appends `PONG`.
#[inline]
pub fn pong(out: &mut Vec<u8>) {
    out.extend_from_slice(b"PONG\r\n");
}

/// Appends `+OK`.
#[inline]
pub fn ok(out: &mut Vec<u8>) {
    out.extend_from_slice(b"+OK\r\n");
}

/// Appends `-ERR '<text>'`.
pub fn err(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 9);
    out.extend_from_slice(b"-ERR '");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"'\r\n");
}

/// Appends the delivery of a message: `HMSG` if it has a header and the receiver takes headers
/// (`headers_ok`), else `MSG`, with the header left out of the payload.
///
/// `payload` starts with `header_len` bytes of header. `tail` is
/// [`Pub::tail`](crate::Pub::tail), or one made by [`canonical_tail`], or empty; if it is not empty
/// and the header need not be left out, `reply` and `payload` are not looked at.
// A call would cost a third of all of this.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "each is a part of one line; a struct is rebuilt")]
pub fn message(
    out: &mut Vec<u8>,
    subject: &[u8],
    sid: &[u8],
    reply: &[u8],
    header_len: usize,
    payload: &[u8],
    tail: &[u8],
    headers_ok: bool,
) {
    if tail.is_empty() || (header_len > 0 && !headers_ok) {
        return message_rebuilt(out, subject, sid, reply, header_len, payload, headers_ok);
    }
    // What lies in memory is no longer than that; sums that are checked cost more.
    out.reserve(subject.len().wrapping_add(sid.len()).wrapping_add(tail.len()).wrapping_add(7));
    head(out, subject, sid, header_len > 0);
    out.extend_from_slice(tail);
}

/// Tails up to this long are written over those of copied deliveries.
const SHORT_TAIL_MAX: usize = 64;
/// Deliveries copied at once for that: not so many that they leave the nearest cache.
const COPIED_AT_ONCE: usize = 64;

/// Appends deliveries of publications that are `stride` bytes long each and differ in their
/// payloads alone; the last `tail_len` bytes of each are its [`Pub::tail`](crate::Pub::tail).
#[inline]
pub fn messages(
    out: &mut Vec<u8>,
    subject: &[u8],
    sid: &[u8],
    publications: &[u8],
    stride: usize,
    tail_len: usize,
) {
    if tail_len <= SHORT_TAIL_MAX {
        return short_messages(out, subject, sid, publications, stride, tail_len);
    }
    let from = out.len();
    let head_len = subject.len() + sid.len() + 6;
    out.reserve((head_len + tail_len) * (publications.len() / stride));
    let mut rest = publications.chunks_exact(stride).map(|one| &one[stride - tail_len..]);
    let Some(first) = rest.next() else { return };
    head(out, subject, sid, false);
    out.extend_from_slice(first);
    for tail in rest {
        out.extend_from_within(from..from + head_len);
        out.extend_from_slice(tail);
    }
}

/// Copies whole deliveries, many at once, and writes the tails over.
#[inline(never)]
fn short_messages(
    out: &mut Vec<u8>,
    subject: &[u8],
    sid: &[u8],
    publications: &[u8],
    stride: usize,
    tail_len: usize,
) {
    let Some(first) = publications.get(stride - tail_len..stride) else { return };
    let head_len = subject.len() + sid.len() + 6;
    let (len, msgs) = (head_len + tail_len, publications.len() / stride);
    out.reserve(len * msgs);
    head(out, subject, sid, false);
    out.extend_from_slice(first);
    let mut done = 1;
    while done < msgs {
        let more = done.min(msgs - done).min(COPIED_AT_ONCE);
        let at = out.len();
        out.extend_from_within(at - more * len..);
        let deliveries = out[at..].chunks_exact_mut(len);
        let publications = publications[done * stride..].chunks_exact(stride);
        for (delivery, publication) in deliveries.zip(publications) {
            short::copy(&mut delivery[head_len..], &publication[stride - tail_len..]);
        }
        done += more;
    }
}

/// Appends the tails of such publications alone.
#[inline]
pub fn tails(out: &mut Vec<u8>, publications: &[u8], stride: usize, tail_len: usize) {
    let publications = publications.chunks_exact(stride);
    if tail_len > SHORT_TAIL_MAX {
        publications
            .for_each(|publication| out.extend_from_slice(&publication[stride - tail_len..]));
        return;
    }
    let from = out.len();
    out.resize(from + publications.len() * tail_len, 0);
    for (tail, publication) in out[from..].chunks_exact_mut(tail_len).zip(publications) {
        short::copy(tail, &publication[stride - tail_len..]);
    }
}

/// Appends `MSG <subject> <sid> ` or `HMSG …`: all of a delivery that comes before its tail.
#[inline(always)]
pub fn head(out: &mut Vec<u8>, subject: &[u8], sid: &[u8], header: bool) {
    if header {
        out.extend_from_slice(b"HMSG ");
    } else {
        out.extend_from_slice(b"MSG ");
    }
    out.extend_from_slice(subject);
    // A sid is a short number, which a call to copy it would cost more than all of this.
    match *sid {
        [a] => out.extend_from_slice(&[b' ', a, b' ']),
        [a, b] => out.extend_from_slice(&[b' ', a, b, b' ']),
        _ => {
            out.push(b' ');
            out.extend_from_slice(sid);
            out.push(b' ');
        }
    }
}

#[inline(never)]
fn message_rebuilt(
    out: &mut Vec<u8>,
    subject: &[u8],
    sid: &[u8],
    reply: &[u8],
    header_len: usize,
    payload: &[u8],
    headers_ok: bool,
) {
    out.reserve(subject.len() + sid.len() + 7);
    if headers_ok {
        head(out, subject, sid, header_len > 0);
        tail_into(out, reply, header_len, payload);
    } else {
        head(out, subject, sid, false);
        let body = payload.get(header_len..).unwrap_or_default();
        tail_into(out, reply, 0, body);
    }
}

/// Replaces `scratch` by the tail of a delivery, for when [`Pub::tail`](crate::Pub::tail) is empty:
/// `[reply ][header_len ]size CRLF payload CRLF`, without `header_len` if it is 0.
pub fn canonical_tail(scratch: &mut Vec<u8>, reply: &[u8], header_len: usize, payload: &[u8]) {
    scratch.clear();
    tail_into(scratch, reply, header_len, payload);
}

fn tail_into(out: &mut Vec<u8>, reply: &[u8], header_len: usize, payload: &[u8]) {
    out.reserve(reply.len() + payload.len() + 2 * DECIMAL_DIGITS_MAX + 6);
    if !reply.is_empty() {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
    if header_len > 0 {
        decimal(out, header_len);
        out.push(b' ');
    }
    decimal(out, payload.len());
    out.extend_from_slice(CRLF);
    out.extend_from_slice(payload);
    out.extend_from_slice(CRLF);
}

/// Appends the status 503 to the requester's own subscription `sid` on its `reply` subject:
/// nobody has received what it published to `subject`.
pub fn no_responders(out: &mut Vec<u8>, subject: &[u8], sid: &[u8], reply: &[u8]) {
    let len = headers::no_responders_len(subject);
    out.reserve(reply.len() + sid.len() + len + 2 * DECIMAL_DIGITS_MAX + 12);
    head(out, reply, sid, true);
    decimal(out, len);
    out.push(b' ');
    decimal(out, len);
    out.extend_from_slice(CRLF);
    headers::no_responders_into(out, subject);
    out.extend_from_slice(CRLF);
}

const DECIMAL_DIGITS_MAX: usize = 20;

/// Appends `value` in decimal digits.
pub(crate) fn decimal(out: &mut Vec<u8>, mut value: usize) {
    let mut digits = [b'0'; DECIMAL_DIGITS_MAX];
    let mut at = DECIMAL_DIGITS_MAX - 1;
    loop {
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
        at -= 1;
    }
    out.extend_from_slice(&digits[at..]);
}
