//! What a row is to reach, and whether it does.

use crate::report::{bytes, short, three};
use crate::results::{Report, Row, ScenarioResult};
use crate::servers::Role;
use crate::stats::Spread;
use serde::{Deserialize, Serialize};

/// What a scenario's file says ringbus is to reach; `[target]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// CPU (where connections are held: memory) of the better nats-server, divided by ours.
    pub nats_at_least: Option<f64>,
    /// Our CPU divided by the floor's.
    pub floor_at_most: Option<f64>,
    /// CPU of the better of Redis and Valkey, divided by ours.
    pub redis_at_least: Option<f64>,
    /// Our rate divided by that of the quicker nats-server.
    pub rate_at_least: Option<f64>,
    /// Our units per second.
    pub per_second_at_least: Option<f64>,
    /// Our median latency divided by that of the nats-server with the lower one.
    pub p50_at_most: Option<f64>,
    /// The same of the 99th percentile.
    pub p99_at_most: Option<f64>,
    /// The same of the 99.9th percentile.
    pub p999_at_most: Option<f64>,
    /// Our CPU divided by our own in another row.
    pub cost_of: Option<Against>,
    /// Our rate divided by our own in another row.
    pub rate_of: Option<Against>,
    /// Our peak memory beyond our own in another row, bytes.
    pub memory_above: Option<Against>,
    /// Bytes for each connection (or subscription) held.
    pub memory_at_most: Option<f64>,
    /// The p99 of established clients meanwhile, divided by theirs before.
    pub established_at_most: Option<f64>,
    /// CPU with two shards divided by that with one.
    pub two_shards_at_most: Option<f64>,
}

/// A comparison with ourselves in another row.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Against {
    /// The other row's name.
    pub row: String,
    /// Upper bound.
    pub at_most: Option<f64>,
    /// Lower bound.
    pub at_least: Option<f64>,
}

impl Target {
    /// Bounds are above zero, and a comparison has one.
    ///
    /// # Errors
    /// A line that says which one does not.
    pub fn check(&self) -> Result<(), String> {
        let plain = [
            self.nats_at_least,
            self.floor_at_most,
            self.redis_at_least,
            self.rate_at_least,
            self.per_second_at_least,
            self.p50_at_most,
            self.p99_at_most,
            self.p999_at_most,
            self.memory_at_most,
            self.established_at_most,
            self.two_shards_at_most,
        ];
        if plain.iter().flatten().any(|bound| !(*bound > 0.0 && bound.is_finite())) {
            return Err("target: bounds are above zero".into());
        }
        let against = [&self.cost_of, &self.rate_of, &self.memory_above];
        match against.into_iter().flatten().find(|a| a.at_most.is_some() == a.at_least.is_some()) {
            Some(a) => Err(format!("target: {} needs at_most or at_least, and not both", a.row)),
            None => Ok(()),
        }
    }
}

/// One figure beside its target.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Which figure.
    pub what: String,
    /// What was found, as text.
    pub found: String,
    /// `≥ 3.5`, `≤ 1.7`, or nothing.
    pub bound: String,
    /// Nothing where there is no target.
    pub met: Option<bool>,
}

impl Verdict {
    /// `met`, `missed`, or `no target`.
    pub fn word(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "no target",
        }
    }
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    None,
}

impl Bound {
    fn least(bound: Option<f64>) -> Self {
        bound.map_or(Self::None, Self::AtLeast)
    }

    fn most(bound: Option<f64>) -> Self {
        bound.map_or(Self::None, Self::AtMost)
    }

    fn is_some(self) -> bool {
        !matches!(self, Self::None)
    }

    fn holds(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(bound) => Some(value >= bound),
            Self::AtMost(bound) => Some(value <= bound),
            Self::None => None,
        }
    }

    fn text(self, show: fn(f64) -> String) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {}", show(bound)),
            Self::AtMost(bound) => format!("≤ {}", show(bound)),
            Self::None => String::new(),
        }
    }
}

/// A row with everything its targets need.
struct Judge<'a> {
    report: &'a Report,
    scenario: &'a ScenarioResult,
    ours: &'a Row,
    verdicts: Vec<Verdict>,
}

