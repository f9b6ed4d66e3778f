//! The only way out of a shard.
//!
//! The driver owns one [`Effects`], hands it to every step, and between steps carries out what has
//! gathered in it.

use std::collections::VecDeque;

use wire::CloseReason;

use crate::access::Check;
use crate::batch;
use crate::frame::Frame;
use crate::ids::{AccountId, ConnId, ShardId};
use crate::limits::{BATCH_BYTES_MAX, FlowBounds, SPARE_BATCH_BYTES_MAX, SPARE_BATCHES_MAX};
use crate::report::{News, Note, Report};

/// What a shard wants done.
pub struct Effects {
    lanes: Vec<Lane>,
    bounds: FlowBounds,
    /// Connections with bytes to write: call [`crate::Shard::take_chunk`] for each. The engine puts
    /// each in once at most; a driver may add those it is not through with.
    pub dirty: Vec<ConnId>,
    /// Connections to stop or to go on reading from.
    pub reads: Vec<(ConnId, Reads)>,
    /// Connections that are over.
    pub closes: Vec<Close>,
    /// Connections to ask the kernel about: answer with [`crate::Input::Unacknowledged`].
    pub probes: Vec<ConnId>,
    /// Proofs to look at elsewhere: answer each with [`crate::Input::Checked`]. At most
    /// [`crate::limits::CHECKS_MAX`] of a shard are out at once.
    pub checks: Vec<(ConnId, Box<Check>)>,
    /// Connections of accounts that count them, come or gone unasked.
    pub seats: Vec<Seat>,
    /// What an operator's log may want to know.
    pub notes: Vec<Note>,
    /// Finished reports.
    pub reports: Vec<Report>,
    /// What the control plane has to hear without having asked.
    pub news: Vec<News>,
    /// Bytes written to receivers' buffers since the driver last set it to 0: what sending soon
    /// keeps small.
    pub copied_bytes: usize,
    /// The buffer of the batch that came last, empty: best given back to the shard that filled it,
    /// for [`Effects::restock`].
    pub emptied: Option<Vec<u8>>,
    /// For batches to come.
    spare: Vec<Vec<u8>>,
}

/// May the socket be read?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Enough is waiting here: leave the rest in the kernel.
    Pause,
    /// Read again.
    Resume,
}

/// One connection of an account that counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// It is there already, with this number on the server, and counts from now on.
    Taken(AccountId, ConnId, u64),
    /// It is gone.
    Left(AccountId, ConnId),
}

/// End a connection: no more input for it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// Whose socket.
    pub conn: ConnId,
    /// Why.
    pub reason: CloseReason,
    /// Try once to write what [`crate::Shard::take_chunk`] still gives; otherwise drop it.
    pub flush: bool,
}

/// Frames on their way to one peer, in order.
#[derive(Default)]
struct Lane {
    staged: VecDeque<Frame>,
    /// The batch being filled; comes after everything staged.
    batch: Vec<u8>,
    batch_weight: usize,
    /// What all of it weighs.
    bytes: usize,
    /// Publications ever put into it.
    msgs: u64,
    /// A publication was paused for this lane since it last had room.
    congested: bool,
    /// Something is staged that the peer is to have soon.
    due: bool,
}

impl Effects {
    /// For a shard among `shards`.
    pub fn new(shards: usize) -> Effects {
        Effects {
            lanes: (0..shards).map(|_| Lane::default()).collect(),
            bounds: FlowBounds::default(),
            dirty: Vec::new(),
            reads: Vec::new(),
            closes: Vec::new(),
            probes: Vec::new(),
            checks: Vec::new(),
            seats: Vec::new(),
            notes: Vec::new(),
            reports: Vec::new(),
            news: Vec::new(),
            copied_bytes: 0,
            emptied: None,
            spare: Vec::new(),
        }
    }

    /// What may be under way from here on.
    pub fn bound(&mut self, bounds: FlowBounds) {
        self.bounds = bounds;
    }

    /// What may be under way.
    pub fn bounds(&self) -> FlowBounds {
        self.bounds
    }

    /// Is it time to give this peer what is staged? There is a full batch, or a publisher to be
    /// slowed.
    pub fn is_due(&self, to: ShardId) -> bool {
        self.lanes[to.index()].due
    }

    /// Length of a batch that is full.
    pub(crate) fn batch_bytes_max(&self) -> usize {
        BATCH_BYTES_MAX.min(self.bounds.batch)
    }

    /// The next frame for this peer's ring, if any. Call while the ring has room.
    pub fn pull(&mut self, to: ShardId) -> Option<Frame> {
        let lane = &mut self.lanes[to.index()];
        if lane.staged.is_empty() {
            lane.seal();
        }
        let frame = lane.staged.pop_front()?;
        lane.bytes -= frame.weight();
        lane.due &= !lane.staged.is_empty();
        Some(frame)
    }

