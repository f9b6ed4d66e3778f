//! Bytes between sockets and shards.

use shard::{Hangup, Input};

use super::{Driver, Link, Socket};
use crate::bus::Bus;

impl<B: Bus> Driver<B> {
    /// Slots whose socket has something to read.
    pub fn slots_to_read(&self, links: &[Link]) -> Vec<(usize, usize)> {
        self.slots_where(|socket| {
            let link = &links[socket.session];
            link.reset || link.up.is_over() || !link.up.is_empty()
        })
    }

    /// Slots whose socket may take something.
    pub fn slots_to_write(&self, links: &[Link]) -> Vec<(usize, usize)> {
        self.slots_where(|socket| {
            let link = &links[socket.session];
            socket.writing && (link.reset || link.down.free() > 0)
        })
    }

    fn slots_where(&self, wanted: impl Fn(&Socket<B::Chunk>) -> bool) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for (at, slots) in self.slots.iter().enumerate() {
            let open = slots
                .iter()
                .enumerate()
                .filter_map(|(slot, entry)| Some((slot, entry.socket.as_ref()?)));
            found.extend(open.filter(|(_, socket)| wanted(socket)).map(|(slot, _)| (at, slot)));
        }
        found
    }

    /// How many slots a shard has.
    pub fn slots(&self, at: usize) -> usize {
        self.slots[at].len()
    }

    /// Reads up to `max` bytes of a socket, or finds that it is over. Gives whether there was
    /// anything.
    pub fn read(
        &mut self,
        at: usize,
        slot: usize,
        max: usize,
        links: &mut [Link],
    ) -> Result<bool, String> {
        let Some(socket) = &mut self.slots[at][slot].socket else { return Ok(false) };
        if socket.closing.is_some() || socket.hung_up {
            return Ok(false);
        }
        let (conn, link) = (socket.conn, &mut links[socket.session]);
        if socket.paused && !link.reset {
            if socket.grace == 0 || link.up.is_empty() {
                return Ok(false);
            }
            socket.grace -= 1;
        }
        let cause = if link.reset {
            Hangup::ReadError
        } else if link.up.is_over() {
            Hangup::Closed
        } else {
            let mut bytes = Vec::new();
            if link.up.read(max, &mut bytes) == 0 {
                return Ok(false);
            }
            self.step(at, Input::Bytes { conn, at: self.now, bytes: &bytes }, links)?;
            return Ok(true);
        };
        socket.hung_up = true;
        self.step(at, Input::Hangup { conn, cause }, links)?;
        Ok(true)
    }

    /// Writes up to `max` bytes to a socket. Gives whether anything happened.
    pub fn write(
        &mut self,
        at: usize,
        slot: usize,
        max: usize,
        links: &mut [Link],
    ) -> Result<bool, String> {
        let now = self.now;
        let Some(socket) = &mut self.slots[at][slot].socket else { return Ok(false) };
        if !socket.writing {
            return Ok(false);
        }
        let (conn, reset) = (socket.conn, links[socket.session].reset);
        if socket.closing.is_some_and(|until| reset || until <= now) {
            self.cut_short.push(socket.session);
            self.finish(at, slot, links);
            return Ok(true);
        }
        if socket.chunk.is_none() {
            match self.bus.take_chunk(at, conn) {
                Some(chunk) => socket.chunk = Some((chunk, 0)),
                None => {
                    socket.writing = false;
                    if socket.closing.is_some() {
                        self.finish(at, slot, links);
                    }
                    return Ok(true);
                }
            }
        }
        if reset {
            return self.write_failed(at, slot, links);
        }
        self.send(at, slot, max, links)
    }

    fn send(
        &mut self,
        at: usize,
        slot: usize,
        max: usize,
        links: &mut [Link],
    ) -> Result<bool, String> {
        let now = self.now;
        let Some(socket) = &mut self.slots[at][slot].socket else { return Ok(false) };
        let Some((chunk, done)) = &mut socket.chunk else { return Ok(false) };
        let rest = &chunk.as_ref()[*done..];
        let sent = links[socket.session].down.write(&rest[..max.min(rest.len())]);
        *done += sent;
        let conn = socket.conn;
        if *done == chunk.as_ref().len()
            && let Some((chunk, _)) = socket.chunk.take()
        {
            self.bus.recycle(at, chunk);
        }
        if sent == 0 {
            return Ok(false);
        }
        socket.sent_bytes += sent as u64;
        socket.idle_since = now;
        self.step(at, Input::Sent { conn, bytes: sent as u64 }, links)?;
        Ok(true)
    }

    fn write_failed(&mut self, at: usize, slot: usize, links: &mut [Link]) -> Result<bool, String> {
        let Some(socket) = &mut self.slots[at][slot].socket else { return Ok(false) };
        if std::mem::replace(&mut socket.hung_up, true) {
            return Ok(false);
        }
        let conn = socket.conn;
        self.step(at, Input::Hangup { conn, cause: Hangup::WriteError }, links)?;
        Ok(true)
    }
}