/// Every figure of a row that has a target or could have one. Nothing where ringbus did not run.
pub fn judge(report: &Report, scenario: &ScenarioResult) -> Vec<Verdict> {
    let Some(ours) = scenario.row("ringbus").filter(|row| row.summary.is_some()) else {
        return Vec::new();
    };
    let none = Target::default();
    let target = scenario.target.as_ref().unwrap_or(&none);
    let mut judge = Judge { report, scenario, ours, verdicts: Vec::new() };
    judge.costs(target);
    judge.latencies(target);
    judge.ourselves(target);
    judge.verdicts
}

impl Judge<'_> {
    fn add(
        &mut self,
        what: &str,
        value: f64,
        found: String,
        bound: Bound,
        show: fn(f64) -> String,
    ) {
        // Quick and wrong is not quick.
        let exact = self.ours.summary.as_ref().is_some_and(|summary| summary.exact);
        let sure = exact && self.ours.reliable();
        let met = bound.holds(value).map(|held| held && sure);
        let what = what.to_string();
        self.verdicts.push(Verdict { what, found, bound: bound.text(show), met });
    }

    fn add_ratio(&mut self, what: &str, ratio: Spread, with: &str, bound: Bound) {
        let with = if with.is_empty() { String::new() } else { format!(" {with}") };
        let found = format!("{}{with}", super::report::table::times(ratio));
        self.add(what, ratio.median, found, bound, three);
    }

    fn missing(&mut self, what: &str, bound: Bound, show: fn(f64) -> String) {
        if bound.is_some() {
            let (found, bound) = ("not run".to_string(), bound.text(show));
            self.verdicts.push(Verdict { what: what.into(), found, bound, met: None });
        }
    }

    fn costs(&mut self, target: &Target) {
        let scenario = self.scenario;
        let held = scenario.unit == crate::scenario::Unit::Held;
        let (bound, what) = (Bound::least(target.nats_at_least), "nats ÷ ringbus");
        match scenario.best(Role::Nats).map(|best| (scenario.cost_ratio(best, self.ours), best)) {
            Some((Some(ratio), best)) => self.add_ratio(what, ratio, &best.server, bound),
            _ => self.missing(what, bound, three),
        }
        let (bound, what) = (Bound::most(target.floor_at_most), "ringbus ÷ floor");
        match scenario.best(Role::Floor).and_then(|floor| scenario.cost_ratio(self.ours, floor)) {
            Some(ratio) if !held => self.add_ratio(what, ratio, "", bound),
            _ => self.missing(what, bound, three),
        }
        let (bound, what) = (Bound::least(target.redis_at_least), "redis ÷ ringbus");
        match scenario.best(Role::Resp).map(|best| (scenario.cost_ratio(best, self.ours), best)) {
            Some((Some(ratio), best)) => self.add_ratio(what, ratio, &best.server, bound),
            _ => self.missing(what, bound, three),
        }
        let (bound, what) = (Bound::least(target.rate_at_least), "rate, ringbus ÷ nats");
        let fastest = scenario.fastest(Role::Nats).filter(|_| bound.is_some());
        match fastest.map(|other| (scenario.rate_ratio(self.ours, other), other)) {
            Some((Some(ratio), other)) => self.add_ratio(what, ratio, &other.server, bound),
            _ => self.missing(what, bound, three),
        }
        let two = scenario.row("ringbus-2-shards").and_then(|two| {
            Some((scenario.cost_ratio(two, self.ours)?, scenario.rate_ratio(two, self.ours)))
        });
        if let Some((ratio, rate)) = two {
            let bound = Bound::most(Some(target.two_shards_at_most.unwrap_or(TWO_SHARDS_AT_MOST)));
            self.add_ratio("CPU, 2 shards ÷ 1", ratio, "", bound);
            if let Some(rate) = rate.filter(|_| !scenario.paced) {
                self.add_ratio("rate, 2 shards ÷ 1", rate, "", Bound::None);
            }
        }
    }

    fn latencies(&mut self, target: &Target) {
        type Pick = fn(&crate::results::Latency) -> f64;
        let wanted: [(&str, Option<f64>, Pick); 3] = [
            ("p50, ringbus ÷ nats", target.p50_at_most, |l| l.p50_us),
            ("p99, ringbus ÷ nats", target.p99_at_most, |l| l.p99_us),
            ("p99.9, ringbus ÷ nats", target.p999_at_most, |l| l.p999_us),
        ];
        for (what, at_most, pick) in wanted {
            let bound = Bound::most(at_most);
            if !bound.is_some() {
                continue;
            }
            let of = |row: &Row| Some(pick(row.summary.as_ref()?.latency.as_ref()?));
            let rows = self.scenario.rows.iter().filter(|row| row.role() == Role::Nats);
            let nats = rows.filter_map(of).min_by(f64::total_cmp);
            match (of(self.ours), nats) {
                (Some(own), Some(nats)) if nats > 0.0 => {
                    let found = format!("{} ({own:.0} ÷ {nats:.0} µs)", three(own / nats));
                    self.add(what, own / nats, found, bound, three);
                }
                _ => self.missing(what, bound, three),
            }
        }
    }

    fn ourselves(&mut self, target: &Target) {
        let Some(summary) = self.ours.summary else { return };
        if let Some(bound) = target.per_second_at_least {
            let rate = summary.per_second.median;
            self.add("per second", rate, short(rate), Bound::AtLeast(bound), short);
        }
        if let Some(bound) = target.memory_at_most {
            let each = summary.memory_per_connection.map_or(0.0, |each| each.median);
            self.add("memory of each", each, bytes(each), Bound::AtMost(bound), bytes);
        }
        if let Some(established) = summary.established {
            let ratio = established.ratio();
            let bound = Bound::most(target.established_at_most);
            let found = format!(
                "{} ({:.0} µs, before {:.0} µs)",
                three(ratio),
                established.meanwhile_p99_us,
                established.before_p99_us
            );
            self.add("p99 of the established", ratio, found, bound, three);
        }
        if let Some(against) = &target.cost_of {
            let cost = |row: &Row| row.summary.map(|summary| summary.cpu_s_per_million.median);
            self.against(
                &format!("CPU ÷ that of {}", against.row),
                against,
                cost,
                |a, b| a / b,
                three,
            );
        }
        if let Some(against) = &target.rate_of {
            let rate = |row: &Row| row.summary.map(|summary| summary.per_second.median);
            self.against(
                &format!("rate ÷ that of {}", against.row),
                against,
                rate,
                |a, b| a / b,
                three,
            );
        }
        if let Some(against) = &target.memory_above {
            let peak = |row: &Row| row.summary.map(|summary| summary.memory_peak_bytes.median);
            let what = format!("memory beyond {}", against.row);
            self.against(&what, against, peak, |a, b| (a - b).max(0.0), bytes);
        }
    }

    /// Ours here beside ours there; nats-server's is told too.
    fn against(
        &mut self,
        what: &str,
        against: &Against,
        pick: impl Fn(&Row) -> Option<f64>,
        compare: fn(f64, f64) -> f64,
        show: fn(f64) -> String,
    ) {
        let bound = match (against.at_most, against.at_least) {
            (Some(bound), _) => Bound::AtMost(bound),
            (_, bound) => Bound::least(bound),
        };
        let there = self.report.scenarios.iter().find(|s| s.name == against.row);
        let of = |server: &str| {
            let (here, there) = (self.scenario.row(server)?, there?.row(server)?);
            Some(compare(pick(here)?, pick(there)?)).filter(|value| value.is_finite())
        };
        let nats = self.scenario.rows.iter().filter(|row| row.role() == Role::Nats);
        let nats: Vec<String> = nats
            .filter_map(|row| Some(format!("{} {}", row.server, show(of(&row.server)?))))
            .collect();
        match of("ringbus") {
            Some(value) if nats.is_empty() => self.add(what, value, show(value), bound, show),
            Some(value) => {
                let found = format!("{} ({})", show(value), nats.join(", "));
                self.add(what, value, found, bound, show);
            }
            None => self.missing(what, bound, show),
        }
    }
}

