//! What a bench found, as it is kept in a JSON file.

use crate::load::tally::Account;
use crate::machine::Machine;
use crate::scenario::{Scenario, Unit};
use crate::servers::Role;
use crate::stats::{Spread, ratio, spread};
use crate::target::Target;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// A generator busier than this may itself be what was measured.
const BUSY_MAX: f64 = 0.8;
/// Other programs' work above this many cores spoils a run.
const OTHERS_MAX: f64 = 0.15;

/// A whole bench.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What this bench was called.
    pub name: String,
    /// UTC date.
    pub date: String,
    /// What it ran on.
    pub machine: Machine,
    /// How many cores the server had.
    pub server_cores: usize,
    /// How many the generator had.
    pub generator_cores: usize,
    /// Whether they were the same ones.
    pub shared_cores: bool,
    /// Runs of each server and scenario.
    pub runs: usize,
    /// TCP congestion control chosen for the generator's sockets and the floor's, where it was not
    /// left to the machine.
    #[serde(default)]
    pub congestion: Option<String>,
    /// The server the others are compared with; `nats` is the better nats-server, row by row.
    pub reference: String,
    /// Name and version of each server.
    pub servers: Vec<(String, String)>,
    /// Row by row.
    pub scenarios: Vec<ScenarioResult>,
}

/// A scenario's results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScenarioResult {
    /// Its name.
    pub name: String,
    /// What a reader sees.
    pub title: String,
    /// Heading it stands under.
    pub group: String,
    /// What it counts.
    pub unit: Unit,
    /// Whether the load was paced, so that the rate is given and not found.
    pub paced: bool,
    /// Messages per second of a paced load.
    #[serde(default)]
    pub rate: Option<f64>,
    /// What ringbus is to reach.
    #[serde(default)]
    pub target: Option<Target>,
    /// Server by server.
    pub rows: Vec<Row>,
}

/// One server's runs of a scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub server: String,
    /// The scenario makes no sense for it.
    pub skipped: bool,
    /// Runs that came to an end.
    pub runs: Vec<Run>,
    /// Why the others did not.
    pub errors: Vec<String>,
    /// Medians of the sound runs, once they are all there.
    pub summary: Option<Summary>,
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Its number: runs of one number are neighbours in time.
    pub run: usize,
    /// Seconds measured.
    pub seconds: f64,
    /// How many of the scenario's unit came about in them.
    pub units: u64,
    /// Messages sent in them.
    pub published: u64,
    /// Units per second.
    pub per_second: f64,
    /// Server CPU-seconds per million units, which is µs per unit.
    pub cpu_s_per_million: f64,
    /// Cores' worth of work of the server.
    pub server_busy: f64,
    /// Share of the time the busiest generator thread was at work.
    pub generator_busy: f64,
    /// Cores' worth of work of other programs.
    pub others_busy: f64,
    /// Most memory the server had.
    pub memory_peak_bytes: u64,
    /// What a connection added to it, in bytes.
    pub memory_per_connection: Option<f64>,
    /// What clients that were there already felt.
    #[serde(default)]
    pub established: Option<Established>,
    /// Latency from the intended send time.
    pub latency: Option<Latency>,
    /// How long a generator thread stood still in the measure, seconds, where that was so long that
    /// the run's figures are its own and not the server's.
    #[serde(default)]
    pub stalled_s: Option<f64>,
    /// What was owed over the whole run, and what came.
    pub account: Account,
    /// Empty when every message owed came exactly once.
    pub faults: Vec<String>,
}

impl Run {
    /// Why its figures are left out.
    pub fn stall(&self) -> Option<String> {
        self.stalled_s.map(|s| format!("the generator stood still for {s:.2} s"))
    }

    /// Whether nothing came of it, though the generator was there.
    pub fn empty(&self) -> bool {
        self.units == 0 && self.stalled_s.is_none()
    }

    /// CPU per unit; of no unit it is no number, which medians leave out.
    fn cost(&self) -> f64 {
        if self.units == 0 { f64::NAN } else { self.cpu_s_per_million }
    }
}

/// Latency of messages between clients that were connected before a storm, µs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Established {
    /// 99 of 100 took at most this before it.
    pub before_p99_us: f64,
    /// And while it lasted.
    pub meanwhile_p99_us: f64,
}

impl Established {
    /// How many times longer meanwhile.
    pub fn ratio(&self) -> f64 {
        self.meanwhile_p99_us / self.before_p99_us.max(1.0)
    }

    fn median(all: &[Self]) -> Option<Self> {
        let median = |pick: fn(&Self) -> f64| spread(all.iter().map(pick)).map(|s| s.median);
        Some(Self {
            before_p99_us: median(|e| e.before_p99_us)?,
            meanwhile_p99_us: median(|e| e.meanwhile_p99_us)?,
        })
    }
}

