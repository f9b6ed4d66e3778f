//! How long deliveries take inside the server, kept turn by turn.

use hdrhistogram::Histogram;
use shard::Nanos;
use shard::limits::SECONDS;
use shard::report;

/// What quantiles are made of is forgotten after two of these.
const WINDOW_NS: Nanos = 60 * SECONDS;
/// Longer turns count as this long.
const LONGEST_NS: u64 = 60 * SECONDS;

/// The latencies of one shard. Bounded: two histograms of fixed size.
pub(crate) struct Latency {
    current: Histogram<u32>,
    before: Histogram<u32>,
    window_end: Nanos,
    sum_ns: u128,
    count: u64,
}

impl Latency {
    /// Nothing yet.
    pub fn new() -> Latency {
        // From a microsecond on, to two digits: 16 KiB each.
        let empty = || Histogram::new_with_bounds(1_000, LONGEST_NS, 2).expect("fixed bounds");
        Latency { current: empty(), before: empty(), window_end: 0, sum_ns: 0, count: 0 }
    }

    /// `msgs` deliveries took this long.
    pub fn record(&mut self, ns: u64, msgs: u64, now: Nanos) {
        if now >= self.window_end {
            self.roll(now);
        }
        let count = u32::try_from(msgs).unwrap_or(u32::MAX);
        self.current.saturating_record_n(ns, count);
        self.sum_ns += u128::from(ns) * u128::from(msgs);
        self.count += msgs;
    }

    #[cold]
    fn roll(&mut self, now: Nanos) {
        std::mem::swap(&mut self.current, &mut self.before);
        self.current.reset();
        if now >= self.window_end + WINDOW_NS {
            self.before.reset();
        }
        self.window_end = now + WINDOW_NS;
    }

    /// What there is to tell at this time.
    pub fn report(&mut self, now: Nanos) -> report::Latency {
        if now >= self.window_end {
            self.roll(now);
        }
        let histograms = [&self.current, &self.before];
        let recent = histograms.into_iter().flat_map(|it| {
            it.iter_recorded().map(|at| (at.value_iterated_to(), u64::from(at.count_at_value())))
        });
        report::Latency { recent: recent.collect(), sum_ns: self.sum_ns, count: self.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_of_waiting_can_be_counted() {
        let mut latency = Latency::new();
        latency.record(u64::MAX, 10, SECONDS);
        latency.record(u64::MAX, 10, SECONDS);
        assert_eq!(latency.report(SECONDS).sum_ns, 20 * u128::from(u64::MAX));
    }

    #[test]
    fn the_last_two_windows_are_told_and_all_is_counted() {
        let mut latency = Latency::new();
        latency.record(5_000, 10, SECONDS);
        latency.record(1_000_000, 1, 2 * SECONDS);
        let report = latency.report(3 * SECONDS);
        assert_eq!((report.count, report.sum_ns), (11, 1_050_000));
        let near = |value: u64, wanted: u64| value.abs_diff(wanted) * 100 <= 3 * wanted;
        assert_eq!(report.recent.len(), 2);
        assert!(near(report.recent[0].0, 5_000) && report.recent[0].1 == 10);
        assert!(near(report.recent[1].0, 1_000_000) && report.recent[1].1 == 1);
        latency.record(7_000, 1, 70 * SECONDS);
        assert_eq!(latency.report(80 * SECONDS).recent.len(), 3);
        assert_eq!(latency.report(140 * SECONDS).recent.len(), 1);
        let report = latency.report(900 * SECONDS);
        assert_eq!((report.recent.len(), report.count), (0, 12));
    }
}
