//! Responses to requests of other accounts: which reply subject stands for which.
//!
//! The shard that took the request in keeps the entry, and is the only one to say whether a
//! response is still wanted. Its number is part of the reply subject, so whoever publishes a
//! response knows whom to ask; the publication waits for the answer, then goes its way by itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{DefaultHasher, Hasher};

use super::latency::{Asking, Measured};
use super::legs::Terms;
use super::{REPLY_PREFIX, ResponseType};
use crate::access::Secret;
use crate::effect::Effects;
use crate::frame::{Frame, Question};
use crate::ids::{AccountId, ConnId, Nanos, ShardId};
use crate::limits::RESPONSES_MAX;
use crate::report::Figures;
use crate::session::client::Wait;
use crate::shard::Shard;
use crate::table;

/// Six bits each.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
const DIGIT_BITS: u32 = 6;
/// What each digit is worth; of anything else, [`NO_DIGIT`].
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};
const NO_DIGIT: u8 = u8::MAX;
/// Digits of the account in a reply subject.
const ACCOUNT_LEN: usize = 6;
/// Digits of the shard.
const SHARD_LEN: usize = 2;
/// Digits of the entry's place.
const PLACE_LEN: usize = 4;
/// Digits of its key: 60 bits that nobody can guess.
const KEY_LEN: usize = 10;
const KEYS: u64 = 1 << (DIGIT_BITS * KEY_LEN as u32);
const ENTRY_LEN: usize = SHARD_LEN + PLACE_LEN + KEY_LEN;
const SUBJECT_LEN: usize = REPLY_PREFIX.len() + ACCOUNT_LEN + 1 + ENTRY_LEN;
const _: () = assert!(RESPONSES_MAX <= 1 << (DIGIT_BITS * PLACE_LEN as u32));

/// Names an entry of one shard: where it is, and what proves that it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplyId {
    place: u32,
    key: u64,
}

/// A request that waits for its response, or for more.
pub(crate) struct Entry {
    /// Where the reply subject stands: the account that answers.
    pub account: AccountId,
    /// Where the response goes: the account that asked.
    pub to: AccountId,
    /// Its subject there.
    pub reply: Vec<u8>,
    pub terms: Terms,
    /// Who asked.
    pub conn: ConnId,
    pub asked_at: Nanos,
    pub measured: Option<Box<Asking>>,
}

/// One account that a response comes to, and its subject there.
pub(crate) type Hop = (AccountId, Vec<u8>, Terms);

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
    places: Vec<Place>,
    free: Vec<u32>,
    /// Who waits as long, in the order of their ends; by how long.
    queues: Vec<Queue>,
    /// The first of each queue, by its end, the earliest on top. Below it may be some that have
    /// gone.
    heads: BinaryHeap<Reverse<(Nanos, u32)>>,
    /// Has taken in what nobody can guess.
    secret: DefaultHasher,
    /// Keys made so far.
    keys: u64,
    /// What accounts are called in reply subjects, as far as they were named.
    names: Vec<[u8; ACCOUNT_LEN]>,
}

/// Room for one entry, and its neighbours in its queue.
struct Place {
    entry: Option<Entry>,
    key: u64,
    /// When it is given up.
    end: Nanos,
    before: u32,
    after: u32,
}

/// Entries with the same threshold: whoever came last ends last.
struct Queue {
    threshold_ns: Nanos,
    first: u32,
    last: u32,
}

/// Heads that have gone are kept up to as many as there are others, and these.
const GONE_HEADS_MAX: usize = 64;

/// No place.
const NOWHERE: u32 = u32::MAX;

impl Responses {
    pub fn new(secret: &Secret, seed: u64) -> Responses {
        let mut hasher = DefaultHasher::new();
        hasher.write(secret.expose().as_bytes());
        hasher.write_u64(seed);
        Responses {
            places: Vec::new(),
            free: Vec::new(),
            queues: Vec::new(),
            heads: BinaryHeap::new(),
            secret: hasher,
            keys: 0,
            names: Vec::new(),
        }
    }

    /// Who knows some of them learns nothing of the next one.
    fn key(&mut self) -> u64 {
        self.keys += 1;
        let mut hasher = self.secret.clone();
        hasher.write_u64(self.keys);
        hasher.finish() % KEYS
    }

    fn name(&mut self, account: AccountId) -> [u8; ACCOUNT_LEN] {
        while self.names.len() <= account.0 as usize {
            let mut hasher = self.secret.clone();
            hasher.write_u32(self.names.len() as u32);
            let mut name = [0; ACCOUNT_LEN];
            digits(hasher.finish(), &mut name);
            self.names.push(name);
        }
        self.names[account.0 as usize]
    }

