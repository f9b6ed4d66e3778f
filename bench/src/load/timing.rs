//! The load's clock, the measured window, and latencies from the intended send time.

use crate::plan::Plan;
use hdrhistogram::Histogram;
use std::ops::Range;
use std::time::Instant;

/// The clock of one run. All times are ns since its origin.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// When the clock started.
    pub origin: Instant,
    /// First message.
    pub start_ns: u64,
    /// First measured moment.
    pub begin_ns: u64,
    /// Publishers stop.
    pub end_ns: u64,
}

/// What one thread measures.
pub struct Timing {
    /// The run's clock.
    pub window: Window,
    /// Latencies in ns of messages meant to be sent inside the window.
    pub latencies: Histogram<u64>,
    /// The longest turn that touched the window, ns: nothing was sent, received or counted in it.
    pub longest_turn_ns: u64,
    turned_ns: u64,
    /// Latency of saturating traffic says how full the buffers are, so it is not kept.
    wanted: bool,
}

/// A histogram of latencies: 100 ns to five minutes, three digits.
pub fn histogram() -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_bounds(100, 300_000_000_000, 3).expect("constant bounds are in order");
    histogram.auto(true);
    histogram
}

impl Timing {
    /// `wanted`: whether latency means anything in this scenario.
    pub fn new(window: Window, wanted: bool) -> Self {
        let turned_ns = window.start_ns;
        Self { window, latencies: histogram(), longest_turn_ns: 0, turned_ns, wanted }
    }

    /// Sets the window, once it is known.
    pub fn open(&mut self, window: Window) {
        (self.window, self.turned_ns) = (window, window.start_ns);
    }

    /// Notes that a turn begins at `now_ns`.
    pub fn turn(&mut self, now_ns: u64) {
        if self.turned_ns < self.window.end_ns && now_ns >= self.window.begin_ns {
            let took_ns = now_ns.saturating_sub(self.turned_ns);
            self.longest_turn_ns = self.longest_turn_ns.max(took_ns);
        }
        self.turned_ns = now_ns;
    }

    /// ns since the origin.
    pub fn now_ns(&self) -> u64 {
        self.window.origin.elapsed().as_nanos() as u64
    }

    /// Notes a message meant for `intended_ns` that came at `now_ns`.
    pub fn record(&mut self, intended_ns: u64, now_ns: u64) {
        let measured = self.window.begin_ns..self.window.end_ns;
        if self.wanted && measured.contains(&intended_ns) {
            // The histogram's bound is five minutes; a run has ended long before.
            self.latencies.saturating_record(now_ns.saturating_sub(intended_ns));
        }
    }

    /// Notes messages number `run` of publisher `p`, all of which have just come.
    pub fn record_run(&mut self, plan: &Plan, p: usize, run: Range<u64>) {
        if !self.wanted || run.is_empty() {
            return;
        }
        let now_ns = self.now_ns();
        for n in run {
            if let Some(after_ns) = plan.intended_ns(p, n) {
                self.record(self.window.start_ns + after_ns, now_ns);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_counts_where_it_touches_the_window() {
        let window = Window { origin: Instant::now(), start_ns: 100, begin_ns: 1000, end_ns: 2000 };
        let longest_ns = |turns: &[u64]| {
            let mut timing = Timing::new(window, true);
            turns.iter().for_each(|&now_ns| timing.turn(now_ns));
            timing.longest_turn_ns
        };
        assert_eq!(longest_ns(&[50, 900, 1300, 1900, 2000, 9000]), 600);
        // Over either end, and over both.
        assert_eq!(longest_ns(&[100, 200, 1010, 1100, 2010]), 910);
        assert_eq!(longest_ns(&[990, 1010, 1990, 5000]), 3010);
        assert_eq!(longest_ns(&[200, 3000]), 2800);
        // A thread that comes late for its first turn.
        assert_eq!(longest_ns(&[1900, 2000]), 1800);
    }

    #[test]
    fn only_messages_of_the_window_are_noted_however_late_they_come() {
        let window = Window { origin: Instant::now(), start_ns: 0, begin_ns: 1000, end_ns: 2000 };
        let mut timing = Timing::new(window, true);
        for (intended_ns, now_ns) in [(999, 1500), (1000, 1500), (1999, 9_000_000), (2000, 2100)] {
            timing.record(intended_ns, now_ns);
        }
        assert_eq!(timing.latencies.len(), 2);
        assert!(timing.latencies.max() >= 8_990_000);
        assert!(timing.latencies.min() <= 500);
    }
}
