//! The way of a publication: plan, carry to peers, deliver. Forward only.

use std::rc::Rc;

use wire::{Pub, emit, error_text};

use crate::batch::{self, Delivery};
use crate::interest::Plan;
use crate::report::Event;
use crate::session::client::{Flow, Held};
use crate::session::guard::Right;
use crate::session::login::Admitted;
use crate::stall::Publisher;
use crate::targets::{Listeners, Target, target};
use crate::{AccountId, ConnId, Effects, Shard, ShardId};

/// A message on its way, in slices of whatever it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Publication<'a> {
    pub account: AccountId,
    pub subject: &'a [u8],
    /// Empty for none.
    pub reply: &'a [u8],
    /// Bytes of header at the start of `payload`.
    pub header_len: usize,
    pub payload: &'a [u8],
    /// What follows `MSG <subject> <sid> ` in a delivery. Never empty.
    pub tail: &'a [u8],
    /// It came by an imported service: not to be exported as a stream again.
    pub from_service: bool,
}

impl<'a> Publication<'a> {
    /// What a client has published, on a subject of its account.
    #[inline(always)]
    fn of(op: &Pub<'a>, subject: &'a [u8], account: AccountId) -> Publication<'a> {
        let Pub { reply, header_len, payload, tail, .. } = *op;
        let from_service = false;
        Publication { account, subject, reply, header_len, payload, tail, from_service }
    }
}

/// Who gets a queue group's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Nobody can take it.
    Nobody,
    /// The member of this shard at this index of the plan, or one after it.
    Local(usize),
    /// A member of this peer.
    Peer(ShardId),
    /// The peer that holds a delivery for this publisher: see the connection's claims.
    Held,
    /// A member of this peer, if the peer agrees.
    Claim(ShardId),
}

/// One way of a publication, before it is decided who gets it.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub conn: ConnId,
    pub account: AccountId,
    pub leg: u32,
    pub subject: &'a [u8],
    /// Its publisher wants to know if nobody gets it.
    pub is_request: bool,
    pub from_service: bool,
}

impl<'a> Way<'a> {
    pub fn mail(&self, shard: &Shard) -> Mail<'a> {
        Mail {
            subject: self.subject,
            publisher: Publisher { shard: shard.id, conn: self.conn },
            echo: shard.echoes(self.conn),
            from_service: self.from_service,
        }
    }
}

/// What decides who may take a message.
#[derive(Clone, Copy)]
pub(crate) struct Mail<'a> {
    pub subject: &'a [u8],
    pub publisher: Publisher,
    pub echo: bool,
    pub from_service: bool,
}

impl Shard {
    /// A client published. If more that is like it follows, its subject is worth a plan.
    #[inline]
    pub(crate) fn publish(
        &mut self,
        who: Admitted,
        op: &Pub<'_>,
        is_followed: bool,
        out: &mut Effects,
    ) -> Flow {
        let conn = who.conn();
        if self.stalls.any() && self.must_wait(conn, op, out) {
            return Flow::Again;
        }
        if let Some((plan, account)) = self.simple_plan(conn, op, |plan| plan.is_plain.into()) {
            return self.publish_plainly(conn, op, &plan.subject, &plan, account, out);
        }
        if !is_followed && let Some((plan, account)) = self.plan_as_begun(conn, op) {
            return self.publish_plainly(conn, op, op.subject, &plan, account, out);
        }
        self.publish_other(conn, op, out)
    }

    /// Would it reach somebody here whom publishers wait for?
    #[cold]
    #[inline(never)]
    fn must_wait(&mut self, conn: ConnId, op: &Pub<'_>, out: &mut Effects) -> bool {
        let plan = self.plan_ahead(conn, op);
        plan.is_some_and(|plan| self.waits_for_receiver(conn, &plan, out))
    }

