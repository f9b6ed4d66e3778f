//! The end of a connection, and of its subscriptions a budget at a time.

use std::collections::VecDeque;

use wire::CloseReason;

use crate::effect::{Close, Effects};
use crate::ids::{ConnId, Nanos};
use crate::input::Hangup;
use crate::limits::{CLOSED_SUBSCRIPTIONS_MAX, TEARDOWN_PER_TURN, TOLD_AT_ONCE};
use crate::outbound::Door;
use crate::report::{Connection, Event, Note};
use crate::reporting::add_traffic;
use crate::session::client::Wait;
use crate::shard::Shard;
use crate::sid::{Sids, SubId};
use crate::stall::Publisher;
use crate::tracing;

/// Subscriptions that are still in the tables, the last of which goes first.
pub(crate) struct Teardown {
    /// Whose.
    conn: ConnId,
    /// It is open, and begins anew. Some may be gone when their turn comes.
    anew: bool,
    subs: Vec<SubId>,
    /// Where their ends are traced: the connection they were of.
    traced: Option<Box<Note>>,
}

/// The connections that closed last.
#[derive(Default)]
pub(crate) struct Closed {
    ring: VecDeque<Connection>,
}

impl Closed {
    fn push(&mut self, connection: Connection, max: usize) {
        if max == 0 {
            return;
        }
        if self.ring.len() >= max {
            self.ring.pop_front();
        }
        self.ring.push_back(connection);
    }

    pub fn len(&self) -> usize {
        self.ring.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.ring.iter()
    }
}

impl Shard {
    /// The socket is gone.
    pub(crate) fn hangup(&mut self, conn: ConnId, cause: Hangup, out: &mut Effects) {
        if let Some(client) = self.client(conn)
            && cause == Hangup::Closed
            && client.is_waiting()
        {
            // What it sent before it closed its side is still to be done.
            client.hung_up = true;
            return;
        }
        let reason = match cause {
            Hangup::Closed => CloseReason::ClientClosed,
            Hangup::ReadError => CloseReason::ReadError,
            Hangup::WriteError => CloseReason::WriteError,
        };
        self.close(conn, reason, out);
    }

    /// Ends a connection. Deliveries skip it from now on; its subscriptions go by and by.
    pub(crate) fn close(&mut self, conn: ConnId, reason: CloseReason, out: &mut Effects) {
        if self.client(conn).is_none() {
            return;
        }
        self.settle_for(conn, out);
        if self.client(conn).is_none() {
            return;
        }
        let traced = self.trace_close(conn, out);
        self.note(conn, Event::Closed(reason), out);
        self.tell_of(conn, Some(reason), out);
        let pending = self.outbound.peek(conn).map_or(0, |receiver| receiver.pending_bytes);
        let flush = reason.flushes();
        self.outbound.close(conn, flush);
        self.relieve(conn);
        let subs = self.clients[conn.index()].as_ref().map(|client| client.sids.in_order());
        let subs = subs.unwrap_or_default();
        self.remember(conn, reason, pending, &subs);
        self.keep_count(conn, reason);
        self.stand_up(conn, out);
        let Some(client) = self.clients[conn.index()].take() else { return };
        if !self.aliases.is_empty() {
            self.aliases.remove(&conn);
        }
        self.figures.connections -= 1;
        if client.stalled_by > 0 {
            self.stalls.withdraw(Publisher { shard: self.id, conn });
        }
        let waiting = match client.wait {
            Wait::Claim(shard) => Some(shard),
            _ => None,
        };
        let held = client.claims.iter().filter(|held| held.is_held()).map(|held| held.shard);
        let held = held.chain(waiting);
        self.send_unclaims(conn, held, out);
        if !subs.is_empty() {
            let subs = self.members_last(subs);
            self.teardown.push_back(Teardown { conn, anew: false, subs, traced });
        }
        out.closes.push(Close { conn, reason, flush });
    }

    /// What a connection did counts for its account after its end.
    fn keep_count(&mut self, conn: ConnId, reason: CloseReason) {
        let Some((account, mut traffic)) = self.traffic(conn) else { return };
        traffic.connections = 0;
        match reason {
            CloseReason::SlowConsumerPendingBytes => traffic.slow_pending_bytes = 1,
            CloseReason::SlowConsumerWriteDeadline => traffic.slow_write_deadline = 1,
            _ => {}
        }
        add_traffic(&mut self.accounts[account.0 as usize].figures, &traffic);
        // Reports under way that have not come to it yet would miss it.
        for writing in &mut self.reports {
            writing.closed(conn, account, &traffic);
        }
    }

    /// The last is withdrawn first. What peers send a member meanwhile is lost to its group.
    fn members_last(&self, subs: Vec<SubId>) -> Vec<SubId> {
        let is_plain = |sub: &SubId| self.subs.peek(*sub).queue().is_none();
        let (mut subs, members): (Vec<SubId>, Vec<SubId>) = subs.into_iter().partition(is_plain);
        subs.extend(members);
        subs
    }

