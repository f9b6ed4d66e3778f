//! What one connection may publish and be sent: its user's permissions, and what was decided by
//! them. With other permissions it gets another guard.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::access::{Permissions, Responses};
use crate::ids::Nanos;
use crate::limits::{DECIDED_MAX, REPLIES_MAX};

/// May a message be published?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// Until permissions change.
    Always,
    /// As one more answer to a request.
    Response,
    Never,
}

/// How what a subscription gets is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watch {
    /// One by one: some of it is kept from it, or its replies are noted.
    pub guarded: bool,
    /// Some of it is kept from it.
    pub filtered: bool,
}

/// The permissions of one connection. A connection without a guard may do anything.
pub(crate) struct Guard {
    pub permissions: Arc<Permissions>,
    publications: Decided,
    replies: Replies,
}

/// Decisions there is room for at first.
const DECIDED_MIN: usize = 16;

impl Guard {
    pub fn new(permissions: Arc<Permissions>) -> Guard {
        Guard { permissions, publications: Decided::default(), replies: Replies::default() }
    }

    /// May it publish to this subject now?
    pub fn right(&self, subject: &[u8], now: Nanos) -> Right {
        let permissions = &self.permissions;
        if permissions.publish.are_empty() || permissions.may_publish(subject) {
            return Right::Always;
        }
        self.right_to_answer(subject, now)
    }

    /// As [`Guard::right`], for a subject that has a plan of this number in the connection's
    /// account.
    #[inline]
    pub fn right_by_plan(&mut self, plan: u64, subject: &[u8], now: Nanos) -> Right {
        let permissions = &self.permissions;
        if permissions.publish.are_empty()
            || self.publications.of(plan, || permissions.may_publish(subject))
        {
            return Right::Always;
        }
        self.right_to_answer(subject, now)
    }

    fn right_to_answer(&self, subject: &[u8], now: Nanos) -> Right {
        match self.permissions.responses {
            Some(responses) if self.replies.are_open(subject, responses, now) => Right::Response,
            _ => Right::Never,
        }
    }

    /// It has answered a request.
    pub fn answered(&mut self, subject: &[u8]) {
        if let Some(reply) = self.replies.known.get_mut(subject) {
            reply.answers = reply.answers.saturating_add(1);
        }
    }

    /// Is a message on this subject kept from a subscription in this group?
    pub fn keeps(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        !self.permissions.subscribe.are_empty() && self.permissions.keeps_from(subject, queue)
    }

    /// Are the replies to what it is sent noted?
    pub fn notes_replies(&self) -> bool {
        self.permissions.responses.is_some()
    }

    /// How must what this subscription gets be looked at?
    pub fn watch(&self, pattern: &[u8], queue: Option<&[u8]>) -> Watch {
        let filtered = self.permissions.filters(pattern, queue);
        Watch { guarded: filtered || self.permissions.responses.is_some(), filtered }
    }

    /// It was sent a request: it may answer. Asked once more while it still may, by another of its
    /// subscriptions too, it may so once less: nats-server looks whether it may, which counts.
    pub fn asked(&mut self, reply: &[u8], now: Nanos) {
        let Some(responses) = self.permissions.responses else { return };
        match self.right(reply, now) {
            Right::Always => {}
            Right::Response => self.answered(reply),
            Right::Never => self.replies.open(reply, responses, now),
        }
    }
}

/// What was decided about subjects, by the number of their plan. Each has two places; where both
/// are taken and there can't be more, it takes the first.
#[derive(Default)]
struct Decided {
    /// The plan's number and the decision in the lowest bit; 0 is nothing. A power of two of them,
    /// or none.
    places: Vec<u64>,
}

impl Decided {
    #[inline]
    fn of(&mut self, plan: u64, decide: impl FnOnce() -> bool) -> bool {
        let at = self.at(plan);
        for place in [at, at ^ 1] {
            if let Some(known) = self.places.get(place)
                && *known >> 1 == plan
            {
                return *known & 1 == 1;
            }
        }
        let decided = decide();
        self.note(plan << 1 | u64::from(decided));
        decided
    }

    #[inline]
    fn at(&self, plan: u64) -> usize {
        // Plans that were made one after the other do not meet.
        let spread = plan.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (spread >> 32) as usize & self.places.len().wrapping_sub(1)
    }

    #[cold]
    fn note(&mut self, decided: u64) {
        while !self.put(decided) {
            if self.places.len() == DECIDED_MAX {
                let at = self.at(decided >> 1);
                self.places[at] = decided;
                return;
            }
            let len = (2 * self.places.len()).max(DECIDED_MIN);
            for known in std::mem::replace(&mut self.places, vec![0; len]) {
                // Those that meet again are decided anew.
                self.put(known);
            }
        }
    }

    /// False if there is no room for it.
    fn put(&mut self, decided: u64) -> bool {
        let at = self.at(decided >> 1);
        let free = [at, at ^ 1].into_iter().find(|at| self.places.get(*at) == Some(&0));
        if let Some(at) = free {
            self.places[at] = decided;
        }
        free.is_some()
    }
}

/// Reply subjects that may be published to for a while.
#[derive(Default)]
struct Replies {
    known: HashMap<Box<[u8]>, Reply, FixedState>,
    /// Oldest first; some may have been asked again since, or be gone.
    order: VecDeque<(Nanos, Box<[u8]>)>,
}

struct Reply {
    since: Nanos,
    answers: u32,
}

impl Replies {
    fn open(&mut self, reply: &[u8], responses: Responses, now: Nanos) {
        let expired = |since: Nanos| responses.expires_ns.is_some_and(|ns| now - since > ns);
        while let Some((since, oldest)) = self.order.front() {
            let is_over = self.known.get(oldest).is_none_or(|reply| {
                reply.since != *since
                    || responses.max.is_some_and(|max| reply.answers >= max)
                    || expired(*since)
            });
            if !is_over && self.order.len() < REPLIES_MAX {
                break;
            }
            if let Some((since, oldest)) = self.order.pop_front()
                && self.known.get(&oldest).is_some_and(|reply| reply.since == since)
            {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(reply.into(), Reply { since: now, answers: 0 });
        self.order.push_back((now, reply.into()));
    }

    fn are_open(&self, subject: &[u8], responses: Responses, now: Nanos) -> bool {
        self.known.get(subject).is_some_and(|reply| {
            responses.max.is_none_or(|max| reply.answers < max)
                && responses.expires_ns.is_none_or(|ns| now - reply.since <= ns)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_made_once_each_and_never_mixed_up() {
        let mut decided = Decided::default();
        for plan in 1..=5000_u64 {
            assert_eq!(decided.of(plan, || plan % 3 == 0), plan % 3 == 0);
        }
        let mut anew = 0;
        for plan in 1..=5000_u64 {
            let again = decided.of(plan, || {
                anew += 1;
                plan % 3 == 0
            });
            assert_eq!(again, plan % 3 == 0);
        }
        assert!(anew < 50, "{anew} were forgotten");
    }

    #[test]
    fn decisions_are_bounded() {
        let mut decided = Decided::default();
        for plan in 1..10 * DECIDED_MAX as u64 {
            let odd = plan.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8;
            assert_eq!(decided.of(odd, || odd % 2 == 0), odd % 2 == 0);
            assert_eq!(decided.of(odd, || unreachable!("just decided")), odd % 2 == 0);
        }
        assert_eq!(decided.places.len(), DECIDED_MAX);
    }
}