/// Latencies in µs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Messages.
    pub count: u64,
    /// Median.
    pub p50_us: f64,
    /// One in a hundred is slower.
    pub p99_us: f64,
    /// One in a thousand is slower.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// Medians of a row's sound runs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Units per second.
    pub per_second: Spread,
    /// CPU-seconds per million units.
    pub cpu_s_per_million: Spread,
    /// Bytes.
    pub memory_peak_bytes: Spread,
    /// Bytes, where connections are what is measured.
    pub memory_per_connection: Option<Spread>,
    /// Medians of what clients that were there already felt.
    #[serde(default)]
    pub established: Option<Established>,
    /// Share of the busiest generator thread, greatest of the runs.
    pub generator_busy: f64,
    /// Cores' worth of others' work, greatest of the runs.
    pub others_busy: f64,
    /// Medians of the runs' percentiles.
    pub latency: Option<Latency>,
    /// Every run had exactly what it was owed.
    pub exact: bool,
}

impl Latency {
    /// Of a histogram in ns; nothing of an empty one.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let us = |q: f64| histogram.value_at_quantile(q) as f64 / 1e3;
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            p50_us: us(0.5),
            p99_us: us(0.99),
            p999_us: us(0.999),
            max_us: histogram.max() as f64 / 1e3,
        })
    }

    fn median(all: &[Self]) -> Option<Self> {
        let median = |pick: fn(&Self) -> f64| spread(all.iter().map(pick)).map(|s| s.median);
        Some(Self {
            count: all.iter().map(|l| l.count).sum(),
            p50_us: median(|l| l.p50_us)?,
            p99_us: median(|l| l.p99_us)?,
            p999_us: median(|l| l.p999_us)?,
            max_us: median(|l| l.max_us)?,
        })
    }
}

impl Row {
    /// A row with nothing in it yet.
    pub fn new(server: &str) -> Self {
        Self { server: server.to_string(), ..Self::default() }
    }

    /// What kind of server this is.
    pub fn role(&self) -> Role {
        Role::of(&self.server)
    }

    /// Runs in which the generator did not stand still.
    pub fn sound(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| run.stalled_s.is_none())
    }

    /// Whether at least half of the runs are sound.
    pub fn reliable(&self) -> bool {
        self.sound().count() * 2 >= self.runs.len()
    }

    /// What stands where there are no figures.
    pub fn blank(&self) -> &'static str {
        match self.sound().next() {
            _ if self.skipped => "n/a",
            None if !self.runs.is_empty() => "stalled",
            _ => "failed",
        }
    }

    fn summarize(&mut self) {
        let over = |pick: &dyn Fn(&Run) -> f64| spread(self.sound().map(pick));
        let most = |pick: &dyn Fn(&Run) -> f64| over(pick).map_or(0.0, |s| s.max);
        let latencies: Vec<Latency> = self.sound().filter_map(|r| r.latency).collect();
        let established: Vec<_> = self.sound().filter_map(|r| r.established).collect();
        let (Some(per_second), Some(cpu_s_per_million), Some(memory_peak_bytes)) =
            (over(&|r| r.per_second), over(&Run::cost), over(&|r| r.memory_peak_bytes as f64))
        else {
            return;
        };
        self.summary = Some(Summary {
            per_second,
            cpu_s_per_million,
            memory_peak_bytes,
            memory_per_connection: spread(self.sound().filter_map(|r| r.memory_per_connection)),
            established: Established::median(&established),
            generator_busy: most(&|r| r.generator_busy),
            others_busy: most(&|r| r.others_busy),
            latency: Latency::median(&latencies),
            exact: self.errors.is_empty()
                && self.runs.iter().all(|r| r.faults.is_empty() && !r.empty()),
        });
    }

    /// Letters that say what to mind: `g` the generator was the limit, `n` a noisy machine,
    /// `s` a run was left out because the generator stood still, `?` so were most of them,
    /// `!` not every message came exactly once, or none in a measure.
    pub fn marks(&self) -> String {
        let summary = self.summary.as_ref();
        let marks = [
            ('g', summary.is_some_and(|summary| summary.generator_busy > BUSY_MAX)),
            ('n', summary.is_some_and(|summary| summary.others_busy > OTHERS_MAX)),
            ('s', self.sound().count() < self.runs.len()),
            ('?', !self.reliable()),
            ('!', summary.is_some_and(|summary| !summary.exact)),
        ];
        marks.iter().filter(|(_, on)| *on).map(|(letter, _)| *letter).collect()
    }

    fn by_run(&self, pick: fn(&Run) -> f64) -> Vec<(usize, f64)> {
        self.sound().map(|run| (run.run, pick(run))).collect()
    }
}

