//! The busiest subjects, from samples: neither memory nor work grows with how many there are, or
//! with how many messages.
//!
//! A space-saving sketch: a subject that is not counted yet takes the place of the one counted
//! least, and its count. So a subject that has more than its share is always in it. What a subject
//! has inherited is not told, so that what is told is never more than what was sampled.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use wire::Pub;

use crate::ids::{AccountId, ConnId, Nanos};
use crate::limits::SECONDS;
use crate::rng::Rng;
use crate::shard::Shard;

/// Rates are those of a window that is over.
const WINDOW_NS: Nanos = 4 * SECONDS;
/// Samples taken in one window before they are taken half as often.
const SAMPLES_MAX: u64 = 1024;
/// One publication in so many is looked at until it is known how many there are.
const EVERY_AT_FIRST: u64 = 64;
/// One in so many at least, or the busiest shard would hardly see its other subjects.
const EVERY_MAX: u64 = 1 << 16;
/// Subjects counted for each one that is told.
const COUNTED_PER_TOLD: usize = 4;

/// Samples the publications of one shard.
pub(crate) struct Top {
    told: usize,
    /// Of what is counted at the same place in `counts`: looked through for each sample.
    hashes: Vec<u64>,
    counts: Vec<Count>,
    hasher: FixedState,
    /// Its own: what is sampled has no say in what is delivered.
    rng: Rng,
    /// Of the window before, busiest first.
    rates: Vec<Busy>,
    window_start: Nanos,
    /// On average, one publication in so many is looked at.
    every: u64,
    /// Looks in this window, and what of them counts for the next `every`.
    looks: u64,
    seen: u64,
}

/// A subject with its traffic as estimated.
struct Count {
    account: AccountId,
    subject: Vec<u8>,
    msgs: u64,
    bytes: u64,
    /// Messages of those whose place it took.
    inherited: u64,
}

impl Count {
    fn own_msgs(&self) -> u64 {
        self.msgs - self.inherited
    }
}

/// What a subject has carried, per second.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Busy {
    pub account: AccountId,
    pub subject: Vec<u8>,
    pub msgs: f64,
    pub bytes: f64,
}

impl Top {
    /// Tells at most so many subjects.
    pub fn new(told: usize, now: Nanos, seed: u64) -> Top {
        let room = told * COUNTED_PER_TOLD;
        Top {
            told,
            hashes: Vec::with_capacity(room),
            counts: Vec::with_capacity(room),
            hasher: FixedState::with_seed(seed),
            rng: Rng::new(seed),
            rates: Vec::new(),
            window_start: now,
            every: EVERY_AT_FIRST,
            looks: 0,
            seen: 0,
        }
    }

    /// Looks at a publication, and at `more` like it that follow. Gives how many publications to
    /// come are up to and with the next to look at.
    fn look(
        &mut self,
        (account, subject, payload_bytes): (AccountId, &[u8], usize),
        more: u64,
        now: Nanos,
    ) -> u64 {
        self.roll(now);
        // The first stands for those that were passed over, the others for themselves.
        let msgs = self.every + more;
        self.count(account, subject, msgs, msgs * payload_bytes as u64);
        self.looks += 1;
        self.seen += msgs;
        if self.looks == SAMPLES_MAX {
            self.looks = 0;
            self.every = (2 * self.every).min(EVERY_MAX);
        }
        self.distance()
    }

    /// Each publication is as likely as any other to be the next, whatever went before: publishers
    /// have rhythms of their own.
    fn distance(&mut self) -> u64 {
        if self.every == 1 {
            return 1;
        }
        const STEPS: usize = 1 << 53;
        let chance = (self.rng.below(STEPS) + 1) as f64 / STEPS as f64;
        1 + (chance.ln() / (-1.0 / self.every as f64).ln_1p()) as u64
    }