/// What a second shard may cost where a file does not say.
const TWO_SHARDS_AT_MOST: f64 = 1.35;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tally::Account;
    use crate::machine::Machine;
    use crate::results::{Latency, Run};
    use crate::scenario::Scenario;

    fn row(server: &str, cpu: f64, rate: f64, p99_us: f64, faults: &[&str]) -> Row {
        let latency = Latency { count: 9, p50_us: 1.0, p99_us, p999_us: 99.0, max_us: 99.0 };
        let mut row = Row::new(server);
        row.runs = vec![Run {
            run: 0,
            seconds: 1.0,
            units: 100,
            published: 100,
            per_second: rate,
            cpu_s_per_million: cpu,
            server_busy: 1.0,
            generator_busy: 0.3,
            others_busy: 0.0,
            memory_peak_bytes: 1 << 20,
            memory_per_connection: None,
            established: None,
            latency: Some(latency),
            stalled_s: None,
            account: Account::default(),
            faults: faults.iter().map(|fault| (*fault).to_string()).collect(),
        }];
        row
    }

    fn result(name: &str, target: &str, rows: Vec<Row>) -> ScenarioResult {
        let text = format!(
            "name='{name}'\ntitle='t'\ngroup='g'\npayload=16\n[publish]\nsubject='a'\n[target]\n\
             {target}"
        );
        ScenarioResult::new(&Scenario::parse(&text).unwrap(), rows)
    }

    fn words(scenarios: Vec<ScenarioResult>) -> Vec<(String, &'static str)> {
        let report = Report {
            name: "t".into(),
            date: "2000-01-01".into(),
            machine: Machine::default(),
            server_cores: 1,
            generator_cores: 1,
            shared_cores: false,
            runs: 1,
            congestion: None,
            reference: "nats".into(),
            servers: Vec::new(),
            scenarios,
        };
        let verdicts = judge(&report, &report.scenarios[0]);
        verdicts.into_iter().map(|v| (v.what.clone(), v.word())).collect()
    }

    #[test]
    fn the_better_nats_server_is_what_counts() {
        let rows = |ours: f64| {
            vec![
                row("ringbus", ours, 9.0, 40.0, &[]),
                row("nats-server", 1.0, 3.0, 100.0, &[]),
                row("nats-debian", 0.5, 3.0, 90.0, &[]),
                row("floor", 0.05, 9.0, 9.0, &[]),
            ]
        };
        let target = "nats_at_least=5.0\nfloor_at_most=1.7\np99_at_most=0.5";
        let met = words(vec![result("x", target, rows(0.08))]);
        assert!(met.len() == 3 && met.iter().all(|(_, word)| *word == "met"), "{met:?}");
        let missed = words(vec![result("x", target, rows(0.11))]);
        assert_eq!((missed[0].1, missed[1].1, missed[2].1), ("missed", "missed", "met"));
        let none = words(vec![result("x", "", rows(0.11))]);
        assert!(none.len() == 2 && none.iter().all(|(_, word)| *word == "no target"), "{none:?}");
    }

    #[test]
    fn a_row_that_lost_a_message_meets_nothing() {
        let rows = vec![
            row("ringbus", 0.01, 9.0, 1.0, &["owed 2, came 1"]),
            row("nats-server", 1.0, 3.0, 100.0, &[]),
        ];
        assert_eq!(words(vec![result("x", "nats_at_least=5.0", rows)])[0].1, "missed");
    }

    #[test]
    fn a_row_of_which_most_runs_were_left_out_meets_nothing() {
        let mut ours = row("ringbus", 0.01, 9.0, 1.0, &[]);
        let run = ours.runs[0].clone();
        let stalled = |run: &Run, number| Run { run: number, stalled_s: Some(2.0), ..run.clone() };
        ours.runs.push(stalled(&run, 1));
        let nats = row("nats-server", 1.0, 3.0, 100.0, &[]);
        let word = |ours: &Row| {
            let rows = vec![ours.clone(), nats.clone()];
            words(vec![result("x", "nats_at_least=5.0", rows)])[0].1
        };
        assert_eq!(word(&ours), "met");
        ours.runs.push(stalled(&run, 2));
        assert_eq!(word(&ours), "missed");
    }

    #[test]
    fn another_row_of_ours_is_a_measure_too() {
        let here = vec![row("ringbus", 1.2, 97.0, 1.0, &[])];
        let target = "cost_of={row='y',at_most=1.3}\nrate_of={row='y',at_least=0.98}";
        let there = || result("y", "", vec![row("ringbus", 1.0, 100.0, 1.0, &[])]);
        let found = words(vec![result("x", target, here.clone()), there()]);
        assert_eq!(found.iter().map(|(_, word)| *word).collect::<Vec<_>>(), ["met", "missed"]);
        let alone = words(vec![result("x", target, here)]);
        assert!(alone.iter().all(|(_, word)| *word == "no target"), "{alone:?}");
    }

    #[test]
    fn two_shards_are_held_against_one() {
        let rows =
            vec![row("ringbus", 1.0, 9.0, 1.0, &[]), row("ringbus-2-shards", 1.4, 18.0, 1.0, &[])];
        let found = words(vec![result("x", "", rows)]);
        assert_eq!(found[0], ("CPU, 2 shards ÷ 1".to_string(), "missed"));
        assert_eq!(found[1].1, "no target");
    }
}