    /// The plan by which a publication will go, without counting it; none if something else than
    /// its own subject has a say.
    fn plan_ahead(&mut self, conn: ConnId, op: &Pub<'_>) -> Option<Rc<Plan>> {
        let client = self.clients.get(conn.index())?.as_deref()?;
        let account = &self.accounts[client.account.0 as usize];
        if let Some(plan) = &client.last_plan
            && account.is_current(plan)
            && (*plan.subject == *op.subject
                || client.tied.is_some() && client.maps(op.subject, self.options.trace))
        {
            return Some(plan.clone());
        }
        if self.is_reserved_for(conn, op.subject) || self.is_tied(conn, op.subject) {
            return None;
        }
        if let Some(plan) = account.peek_plan_as_begun(op.subject) {
            return Some(plan.clone());
        }
        let listeners = Listeners { subs: &self.subs, clients: &self.clients };
        Some(self.accounts[client.account.0 as usize].plan_ahead(op.subject, listeners))
    }

    /// The plan of subjects that begin like this one, if the publication is owed nothing but its
    /// deliveries by it. Counts the message.
    #[inline]
    fn plan_as_begun(&mut self, conn: ConnId, op: &Pub<'_>) -> Option<(Rc<Plan>, AccountId)> {
        let client = self.clients.get_mut(conn.index())?.as_deref_mut()?;
        if !client.is_plain
            || !client.claims.is_empty()
            || op.tail.is_empty()
            || is_reserved_reply(op.reply)
        {
            return None;
        }
        let now = self.now;
        let plan = self.accounts[client.account.0 as usize].plan_as_begun(op.subject, || {
            let guard = client.guard.as_ref();
            guard.is_none_or(|guard| guard.right(op.subject, now) == Right::Always)
        })?;
        client.last_plan = None;
        let payload_bytes = op.payload.len() as u64;
        client.publishes(1, payload_bytes, self.now);
        self.figures.publish(1, payload_bytes);
        Some((plan, client.account))
    }

    /// There is nothing to check or to choose, and no ring to cross.
    #[inline]
    fn publish_plainly(
        &mut self,
        conn: ConnId,
        op: &Pub<'_>,
        subject: &[u8],
        plan: &Plan,
        account: AccountId,
        out: &mut Effects,
    ) -> Flow {
        let publication = Publication::of(op, subject, account);
        let publisher = Publisher { shard: self.id, conn };
        let delivered = self.deliver_to_locals(&plan.locals, &publication, publisher, true, out);
        if !delivered && !publication.reply.is_empty() {
            self.no_responders(conn, &publication, out);
        }
        Flow::Done
    }

    /// As [`Shard::publish_plainly`], with a copy for each peer, in whose ring there is room. They
    /// are sure that somebody there gets it.
    fn publish_across(
        &mut self,
        conn: ConnId,
        op: &Pub<'_>,
        subject: &[u8],
        plan: &Plan,
        account: AccountId,
        out: &mut Effects,
    ) -> Flow {
        let publication = Publication::of(op, subject, account);
        let publisher = Publisher { shard: self.id, conn };
        self.deliver_to_locals(&plan.locals, &publication, publisher, true, out);
        self.announce(out);
        for to in &plan.peers {
            let (batch, since) = (out.batch(*to), self.outbound.since);
            let bytes = batch::write(batch, since, &publication, conn, true, &[]);
            out.carried(*to, bytes);
            self.fences.forwarded(*to);
            self.figures.forwarded_msgs += 1;
        }
        Flow::Done
    }

