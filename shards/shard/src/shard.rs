//! The state machine: one input, its effects, and nothing in between that waits.

use std::collections::VecDeque;
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::account::legs::Spare;
use crate::account::response::Responses;
use crate::account::service::Infos;
use crate::cast::{self, Casting};
use crate::claim::Claims;
use crate::closing::{Closed, Teardown};
use crate::effect::Effects;
use crate::entry::Weight;
use crate::fence::{Fences, Why};
use crate::frame::{Frame, Interest};
use crate::ids::{AccountId, ConnId, Nanos, ShardId};
use crate::input::Input;
use crate::interest::{Account, Plan, Unannounced, Wish};
use crate::limits::Options;
use crate::news::{Leaving, Telling};
use crate::outbound::{Chunk, Outbound};
use crate::report::{Ask, Figures, News};
use crate::reporting::Writing;
use crate::rng::Rng;
use crate::router::Pick;
use crate::session::client::{Client, Wait};
use crate::session::login::Checks;
use crate::session::recheck::Recheck;
use crate::session::system::System;
use crate::sid::SubId;
use crate::stall::Stalls;
use crate::subscription::Subscriptions;
use crate::timers::{Due, Timers};
use crate::top::Top;
use crate::tracing::Alias;

/// One core's part of the bus. Lives and dies on that core.
pub struct Shard {
    pub(crate) id: ShardId,
    pub(crate) shards: usize,
    pub(crate) options: Options,
    pub(crate) info: wire::ServerInfo,
    pub(crate) now: Nanos,
    pub(crate) rng: Rng,
    pub(crate) clients: Vec<Option<Box<Client>>>,
    /// Of connections that come from a proxy, or have said more than once who they are.
    pub(crate) aliases: HashMap<ConnId, Alias, FixedState>,
    pub(crate) outbound: Outbound,
    pub(crate) accounts: Vec<Account>,
    pub(crate) unannounced: Unannounced,
    /// Subscriptions of other accounts that come with one, by imported streams.
    pub(crate) shadows: HashMap<SubId, Vec<SubId>, FixedState>,
    pub(crate) import_scratch: Vec<u8>,
    /// A message with a header of the server's.
    pub(crate) leg_message: Vec<u8>,
    pub(crate) leg_infos: Infos,
    /// Of publications that mappings or imports have a say about.
    pub(crate) spare: Spare,
    pub(crate) responses: Responses,
    pub(crate) subs: Subscriptions,
    pub(crate) fences: Fences,
    pub(crate) claims: Claims,
    pub(crate) stalls: Stalls,
    pub(crate) timers: Timers,
    pub(crate) figures: Figures,
    pub(crate) closed: Closed,
    pub(crate) teardown: VecDeque<Teardown>,
    pub(crate) reports: VecDeque<Writing>,
    /// A round of INFO under way.
    pub(crate) telling: Option<Telling>,
    /// Connections that are closed by and by.
    pub(crate) leaving: Option<Leaving>,
    /// Connections that waited and may go on.
    pub(crate) runnable: VecDeque<ConnId>,
    pub(crate) lane_waiters: Vec<ConnId>,
    /// Subscriptions that have had their last message in this operation.
    pub(crate) ended: Vec<(SubId, ConnId)>,
    /// The plan each peer's last publication used.
    pub(crate) peer_plans: Vec<Option<(AccountId, Rc<Plan>)>>,
    /// What receivers are owed of this step.
    pub(crate) castings: Vec<Casting>,
    pub(crate) cast_bytes_max: usize,
    pub(crate) checks: Checks,
    /// Of those that a service has to judge.
    pub(crate) callouts: Checks,
    pub(crate) recheck: Option<Recheck>,
    /// Nonces given out.
    pub(crate) nonces: u64,
    pub(crate) seed: u64,
    pub(crate) picks: Vec<Pick>,
    pub(crate) scratch: Vec<u8>,
    /// Samples publications, if the operator wants to know the busiest subjects.
    pub(crate) top: Option<Top>,
    /// Publications up to and with the next to be sampled.
    pub(crate) until_sample: u64,
    /// On the shard that holds the server's own services.
    pub(crate) system: Option<System>,
    pub(crate) stall_bytes: u64,
    pub(crate) relief_bytes: u64,
}