    fn count(&mut self, account: AccountId, subject: &[u8], msgs: u64, bytes: u64) {
        let hash = self.hasher.hash_one((account.0, subject));
        let known = self.hashes.iter().position(|known| *known == hash);
        if let Some(count) = known.map(|at| &mut self.counts[at]) {
            count.msgs += msgs;
            count.bytes += bytes;
            return;
        }
        if self.counts.len() < self.told * COUNTED_PER_TOLD {
            self.hashes.push(hash);
            let subject = subject.to_vec();
            self.counts.push(Count { account, subject, msgs, bytes, inherited: 0 });
            return;
        }
        let least = self.counts.iter_mut().enumerate().min_by_key(|(_, count)| count.msgs);
        let Some((at, least)) = least else { return };
        self.hashes[at] = hash;
        least.account = account;
        least.subject.clear();
        least.subject.extend_from_slice(subject);
        least.inherited = least.msgs;
        least.msgs += msgs;
        least.bytes = bytes;
    }

    fn roll(&mut self, now: Nanos) {
        let elapsed = now.saturating_sub(self.window_start);
        if elapsed < WINDOW_NS {
            return;
        }
        let per_second = |amount: u64| amount as f64 * (SECONDS as f64 / elapsed as f64);
        self.hashes.clear();
        let rates = self.counts.drain(..).map(|count| Busy {
            msgs: per_second(count.own_msgs()),
            bytes: per_second(count.bytes),
            account: count.account,
            subject: count.subject,
        });
        self.rates = rates.collect();
        self.rates
            .sort_by(|a, b| b.msgs.total_cmp(&a.msgs).then_with(|| a.subject.cmp(&b.subject)));
        self.rates.truncate(self.told);
        self.every = (self.seen / SAMPLES_MAX).clamp(1, EVERY_MAX);
        (self.looks, self.seen) = (0, 0);
        self.window_start = now;
    }

    /// Of the window before, busiest first.
    pub fn rates(&self) -> &[Busy] {
        &self.rates
    }

    /// Begins another window if one is over. Gives how many publications to come are up to and with
    /// the next to look at, if that is to be known anew: after a flood the next look would be far
    /// away.
    pub fn refresh(&mut self, now: Nanos) -> Option<u64> {
        let before = self.window_start;
        self.roll(now);
        (self.window_start != before).then(|| self.distance())
    }
}

impl Shard {
    /// What samples publications, as the operator wants it, from now on.
    pub(crate) fn sample_top(&mut self, told: usize) {
        self.top = (told > 0).then(|| Top::new(told, self.now, self.seed));
        self.until_sample = if told > 0 { 1 } else { u64::MAX };
    }

    /// `msgs` publications like this one were done.
    #[inline]
    pub(crate) fn sample(&mut self, conn: ConnId, op: &Pub<'_>, msgs: u64) {
        if msgs < self.until_sample {
            self.until_sample -= msgs;
        } else {
            self.take_sample(conn, op, msgs - self.until_sample);
        }
    }

