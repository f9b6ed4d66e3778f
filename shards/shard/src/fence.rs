//! Waiting until peers have caught up.
//!
//! Replicas promise what one table under one lock promised only if a PONG means that every peer has
//! taken in what this shard forwarded before. Per peer one fence is under way; whoever comes later
//! shares the next one.
//! Invariant per peer: `confirmed` <= `asked` <= `forwarded`, and waiters' targets are in order.

use std::collections::{BTreeMap, VecDeque};

use crate::effect::Effects;
use crate::frame::Frame;
use crate::ids::{ConnId, ShardId};
use crate::sid::SubId;

/// What happens when the peers have caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The connection gets its PONG.
    Ping,
    /// The connection gets its +OK.
    Ok,
    /// This queue member is gone for good.
    Leave(SubId),
    /// Everybody knows that this queue member takes a limited number.
    Limit(SubId),
    /// Peers have what was held for the connection and is not needed.
    GivenBack,
    /// Publishers of peers that need not wait for this receiver any more have gone on, and what
    /// they had for it is here.
    Released,
    /// Everybody has what the server itself has said, and knows of its services.
    Settled,
}

pub(crate) struct Fences {
    peers: Vec<Peer>,
    waiters: BTreeMap<u64, Waiter>,
    next: u64,
}

#[derive(Default)]
struct Peer {
    forwarded: u64,
    asked: u64,
    confirmed: u64,
    waiting: VecDeque<(u64, u64)>,
}

struct Waiter {
    conn: ConnId,
    why: Why,
    peers_left: u32,
}

impl Fences {
    pub fn new(shards: usize) -> Fences {
        let peers = (0..shards).map(|_| Peer::default()).collect();
        Fences { peers, waiters: BTreeMap::new(), next: 0 }
    }

    /// A frame that matters is on its way.
    #[inline]
    pub fn forwarded(&mut self, to: ShardId) {
        self.peers[to.index()].forwarded += 1;
    }

    /// Waits for the peers that are behind. False if none is: there is nothing to wait for.
    pub fn wait(&mut self, conn: ConnId, why: Why, out: &mut Effects) -> bool {
        let behind = self.peers.iter().filter(|peer| peer.confirmed < peer.forwarded).count();
        if behind == 0 {
            return false;
        }
        let id = self.next;
        self.next += 1;
        for (to, peer) in self.peers.iter_mut().enumerate() {
            if peer.confirmed < peer.forwarded {
                peer.waiting.push_back((peer.forwarded, id));
                peer.ask(ShardId(to as u16), out);
            }
        }
        self.waiters.insert(id, Waiter { conn, why, peers_left: behind as u32 });
        true
    }

    /// A peer has answered. Gives who need wait no longer, in the order they came.
    pub fn fenced(&mut self, from: ShardId, upto: u64, out: &mut Effects) -> Vec<(ConnId, Why)> {
        let peer = &mut self.peers[from.index()];
        assert!(upto == peer.asked && upto <= peer.forwarded, "a fence comes back as it was sent");
        peer.confirmed = upto;
        let mut done = Vec::new();
        while let Some((target, id)) = peer.waiting.front().copied()
            && target <= upto
        {
            peer.waiting.pop_front();
            let waiter = self.waiters.get_mut(&id).expect("a waiter stays while a peer owes it");
            waiter.peers_left -= 1;
            if waiter.peers_left == 0 {
                done.push((waiter.conn, waiter.why));
                self.waiters.remove(&id);
            }
        }
        peer.ask(from, out);
        done
    }

    /// Nobody waits.
    pub fn is_clear(&self) -> bool {
        self.waiters.is_empty()
    }
}

impl Peer {
    /// Sends a fence if somebody waits and none is under way.
    fn ask(&mut self, to: ShardId, out: &mut Effects) {
        if self.asked == self.confirmed && !self.waiting.is_empty() {
            self.asked = self.forwarded;
            out.forward(to, Frame::Fence { upto: self.asked });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId { slot: 1, generation: 0 };
    const B: ConnId = ConnId { slot: 2, generation: 0 };
    const PEER: ShardId = ShardId(1);

    #[test]
    fn nothing_forwarded_is_nothing_to_wait_for() {
        let (mut fences, mut out) = (Fences::new(3), Effects::new(3));
        assert!(!fences.wait(A, Why::Ping, &mut out));
        assert!(out.is_clear(PEER));
    }

    #[test]
    fn later_waiters_share_the_next_fence() {
        let (mut fences, mut out) = (Fences::new(2), Effects::new(2));
        fences.forwarded(PEER);
        assert!(fences.wait(A, Why::Ping, &mut out));
        fences.forwarded(PEER);
        assert!(fences.wait(B, Why::Ping, &mut out));
        assert!(fences.wait(B, Why::Leave(SubId(4)), &mut out));
        assert!(matches!(out.pull(PEER), Some(Frame::Fence { upto: 1 })));
        assert!(out.pull(PEER).is_none());
        assert_eq!(fences.fenced(PEER, 1, &mut out), [(A, Why::Ping)]);
        assert!(matches!(out.pull(PEER), Some(Frame::Fence { upto: 2 })));
        assert_eq!(fences.fenced(PEER, 2, &mut out), [(B, Why::Ping), (B, Why::Leave(SubId(4)))]);
        assert!(fences.is_clear() && out.pull(PEER).is_none());
    }

    #[test]
    fn a_waiter_needs_every_peer_that_was_behind() {
        let (mut fences, mut out) = (Fences::new(3), Effects::new(3));
        fences.forwarded(ShardId(1));
        fences.forwarded(ShardId(2));
        assert!(fences.wait(A, Why::Ok, &mut out));
        assert_eq!(fences.fenced(ShardId(2), 1, &mut out), []);
        assert_eq!(fences.fenced(ShardId(1), 1, &mut out), [(A, Why::Ok)]);
    }
}
