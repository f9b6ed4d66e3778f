//! Figures and connections for monitoring, a budget at a time.

use std::sync::Arc;

use crate::access::Proof;
use crate::effect::Effects;
use crate::ids::{AccountId, ConnId};
use crate::interest::Account;
use crate::limits::REPORT_PER_TURN;
use crate::report::{
    self, AccountFigures, Connection, DriverFigures, Figures, Report, SubjectRates, Wanted,
};
use crate::session::client::Client;
use crate::shard::Shard;
use crate::sid::SubId;

/// A report being written.
pub(crate) struct Writing {
    ticket: u64,
    wanted: Wanted,
    /// The next slot to look at.
    slot: usize,
    connections: Vec<Connection>,
    /// By account, if wanted: what closed connections did, and open ones as far as `slot`.
    traffic: Vec<Figures>,
}

impl Writing {
    /// A connection has closed.
    pub fn closed(&mut self, conn: ConnId, account: AccountId, traffic: &Figures) {
        if conn.index() >= self.slot
            && let Some(sum) = self.traffic.get_mut(account.0 as usize)
        {
            add_traffic(sum, traffic);
        }
    }
}

/// Adds what is counted per connection.
pub(crate) fn add_traffic(sum: &mut Figures, more: &Figures) {
    sum.connections += more.connections;
    sum.in_msgs += more.in_msgs;
    sum.in_bytes += more.in_bytes;
    sum.out_msgs += more.out_msgs;
    sum.out_bytes += more.out_bytes;
    sum.slow_pending_bytes += more.slow_pending_bytes;
    sum.slow_write_deadline += more.slow_write_deadline;
}

impl Shard {
    /// The shard's figures now.
    pub fn figures(&self) -> Figures {
        let mut sum = Figures {
            subscriptions: self.subs.len() as u64,
            closed_remembered: self.closed.len() as u64,
            ..self.figures
        };
        for account in self.accounts.iter().map(Account::figures) {
            sum.inserts += account.inserts;
            sum.removes += account.removes;
            sum.matches += account.matches;
            sum.plan_hits += account.plan_hits;
            sum.plans += account.plans;
            sum.plans_made += account.plans_made;
            sum.fanout_sum += account.fanout_sum;
            sum.fanout_max = sum.fanout_max.max(account.fanout_max);
        }
        sum
    }

    /// Begins a report.
    pub(crate) fn begin_report(&mut self, ticket: u64, wanted: Wanted) {
        let traffic = match wanted.accounts {
            true => self.accounts.iter().map(|account| account.figures).collect(),
            false => Vec::new(),
        };
        let writing = Writing { ticket, wanted, slot: 0, connections: Vec::new(), traffic };
        self.reports.push_back(writing);
    }

    /// What an open connection has done, and for which account.
    pub(crate) fn traffic(&self, conn: ConnId) -> Option<(AccountId, Figures)> {
        let client = self.clients.get(conn.index())?.as_ref()?;
        let receiver = self.outbound.peek(conn)?;
        let figures = Figures {
            connections: 1,
            in_msgs: client.in_msgs,
            in_bytes: client.in_bytes,
            out_msgs: receiver.out_msgs,
            out_bytes: receiver.out_bytes,
            ..Figures::default()
        };
        Some((client.account, figures))
    }

