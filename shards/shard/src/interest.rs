//! Who wants what: one table per account, with this shard's own subscriptions and its peers'
//! interest side by side.
//!
//! Invariants: an entry exists while anybody is interested in its pattern, or while peers believe
//! this shard is. `announced` is what peers have been told or will be told by frames already
//! staged.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use subject::{PatternId, Sublist};

use crate::account::{Bonds, StreamImport};
use crate::ids::{AccountId, ConnId, ShardId};
use crate::limits::CAST_MIN;
use crate::plans::Plans;
use crate::report::Figures;
use crate::router::is_reserved_subject;
use crate::session::guard::Watch;
use crate::sid::{Names, Sid, SubId};

/// One subscription of a connection of this shard.
pub(crate) struct Subscription {
    pub conn: ConnId,
    pub sid: Sid,
    pub account: crate::AccountId,
    pub pattern: PatternId,
    /// Where it stands in its entry's or group's list.
    at: u32,
    pub delivered: u64,
    /// Ends after this many deliveries; 0 is never.
    pub max: u64,
    more: Option<Box<More>>,
    /// Peers may not know of `max` yet, and may have sent more than it allows.
    pub limit_open: bool,
    /// Unsubscribed, but takes what is on the rings for it.
    pub leaving: bool,
    /// What it gets is looked at one by one: its connection may not see all of it, or answers it.
    pub guarded: bool,
    /// Its connection may not see all of it.
    pub filtered: bool,
}

/// What most subscriptions have nothing of.
#[derive(Default)]
struct More {
    /// Its group in the pattern's entry.
    queue: Option<Rc<[u8]>>,
    /// Deliveries promised to publishers of other shards.
    reserved: u64,
    /// It left and peers have caught up: gone as soon as no promise is open.
    fenced: bool,
    /// The shadow of a subscription of another account, which has this import.
    import: Option<Rc<StreamImport>>,
}

const _: () = assert!(size_of::<Option<Subscription>>() == 64);

impl Subscription {
    /// May it be given one more message, beyond those promised?
    pub fn has_room(&self) -> bool {
        self.max == 0 || self.delivered + self.reserved() < self.max
    }

    /// Its group in the pattern's entry.
    pub fn queue(&self) -> Option<&Rc<[u8]>> {
        self.more.as_ref()?.queue.as_ref()
    }

    /// What it is the shadow of, if it is one.
    pub fn import(&self) -> Option<&Rc<StreamImport>> {
        self.more.as_ref()?.import.as_ref()
    }

    pub fn set_import(&mut self, import: Rc<StreamImport>) {
        self.more.get_or_insert_default().import = Some(import);
    }

    /// Deliveries promised to publishers of other shards.
    pub fn reserved(&self) -> u64 {
        self.more.as_ref().map_or(0, |more| more.reserved)
    }

    /// It left and peers have caught up: gone as soon as no promise is open.
    pub fn is_fenced(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.fenced)
    }

    pub fn set_fenced(&mut self) {
        self.more.get_or_insert_default().fenced = true;
    }

    /// Promises one delivery more.
    pub fn reserve(&mut self) {
        self.more.get_or_insert_default().reserved += 1;
    }

    /// A promise is kept, or not needed.
    pub fn unreserve(&mut self) {
        self.more.get_or_insert_default().reserved -= 1;
    }

    /// It can't be counted on for every message: it takes a limited number, or may not see some.
    fn is_unsure(&self) -> bool {
        self.max > 0 || self.filtered
    }

    /// It gets whatever matches, whoever publishes it.
    fn gets_all(&self) -> bool {
        !self.filtered && self.import().is_none()
    }
}

/// All subscriptions of a shard.
#[derive(Default)]
pub(crate) struct Subscriptions {
    slots: Vec<Option<Subscription>>,
    free: Vec<u32>,
}

