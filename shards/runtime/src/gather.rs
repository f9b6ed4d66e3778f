//! When to let input gather before it is looked at: under load from many connections, a turn that
//! finds more to do does it with fewer sends, because what goes to one receiver goes together.
//!
//! Waiting pays only if more comes meanwhile. Clients that wait for answers send nothing until
//! they have them: to keep them waiting gathers much, and slows all of them. So waiting is tried
//! for some turns, and goes on only if it has gathered without anything coming more slowly.

use shard::Nanos;

/// Connections with input in a turn from which on there is a load.
const LOAD_MIN: u32 = 4;
/// Turns over which it is measured what comes by itself.
const NATURAL_TURNS: u32 = 128;
/// Turns after which waiting must have shown that it gathers.
const TRIAL_TURNS: u32 = 32;
/// Turns until it is measured anew, where it does and where it does not.
const WAITING_TURNS: u32 = 2048;
const RESTING_TURNS: u32 = 8192;
/// As many times the input must come together for waiting to go on.
const GAIN_MIN: u64 = 2;
/// How much of what came in a time must still come in it, in percent.
const RATE_MIN_PERCENT: u64 = 85;
/// After this long without input, what was measured is of another time.
const GAP_NS: Nanos = 5_000_000;
/// Completions at which a wait ends at once.
pub(crate) const GATHERED_MAX: u32 = 256;

/// One shard's judgement whether to wait.
pub(crate) struct Gather {
    phase: Phase,
    turns: u32,
    reads: u64,
    since: Nanos,
    last: Nanos,
    natural: Flow,
}

/// What came while it was measured.
#[derive(Clone, Copy, Default)]
struct Flow {
    /// Reads in sixteen turns.
    reads: u64,
    /// Reads in a second.
    rate: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Measures what comes by itself.
    Measuring,
    /// Waits, and measures what that gathers.
    Trying,
    /// Waits.
    Waiting,
    /// It does not pay.
    Resting,
}

impl Gather {
    pub fn new(now: Nanos) -> Gather {
        let natural = Flow::default();
        Gather { phase: Phase::Measuring, turns: 0, reads: 0, since: now, last: now, natural }
    }

    /// Should the shard wait before it looks for input again?
    pub fn waits(&self, now: Nanos) -> bool {
        matches!(self.phase, Phase::Trying | Phase::Waiting)
            && now.saturating_sub(self.last) <= GAP_NS
    }

    /// A turn after a sleep has had input from that many connections.
    pub fn took(&mut self, reads: u64, now: Nanos) {
        if now.saturating_sub(std::mem::replace(&mut self.last, now)) > GAP_NS {
            if self.phase != Phase::Resting {
                self.phase = Phase::Measuring;
            }
            (self.turns, self.reads, self.since) = (0, 0, now);
            return;
        }
        self.turns += 1;
        self.reads += reads;
        if self.turns < self.phase.turns() {
            return;
        }
        let flow = Flow {
            reads: 16 * self.reads / u64::from(self.turns),
            rate: self.reads * 1_000_000_000 / now.saturating_sub(self.since).max(1),
        };
        self.phase = match self.phase {
            Phase::Measuring => {
                self.natural = flow;
                let is_load = flow.reads >= u64::from(16 * LOAD_MIN);
                if is_load { Phase::Trying } else { Phase::Measuring }
            }
            Phase::Trying if flow.pays(&self.natural) => Phase::Waiting,
            Phase::Trying => Phase::Resting,
            Phase::Waiting | Phase::Resting => Phase::Measuring,
        };
        (self.turns, self.reads, self.since) = (0, 0, now);
    }
}

impl Flow {
    fn pays(&self, natural: &Flow) -> bool {
        self.reads >= natural.reads * GAIN_MIN && self.rate * 100 >= natural.rate * RATE_MIN_PERCENT
    }
}

impl Phase {
    fn turns(self) -> u32 {
        match self {
            Phase::Measuring => NATURAL_TURNS,
            Phase::Trying => TRIAL_TURNS,
            Phase::Waiting => WAITING_TURNS,
            Phase::Resting => RESTING_TURNS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes in a turn, and how long the turn takes, with and without a wait.
    struct Load {
        by_itself: (u64, Nanos),
        gathered: (u64, Nanos),
    }

    /// Plays turns; gives how many of them waited.
    fn play(gather: &mut Gather, turns: u32, load: &Load) -> u32 {
        let (mut waited, mut now) = (0, gather.last);
        for _ in 0..turns {
            let waits = gather.waits(now);
            waited += u32::from(waits);
            let (reads, ns) = if waits { load.gathered } else { load.by_itself };
            now += ns;
            gather.took(reads, now);
        }
        waited
    }

    /// 10,000 connections that send whenever they like.
    const STREAM: Load = Load { by_itself: (5, 100_000), gathered: (30, 600_000) };

    #[test]
    fn a_stream_from_many_connections_is_gathered() {
        let waited = play(&mut Gather::new(0), 20_000, &STREAM);
        assert!(waited > 18_000, "{waited}");
    }

    #[test]
    fn clients_that_wait_for_answers_are_not_kept_waiting() {
        let load = Load { by_itself: (10, 80_000), gathered: (50, 550_000) };
        let waited = play(&mut Gather::new(0), 20_000, &load);
        assert!((TRIAL_TURNS..=3 * TRIAL_TURNS).contains(&waited), "tried now and then: {waited}");
    }

    #[test]
    fn nobody_waits_for_more_where_little_comes_after_a_load() {
        let mut gather = Gather::new(0);
        play(&mut gather, NATURAL_TURNS + TRIAL_TURNS, &STREAM);
        assert!(gather.waits(gather.last));
        assert!(!gather.waits(gather.last + GAP_NS + 1), "an idle shard sleeps");
        let sparse = Load { by_itself: (1, 10_000_000), gathered: (1, 10_000_000) };
        play(&mut gather, 1, &sparse);
        assert_eq!(play(&mut gather, 1000, &sparse), 0);
    }

    #[test]
    fn the_time_before_a_load_is_no_part_of_it() {
        let load = Load { by_itself: (10, 80_000), gathered: (50, 550_000) };
        let mut gather = Gather::new(0);
        play(&mut gather, NATURAL_TURNS / 2, &load);
        gather.took(1, gather.since + 1_000_000_000);
        assert!(play(&mut gather, 1000, &load) <= TRIAL_TURNS);
    }

    #[test]
    fn a_wait_that_gathers_nothing_ends() {
        let load = Load { by_itself: (50, 600_000), gathered: (50, 600_000) };
        let waited = play(&mut Gather::new(0), 20_000, &load);
        assert!((TRIAL_TURNS..=3 * TRIAL_TURNS).contains(&waited), "{waited}");
    }

    #[test]
    fn few_connections_are_never_kept_waiting() {
        let load = Load { by_itself: (3, 100_000), gathered: (99, 600_000) };
        assert_eq!(play(&mut Gather::new(0), 20_000, &load), 0);
    }

    #[test]
    fn a_load_that_ends_ends_it() {
        let mut gather = Gather::new(0);
        play(&mut gather, NATURAL_TURNS + TRIAL_TURNS, &STREAM);
        assert!(gather.waits(gather.last));
        let quiet = Load { by_itself: (1, 100_000), gathered: (1, 600_000) };
        play(&mut gather, WAITING_TURNS + NATURAL_TURNS, &quiet);
        assert!(!gather.waits(gather.last));
    }
}
