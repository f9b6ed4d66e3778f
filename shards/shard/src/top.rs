//! The busiest subjects, from samples: how much is counted does not grow with how many there are.
//!
//! A space-saving sketch: a subject that is not counted yet takes the place of the one counted
//! least, and its count. So a subject that has more than its share is always in it.

use crate::ids::Nanos;
use crate::limits::SECONDS;
use crate::rng::Rng;

/// One publication in so many is looked at, on average.
const SAMPLE_EVERY: u64 = 64;
/// Rates are those of a window that is over.
const WINDOW_NS: Nanos = 10 * SECONDS;
/// Subjects counted for each one that is told.
const COUNTED_PER_TOLD: usize = 8;

/// Samples the publications of one shard.
pub(crate) struct Top {
    told: usize,
    counts: Vec<(Box<[u8]>, u64)>,
    /// Of the window before, busiest first: messages a second.
    rates: Vec<(Vec<u8>, f64)>,
    window_start: Nanos,
    /// Publications until the next sample.
    skip: u64,
}

impl Top {
    /// Tells at most so many subjects.
    pub fn new(told: usize, now: Nanos) -> Top {
        Top { told, counts: Vec::new(), rates: Vec::new(), window_start: now, skip: 0 }
    }

    /// So many publications on one subject.
    pub fn see(&mut self, subject: &[u8], mut msgs: u64, now: Nanos, rng: &mut Rng) {
        while msgs > self.skip {
            msgs -= self.skip + 1;
            self.skip = rng.below(2 * SAMPLE_EVERY as usize - 1) as u64;
            self.roll(now);
            self.count(subject);
        }
        self.skip -= msgs;
    }

    fn count(&mut self, subject: &[u8]) {
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| **known == *subject) {
            *count += 1;
            return;
        }
        if self.counts.len() < self.told * COUNTED_PER_TOLD {
            self.counts.push((subject.into(), 1));
            return;
        }
        if let Some(least) = self.counts.iter_mut().min_by_key(|(_, count)| *count) {
            *least = (subject.into(), least.1 + 1);
        }
    }

    fn roll(&mut self, now: Nanos) {
        let elapsed = now.saturating_sub(self.window_start);
        if elapsed < WINDOW_NS {
            return;
        }
        let per_second = (SAMPLE_EVERY * SECONDS) as f64 / elapsed as f64;
        let counts = self.counts.drain(..);
        let rates = counts.map(|(subject, count)| (subject.into_vec(), count as f64 * per_second));
        self.rates = rates.collect();
        self.rates.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        self.rates.truncate(self.told);
        self.window_start = now;
    }

    /// Subjects and their messages a second, busiest first.
    pub fn rates(&mut self, now: Nanos) -> Vec<(Vec<u8>, f64)> {
        self.roll(now);
        self.rates.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_are_told_with_about_their_rates() {
        let (mut top, mut rng) = (Top::new(2, 0), Rng::new(7));
        for at in 0..100_000_u64 {
            let now = at * 100_000;
            let subject = match at % 10 {
                0..6 => b"busy".to_vec(),
                6..9 => b"less".to_vec(),
                _ => format!("rare.{at}").into_bytes(),
            };
            top.see(&subject, 1, now, &mut rng);
        }
        let rates = top.rates(WINDOW_NS);
        let names: Vec<&[u8]> = rates.iter().map(|(subject, _)| subject.as_slice()).collect();
        assert_eq!(names, [b"busy", b"less"]);
        let near = |rate: f64, wanted: f64| (rate - wanted).abs() < wanted / 4.0;
        assert!(near(rates[0].1, 6000.0) && near(rates[1].1, 3000.0), "{rates:?}");
        assert!(top.rates(2 * WINDOW_NS).is_empty(), "what is over is over");
    }
}