    /// Keeps an entry; with too many, the one that would end first goes.
    pub fn insert(&mut self, entry: Entry, now: Nanos, figures: &mut Figures) -> ReplyId {
        if self.free.is_empty()
            && self.places.len() >= RESPONSES_MAX
            && let Some((_, first)) = self.first()
        {
            self.remove(self.id(first));
            figures.dropped_responses += 1;
        }
        let key = self.key();
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                let blank = Place { entry: None, key, end: 0, before: NOWHERE, after: NOWHERE };
                table::push(&mut self.places, blank);
                self.places.len() as u32 - 1
            }
        };
        let threshold_ns = entry.terms.threshold_ns;
        let at = &mut self.places[place as usize];
        (at.entry, at.key) = (Some(entry), key);
        self.join(place, threshold_ns, now);
        ReplyId { place, key }
    }

    pub fn remove(&mut self, id: ReplyId) -> Option<Entry> {
        let threshold_ns = self.find(id)?.terms.threshold_ns;
        self.part(id.place, threshold_ns);
        self.free.push(id.place);
        let entry = self.places[id.place as usize].entry.take();
        self.forget_gone_heads();
        entry
    }

    fn find(&self, id: ReplyId) -> Option<&Entry> {
        let place = self.places.get(id.place as usize).filter(|place| place.key == id.key)?;
        place.entry.as_ref()
    }

    fn id(&self, place: u32) -> ReplyId {
        ReplyId { place, key: self.places[place as usize].key }
    }

    /// It may take as long again.
    fn prolong(&mut self, id: ReplyId, now: Nanos) {
        if let Some(threshold_ns) = self.find(id).map(|entry| entry.terms.threshold_ns) {
            self.part(id.place, threshold_ns);
            self.join(id.place, threshold_ns, now);
            self.forget_gone_heads();
        }
    }

    /// So that the head on top is one, and there are not many that have gone.
    fn forget_gone_heads(&mut self) {
        while self.heads.peek().is_some_and(|head| !is_head(&self.places, head)) {
            self.heads.pop();
        }
        if self.heads.len() > 2 * self.queues.len() + GONE_HEADS_MAX {
            let places = &self.places;
            self.heads.retain(|head| is_head(places, head));
        }
    }

    /// Goes to the end of its queue.
    fn join(&mut self, place: u32, threshold_ns: Nanos, now: Nanos) {
        let found = self.queues.binary_search_by_key(&threshold_ns, |queue| queue.threshold_ns);
        let before = match found {
            Ok(at) => std::mem::replace(&mut self.queues[at].last, place),
            Err(at) => {
                self.queues.insert(at, Queue { threshold_ns, first: place, last: place });
                NOWHERE
            }
        };
        if let Some(before) = self.places.get_mut(before as usize) {
            before.after = place;
        }
        let at = &mut self.places[place as usize];
        (at.before, at.after) = (before, NOWHERE);
        at.end = now.saturating_add(threshold_ns);
        if before == NOWHERE {
            self.heads.push(Reverse((at.end, place)));
        }
    }

    /// Leaves its queue.
    fn part(&mut self, place: u32, threshold_ns: Nanos) {
        let Place { before, after, .. } = self.places[place as usize];
        if let Some(before) = self.places.get_mut(before as usize) {
            before.after = after;
        }
        if let Some(next) = self.places.get_mut(after as usize) {
            next.before = before;
            if before == NOWHERE {
                self.heads.push(Reverse((next.end, after)));
            }
        }
        if before != NOWHERE && after != NOWHERE {
            return;
        }
        let found = self.queues.binary_search_by_key(&threshold_ns, |queue| queue.threshold_ns);
        let Ok(at) = found else { return };
        let queue = &mut self.queues[at];
        if before == NOWHERE {
            queue.first = after;
        }
        if after == NOWHERE {
            queue.last = before;
        }
        if queue.first == NOWHERE {
            self.queues.remove(at);
        }
    }

    /// Who is given up next, and when.
    fn first(&self) -> Option<(Nanos, u32)> {
        self.heads.peek().map(|head| head.0)
    }

    /// When the next one is given up.
    pub fn next(&self) -> Option<Nanos> {
        self.first().map(|(end, _)| end)
    }

    /// Takes one whose time is over.
    pub fn expired(&mut self, now: Nanos) -> Option<Entry> {
        let (end, place) = self.first()?;
        if end > now { None } else { self.remove(self.id(place)) }
    }

    /// Appends `_R_.<account>.<shard><place><key>`.
    pub fn write_subject(
        &mut self,
        shard: ShardId,
        account: AccountId,
        id: ReplyId,
        out: &mut Vec<u8>,
    ) {
        let mut subject = [b'.'; SUBJECT_LEN];
        let (prefix, rest) = subject.split_at_mut(REPLY_PREFIX.len());
        prefix.copy_from_slice(REPLY_PREFIX);
        let (of_account, rest) = rest.split_at_mut(ACCOUNT_LEN);
        of_account.copy_from_slice(&self.name(account));
        let (of_shard, rest) = rest[1..].split_at_mut(SHARD_LEN);
        digits(u64::from(shard.0), of_shard);
        let (of_place, of_key) = rest.split_at_mut(PLACE_LEN);
        digits(u64::from(id.place), of_place);
        digits(id.key, of_key);
        out.extend_from_slice(&subject);
    }
}

