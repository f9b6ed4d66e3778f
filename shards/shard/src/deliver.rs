//! Deliveries: a message is appended to what waits for a subscription's connection.

use std::rc::Rc;

use wire::emit;

use crate::effect::Effects;
use crate::outbound::Taken;
use crate::router::Publication;
use crate::shard::Shard;
use crate::sid::SubId;
use crate::stall::Publisher;
use crate::targets::{Target, Targets};

impl Shard {
    /// Delivers to every plain subscription of these patterns. False if nobody got it.
    #[inline(never)]
    pub(crate) fn deliver_to_locals(
        &mut self,
        locals: &[Rc<Targets>],
        publication: &Publication<'_>,
        publisher: Publisher,
        echo: bool,
        out: &mut Effects,
    ) -> bool {
        let here = publisher.shard == self.id;
        let is_own = |conn| !echo && here && publisher.conn == conn;
        let (mut msgs, mut delivered) = (0_u64, false);
        for targets in locals {
            for target in &targets.singles {
                if is_own(target.conn) {
                    continue;
                }
                if target.guarded {
                    delivered |= self.deliver_guarded(target, publication, publisher, out);
                    continue;
                }
                match self.append(target, publication, true, out) {
                    Taken::Yes { .. } => msgs = msgs.wrapping_add(1),
                    Taken::Behind => {
                        delivered |= self.deliver_behind(target, publication, publisher, out);
                    }
                    Taken::No => {}
                }
            }
            if !targets.casts.is_empty() || !targets.imported.is_empty() {
                delivered |= self.deliver_to_many(targets, publication, publisher, echo, out);
            }
        }
        self.count_out(msgs, publication, out);
        delivered | (msgs > 0)
    }

    /// Appends the message to what waits for one subscription. False if it can't have it.
    pub(crate) fn deliver(
        &mut self,
        target: &Target,
        publication: &Publication<'_>,
        publisher: Publisher,
        out: &mut Effects,
    ) -> bool {
        if target.guarded {
            return self.deliver_guarded(target, publication, publisher, out);
        }
        self.subs.peek(target.sub).has_room() && self.hand_over(target, publication, publisher, out)
    }

    /// As [`Shard::deliver`], to a subscription whose messages are looked at one by one.
    #[inline(never)]
    fn deliver_guarded(
        &mut self,
        target: &Target,
        publication: &Publication<'_>,
        publisher: Publisher,
        out: &mut Effects,
    ) -> bool {
        if (target.filtered && self.keeps_here(target, publication.subject))
            || !self.subs.peek(target.sub).has_room()
            || !self.hand_over(target, publication, publisher, out)
        {
            return false;
        }
        self.note_asked(target, publication.reply);
        true
    }

    /// It was sent a request, if there is a reply: perhaps it may answer.
    fn note_asked(&mut self, target: &Target, reply: &[u8]) {
        let now = self.now;
        if !reply.is_empty()
            && let Some(client) = self.client(target.conn)
            && let Some(guard) = &mut client.guard
        {
            guard.asked(reply, now);
        }
    }

    /// Is a message on this subject kept from a subscription? A shadow's is that of its exporter.
    #[inline(never)]
    pub(crate) fn keeps(&mut self, target: &Target, subject: &[u8]) -> bool {
        match self.subs.peek(target.sub).import().cloned() {
            None => self.keeps_here(target, subject),
            Some(import) => {
                let mut scratch = std::mem::take(&mut self.import_scratch);
                let keeps = self.keeps_here(target, import.subject_here(subject, &mut scratch));
                self.import_scratch = scratch;
                keeps
            }
        }
    }

    /// As [`Shard::keeps`], by the subject that the subscription's connection would see.
    pub(crate) fn keeps_here(&self, target: &Target, subject: &[u8]) -> bool {
        let queue = self.subs.peek(target.sub).queue().map(|queue| &**queue);
        let client = self.clients.get(target.conn.index()).and_then(Option::as_deref);
        let Some(client) = client.filter(|client| client.conn == target.conn) else { return true };
        client.guard.as_ref().is_some_and(|guard| guard.keeps(subject, queue))
    }

