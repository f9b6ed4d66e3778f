//! SUB and UNSUB: the subscriptions of a client, by the names it gives them.

use std::rc::Rc;

use wire::error_text;

use crate::fence::Why;
use crate::limits::FULL_TOLD_EVERY;
use crate::report::Event;
use crate::session::client::{Flow, Wait};
use crate::session::login::Admitted;
use crate::sid::{Sid, SubId};
use crate::subscription::Subscription;
use crate::{AccountId, ConnId, Effects, Shard};

impl Shard {
    pub(super) fn subscribe(
        &mut self,
        who: Admitted,
        pattern: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
        out: &mut Effects,
    ) -> Flow {
        let conn = who.conn();
        if self.must_wait_for_lanes(conn, out) {
            return Flow::Again;
        }
        let (subscriptions_max, tokens_max) =
            (self.subscriptions_max(conn), usize::from(self.options.sub_tokens_max));
        let now = self.now;
        let Some(client) = self.client(conn) else { return Flow::Done };
        client.last_activity = now;
        let account = client.account;
        let permissions = client.guard.as_ref().map(|guard| &guard.permissions);
        if queue == Some(b"_sys_".as_slice())
            || permissions.is_some_and(|permissions| !permissions.may_subscribe(pattern, queue))
        {
            self.forbid_subscription(conn, pattern, queue, sid, out);
            return Flow::Done;
        }
        if tokens_max > 0 && pattern.split(|b| *b == b'.').count() > tokens_max {
            self.forbid_tokens(conn, pattern, sid, out);
            return Flow::Done;
        }
        if subscriptions_max.is_some_and(|max| client.sids.len() as u64 >= u64::from(max)) {
            self.note_full(conn, account, out);
            self.send_err(conn, error_text::MAXIMUM_SUBSCRIPTIONS, out);
            return Flow::Done;
        }
        if self.find_sid(conn, sid).is_none() {
            let Some(client) = self.client(conn) else { return Flow::Done };
            if !subject::well_formed(pattern) {
                self.send_err(conn, error_text::INVALID_SUBJECT, out);
                return Flow::Done;
            }
            let guard = client.guard.as_ref();
            let watch = guard.map(|guard| guard.watch(pattern, queue)).unwrap_or_default();
            let sid = Sid::new(sid);
            let table = &mut self.accounts[account.0 as usize];
            let id = table.intern(pattern);
            let queue = queue.map(Rc::from);
            let mut subscription = Subscription::new(conn, sid, account, id, queue);
            (subscription.guarded, subscription.filtered) = (watch.guarded, watch.filtered);
            let sub = self.subs.insert(subscription);
            table.join(sub, &mut self.subs);
            self.cast_shadows(sub);
            if let Some(Some(client)) = self.clients.get_mut(conn.index()) {
                client.sids.insert(sub, &self.subs);
            }
        }
        self.acknowledge(conn, out);
        Flow::Done
    }

    /// Tells the log that a client can have no more subscriptions: seldom for one account.
    #[cold]
    fn note_full(&mut self, conn: ConnId, account: AccountId, out: &mut Effects) {
        let (now, table) = (self.now, &mut self.accounts[account.0 as usize]);
        if table.full_told.is_none_or(|at| now - at >= FULL_TOLD_EVERY) {
            table.full_told = Some(now);
            let text = error_text::MAXIMUM_SUBSCRIPTIONS;
            self.note(conn, Event::Fault(text.to_owned()), out);
        }
    }

    #[cold]
    fn forbid_tokens(&mut self, conn: ConnId, pattern: &[u8], sid: &[u8], out: &mut Effects) {
        self.send_err(conn, &error_text::permissions_violation_tokens(pattern), out);
        let (subject, sid) = (wire::quoted(pattern), String::from_utf8_lossy(sid));
        let line = format!("Subscription Violation Too Many Tokens - Subject {subject}, SID {sid}");
        self.note(conn, Event::Fault(line), out);
    }

