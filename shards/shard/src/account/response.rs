//! Responses to requests of other accounts: which reply subject stands for which.
//!
//! The shard that took the request in keeps the entry, and is the only one to say whether a
//! response is still wanted. Its number is part of the reply subject, so whoever publishes a
//! response knows whom to ask; the publication waits for the answer, then goes its way by itself.

use std::collections::BTreeSet;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::latency::{Asking, Measured};
use super::service::Terms;
use super::{REPLY_PREFIX, ResponseType};
use crate::effect::Effects;
use crate::frame::{Frame, Question};
use crate::ids::{AccountId, ConnId, Nanos, ShardId};
use crate::limits::RESPONSES_MAX;
use crate::report::Figures;
use crate::rng::Rng;
use crate::session::client::Wait;
use crate::shard::Shard;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of the account in a reply subject.
const ACCOUNT_LEN: usize = 6;
/// Digits of the shard.
const SHARD_LEN: usize = 2;
/// Digits of the entry: 59 bits that nobody can guess.
const ENTRY_LEN: usize = 10;
const ENTRIES: u64 = 62u64.pow(ENTRY_LEN as u32);

/// Names an entry of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ReplyId(u64);

/// A request that waits for its response, or for more.
pub(crate) struct Entry {
    /// Where the reply subject stands: the account that answers.
    pub account: AccountId,
    /// Where the response goes: the account that asked.
    pub to: AccountId,
    /// Its subject there.
    pub reply: Box<[u8]>,
    pub terms: Terms,
    /// Who asked.
    pub conn: ConnId,
    pub asked_at: Nanos,
    pub measured: Option<Box<Asking>>,
}

/// One account that a response comes to, and its subject there.
pub(crate) type Hop = (AccountId, Box<[u8]>, Terms);

/// What a response is a response to.
#[derive(Default)]
pub struct Answer {
    /// Nearest first; none if nobody waits for it.
    pub(crate) hops: Vec<Hop>,
    pub(crate) measured: Option<Box<Measured>>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({} hops)", self.hops.len())
    }
}

/// All that wait on one shard.
pub(crate) struct Responses {
    entries: HashMap<ReplyId, (Entry, Nanos), FixedState>,
    /// When each is given up.
    ends: BTreeSet<(Nanos, ReplyId)>,
    seed: u64,
}

impl Responses {
    pub fn new(seed: u64) -> Responses {
        Responses {
            entries: HashMap::with_hasher(FixedState::with_seed(seed)),
            ends: BTreeSet::new(),
            seed,
        }
    }

    /// Keeps an entry; with too many, the one that would end first goes.
    pub fn insert(
        &mut self,
        entry: Entry,
        now: Nanos,
        rng: &mut Rng,
        figures: &mut Figures,
    ) -> ReplyId {
        if self.entries.len() >= RESPONSES_MAX
            && let Some((_, first)) = self.ends.first().copied()
        {
            self.remove(first);
            figures.dropped_responses += 1;
        }
        let mut id = ReplyId(rng.below(ENTRIES as usize) as u64);
        while self.entries.contains_key(&id) {
            id = ReplyId(rng.below(ENTRIES as usize) as u64);
        }
        let end = now.saturating_add(entry.terms.threshold_ns);
        self.ends.insert((end, id));
        self.entries.insert(id, (entry, end));
        id
    }

    pub fn remove(&mut self, id: ReplyId) -> Option<Entry> {
        let (entry, end) = self.entries.remove(&id)?;
        self.ends.remove(&(end, id));
        Some(entry)
    }

    /// It may take as long again.
    fn prolong(&mut self, id: ReplyId, now: Nanos) {
        if let Some((entry, end)) = self.entries.get_mut(&id) {
            self.ends.remove(&(*end, id));
            *end = now.saturating_add(entry.terms.threshold_ns);
            self.ends.insert((*end, id));
        }
    }

    /// When the next one is given up.
    pub fn next(&self) -> Option<Nanos> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Takes one whose time is over.
    pub fn expired(&mut self, now: Nanos) -> Option<Entry> {
        let (end, id) = self.ends.first().copied()?;
        if end > now { None } else { self.remove(id) }
    }

