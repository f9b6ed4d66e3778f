//! When to let input gather before it is looked at: under load from many connections, a turn that
//! finds more to do does it with fewer sends, because what goes to one receiver goes together, and
//! fewer turns mean fewer sleeps.
//!
//! Waiting pays only if more comes meanwhile. Clients that wait for answers send nothing until
//! they have them: to keep them waiting gathers much, and slows all of them. So waiting is tried
//! for some turns, and goes on only if it has gathered without anything coming more slowly, and has
//! made it cheaper. A shard that has time to spare spends it on looking at once.

use shard::Nanos;

/// How much of its core a shard needs without waiting for there to be a load, in percent.
const BUSY_MIN_PERCENT: u64 = 25;
/// Reads to be expected in a wait from which on it is tried.
const READS_MIN: u64 = 8;
/// Turns over which it is measured what comes by itself.
const NATURAL_TURNS: u32 = 128;
/// Turns after which waiting must have shown that it gathers.
const TRIAL_TURNS: u32 = 32;
/// Turns until it is measured anew where it does.
const WAITING_TURNS: u32 = 2048;
/// And where it does not: after the first trial in vain, and twice as many after each further one.
/// A load that is only just building up looks like one that gathers nothing.
const RESTING_TURNS_MIN: u32 = 256;
const RESTING_TURNS_MAX: u32 = 8192;
/// As many times the input must come together for waiting to go on.
const GAIN_MIN: u64 = 2;
/// How much of what came in a time must still come in it, in percent.
const RATE_MIN_PERCENT: u64 = 85;
/// What a read may then cost of what it cost before, with all that comes of it, in percent.
const COST_MAX_PERCENT: u64 = 90;
/// After this long without input nobody waits, and what was being measured is of another time.
const GAP_NS: Nanos = 5_000_000;
/// After this long, what has been found out too.
const LULL_NS: Nanos = 50_000_000;
const SECOND_NS: Nanos = 1_000_000_000;
/// Completions at which a wait ends at once.
pub(crate) const GATHERED_MAX: u32 = 256;

/// One shard's judgement whether to wait.
pub(crate) struct Gather {
    wait_ns: Nanos,
    phase: Phase,
    turns: u32,
    reads: u64,
    /// When the measurement began, and how long the thread had run by then.
    since: Nanos,
    ran_ns: Nanos,
    last: Nanos,
    natural: Flow,
    /// Turns of the next rest.
    rest_turns: u32,
}

/// What came while it was measured.
#[derive(Clone, Copy, Default)]
struct Flow {
    /// Reads in sixteen turns.
    reads: u64,
    /// Reads in a second.
    rate: u64,
    /// How long the thread ran, in percent.
    busy: u64,
    /// How long it ran for each read, in nanoseconds.
    cost_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Measures what comes by itself.
    Measuring,
    /// Waits, and measures what that gathers.
    Trying,
    /// Waits.
    Waiting,
    /// It does not pay, for so many turns.
    Resting(u32),
}

impl Gather {
    /// Of a shard that may wait so long.
    pub fn new(wait_ns: Nanos) -> Gather {
        Gather {
            wait_ns,
            phase: Phase::Measuring,
            turns: 0,
            reads: 0,
            since: 0,
            ran_ns: 0,
            last: 0,
            natural: Flow::default(),
            rest_turns: RESTING_TURNS_MIN,
        }
    }

    /// Should the shard wait before it looks for input again?
    pub fn waits(&self, now: Nanos) -> bool {
        matches!(self.phase, Phase::Trying | Phase::Waiting)
            && now.saturating_sub(self.last) <= GAP_NS
    }

    /// A turn has had input from that many connections, or some turns in a row without a wait.
    /// `run_ns` tells how long the thread has run; it is asked now and then.
    pub fn took(&mut self, reads: u64, now: Nanos, run_ns: impl FnOnce() -> Nanos) {
        let gap_ns = now.saturating_sub(std::mem::replace(&mut self.last, now));
        if gap_ns > self.phase.gap_ns_max() {
            self.phase = Phase::Measuring;
            self.begin(now, run_ns());
            return;
        }
        self.turns += 1;
        self.reads += reads;
        if self.turns < self.phase.turns() {
            return;
        }
        let ran_ns = run_ns();
        let time_ns = now.saturating_sub(self.since).max(1);
        let run_ns = ran_ns.saturating_sub(self.ran_ns);
        let flow = Flow {
            reads: 16 * self.reads / u64::from(self.turns),
            rate: self.reads * SECOND_NS / time_ns,
            busy: 100 * run_ns / time_ns,
            cost_ns: run_ns / self.reads.max(1),
        };
        self.phase = match self.phase {
            Phase::Measuring => {
                self.natural = flow;
                let is_load = flow.busy >= BUSY_MIN_PERCENT
                    && flow.rate.saturating_mul(self.wait_ns) / SECOND_NS >= READS_MIN;
                if is_load { Phase::Trying } else { Phase::Measuring }
            }
            Phase::Trying if flow.pays(&self.natural) => {
                self.rest_turns = RESTING_TURNS_MIN;
                Phase::Waiting
            }
            Phase::Trying => {
                let turns = self.rest_turns;
                self.rest_turns = (2 * turns).min(RESTING_TURNS_MAX);
                Phase::Resting(turns)
            }
            Phase::Waiting | Phase::Resting(_) => Phase::Measuring,
        };
        self.begin(now, ran_ns);
    }

