//! Publications that follow one another on a connection and differ in their payloads alone, as a
//! sensor's or a benchmark's do: looked at once, and delivered together.
//!
//! What holds for the first holds for the rest, because nothing happens between them: the same
//! subject, size and plan. Each receiver gets them in order; that its copies come together is seen
//! by nobody, because no connection is among the receivers twice.

use std::rc::Rc;

use wire::{ClientOp, Pub, emit};

use crate::batch::{self, Delivery};
use crate::effect::Effects;
use crate::ids::ShardId;
use crate::ids::{AccountId, ConnId};
use crate::interest::Plan;
use crate::outbound::Taken;
use crate::router::Publication;
use crate::session::client::Flow;
use crate::session::login::Admitted;
use crate::shard::Shard;
use crate::stall::Publisher;
use crate::targets::{Cast, Imported, Target, Targets};

/// Messages one after the other, each `stride` bytes long with the same control line.
#[derive(Clone, Copy)]
struct Alike<'a> {
    account: AccountId,
    subject: &'a [u8],
    bytes: &'a [u8],
    stride: usize,
    tail_len: usize,
    payload_len: usize,
}

impl<'a> Alike<'a> {
    fn msgs(&self) -> u64 {
        (self.bytes.len() / self.stride) as u64
    }

    fn payload_bytes(&self) -> u64 {
        self.msgs() * self.payload_len as u64
    }

    fn publications(self) -> impl Iterator<Item = Publication<'a>> {
        self.bytes.chunks_exact(self.stride).map(move |message| Publication {
            account: self.account,
            subject: self.subject,
            reply: &[],
            header_len: 0,
            payload: &message[self.stride - 2 - self.payload_len..self.stride - 2],
            tail: &message[self.stride - self.tail_len..],
            from_service: false,
        })
    }

    fn emit(&self, out: &mut Vec<u8>, sid: &[u8]) {
        emit::messages(out, self.subject, sid, self.bytes, self.stride, self.tail_len);
    }
}

/// Is a publication that took the first `stride` of `bytes` followed by one with the same control
/// line? One with a reply or a header is not asked about.
#[inline(always)]
fn is_followed(op: &Pub<'_>, bytes: &[u8], stride: usize) -> bool {
    let (one, rest) = bytes.split_at(stride);
    let line_len = stride - op.payload.len() - 2;
    // Most of those that differ do so in the first bytes of their subjects.
    rest.len() >= stride
        && op.reply.is_empty()
        && op.header_len == 0
        && one[..line_len].get(4..12) == rest[..line_len].get(4..12)
        && one[..line_len] == rest[..line_len]
}

impl Shard {
    /// Does the publication in the first `len` of `bytes`, and those behind it that are like it.
    /// Gives how many bytes are done with: none if it is to be looked at again.
    #[inline]
    pub(crate) fn publish_whole(
        &mut self,
        who: Admitted,
        op: &Pub<'_>,
        bytes: &[u8],
        len: usize,
        out: &mut Effects,
    ) -> usize {
        let is_followed = is_followed(op, bytes, len);
        let mut used = match self.publish_once(who, op, is_followed, out) {
            Flow::Done => len,
            Flow::Again => {
                let traces = self.options.trace;
                if let Some(client) = self.client(who.conn()) {
                    client.is_traced = traces;
                }
                0
            }
        };
        if is_followed && used > 0 && self.ended.is_empty() {
            used += self.publish_alike(who, op, bytes, len, out);
        }
        if !self.ended.is_empty() {
            self.end_subscriptions(out);
        }
        used
    }

    #[inline(always)]
    pub(crate) fn publish_once(
        &mut self,
        who: Admitted,
        op: &Pub<'_>,
        is_followed: bool,
        out: &mut Effects,
    ) -> Flow {
        if self.options.trace {
            self.trace_in(who.conn(), &ClientOp::Pub(*op), out);
        }
        let flow = self.publish(who, op, is_followed, out);
        if flow == Flow::Done {
            self.sample(who.conn(), op, 1);
        }
        flow
    }

    /// Does what follows `op`, which took the first `stride` of `bytes` and [`is_followed`] by the
    /// like, as long as it is the same but for the payload. Gives how many bytes are done with.
    #[inline]
    fn publish_alike(
        &mut self,
        who: Admitted,
        op: &Pub<'_>,
        bytes: &[u8],
        stride: usize,
        out: &mut Effects,
    ) -> usize {
        match self.may_run(who.conn()) {
            true => self.publish_run(who.conn(), op, bytes, stride, out),
            false => 0,
        }
    }

    /// Would the plan of the last publication allow it?
    #[inline]
    fn may_run(&self, conn: ConnId) -> bool {
        let client = self.clients.get(conn.index()).and_then(Option::as_deref);
        let plan = client.and_then(|client| client.last_plan.as_ref());
        // Where publishers wait for somebody, each publication may have to.
        plan.is_some_and(|plan| plan.is_apart && (!self.stalls.any() || self.stalls.is_clear(plan)))
    }

