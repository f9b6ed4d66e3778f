//! The server itself as a peer: its services in the system account, and what it says there.
//!
//! It has a connection's slot and subscriptions, but no socket: what is delivered to it goes to the
//! control plane within the same step, and counts neither as a delivery nor as a connection.

use std::collections::{BTreeSet, VecDeque};

use subject::collide;
use wire::emit;

use crate::account::response::ReplyId;
use crate::effect::Effects;
use crate::fence::Why;
use crate::ids::{AccountId, ConnId};
use crate::report::{Connection, News, REFUSED, Request, Saying};
use crate::rng::Rng;
use crate::router::Publication;
use crate::shard::Shard;
use crate::sid::Sid;
use crate::subscription::Subscription;
use crate::targets::Listeners;

/// Sayings that may wait for room in a ring; more are dropped, the newest first.
const SAYINGS_MAX: usize = 1024;

/// The server as a peer of one shard.
pub(crate) struct System {
    conn: ConnId,
    account: AccountId,
    /// Waits for room in a ring.
    waiting: VecDeque<Box<Saying>>,
    /// How many subscriptions it has.
    held: usize,
    /// Accounts in which answers are listened to since something was said there.
    inboxes: BTreeSet<AccountId>,
}

impl System {
    pub fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Shard {
    /// Holds the services from now on; none without a system account. [`News::Settled`] tells when
    /// all shards know of them.
    pub(crate) fn serve(
        &mut self,
        conn: ConnId,
        subjects: &[String],
        elsewhere: &[(AccountId, String)],
        out: &mut Effects,
    ) {
        let Some(account) = self.options.access.system else {
            out.news.push(News::Settled);
            return;
        };
        self.ensure_accounts();
        if self.clients.len() <= conn.index() {
            self.clients.resize_with(conn.index() + 1, || None);
        }
        self.outbound.open(conn, self.now);
        if let Some(receiver) = self.outbound.receiver(conn) {
            receiver.headers = true;
            // It takes everything at the end of the step: no write deadline, and nobody waits.
            receiver.watched = true;
            receiver.stuck = true;
        }
        let own = subjects.iter().map(|subject| (account, subject));
        let all = own.chain(elsewhere.iter().map(|(account, subject)| (*account, subject)));
        let mut held = 0;
        for (account, subject) in all {
            self.hold(conn, (account, subject), held, out);
            held += 1;
        }
        let (waiting, inboxes) = (VecDeque::new(), BTreeSet::new());
        self.system = Some(System { conn, account, waiting, held, inboxes });
        self.wait_for_peers(out);
    }

    fn hold(
        &mut self,
        conn: ConnId,
        (account, subject): (AccountId, &str),
        at: usize,
        out: &mut Effects,
    ) {
        self.trace_serving(conn, subject, at, out);
        let table = &mut self.accounts[account.0 as usize];
        let pattern = table.intern(subject.as_bytes());
        let sid = Sid::new(at.to_string().as_bytes());
        let sub = self.subs.insert(Subscription::new(conn, sid, account, pattern, None));
        table.join(sub, &mut self.subs);
    }

    /// Answers to what is said in an account come there; peers hear of it before.
    fn hold_inbox(&mut self, account: AccountId, inbox: &str, out: &mut Effects) {
        self.ensure_accounts();
        let is_known = (account.0 as usize) < self.accounts.len();
        let Some(system) = self.system.as_mut().filter(|_| is_known) else { return };
        if system.inboxes.insert(account) {
            let (conn, at) = (system.conn, system.held);
            system.held += 1;
            self.hold(conn, (account, inbox), at, out);
            self.announce(out);
        }
    }

    /// Tells when all peers have what they were sent.
    pub(crate) fn wait_for_peers(&mut self, out: &mut Effects) {
        self.announce(out);
        let waits = match &self.system {
            Some(system) => self.fences.wait(system.conn, Why::Settled, out),
            None => false,
        };
        if !waits {
            out.news.push(News::Settled);
        }
    }

    /// Hands on what this step has delivered to the services.
    #[inline]
    pub(crate) fn hear_requests(&mut self, out: &mut Effects) {
        let Some(system) = &self.system else { return };
        if self.outbound.peek(system.conn).is_some_and(|receiver| receiver.pending_bytes > 0) {
            self.take_requests(out);
        }
    }

    #[cold]
    fn take_requests(&mut self, out: &mut Effects) {
        let Some(conn) = self.system.as_ref().map(|system| system.conn) else { return };
        let mut bytes = Vec::new();
        while let Some(chunk) = self.outbound.take_chunk(conn) {
            bytes.extend_from_slice(chunk.as_ref());
            self.outbound.recycle(chunk);
        }
        out.dirty.retain(|dirty| *dirty != conn);
        if let Some(receiver) = self.outbound.receiver(conn) {
            receiver.sent(bytes.len() as u64, self.now);
            let msgs = receiver.uncount_msgs();
            self.figures.out_msgs -= msgs;
            self.figures.out_bytes -= std::mem::take(&mut receiver.out_bytes);
            self.outbound.handed.uncount(msgs);
        }
        let mut rest = bytes.as_slice();
        while let Some(request) = next_request(&mut rest) {
            out.news.push(News::Request(request));
        }
    }

    /// The server has something to say.
    pub(crate) fn say(&mut self, saying: Box<Saying>, out: &mut Effects) {
        let Some(system) = &mut self.system else { return };
        match system.waiting.len() < SAYINGS_MAX {
            true => system.waiting.push_back(saying),
            false => self.figures.dropped_internal += 1,
        }
        self.go_on_saying(out);
    }

    /// Publishes what waits, as far as rings have room.
    pub(crate) fn go_on_saying(&mut self, out: &mut Effects) {
        while self.system.as_ref().is_some_and(|system| !system.waiting.is_empty())
            && !out.any_congests()
        {
            let Some(system) = &mut self.system else { return };
            let (conn, account) = (system.conn, system.account);
            let Some(saying) = system.waiting.pop_front() else { return };
            let account = saying.account.unwrap_or(account);
            if let Some(inbox) = &saying.inbox {
                self.hold_inbox(account, inbox, out);
            }
            self.publish_saying(conn, account, *saying, out);
        }
    }

    /// In the system account, and in those whose requests it answers.
    fn publish_saying(
        &mut self,
        conn: ConnId,
        account: AccountId,
        saying: Saying,
        out: &mut Effects,
    ) {
        let Saying { subject, reply, header, payload, .. } = saying;
        let mut ways = vec![(account, subject)];
        let found = ReplyId::of(&ways[0].1).filter(|(shard, _)| *shard == self.id);
        if found.is_some() {
            let answer = self.resolve(account, found, payload.is_empty(), Vec::new());
            let mut rng = Rng::new(self.rng.below(usize::MAX) as u64);
            for (account, subject, _) in answer.hops {
                let mut to = Vec::new();
                self.map_into(account, &subject, &mut rng, &mut to);
                ways.push((account, to));
            }
        }
        let header_len = header.len();
        let body = [header, payload].concat();
        self.trace_saying(conn, &ways[0].1, &reply, (header_len, &body), out);
        let mut tail = Vec::new();
        emit::canonical_tail(&mut tail, &reply, header_len, &body);
        for (hops, (account, subject)) in ways.iter().enumerate() {
            let publication = Publication {
                account: *account,
                subject,
                reply: &reply,
                header_len,
                payload: &body,
                tail: &tail,
                from_service: hops > 0,
            };
            self.publish_for_server(conn, &publication, out);
        }
    }

    fn publish_for_server(
        &mut self,
        conn: ConnId,
        publication: &Publication<'_>,
        out: &mut Effects,
    ) {
        let Publication { account, subject, .. } = *publication;
        let listeners = Listeners { subs: &self.subs, clients: &self.clients };
        let plan = self.accounts[account.0 as usize].plan(subject, listeners);
        let picks = self.pick_at_once(conn, account, subject, &plan);
        self.fan_out(conn, publication, &plan, &picks, 0, out);
        self.end_subscriptions(out);
    }

    /// A connection has come in, or is about to go for this reason if it is closed: tells whoever
    /// listens in the system account.
    pub(crate) fn tell_of(
        &mut self,
        conn: ConnId,
        closed: Option<wire::CloseReason>,
        out: &mut Effects,
    ) {
        let Some(system) = self.options.access.system else { return };
        let account = self.account_of(conn);
        let name = self.options.access.name_of(account).to_owned();
        // As in nats-server, nobody counts for the global account.
        let is_counted = account != AccountId::GLOBAL;
        if is_counted && counting(&name).iter().any(|subject| self.is_heard(system, subject)) {
            out.news.push(News::Counted(name.clone()));
        }
        let kind = if closed.is_some() { "DISCONNECT" } else { "CONNECT" };
        let subject = format!("$SYS.ACCOUNT.{name}.{kind}");
        if self.is_heard(system, &subject)
            && let Some(connection) = self.describe_closing(conn, closed)
        {
            out.news.push(News::Connection(connection));
        }
    }

    /// As [`Shard::tell_of`], of one that could not prove who it is.
    pub(crate) fn tell_of_refused(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(system) = self.options.access.system else { return };
        let subject = format!("$SYS.SERVER.{}.CLIENT.AUTH.ERR", self.info.server_id);
        let reason = Some(wire::CloseReason::AuthenticationFailure);
        if self.is_heard(system, &subject)
            && let Some(connection) = self.describe_closing(conn, reason)
        {
            out.news.push(News::TurnedAway(connection));
        }
    }

    /// As [`Shard::tell_of_refused`], for those who own the account that decides about logins.
    pub(crate) fn tell_account_of_refused(
        &mut self,
        conn: ConnId,
        of: Option<AccountId>,
        reason: &str,
        out: &mut Effects,
    ) {
        let access = self.options.access.clone();
        if access.system.is_none() {
            return;
        }
        let of_file = || access.callout.as_ref().map_or(AccountId::GLOBAL, |it| it.account);
        let of = of.unwrap_or_else(of_file);
        let closed = Some(wire::CloseReason::AuthenticationFailure);
        if (self.options.trace || self.is_heard(of, REFUSED))
            && let Some(connection) = self.describe_closing(conn, closed)
        {
            let account = (of, access.name_of(of).into());
            out.news.push(News::Refused { connection, account, reason: reason.into() });
        }
    }

    fn describe_closing(
        &self,
        conn: ConnId,
        closed: Option<wire::CloseReason>,
    ) -> Option<Box<Connection>> {
        let mut connection = self.describe(conn, false)?;
        connection.closed = closed.map(|reason| (reason, self.now));
        Some(Box::new(connection))
    }

    /// Does anybody here follow how many connections accounts have?
    pub(crate) fn has_followers(&self) -> bool {
        let system = self.options.access.system;
        let table = system.and_then(|account| self.accounts.get(account.0 as usize));
        let wanted = table.map(|table| table.announced()).unwrap_or_default();
        wanted.iter().any(|(pattern, ..)| {
            counting("*").iter().any(|subject| collide(pattern, subject.as_bytes()))
        })
    }

    /// Does anybody in this account, on any shard, listen to that? If it is traced, the log does.
    fn is_heard(&mut self, account: AccountId, subject: &str) -> bool {
        if self.options.trace_system {
            return true;
        }
        let Some(table) = self.accounts.get_mut(account.0 as usize) else { return false };
        let plan =
            table.plan(subject.as_bytes(), Listeners { subs: &self.subs, clients: &self.clients });
        plan.crosses || !plan.locals.is_empty() || !plan.groups.is_empty()
    }

    /// Closes a connection for the operator.
    pub(crate) fn kick(&mut self, cid: u64, out: &mut Effects) {
        if let Some(conn) = self.numbered(cid) {
            self.close(conn, wire::CloseReason::Kicked, out);
        }
    }

    /// Tells a connection that understands it to go elsewhere.
    pub(crate) fn send_away(&mut self, cid: u64, out: &mut Effects) {
        let Some(conn) = self.numbered(cid) else { return };
        let understands = self.client(conn).is_some_and(|client| client.connect.protocol >= 1);
        if understands {
            let mut info = self.info_for(conn);
            info.ldm = true;
            self.write(conn, out, |bytes| emit::info(bytes, &info));
        }
    }

    fn numbered(&self, cid: u64) -> Option<ConnId> {
        let mut clients = self.clients.iter().flatten();
        clients.find(|client| client.cid == cid).map(|client| client.conn)
    }
}

/// Where it is told how many connections an account has.
fn counting(account: &str) -> [String; 2] {
    [format!("$SYS.SERVER.ACCOUNT.{account}.CONNS"), format!("$SYS.ACCOUNT.{account}.SERVER.CONNS")]
}

/// The message at the start of what a subscriber is sent. `MSG subject sid [reply] bytes`, or
/// `HMSG subject sid [reply] header_bytes bytes`.
fn next_request(rest: &mut &[u8]) -> Option<Request> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = str::from_utf8(rest[..end].trim_ascii_end()).ok()?;
    let words: Vec<&str> = line.split(' ').collect();
    let (with_header, words) = match words.split_first()? {
        (&"MSG", words) => (false, words),
        (&"HMSG", words) => (true, words),
        _ => return None,
    };
    let sizes = if with_header { 2 } else { 1 };
    let (names, sizes) = words.split_at(words.len().checked_sub(sizes)?);
    let bytes: usize = sizes.last()?.parse().ok()?;
    let header_len: usize = if with_header { sizes.first()?.parse().ok()? } else { 0 };
    let body = rest.get(end + 1..end + 1 + bytes)?;
    let request = Request {
        subject: names.first()?.as_bytes().to_vec(),
        reply: names.get(2).map_or(&b""[..], |reply| reply.as_bytes()).to_vec(),
        header: body.get(..header_len)?.to_vec(),
        payload: body.get(header_len..)?.to_vec(),
    };
    *rest = rest.get(end + 1 + bytes + 2..)?;
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_out_of_deliveries() {
        let bytes = "MSG a.b 3 re 2\r\n{}\r\n\
                     HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n\
                     MSG c 2 0\r\n\r\n";
        let mut rest = bytes.as_bytes();
        let request = |subject: &str, reply: &str, header: &str, payload: &str| Request {
            subject: subject.into(),
            reply: reply.into(),
            header: header.into(),
            payload: payload.into(),
        };
        assert_eq!(next_request(&mut rest), Some(request("a.b", "re", "", "{}")));
        assert_eq!(next_request(&mut rest), Some(request("a", "", "NATS/1.0\r\n\r\n", "hi")));
        assert_eq!(next_request(&mut rest), Some(request("c", "", "", "")));
        assert_eq!(next_request(&mut rest), None);
    }
}
