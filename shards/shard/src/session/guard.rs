//! What one connection may publish and be sent: its user's permissions, and what was decided of
//! late.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::access::{Permissions, Responses};
use crate::ids::Nanos;
use crate::limits::{DECIDED_BYTES_MAX, DECIDED_MAX, REPLIES_MAX};

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
    publications: Decisions,
    deliveries: Decisions,
    replies: Replies,
}

impl Guard {
    pub fn new(permissions: Arc<Permissions>) -> Guard {
        Guard {
            permissions,
            publications: Decisions::default(),
            deliveries: Decisions::default(),
            replies: Replies::default(),
        }
    }

    /// May it publish to this subject now?
    pub fn right(&mut self, subject: &[u8], now: Nanos) -> Right {
        let permissions = &self.permissions;
        if permissions.publish.are_empty()
            || self.publications.of(subject, None, || permissions.may_publish(subject))
        {
            return Right::Always;
        }
        match permissions.responses {
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
    pub fn keeps(&mut self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let permissions = &self.permissions;
        let rules = &permissions.subscribe;
        !rules.are_empty()
            && self.deliveries.of(subject, queue, || permissions.keeps_from(subject, queue))
    }

    /// How must what this subscription gets be looked at?
    pub fn watch(&self, pattern: &[u8], queue: Option<&[u8]>) -> Watch {
        let filtered = self.permissions.filters(pattern, queue);
        Watch { guarded: filtered || self.permissions.responses.is_some(), filtered }
    }

    /// It was sent a request: it may answer.
    pub fn asked(&mut self, reply: &[u8], now: Nanos) {
        if let Some(responses) = self.permissions.responses
            && self.right(reply, now) != Right::Always
        {
            self.replies.open(reply, responses, now);
        }
    }
}

/// The latest decisions about subjects.
#[derive(Default)]
struct Decisions {
    known: HashMap<Box<[u8]>, bool, FixedState>,
    key: Vec<u8>,
}

impl Decisions {
    fn of(&mut self, subject: &[u8], queue: Option<&[u8]>, decide: impl FnOnce() -> bool) -> bool {
        self.key.clear();
        self.key.extend_from_slice(subject);
        if let Some(queue) = queue {
            // No subject has a blank.
            self.key.push(b' ');
            self.key.extend_from_slice(queue);
        }
        if let Some(decided) = self.known.get(&self.key[..]) {
            return *decided;
        }
        let decided = decide();
        if self.key.len() <= DECIDED_BYTES_MAX {
            if self.known.len() >= DECIDED_MAX {
                self.known.clear();
            }
            self.known.insert(self.key[..].into(), decided);
        }
        decided
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