    /// A client that says CONNECT again begins anew: from now on nothing comes for what it was
    /// subscribed to. True if it has to wait until that is out of the tables.
    pub(crate) fn begins_anew(&mut self, conn: ConnId, out: &mut Effects) -> bool {
        self.settle_for(conn, out);
        let begun = self.teardown.iter().any(|teardown| teardown.anew && teardown.conn == conn);
        let Some(client) = self.client(conn) else { return false };
        if begun {
            client.wait = Wait::Anew;
            return true;
        }
        if client.sids.len() == 0 {
            return false;
        }
        client.wait = Wait::Anew;
        let subs = client.sids.in_order();
        let subs = self.members_last(subs);
        if let Some(receiver) = self.outbound.receiver(conn) {
            receiver.door = Door::Ajar;
        }
        self.teardown.push_back(Teardown { conn, anew: true, subs, traced: None });
        if self.teardown.len() == 1 {
            self.tear_down(out);
        }
        true
    }

    /// Takes a budget of subscriptions out of the tables, while rings have room for the news.
    pub(crate) fn tear_down(&mut self, out: &mut Effects) {
        let mut budget = TEARDOWN_PER_TURN;
        while budget > 0 && !out.any_congests() {
            let Some(mut teardown) = self.teardown.pop_front() else { return };
            let piece = budget.min(TOLD_AT_ONCE).min(teardown.subs.len());
            budget -= piece;
            let subs = teardown.subs.split_off(teardown.subs.len() - piece);
            match teardown.anew {
                false => self.drop_closed(&subs, teardown.traced.as_deref(), out),
                true if self.drop_anew(teardown.conn, &subs) => {}
                // It has closed, which is another teardown.
                true => continue,
            }
            self.announce(out);
            if !teardown.subs.is_empty() {
                self.teardown.push_front(teardown);
            } else if teardown.anew {
                self.has_begun_anew(teardown.conn);
            }
        }
    }

    fn drop_closed(&mut self, subs: &[SubId], traced: Option<&Note>, out: &mut Effects) {
        for sub in subs {
            if let Some(note) = traced {
                let sid = self.subs.peek(*sub).sid.as_bytes();
                let what = Event::TraceDelete(tracing::line("DELSUB", sid));
                out.notes.push(Note { what, ..Note::clone(note) });
            }
            self.drop_subscription(*sub);
        }
    }

    /// False if the connection has closed.
    fn drop_anew(&mut self, conn: ConnId, subs: &[SubId]) -> bool {
        if self.client(conn).is_none() {
            return false;
        }
        for sub in subs {
            let found = self.subs.find(*sub, conn);
            // A shadow of another may have its place, and one that leaves goes by itself.
            let found = found.filter(|found| found.import().is_none() && !found.leaving);
            let Some(found) = found else { continue };
            let sid = found.sid.clone();
            self.forget_sid(conn, sid.as_bytes());
            self.drop_subscription(*sub);
        }
        true
    }

    fn has_begun_anew(&mut self, conn: ConnId) {
        let Some(client) = self.client(conn) else { return };
        debug_assert_eq!(client.sids.len(), 0);
        client.sids = Sids::default();
        if client.wait == Wait::Anew {
            client.wait = Wait::Nothing;
            self.runnable.push_back(conn);
        }
        if let Some(receiver) = self.outbound.receiver(conn) {
            receiver.door = Door::Open;
        }
    }

    /// Takes a subscription out of its table.
    pub(crate) fn drop_subscription(&mut self, sub: SubId) {
        for shadow in self.take_shadows(sub) {
            self.drop_subscription(shadow);
        }
        let subscription = self.subs.peek(sub);
        if subscription.reserved() > 0 {
            self.claims.forget(sub);
        }
        let account = &mut self.accounts[subscription.account.0 as usize];
        account.part(sub, &mut self.subs);
        account.figures.removes += 1;
        self.subs.remove(sub);
    }

    /// A queue member that left, and that peers know to have left, goes once no promise is open.
    /// Until then its connection waits: false.
    pub(crate) fn left(&mut self, sub: SubId) -> bool {
        let subscription = self.subs.of(sub);
        subscription.set_fenced();
        if subscription.reserved() > 0 {
            let conn = subscription.conn;
            if let Some(client) = self.client(conn) {
                client.promised = true;
            }
            return false;
        }
        let account = &mut self.accounts[subscription.account.0 as usize];
        account.left(sub, &self.subs);
        account.figures.removes += 1;
        self.subs.remove(sub);
        true
    }

    fn remember(&mut self, conn: ConnId, reason: CloseReason, pending: u64, subs: &[SubId]) {
        let max = self.options.closed_clients_max.div_ceil(self.shards);
        if max == 0 {
            return;
        }
        let with_subs = subs.len() <= CLOSED_SUBSCRIPTIONS_MAX;
        let Some(mut connection) = self.describe(conn, with_subs) else { return };
        // Nothing is to come any more.
        connection.subscriptions_list.iter_mut().for_each(|subscription| subscription.max = 0);
        connection.closed = Some((reason, self.now as Nanos));
        connection.pending_bytes = pending;
        connection.subscriptions = subs.len() as u32;
        self.closed.push(connection, max);
    }
}
