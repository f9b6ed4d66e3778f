//! One direction of a connection: bytes in order, a bounded number of them, cut anywhere.

use std::collections::VecDeque;

/// Bytes that one side has written and the other has not read.
#[derive(Debug)]
pub struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    ended: bool,
}

impl Pipe {
    /// Holds up to `capacity` bytes.
    pub fn new(capacity: usize) -> Pipe {
        Pipe { bytes: VecDeque::new(), capacity, ended: false }
    }

    /// Makes it hold at least this many bytes.
    pub fn widen(&mut self, capacity: usize) {
        self.capacity = self.capacity.max(capacity);
    }

    /// How many more bytes fit.
    pub fn free(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    /// How many bytes wait to be read.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// No byte waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The writer is done.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The writer is done and everything has been read.
    pub fn is_over(&self) -> bool {
        self.ended && self.bytes.is_empty()
    }

    /// Drops what was not read: the connection was reset.
    pub fn lose(&mut self) {
        self.bytes.clear();
        self.ended = true;
    }

    /// Takes as many bytes as fit; gives how many.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let fit = bytes.len().min(self.free());
        self.force(&bytes[..fit]);
        fit
    }

    /// Takes all bytes, fit or not: a client's operation is never half written.
    pub fn force(&mut self, bytes: &[u8]) {
        if !self.ended {
            self.bytes.extend(bytes);
        }
    }

    /// Moves up to `max` bytes to the end of `into`; gives how many.
    pub fn read(&mut self, max: usize, into: &mut Vec<u8>) -> usize {
        let count = max.min(self.bytes.len());
        into.extend(self.bytes.drain(..count));
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_and_no_more_than_fit() {
        let mut pipe = Pipe::new(4);
        assert_eq!(pipe.write(b"abcdef"), 4);
        assert_eq!(pipe.write(b"x"), 0);
        let mut out = Vec::new();
        assert_eq!((pipe.read(3, &mut out), pipe.free()), (3, 3));
        pipe.force(b"efghij");
        assert_eq!(pipe.free(), 0);
        assert_eq!(pipe.read(100, &mut out), 7);
        assert_eq!(out, b"abcdefghij");
    }

    #[test]
    fn the_end_comes_after_the_bytes_unless_they_are_lost() {
        let mut pipe = Pipe::new(8);
        pipe.write(b"ab");
        pipe.end();
        assert!(!pipe.is_over());
        pipe.read(2, &mut Vec::new());
        assert!(pipe.is_over());
        let mut reset = Pipe::new(8);
        reset.write(b"ab");
        reset.lose();
        assert!(reset.is_over());
    }
}