/// Is it still the first of its queue?
fn is_head(places: &[Place], head: &Reverse<(Nanos, u32)>) -> bool {
    let (end, place) = head.0;
    let place = &places[place as usize];
    place.entry.is_some() && place.before == NOWHERE && place.end == end
}

impl ReplyId {
    /// Who knows of it, and its name there.
    pub fn of(subject: &[u8]) -> Option<(ShardId, ReplyId)> {
        let rest = subject.strip_prefix(REPLY_PREFIX)?;
        let (_, rest) = rest.split_at_checked(ACCOUNT_LEN)?;
        let rest = rest.strip_prefix(b".").filter(|rest| rest.len() == ENTRY_LEN)?;
        let (shard, rest) = rest.split_at(SHARD_LEN);
        let (place, key) = rest.split_at(PLACE_LEN);
        let shard = u16::try_from(number(shard)?).ok()?;
        let place = u32::try_from(number(place)?).ok()?;
        Some((ShardId(shard), ReplyId { place, key: number(key)? }))
    }

    /// Who knows of it.
    pub fn shard(subject: &[u8]) -> Option<ShardId> {
        ReplyId::of(subject).map(|(shard, _)| shard)
    }
}

/// As many as there is room for, the lowest first.
fn digits(mut number: u64, out: &mut [u8]) {
    for digit in out {
        *digit = DIGITS[(number % 64) as usize];
        number >>= DIGIT_BITS;
    }
}

/// Of at most [`KEY_LEN`] digits.
fn number(digits: &[u8]) -> Option<u64> {
    let (mut number, mut highest) = (0, 0);
    for digit in digits.iter().rev() {
        let value = VALUES[usize::from(*digit)];
        highest = value.max(highest);
        number = number << DIGIT_BITS | u64::from(value);
    }
    (highest != NO_DIGIT).then_some(number)
}

