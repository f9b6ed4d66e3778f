//! Receivers that can't keep up: slow their publishers, let go of the stuck, close the hopeless.

use std::rc::Rc;

use wire::CloseReason;

use crate::effect::Effects;
use crate::fence::Why;
use crate::frame::Frame;
use crate::ids::{ConnId, ShardId};
use crate::interest::Plan;
use crate::limits::{PROBE_EVERY, READ_AHEAD_BYTES_MAX, RELEASED_PER_STEP, STALL_TOLD};
use crate::report::Event;
use crate::shard::Shard;
use crate::stall::Publisher;
use crate::targets::Target;
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
        self.begin_stall(receiver);
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

    /// Publishers wait for this receiver from now on.
    fn begin_stall(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(receiver) = self.outbound.receiver(conn) else { return };
        if receiver.stalling {
            return;
        }
        receiver.stalling = true;
        if !std::mem::replace(&mut receiver.probing, true) {
            self.timers.set(now + PROBE_EVERY, Due::Probe, conn);
        }
        self.stalls.begin(conn, now);
    }

    /// Messages of these publishers have brought a receiver so far that it is behind. The next ones
    /// of this shard wait for it; peers can't see that, and are told.
    #[cold]
    pub(crate) fn falls_behind(
        &mut self,
        receiver: ConnId,
        publishers: &[Publisher],
        out: &mut Effects,
    ) {
        if self.options.no_fast_producer_stall || !self.is_behind(receiver) {
            return;
        }
        self.begin_stall(receiver);
        let here = self.id;
        for publisher in publishers.iter().filter(|publisher| publisher.shard != here) {
            self.fall_behind(receiver, *publisher, out);
        }
    }

    /// Is too much waiting for it, though it is not stuck?
    fn is_behind(&self, conn: ConnId) -> bool {
        let receiver = self.outbound.peek(conn).filter(|receiver| receiver.is_open());
        receiver.is_some_and(|it| !it.stuck && it.pending_bytes >= self.stall_bytes)
    }

    /// Would a publication by this plan reach somebody here whom publishers wait for? Then its
    /// connection waits too, and the publication has had no effect yet. Ask only if there is any.
    #[cold]
    pub(crate) fn waits_for_receiver(
        &mut self,
        conn: ConnId,
        plan: &Rc<Plan>,
        out: &mut Effects,
    ) -> bool {
        if self.stalls.is_clear(plan) {
            return false;
        }
        let mut clear = true;
        let receiver = self.receiver_to_wait_for(conn, plan, &mut clear);
        if clear {
            self.stalls.clears(plan);
        }
        let Some(receiver) = receiver else { return false };
        self.fall_behind(receiver, Publisher { shard: self.id, conn }, out);
        self.client(conn).is_some_and(|client| client.is_waiting())
    }

    /// Somebody that publishers wait for and who gets what goes by this plan for certain. It is not
    /// `clear` if there is anybody who may get it.
    fn receiver_to_wait_for(&self, conn: ConnId, plan: &Plan, clear: &mut bool) -> Option<ConnId> {
        let echo = self.echoes(conn);
        let mut is_slow = |target: &Target| {
            let is_slow = self.outbound.peek(target.conn).is_some_and(|it| it.stalling);
            *clear &= !is_slow;
            is_slow
        };
        let gets_it = |target: &Target| {
            !target.filtered
                && (echo || target.conn != conn)
                && self.subs.peek(target.sub).has_room()
        };
        let plain = plan.locals.iter().flat_map(|it| it.iter().chain(it.shadows()));
        let plain = plain.filter(|target| is_slow(target)).find(|target| gets_it(target));
        // One of a group that is not behind may be chosen.
        let mut groups = plan.groups.iter().filter(|group| group.peers.is_empty());
        let mut of_group =
            || groups.find(|group| group.members.iter().all(|it| is_slow(it) && gets_it(it)));
        plain.or_else(|| of_group()?.members.first()).map(|target| target.conn)
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
    pub(crate) fn sent(&mut self, conn: ConnId, bytes: u64) {
        let (now, relief) = (self.now, self.relief_bytes);
        let Some(receiver) = self.outbound.receiver(conn) else { return };
        receiver.sent(bytes, now);
        receiver.stuck = false;
        if receiver.stalling && receiver.pending_bytes <= relief {
            self.relieve(conn);
        }
    }

    /// Publishers need not wait for this receiver any more: they go on as [`Shard::release`] lets
    /// them.
    pub(crate) fn relieve(&mut self, receiver: ConnId) {
        let Some(it) = self.outbound.receiver(receiver) else { return };
        if std::mem::take(&mut it.stalling) {
            self.stalls.relieve(receiver);
        }
    }

    /// May another publisher go on in this step, in which so many did? What they bring is to leave
    /// room for what others say in this turn.
    #[inline]
    pub(crate) fn may_release(&self, released: usize, is_turn: bool, out: &Effects) -> bool {
        self.stalls.relieved().is_some()
            && released < RELEASED_PER_STEP
            && (out.copied_bytes < out.bounds().turn / 2 || is_turn && released == 0)
    }

    /// Lets one publisher go on that waited for a receiver, unless those before it have brought so
    /// much that it has to wait again.
    #[cold]
    pub(crate) fn release(&mut self, out: &mut Effects) {
        let Some(receiver) = self.stalls.relieved() else { return };
        if self.is_behind(receiver) {
            return self.begin_stall(receiver);
        }
        let Some(publisher) = self.stalls.release(receiver) else { return };
        if publisher.shard == self.id {
            return self.unstall(publisher.conn, out);
        }
        out.forward(publisher.shard, Frame::Unstall { conn: publisher.conn });
        self.fences.forwarded(publisher.shard);
        if !self.stalls.goes_away(receiver, self.released_at_once(receiver)) {
            self.fences.wait(receiver, Why::Released, out);
        }
    }

    /// How many publishers of peers may go on before what they have for a receiver is here.
    fn released_at_once(&self, conn: ConnId) -> usize {
        let receiver = self.outbound.peek(conn).filter(|it| it.is_open() && !it.stuck);
        receiver.map_or(RELEASED_PER_STEP, |it| {
            let room = self.stall_bytes.saturating_sub(it.pending_bytes);
            let publishers = room / READ_AHEAD_BYTES_MAX as u64;
            publishers.clamp(1, RELEASED_PER_STEP as u64) as usize
        })
    }

    /// What publishers of peers had for a receiver is here: the next ones may go on.
    pub(crate) fn resume_release(&mut self, conn: ConnId) {
        if self.outbound.peek(conn).is_none_or(|receiver| !receiver.stalling) {
            self.stalls.resume(conn);
        }
    }

    /// The kernel says what the peer of a receiver that stalls others has not acknowledged yet.
    pub(crate) fn unacknowledged(&mut self, conn: ConnId, bytes: u64) {
        let (now, limit) = (self.now, self.options.pending_bytes_max);
        let Some(receiver) = self.outbound.receiver(conn) else { return };
        let acked = receiver.sent_bytes.saturating_sub(bytes);
        if !receiver.stalling || self.stalls.progress(conn, acked, limit, now) {
            return;
        }
        receiver.stuck = true;
        self.relieve(conn);
    }

    /// Time to see whether a receiver moves.
    pub(crate) fn probe(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(receiver) = self.outbound.receiver(conn) else { return };
        receiver.probing = receiver.stalling;
        if receiver.stalling {
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
        if !receiver.is_open() || receiver.pending_bytes == 0 {
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