    /// The connection's last plan, if it is right for a publication with nothing to check. Counts
    /// as many messages like this one as `count` says, if any.
    #[inline]
    pub(crate) fn simple_plan(
        &mut self,
        conn: ConnId,
        op: &Pub<'_>,
        count: impl FnOnce(&Plan) -> u64,
    ) -> Option<(Rc<Plan>, AccountId)> {
        let client = self.clients.get_mut(conn.index())?.as_deref_mut()?;
        let plan = client.last_plan.as_ref()?;
        if !client.is_plain
            || client.is_waiting()
            || !client.claims.is_empty()
            || (*plan.subject != *op.subject
                && (client.tied.is_none() || !client.maps(op.subject, self.options.trace)))
            || op.tail.is_empty()
            || is_reserved_reply(op.reply)
            || !self.accounts[client.account.0 as usize].is_current(plan)
        {
            return None;
        }
        let msgs = count(plan);
        if msgs == 0 {
            return None;
        }
        let payload_bytes = msgs * op.payload.len() as u64;
        let plan = plan.clone();
        client.publishes(msgs, payload_bytes, self.now);
        self.figures.publish(msgs, payload_bytes);
        Some((plan, client.account))
    }

    /// Counts a message of a client that is owed nothing but its deliveries, if it is one.
    #[inline]
    fn counts_plainly(&mut self, conn: ConnId, op: &Pub<'_>) -> Option<AccountId> {
        let client = self.clients.get_mut(conn.index())?.as_deref_mut()?;
        if !client.is_plain || !client.claims.is_empty() || op.tail.is_empty() {
            return None;
        }
        let payload_bytes = op.payload.len() as u64;
        client.publishes(1, payload_bytes, self.now);
        self.figures.publish(1, payload_bytes);
        Some(client.account)
    }

    /// As [`Shard::publish`], for another subject than the last, or where there is more to do.
    #[inline(never)]
    fn publish_other(&mut self, conn: ConnId, op: &Pub<'_>, out: &mut Effects) -> Flow {
        if self.is_reserved_for(conn, op.subject) || is_reserved_reply(op.reply) {
            // Before anything is claimed of a peer: what is held for it is as good as taken.
            let right = self.right(conn, op.subject);
            self.admit(conn, op, op.subject, right, out);
            return Flow::Done;
        }
        if self.is_tied(conn, op.subject) {
            return self.publish_tied(conn, op, out);
        }
        let (right, plan) = self.look_up(conn, op.subject);
        let Some(plan) = plan else {
            self.admit(conn, op, op.subject, right, out);
            self.give_up_claims(conn, out);
            return Flow::Done;
        };
        if plan.is_plain
            && right == Right::Always
            && let Some(account) = self.counts_plainly(conn, op)
        {
            return self.publish_plainly(conn, op, op.subject, &plan, account, out);
        }
        self.publish_with_care(conn, op, (right, op.subject), &plan, out)
    }

    /// Publishes on a subject of the account, which need not be the one that the client has named.
    #[inline(never)]
    pub(crate) fn publish_by(
        &mut self,
        conn: ConnId,
        op: &Pub<'_>,
        (right, subject): (Right, &[u8]),
        plan: &Plan,
        out: &mut Effects,
    ) -> Flow {
        if right == Right::Never {
            self.admit(conn, op, subject, right, out);
            self.give_up_claims(conn, out);
            return Flow::Done;
        }
        if plan.is_plain
            && right == Right::Always
            && let Some(account) = self.counts_plainly(conn, op)
        {
            return self.publish_plainly(conn, op, subject, plan, account, out);
        }
        self.publish_with_care(conn, op, (right, subject), plan, out)
    }