    fn begin(&mut self, now: Nanos, ran_ns: Nanos) {
        (self.turns, self.reads, self.since, self.ran_ns) = (0, 0, now, ran_ns);
    }
}

impl Flow {
    fn pays(&self, natural: &Flow) -> bool {
        self.reads >= natural.reads * GAIN_MIN
            && self.rate * 100 >= natural.rate * RATE_MIN_PERCENT
            && self.cost_ns * 100 <= natural.cost_ns * COST_MAX_PERCENT
    }
}

impl Phase {
    fn turns(self) -> u32 {
        match self {
            Phase::Measuring => NATURAL_TURNS,
            Phase::Trying => TRIAL_TURNS,
            Phase::Waiting => WAITING_TURNS,
            Phase::Resting(turns) => turns,
        }
    }

    /// How long a time without input it outlasts.
    fn gap_ns_max(self) -> Nanos {
        match self {
            Phase::Measuring | Phase::Trying => GAP_NS,
            Phase::Waiting => LULL_NS,
            Phase::Resting(_) => Nanos::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_NS: Nanos = 500_000;

    /// What comes in a turn, and how long the turn takes, with and without a wait.
    struct Load {
        by_itself: (u64, Nanos),
        gathered: (u64, Nanos),
    }

    fn gather() -> Gather {
        Gather::new(WAIT_NS)
    }

    /// Plays turns of a shard that is busy half of the time; gives how many of them waited.
    fn play(gather: &mut Gather, turns: u32, load: &Load) -> u32 {
        play_busy(50, gather, turns, load)
    }

    fn play_busy(percent: u64, gather: &mut Gather, turns: u32, load: &Load) -> u32 {
        play_cheaper(50, percent, gather, turns, load)
    }

    /// As [`play`], where waiting makes the shard busy for that much less.
    fn play_cheaper(
        cheaper_percent: u64,
        percent: u64,
        gather: &mut Gather,
        turns: u32,
        load: &Load,
    ) -> u32 {
        let (mut waited, mut now) = (0, gather.last);
        let mut ran_ns = gather.ran_ns + (now - gather.since) * percent / 100;
        for _ in 0..turns {
            let waits = gather.waits(now);
            waited += u32::from(waits);
            let (reads, ns) = if waits { load.gathered } else { load.by_itself };
            now += ns;
            ran_ns += ns * percent / 100 * if waits { 100 - cheaper_percent } else { 100 } / 100;
            gather.took(reads, now, || ran_ns);
        }
        waited
    }

    /// 10,000 connections that send whenever they like.
    const STREAM: Load = Load { by_itself: (5, 100_000), gathered: (30, 600_000) };

    #[test]
    fn a_stream_from_many_connections_is_gathered() {
        let waited = play(&mut gather(), 20_000, &STREAM);
        assert!(waited > 18_000, "{waited}");
    }

    #[test]
    fn clients_that_wait_for_answers_are_not_kept_waiting() {
        let load = Load { by_itself: (10, 80_000), gathered: (50, 550_000) };
        let waited = play(&mut gather(), 20_000, &load);
        assert!(
            (5 * TRIAL_TURNS..=8 * TRIAL_TURNS).contains(&waited),
            "tried now and then: {waited}"
        );
    }

    #[test]
    fn nobody_waits_for_more_where_little_comes_after_a_load() {
        let mut gather = gather();
        play(&mut gather, NATURAL_TURNS + TRIAL_TURNS, &STREAM);
        assert!(gather.waits(gather.last));
        assert!(!gather.waits(gather.last + GAP_NS + 1), "an idle shard sleeps");
        let sparse = Load { by_itself: (1, LULL_NS + 1), gathered: (1, LULL_NS + 1) };
        play(&mut gather, 1, &sparse);
        assert_eq!(play(&mut gather, 1000, &sparse), 0);
    }

    #[test]
    fn the_time_before_a_load_is_no_part_of_it() {
        let load = Load { by_itself: (10, 80_000), gathered: (50, 550_000) };
        let mut gather = gather();
        play(&mut gather, NATURAL_TURNS / 2, &load);
        let later = gather.since + SECOND_NS;
        gather.took(1, later, || later / 2);
        assert!(play(&mut gather, 1000, &load) <= 4 * TRIAL_TURNS);
    }

    #[test]
    fn a_lull_in_a_load_changes_nothing() {
        let mut gather = gather();
        play(&mut gather, NATURAL_TURNS + TRIAL_TURNS, &STREAM);
        for _ in 0..10 {
            let later = gather.last + LULL_NS;
            assert!(!gather.waits(later), "whoever comes first is not kept waiting");
            gather.took(1, later, || later / 2);
            assert_eq!(play(&mut gather, 100, &STREAM), 100);
        }
        let later = gather.last + LULL_NS + 1;
        gather.took(1, later, || later / 2);
        assert_eq!(play(&mut gather, 100, &STREAM), 0, "it may be another load");
    }

    #[test]
    fn a_rest_ends_however_often_input_stops_meanwhile() {
        let mut gather = gather();
        let in_vain = Load { by_itself: (10, 80_000), gathered: (10, 550_000) };
        play(&mut gather, NATURAL_TURNS + TRIAL_TURNS, &in_vain);
        for _ in 0..RESTING_TURNS_MIN / 64 {
            let later = gather.last + GAP_NS + 1;
            gather.took(1, later, || later / 2);
            play(&mut gather, 63, &STREAM);
        }
        play(&mut gather, NATURAL_TURNS, &STREAM);
        assert!(gather.waits(gather.last));
    }

    #[test]
    fn a_wait_that_gathers_nothing_ends() {
        let load = Load { by_itself: (50, 600_000), gathered: (50, 600_000) };
        let waited = play(&mut gather(), 20_000, &load);
        assert!((5 * TRIAL_TURNS..=8 * TRIAL_TURNS).contains(&waited), "{waited}");
    }

    #[test]
    fn what_gets_no_cheaper_is_not_kept_waiting() {
        let waited = play_cheaper(5, 50, &mut gather(), 20_000, &STREAM);
        assert!((5 * TRIAL_TURNS..=8 * TRIAL_TURNS).contains(&waited), "{waited}");
        assert!(play_cheaper(20, 50, &mut gather(), 20_000, &STREAM) > 18_000);
    }

    #[test]
    fn what_comes_one_by_one_is_gathered_if_there_is_enough() {
        let load =
            |apart_ns| Load { by_itself: (1, apart_ns), gathered: (WAIT_NS / apart_ns, WAIT_NS) };
        assert!(play(&mut gather(), 20_000, &load(30_000)) > 18_000);
        assert_eq!(play(&mut gather(), 20_000, &load(100_000)), 0, "five reads are too few");
    }

    #[test]
    fn one_connection_that_sends_often_is_not_kept_waiting() {
        let load = Load { by_itself: (1, 20_000), gathered: (1, WAIT_NS) };
        let waited = play(&mut gather(), 20_000, &load);
        assert!((5 * TRIAL_TURNS..=8 * TRIAL_TURNS).contains(&waited), "{waited}");
    }

    #[test]
    fn a_load_that_builds_up_is_gathered_soon() {
        let mut gather = gather();
        let in_vain = Load { by_itself: (10, 80_000), gathered: (10, 550_000) };
        let waited = play(&mut gather, NATURAL_TURNS + TRIAL_TURNS, &in_vain);
        assert_eq!(waited, TRIAL_TURNS);
        play(&mut gather, RESTING_TURNS_MIN + NATURAL_TURNS, &STREAM);
        assert!(gather.waits(gather.last));
    }

    #[test]
    fn nobody_waits_for_a_shard_with_time_to_spare() {
        assert_eq!(play_busy(20, &mut gather(), 20_000, &STREAM), 0);
        assert!(play_busy(30, &mut gather(), 20_000, &STREAM) > 18_000);
    }

    #[test]
    fn a_load_that_ends_ends_it() {
        let mut gather = gather();
        play(&mut gather, NATURAL_TURNS + TRIAL_TURNS, &STREAM);
        assert!(gather.waits(gather.last));
        let quiet = Load { by_itself: (1, 100_000), gathered: (1, 600_000) };
        play(&mut gather, WAITING_TURNS + NATURAL_TURNS, &quiet);
        assert!(!gather.waits(gather.last));
    }
}