    #[cold]
    #[inline(never)]
    fn take_sample(&mut self, conn: ConnId, op: &Pub<'_>, more: u64) {
        let what = (self.account_of(conn), op.subject, op.payload.len());
        self.until_sample = match &mut self.top {
            Some(top) => top.look(what, more, self.now),
            None => u64::MAX,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives each message to `top` that it wants to see, as a shard does.
    struct Feed {
        top: Top,
        until: u64,
        looks: u64,
    }

    impl Feed {
        fn new(told: usize) -> Feed {
            Feed { top: Top::new(told, 0, 3), until: 1, looks: 0 }
        }

        fn see(&mut self, subject: &[u8], msgs: u64, now: Nanos) {
            if msgs < self.until {
                self.until -= msgs;
                return;
            }
            self.looks += 1;
            let what = (AccountId::GLOBAL, subject, 10);
            self.until = self.top.look(what, msgs - self.until, now);
        }

        fn rates(&mut self, now: Nanos) -> Vec<(String, f64)> {
            self.until = self.top.refresh(now).unwrap_or(self.until);
            let rates = self.top.rates().iter();
            rates.map(|it| (String::from_utf8_lossy(&it.subject).into_owned(), it.msgs)).collect()
        }
    }

    fn near(rate: f64, wanted: f64) -> bool {
        (rate - wanted).abs() < wanted / 4.0
    }

    #[test]
    fn the_busiest_are_told_with_about_their_rates() {
        let mut feed = Feed::new(2);
        for at in 0..400_000_u64 {
            let subject = match at % 10 {
                0..6 => b"busy".to_vec(),
                6..9 => b"less".to_vec(),
                _ => format!("rare.{at}").into_bytes(),
            };
            feed.see(&subject, 1, at * WINDOW_NS / 400_000);
        }
        let rates = feed.rates(WINDOW_NS);
        let names: Vec<&str> = rates.iter().map(|(subject, _)| subject.as_str()).collect();
        assert_eq!(names, ["busy", "less"]);
        assert!(near(rates[0].1, 60_000.0) && near(rates[1].1, 30_000.0), "{rates:?}");
        assert!(near(feed.top.rates[0].bytes, 600_000.0));
        assert!(feed.rates(2 * WINDOW_NS).is_empty(), "what is over is over");
    }

    #[test]
    fn few_messages_are_all_counted_and_many_are_sampled_ever_more_rarely() {
        let mut feed = Feed::new(5);
        for window in 0..40 {
            feed.rates(window * WINDOW_NS);
            for at in 0..40 {
                feed.see(b"calm", 1, window * WINDOW_NS + at);
            }
        }
        let start = 40 * WINDOW_NS;
        assert_eq!(feed.rates(start), [("calm".to_owned(), 10.0)]);
        let before = feed.looks;
        for at in 0..10_000_000_u64 {
            feed.see(b"flood", 1, start + at);
        }
        assert!(feed.looks - before < 16 * SAMPLES_MAX, "{} looks", feed.looks - before);
        let rates = feed.rates(start + WINDOW_NS);
        assert!(near(rates[0].1, 2_500_000.0), "{rates:?}");
    }

    #[test]
    fn what_is_left_after_a_flood_is_seen_soon() {
        let mut feed = Feed::new(5);
        for at in 0..10_000_000_u64 {
            feed.see(b"flood", 1, at);
        }
        for window in 1..5 {
            feed.rates(window * WINDOW_NS);
            for at in 0..40 {
                feed.see(b"calm", 1, window * WINDOW_NS + at);
            }
        }
        assert_eq!(feed.rates(5 * WINDOW_NS), [("calm".to_owned(), 10.0)]);
    }

    #[test]
    fn a_run_counts_for_its_length_and_costs_one_look() {
        let mut feed = Feed::new(5);
        for at in 0..1000 {
            feed.see(b"run", 3000, at);
            feed.see(b"single", 1, at);
        }
        assert!(feed.looks < 1100, "{} looks", feed.looks);
        let rates = feed.rates(WINDOW_NS);
        assert!(near(rates[0].1, 750_000.0), "{rates:?}");
        assert!(rates[1..].iter().all(|(_, rate)| *rate < 1000.0), "250/s are single: {rates:?}");
    }

    #[test]
    fn nobody_is_told_for_the_place_it_took() {
        let mut feed = Feed::new(3);
        for at in 0..1_000_000_u64 {
            feed.see(format!("each.{at}").as_bytes(), 1, at);
        }
        for (subject, rate) in feed.rates(WINDOW_NS) {
            assert!(rate < 1000.0, "{subject} has {rate}/s: it was there once");
        }
    }

    #[test]
    fn accounts_are_told_apart() {
        let mut top = Top::new(5, 0, 3);
        for account in [1, 2, 2] {
            top.look((AccountId(account), b"same", 0), 0, 0);
        }
        top.refresh(WINDOW_NS);
        let told: Vec<u32> = top.rates().iter().map(|it| it.account.0).collect();
        assert_eq!(told, [2, 1]);
    }
}