    /// Nothing waits for this peer.
    pub fn is_clear(&self, to: ShardId) -> bool {
        let lane = &self.lanes[to.index()];
        lane.staged.is_empty() && lane.batch.is_empty()
    }

    /// True once after a congested lane has emptied: step with [`crate::Input::Room`] then.
    pub fn relieved(&mut self, to: ShardId) -> bool {
        let relieved = self.is_relieved(to);
        self.lanes[to.index()].congested &= !relieved;
        relieved
    }

    /// Would [`Effects::relieved`] be true now?
    pub fn is_relieved(&self, to: ShardId) -> bool {
        self.lanes[to.index()].congested && self.is_clear(to)
    }

    /// Bytes waiting for this peer, as they would reach one receiver.
    pub fn staged_bytes(&self, to: ShardId) -> usize {
        self.lanes[to.index()].bytes
    }

    /// Publications ever put on their way to this peer.
    pub fn carried_msgs(&self, to: ShardId) -> u64 {
        self.lanes[to.index()].msgs
    }

    /// Is this lane too full for more publications? If so, [`Effects::relieved`] will tell when
    /// not.
    pub(crate) fn congests(&mut self, to: ShardId) -> bool {
        let lane = &mut self.lanes[to.index()];
        let full = lane.bytes >= self.bounds.staged;
        lane.congested |= full;
        full
    }

    /// As [`Effects::congests`], of all lanes.
    pub(crate) fn any_congests(&mut self) -> bool {
        (0..self.lanes.len()).any(|to| self.congests(ShardId(to as u16)))
    }

    /// Puts a frame behind everything already on its way to this peer.
    pub(crate) fn forward(&mut self, to: ShardId, frame: Frame) {
        let lane = &mut self.lanes[to.index()];
        lane.seal();
        lane.bytes += frame.weight();
        lane.due |= matches!(frame, Frame::Stall { .. });
        lane.staged.push_back(frame);
    }

    /// Takes a buffer that a peer has emptied, unless there are enough.
    pub fn restock(&mut self, emptied: Vec<u8>) {
        if self.spare.len() < SPARE_BATCHES_MAX {
            self.spare.push(emptied);
        }
    }

    /// A peer's batch has been read.
    pub(crate) fn emptied(&mut self, mut batch: Vec<u8>) {
        batch.clear();
        self.emptied = (batch.capacity() <= SPARE_BATCH_BYTES_MAX).then_some(batch);
    }

    /// The batch to append a publication to; give its weight to [`Effects::carried`].
    pub(crate) fn batch(&mut self, to: ShardId) -> &mut Vec<u8> {
        let batch = &mut self.lanes[to.index()].batch;
        if batch.capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            *batch = spare;
        }
        batch
    }

    /// Accounts for what was appended to [`Effects::batch`].
    pub(crate) fn carried(&mut self, to: ShardId, weight: usize) {
        let lane = &mut self.lanes[to.index()];
        lane.bytes += weight;
        lane.batch_weight += weight;
        lane.msgs += 1;
        if lane.batch.len() >= BATCH_BYTES_MAX || lane.batch_weight >= self.bounds.batch {
            lane.seal();
            lane.due = true;
        }
    }
}

impl Lane {
    fn seal(&mut self) {
        if !self.batch.is_empty() {
            batch::weigh(&mut self.batch, std::mem::take(&mut self.batch_weight));
            self.staged.push_back(Frame::Deliver(std::mem::take(&mut self.batch)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: ShardId = ShardId(1);

    #[test]
    fn a_batch_is_written_where_one_has_been_read() {
        let mut effects = Effects::new(2);
        effects.emptied(vec![1; SPARE_BATCH_BYTES_MAX + 1]);
        assert_eq!(effects.emptied, None, "one large message would be held on to for ever");
        effects.emptied(vec![1; 100]);
        let emptied = effects.emptied.take().expect("to be given back");
        assert!(emptied.is_empty());
        let at = emptied.as_ptr();
        effects.restock(emptied);
        let batch = effects.batch(PEER);
        assert_eq!(batch.as_ptr(), at);
        batch.push(1);
        effects.restock(Vec::with_capacity(100));
        assert_eq!(effects.batch(PEER), &[1], "what is in it stays");
        (0..2 * SPARE_BATCHES_MAX).for_each(|_| effects.restock(Vec::with_capacity(100)));
        assert_eq!(effects.spare.len(), SPARE_BATCHES_MAX);
    }

    #[test]
    fn a_publisher_to_be_slowed_hears_of_it_at_once() {
        let mut effects = Effects::new(2);
        effects.forward(PEER, Frame::Fenced { upto: 1 });
        assert!(!effects.is_due(PEER), "it can wait for others");
        effects.forward(PEER, Frame::Stall { conn: ConnId { slot: 1, generation: 1 } });
        assert!(effects.is_due(PEER));
        while effects.pull(PEER).is_some() {}
        assert!(!effects.is_due(PEER));
    }
}
