//! Exact counting: how many messages a stream of bytes of known frames holds.

use super::protocol::Protocol;
use serde::{Deserialize, Serialize};

/// Bytes of a `PING\r\n`.
const BEAT: u64 = 6;
/// Most PINGs a server may send a counted connection.
const BEATS_MAX: u64 = 3;
/// Smallest frame that can't be mistaken for that many PINGs.
pub const FRAME_MIN: usize = (BEAT * BEATS_MAX + 1) as usize;

/// Counts messages by their bytes. The server may put a PING anywhere between two messages, and
/// the answer to our last PING ends the count; nothing else may be in the stream.
#[derive(Debug)]
pub struct Tally {
    frame: u64,
    pong: &'static [u8],
    bytes: u64,
    tail: Vec<u8>,
    answered: bool,
}

impl Tally {
    /// For messages of `frame` bytes each, line and payload.
    pub fn new(frame: usize, protocol: Protocol) -> Self {
        let pong = protocol.subscribers_pong();
        Self { frame: frame as u64, pong, bytes: 0, tail: Vec::new(), answered: false }
    }

    /// Takes `n` unseen bytes; gives the messages complete by now.
    pub fn add(&mut self, n: usize) -> u64 {
        self.bytes += n as u64;
        self.messages()
    }

    /// Takes bytes while looking for the PONG; gives the messages complete by now.
    pub fn add_seen(&mut self, bytes: &[u8]) -> u64 {
        self.bytes += bytes.len() as u64;
        // The PONG may be cut in two by the end of a read.
        let keep = self.pong.len() - 1;
        let mut edge = self.tail.clone();
        edge.extend_from_slice(&bytes[..bytes.len().min(keep)]);
        self.answered |= memchr::memmem::find(&edge, self.pong).is_some()
            || memchr::memmem::find(bytes, self.pong).is_some();
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(keep)..]);
        let surplus = self.tail.len().saturating_sub(keep);
        self.tail.drain(..surplus);
        self.messages()
    }

    /// Whether the PONG has come.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// Messages complete by now. Exact at any time but for bytes of a PING, which can only
    /// make a message count some bytes early.
    pub fn messages(&self) -> u64 {
        (self.bytes - self.beats_of_ours()) / self.frame
    }

    fn beats_of_ours(&self) -> u64 {
        if self.answered { self.bytes.min(self.pong.len() as u64) } else { 0 }
    }

    /// The exact count at the end.
    ///
    /// # Errors
    /// When what is left over is not a small number of PINGs: then something else was sent.
    pub fn exact(&self) -> Result<u64, String> {
        let rest = (self.bytes - self.beats_of_ours()) % self.frame;
        if rest.is_multiple_of(BEAT) && rest <= BEATS_MAX * BEAT {
            Ok(self.messages())
        } else {
            Err(format!("{rest} bytes that belong to no message"))
        }
    }
}

/// Counts of one thread, read by the others while they grow.
#[derive(Default)]
pub struct Gauge {
    /// Messages received.
    pub delivered: std::sync::atomic::AtomicU64,
    /// Messages sent.
    pub published: std::sync::atomic::AtomicU64,
    /// ns not spent waiting.
    pub busy_ns: std::sync::atomic::AtomicU64,
}

/// What was owed and what came, over a whole run.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// Deliveries owed.
    pub owed: u64,
    /// Deliveries that came.
    pub came: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PONG: &[u8] = b"PONG\r\n";

    #[test]
    fn messages_are_counted_in_any_pieces() {
        let frame = b"MSG a 1 4\r\nxxxx\r\n";
        let mut bytes = frame.repeat(7);
        bytes.extend_from_slice(PONG);
        for at in 0..bytes.len() {
            let mut tally = Tally::new(frame.len(), Protocol::Nats);
            tally.add_seen(&bytes[..at]);
            assert!(!tally.answered());
            assert_eq!(tally.messages(), (at.min(119) / 17) as u64);
            tally.add_seen(&bytes[at..]);
            assert!(tally.answered(), "split at {at}");
            assert_eq!(tally.exact(), Ok(7));
        }
    }

    #[test]
    fn a_pong_in_single_bytes_is_found() {
        let mut tally = Tally::new(40, Protocol::Nats);
        tally.add(80);
        for byte in PONG {
            assert!(!tally.answered());
            tally.add_seen(std::slice::from_ref(byte));
        }
        assert_eq!((tally.answered(), tally.exact()), (true, Ok(2)));
    }

    #[test]
    fn pings_are_told_from_messages_and_anything_else_is_an_error() {
        let count = |extra: usize| {
            let mut tally = Tally::new(100, Protocol::Nats);
            tally.add(300 + extra);
            tally.add_seen(PONG);
            tally.exact()
        };
        assert_eq!(count(12), Ok(3));
        assert_eq!(count(100), Ok(4));
        assert!(count(7).is_err());
        assert!(count(24).is_err());
    }
}