impl Shard {
    /// Shard `id` of `shards`. `info` is what clients are greeted with, their own id and address
    /// apart.
    pub fn new(
        id: ShardId,
        shards: usize,
        options: Options,
        info: wire::ServerInfo,
        seed: u64,
        now: Nanos,
    ) -> Shard {
        assert!(id.index() < shards, "shard {id:?} of {shards}");
        let cast_bytes_max = cast::bytes_max(options.pending_bytes_max);
        let responses = Responses::new(&options.nonce_key, seed);
        let mut info = info;
        info.auth_required = options.access.asks();
        let mut shard = Shard {
            id,
            shards,
            stall_bytes: options.stall_bytes(),
            relief_bytes: options.relief_bytes(),
            top: None,
            until_sample: u64::MAX,
            system: None,
            options,
            info,
            now,
            rng: Rng::new(seed),
            clients: Vec::new(),
            aliases: HashMap::default(),
            outbound: Outbound::default(),
            accounts: Vec::new(),
            unannounced: Unannounced::default(),
            shadows: HashMap::with_hasher(FixedState::with_seed(seed)),
            import_scratch: Vec::new(),
            leg_message: Vec::new(),
            leg_infos: Infos::default(),
            spare: Spare::default(),
            responses,
            subs: Subscriptions::default(),
            fences: Fences::new(shards),
            claims: Claims::default(),
            stalls: Stalls::new(seed),
            timers: Timers::default(),
            figures: Figures::default(),
            closed: Closed::default(),
            teardown: VecDeque::new(),
            reports: VecDeque::new(),
            telling: None,
            leaving: None,
            runnable: VecDeque::new(),
            lane_waiters: Vec::new(),
            ended: Vec::new(),
            peer_plans: (0..shards).map(|_| None).collect(),
            castings: Vec::new(),
            cast_bytes_max,
            checks: Checks::default(),
            callouts: Checks::default(),
            recheck: None,
            nonces: 0,
            seed,
            picks: Vec::new(),
            scratch: Vec::new(),
        };
        shard.ensure_accounts();
        shard.sample_top(shard.options.top_subjects);
        shard
    }

    /// Takes in one event. `now` never goes back.
    pub fn step(&mut self, now: Nanos, input: Input<'_>, out: &mut Effects) {
        debug_assert!(now >= self.now, "shard {:?}: time went back", self.id);
        self.now = now;
        self.outbound.since = now;
        let is_turn = matches!(input, Input::Turn);
        match input {
            Input::Bytes { conn, at, bytes } => self.bytes(conn, at, bytes, out),
            Input::Frame { from, frame } => self.frame(from, frame, out),
            Input::Sent { conn, bytes } => self.sent(conn, bytes),
            Input::Secured { conn, what } => self.secured(conn, what, out),
            Input::Introduced { conn, what } => self.introduced(conn, what, out),
            Input::Open { conn, peer } => self.open(conn, &peer, out),
            Input::Hangup { conn, cause } => self.hangup(conn, cause, out),
            Input::Unacknowledged { conn, bytes } => self.unacknowledged(conn, bytes),
            Input::Checked { conn, outcome } => self.checked(conn, outcome, out),
            Input::Room { to } => self.room(to),
            Input::Turn => self.turn(out),
            Input::Ask(ask) => self.asked(ask, out),
        }
        let mut released = 0;
        loop {
            if let Some(conn) = self.runnable.pop_front() {
                self.go_on(conn, out);
            } else if !self.castings.is_empty() {
                self.settle_castings(out);
            } else if self.may_release(released, is_turn, out) {
                // Receivers have by now all that those before it have brought.
                released += 1;
                self.release(out);
            } else {
                break;
            }
        }
        if !self.ended.is_empty() {
            self.end_subscriptions(out);
        }
        self.hear_requests(out);
        self.announce(out);
    }

    fn frame(&mut self, from: ShardId, frame: Frame, out: &mut Effects) {
        debug_assert_ne!(from, self.id);
        match frame {
            Frame::Deliver(batch) => {
                self.delivered_by(from, &batch, out);
                out.emptied(batch);
            }
            Frame::Interest(interest) => self.hear(from, &interest),
            Frame::Fence { upto } => {
                self.announce(out);
                out.forward(from, Frame::Fenced { upto });
            }
            Frame::Fenced { upto } => {
                for (conn, why) in self.fences.fenced(from, upto, out) {
                    self.caught_up(conn, why, out);
                }
            }
            Frame::Stall { conn } => self.stalled_by_peer(from, conn, out),
            Frame::Unstall { conn } => self.unstall(conn, out),
            Frame::Claim(claim) => self.claimed_by(from, *claim, out),
            Frame::Claimed { conn, granted } => self.claim_answered(from, conn, granted),
            Frame::Unclaim { conn } => self.unclaimed_by(from, conn, out),
            Frame::Question(question) => self.asked_by(from, &question, out),
            Frame::Answer(answer) => self.told(from, answer.0, answer.1),
        }
    }

