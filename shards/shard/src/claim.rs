//! Subscriptions that can't be counted on for every message, as publishers on other shards see
//! them: queue members that take only so many, and whoever may not see all that matches.
//!
//! Replicas can't count or judge for each other, so where all members of a group on a peer are
//! unsure, a publisher asks for one delivery before it counts on it. The member's shard holds that
//! delivery until it comes or is given back. Of plain subscriptions nothing is held: a publisher
//! asks about them only to know whether a request reaches anybody.

use std::collections::BTreeMap;

use crate::effect::Effects;
use crate::fence::Why;
use crate::frame::{Claim, Frame};
use crate::ids::{AccountId, ConnId, ShardId};
use crate::interest::Plan;
use crate::router::{Mail, Publication};
use crate::session::client::{Held, Wait};
use crate::shard::Shard;
use crate::sid::SubId;
use crate::stall::Publisher;
use crate::targets::Listeners;

/// One delivery held.
struct Promise {
    account: AccountId,
    subject: Box<[u8]>,
    queue: Box<[u8]>,
    /// Who will get it.
    member: SubId,
}

/// Deliveries held for publishers of other shards.
#[derive(Default)]
pub(crate) struct Claims {
    held: BTreeMap<Publisher, Vec<Promise>>,
}

impl Claims {
    fn hold(&mut self, publisher: Publisher, promise: Promise) {
        self.held.entry(publisher).or_default().push(promise);
    }

    /// The member held for this publisher's delivery to a group.
    pub fn redeem(
        &mut self,
        publisher: Publisher,
        publication: &Publication<'_>,
        queue: &[u8],
    ) -> Option<SubId> {
        let held = self.held.get_mut(&publisher)?;
        let at = held.iter().position(|promise| {
            promise.account == publication.account
                && *promise.queue == *queue
                && *promise.subject == *publication.subject
        })?;
        let sub = held.swap_remove(at).member;
        if held.is_empty() {
            self.held.remove(&publisher);
        }
        Some(sub)
    }

    /// Everything held for a publisher that will not come.
    fn give_back(&mut self, publisher: Publisher) -> Vec<SubId> {
        let held = self.held.remove(&publisher).unwrap_or_default();
        held.into_iter().map(|promise| promise.member).collect()
    }

    /// Nothing is held.
    pub fn is_clear(&self) -> bool {
        self.held.is_empty()
    }

    /// The member is gone: nothing of it is held any more.
    pub fn forget(&mut self, sub: SubId) {
        self.held.retain(|_, held| {
            held.retain(|promise| promise.member != sub);
            !held.is_empty()
        });
    }
}

impl Shard {
    /// A publisher of a peer asks for one delivery to a group, or about plain subscriptions.
    pub(crate) fn claimed_by(&mut self, from: ShardId, claim: Claim, out: &mut Effects) {
        if claim.account.0 as usize >= self.accounts.len() {
            self.ensure_account(claim.account);
        }
        let listeners = Listeners { subs: &self.subs, clients: &self.clients };
        let plan = self.accounts[claim.account.0 as usize].plan(&claim.subject, listeners);
        let Claim { account, subject, queue, conn, from_service } = claim;
        let publisher = Publisher { shard: from, conn };
        let mail = Mail { subject: &subject, publisher, echo: true, from_service };
        let granted = match queue {
            None => self.is_taken_here(mail, &plan),
            Some(queue) => match self.member_for(&queue, mail, &plan) {
                None => false,
                Some(member) => {
                    self.reserve(member);
                    self.claims.hold(publisher, Promise { account, subject, queue, member });
                    true
                }
            },
        };
        self.announce(out);
        out.forward(from, Frame::Claimed { conn, granted });
    }

    fn member_for(&mut self, queue: &[u8], mail: Mail<'_>, plan: &Plan) -> Option<SubId> {
        let members = &plan.group(queue)?.members;
        let start = self.rng.below(members.len().max(1));
        let mut turn = members[start..].iter().chain(&members[..start]);
        turn.find(|target| self.may_take(target, mail)).map(|target| target.sub)
    }

    /// A peer has answered a claim.
    pub(crate) fn claim_answered(&mut self, from: ShardId, conn: ConnId, granted: bool) {
        let Some(client) = self.client(conn) else { return };
        if client.wait != Wait::Claim(from) {
            return;
        }
        client.wait = Wait::Nothing;
        if let Some(asked) = client.claims.last_mut() {
            asked.refused = !granted;
        }
        self.runnable.push_back(conn);
    }

    /// What this connection has asked peers for.
    pub(crate) fn claims_of(&self, conn: ConnId) -> &[Held] {
        let client = self.clients.get(conn.index()).and_then(Option::as_ref);
        client.map_or(&[], |client| &client.claims)
    }

    #[inline]
    pub(crate) fn holds_claims(&self, conn: ConnId) -> bool {
        !self.claims_of(conn).is_empty()
    }

    /// A publication went no further: peers need hold nothing for it.
    #[inline]
    pub(crate) fn release_claims(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(client) = self.client(conn) else { return };
        if client.claims.is_empty() {
            return;
        }
        let claims = std::mem::take(&mut client.claims);
        let held = claims.into_iter().filter(Held::is_held).map(|held| held.shard);
        self.send_unclaims(conn, held, out);
    }

    /// As [`Shard::release_claims`], of a publication that goes nowhere although peers hold a place
    /// for it. The next one would find that place taken, so its connection waits until they know.
    #[cold]
    pub(crate) fn give_up_claims(&mut self, conn: ConnId, out: &mut Effects) {
        let held = self.claims_of(conn).iter().filter(|held| held.is_held());
        let peers: Vec<ShardId> = held.map(|held| held.shard).collect();
        self.release_claims(conn, out);
        if !peers.is_empty() {
            peers.into_iter().for_each(|peer| self.fences.forwarded(peer));
            self.park(conn, Why::GivenBack, out);
        }
    }

    pub(crate) fn send_unclaims(
        &mut self,
        conn: ConnId,
        shards: impl Iterator<Item = ShardId>,
        out: &mut Effects,
    ) {
        let mut shards: Vec<ShardId> = shards.collect();
        shards.sort_unstable();
        shards.dedup();
        for shard in shards {
            out.forward(shard, Frame::Unclaim { conn });
        }
    }

    /// One delivery of a member is spoken for.
    fn reserve(&mut self, sub: SubId) {
        self.subs.of(sub).reserve();
        self.reweigh_limited(sub);
    }

    /// A reservation is used or given back.
    pub(crate) fn unreserve(&mut self, sub: SubId) {
        self.subs.of(sub).unreserve();
        self.reweigh_limited(sub);
    }

    fn reweigh_limited(&mut self, sub: SubId) {
        let subscription = self.subs.peek(sub);
        if subscription.max > 0 {
            let (account, pattern) = (subscription.account, subscription.pattern);
            self.accounts[account.0 as usize].reweigh(pattern);
        }
    }

    /// A publisher of a peer gives back what was held for it.
    pub(crate) fn unclaimed_by(&mut self, from: ShardId, conn: ConnId, out: &mut Effects) {
        for sub in self.claims.give_back(Publisher { shard: from, conn }) {
            self.unreserve(sub);
            self.settle(sub, out);
        }
    }

    /// One promise less is open on a member: if it has left, or has had its fill, it is gone now.
    pub(crate) fn settle(&mut self, sub: SubId, out: &mut Effects) {
        let subscription = self.subs.peek(sub);
        if subscription.leaving && subscription.is_fenced() && subscription.reserved() == 0 {
            self.released(sub, out);
        }
    }
}
