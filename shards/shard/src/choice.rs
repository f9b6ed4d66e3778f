//! Who gets a publication, where that must be decided before anything is delivered: one member of
//! each queue group, and whether a request reaches anybody at all.
//!
//! Members count alike wherever they are. Those of a peer that can't be counted on for every
//! message are asked for first, see [`crate::claim`].

use crate::effect::Effects;
use crate::frame::{Claim, Frame};
use crate::ids::{AccountId, ConnId, ShardId};
use crate::interest::{GroupPlan, Plan};
use crate::router::{Mail, Pick, Way};
use crate::session::client::{Held, Wait};
use crate::shard::Shard;

impl Shard {
    /// Decides everything there is to decide. False if a peer must be asked first.
    pub(crate) fn choose(
        &mut self,
        way: Way<'_>,
        plan: &Plan,
        picks: &mut Vec<Pick>,
        out: &mut Effects,
    ) -> bool {
        for group in &plan.groups {
            let pick = match self.answer_of(way, None, Some(&group.name)) {
                Some(true) => Pick::Held,
                _ => self.pick(way, group),
            };
            if let Pick::Claim(shard) = pick {
                self.claim(way, shard, Some(&group.name), out);
                return false;
            }
            picks.push(pick);
        }
        !way.is_request
            || plan.unsure_peers.is_empty()
            || self.knows_receiver(way, plan, picks, out)
    }

    /// A random start, then the next that can take it.
    pub(crate) fn pick(&mut self, way: Way<'_>, group: &GroupPlan) -> Pick {
        let mail = way.mail(self);
        let locals = group.members.len();
        let remote: usize = group.peers.iter().map(|peer| peer.weight.members as usize).sum();
        let total = locals + remote;
        if total == 0 {
            return Pick::Nobody;
        }
        let start = self.rng.below(total);
        for step in 0..total {
            let at = (start + step) % total;
            if at >= locals {
                match pick_peer(group, at - locals, way.from_service) {
                    Pick::Claim(shard) if self.has_refused(way, shard, Some(&group.name)) => {}
                    pick => return pick,
                }
            } else if self.may_take(&group.members[at], mail) {
                return Pick::Local(at);
            }
        }
        Pick::Nobody
    }

    /// Who gets a message of the server itself, which waits for no peer: better one too many than
    /// one lost.
    pub(crate) fn pick_at_once(
        &mut self,
        conn: ConnId,
        account: AccountId,
        subject: &[u8],
        plan: &Plan,
    ) -> Vec<Pick> {
        let (leg, is_request, from_service) = (u32::MAX, false, false);
        let way = Way { conn, account, leg, subject, is_request, from_service };
        let picks = plan.groups.iter().map(|group| match self.pick(way, group) {
            Pick::Claim(shard) => Pick::Peer(shard),
            pick => pick,
        });
        picks.collect()
    }

    /// Somebody is sure to get a request, or nobody is. False if a peer must be asked.
    #[cold]
    fn knows_receiver(
        &mut self,
        way: Way<'_>,
        plan: &Plan,
        picks: &[Pick],
        out: &mut Effects,
    ) -> bool {
        let is_sure = plan.peers.len() > plan.unsure_peers.len()
            || picks.iter().any(|pick| *pick != Pick::Nobody);
        if is_sure || self.is_taken_here(way.mail(self), plan) {
            return true;
        }
        for shard in &plan.unsure_peers {
            match self.answer_of(way, Some(*shard), None) {
                Some(true) => return true,
                Some(false) => {}
                None => {
                    self.claim(way, *shard, None, out);
                    return false;
                }
            }
        }
        true
    }

    /// May a plain subscription of this shard have it?
    pub(crate) fn is_taken_here(&mut self, mail: Mail<'_>, plan: &Plan) -> bool {
        let mut all = plan.locals.iter().flat_map(|t| t.iter().chain(t.shadows()));
        all.any(|target| self.may_take(target, mail))
    }

    /// What a peer, or any if none is named, has said of a group or of plain subscriptions: yes or
    /// no; none if it was not asked. Yes goes before no.
    fn answer_of(
        &self,
        way: Way<'_>,
        shard: Option<ShardId>,
        queue: Option<&[u8]>,
    ) -> Option<bool> {
        let claims = self.claims_of(way.conn).iter();
        let answers = claims.filter(|held| {
            held.leg == way.leg
                && held.queue.as_deref() == queue
                && shard.is_none_or(|shard| held.shard == shard)
        });
        answers.map(|held| !held.refused).max()
    }

    fn has_refused(&self, way: Way<'_>, shard: ShardId, queue: Option<&[u8]>) -> bool {
        self.answer_of(way, Some(shard), queue) == Some(false)
    }

    fn claim(&mut self, way: Way<'_>, shard: ShardId, queue: Option<&[u8]>, out: &mut Effects) {
        let Way { conn, account, leg, subject, from_service, .. } = way;
        let Some(client) = self.client(conn) else { return };
        client.wait = Wait::Claim(shard);
        let queue: Option<Box<[u8]>> = queue.map(Box::from);
        client.claims.push(Held { shard, queue: queue.clone(), leg, refused: false });
        let claim = Claim { account, subject: subject.into(), queue, conn, from_service };
        self.fences.forwarded(shard);
        out.forward(shard, Frame::Claim(Box::new(claim)));
    }
}

fn pick_peer(group: &GroupPlan, mut at: usize, from_service: bool) -> Pick {
    for peer in &group.peers {
        let members = peer.weight.members as usize;
        if at < members {
            return match peer.weight.is_unsure(from_service) {
                true => Pick::Claim(peer.shard),
                false => Pick::Peer(peer.shard),
            };
        }
        at -= members;
    }
    Pick::Nobody
}
