//! One client connection: its socket, the bytes it still has to send, and why it ended.

use super::stream::Stream;
use crate::sys::{Epoll, Watch};
use std::io;

/// Most bytes handed to one send.
pub const CHUNK: usize = 64 << 10;

/// A client connection.
pub struct Lane {
    /// The socket, non-blocking.
    pub stream: Stream,
    /// Its token at the worker's epoll.
    pub token: usize,
    /// Why it is of no more use, once it is.
    pub fault: Option<String>,
    out: Vec<u8>,
    out_at: usize,
    watch: Watch,
}

/// What a read brought.
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now, or never again (then the lane has its fault).
    Nothing,
}

impl Lane {
    /// Takes a connection that has been greeted, and watches it for reading.
    ///
    /// # Errors
    /// When epoll refuses it.
    pub fn new(stream: Stream, token: usize, epoll: &Epoll) -> io::Result<Self> {
        epoll.add(&stream, token, Watch::Read)?;
        let watch = Watch::Read;
        Ok(Self { stream, token, fault: None, out: Vec::new(), out_at: 0, watch })
    }

    /// The bytes waiting to be sent, to append to.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Whether bytes wait.
    pub fn pending(&self) -> bool {
        self.out_at < self.out.len() || self.stream.pending()
    }

    /// Whether the kernel took no more and will say when it does.
    pub fn blocked(&self) -> bool {
        self.watch == Watch::ReadWrite
    }

    /// Ends the lane with a reason; the first one stays.
    pub fn fail(&mut self, epoll: &Epoll, reason: impl Into<String>) {
        epoll.remove(&self.stream);
        self.fault.get_or_insert_with(|| reason.into());
    }

    /// Sends what waits, as far as the kernel takes it.
    pub fn flush(&mut self, epoll: &Epoll) {
        while self.out_at < self.out.len() && self.fault.is_none() {
            match self.stream.write(&self.out[self.out_at..]) {
                Ok(n) => self.out_at += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return self.block(epoll),
                Err(e) => return self.fail(epoll, format!("send: {e}")),
            }
        }
        self.out.clear();
        self.out_at = 0;
        self.unblock(epoll);
    }

    /// Sends some of `bytes` straight from where they are; 0 when the kernel takes none.
    pub fn send(&mut self, bytes: &[u8], epoll: &Epoll) -> usize {
        match self.stream.write(bytes) {
            Ok(n) => {
                if self.stream.pending() {
                    self.block(epoll);
                }
                n
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.block(epoll);
                0
            }
            Err(e) => {
                self.fail(epoll, format!("send: {e}"));
                0
            }
        }
    }

    fn block(&mut self, epoll: &Epoll) {
        self.watch_for(Watch::ReadWrite, epoll);
    }

    /// Stops waiting for room, unless records need it.
    pub fn unblock(&mut self, epoll: &Epoll) {
        match self.stream.flush() {
            Ok(()) => self.watch_for(Watch::Read, epoll),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.block(epoll),
            Err(e) => self.fail(epoll, format!("send: {e}")),
        }
    }

    fn watch_for(&mut self, watch: Watch, epoll: &Epoll) {
        if self.watch == watch || self.fault.is_some() {
            return;
        }
        self.watch = watch;
        if let Err(e) = epoll.change(&self.stream, self.token, watch) {
            self.fail(epoll, format!("epoll: {e}"));
        }
    }

    /// Reads into `buffer`, which is large enough for [`Stream::read`].
    pub fn read(&mut self, buffer: &mut [u8], epoll: &Epoll) -> Got {
        let n = self.stream.read(buffer);
        self.judge(n, epoll)
    }

    /// Counts bytes and leaves them in the kernel's bin.
    pub fn discard(&mut self, epoll: &Epoll) -> Got {
        let n = self.stream.discard();
        self.judge(n, epoll)
    }

    fn judge(&mut self, n: io::Result<usize>, epoll: &Epoll) -> Got {
        match n {
            Ok(0) => self.fail(epoll, "closed by the server"),
            Ok(n) => return Got::Bytes(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => self.fail(epoll, format!("receive: {e}")),
        }
        Got::Nothing
    }
}