impl ScenarioResult {
    /// Sums a scenario's runs up.
    pub fn new(scenario: &Scenario, rows: Vec<Row>) -> Self {
        let (name, title) = (scenario.name.clone(), scenario.title.clone());
        let (group, target) = (scenario.group.clone(), scenario.target.clone());
        let rate = scenario.publish.as_ref().and_then(|publish| publish.rate);
        let result = Self::of(name, title, group, scenario.unit(), target, rows);
        Self { paced: rate.is_some(), rate, ..result }
    }

    /// Sums up the runs of a load that saturates.
    pub fn of(
        name: String,
        title: String,
        group: String,
        unit: Unit,
        target: Option<Target>,
        mut rows: Vec<Row>,
    ) -> Self {
        rows.iter_mut().for_each(Row::summarize);
        Self { name, title, group, unit, paced: false, rate: None, target, rows }
    }

    /// The row of the server of this name.
    pub fn row(&self, server: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.server == server)
    }

    /// The cheapest row of a kind of server: in CPU per unit, for connections held in memory.
    pub fn best(&self, role: Role) -> Option<&Row> {
        let cost = |row: &Row| {
            let summary = row.summary?;
            match self.unit {
                Unit::Held => summary.memory_per_connection.map(|each| each.median),
                _ => Some(summary.cpu_s_per_million.median),
            }
        };
        let rows = self.rows.iter().filter(|row| row.role() == role);
        let costs = rows.filter_map(|row| Some((cost(row)?, row)));
        costs.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, row)| row)
    }

    /// The row of a kind of server that made most units per second.
    pub fn fastest(&self, role: Role) -> Option<&Row> {
        let rows = self.rows.iter().filter(|row| row.role() == role);
        let rates = rows.filter_map(|row| Some((row.summary?.per_second.median, row)));
        rates.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, row)| row)
    }

    /// The row that `reference` names; `nats` is the better nats-server.
    pub fn reference(&self, reference: &str) -> Option<&Row> {
        match reference {
            "nats" => self.best(Role::Nats),
            name => self.row(name),
        }
    }

    /// Cost of one row divided by that of another, paired by run.
    pub fn cost_ratio(&self, above: &Row, below: &Row) -> Option<Spread> {
        let pick: fn(&Run) -> f64 = match self.unit {
            Unit::Held => |run| run.memory_per_connection.unwrap_or(0.0),
            _ => Run::cost,
        };
        ratio(&above.by_run(pick), &below.by_run(pick))
    }

    /// Rate of one row divided by that of another, paired by run.
    pub fn rate_ratio(&self, above: &Row, below: &Row) -> Option<Spread> {
        let pick: fn(&Run) -> f64 = |run| run.per_second;
        ratio(&above.by_run(pick), &below.by_run(pick))
    }

    /// How many times cheaper (in CPU per unit; for connections held, in memory) a row is than
    /// the reference.
    pub fn cheaper(&self, row: &Row, reference: &str) -> Option<Spread> {
        let reference = self.reference(reference)?;
        (reference.server != row.server).then(|| self.cost_ratio(reference, row))?
    }

    /// How many times more units per second a row makes than the reference, where the rate is
    /// found and not given.
    pub fn faster(&self, row: &Row, reference: &str) -> Option<Spread> {
        if self.paced || self.unit == Unit::Held {
            return None;
        }
        let reference = self.reference(reference)?;
        (reference.server != row.server).then(|| self.rate_ratio(row, reference))?
    }
}

impl Report {
    /// Rows in which not every message came exactly once, or that never ran, and runs that were
    /// left out, as lines.
    pub fn troubles(&self) -> Vec<String> {
        let rows = self.scenarios.iter().flat_map(|s| s.rows.iter().map(move |row| (s, row)));
        rows.flat_map(|(scenario, row)| {
            let faults = row.runs.iter().filter_map(|run| run.faults.first().map(|f| (run, f)));
            let faults = faults.map(|(run, fault)| {
                let (count, account) = (run.faults.len(), run.account);
                let sums = format!("owed {}, came {}", account.owed, account.came);
                format!("run {}: {sums}; {count} faults, the first: {fault}", run.run)
            });
            let stalls = row
                .runs
                .iter()
                .filter_map(|run| Some(format!("run {}: left out: {}", run.run, run.stall()?)));
            let empty = row.runs.iter().filter(|run| run.empty());
            let empty = empty.map(|run| format!("run {}: nothing came in the measure", run.run));
            let few = (!row.reliable())
                .then(|| "fewer than half of its runs are left: do not rely on its figures".into());
            let errors = row.errors.iter().cloned();
            let lines: Vec<String> =
                faults.chain(stalls).chain(empty).chain(few).chain(errors).collect();
            lines.into_iter().map(|l| format!("{} on {}: {l}", scenario.name, row.server))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests;