    fn hear(&mut self, from: ShardId, interest: &Interest) {
        let weight = Weight {
            members: interest.weight,
            unsure: interest.unsure,
            unsure_of_services: interest.unsure_of_services,
        };
        if interest.account.0 as usize >= self.accounts.len() {
            self.ensure_account(interest.account);
        }
        let account = &mut self.accounts[interest.account.0 as usize];
        account.hear(from, &interest.pattern, interest.queue.as_deref(), weight);
    }

    fn stalled_by_peer(&mut self, _from: ShardId, conn: ConnId, _out: &mut Effects) {
        self.stall(conn);
    }

    /// Everybody a connection or a leaving member waited for has caught up.
    fn caught_up(&mut self, conn: ConnId, why: Why, out: &mut Effects) {
        match why {
            Why::Leave(sub) => {
                if !self.left(sub) {
                    return;
                }
            }
            Why::Ok => {
                if let Some(client) = self.client(conn)
                    && client.promised
                {
                    client.ok_due = true;
                    return;
                }
                self.send_ok(conn, out);
            }
            Why::Limit(sub) => self.limited(sub, conn, out),
            Why::Ping => self.send_pong(conn, out),
            Why::GivenBack => {}
            Why::Released => {
                self.resume_release(conn);
                return;
            }
            Why::Settled => {
                out.news.push(News::Settled);
                return;
            }
        }
        self.unpark(conn);
    }

    /// Peers ask before they count on this member from now on. It may have had its fill already.
    fn limited(&mut self, sub: SubId, conn: ConnId, out: &mut Effects) {
        let Some(subscription) = self.subs.find(sub, conn) else { return };
        subscription.limit_open = false;
        if subscription.delivered >= subscription.max && self.client(conn).is_some() {
            self.ended.push((sub, conn));
            self.end_subscriptions(out);
        }
    }

    /// One thing less that a connection waits for.
    fn unpark(&mut self, conn: ConnId) {
        let Some(client) = self.client(conn) else { return };
        client.fences -= 1;
        if client.fences == 0 && client.wait == Wait::Fence {
            client.wait = Wait::Nothing;
            self.runnable.push_back(conn);
        }
    }

    /// The last promise on a member that left is gone. So is the member; its connection goes on.
    pub(crate) fn released(&mut self, sub: SubId, out: &mut Effects) {
        let conn = self.subs.peek(sub).conn;
        self.left(sub);
        let Some(client) = self.client(conn) else { return };
        client.promised = false;
        if std::mem::take(&mut client.ok_due) {
            self.send_ok(conn, out);
            self.unpark(conn);
        }
        self.unpark(conn);
    }

    fn turn(&mut self, out: &mut Effects) {
        while let Some((due, conn)) = self.timers.fired(self.now) {
            match due {
                Due::Ping => self.ping_due(conn, out),
                Due::Write => self.write_due(conn, out),
                Due::Probe => self.probe(conn, out),
                Due::Login => self.login_due(conn, out),
                Due::Expiry => self.expiry_due(conn, out),
            }
        }
        self.tear_down(out);
        self.go_on_saying(out);
        self.go_on_rechecking(out);
        self.expire_responses(out);
        self.end_subscriptions(out);
        self.write_reports(out);
        if self.telling.is_some() || self.leaving.is_some() {
            self.spread_news(out);
        }
        let clients = &self.clients;
        self.timers.prune(self.figures.connections as usize, |conn| {
            clients[conn.index()].as_ref().is_some_and(|client| client.conn == conn)
        });
    }

    fn asked(&mut self, ask: Ask, out: &mut Effects) {
        match ask {
            Ask::Report { ticket, what } => self.begin_report(ticket, what),
            Ask::Access(access) => self.change_access(access, out),
            Ask::MoreAccounts(access) => self.grow_access(access),
            Ask::Reload(reload) => self.reload(&reload, out),
            Ask::LameDuck(how) => self.lame_duck(how),
            Ask::Serve { conn, subjects, elsewhere } => {
                self.serve(conn, &subjects, &elsewhere, out);
            }
            Ask::Say(saying) => self.say(saying, out),
            Ask::Settle => self.wait_for_peers(out),
            Ask::Kick { cid } => self.kick(cid, out),
            Ask::CrowdOut { conn } => self.crowd_out(conn, out),
            Ask::SendAway { cid } => self.send_away(cid, out),
            Ask::Shutdown => {
                let open: Vec<ConnId> = self.clients.iter().flatten().map(|c| c.conn).collect();
                for conn in open {
                    self.close(conn, wire::CloseReason::ServerShutdown, out);
                }
            }
        }
    }

    /// Tells peers what has changed in this shard's own interest, ahead of anything forwarded
    /// later.
    #[inline]
    pub(crate) fn announce(&mut self, out: &mut Effects) {
        loop {
            let Some(account) = self.unannounced.borrow_mut().pop() else { return };
            self.announce_account(account, out);
        }
    }