    #[inline(never)]
    fn publish_run(
        &mut self,
        conn: ConnId,
        op: &Pub<'_>,
        bytes: &[u8],
        stride: usize,
        out: &mut Effects,
    ) -> usize {
        let payload_len = op.payload.len();
        let (traced, here_bytes_max) = (self.options.trace, self.cast_bytes_max);
        let mut msgs = 0;
        let found = self.simple_plan(conn, op, |plan| {
            let bytes_max = if plan.crosses { out.batch_bytes_max() } else { here_bytes_max };
            let full = plan.peers.iter().any(|to| out.congests(*to));
            if plan.is_apart && !full && !traced {
                msgs = wire::alike(bytes, stride, payload_len, (bytes_max / stride).max(1));
            }
            msgs as u64
        });
        let Some((plan, account)) = found else { return 0 };
        let used = msgs * stride;
        let alike = Alike {
            account,
            subject: &plan.subject,
            bytes: &bytes[stride..stride + used],
            stride,
            tail_len: op.tail.len(),
            payload_len,
        };
        for targets in &plan.locals {
            self.deliver_alike(targets, alike, Publisher { shard: self.id, conn }, out);
        }
        if plan.crosses {
            self.carry_alike(conn, alike, &plan.peers, out);
        }
        self.sample(conn, op, msgs as u64);
        used
    }

    fn carry_alike(
        &mut self,
        conn: ConnId,
        alike: Alike<'_>,
        peers: &[ShardId],
        out: &mut Effects,
    ) {
        let Some(first) = alike.publications().next() else { return };
        self.announce(out);
        for to in peers {
            let (batch, since) = (out.batch(*to), self.outbound.since);
            let bytes = batch::write_alike(batch, since, &first, alike.bytes, alike.stride, conn);
            out.carried(*to, bytes);
            self.fences.forwarded(*to);
            self.figures.forwarded_msgs += alike.msgs();
        }
    }

    /// As [`Shard::publish_alike`], of a peer's record: for plain subscriptions of this shard.
    pub(crate) fn delivery_alike(
        &mut self,
        delivery: &Delivery<'_>,
        plan: &Plan,
        publisher: Publisher,
        out: &mut Effects,
    ) {
        let Publication { account, subject, payload, tail, .. } = delivery.publication;
        let alike = Alike {
            account,
            subject,
            bytes: delivery.tails,
            stride: tail.len(),
            tail_len: tail.len(),
            payload_len: payload.len(),
        };
        if plan.locals_apart && !self.options.trace {
            for targets in &plan.locals {
                self.deliver_alike(targets, alike, publisher, out);
            }
            return;
        }
        for publication in alike.publications() {
            self.deliver_to_locals(&plan.locals, &publication, publisher, true, out);
        }
    }

    fn deliver_alike(
        &mut self,
        targets: &Targets,
        alike: Alike<'_>,
        publisher: Publisher,
        out: &mut Effects,
    ) {
        for target in &targets.singles {
            // None of them is a request, so there are no replies to be noted.
            if target.filtered && self.keeps_here(target, alike.subject) {
                continue;
            }
            if self.subs.peek(target.sub).max > 0 || !self.hand_over_alike(target, alike, out) {
                for publication in alike.publications() {
                    self.deliver(target, &publication, publisher, out);
                }
            }
        }
        for cast in &targets.casts {
            self.cast_alike(cast, alike, publisher, out);
        }
        if !targets.imported.is_empty() {
            self.deliver_imported_alike(&targets.imported, alike, publisher, out);
        }
    }

    #[inline(never)]
    fn deliver_imported_alike(
        &mut self,
        imported: &[Imported],
        alike: Alike<'_>,
        publisher: Publisher,
        out: &mut Effects,
    ) {
        let mut scratch = std::mem::take(&mut self.import_scratch);
        for Imported { import, targets } in imported {
            let subject = import.subject_here(alike.subject, &mut scratch);
            self.deliver_alike(targets, Alike { subject, ..alike }, publisher, out);
        }
        self.import_scratch = scratch;
    }

    /// False if the receiver is behind: each message may have to wait or go then.
    fn hand_over_alike(&mut self, target: &Target, alike: Alike<'_>, out: &mut Effects) -> bool {
        self.settle_for(target.conn, out);
        let (msgs, payload_bytes) = (alike.msgs(), alike.payload_bytes());
        let write = |bytes: &mut Vec<u8>, _| alike.emit(bytes, target.sid.as_bytes());
        let (now, behind_bytes, dirty) = (self.now, self.stall_bytes, &mut out.dirty);
        let taken = self.outbound.deliver(
            target.conn,
            now,
            msgs,
            payload_bytes,
            behind_bytes,
            dirty,
            write,
        );
        let Taken::Yes { pending_bytes, watched } = taken else { return taken == Taken::No };
        self.subs.of(target.sub).delivered += msgs;
        self.figures.out_msgs += msgs;
        self.figures.out_bytes += payload_bytes;
        out.copied_bytes += alike.tail_len * msgs as usize;
        if !watched {
            self.watch(target.conn);
        }
        if pending_bytes > self.options.pending_bytes_max {
            self.too_slow(target.conn, out);
        }
        true
    }

    fn cast_alike(
        &mut self,
        cast: &Rc<Cast>,
        alike: Alike<'_>,
        publisher: Publisher,
        out: &mut Effects,
    ) {
        let added = alike.bytes.len();
        let at = self.casting(cast, out);
        let full = self.castings[at].block.len() + added > self.cast_bytes_max;
        let at = match full {
            true => {
                self.settle_castings(out);
                self.casting(cast, out)
            }
            false => at,
        };
        let casting = &mut self.castings[at];
        alike.emit(&mut casting.block, cast.sid.as_bytes());
        casting.count(alike.msgs(), alike.payload_bytes(), publisher);
        if casting.block.len() >= self.cast_bytes_max {
            self.settle_castings(out);
        }
    }
}
