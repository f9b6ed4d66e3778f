//! What a client asks for, as slices of the bytes it sent.

/// One operation of a client. Every slice lies in the bytes given to
/// [`ClientParser::next`](crate::ClientParser::next).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientOp<'a> {
    /// `CONNECT`, with its argument as sent; [`connect::parse`](crate::connect::parse) reads it.
    Connect(&'a [u8]),
    /// `INFO` from a client. The argument is known to be acceptable JSON and means nothing.
    Info(&'a [u8]),
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`.
    Ok,
    /// `-ERR` with its text; the connection is to be closed with
    /// [`Fault::ClientErr`](crate::Fault::ClientErr).
    Err(&'a [u8]),
    /// `PUB` or `HPUB`, complete with its payload.
    Pub(Pub<'a>),
    /// `SUB`. Neither subject nor queue has been validated.
    Sub {
        /// The pattern, never empty.
        subject: &'a [u8],
        /// The queue group, never empty.
        queue: Option<&'a [u8]>,
        /// The client's name for the subscription, opaque, never empty.
        sid: &'a [u8],
    },
    /// `UNSUB`.
    Unsub {
        /// The client's name for the subscription, never empty.
        sid: &'a [u8],
        /// Deliveries since `SUB` after which to end; 0 (also for a malformed number) means now.
        max: u64,
    },
}

/// `PUB` or `HPUB` with its payload, all in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pub<'a> {
    /// Subject as sent: not empty, not validated.
    pub subject: &'a [u8],
    /// Reply subject; empty if there is none.
    pub reply: &'a [u8],
    /// Bytes of header at the start of `payload`; 0 for `PUB` and for an `HPUB` with none.
    pub header_len: usize,
    /// Header and body without the closing CRLF.
    pub payload: &'a [u8],
    /// What follows `MSG <subject> <sid> ` (or `HMSG …` when `header_len` > 0) in a delivery, taken
    /// from the sender's own bytes: `[reply ][header_len ]size CRLF payload CRLF`. Empty if the
    /// sender's spacing or line end is not the canonical one; then
    /// [`emit::canonical_tail`](crate::emit::canonical_tail) makes it. Leading zeros of a size are
    /// kept, as nats-server does.
    pub tail: &'a [u8],
}