impl Subscriptions {
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn insert(&mut self, subscription: Subscription) -> SubId {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(subscription);
                SubId(slot)
            }
            None => {
                // By a quarter, not by doubling: the slack is part of what a subscription may cost.
                if self.slots.len() == self.slots.capacity() {
                    self.slots.reserve_exact(self.slots.len() / 4 + 4);
                }
                self.slots.push(Some(subscription));
                SubId(self.slots.len() as u32 - 1)
            }
        }
    }

    pub fn remove(&mut self, sub: SubId) -> Subscription {
        self.free.push(sub.0);
        self.slots[sub.0 as usize].take().expect("a subscription is removed once")
    }

    #[inline]
    pub fn of(&mut self, sub: SubId) -> &mut Subscription {
        self.slots[sub.0 as usize].as_mut().expect("a SubId in use names a subscription")
    }

    /// The subscription, unless it has gone with its connection.
    pub fn find(&mut self, sub: SubId, conn: ConnId) -> Option<&mut Subscription> {
        let subscription = self.slots.get_mut(sub.0 as usize)?.as_mut()?;
        (subscription.conn == conn).then_some(subscription)
    }

    pub fn peek(&self, sub: SubId) -> &Subscription {
        self.slots[sub.0 as usize].as_ref().expect("a SubId in use names a subscription")
    }
}

impl Names for Subscriptions {
    fn name(&self, sub: SubId) -> &[u8] {
        self.peek(sub).sid.as_bytes()
    }
}

/// Interest of a shard as its peers know it, for checks: pattern, group, members.
pub type Wish = (Box<[u8]>, Option<Box<[u8]>>, u32);

/// Everybody interested in one pattern. Most have one subscription here, or one peer.
#[derive(Default)]
pub(crate) struct Entry {
    /// The one plain subscription and the one peer, unless there is `wide`.
    one: Option<SubId>,
    /// The one gets all there is.
    one_is_sure: bool,
    peer: Option<PlainPeer>,
    announced: Plain,
    /// In the account's list of entries to announce.
    dirty: bool,
    /// Made of the plain subscriptions when they were last needed.
    targets: OnceCell<Rc<Targets>>,
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
    name: Rc<[u8]>,
    members: Vec<SubId>,
    leaving: Vec<SubId>,
    announced: Weight,
    peers: Vec<PeerWeight>,
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
enum Plain {
    #[default]
    Nobody,
    /// None of them gets everything.
    Unsure,
    Sure,
}

impl Plain {
    fn weight(self) -> Weight {
        let unsure = u32::from(self == Plain::Unsure);
        Weight { members: u32::from(self != Plain::Nobody), unsure, unsure_of_services: unsure }
    }
}

/// A peer with plain subscriptions of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PlainPeer {
    shard: ShardId,
    /// None of them gets everything.
    unsure: bool,
}

/// A peer's part of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerWeight {
    pub shard: ShardId,
    pub weight: Weight,
}

/// What to do with one subject, made once and used until interest changes.
#[derive(Default)]
pub(crate) struct Plan {
    /// The subject it is for.
    pub subject: Vec<u8>,
    /// In the table, where a change voids it: only then may it be used again.
    pub kept: bool,
    /// It may need a ring.
    pub crosses: bool,
    /// It needs no ring, has no group, and its subject is not a reserved one nor a tied one.
    pub is_plain: bool,
    /// No connection of this shard gets more than one plain copy.
    pub locals_apart: bool,
    /// That, no group, and its subject is not a reserved one.
    pub is_apart: bool,
    pub stale: Cell<bool>,
    account: AccountId,
    pub generation: u64,
    /// Plain subscriptions of this shard, by matching pattern.
    pub locals: Vec<Rc<Targets>>,
    /// Peers with plain interest.
    pub peers: Vec<ShardId>,
    /// Of those, where perhaps nobody gets it.
    pub unsure_peers: Vec<ShardId>,
    /// Something is to be decided before anything is delivered: groups, or unsure peers.
    pub is_choosy: bool,
    /// By name, over all matching patterns.
    pub groups: Vec<GroupPlan>,
}