    /// As [`Shard::publish`], for every case.
    #[inline(never)]
    fn publish_with_care(
        &mut self,
        conn: ConnId,
        op: &Pub<'_>,
        (right, subject): (Right, &[u8]),
        plan: &Plan,
        out: &mut Effects,
    ) -> Flow {
        if plan.is_direct
            && right == Right::Always
            && !plan.peers.iter().any(|to| out.congests(*to))
            && let Some(account) = self.counts_plainly(conn, op)
        {
            return self.publish_across(conn, op, subject, plan, account, out);
        }
        if (plan.crosses || self.holds_claims(conn)) && self.lacks_room(conn, plan, out) {
            return Flow::Again;
        }
        let mut picks = std::mem::take(&mut self.picks);
        picks.clear();
        let account = self.account_of(conn);
        if plan.is_choosy {
            let is_request = self.is_request(conn, op);
            let (leg, from_service) = (0, false);
            let way = Way { conn, account, leg, subject, is_request, from_service };
            if !self.choose(way, plan, &mut picks, out) {
                self.picks = picks;
                return Flow::Again;
            }
        }
        let flow = self.admit(conn, op, subject, right, out);
        if flow {
            let mut scratch = std::mem::take(&mut self.scratch);
            let tail = if op.tail.is_empty() {
                emit::canonical_tail(&mut scratch, op.reply, op.header_len, op.payload);
                &scratch[..]
            } else {
                op.tail
            };
            let publication = Publication { tail, ..Publication::of(op, subject, account) };
            let delivered = self.fan_out(conn, &publication, plan, &picks, 0, out);
            if !delivered && !publication.reply.is_empty() {
                self.no_responders(conn, &publication, out);
            }
            self.scratch = scratch;
        }
        self.picks = picks;
        self.release_claims(conn, out);
        Flow::Done
    }

    /// May this connection publish to the subject?
    #[inline]
    pub(crate) fn right(&mut self, conn: ConnId, subject: &[u8]) -> Right {
        let now = self.now;
        let Some(client) = self.client(conn) else { return Right::Never };
        client.guard.as_ref().map_or(Right::Always, |guard| guard.right(subject, now))
    }

    /// Does its publisher want to know if nobody gets it?
    pub(crate) fn is_request(&mut self, conn: ConnId, op: &Pub<'_>) -> bool {
        !op.reply.is_empty() && self.client(conn).is_some_and(|client| client.connect.no_responders)
    }

    /// May this connection publish to a subject, and if so, who gets it? A connection's last plan
    /// is only ever for a subject it may publish to until its permissions change.
    #[inline]
    fn look_up(&mut self, conn: ConnId, subject: &[u8]) -> (Right, Option<Rc<Plan>>) {
        let now = self.now;
        let client = self.clients.get_mut(conn.index()).and_then(Option::as_deref_mut);
        let Some(client) = client else { return (Right::Never, None) };
        let account = &mut self.accounts[client.account.0 as usize];
        if let Some(plan) = &client.last_plan
            && *plan.subject == *subject
            && account.is_current(plan)
        {
            return (Right::Always, Some(plan.clone()));
        }
        let hash = account.hash(subject);
        let known = account.known_plan(hash, subject);
        let right = match (&mut client.guard, &known) {
            (None, _) => Right::Always,
            (Some(guard), Some(plan)) => guard.right_by_plan(plan.id, subject, now),
            (Some(guard), None) => guard.right(subject, now),
        };
        if right == Right::Never {
            return (right, None);
        }
        let plan = known.unwrap_or_else(|| {
            let listeners = Listeners { subs: &self.subs, clients: &self.clients };
            account.new_plan(hash, subject, listeners)
        });
        if let Some(Some(client)) = self.clients.get_mut(conn.index()) {
            let keep = right == Right::Always && plan.kept;
            client.last_plan = keep.then(|| plan.clone());
        }
        (right, Some(plan))
    }

    /// A ring this publication may need is full: its connection waits.
    pub(crate) fn lacks_room(&mut self, conn: ConnId, plan: &Plan, out: &mut Effects) -> bool {
        let groups = plan.groups.iter().flat_map(|group| &group.peers).map(|peer| peer.shard);
        let held = self.claims_of(conn).iter().filter(|held| held.is_held()).map(|held| held.shard);
        let mut full = false;
        for to in plan.peers.iter().copied().chain(groups).chain(held) {
            full |= out.congests(to);
        }
        full && self.wait_for_lane(conn)
    }

