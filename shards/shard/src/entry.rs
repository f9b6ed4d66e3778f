//! Everybody interested in one pattern: subscriptions of this shard, and peers.

use std::cell::OnceCell;
use std::rc::Rc;

use crate::ids::ShardId;
use crate::sid::SubId;
use crate::subscription::Subscriptions;
use crate::targets::Targets;

/// Everybody interested in one pattern. Most have one subscription here, or one peer.
#[derive(Default)]
pub(crate) struct Entry {
    /// The one plain subscription and the one peer, unless there is `wide`.
    one: Option<SubId>,
    /// The one gets all there is.
    one_is_sure: bool,
    peer: Option<PlainPeer>,
    pub announced: Plain,
    /// In the account's list of entries to announce.
    pub dirty: bool,
    /// Made of the plain subscriptions when they were last needed.
    pub targets: OnceCell<Rc<Targets>>,
    wide: Option<Box<Wide>>,
}

const _: () = assert!(size_of::<Entry>() == 32);

/// All of them, where there are more.
#[derive(Default)]
struct Wide {
    plain: Vec<SubId>,
    /// Of `plain`, those that get all there is.
    sure: u32,
    peers: Vec<PlainPeer>,
    groups: Vec<Group>,
}

/// A queue group of one pattern.
pub(crate) struct Group {
    pub name: Rc<[u8]>,
    pub members: Vec<SubId>,
    pub leaving: Vec<SubId>,
    pub announced: Weight,
    pub peers: Vec<PeerWeight>,
}

/// Members of a group on one shard; of plain subscriptions, any number count as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub members: u32,
    /// Of those, how many can't be counted on for every message. Peers ask where all are so.
    pub unsure: u32,
    /// As `unsure`, for what comes by an imported service: shadows of streams get none of it.
    pub unsure_of_services: u32,
}

impl Weight {
    /// Must it be asked first?
    pub fn is_unsure(&self, from_service: bool) -> bool {
        self.members == if from_service { self.unsure_of_services } else { self.unsure }
    }
}

/// The plain subscriptions of a pattern on one shard, as peers know them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Plain {
    #[default]
    Nobody,
    /// None of them gets everything.
    Unsure,
    Sure,
}

impl Plain {
    pub fn weight(self) -> Weight {
        let unsure = u32::from(self == Plain::Unsure);
        Weight { members: u32::from(self != Plain::Nobody), unsure, unsure_of_services: unsure }
    }
}

/// A peer with plain subscriptions of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlainPeer {
    pub shard: ShardId,
    /// None of them gets everything.
    pub unsure: bool,
}

/// A peer's part of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerWeight {
    pub shard: ShardId,
    pub weight: Weight,
}

impl Entry {
    pub fn is_empty(&self) -> bool {
        self.plain().is_empty()
            && self.announced == Plain::Nobody
            && self.peers().is_empty()
            && self.groups().is_empty()
    }

    pub fn plainly(&self) -> Plain {
        let sure = self.wide.as_ref().map_or(self.one_is_sure.into(), |wide| wide.sure);
        match (self.plain().is_empty(), sure) {
            (true, _) => Plain::Nobody,
            (false, 0) => Plain::Unsure,
            (false, _) => Plain::Sure,
        }
    }

    pub fn plain(&self) -> &[SubId] {
        self.wide.as_ref().map_or(self.one.as_slice(), |wide| &wide.plain)
    }

    /// Peers with plain interest, in order.
    pub fn peers(&self) -> &[PlainPeer] {
        self.wide.as_ref().map_or(self.peer.as_slice(), |wide| &wide.peers)
    }

    pub fn groups(&self) -> &[Group] {
        self.wide.as_ref().map_or(&[], |wide| &wide.groups)
    }

    pub fn groups_mut(&mut self) -> &mut [Group] {
        self.wide.as_mut().map_or(&mut [], |wide| &mut wide.groups)
    }

