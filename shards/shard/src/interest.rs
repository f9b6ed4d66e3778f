//! Who wants what: one table per account, with this shard's own subscriptions and its peers'
//! interest side by side.
//!
//! Invariants: an entry exists while anybody is interested in its pattern, or while peers believe
//! this shard is. `announced` is what peers have been told or will be told by frames already
//! staged.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use foldhash::fast::FixedState;
use subject::{PatternId, Sublist};

use crate::account::tied::Tied;
use crate::account::{Bonds, Like};
use crate::entry::{Entry, Group, PeerWeight, Plain, PlainPeer, Weight, take_out};
use crate::ids::{AccountId, Nanos, ShardId};
use crate::plans::{Matched, Plans, SharedPlans};
use crate::report::Figures;
use crate::router::is_reserved_subject;
use crate::session::guard::Watch;
use crate::sid::SubId;
use crate::subscription::Subscriptions;
use crate::targets::{Listeners, Target, Targets, target};

/// Interest of a shard as its peers know it, for checks: pattern, group, members.
pub type Wish = (Box<[u8]>, Option<Box<[u8]>>, u32);

/// What to do with one subject, made once and used until interest or permissions change.
#[derive(Default)]
pub(crate) struct Plan {
    /// The subject it is for.
    pub subject: Vec<u8>,
    /// Of those that are kept, each has its own in its account; never 0.
    pub id: u64,
    /// In the table, where a change voids it: only then may it be used again.
    pub kept: bool,
    /// It may need a ring.
    pub crosses: bool,
    /// Ties have a say about what clients publish on its subject.
    pub is_tied: bool,
    /// What they say, once it is known.
    pub tied: OnceCell<Tied>,
    /// It needs no ring, has no group, and its subject is not a reserved one.
    pub is_plain: bool,
    /// That, but for rings, to peers that are sure of it. Not of those that are plain.
    pub is_direct: bool,
    /// No connection of this shard gets more than one plain copy.
    pub locals_apart: bool,
    /// That, no group, and its subject is not a reserved one.
    pub is_apart: bool,
    pub stale: Cell<bool>,
    /// It reaches nobody that publishers wait for, as [`crate::stall::Stalls`] counts those.
    pub clear_since: Cell<u64>,
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
        self.tied.take();
        self.stale.set(false);
        self.clear_since.set(0);
    }

    /// There is nobody to deliver to, here or elsewhere.
    pub fn reaches_nobody(&self) -> bool {
        self.locals.is_empty() && self.peers.is_empty() && self.groups.is_empty()
    }

    pub fn group(&self, name: &[u8]) -> Option<&GroupPlan> {
        self.groups.iter().find(|group| *group.name == *name)
    }
}

/// Accounts with something to announce, each once: shared by the tables of a shard.
pub(crate) type Unannounced = Rc<RefCell<Vec<AccountId>>>;

/// An account's subjects as this shard sees them.
pub(crate) struct Account {
    id: AccountId,
    table: Sublist<Entry>,
    plans: Plans,
    shared_plans: SharedPlans,
    dirty: Vec<PatternId>,
    unannounced: Unannounced,
    matched: Vec<PatternId>,
    /// What its table has been asked, and what its closed connections have done.
    pub figures: Figures,
    /// Its imported streams are not those that older subscriptions have shadows for.
    pub recasts: bool,
    /// None if its subjects are its own and mean what they say.
    pub ties: Option<Rc<Bonds>>,
    /// When the log was told that one of its clients can have no more subscriptions.
    pub full_told: Option<Nanos>,
}

/// A change of this shard's own interest that peers must hear of.
pub(crate) struct Change {
    pub pattern: Box<[u8]>,
    pub queue: Option<Box<[u8]>>,
    pub weight: Weight,
}

impl Account {
    pub fn new(id: AccountId, like: &Like) -> Account {
        Account {
            id,
            recasts: false,
            table: Sublist::new(like.seed),
            plans: Plans::new(FixedState::with_seed(like.seed), like.match_cache),
            shared_plans: SharedPlans::default(),
            dirty: Vec::new(),
            unannounced: like.unannounced.clone(),
            matched: Vec::new(),
            figures: Figures::default(),
            ties: None,
            full_told: None,
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
        self.shared_plans.forget();
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
            if self.dirty.is_empty() {
                self.unannounced.borrow_mut().push(self.id);
            }
            self.dirty.push(pattern);
        }
    }

    /// What some connection may see has changed: all plans are void.
    pub fn forget_plans(&mut self) {
        self.plans.forget_all();
        self.shared_plans.forget();
    }