    #[inline(never)]
    fn announce_account(&mut self, id: AccountId, out: &mut Effects) {
        let (own, shards, fences) = (self.id, self.shards, &mut self.fences);
        let account = &mut self.accounts[id.0 as usize];
        account.announce(&self.subs, &mut |change| {
            for to in (0..shards).map(|to| ShardId(to as u16)).filter(|to| *to != own) {
                fences.forwarded(to);
                let interest = Interest {
                    account: id,
                    pattern: change.pattern.clone(),
                    queue: change.queue.clone(),
                    weight: change.weight.members,
                    unsure: change.weight.unsure,
                    unsure_of_services: change.weight.unsure_of_services,
                };
                out.forward(to, Frame::Interest(Box::new(interest)));
            }
        });
    }

    /// The open connection with this id.
    #[inline]
    pub(crate) fn client(&mut self, conn: ConnId) -> Option<&mut Client> {
        let client = self.clients.get_mut(conn.index())?.as_deref_mut()?;
        (client.conn == conn).then_some(client)
    }

    pub(crate) fn account_of(&self, conn: ConnId) -> AccountId {
        let client = self.clients.get(conn.index()).and_then(Option::as_ref);
        client.map_or(AccountId::GLOBAL, |client| client.account)
    }

    /// Does it want to hear itself?
    pub(crate) fn echoes(&self, conn: ConnId) -> bool {
        let client = self.clients.get(conn.index()).and_then(Option::as_ref);
        client.is_none_or(|client| client.connect.echo)
    }

    /// Appends to what waits for a connection, and holds it to its limit.
    pub(crate) fn write(
        &mut self,
        conn: ConnId,
        out: &mut Effects,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.settle_for(conn, out);
        let now = self.now;
        let written = self.outbound.write(conn, now, &mut out.dirty, |bytes, _| write(bytes));
        if written.is_none() {
            return;
        }
        let Some(receiver) = self.outbound.receiver(conn) else { return };
        let (pending, watched) = (receiver.pending_bytes, receiver.watched);
        if !watched {
            self.watch(conn);
        }
        if pending > self.options.pending_bytes_max {
            self.too_slow(conn, out);
        }
    }

    /// The next bytes to write for a connection that was in [`Effects::dirty`] or closes with a
    /// flush.
    ///
    /// The driver has at most one chunk of a connection under way. It tells with [`Input::Sent`]
    /// what the kernel took, gives the chunk back with [`Shard::recycle`], and asks again until
    /// there is none; then the connection comes up in `dirty` again when there is more.
    #[inline]
    pub fn take_chunk(&mut self, conn: ConnId) -> Option<Chunk> {
        self.outbound.take_chunk(conn)
    }

    /// Takes a chunk back that the kernel is done with.
    pub fn recycle(&mut self, chunk: Chunk) {
        self.outbound.recycle(chunk);
    }

    /// Nothing more is written for a connection that closed with a flush: what is left of it, if
    /// the driver has given it up, can go.
    pub fn flush_over(&mut self, conn: ConnId) {
        self.outbound.flush_over(conn);
    }

    /// When [`Input::Turn`] is needed at the latest.
    pub fn deadline(&self) -> Option<Nanos> {
        let due = [self.timers.next(), self.leaving_due(), self.responses.next()];
        due.into_iter().flatten().min()
    }

    /// Long work is under way: [`Input::Turn`] again soon.
    pub fn has_work(&self) -> bool {
        let asked_for = !self.reports.is_empty() || self.telling.is_some();
        let speaks = self.system.as_ref().is_some_and(System::has_work);
        let releases = self.stalls.relieved().is_some();
        !self.teardown.is_empty() || self.recheck.is_some() || asked_for || speaks || releases
    }

    /// Tells of the deliveries in chunks taken since the last call: when their publications came
    /// in, and how many deliveries there are.
    #[inline]
    pub fn handed_over(&mut self, tell: impl FnMut(Nanos, u64)) {
        self.outbound.handed.tell(tell);
    }

    /// What peers have been told this shard wants: pattern, group, weight. For checks.
    pub fn announced(&self) -> Vec<Wish> {
        self.accounts.iter().flat_map(Account::announced).collect()
    }

    /// What this shard believes a peer to want. At rest it equals the peer's [`Shard::announced`].
    pub fn heard(&self, from: ShardId) -> Vec<Wish> {
        self.accounts.iter().flat_map(|account| account.heard(from)).collect()
    }

    /// Nothing is kept for anybody: no fence waits, no promise is open. For checks at rest.
    pub fn is_at_rest(&self) -> bool {
        self.fences.is_clear() && self.claims.is_clear() && !self.has_work()
    }
}
