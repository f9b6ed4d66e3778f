//! What a scenario file may say, and the checks that make the rest of the program trust it.

use crate::target::Target;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One file of `scenarios/`. Exactly one of `publish`, `request`, `storm` and `idle` is there.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Short, unique, used on the command line.
    pub name: String,
    /// What a reader sees.
    pub title: String,
    /// Heading the row stands under.
    pub group: String,
    /// Part of `--quick`.
    #[serde(default)]
    pub quick: bool,
    /// Takes minutes: run only when it is named, or with `--slow`.
    #[serde(default)]
    pub slow: bool,
    /// Most runs of each server, where one says as much as five.
    pub runs_max: Option<usize>,
    /// Servers that speak RESP (Redis, Valkey) can run it too.
    #[serde(default)]
    pub resp: bool,
    /// Clients speak TLS, with a certificate made on the spot. The floor and RESP servers sit out.
    #[serde(default)]
    pub tls: bool,
    /// Place in the report; rows of equal place go by name.
    #[serde(default)]
    pub order: u32,
    /// Payload bytes of each message.
    #[serde(default)]
    pub payload: usize,
    /// Seconds of traffic before anything is measured.
    #[serde(default = "default_warm_up_s")]
    pub warm_up_s: f64,
    /// Seconds measured.
    #[serde(default = "default_duration_s")]
    pub duration_s: f64,
    /// Seconds that all owed messages may take to arrive once the publishers have stopped.
    #[serde(default = "default_drain_s")]
    pub drain_s: f64,
    /// How subscribers receive.
    #[serde(default)]
    pub receive: Receive,
    /// Servers this row makes no sense for, by name.
    #[serde(default)]
    pub skip: Vec<String>,
    /// What ringbus is to reach.
    pub target: Option<Target>,
    /// Messages from publishers to subscribers.
    pub publish: Option<Publish>,
    /// Who listens to them.
    #[serde(default)]
    pub subscribe: Vec<Subscribe>,
    /// Connections that come and go with subscriptions while messages flow.
    pub churn: Option<Churn>,
    /// Requests and replies.
    pub request: Option<Request>,
    /// Connections made as fast as they can be.
    pub storm: Option<Storm>,
    /// Connections that do nothing.
    pub idle: Option<Idle>,
}

fn default_warm_up_s() -> f64 {
    0.7
}

fn default_duration_s() -> f64 {
    3.0
}

fn default_drain_s() -> f64 {
    30.0
}

/// How subscribers receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Receive {
    /// `count`, unless latency can only be had from stamps: then `verify`.
    #[default]
    Auto,
    /// Bytes are discarded in the kernel (with TLS: once they are plain); messages are counted by
    /// their known size.
    Count,
    /// Every message is parsed: subject, sid, size, order and filling are checked.
    Verify,
}

/// How subjects go to connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deal {
    /// Every connection has all of them.
    #[default]
    Share,
    /// Dealt out like cards: subject i goes to connection i modulo their number.
    Own,
}

/// Publishing connections.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Connections.
    #[serde(default = "one")]
    pub connections: usize,
    /// Subject template; see the README.
    pub subject: String,
    /// Which publisher sends which subjects, round robin.
    #[serde(default)]
    pub deal: Deal,
    /// Messages per second of all publishers together, open loop; without it they saturate.
    pub rate: Option<f64>,
    /// Take the rate from what nats-server reached in an earlier row; `rate` stands where that
    /// row has not been run.
    pub rate_from: Option<RateFrom>,
    /// Messages sent together.
    #[serde(default = "one")]
    pub burst: usize,
    /// Most messages of one publisher that may be under way; needs a subscriber of its own to
    /// pace it.
    pub window: Option<u64>,
}

/// A rate that another row found.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RateFrom {
    /// A saturating row that stands earlier in the report.
    pub row: String,
    /// This share of the publications that the quickest nats-server took there.
    pub share: f64,
}

/// Subscribing connections.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// Connections.
    #[serde(default = "one")]
    pub connections: usize,
    /// Pattern template; see the README.
    pub subject: String,
    /// Which connection subscribes to which patterns.
    #[serde(default)]
    pub deal: Deal,
    /// Queue group these connections are members of.
    pub queue: Option<String>,
    /// They never read a byte after subscribing, and nothing is owed to them.
    #[serde(default)]
    pub stuck: bool,
}

/// Subscriptions that come and go.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// Connections.
    pub connections: usize,
    /// Prefix of the patterns, which nobody publishes to.
    pub subject: String,
    /// SUBs and UNSUBs per second, of all connections together.
    pub operations_per_second: f64,
    /// Subscriptions each connection keeps.
    #[serde(default = "ten")]
    pub kept: u64,
}

/// Requesters and responders.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Requesting connections, each with an inbox of its own.
    #[serde(default = "one")]
    pub requesters: usize,
    /// Answering connections; more than one form a queue group.
    #[serde(default = "one")]
    pub responders: usize,
    /// Requests each requester has under way.
    #[serde(default = "one")]
    pub in_flight: usize,
}