    /// Counts the message and checks what nats-server checks; `mapped` is its subject after the
    /// account's mappings. False if it goes no further.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        conn: ConnId,
        op: &Pub<'_>,
        mapped: &[u8],
        right: Right,
        out: &mut Effects,
    ) -> bool {
        let now = self.now;
        let Some(client) = self.client(conn) else { return false };
        client.in_msgs += 1;
        client.in_bytes += op.payload.len() as u64;
        client.last_activity = now;
        let (verbose, pedantic) = (client.connect.verbose, client.connect.pedantic);
        let told = std::mem::take(&mut client.told_invalid);
        self.figures.in_msgs += 1;
        self.figures.in_bytes += op.payload.len() as u64;
        if pedantic && !told && !subject::valid_literal(op.subject) {
            self.send_err(conn, error_text::INVALID_PUBLISH_SUBJECT, out);
        }
        if right == Right::Never || self.is_reserved_for(conn, mapped) {
            self.forbid_publication(conn, mapped, out);
            return false;
        }
        if right == Right::Response
            && let Some(client) = self.client(conn)
            && let Some(guard) = &mut client.guard
        {
            guard.answered(mapped);
        }
        if is_reserved_reply(op.reply) {
            self.send_err(conn, &error_text::permissions_violation_reply(op.reply), out);
            let line = format!("Publish Violation - Reply {}", wire::quoted(op.reply));
            self.note(conn, Event::Fault(line), out);
            return false;
        }
        if verbose {
            self.send_ok(conn, out);
        }
        true
    }

    #[cold]
    fn forbid_publication(&mut self, conn: ConnId, subject: &[u8], out: &mut Effects) {
        self.send_err(conn, &error_text::permissions_violation_publish(subject), out);
        let line = format!("Publish Violation - Subject {}", wire::quoted(subject));
        self.note(conn, Event::Fault(line), out);
    }

    /// May clients of its account not publish to it? The system account may do more.
    pub(crate) fn is_reserved_for(&self, conn: ConnId, subject: &[u8]) -> bool {
        is_reserved_subject(subject)
            && !(subject.starts_with(b"$NRG.")
                && self.options.access.system == Some(self.account_of(conn)))
    }

    /// Sends a message on one of its ways. False if nobody got it.
    pub(crate) fn fan_out(
        &mut self,
        conn: ConnId,
        publication: &Publication<'_>,
        plan: &Plan,
        picks: &[Pick],
        leg: u32,
        out: &mut Effects,
    ) -> bool {
        let publisher = Publisher { shard: self.id, conn };
        let echo = self.echoes(conn);
        let mut delivered = !plan.locals.is_empty()
            && self.deliver_to_locals(&plan.locals, publication, publisher, echo, out);
        for (group, pick) in plan.groups.iter().zip(picks) {
            match pick {
                Pick::Local(start) => {
                    let member = self.deliver_to_one(
                        &group.members,
                        *start,
                        publication,
                        publisher,
                        echo,
                        out,
                    );
                    delivered |= member;
                    self.figures.dropped_no_member += u64::from(!member);
                }
                Pick::Peer(_) | Pick::Held | Pick::Nobody | Pick::Claim(_) => {}
            }
        }
        if plan.crosses || self.holds_claims(conn) {
            self.announce(out);
            delivered |= self.carry(conn, publication, plan, picks, leg, out);
        }
        delivered
    }

    /// One copy for each peer that has plain interest or was picked for a group.
    fn carry(
        &mut self,
        conn: ConnId,
        publication: &Publication<'_>,
        plan: &Plan,
        picks: &[Pick],
        leg: u32,
        out: &mut Effects,
    ) -> bool {
        let mut carried = false;
        let claims = self.client(conn).map(|client| std::mem::take(&mut client.claims));
        let (claims, others): (Vec<Held>, Vec<Held>) =
            claims.unwrap_or_default().into_iter().partition(|held| held.leg == leg);
        if let Some(client) = self.client(conn) {
            client.claims = others;
        }
        let mut groups: Vec<(&[u8], bool)> = Vec::new();
        for peer in 0..self.shards {
            let to = ShardId(peer as u16);
            let asked = || claims.iter().filter(|held| held.shard == to);
            let refused = asked().any(|held| held.refused && held.queue.is_none());
            let plain = plan.peers.binary_search(&to).is_ok() && !refused;
            groups.clear();
            for (group, pick) in plan.groups.iter().zip(picks) {
                if *pick == Pick::Peer(to) {
                    groups.push((&group.name, false));
                }
            }
            let held = asked().filter(|held| held.is_held());
            groups.extend(held.filter_map(|held| Some((held.queue.as_deref()?, true))));
            if !plain && groups.is_empty() {
                continue;
            }
            let since = self.outbound.since;
            let bytes = batch::write(out.batch(to), since, publication, conn, plain, &groups);
            out.carried(to, bytes);
            self.fences.forwarded(to);
            self.figures.forwarded_msgs += 1;
            carried = true;
        }
        carried
    }

    /// Publications from a peer, for this shard's subscribers.
    pub(crate) fn delivered_by(&mut self, from: ShardId, batch: &[u8], out: &mut Effects) {
        let (since, mut records) = batch::begun(batch);
        self.outbound.since = since.min(self.now);
        while let Some(delivery) = batch::read(&mut records) {
            self.delivery(from, &delivery, out);
            if !self.ended.is_empty() {
                self.end_subscriptions(out);
            }
        }
    }

    fn delivery(&mut self, from: ShardId, delivery: &Delivery<'_>, out: &mut Effects) {
        let publication = &delivery.publication;
        let publisher = Publisher { shard: from, conn: delivery.origin };
        let mut plan = self.plan_for_peer(from, publication);
        if delivery.msgs > 1 {
            return self.delivery_alike(delivery, &plan, publisher, out);
        }
        if delivery.plain {
            self.deliver_to_locals(&plan.locals, publication, publisher, true, out);
        }
        for (name, claimed) in delivery.groups {
            if claimed {
                if self.deliver_claimed(publisher, name, publication, out) {
                    continue;
                }
                // The member that was held for it may have gone just now.
                plan = self.plan_for_peer(from, publication);
            }
            let delivered = plan.group(name).is_some_and(|group| {
                let start = self.rng.below(group.members.len().max(1));
                self.deliver_to_one(&group.members, start, publication, publisher, true, out)
                    || self.deliver_to_one(&group.leaving, 0, publication, publisher, true, out)
                    || self.deliver_over_limit(&group.members, publication, publisher, out)
            });
            self.figures.dropped_no_member += u64::from(!delivered);
        }
    }

    #[inline]
    fn plan_for_peer(&mut self, from: ShardId, publication: &Publication<'_>) -> Rc<Plan> {
        let id = publication.account;
        if id.0 as usize >= self.accounts.len() {
            self.ensure_account(id);
        }
        let account = &mut self.accounts[id.0 as usize];
        let last = &mut self.peer_plans[from.index()];
        if let Some((whose, plan)) = last
            && *whose == id
            && *plan.subject == *publication.subject
            && account.is_current(plan)
        {
            return plan.clone();
        }
        let listeners = Listeners { subs: &self.subs, clients: &self.clients };
        let plan = account.plan(publication.subject, listeners);
        if plan.kept {
            *last = Some((id, plan.clone()));
        }
        plan
    }

    /// Tries members from `start` on until one takes the message.
    fn deliver_to_one(
        &mut self,
        members: &[Target],
        start: usize,
        publication: &Publication<'_>,
        publisher: Publisher,
        echo: bool,
        out: &mut Effects,
    ) -> bool {
        let Publication { subject, from_service, .. } = *publication;
        let mail = Mail { subject, publisher, echo, from_service };
        (0..members.len()).any(|step| {
            let target = &members[(start + step) % members.len()];
            self.may_take(target, mail) && self.deliver_member(target, publication, publisher, out)
        })
    }

    /// As [`Shard::deliver`], to a queue member, which may be a shadow.
    fn deliver_member(
        &mut self,
        target: &Target,
        publication: &Publication<'_>,
        publisher: Publisher,
        out: &mut Effects,
    ) -> bool {
        match self.subs.peek(target.sub).import() {
            None => self.deliver(target, publication, publisher, out),
            Some(_) => self.deliver_to_shadow(target, publication, publisher, out),
        }
    }

    pub(crate) fn may_take(&mut self, target: &Target, mail: Mail<'_>) -> bool {
        let Mail { publisher, echo, from_service, .. } = mail;
        let own = publisher.shard == self.id && publisher.conn == target.conn;
        let subscription = self.subs.peek(target.sub);
        (echo || !own)
            && subscription.has_room()
            && !(from_service && subscription.import().is_some())
            && self.outbound.peek(target.conn).is_some_and(|receiver| receiver.takes())
            && !(target.filtered && self.keeps(target, mail.subject))
    }

    /// Subscriptions that have had all they asked for.
    pub(crate) fn end_subscriptions(&mut self, out: &mut Effects) {
        while let Some((sub, conn)) = self.ended.pop() {
            let Some(subscription) = self.subs.find(sub, conn) else { continue };
            let (sid, max) = (subscription.sid.clone(), subscription.max);
            // Of a connection that has closed meanwhile, the teardown takes all.
            if self.client(conn).is_none() {
                continue;
            }
            self.settle_for(conn, out);
            if self.options.debug || self.options.trace {
                self.trace_ended(conn, sid.as_bytes(), max, out);
            }
            self.forget_sid(conn, sid.as_bytes());
            self.drop_subscription(sub);
        }
    }

    /// Nobody took a request: tell its publisher, if it listens for the answer itself.
    pub(crate) fn no_responders(
        &mut self,
        conn: ConnId,
        publication: &Publication<'_>,
        out: &mut Effects,
    ) {
        let Some(client) = self.client(conn) else { return };
        if !client.connect.no_responders {
            return;
        }
        let account = &mut self.accounts[publication.account.0 as usize];
        let listeners = Listeners { subs: &self.subs, clients: &self.clients };
        let plan = account.plan(publication.reply, listeners);
        let mut all = plan.locals.iter().flat_map(|t| t.iter().chain(&t.kept));
        let Some(target) = all.find(|target| target.conn == conn) else { return };
        let Publication { subject, reply, .. } = *publication;
        let sid = target.sid.clone();
        self.write(conn, out, |bytes| emit::no_responders(bytes, subject, sid.as_bytes(), reply));
    }

    /// Delivers to the member that was held for this publisher.
    fn deliver_claimed(
        &mut self,
        publisher: Publisher,
        queue: &[u8],
        publication: &Publication<'_>,
        out: &mut Effects,
    ) -> bool {
        let Some(sub) = self.claims.redeem(publisher, publication, queue) else { return false };
        self.unreserve(sub);
        let target = target(sub, &self.subs);
        let delivered = self.deliver_member(&target, publication, publisher, out);
        self.settle(sub, out);
        delivered
    }
}

/// Subjects of other parts of a NATS system that clients may not publish to.
#[inline]
pub(crate) fn is_reserved_subject(subject: &[u8]) -> bool {
    matches!(subject.first(), Some(b'_' | b'$'))
        && (subject.starts_with(b"_GR_.") || subject.starts_with(b"$NRG."))
}

/// Replies that would be taken for those of other parts of a NATS system.
#[inline]
fn is_reserved_reply(reply: &[u8]) -> bool {
    matches!(reply.first(), Some(b'_' | b'$'))
        && (reply.starts_with(b"_R_.")
            || reply.starts_with(b"_GR_.")
            || reply.starts_with(b"$JS.ACK."))
}
