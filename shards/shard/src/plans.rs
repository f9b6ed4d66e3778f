//! The fan-out plans of an account, remembered by subject.
//!
//! Invariant: a plan that is `kept`, not stale, and of the current generation is in the table.
//! Whoever takes one out marks it, so that connections that hold it notice.

use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use subject::PatternId;

use crate::interest::Plan;
use crate::limits::{
    PLANS_BEGUN_MAX, PLANS_CHECKED_MAX, PLANS_EASY_MAX, PLANS_MAX, PLANS_SEEN, PLANS_SHARED_MAX,
};

/// Plans by subject.
pub(crate) struct Plans {
    table: HashTable<Rc<Plan>>,
    hasher: FixedState,
    remembers: bool,
    /// Marks of subjects asked for once, by hash: with many plans, a second time makes it worth
    /// keeping one. Empty until then.
    seen: Vec<u32>,
    /// The last plan that was not kept: its memory serves the next.
    spare: Option<Rc<Plan>>,
    /// The id of the last plan that was kept.
    last_id: u64,
    /// Counts changes that may concern any subject.
    generation: u64,
}

impl Plans {
    /// One that does not remember makes each plan anew.
    pub fn new(hasher: FixedState, remembers: bool) -> Plans {
        Plans {
            table: HashTable::new(),
            hasher,
            remembers,
            seen: Vec::new(),
            spare: None,
            last_id: 0,
            generation: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Is a plan made earlier still right?
    #[inline]
    pub fn is_current(&self, plan: &Plan) -> bool {
        plan.generation == self.generation && plan.kept && !plan.stale.get()
    }

    /// The plan for a subject, if there is one that is still right.
    #[inline(always)]
    pub fn find(&self, hash: u64, subject: &[u8]) -> Option<&Rc<Plan>> {
        let plan = self.table.find(hash, |plan| *plan.subject == *subject)?;
        self.is_current(plan).then_some(plan)
    }

    #[inline]
    pub fn hash(&self, subject: &[u8]) -> u64 {
        hash_of(&self.hasher, subject)
    }

    pub fn hasher(&self) -> &FixedState {
        &self.hasher
    }

    /// Interest in this literal subject has changed.
    pub fn forget(&mut self, subject: &[u8]) {
        let hash = self.hash(subject);
        if let Ok(entry) = self.table.find_entry(hash, |plan| *plan.subject == *subject) {
            entry.remove().0.stale.set(true);
        }
    }

    /// Interest in this pattern, which has wildcards, has changed. Few plans are looked at one by
    /// one; of many, all are void.
    pub fn forget_matching(&mut self, pattern: &[u8]) {
        if self.table.len() > PLANS_CHECKED_MAX {
            self.generation += 1;
            return;
        }
        self.table.retain(|plan| {
            let void = subject::matches(pattern, &plan.subject);
            if void {
                plan.stale.set(true);
            }
            !void
        });
    }

    /// Every plan is void.
    pub fn forget_all(&mut self) {
        self.generation += 1;
    }

    /// A plan to fill in for a subject that has none, with the memory of an older one if possible.
    /// Give it to [`Plans::put`].
    pub fn blank(&mut self, kept: bool, subject: &[u8]) -> Rc<Plan> {
        let mut plan = match kept {
            true => Rc::default(),
            false => self.spare.take().unwrap_or_default(),
        };
        if Rc::get_mut(&mut plan).is_none() {
            // Still in use: it has its own way to go.
            plan = Rc::default();
        }
        if let Some(blank) = Rc::get_mut(&mut plan) {
            blank.clear();
            blank.subject.extend_from_slice(subject);
            blank.kept = kept;
            self.last_id += u64::from(kept);
            blank.id = self.last_id;
            blank.generation = self.generation;
        }
        plan
    }

    /// Remembers a finished plan, or its memory.
    #[inline]
    pub fn put(&mut self, hash: u64, plan: &Rc<Plan>) {
        if !plan.kept {
            self.spare = Some(plan.clone());
            return;
        }
        if self.table.len() >= PLANS_MAX {
            self.make_room();
        }
        match self.table.find_mut(hash, |known| known.subject == plan.subject) {
            Some(known) => std::mem::replace(known, plan.clone()).stale.set(true),
            None => {
                let hasher = &self.hasher;
                let rehash = |plan: &Rc<Plan>| hash_of(hasher, &plan.subject);
                self.table.insert_unique(hash, plan.clone(), rehash);
            }
        }
    }

    /// A few subjects are always remembered. Among many, those that come round again: plans for
    /// the others would only drive each other out.
    pub fn is_worth_keeping(&mut self, hash: u64) -> bool {
        if !self.remembers || self.table.len() < PLANS_EASY_MAX {
            return self.remembers;
        }
        if self.seen.is_empty() {
            self.seen.resize(PLANS_SEEN, 0);
        }
        let mark = (hash >> 32) as u32 | 1;
        std::mem::replace(&mut self.seen[hash as usize % PLANS_SEEN], mark) == mark
    }

    /// A subject has not come after all.
    pub fn forget_sight(&mut self, hash: u64) {
        if let Some(mark) = self.seen.get_mut(hash as usize % PLANS_SEEN) {
            *mark = 0;
        }
    }

    /// Takes out the plans that are void already; all of them, if that is too few.
    #[cold]
    fn make_room(&mut self) {
        let generation = self.generation;
        self.table.retain(|plan| plan.generation == generation);
        if self.table.len() >= PLANS_MAX / 4 * 3 {
            for plan in self.table.drain() {
                plan.stale.set(true);
            }
        }
    }
}

#[inline]
fn hash_of(hasher: &FixedState, bytes: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// How many patterns a subject may match to have a shared plan.
const MATCHED_MAX: usize = 4;

/// What a shared plan is made of: patterns by their numbers, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Matched([u32; MATCHED_MAX]);

impl Matched {
    /// None if they are too many.
    #[inline]
    pub fn of(patterns: &[PatternId]) -> Option<Matched> {
        let mut matched = [u32::MAX; MATCHED_MAX];
        if patterns.len() > MATCHED_MAX {
            return None;
        }
        for (at, pattern) in matched.iter_mut().zip(patterns) {
            *at = pattern.index() as u32;
        }
        Some(Matched(matched))
    }

    /// Numbers that follow one another do not meet.
    #[inline]
    fn place(self) -> usize {
        let sum = |sum: u32, number: u32| sum.wrapping_mul(61).wrapping_add(number);
        self.0.into_iter().fold(0, sum) as usize % PLANS_SHARED_MAX
    }
}

/// Plans by what they are made of. Any change of interest or permissions voids all of them: they
/// are for many subjects that come once each while little changes.
#[derive(Default)]
pub(crate) struct SharedPlans {
    places: Vec<Option<Shared>>,
    changes: u64,
    /// Plans of all subjects that have the same tokens before the last one.
    begun: HashTable<Begun>,
    /// The changes that they are right for.
    begun_changes: u64,
}

/// A beginning of at most so many bytes is remembered.
const BEGUN_BYTES_MAX: usize = 47;

/// The plan of subjects that begin alike, kept together so that finding it touches little memory.
struct Begun {
    len: u8,
    bytes: [u8; BEGUN_BYTES_MAX],
    plan: Rc<Plan>,
}

impl Begun {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

struct Shared {
    matched: Matched,
    changes: u64,
    plan: Rc<Plan>,
}

impl SharedPlans {
    /// All are void.
    #[inline]
    pub fn forget(&mut self) {
        self.changes += 1;
    }

    #[inline]
    pub fn find(&self, matched: Matched) -> Option<&Rc<Plan>> {
        let shared = self.places.get(matched.place())?.as_ref()?;
        (shared.matched == matched && shared.changes == self.changes).then_some(&shared.plan)
    }

    /// Is there any plan for subjects that begin alike?
    #[inline]
    pub fn knows_begun(&self) -> bool {
        !self.begun.is_empty() && self.begun_changes == self.changes
    }

    /// The plan of the subjects that have just these tokens before the last one, if it is known and
    /// none of them is a pattern without wildcards.
    #[inline(always)]
    pub fn find_begun(&self, hasher: &FixedState, begin: &[u8]) -> Option<&Rc<Plan>> {
        if !self.knows_begun() {
            return None;
        }
        let is_it = |begun: &Begun| *begun.bytes() == *begin;
        self.begun.find(hash_of(hasher, begin), is_it).map(|begun| &begun.plan)
    }

    /// Remembers the plan of the subjects that begin so, which has been looked for.
    pub fn put_begun(&mut self, hasher: &FixedState, begin: &[u8], plan: &Rc<Plan>) {
        if begin.len() > BEGUN_BYTES_MAX {
            return;
        }
        if self.begun_changes != self.changes || self.begun.len() >= PLANS_BEGUN_MAX {
            self.begun.clear();
            self.begun_changes = self.changes;
        }
        let mut bytes = [0; BEGUN_BYTES_MAX];
        bytes[..begin.len()].copy_from_slice(begin);
        let begun = Begun { len: begin.len() as u8, bytes, plan: plan.clone() };
        let rehash = |begun: &Begun| hash_of(hasher, begun.bytes());
        self.begun.insert_unique(hash_of(hasher, begin), begun, rehash);
    }

    pub fn put(&mut self, matched: Matched, plan: Rc<Plan>) {
        if self.places.is_empty() {
            self.places.resize_with(PLANS_SHARED_MAX, || None);
        }
        let changes = self.changes;
        self.places[matched.place()] = Some(Shared { matched, changes, plan });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(plans: &mut Plans, subject: &str) -> Rc<Plan> {
        let hash = plans.hash(subject.as_bytes());
        if let Some(plan) = plans.find(hash, subject.as_bytes()) {
            return plan.clone();
        }
        let kept = plans.is_worth_keeping(hash);
        let plan = plans.blank(kept, subject.as_bytes());
        plans.put(hash, &plan);
        plan
    }

    #[test]
    fn a_change_voids_the_plans_it_concerns_and_no_others() {
        let mut plans = Plans::new(FixedState::with_seed(1), true);
        let (a, b) = (asked(&mut plans, "t.a"), asked(&mut plans, "t.b"));
        plans.forget(b"t.b");
        assert!(plans.is_current(&a) && !plans.is_current(&b));
        let b = asked(&mut plans, "t.b");
        plans.forget_matching(b"*.b");
        assert!(plans.is_current(&a) && !plans.is_current(&b));
        plans.forget_matching(b">");
        assert!(!plans.is_current(&a) && plans.len() == 0);
    }

    #[test]
    fn with_many_plans_all_are_void_at_once() {
        let mut plans = Plans::new(FixedState::with_seed(1), true);
        let all: Vec<_> =
            (0..=PLANS_CHECKED_MAX).map(|n| asked(&mut plans, &format!("s.{n}"))).collect();
        plans.forget_matching(b"other.*");
        assert!(all.iter().all(|plan| !plans.is_current(plan)));
        let again = asked(&mut plans, "s.1");
        assert!(plans.is_current(&again) && plans.len() == all.len());
    }

    #[test]
    fn among_many_subjects_only_those_that_return_are_kept() {
        let mut plans = Plans::new(FixedState::with_seed(1), true);
        for n in 0..PLANS_EASY_MAX {
            assert!(asked(&mut plans, &format!("s.{n}")).kept);
        }
        assert!(!asked(&mut plans, "new").kept);
        assert!(asked(&mut plans, "new").kept);
        let once = asked(&mut plans, "once");
        assert!(!once.kept && !plans.is_current(&once));
        assert_eq!((&*once.subject, plans.len()), (&b"once"[..], PLANS_EASY_MAX + 1));
    }

    #[test]
    fn a_cache_that_is_off_remembers_nothing() {
        let mut plans = Plans::new(FixedState::with_seed(1), false);
        let plan = asked(&mut plans, "a");
        assert!(!plan.kept && !plans.is_current(&plan) && plans.len() == 0);
        assert!(!asked(&mut plans, "a").kept);
    }

    #[test]
    fn plans_are_bounded_and_one_that_was_driven_out_is_not_current() {
        let mut plans = Plans::new(FixedState::with_seed(1), true);
        let first = asked(&mut plans, "first");
        for n in 0..PLANS_MAX {
            asked(&mut plans, &format!("s.{n}"));
            asked(&mut plans, &format!("s.{n}"));
            assert!(plans.len() <= PLANS_MAX);
        }
        assert!(!plans.is_current(&first));
    }

    #[test]
    fn plans_of_what_begins_alike_are_forgotten_with_any_change_and_bounded() {
        let (mut shared, hasher) = (SharedPlans::default(), FixedState::with_seed(1));
        let plan = Rc::<Plan>::default();
        let begins = |n: usize| format!("t.{n}").into_bytes();
        for n in 0..PLANS_BEGUN_MAX {
            shared.put_begun(&hasher, &begins(n), &plan);
        }
        let found = |shared: &SharedPlans, n| shared.find_begun(&hasher, &begins(n)).is_some();
        assert!((0..PLANS_BEGUN_MAX).all(|n| found(&shared, n)));
        assert!(!found(&shared, PLANS_BEGUN_MAX));
        shared.put_begun(&hasher, &begins(PLANS_BEGUN_MAX), &plan);
        assert!(found(&shared, PLANS_BEGUN_MAX) && !found(&shared, 0));
        assert_eq!(shared.begun.len(), 1, "the others had to make room");
        shared.forget();
        assert!(!found(&shared, PLANS_BEGUN_MAX) && !shared.knows_begun());
        shared.put_begun(&hasher, &begins(1), &plan);
        assert!(found(&shared, 1) && shared.begun.len() == 1);
        let long = [b'x'; BEGUN_BYTES_MAX + 1];
        shared.put_begun(&hasher, &long, &plan);
        assert!(shared.find_begun(&hasher, &long).is_none());
        shared.put_begun(&hasher, &long[1..], &plan);
        assert!(shared.find_begun(&hasher, &long[1..]).is_some());
        assert!(shared.find_begun(&hasher, &long[2..]).is_none());
    }

    #[test]
    fn shared_plans_are_those_of_what_matches_until_anything_changes() {
        let mut ids = subject::Sublist::new(1);
        let patterns: Vec<PatternId> = (0..2 * PLANS_SHARED_MAX)
            .map(|n| ids.insert(format!("t.{n}.*").as_bytes(), ()))
            .collect();
        let mut shared = SharedPlans::default();
        let of = |patterns: &[PatternId]| Matched::of(patterns).expect("few");
        assert!(Matched::of(&patterns[..5]).is_none());
        for pattern in &patterns[1..] {
            let by = of(&[patterns[0], *pattern]);
            let plan = Rc::<Plan>::default();
            shared.put(by, plan.clone());
            assert!(shared.find(by).is_some_and(|found| Rc::ptr_eq(found, &plan)));
        }
        assert_eq!(shared.places.len(), PLANS_SHARED_MAX);
        let last = patterns.last().expect("many");
        assert!(shared.find(of(&[*last, patterns[0]])).is_none(), "the order counts");
        assert!(shared.find(of(&[patterns[0]])).is_none());
        assert!(shared.find(of(&[patterns[0], *last])).is_some());
        shared.forget();
        assert!(shared.find(of(&[patterns[0], *last])).is_none());
    }
}