/// A herd of clients connecting.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// Connections, each with one subscription of its own.
    pub connections: usize,
    /// How many are between connect and PONG at a time.
    #[serde(default = "hundred")]
    pub in_flight: usize,
    /// Two established clients exchange messages, before and meanwhile: their p99 is a figure.
    #[serde(default)]
    pub established: bool,
    /// How often it happens, one after the other. A short storm meets few messages of the
    /// established, and a single pause of the machine is their p99.
    #[serde(default = "one")]
    pub times: usize,
}

/// Connections that do nothing.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// Connections.
    pub connections: usize,
    /// Subscriptions of each, all on subjects of their own; beyond one, the row's memory is that of
    /// a subscription.
    #[serde(default = "one")]
    pub subscriptions: usize,
    /// PINGs per second that each connection sends while it is held.
    #[serde(default)]
    pub pings_per_second: f64,
}

fn one() -> usize {
    1
}

fn ten() -> u64 {
    10
}

fn hundred() -> usize {
    100
}

/// What a row counts: the "M" of CPU-seconds per million.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Messages that arrived.
    Delivered,
    /// Messages sent, where nobody listens.
    Published,
    /// Connections made.
    Connections,
    /// Connections held; such a row is about memory.
    Held,
}

impl Unit {
    /// What a million of it is a million of.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Delivered => "deliveries",
            Self::Published => "publications",
            Self::Connections => "connections",
            Self::Held => "connections held",
        }
    }
}

impl Scenario {
    /// What this row counts.
    pub fn unit(&self) -> Unit {
        match self {
            Self { storm: Some(_), .. } => Unit::Connections,
            Self { idle: Some(_), .. } => Unit::Held,
            Self { publish: Some(_), subscribe, .. } if subscribe.is_empty() => Unit::Published,
            _ => Unit::Delivered,
        }
    }

    /// Parses and checks one file.
    ///
    /// # Errors
    /// A line about what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        scenario.check().map_err(|e| format!("{}: {e}", scenario.name))?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        let kinds = [
            self.publish.is_some(),
            self.request.is_some(),
            self.storm.is_some(),
            self.idle.is_some(),
        ];
        if kinds.iter().filter(|there| **there).count() != 1 {
            return Err("exactly one of [publish], [request], [storm], [idle]".into());
        }
        if self.publish.is_none() && (!self.subscribe.is_empty() || self.churn.is_some()) {
            return Err("[[subscribe]] and [churn] need [publish]".into());
        }
        let times = [self.warm_up_s, self.duration_s, self.drain_s];
        if !times.iter().all(|t| t.is_finite() && *t >= 0.0) || self.duration_s == 0.0 {
            return Err("times must not be negative, and something must be measured".into());
        }
        if let Some(target) = &self.target {
            target.check()?;
        }
        if self.tls && self.resp {
            return Err("RESP servers are not run with TLS".into());
        }
        if self.receive == Receive::Verify && self.payload < crate::stamp::SIZE {
            return Err(format!("verifying needs a payload of {}", crate::stamp::SIZE));
        }
        if self.request.is_some() && self.payload < crate::stamp::SIZE {
            return Err(format!("requests need a payload of {}", crate::stamp::SIZE));
        }
        self.check_numbers()
    }

    fn check_numbers(&self) -> Result<(), String> {
        if let Some(publish) = &self.publish {
            if publish.connections == 0 || publish.burst == 0 {
                return Err("publish: connections and burst are at least 1".into());
            }
            if publish.rate.is_some_and(|rate| !(rate > 0.0 && rate.is_finite())) {
                return Err("publish: rate must be above zero".into());
            }
            let from = publish.rate_from.as_ref();
            if from.is_some_and(|from| !(from.share > 0.0 && publish.rate.is_some())) {
                return Err("publish: rate_from needs a share above zero, and a rate".into());
            }
            if publish.window.is_some_and(|window| window < publish.burst as u64) {
                return Err("publish: a window holds at least one burst".into());
            }
            if publish.window.is_some() && publish.rate.is_some() {
                return Err("publish: a window is for saturation, a rate is open loop".into());
            }
            if publish.subject.contains(['*', '>']) {
                return Err("publish: subjects have no wildcards here".into());
            }
        }
        if self.subscribe.iter().any(|subscribe| subscribe.connections == 0) {
            return Err("subscribe: connections is at least 1".into());
        }
        if let Some(churn) = &self.churn
            && (churn.connections == 0 || churn.kept == 0 || churn.operations_per_second <= 0.0)
        {
            return Err("churn: all numbers are above zero".into());
        }
        let counts = [
            self.request.as_ref().map(|r| r.requesters.min(r.responders).min(r.in_flight)),
            self.storm.as_ref().map(|s| s.connections.min(s.in_flight).min(s.times)),
            self.idle.as_ref().map(|i| i.connections.min(i.subscriptions)),
        ];
        if counts.contains(&Some(0)) {
            return Err("counts are at least 1".into());
        }
        Ok(())
    }
}

