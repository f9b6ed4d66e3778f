//! What a shard's loop drives.

use std::sync::Arc;

use shard::{ConnId, Effects, Input, Nanos, Shard};

use crate::tls::Tls;

/// A state machine without I/O. [`Shard`] is the one in production.
///
/// # Safety
/// The bytes of a chunk stay where they are and as they are from [`Engine::take_chunk`] until it is
/// dropped or recycled, even if the chunk itself moves: the kernel reads them meanwhile.
pub unsafe trait Engine {
    /// Bytes to write to one connection.
    type Chunk: AsRef<[u8]> + 'static;

    /// Takes in one event.
    fn step(&mut self, now: Nanos, input: Input<'_>, effects: &mut Effects);

    /// The next bytes for a connection that was in [`Effects::dirty`] or is to be closed after a
    /// flush.
    fn take_chunk(&mut self, conn: ConnId) -> Option<Self::Chunk>;

    /// Takes a chunk back, written or not.
    fn recycle(&mut self, chunk: Self::Chunk);

    /// What a closed connection still had to say is written, or given up: nothing more is asked for
    /// it. Once for each that was closed with a flush.
    fn flush_over(&mut self, conn: ConnId);

    /// When [`Input::Turn`] is needed at the latest.
    fn deadline(&self) -> Option<Nanos>;

    /// [`Input::Turn`] or [`Engine::toil`] is needed soon.
    fn has_work(&self) -> bool;

    /// [`Engine::toil`] is needed soon.
    fn has_toil(&self) -> bool {
        false
    }

    /// Does a piece of work that holds everybody on this core up, some 0.1 ms.
    fn toil(&mut self, _now: Nanos, _effects: &mut Effects) {}

    /// Connections to come are offered this TLS, or none.
    fn secure_with(&mut self, _tls: Option<Arc<Tls>>) {}

    /// Tells of the deliveries in chunks taken since the last call: when their publications came
    /// in, and how many deliveries there are.
    fn handed_over(&mut self, tell: impl FnMut(Nanos, u64));
}

// SAFETY: a shard's chunk owns bytes on the heap that nobody changes while it is there: a `Vec<u8>`
// that nobody else can reach, or a part in a `Bytes`, which never changes.
unsafe impl Engine for Shard {
    type Chunk = shard::Chunk;

    fn step(&mut self, now: Nanos, input: Input<'_>, effects: &mut Effects) {
        Shard::step(self, now, input, effects);
    }

    fn take_chunk(&mut self, conn: ConnId) -> Option<shard::Chunk> {
        Shard::take_chunk(self, conn)
    }

    fn recycle(&mut self, chunk: shard::Chunk) {
        Shard::recycle(self, chunk);
    }

    fn flush_over(&mut self, conn: ConnId) {
        Shard::flush_over(self, conn);
    }

    fn deadline(&self) -> Option<Nanos> {
        Shard::deadline(self)
    }

    fn has_work(&self) -> bool {
        Shard::has_work(self)
    }

    fn handed_over(&mut self, tell: impl FnMut(Nanos, u64)) {
        Shard::handed_over(self, tell);
    }
}