    /// Makes room for more than one of anything.
    fn wide(&mut self) -> &mut Wide {
        let (one, peer) = (&mut self.one, &mut self.peer);
        let sure = u32::from(std::mem::take(&mut self.one_is_sure));
        self.wide.get_or_insert_with(|| {
            let (plain, peers) = (one.take().into_iter(), peer.take().into_iter());
            let (plain, peers) = (plain.collect(), peers.collect());
            Box::new(Wide { plain, sure, peers, groups: Vec::new() })
        })
    }

    /// Drops groups nobody is interested in, and the room that is not needed any more.
    pub fn narrow(&mut self) {
        let Some(wide) = &mut self.wide else { return };
        wide.groups.retain(|group| !group.is_empty());
        if wide.groups.is_empty() && wide.plain.len() <= 1 && wide.peers.len() <= 1 {
            (self.one, self.peer) = (wide.plain.pop(), wide.peers.pop());
            self.one_is_sure = wide.sure > 0;
            self.wide = None;
        }
    }

    /// Gives where it stands.
    pub fn push_plain(&mut self, sub: SubId, sure: bool) -> usize {
        if self.wide.is_none() && self.one.is_none() {
            (self.one, self.one_is_sure) = (Some(sub), sure);
            return 0;
        }
        let wide = self.wide();
        wide.sure += u32::from(sure);
        wide.plain.push(sub);
        wide.plain.len() - 1
    }

    /// Gives which has taken its place.
    pub fn take_plain(&mut self, at: usize, sub: SubId, sure: bool) -> Option<SubId> {
        match &mut self.wide {
            Some(wide) => {
                wide.sure -= u32::from(sure);
                take_out(&mut wide.plain, at, sub)
            }
            None => {
                debug_assert_eq!((self.one, self.one_is_sure), (Some(sub), sure));
                (self.one, self.one_is_sure) = (None, false);
                None
            }
        }
    }

    /// A plain subscription gets all there is from now on, or no longer.
    pub fn reassure(&mut self, was: bool, is: bool) {
        match &mut self.wide {
            Some(wide) => {
                wide.sure += u32::from(is);
                wide.sure -= u32::from(was);
            }
            None => self.one_is_sure = is,
        }
    }

    /// A peer wants it, or no longer.
    pub fn hear_plain(&mut self, peer: PlainPeer, wants: bool) {
        match (&mut self.wide, self.peer) {
            (None, None) => self.peer = wants.then_some(peer),
            (None, Some(known)) if known.shard == peer.shard => self.peer = wants.then_some(peer),
            (None, Some(_)) if !wants => {}
            _ => {
                let peers = &mut self.wide().peers;
                peers.retain(|known| known.shard != peer.shard);
                if wants {
                    peers.push(peer);
                    peers.sort_unstable_by_key(|peer| peer.shard);
                }
            }
        }
    }

    pub fn find_group(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups_mut().iter_mut().find(|group| *group.name == *name)
    }

    pub fn group_mut(&mut self, name: &[u8]) -> &mut Group {
        let groups = &mut self.wide().groups;
        let at = match groups.iter().position(|group| *group.name == *name) {
            Some(at) => at,
            None => {
                groups.push(Group {
                    name: name.into(),
                    members: Vec::new(),
                    leaving: Vec::new(),
                    announced: Weight::default(),
                    peers: Vec::new(),
                });
                groups.len() - 1
            }
        };
        &mut groups[at]
    }
}

/// Takes one out of a list; gives which has taken its place.
pub(crate) fn take_out(list: &mut Vec<SubId>, at: usize, sub: SubId) -> Option<SubId> {
    debug_assert_eq!(list[at], sub);
    list.swap_remove(at);
    list.get(at).copied()
}

impl Group {
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
            && self.leaving.is_empty()
            && self.peers.is_empty()
            && self.announced == Weight::default()
    }

    /// Members peers may count on: those without room are of no use to them.
    pub fn weigh(&self, subs: &Subscriptions) -> Weight {
        let mut weight = Weight::default();
        for sub in &self.members {
            let subscription = subs.peek(*sub);
            if subscription.has_room() {
                let unsure = subscription.is_unsure();
                let is_shadow = subscription.import().is_some();
                weight.members += 1;
                weight.unsure += u32::from(unsure);
                weight.unsure_of_services += u32::from(unsure || is_shadow);
            }
        }
        weight
    }
}