/// Reads every `*.toml` of a folder, in report order.
///
/// # Errors
/// A line that names the file: unreadable, unknown words, or a name used twice.
pub fn load(folder: &Path) -> Result<Vec<Scenario>, String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut all: Vec<Scenario> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_none_or(|x| x != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
        let scenario = Scenario::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        if all.iter().any(|other| other.name == scenario.name) {
            return Err(format!("{}: the name is taken", path.display()));
        }
        all.push(scenario);
    }
    all.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tail: &str) -> Result<Scenario, String> {
        Scenario::parse(&format!("name='x'\ntitle='x'\ngroup='g'\n{tail}"))
    }

    #[test]
    fn every_shipped_scenario_loads_and_plans() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let all = load(&folder).unwrap();
        assert!(all.len() >= 18, "{}", all.len());
        assert!(all.iter().any(|s| s.quick));
        for scenario in all.iter().filter(|s| s.publish.is_some()) {
            crate::plan::Plan::new(scenario, false)
                .unwrap_or_else(|e| panic!("{}: {e}", scenario.name));
        }
    }

    /// The targets as they were set: name, nats at least, floor at most (0: none).
    const TARGETS: &[(&str, f64, f64)] = &[
        ("pub-16", 3.5, 0.0),
        ("one-16", 5.0, 1.7),
        ("one-128", 6.0, 1.6),
        ("one-1k", 5.0, 1.2),
        ("one-64k", 2.5, 1.1),
        ("fan-100", 4.5, 1.4),
        ("fan-1000", 6.0, 1.6),
        ("fan-1000-paced", 1.6, 1.1),
        ("one-16-paced", 1.8, 1.2),
        ("pairs-50", 5.0, 1.5),
        ("pairs-50-bursts", 4.0, 1.2),
        ("request-1", 5.0, 1.3),
        ("request-50", 7.0, 1.5),
        ("telemetry", 4.0, 0.0),
        ("subjects-100k", 6.0, 0.0),
        ("subjects-1m", 6.0, 0.0),
        ("churn", 4.0, 0.0),
        ("storm", 3.0, 0.0),
        ("tls-16", 3.0, 0.0),
        ("tls-1k", 3.0, 0.0),
        ("tls-64k", 3.0, 0.0),
    ];

    #[test]
    fn targets_are_not_moved_by_accident() {
        let all = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")).unwrap();
        for (name, nats, floor) in TARGETS {
            let scenario = all.iter().find(|s| s.name == *name).unwrap();
            let target = scenario.target.as_ref().unwrap_or_else(|| panic!("{name}: no target"));
            assert_eq!(target.nats_at_least, Some(*nats), "{name}");
            assert_eq!(target.floor_at_most.unwrap_or(0.0), *floor, "{name}");
            let has_floor = !scenario.tls && !scenario.skip.contains(&"floor".to_string());
            assert!(has_floor || *floor == 0.0, "{name}: no floor to compare with");
        }
        let rows = all.iter().filter_map(|s| s.target.as_ref());
        let others = rows.flat_map(|t| [&t.cost_of, &t.rate_of, &t.memory_above]).flatten();
        for other in others {
            assert!(all.iter().any(|s| s.name == other.row), "{}", other.row);
        }
    }

    #[test]
    fn units_follow_from_what_is_there() {
        let unit = |tail| with(tail).unwrap().unit();
        assert_eq!(unit("[publish]\nsubject='a'"), Unit::Published);
        assert_eq!(unit("[publish]\nsubject='a'\n[[subscribe]]\nsubject='a'"), Unit::Delivered);
        assert_eq!(unit("payload=16\n[request]"), Unit::Delivered);
        assert_eq!(unit("[storm]\nconnections=3"), Unit::Connections);
        assert_eq!(unit("[idle]\nconnections=3"), Unit::Held);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "[publish]\nsubject='a'\n[idle]\nconnections=1",
            "[publish]\nsubject='a.*'",
            "[publish]\nsubject='a'\nrate=0.0",
            "[publish]\nsubject='a'\nburst=4\nwindow=2",
            "[publish]\nsubject='a'\nrate=1.0\nwindow=2",
            "[publish]\nsubject='a'\nspeed=3",
            "[request]",
            "receive='verify'\npayload=8\n[publish]\nsubject='a'",
            "duration_s=0.0\n[publish]\nsubject='a'",
            "[storm]\nconnections=0",
            "[storm]\nconnections=1\ntimes=0",
            "[storm]\nconnections=1\n[target]\nnats_at_least=0.0",
            "[storm]\nconnections=1\n[target]\nnats=2.0",
            "[publish]\nsubject='a'\n[publish.rate_from]\nrow='x'\nshare=0.5",
            "[idle]\nconnections=1\n[[subscribe]]\nsubject='a'",
            "tls=true\nresp=true\n[publish]\nsubject='a'",
        ] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }
}