    /// A peer sent it before it could know of a limit: better one too many than one lost.
    pub(crate) fn deliver_over_limit(
        &mut self,
        members: &[Target],
        publication: &Publication<'_>,
        publisher: Publisher,
        out: &mut Effects,
    ) -> bool {
        members.iter().any(|target| {
            let taken = self.subs.peek(target.sub).limit_open
                && !(target.filtered && self.keeps(target, publication.subject))
                && self.hand_over(target, publication, publisher, out);
            if taken && target.guarded {
                self.note_asked(target, publication.reply);
            }
            taken
        })
    }

    /// As [`Shard::deliver`], whether or not the subscription has had all it asked for.
    #[inline(never)]
    fn hand_over(
        &mut self,
        target: &Target,
        publication: &Publication<'_>,
        publisher: Publisher,
        out: &mut Effects,
    ) -> bool {
        match self.append(target, publication, false, out) {
            Taken::Yes { .. } => {
                self.count_out(1, publication, out);
                true
            }
            Taken::Behind => self.deliver_behind(target, publication, publisher, out),
            Taken::No => false,
        }
    }

    /// Appends the message without counting it: see [`Shard::count_out`]. If `sparing`, not for a
    /// subscription that has had all it asked for.
    // By itself it would be a call, which costs half as much as all of this.
    #[inline(always)]
    fn append(
        &mut self,
        target: &Target,
        publication: &Publication<'_>,
        sparing: bool,
        out: &mut Effects,
    ) -> Taken {
        self.settle_for(target.conn, out);
        let subscription = self.subs.of(target.sub);
        if sparing && !subscription.has_room() {
            return Taken::No;
        }
        let (now, behind_bytes) = (self.now, self.stall_bytes);
        let Publication { subject, reply, header_len, payload, tail, .. } = *publication;
        let receiver = match self.outbound.taker(target.conn, behind_bytes) {
            Ok(receiver) => receiver,
            Err(taken) => return taken,
        };
        let (sid, headers, bytes) = (target.sid.as_bytes(), receiver.headers, &mut receiver.tail);
        let before = bytes.len();
        emit::message(bytes, subject, sid, reply, header_len, payload, tail, headers);
        let count = (1, payload.len() as u64);
        let taken = receiver.delivered(target.conn, now, before, count, &mut out.dirty);
        let Taken::Yes { pending_bytes, watched } = taken else { return taken };
        subscription.delivered = subscription.delivered.wrapping_add(1);
        if subscription.max != 0 && subscription.delivered >= subscription.max {
            self.had_last(target.sub);
        }
        if !watched || pending_bytes > self.options.pending_bytes_max || self.options.trace {
            self.delivered(target, publication, pending_bytes, watched, out);
        }
        taken
    }

    /// So many receivers got the message.
    #[inline]
    fn count_out(&mut self, msgs: u64, publication: &Publication<'_>, out: &mut Effects) {
        self.figures.out_msgs += msgs;
        self.figures.out_bytes += msgs * publication.payload.len() as u64;
        out.copied_bytes += msgs as usize * publication.tail.len();
    }

    /// What few deliveries need.
    #[cold]
    fn delivered(
        &mut self,
        target: &Target,
        publication: &Publication<'_>,
        pending_bytes: u64,
        watched: bool,
        out: &mut Effects,
    ) {
        if self.options.trace {
            self.trace_delivery(target, publication, out);
        }
        if !watched {
            self.watch(target.conn);
        }
        if pending_bytes > self.options.pending_bytes_max {
            self.too_slow(target.conn, out);
        }
    }

    #[cold]
    fn had_last(&mut self, sub: SubId) {
        let subscription = self.subs.peek(sub);
        if !subscription.leaving && !subscription.limit_open {
            self.ended.push((sub, subscription.conn));
        }
    }

    /// A receiver is far behind: its publisher is slowed, and this message it still gets.
    #[cold]
    fn deliver_behind(
        &mut self,
        target: &Target,
        publication: &Publication<'_>,
        publisher: Publisher,
        out: &mut Effects,
    ) -> bool {
        if !self.fall_behind(target.conn, publisher, out) {
            return false;
        }
        let behind_bytes = std::mem::replace(&mut self.stall_bytes, u64::MAX);
        let delivered = self.hand_over(target, publication, publisher, out);
        self.stall_bytes = behind_bytes;
        delivered
    }
}
