//! Figures and connections for monitoring, a budget at a time.

use crate::effect::Effects;
use crate::ids::{AccountId, ConnId};
use crate::limits::REPORT_PER_TURN;
use crate::report::{self, Connection, DriverFigures, Figures, Report, Wanted};
use crate::shard::Shard;
use crate::sid::SubId;

/// A report being written.
pub(crate) struct Writing {
    ticket: u64,
    wanted: Wanted,
    /// The next slot to look at.
    slot: usize,
    connections: Vec<Connection>,
}

impl Writing {
    pub fn new(ticket: u64, wanted: Wanted) -> Writing {
        Writing { ticket, wanted, slot: 0, connections: Vec::new() }
    }
}

impl Shard {
    /// The shard's figures now.
    pub fn figures(&self) -> Figures {
        let plans = self.accounts.iter().map(|account| account.plans() as u64).sum();
        Figures {
            subscriptions: self.subs.len() as u64,
            closed_remembered: self.closed.len() as u64,
            plans,
            ..self.figures
        }
    }

    /// Goes on with the report at the head of the queue.
    pub(crate) fn write_reports(&mut self, out: &mut Effects) {
        let Some(mut writing) = self.reports.pop_front() else { return };
        if writing.wanted.open {
            let end = (writing.slot + REPORT_PER_TURN).min(self.clients.len());
            for slot in writing.slot..end {
                let Some(client) = &self.clients[slot] else { continue };
                let (conn, cid) = (client.conn, client.cid);
                if writing.wanted.cid.is_none_or(|wanted| wanted == cid) {
                    writing.connections.extend(self.describe(conn, writing.wanted.subscriptions));
                }
            }
            writing.slot = end;
            if end < self.clients.len() {
                self.reports.push_front(writing);
                return;
            }
        }
        if writing.wanted.closed {
            let wanted = &writing.wanted;
            let closed = self.closed.iter().filter(|c| wanted.cid.is_none_or(|cid| cid == c.cid));
            writing.connections.extend(closed.map(|connection| {
                let mut connection = connection.clone();
                connection.now = self.now;
                connection
            }));
        }
        let Writing { ticket, connections, .. } = writing;
        let driver = DriverFigures::default();
        let (shard, figures) = (self.id, self.figures());
        out.reports.push(Report { ticket, shard, figures, driver, connections });
    }

    /// One connection as monitoring shows it.
    pub(crate) fn describe(&self, conn: ConnId, subscriptions: bool) -> Option<Connection> {
        let client = self.clients.get(conn.index())?.as_ref()?;
        let receiver = self.outbound.peek(conn)?;
        let list = match subscriptions {
            true => client.sids.in_order().into_iter().map(|sub| self.describe_sub(sub)).collect(),
            false => Vec::new(),
        };
        Some(Connection {
            cid: client.cid,
            shard: self.id,
            addr: client.addr,
            start_unix_ns: client.start_unix_ns,
            start: client.start,
            last_activity: client.last_activity,
            now: self.now,
            closed: None,
            rtt: client.rtt,
            pending_bytes: receiver.pending_bytes,
            in_msgs: client.in_msgs,
            out_msgs: receiver.out_msgs,
            in_bytes: client.in_bytes,
            out_bytes: receiver.out_bytes,
            stalls: client.stalls,
            subscriptions: client.sids.len() as u32,
            name: client.connect.name.clone(),
            lang: client.connect.lang.clone(),
            version: client.connect.version.clone(),
            authorized_user: authorized_user(&client.connect),
            subscriptions_list: list,
        })
    }

    fn describe_sub(&self, sub: SubId) -> report::Subscription {
        let subscription = self.subs.peek(sub);
        let account = &self.accounts[subscription.account.0 as usize];
        report::Subscription {
            account: AccountId::GLOBAL_NAME.to_string(),
            subject: account.pattern(subscription.pattern).to_vec(),
            queue: subscription.queue.as_ref().map(|queue| queue.to_vec()),
            sid: subscription.sid.as_bytes().to_vec(),
            msgs: subscription.delivered,
            max: subscription.max,
            cid: self.clients[subscription.conn.index()].as_ref().map_or(0, |client| client.cid),
        }
    }
}

/// Who a client says it is. A token is a secret and is only said to be there.
fn authorized_user(connect: &wire::Connect) -> String {
    let named = connect.nkey.as_ref().or(connect.user.as_ref()).filter(|name| !name.is_empty());
    match (named, &connect.auth_token) {
        (Some(name), _) => name.clone(),
        (None, Some(token)) if !token.is_empty() => "[REDACTED]".to_string(),
        _ => String::new(),
    }
}