    /// Gives the account other ties. Plans made under the old ones are void.
    pub fn tie(&mut self, ties: Option<Rc<Bonds>>) {
        let streams = |ties: &Option<Rc<Bonds>>| ties.as_ref().map(|ties| ties.streams.clone());
        self.recasts = streams(&self.ties) != streams(&ties);
        self.ties = ties;
        self.forget_plans();
    }

    /// Patterns of which peers may have to hear.
    pub fn unannounced(&self) -> usize {
        self.dirty.len()
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
    pub fn plan(&mut self, subject: &[u8], listeners: Listeners<'_>) -> Rc<Plan> {
        let hash = self.hash(subject);
        self.known_plan(hash, subject).unwrap_or_else(|| self.new_plan(hash, subject, listeners))
    }

    /// The plan for a subject, before it is looked up: this counts as nothing.
    pub fn plan_ahead(&mut self, subject: &[u8], listeners: Listeners<'_>) -> Rc<Plan> {
        if let Some(plan) = self.peek_plan(subject) {
            return plan.clone();
        }
        let (hash, figures) = (self.hash(subject), self.figures);
        let plan = self.new_plan(hash, subject, listeners);
        self.figures = figures;
        self.plans.forget_sight(hash);
        plan
    }

    /// What the table of plans knows a subject by.
    #[inline]
    pub fn hash(&self, subject: &[u8]) -> u64 {
        self.plans.hash(subject)
    }

    /// The plan for a subject, if there is one.
    #[inline]
    pub fn known_plan(&mut self, hash: u64, subject: &[u8]) -> Option<Rc<Plan>> {
        let plan = self.plans.find(hash, subject)?.clone();
        self.figures.matches += 1;
        self.figures.plan_hits += 1;
        Some(plan)
    }

    /// The plan for a subject, if there is one, for a look at it.
    #[inline(never)]
    pub fn peek_plan(&self, subject: &[u8]) -> Option<&Rc<Plan>> {
        self.plans.find(self.hash(subject), subject)
    }

    /// Have ties something to say of what is published on it?
    pub fn is_tied(&self, subject: &[u8]) -> bool {
        let Some(ties) = &self.ties else { return false };
        self.peek_plan(subject).map_or_else(|| ties.concern(subject), |plan| plan.is_tied)
    }

    /// The plan for a subject, if it has one or is worth it.
    pub fn kept_plan(&mut self, subject: &[u8], listeners: Listeners<'_>) -> Option<Rc<Plan>> {
        if let Some(plan) = self.peek_plan(subject) {
            return Some(plan.clone());
        }
        let hash = self.hash(subject);
        let is_worth_it = self.plans.is_worth_keeping(hash);
        let plan = is_worth_it.then(|| self.new_plan(hash, subject, listeners));
        plan.filter(|plan| plan.kept)
    }

    /// A plan for a subject that has none.
    pub fn new_plan(&mut self, hash: u64, subject: &[u8], listeners: Listeners<'_>) -> Rc<Plan> {
        self.figures.matches += 1;
        let mut matched = std::mem::take(&mut self.matched);
        matched.clear();
        let any_ending = self.table.visit(subject, |pattern| matched.push(pattern));
        let is_response = self.ties.as_ref().is_some_and(|ties| ties.may_answer(subject));
        let kept = !is_response && self.plans.is_worth_keeping(hash);
        let may_share = self.may_share(subject);
        let plan = match kept || !(is_response || may_share) {
            true => self.own_plan(kept, hash, subject, &matched, listeners),
            false => {
                let begins = Some(subject).filter(|_| any_ending && may_share);
                self.shared_plan(hash, begins, &matched, listeners)
            }
        };
        self.matched = matched;
        plan
    }

    /// Does nothing but the patterns it matches tell what is to be done with a subject? If so, that
    /// is so of all with the same tokens before the last one: it is told by the first byte, and by
    /// the first of several tokens.
    #[inline]
    fn may_share(&self, subject: &[u8]) -> bool {
        let have_a_say = |ties: &Bonds| ties.may_concern(subject) || ties.may_answer(subject);
        !is_reserved_subject(subject) && !self.ties.as_deref().is_some_and(have_a_say)
    }

    /// The plan of all subjects that match just this and have none of their own. Of one that
    /// `begins` so, it is that of all that begin like it.
    #[inline]
    fn shared_plan(
        &mut self,
        hash: u64,
        begins: Option<&[u8]>,
        matched: &[PatternId],
        listeners: Listeners<'_>,
    ) -> Rc<Plan> {
        let by = Matched::of(matched);
        if let Some(plan) = by.and_then(|by| self.shared_plans.find(by)) {
            let plan = plan.clone();
            if let Some(subject) = begins.filter(|_| plan.is_plain) {
                self.remember_begun(subject, &plan);
            }
            return plan;
        }
        let plan = self.own_plan(false, hash, b"", matched, listeners);
        // A literal one makes it a plan for a single subject.
        if let Some(by) = by
            && matched.iter().all(|pattern| subject::has_wildcard(self.table.pattern(*pattern)))
        {
            self.shared_plans.put(by, plan.clone());
        }
        plan
    }

    /// Another last token would make no difference to the plan of this subject.
    fn remember_begun(&mut self, subject: &[u8], plan: &Rc<Plan>) {
        if let Some(begin) = subject::before_last_token(subject)
            && self.shared_plans.find_begun(self.plans.hasher(), begin).is_none()
        {
            self.shared_plans.put_begun(self.plans.hasher(), begin, plan);
        }
    }

    /// The plan of a subject that need not be looked at as a whole: it begins like others, is no
    /// pattern, and nothing is to be decided. It is none that is kept by its subject. Only if it
    /// `is_right`, which is asked last.
    #[inline]
    pub fn plan_as_begun(
        &mut self,
        subject: &[u8],
        is_right: impl FnOnce() -> bool,
    ) -> Option<Rc<Plan>> {
        if !self.shared_plans.knows_begun() {
            return None;
        }
        let begin = subject::before_last_token(subject)?;
        let plan = self.shared_plans.find_begun(self.plans.hasher(), begin)?;
        if self.table.has_literal(subject) || !is_right() {
            return None;
        }
        self.figures.matches = self.figures.matches.wrapping_add(1);
        Some(plan.clone())
    }

    /// As [`Account::plan_as_begun`], whoever asks, and without counting it.
    pub fn peek_plan_as_begun(&self, subject: &[u8]) -> Option<&Rc<Plan>> {
        let begin = subject::before_last_token(subject)?;
        let plan = self.shared_plans.find_begun(self.plans.hasher(), begin)?;
        (!self.table.has_literal(subject)).then_some(plan)
    }

    fn own_plan(
        &mut self,
        kept: bool,
        hash: u64,
        subject: &[u8],
        matched: &[PatternId],
        listeners: Listeners<'_>,
    ) -> Rc<Plan> {
        let mut plan = self.plans.blank(kept, subject);
        let made = Rc::get_mut(&mut plan).expect("nobody else has a blank plan");
        self.make_plan(made, matched, listeners);
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

    fn make_plan(&self, plan: &mut Plan, matched: &[PatternId], listeners: Listeners<'_>) {
        plan.account = self.id;
        for id in matched {
            let entry = &self.table[*id];
            if !entry.plain().is_empty() {
                let all = || Rc::new(Targets::of(entry.plain(), listeners, false));
                let targets = entry.targets.get_or_init(all);
                plan.locals.push(match plan.kept && targets.filtered {
                    true => targets.of_subject(entry.plain(), &plan.subject, listeners),
                    false => targets.clone(),
                });
            }
            plan.peers.extend(entry.peers().iter().map(|peer| peer.shard));
            let unsure = entry.peers().iter().filter(|peer| peer.unsure).map(|peer| peer.shard);
            plan.unsure_peers.extend(unsure);
            for group in entry.groups() {
                plan.add_group(group, listeners);
            }
        }
        plan.peers.sort_unstable();
        plan.peers.dedup();
        if !plan.unsure_peers.is_empty() {
            self.keep_unsure(plan, matched);
        }
        plan.groups
            .retain(|g| !g.members.is_empty() || !g.peers.is_empty() || !g.leaving.is_empty());
        plan.is_choosy = !plan.groups.is_empty() || !plan.unsure_peers.is_empty();
        plan.crosses = !plan.peers.is_empty() || plan.groups.iter().any(|g| !g.peers.is_empty());
        plan.is_tied = self.ties.as_ref().is_some_and(|ties| ties.concern(&plan.subject));
        let simple = plan.groups.is_empty() && !is_reserved_subject(&plan.subject);
        plan.is_plain = simple && !plan.crosses;
        plan.is_direct = simple && plan.crosses && plan.unsure_peers.is_empty();
        plan.locals_apart = match &plan.locals[..] {
            [] => true,
            [targets] => targets.is_apart,
            _ => false,
        };
        plan.is_apart = simple && plan.locals_apart;
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

impl Plan {
    fn add_group(&mut self, group: &Group, listeners: Listeners<'_>) {
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
        let (kept, subject) = (self.kept, &self.subject);
        plan.members.extend(group.members.iter().map(|sub| {
            let target = target(*sub, listeners.subs);
            match kept && target.filtered && !listeners.keeps(*sub, subject) {
                true => listeners.unfiltered(target),
                false => target,
            }
        }));
        plan.leaving.extend(group.leaving.iter().map(|sub| target(*sub, listeners.subs)));
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
