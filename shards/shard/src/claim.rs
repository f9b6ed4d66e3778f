//! Queue members that take only so many messages, as publishers on other shards see them.
//!
//! Replicas can't count for each other, so where all members of a group on a peer are limited, a
//! publisher asks for one delivery before it counts on it. The member's shard holds that delivery
//! until it comes or is given back.

use std::collections::BTreeMap;

use crate::effect::Effects;
use crate::frame::{Claim, Frame};
use crate::ids::{AccountId, ConnId, ShardId};
use crate::router::Publication;
use crate::session::client::{Held, Wait};
use crate::shard::Shard;
use crate::sid::SubId;
use crate::stall::Publisher;

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
    fn hold(&mut self, publisher: Publisher, claim: Claim, member: SubId) {
        let Claim { account, subject, queue, .. } = claim;
        let promise = Promise { account, subject, queue, member };
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
    /// A publisher of a peer asks for one delivery to a group.
    pub(crate) fn claimed_by(&mut self, from: ShardId, claim: Claim, out: &mut Effects) {
        if claim.account.0 as usize >= self.accounts.len() {
            self.ensure_account(claim.account);
        }
        let account = &mut self.accounts[claim.account.0 as usize];
        let plan = account.plan(&claim.subject, &self.subs);
        let publisher = Publisher { shard: from, conn: claim.conn };
        let member = plan.group(&claim.queue).and_then(|group| {
            let start = self.rng.below(group.members.len().max(1));
            let mut turn =
                (0..group.members.len()).map(|step| (start + step) % group.members.len());
            turn.find_map(|at| {
                let target = &group.members[at];
                let open = self.outbound.peek(target.conn).is_some_and(|receiver| receiver.open);
                (open && self.subs.peek(target.sub).has_room()).then_some(target.sub)
            })
        });
        if let Some(sub) = member {
            let subscription = self.subs.of(sub);
            if subscription.max > 0 {
                subscription.reserved += 1;
                let pattern = subscription.pattern;
                self.accounts[claim.account.0 as usize].reweigh(pattern);
                self.claims.hold(publisher, claim, sub);
            }
        }
        self.announce(out);
        out.forward(from, Frame::Claimed { conn: publisher.conn, granted: member.is_some() });
    }

    /// A peer has answered a claim.
    pub(crate) fn claim_answered(&mut self, from: ShardId, conn: ConnId, granted: bool) {
        let Some(client) = self.client(conn) else { return };
        if client.wait != Wait::Claim(from) {
            return;
        }
        client.wait = Wait::Nothing;
        if !granted {
            client.claims.pop();
        }
        self.runnable.push_back(conn);
    }

    /// Promises this connection holds.
    pub(crate) fn claims_of(&self, conn: ConnId) -> &[Held] {
        let client = self.clients.get(conn.index()).and_then(Option::as_ref);
        client.map_or(&[], |client| &client.claims)
    }

    #[inline]
    pub(crate) fn holds_claims(&self, conn: ConnId) -> bool {
        !self.claims_of(conn).is_empty()
    }

    pub(crate) fn holds(&self, conn: ConnId, leg: u32, queue: &[u8]) -> bool {
        self.claims_of(conn).iter().any(|held| held.leg == leg && *held.queue == *queue)
    }

    /// A publication went no further: peers need hold nothing for it.
    #[inline]
    pub(crate) fn release_claims(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(client) = self.client(conn) else { return };
        if client.claims.is_empty() {
            return;
        }
        let claims = std::mem::take(&mut client.claims);
        self.send_unclaims(conn, claims.into_iter().map(|held| held.shard), out);
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
        if subscription.leaving && subscription.fenced && subscription.reserved == 0 {
            self.released(sub, out);
        }
    }
}
