//! One seed after the other.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use shard::Options;

use crate::bus::{Bus, Shards};
use crate::canary::{Canary, Defect};
use crate::swarm::Swarm;
use crate::table::Table;
use crate::trace::Trace;
use crate::walls::Walls;
use crate::world::{Summary, World};

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The production code.
    Shards,
    /// The production code behind a wrapper with a defect.
    Spoiled(Defect),
    /// The simple bus.
    Table,
    /// The simple bus behind a wrapper with a defect.
    SpoiledTable(Defect),
}

/// How much is said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing but the result.
    Hash,
    /// The last lines of a failure.
    Tail,
    /// Every line as it happens.
    Verbose,
}

/// A run that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Replays it.
    pub seed: u64,
    /// Where it showed.
    pub step: u64,
    /// How it showed.
    pub why: String,
    /// What happened just before.
    pub tail: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.tail {
            writeln!(to, "    {line}")?;
        }
        write!(to, "seed {} fails at step {}: {}", self.seed, self.step, self.why)
    }
}

/// Runs one seed. A failure is run again for its last lines.
pub fn run(seed: u64, subject: Subject) -> Result<Summary, Failure> {
    replay(seed, subject, Detail::Hash).map_err(|failure| {
        match replay(seed, subject, Detail::Tail) {
            Err(again) => again,
            Ok(_) => {
                Failure { why: format!("{} (and it does not repeat!)", failure.why), ..failure }
            }
        }
    })
}

/// Runs one seed with as much detail as wanted.
pub fn replay(seed: u64, subject: Subject, detail: Detail) -> Result<Summary, Failure> {
    let mut swarm = Swarm::draw(seed);
    if matches!(subject, Subject::Table | Subject::SpoiledTable(_)) {
        // It has no limits, so it would wait for ever.
        swarm.stuck_per_mille = 0;
    }
    match subject {
        // It has no accounts.
        Subject::Table | Subject::SpoiledTable(_) => {
            swarm.walls = Walls::default();
            swarm.events[11] = 0;
        }
        Subject::Spoiled(defect) => swarm.gap = defect.gap(),
        Subject::Shards => {}
    }
    if detail == Detail::Verbose {
        println!("seed {seed}: {swarm:#?}");
    }
    let access = swarm.access_of(&swarm.walls, None);
    let (shards, options) = (swarm.shards, Options { access, ..swarm.options.clone() });
    match subject {
        Subject::Shards => live(seed, swarm, Shards::new(shards, &options, seed), detail),
        Subject::Spoiled(defect) => {
            let bus = Canary::new(Shards::new(shards, &options, seed), defect, seed);
            live(seed, swarm, bus, detail)
        }
        Subject::Table => live(seed, swarm, Table::new(shards, options.payload_max, seed), detail),
        Subject::SpoiledTable(defect) => live(
            seed,
            swarm,
            Canary::new(Table::new(shards, options.payload_max, seed), defect, seed),
            detail,
        ),
    }
}

fn live<B: Bus>(seed: u64, swarm: Swarm, bus: B, detail: Detail) -> Result<Summary, Failure> {
    let trace = Trace::new(detail != Detail::Hash, detail == Detail::Verbose);
    let mut world = World::new(seed, swarm, bus, trace);
    let result = quietly(|| world.run()).unwrap_or_else(Err);
    result.map_err(|why| Failure { seed, step: world.steps(), why, tail: world.trace.tail() })
}

thread_local! {
    /// Set while a panic is a result, not an accident.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs it; a panic becomes an error.
fn quietly<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Empty unless RUST_BACKTRACE asks for it.
            let trace = std::backtrace::Backtrace::capture();
            let shown = trace.status() == std::backtrace::BacktraceStatus::Captured;
            let said = if shown { format!("{info}\n{trace}") } else { info.to_string() };
            let armed =
                PANIC.with(|slot| slot.borrow_mut().as_mut().map(|slot| *slot = said).is_some());
            if !armed {
                usual(info);
            }
        }));
    });
    PANIC.with(|slot| *slot.borrow_mut() = Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(run));
    let said = PANIC.with(|slot| slot.borrow_mut().take());
    result.map_err(|_| said.unwrap_or_default())
}