    /// `_R_.<account>.<shard><entry>`.
    pub fn subject(&self, shard: ShardId, account: AccountId, id: ReplyId) -> Vec<u8> {
        let mut subject = REPLY_PREFIX.to_vec();
        let mixed = (self.seed ^ u64::from(account.0)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16;
        digits(mixed, ACCOUNT_LEN, &mut subject);
        subject.push(b'.');
        digits(u64::from(shard.0), SHARD_LEN, &mut subject);
        digits(id.0, ENTRY_LEN, &mut subject);
        subject
    }
}

impl ReplyId {
    fn of(subject: &[u8]) -> Option<(ShardId, ReplyId)> {
        let rest = subject.strip_prefix(REPLY_PREFIX)?;
        let (_, rest) = rest.split_at_checked(ACCOUNT_LEN)?;
        let rest = rest.strip_prefix(b".").filter(|rest| rest.len() == SHARD_LEN + ENTRY_LEN)?;
        let shard = u16::try_from(number(&rest[..SHARD_LEN])?).ok()?;
        Some((ShardId(shard), ReplyId(number(&rest[SHARD_LEN..])?)))
    }

    /// Who knows of it.
    pub fn shard(subject: &[u8]) -> Option<ShardId> {
        ReplyId::of(subject).map(|(shard, _)| shard)
    }
}

fn digits(mut number: u64, len: usize, out: &mut Vec<u8>) {
    for _ in 0..len {
        out.push(DIGITS[(number % 62) as usize]);
        number /= 62;
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().rev().try_fold(0u64, |number, digit| {
        let value = DIGITS.iter().position(|known| known == digit)? as u64;
        number.checked_mul(62)?.checked_add(value)
    })
}

impl Shard {
    /// Says what a response is for, and counts it.
    pub(crate) fn resolve(&mut self, account: AccountId, subject: &[u8], is_last: bool) -> Answer {
        let mut answer = Answer::default();
        let (mut account, mut subject) = (account, Box::<[u8]>::from(subject));
        while let Some((shard, id)) = ReplyId::of(&subject).filter(|(shard, _)| *shard == self.id)
            && let Some((entry, _)) = self.responses.entries.get(&id)
            && entry.account == account
        {
            debug_assert_eq!(shard, self.id);
            (account, subject) = (entry.to, entry.reply.clone());
            answer.hops.push((account, subject.clone(), entry.terms.clone()));
            if entry.terms.response != ResponseType::Singleton && !is_last {
                self.responses.prolong(id, self.now);
            } else if let Some(entry) = self.responses.remove(id)
                && answer.measured.is_none()
            {
                answer.measured = self.measured_of(entry, 200);
            }
        }
        answer
    }

    /// Asks the shard that knows what a response is for; the connection waits.
    pub(crate) fn ask(
        &mut self,
        conn: ConnId,
        shard: ShardId,
        account: AccountId,
        subject: &[u8],
        is_last: bool,
        out: &mut Effects,
    ) {
        let Some(client) = self.client(conn) else { return };
        client.wait = Wait::Answer(shard);
        let question = Question { conn, account, subject: subject.into(), is_last };
        out.forward(shard, Frame::Question(Box::new(question)));
    }

    /// A peer asks what a response is for.
    pub(crate) fn asked_by(&mut self, from: ShardId, question: &Question, out: &mut Effects) {
        let Question { conn, account, subject, is_last } = question;
        let answer = self.resolve(*account, subject, *is_last);
        self.announce(out);
        out.forward(from, Frame::Answer(Box::new((*conn, answer))));
    }

    /// Nobody got the request: nobody will answer it.
    pub(crate) fn give_up(&mut self, conn: ConnId, id: ReplyId, out: &mut Effects) {
        if let Some(entry) = self.responses.remove(id) {
            self.not_answered(conn, entry, 503, out);
        }
    }

    /// Forgets requests that have waited long enough, a budget per turn.
    pub(crate) fn expire_responses(&mut self, out: &mut Effects) {
        for _ in 0..crate::limits::EXPIRE_PER_TURN {
            let Some(entry) = self.responses.expired(self.now) else { return };
            self.not_answered(entry.conn, entry, 504, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_subject_says_who_knows_of_it() {
        let responses = Responses::new(5);
        for (shard, id) in [(0, 0), (255, ENTRIES - 1), (7, 123_456_789)] {
            let (shard, id) = (ShardId(shard), ReplyId(id));
            let subject = responses.subject(shard, AccountId(3), id);
            assert!(subject::valid_literal(&subject) && subject.len() == 23);
            assert_eq!(ReplyId::of(&subject), Some((shard, id)));
        }
        for bad in ["_R_.", "_R_.abcdef.x", "_R_.abcdef.0000000000!0", "_R_.abcdef0000000000000"] {
            assert_eq!(ReplyId::of(bad.as_bytes()), None, "{bad}");
        }
    }
}
