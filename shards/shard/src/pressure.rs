//! Receivers that can't keep up: slow their publishers, let go of the stuck, close the hopeless.

use wire::CloseReason;

use crate::effect::Effects;
use crate::frame::Frame;
use crate::ids::{ConnId, ShardId};
use crate::limits::{PROBE_EVERY, STALL_TOLD};
use crate::report::Event;
use crate::shard::Shard;
use crate::stall::Publisher;
use crate::timers::Due;

impl Shard {
    /// A delivery finds its receiver far behind. Slows the publisher; false if the message is
    /// dropped instead.
    #[cold]
    pub(crate) fn fall_behind(
        &mut self,
        receiver: ConnId,
        publisher: Publisher,
        out: &mut Effects,
    ) -> bool {
        if self.options.no_fast_producer_stall {
            self.figures.dropped_behind += 1;
            return false;
        }
        if !self.stalls.is_waited_for(receiver) {
            self.stalls.begin(receiver, self.now);
            self.timers.set(self.now + PROBE_EVERY, Due::Probe, receiver);
            if let Some(receiver) = self.outbound.receiver(receiver) {
                receiver.stalling = true;
            }
        }
        if self.stalls.wait(receiver, publisher) {
            self.figures.stalled_clients += 1;
            if publisher.shard == self.id {
                self.stall(publisher.conn);
            } else {
                out.forward(publisher.shard, Frame::Stall { conn: publisher.conn });
            }
        }
        true
    }

    /// A connection of this shard publishes to somebody who is behind: it waits.
    pub(crate) fn stall(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(client) = self.client(conn) else { return };
        if client.stalled_by == 0 {
            client.stalled_since = now;
        }
        client.stalled_by += 1;
        client.stalls += 1;
    }

    /// One receiver less that it waits for.
    pub(crate) fn unstall(&mut self, conn: ConnId, out: &mut Effects) {
        let now = self.now;
        let Some(client) = self.client(conn) else { return };
        client.stalled_by = client.stalled_by.saturating_sub(1);
        if client.stalled_by == 0 {
            let (for_ns, account) = (now.saturating_sub(client.stalled_since), client.account);
            if for_ns >= STALL_TOLD {
                let account = self.account_name(account).into();
                self.note(conn, Event::Stalled { for_ns, account }, out);
            }
            self.runnable.push_back(conn);
        }
    }

    /// The kernel took bytes of a connection.
    pub(crate) fn sent(&mut self, conn: ConnId, bytes: u64, out: &mut Effects) {
        let (now, relief) = (self.now, self.relief_bytes);
        let Some(receiver) = self.outbound.receiver(conn) else { return };
        receiver.sent(bytes, now);
        receiver.stuck = false;
        if receiver.stalling && receiver.pending_bytes <= relief {
            self.relieve(conn, out);
        }
    }

    /// Publishers need not wait for this receiver any more.
    pub(crate) fn relieve(&mut self, receiver: ConnId, out: &mut Effects) {
        if let Some(receiver) = self.outbound.receiver(receiver) {
            receiver.stalling = false;
        }
        for publisher in self.stalls.end(receiver) {
            if publisher.shard == self.id {
                self.unstall(publisher.conn, out);
            } else {
                out.forward(publisher.shard, Frame::Unstall { conn: publisher.conn });
            }
        }
    }

    /// The kernel says what the peer of a receiver that stalls others has not acknowledged yet.
    pub(crate) fn unacknowledged(&mut self, conn: ConnId, bytes: u64, out: &mut Effects) {
        let (now, limit) = (self.now, self.options.pending_bytes_max);
        let Some(receiver) = self.outbound.receiver(conn) else { return };
        let acked = receiver.sent_bytes.saturating_sub(bytes);
        if self.stalls.progress(conn, acked, limit, now) {
            return;
        }
        receiver.stuck = true;
        self.relieve(conn, out);
    }

    /// Time to see whether a receiver moves.
    pub(crate) fn probe(&mut self, conn: ConnId, out: &mut Effects) {
        if self.stalls.is_waited_for(conn) {
            out.probes.push(conn);
            self.timers.set(self.now + PROBE_EVERY, Due::Probe, conn);
        }
    }

    /// Its limit is reached: nothing more can be kept for it. The server's own receiver has none.
    #[cold]
    pub(crate) fn too_slow(&mut self, conn: ConnId, out: &mut Effects) {
        if self.client(conn).is_none() {
            return;
        }
        self.figures.slow_pending_bytes += 1;
        let limit = self.options.pending_bytes_max;
        self.note(conn, Event::SlowPendingBytes { limit }, out);
        self.close(conn, CloseReason::SlowConsumerPendingBytes, out);
    }

    /// Sets the write deadline of a receiver that has none.
    #[cold]
    pub(crate) fn watch(&mut self, conn: ConnId) {
        let at = self.now + self.options.write_deadline_ns;
        if let Some(receiver) = self.outbound.receiver(conn) {
            receiver.watched = true;
            self.timers.set(at, Due::Write, conn);
        }
    }

    /// A write deadline is due.
    pub(crate) fn write_due(&mut self, conn: ConnId, out: &mut Effects) {
        let (now, deadline_ns) = (self.now, self.options.write_deadline_ns);
        let Some(receiver) = self.outbound.receiver(conn) else { return };
        if !receiver.open || receiver.pending_bytes == 0 {
            receiver.watched = false;
            return;
        }
        let due = receiver.progress_at + deadline_ns;
        if now < due {
            self.timers.set(due, Due::Write, conn);
            return;
        }
        let pending_bytes = receiver.pending_bytes;
        self.figures.slow_write_deadline += 1;
        self.note(conn, Event::SlowWriteDeadline { deadline_ns, pending_bytes }, out);
        self.close(conn, CloseReason::SlowConsumerWriteDeadline, out);
    }

    /// A publication needs a lane that is full: its connection waits for room.
    pub(crate) fn wait_for_lane(&mut self, conn: ConnId) -> bool {
        self.figures.congested += 1;
        if let Some(client) = self.client(conn) {
            client.wait = crate::session::client::Wait::Lane;
            self.lane_waiters.push(conn);
        }
        true
    }

    /// A lane has room: whoever waited for one may try again.
    pub(crate) fn room(&mut self, _to: ShardId) {
        for conn in std::mem::take(&mut self.lane_waiters) {
            if let Some(client) = self.client(conn)
                && client.wait == crate::session::client::Wait::Lane
            {
                client.wait = crate::session::client::Wait::Nothing;
                self.runnable.push_back(conn);
            }
        }
    }
}