impl Shard {
    /// Says what a response to `found` is for, and counts it. `hops` is empty: memory for those
    /// there are.
    pub(crate) fn resolve(
        &mut self,
        mut account: AccountId,
        mut found: Option<(ShardId, ReplyId)>,
        is_last: bool,
        hops: Vec<Hop>,
    ) -> Answer {
        let mut answer = Answer { hops, measured: None };
        loop {
            let Some((shard, id)) = found else { return answer };
            let Some(entry) = self.responses.find(id) else { return answer };
            if shard != self.id || entry.account != account {
                return answer;
            }
            let (to, terms) = (entry.to, entry.terms);
            if terms.response != ResponseType::Singleton && !is_last {
                answer.hops.push((to, entry.reply.clone(), terms));
                self.responses.prolong(id, self.now);
            } else if let Some(mut entry) = self.responses.remove(id) {
                answer.hops.push((to, std::mem::take(&mut entry.reply), terms));
                if answer.measured.is_none() {
                    answer.measured = self.measured_of(entry, 200);
                }
            }
            account = to;
            found = answer.hops.last().and_then(|(_, subject, _)| ReplyId::of(subject));
        }
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
        let answer = self.resolve(*account, ReplyId::of(subject), *is_last, Vec::new());
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
    use crate::account::ServiceId;
    use crate::rng::Rng;

    fn nobody_waits() -> Responses {
        Responses::new(&Secret::new("secret"), 5)
    }

    #[test]
    fn a_reply_subject_says_who_knows_of_it() {
        let mut responses = nobody_waits();
        for (shard, place, key) in
            [(0, 0, 0), (255, RESPONSES_MAX as u32 - 1, KEYS - 1), (7, 61, 123_456_789)]
        {
            let (shard, id) = (ShardId(shard), ReplyId { place, key });
            let mut subject = Vec::new();
            responses.write_subject(shard, AccountId(3), id, &mut subject);
            assert!(subject::valid_literal(&subject) && subject.len() == 27);
            assert_eq!(ReplyId::of(&subject), Some((shard, id)));
        }
        let of = |rest: &str| ReplyId::of(format!("_R_.{rest}").as_bytes());
        assert!(of("abcdef.0000000000000000").is_some());
        for bad in ["", "abcdef.x", "abcdef.00000000000000!0", "abcdef00000000000000000"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_and_names_are_of_the_secret_and_the_shard() {
        let made = |secret: &str, seed| {
            let mut responses = Responses::new(&Secret::new(secret), seed);
            let name = responses.name(AccountId(3));
            (responses.name(AccountId(2)) != name, name, [responses.key(), responses.key()])
        };
        let (differ, name, [first, second]) = made("secret", 5);
        assert!(differ && first != second && first < KEYS);
        assert_eq!(made("secret", 5), (true, name, [first, second]));
        for (secret, seed) in [("other", 5), ("secret", 6)] {
            let (_, other, keys) = made(secret, seed);
            assert!(other != name && keys != [first, second]);
        }
    }

    fn entry(account: u32, threshold_ns: Nanos) -> Entry {
        let service = ServiceId(1);
        Entry {
            account: AccountId(account),
            to: AccountId(0),
            reply: b"to".to_vec(),
            terms: Terms { service, response: ResponseType::Stream, threshold_ns },
            conn: ConnId::from_bits(0),
            asked_at: 0,
            measured: None,
        }
    }

    /// The same as a list that is searched through each time.
    #[test]
    fn each_ends_in_its_time_and_no_other_does() {
        let (mut responses, mut rng) = (nobody_waits(), Rng::new(9));
        let mut figures = Figures::default();
        let mut all: Vec<(ReplyId, u32, Nanos)> = Vec::new();
        for now in 0..20_000_u64 {
            let chosen = rng.below(all.len().max(1));
            match rng.below(4) {
                0 | 1 => {
                    let threshold_ns = [7, 30, 400, 1 + rng.below(300) as u64][rng.below(4)];
                    let of = entry(now as u32, threshold_ns);
                    let id = responses.insert(of, now, &mut figures);
                    all.push((id, now as u32, now + threshold_ns));
                }
                2 if !all.is_empty() => {
                    let (id, account, _) = all.remove(chosen);
                    assert_eq!(responses.remove(id).map(|it| it.account.0), Some(account));
                    assert!(responses.remove(id).is_none() && responses.find(id).is_none());
                }
                3 if !all.is_empty() => {
                    let (id, _, end) = &mut all[chosen];
                    *end = now + responses.find(*id).expect("it waits").terms.threshold_ns;
                    responses.prolong(*id, now);
                }
                _ => {}
            }
            assert_eq!(responses.next(), all.iter().map(|(_, _, end)| *end).min());
            while let Some(gone) = responses.expired(now) {
                let at = all.iter().position(|(_, account, _)| *account == gone.account.0);
                assert!(all.remove(at.expect("it waited")).2 <= now);
            }
            assert!(all.iter().all(|(id, ..)| responses.find(*id).is_some()));
            assert!(all.iter().all(|(_, _, end)| *end > now));
            let heads_max = 2 * responses.queues.len() + GONE_HEADS_MAX;
            assert!(responses.heads.len() <= heads_max + 4, "as many as changed since");
        }
        assert!(responses.places.len() < 400, "places are used again");
    }

    #[test]
    fn with_too_many_the_one_that_would_end_first_goes() {
        let mut responses = nobody_waits();
        let mut figures = Figures::default();
        let mut add = |responses: &mut Responses, threshold_ns, now| {
            responses.insert(entry(1, threshold_ns), now, &mut figures)
        };
        let long = add(&mut responses, 1000, 0);
        let short = add(&mut responses, 10, 1);
        for _ in 2..RESPONSES_MAX {
            add(&mut responses, 500, 2);
        }
        assert!(responses.find(short).is_some());
        let last = add(&mut responses, 500, 3);
        assert!(responses.find(short).is_none() && responses.find(long).is_some());
        assert!(responses.find(last).is_some());
        assert_eq!((figures.dropped_responses, responses.places.len()), (1, RESPONSES_MAX));
    }
}