/// The plain subscriptions of one pattern.
#[derive(Default)]
pub(crate) struct Targets {
    /// Those to deliver to one by one.
    pub singles: Vec<Target>,
    /// Those that can share what they are sent.
    pub casts: Vec<Rc<Cast>>,
    /// No connection is among them twice.
    is_apart: bool,
    /// Shadows of other accounts' subscriptions.
    pub imported: Vec<Target>,
}

/// Many subscriptions without a limit that go by the same sid.
pub(crate) struct Cast {
    pub sid: Sid,
    pub targets: Vec<Target>,
}

/// A subscription to deliver to.
#[derive(Clone)]
pub(crate) struct Target {
    pub conn: ConnId,
    pub sub: SubId,
    pub sid: Sid,
    /// Some of it may be kept from it, or its replies are noted.
    pub guarded: bool,
}

/// One queue group: exactly one of its members gets the message.
pub(crate) struct GroupPlan {
    pub name: Rc<[u8]>,
    pub members: Vec<Target>,
    pub leaving: Vec<Target>,
    pub peers: Vec<PeerWeight>,
}

impl Plan {
    /// Nothing is left but memory to use again.
    pub fn clear(&mut self) {
        let Plan { subject, locals, peers, unsure_peers, groups, .. } = self;
        subject.clear();
        locals.clear();
        peers.clear();
        unsure_peers.clear();
        groups.clear();
        self.stale.set(false);
    }

    pub fn group(&self, name: &[u8]) -> Option<&GroupPlan> {
        self.groups.iter().find(|group| *group.name == *name)
    }
}

/// An account's subjects as this shard sees them.
pub(crate) struct Account {
    id: AccountId,
    table: Sublist<Entry>,
    plans: Plans,
    dirty: Vec<PatternId>,
    matched: Vec<PatternId>,
    /// What its table has been asked, and what its closed connections have done.
    pub figures: Figures,
    /// Its imported streams are not those that older subscriptions have shadows for.
    pub recasts: bool,
    /// None if its subjects are its own and mean what they say.
    pub ties: Option<Rc<Bonds>>,
}

/// A change of this shard's own interest that peers must hear of.
pub(crate) struct Change {
    pub pattern: Box<[u8]>,
    pub queue: Option<Box<[u8]>>,
    pub weight: Weight,
}

impl Account {
    pub fn new(id: AccountId, seed: u64, match_cache: bool) -> Account {
        Account {
            id,
            recasts: false,
            table: Sublist::new(seed),
            plans: Plans::new(FixedState::with_seed(seed), match_cache),
            dirty: Vec::new(),
            matched: Vec::new(),
            figures: Figures::default(),
            ties: None,
        }
    }

    pub fn pattern(&self, pattern: PatternId) -> &[u8] {
        self.table.pattern(pattern)
    }

    /// Figures of its table, and of its closed connections.
    pub fn figures(&self) -> Figures {
        let subscriptions = self.figures.inserts - self.figures.removes;
        Figures { subscriptions, plans: self.plans.len() as u64, ..self.figures }
    }

    /// The entry's id, made if need be.
    pub fn intern(&mut self, pattern: &[u8]) -> PatternId {
        match self.table.find(pattern) {
            Some(id) => id,
            None => self.table.insert(pattern, Entry::default()),
        }
    }

    /// Adds a subscription of this shard to its pattern's entry.
    pub fn join(&mut self, sub: SubId, subs: &mut Subscriptions) {
        let subscription = subs.of(sub);
        let sure = subscription.gets_all();
        let entry = &mut self.table[subscription.pattern];
        let at = match subscription.queue() {
            Some(name) => {
                let members = &mut entry.group_mut(name).members;
                members.push(sub);
                members.len() - 1
            }
            None => entry.push_plain(sub, sure),
        };
        subscription.at = at as u32;
        self.figures.inserts += 1;
        self.touch(subs.peek(sub).pattern);
    }

