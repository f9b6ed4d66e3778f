//! What completions mean to a shard's connections.

use std::net::TcpStream;
use std::os::fd::FromRawFd;
use std::time::{SystemTime, UNIX_EPOCH};

use shard::{ConnId, Hangup, Input, Nanos};

use crate::conn::{Phase, Written};
use crate::control::{Accepted, Message};
use crate::driver::{Driver, Received};
use crate::engine::Engine;
use crate::listener::plain;
use crate::ring::Completion;

impl<E: Engine> Driver<E> {
    pub(crate) fn on_received(&mut self, completion: Completion, now: Nanos) {
        let conn = self.sockets.conn(completion.tag);
        if let Some(filled) = completion.filled {
            match conn {
                Some(conn) if completion.result > 0 => {
                    self.sockets.has_filled(&mut self.ring, conn, filled.bytes());
                    self.reads.0 += 1;
                    self.reads.1 += completion.result as u64;
                    self.received.push_back(Received { conn, at: now, filled, done: 0 });
                }
                _ => self.ring.give_back(filled),
            }
        }
        let Some(conn) = conn else { return };
        if !completion.more {
            self.sockets.reading_ended(conn);
        }
        match -completion.result {
            0 => self.hang_up(conn, Hangup::Closed, now),
            libc::ENOBUFS => {
                self.starve(conn);
                return self.sockets.release(conn);
            }
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            errno if errno > 0 => self.hang_up(conn, Hangup::ReadError, now),
            _ => {}
        }
        self.sockets.read(&mut self.ring, conn);
        self.sockets.release(conn);
    }

    /// To ask again at once would fail again: after those that wait already, when there are
    /// buffers. Whoever is asked first may take all of them. So those that had their turn, and got
    /// nothing, keep their places; or whoever took all would be the first for ever.
    fn starve(&mut self, conn: ConnId) {
        if self.sockets.starved(conn) {
            let place = self.starved_again.min(self.starved.len());
            self.starved.insert(place, conn);
            self.starved_again += 1;
        } else {
            self.starved.push_back(conn);
        }
    }

    /// Reads again from those that found no buffer, in turn, as many as there are buffers for.
    pub(crate) fn feed_starved(&mut self) {
        self.starved_again = 0;
        for _ in 0..self.ring.free_buffers() {
            let Some(conn) = self.starved.pop_front() else { return };
            self.sockets.feed(&mut self.ring, conn);
        }
    }

    /// Reading is over, and all that was received is taken in; or writing has failed.
    fn hang_up(&mut self, conn: ConnId, cause: Hangup, now: Nanos) {
        if self.sockets.input_ended(conn) {
            self.engine.step(now, Input::Hangup { conn, cause }, &mut self.effects);
            return;
        }
        match self.sockets.phase(conn) {
            Phase::Draining => self.abandon(conn),
            Phase::Flushing if cause != Hangup::Closed => self.abandon(conn),
            _ => {}
        }
    }

    /// Ends a connection as soon as the kernel lets go of it, whatever it still had to say.
    pub(crate) fn abandon(&mut self, conn: ConnId) {
        if self.sockets.phase(conn) == Phase::Flushing {
            self.engine.flush_over(conn);
        }
        self.sockets.abandon(conn);
    }

    pub(crate) fn on_sent(&mut self, completion: &Completion, now: Nanos) {
        let Some(conn) = self.sockets.conn(completion.tag) else { return };
        match self.sockets.written(conn, completion.result) {
            Written::Stale(chunk) => {
                if let Some(chunk) = chunk {
                    self.engine.recycle(chunk);
                }
                self.sockets.release(conn);
            }
            Written::Progress { bytes, chunk } => self.wrote(conn, bytes, chunk, now),
            Written::Failed(chunk) => {
                self.engine.recycle(chunk);
                // What it has said before it went counts, and that it went by itself.
                if !self.sockets.is_ending(conn) {
                    self.hang_up(conn, Hangup::WriteError, now);
                }
            }
        }
    }

    fn wrote(&mut self, conn: ConnId, bytes: usize, chunk: Option<E::Chunk>, now: Nanos) {
        self.writes.0 += 1;
        self.writes.1 += bytes as u64;
        if bytes > 0 && self.sockets.phase(conn) == Phase::Open {
            let bytes = bytes as u64;
            self.engine.step(now, Input::Sent { conn, bytes }, &mut self.effects);
        }
        match chunk {
            // What waits for it meanwhile leaves with what this turn brings: sent by itself, it
            // would always be a turn ahead of that.
            Some(chunk) => {
                self.engine.recycle(chunk);
                self.effects.dirty.push(conn);
            }
            // SAFETY: `Engine` promises that a chunk's bytes stay where they are.
            None => unsafe { self.sockets.write_on(&mut self.ring, conn) },
        }
    }

    /// Writes the next chunk of a connection, if it has one and none is being written.
    pub(crate) fn write_next(&mut self, conn: ConnId, now: Nanos) {
        if !self.sockets.takes_chunk(conn) {
            return;
        }
        match self.engine.take_chunk(conn) {
            // SAFETY: `Engine` promises that a chunk's bytes stay where they are.
            Some(chunk) => unsafe { self.sockets.write(&mut self.ring, conn, chunk) },
            None if self.sockets.phase(conn) == Phase::Flushing => {
                self.engine.flush_over(conn);
                self.sockets.flushed(&mut self.ring, conn, now);
            }
            None => {}
        }
    }

    pub(crate) fn on_accepted(&mut self, completion: &Completion, now: Nanos) {
        let Some(listener) = &mut self.listener else { return };
        listener.accept_over();
        if completion.result < 0 {
            listener.failed(-completion.result, now);
            return;
        }
        // SAFETY: the kernel has just made this descriptor for us.
        let stream = unsafe { TcpStream::from_raw_fd(completion.result) };
        let (cid, shard, refused) = listener.place(&self.commons);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start_unix_ns = since.as_nanos() as u64;
        let accepted = Accepted { stream, cid, start_unix_ns, refused };
        if shard == self.id.index() {
            self.open(accepted, now);
        } else {
            self.hand_over(accepted, shard, now);
        }
    }

    /// Gives a connection to a peer; keeps it if the peer has too many waiting.
    fn hand_over(&mut self, accepted: Accepted, shard: usize, now: Nanos) {
        let kept = self.commons.mailboxes[shard].try_post(Message::Accepted(accepted));
        if let Err(Message::Accepted(accepted)) = kept {
            if !accepted.refused {
                self.commons.open[shard].sub(1);
                self.commons.open[self.id.index()].add(1);
            }
            self.open(accepted, now);
        }
    }

    /// Starts with a connection that was placed here.
    pub(crate) fn open(&mut self, accepted: Accepted, now: Nanos) {
        let Accepted { stream, cid, start_unix_ns, refused } = accepted;
        self.hurry(now);
        let addr = match stream.peer_addr() {
            Ok(addr) if self.stop_at.is_none() => plain(addr),
            // Reset before it was looked at, or too late.
            _ if refused => return,
            _ => return self.commons.open[self.id.index()].sub(1),
        };
        let conn = self.sockets.open(stream, !refused);
        let (tls, proxied) = (None, false);
        let peer = shard::Peer { cid, addr, start_unix_ns, refused, tls, proxied };
        self.engine.step(now, Input::Open { conn, peer }, &mut self.effects);
        self.sockets.read(&mut self.ring, conn);
    }
}