    fn forbid_subscription(
        &mut self,
        conn: ConnId,
        pattern: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
        out: &mut Effects,
    ) {
        let text = error_text::permissions_violation_subscribe(pattern, queue);
        self.send_err(conn, &text, out);
        let subject = wire::quoted(pattern);
        let queue = queue.map(|queue| format!(", Queue: {}", wire::quoted(queue)));
        let (queue, sid) = (queue.unwrap_or_default(), String::from_utf8_lossy(sid));
        let line = format!("Subscription Violation - Subject {subject}{queue}, SID {sid}");
        self.note(conn, Event::Fault(line), out);
    }

    pub(super) fn unsubscribe(
        &mut self,
        who: Admitted,
        sid: &[u8],
        max: u64,
        out: &mut Effects,
    ) -> Flow {
        let conn = who.conn();
        if self.must_wait_for_lanes(conn, out) {
            return Flow::Again;
        }
        let now = self.now;
        let Some(client) = self.client(conn) else { return Flow::Done };
        client.last_activity = now;
        let Some(sub) = self.find_sid(conn, sid) else {
            self.acknowledge(conn, out);
            return Flow::Done;
        };
        self.settle_for(conn, out);
        if self.client(conn).is_none() {
            return Flow::Done;
        }
        let subscription = self.subs.of(sub);
        if max > subscription.delivered {
            subscription.max = max;
            let is_member = subscription.queue().is_some();
            let (account, pattern) = (subscription.account, subscription.pattern);
            self.accounts[account.0 as usize].reweigh(pattern);
            if is_member && self.park(conn, Why::Limit(sub), out) {
                self.subs.of(sub).limit_open = true;
            }
            self.acknowledge(conn, out);
            return Flow::Done;
        }
        self.forget_sid(conn, sid);
        if self.options.trace {
            self.trace_delsub(conn, sid, out);
        }
        self.drop_or_leave(sub, out);
        self.acknowledge(conn, out);
        Flow::Done
    }

    /// The client's subscription of that name.
    fn find_sid(&self, conn: ConnId, sid: &[u8]) -> Option<SubId> {
        let client = self.clients.get(conn.index())?.as_ref().filter(|c| c.conn == conn)?;
        client.sids.find(sid, &self.subs)
    }

    /// The name is free again. The subscription must still be there.
    pub(crate) fn forget_sid(&mut self, conn: ConnId, sid: &[u8]) {
        let client = self.clients.get_mut(conn.index()).and_then(Option::as_mut);
        if let Some(client) = client.filter(|client| client.conn == conn) {
            client.sids.remove(sid, &self.subs);
        }
    }

    /// Ends a subscription its client has given up. A queue member stays to take what is under way.
    pub(crate) fn drop_or_leave(&mut self, sub: SubId, out: &mut Effects) {
        if self.subs.peek(sub).queue().is_none() {
            return self.drop_subscription(sub);
        }
        for shadow in self.take_shadows(sub) {
            self.end_shadow(shadow, out);
        }
        self.leave(sub, out);
    }

    pub(crate) fn leave(&mut self, sub: SubId, out: &mut Effects) {
        let subscription = self.subs.peek(sub);
        let (conn, account) = (subscription.conn, subscription.account);
        self.accounts[account.0 as usize].leave(sub, &mut self.subs);
        if self.park(conn, Why::Leave(sub), out) {
            return;
        }
        if !self.left(sub)
            && let Some(client) = self.client(conn)
        {
            client.wait = Wait::Fence;
            client.fences += 1;
        }
    }

    /// `+OK` if wanted, once peers know of what was asked.
    fn acknowledge(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(client) = self.client(conn) else { return };
        if !client.connect.verbose {
            return;
        }
        if client.promised {
            client.ok_due = true;
            client.fences += 1;
        } else if !self.park(conn, Why::Ok, out) {
            self.send_ok(conn, out);
        }
    }
}