    /// Takes it out again. It must not be leaving.
    pub fn part(&mut self, sub: SubId, subs: &mut Subscriptions) {
        let subscription = subs.peek(sub);
        debug_assert!(!subscription.leaving);
        let (pattern, at) = (subscription.pattern, subscription.at as usize);
        let entry = &mut self.table[pattern];
        let moved = match subscription.queue() {
            Some(name) => {
                take_out(&mut entry.find_group(name).expect("a member's group").members, at, sub)
            }
            None => entry.take_plain(at, sub, subscription.gets_all()),
        };
        if let Some(moved) = moved {
            subs.of(moved).at = at as u32;
        }
        self.touch(pattern);
    }

    /// A queue member no longer counts, but stays to take what is under way.
    pub fn leave(&mut self, sub: SubId, subs: &mut Subscriptions) {
        self.part(sub, subs);
        let subscription = subs.of(sub);
        subscription.leaving = true;
        let name = subscription.queue().cloned().expect("only queue members leave");
        self.table[subscription.pattern].group_mut(&name).leaving.push(sub);
    }

    /// A leaving member is gone for good.
    pub fn left(&mut self, sub: SubId, subs: &Subscriptions) {
        let subscription = subs.peek(sub);
        let name = subscription.queue().expect("only queue members leave");
        let group = self.table[subscription.pattern].find_group(name).expect("a member's group");
        group.leaving.retain(|member| *member != sub);
        self.touch(subscription.pattern);
    }

    /// A limited member gained or lost its room, or became limited.
    pub fn reweigh(&mut self, pattern: PatternId) {
        self.touch(pattern);
    }

    /// What a subscription gets is looked at from now on, or no longer.
    pub fn guard(&mut self, sub: SubId, watch: Watch, subs: &mut Subscriptions) {
        let subscription = subs.of(sub);
        let was_sure = subscription.gets_all();
        (subscription.guarded, subscription.filtered) = (watch.guarded, watch.filtered);
        if subscription.queue().is_none() {
            self.table[subscription.pattern].reassure(was_sure, subscription.gets_all());
        }
        self.touch(subscription.pattern);
    }

    /// A peer's interest in a pattern has changed.
    pub fn hear(&mut self, from: ShardId, pattern: &[u8], queue: Option<&[u8]>, weight: Weight) {
        let id = self.intern(pattern);
        let entry = &mut self.table[id];
        match queue {
            None => {
                let unsure = weight.is_unsure(false);
                let peer = PlainPeer { shard: from, unsure };
                entry.hear_plain(peer, weight.members > 0);
            }
            Some(name) => {
                let peers = &mut entry.group_mut(name).peers;
                peers.retain(|peer| peer.shard != from);
                if weight.members > 0 {
                    peers.push(PeerWeight { shard: from, weight });
                    peers.sort_unstable_by_key(|peer| peer.shard);
                }
            }
        }
        self.touch(id);
    }