    /// Goes on with the report at the head of the queue.
    pub(crate) fn write_reports(&mut self, out: &mut Effects) {
        let Some(mut writing) = self.reports.pop_front() else { return };
        if writing.wanted.open || writing.wanted.accounts {
            let end = (writing.slot + REPORT_PER_TURN).min(self.clients.len());
            for slot in writing.slot..end {
                let Some(client) = &self.clients[slot] else { continue };
                let (conn, cid) = (client.conn, client.cid);
                if let Some((account, traffic)) = self.traffic(conn)
                    && let Some(sum) = writing.traffic.get_mut(account.0 as usize)
                {
                    add_traffic(sum, &traffic);
                }
                if !writing.wanted.open {
                    continue;
                }
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
        let accounts = self.account_figures(&writing.traffic);
        let Writing { ticket, wanted, connections, .. } = writing;
        let latency = wanted.metrics.then(report::Latency::default);
        let has_followers = wanted.followers && self.has_followers();
        let top_subjects = if wanted.metrics { self.top_subjects() } else { Vec::new() };
        out.reports.push(Report {
            ticket,
            shard: self.id,
            figures: self.figures(),
            driver: DriverFigures { latency, ..DriverFigures::default() },
            connections,
            accounts,
            has_followers,
            access: wanted.access.then(|| Arc::clone(&self.options.access)),
            top_subjects,
        });
    }

    fn top_subjects(&mut self) -> Vec<SubjectRates> {
        let Some(top) = &mut self.top else { return Vec::new() };
        if let Some(distance) = top.refresh(self.now) {
            self.until_sample = distance;
        }
        let rates = top.rates().iter().map(|it| SubjectRates {
            account: self.options.access.name_of(it.account).to_owned(),
            subject: it.subject.clone(),
            msgs: it.msgs,
            bytes: it.bytes,
        });
        rates.collect()
    }

    fn account_figures(&self, traffic: &[Figures]) -> Vec<AccountFigures> {
        let accounts = self.accounts.iter().zip(traffic).enumerate();
        let figures = accounts.map(|(at, (account, traffic))| {
            let mut figures = account.figures();
            figures.connections = traffic.connections;
            figures.in_msgs = traffic.in_msgs;
            figures.in_bytes = traffic.in_bytes;
            figures.out_msgs = traffic.out_msgs;
            figures.out_bytes = traffic.out_bytes;
            figures.slow_pending_bytes = traffic.slow_pending_bytes;
            figures.slow_write_deadline = traffic.slow_write_deadline;
            AccountFigures { name: self.account_name(AccountId(at as u32)).to_owned(), figures }
        });
        figures.collect()
    }

    /// As clients and operators know it.
    pub(crate) fn account_name(&self, account: AccountId) -> &str {
        self.options.access.name_of(account)
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
            last_activity: client.last_activity.max(receiver.delivered_at),
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
            account: self.account_name(client.account).to_owned(),
            account_tag: self.options.access.tag_of(client.account).to_owned(),
            tls: client.identity.tls().cloned(),
            name: client.connect.name().to_string(),
            lang: client.connect.lang().to_string(),
            version: client.connect.version().to_string(),
            authorized_user: client.identity.name().to_string(),
            issuer_key: self.issuer_key(client).to_owned(),
            papers: client.papers().cloned(),
            permissions: client.guard.as_ref().map(|guard| guard.permissions.clone()),
            subscriptions_list: list,
        })
    }

    /// Whose key vouches for it: a signing key's, else its account's name.
    pub(crate) fn issuer_key<'a>(&'a self, client: &'a Client) -> &'a str {
        match client.identity.user.as_ref().map(|user| (&user.proof, user.account)) {
            Some((Proof::Token(token), _)) if !token.signing_key.is_empty() => &token.signing_key,
            Some((Proof::Token(_) | Proof::Nkey(_) | Proof::Service, account)) => {
                self.account_name(account)
            }
            _ => "",
        }
    }

    fn describe_sub(&self, sub: SubId) -> report::Subscription {
        let subscription = self.subs.peek(sub);
        let account = &self.accounts[subscription.account.0 as usize];
        report::Subscription {
            account: self.account_name(subscription.account).to_owned(),
            account_tag: self.options.access.tag_of(subscription.account).to_owned(),
            subject: account.pattern(subscription.pattern).to_vec(),
            queue: subscription.queue().map(|queue| queue.to_vec()),
            sid: subscription.sid.as_bytes().to_vec(),
            msgs: subscription.delivered,
            max: subscription.max,
            cid: self.clients[subscription.conn.index()].as_ref().map_or(0, |client| client.cid),
        }
    }
}