    /// Interest in a pattern may have changed: plans that used it are void, and peers may have to
    /// hear.
    fn touch(&mut self, pattern: PatternId) {
        let bytes = self.table.pattern(pattern);
        if subject::has_wildcard(bytes) {
            self.plans.forget_matching(bytes);
        } else {
            self.plans.forget(bytes);
        }
        let entry = &mut self.table[pattern];
        entry.targets.take();
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(pattern);
        }
    }

    /// Gives the account other ties. Plans made under the old ones are void.
    pub fn tie(&mut self, ties: Option<Rc<Bonds>>) {
        let streams = |ties: &Option<Rc<Bonds>>| ties.as_ref().map(|ties| ties.streams.clone());
        self.recasts = streams(&self.ties) != streams(&ties);
        self.ties = ties;
        self.plans.forget_all();
    }

    /// Nothing is waiting to be announced.
    pub fn is_announced(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Tells what peers must hear since the last call, and drops entries nobody is interested in.
    pub fn announce(&mut self, subs: &Subscriptions, tell: &mut dyn FnMut(Change)) {
        for pattern in std::mem::take(&mut self.dirty) {
            let entry = &mut self.table[pattern];
            entry.dirty = false;
            let mut changes: Vec<(Option<Box<[u8]>>, Weight)> = Vec::new();
            let plain = entry.plainly();
            if plain != entry.announced {
                entry.announced = plain;
                changes.push((None, plain.weight()));
            }
            for group in entry.groups_mut() {
                let weight = group.weigh(subs);
                if weight != group.announced {
                    group.announced = weight;
                    changes.push((Some(group.name.as_ref().into()), weight));
                }
            }
            for (queue, weight) in changes {
                tell(Change { pattern: self.table.pattern(pattern).into(), queue, weight });
            }
            let entry = &mut self.table[pattern];
            entry.narrow();
            if entry.is_empty() {
                self.table.remove(pattern);
            }
        }
    }

    /// What to do with a publication on this subject.
    pub fn plan(&mut self, subject: &[u8], subs: &Subscriptions) -> Rc<Plan> {
        self.figures.matches += 1;
        let hash = self.plans.hash(subject);
        if let Some(plan) = self.plans.find(hash, subject) {
            self.figures.plan_hits += 1;
            return plan.clone();
        }
        let mut plan = self.plans.blank(hash, subject);
        let made = Rc::get_mut(&mut plan).expect("nobody else has a blank plan");
        self.make_plan(made, subs);
        let figures = &mut self.figures;
        figures.plans_made += 1;
        let locals: usize = plan.locals.iter().map(|targets| targets.len()).sum();
        let fanout = (locals + plan.groups.len() + plan.peers.len()) as u64;
        figures.fanout_sum += fanout;
        figures.fanout_max = figures.fanout_max.max(fanout);
        self.plans.put(hash, &plan);
        plan
    }

    /// Is a plan made earlier still right?
    #[inline]
    pub fn is_current(&self, plan: &Plan) -> bool {
        plan.account == self.id && self.plans.is_current(plan)
    }

    fn make_plan(&mut self, plan: &mut Plan, subs: &Subscriptions) {
        let mut matched = std::mem::take(&mut self.matched);
        matched.clear();
        self.table.matches(&plan.subject, &mut matched);
        plan.account = self.id;
        for id in &matched {
            let entry = &self.table[*id];
            if !entry.plain().is_empty() {
                let targets =
                    entry.targets.get_or_init(|| Rc::new(Targets::of(entry.plain(), subs)));
                plan.locals.push(targets.clone());
            }
            plan.peers.extend(entry.peers().iter().map(|peer| peer.shard));
            let unsure = entry.peers().iter().filter(|peer| peer.unsure).map(|peer| peer.shard);
            plan.unsure_peers.extend(unsure);
            for group in entry.groups() {
                plan.add_group(group, subs);
            }
        }
        plan.peers.sort_unstable();
        plan.peers.dedup();
        if !plan.unsure_peers.is_empty() {
            self.keep_unsure(plan, &matched);
        }
        plan.groups
            .retain(|g| !g.members.is_empty() || !g.peers.is_empty() || !g.leaving.is_empty());
        plan.is_choosy = !plan.groups.is_empty() || !plan.unsure_peers.is_empty();
        plan.crosses = !plan.peers.is_empty() || plan.groups.iter().any(|g| !g.peers.is_empty());
        let is_tied = self.ties.as_ref().is_some_and(|ties| ties.concern(&plan.subject));
        let simple = !is_tied && plan.groups.is_empty() && !is_reserved_subject(&plan.subject);
        plan.is_plain = simple && !plan.crosses;
        plan.locals_apart = match &plan.locals[..] {
            [] => true,
            [targets] => targets.is_apart,
            _ => false,
        };
        plan.is_apart = simple && plan.locals_apart;
        self.matched = matched;
    }

    /// A peer is unsure of a subject if it is so of every pattern that matches.
    #[cold]
    fn keep_unsure(&self, plan: &mut Plan, matched: &[PatternId]) {
        let is_sure = |shard: &ShardId| {
            let mut peers = matched.iter().flat_map(|id| self.table[*id].peers());
            peers.any(|peer| peer.shard == *shard && !peer.unsure)
        };
        plan.unsure_peers.retain(|shard| !is_sure(shard));
        plan.unsure_peers.sort_unstable();
        plan.unsure_peers.dedup();
    }

    /// Every pattern peers know this shard to want, with its group and weight, in order.
    pub fn announced(&self) -> Vec<Wish> {
        let mut all = Vec::new();
        for (_, pattern, entry) in self.table.iter() {
            if entry.announced != Plain::Nobody {
                all.push((pattern.into(), None, 1));
            }
            let groups = entry.groups().iter().filter(|group| group.announced.members > 0);
            all.extend(groups.map(|group| {
                (pattern.into(), Some(group.name.as_ref().into()), group.announced.members)
            }));
        }
        all.sort();
        all
    }

    /// Every pattern a peer is believed to want, as [`Account::announced`] tells it there.
    pub fn heard(&self, from: ShardId) -> Vec<Wish> {
        let mut all = Vec::new();
        for (_, pattern, entry) in self.table.iter() {
            if entry.peers().iter().any(|peer| peer.shard == from) {
                all.push((pattern.into(), None, 1));
            }
            for group in entry.groups() {
                let peers = group.peers.iter().filter(|peer| peer.shard == from);
                all.extend(peers.map(|peer| {
                    (pattern.into(), Some(group.name.as_ref().into()), peer.weight.members)
                }));
            }
        }
        all.sort();
        all
    }
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.plain().is_empty()
            && self.announced == Plain::Nobody
            && self.peers().is_empty()
            && self.groups().is_empty()
    }

    fn plainly(&self) -> Plain {
        let sure = self.wide.as_ref().map_or(self.one_is_sure.into(), |wide| wide.sure);
        match (self.plain().is_empty(), sure) {
            (true, _) => Plain::Nobody,
            (false, 0) => Plain::Unsure,
            (false, _) => Plain::Sure,
        }
    }

    fn plain(&self) -> &[SubId] {
        self.wide.as_ref().map_or(self.one.as_slice(), |wide| &wide.plain)
    }

    /// Peers with plain interest, in order.
    fn peers(&self) -> &[PlainPeer] {
        self.wide.as_ref().map_or(self.peer.as_slice(), |wide| &wide.peers)
    }

    fn groups(&self) -> &[Group] {
        self.wide.as_ref().map_or(&[], |wide| &wide.groups)
    }

    fn groups_mut(&mut self) -> &mut [Group] {
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
    fn narrow(&mut self) {
        let Some(wide) = &mut self.wide else { return };
        wide.groups.retain(|group| !group.is_empty());
        if wide.groups.is_empty() && wide.plain.len() <= 1 && wide.peers.len() <= 1 {
            (self.one, self.peer) = (wide.plain.pop(), wide.peers.pop());
            self.one_is_sure = wide.sure > 0;
            self.wide = None;
        }
    }

    /// Gives where it stands.
    fn push_plain(&mut self, sub: SubId, sure: bool) -> usize {
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
    fn take_plain(&mut self, at: usize, sub: SubId, sure: bool) -> Option<SubId> {
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
    fn reassure(&mut self, was: bool, is: bool) {
        match &mut self.wide {
            Some(wide) => {
                wide.sure += u32::from(is);
                wide.sure -= u32::from(was);
            }
            None => self.one_is_sure = is,
        }
    }

    /// A peer wants it, or no longer.
    fn hear_plain(&mut self, peer: PlainPeer, wants: bool) {
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

    fn find_group(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups_mut().iter_mut().find(|group| *group.name == *name)
    }

    fn group_mut(&mut self, name: &[u8]) -> &mut Group {
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
fn take_out(list: &mut Vec<SubId>, at: usize, sub: SubId) -> Option<SubId> {
    debug_assert_eq!(list[at], sub);
    list.swap_remove(at);
    list.get(at).copied()
}

impl Group {
    fn is_empty(&self) -> bool {
        self.members.is_empty()
            && self.leaving.is_empty()
            && self.peers.is_empty()
            && self.announced == Weight::default()
    }

    /// Members peers may count on: those without room are of no use to them.
    fn weigh(&self, subs: &Subscriptions) -> Weight {
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

impl Plan {
    fn add_group(&mut self, group: &Group, subs: &Subscriptions) {
        let at = match self.groups.iter().position(|known| known.name == group.name) {
            Some(at) => at,
            None => {
                self.groups.push(GroupPlan {
                    name: group.name.clone(),
                    members: Vec::new(),
                    leaving: Vec::new(),
                    peers: Vec::new(),
                });
                self.groups.len() - 1
            }
        };
        let plan = &mut self.groups[at];
        plan.members.extend(group.members.iter().map(|sub| target(*sub, subs)));
        plan.leaving.extend(group.leaving.iter().map(|sub| target(*sub, subs)));
        for peer in &group.peers {
            match plan.peers.iter_mut().find(|known| known.shard == peer.shard) {
                Some(known) => {
                    known.weight.members += peer.weight.members;
                    known.weight.unsure += peer.weight.unsure;
                    known.weight.unsure_of_services += peer.weight.unsure_of_services;
                }
                None => plan.peers.push(*peer),
            }
        }
    }
}

impl Targets {
    fn of(plain: &[SubId], subs: &Subscriptions) -> Targets {
        let all = plain.iter().map(|sub| target(*sub, subs));
        if plain.len() < CAST_MIN && !plain.iter().any(|sub| subs.peek(*sub).import().is_some()) {
            return Targets { singles: all.collect(), is_apart: true, ..Targets::default() };
        }
        let mut targets = Targets::default();
        let mut by_sid: HashMap<Sid, usize, FixedState> =
            HashMap::with_hasher(FixedState::default());
        let mut sets: Vec<Vec<Target>> = Vec::new();
        for target in all {
            let subscription = subs.peek(target.sub);
            if subscription.import().is_some() {
                targets.imported.push(target);
                continue;
            }
            if target.guarded || subscription.max > 0 {
                targets.singles.push(target);
                continue;
            }
            let at = *by_sid.entry(target.sid.clone()).or_insert_with(|| {
                sets.push(Vec::new());
                sets.len() - 1
            });
            sets[at].push(target);
        }
        for set in sets {
            match set.first() {
                Some(first) if set.len() >= CAST_MIN => {
                    targets.casts.push(Rc::new(Cast { sid: first.sid.clone(), targets: set }));
                }
                _ => targets.singles.extend(set),
            }
        }
        let mut conns: Vec<ConnId> = targets.iter().map(|target| target.conn).collect();
        conns.sort_unstable();
        targets.is_apart =
            targets.imported.is_empty() && conns.windows(2).all(|pair| pair[0] != pair[1]);
        targets
    }

    fn len(&self) -> usize {
        let casts = self.casts.iter().map(|cast| cast.targets.len()).sum::<usize>();
        self.singles.len() + casts + self.imported.len()
    }

    /// All of them, but for the shadows.
    pub fn iter(&self) -> impl Iterator<Item = &Target> {
        self.singles.iter().chain(self.casts.iter().flat_map(|cast| &cast.targets))
    }
}

pub(crate) fn target(sub: SubId, subs: &Subscriptions) -> Target {
    let Subscription { conn, sid, guarded, .. } = subs.peek(sub);
    Target { conn: *conn, sub, sid: sid.clone(), guarded: *guarded }
}

impl Subscription {
    /// A new subscription, not yet joined.
    pub fn new(
        conn: ConnId,
        sid: Sid,
        account: crate::AccountId,
        pattern: PatternId,
        queue: Option<Rc<[u8]>>,
    ) -> Subscription {
        Subscription {
            conn,
            sid,
            account,
            pattern,
            more: queue.map(|queue| Box::new(More { queue: Some(queue), ..More::default() })),
            at: 0,
            delivered: 0,
            max: 0,
            limit_open: false,
            leaving: false,
            guarded: false,
            filtered: false,
        }
    }
}
