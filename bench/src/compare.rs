//! Runs scenarios against servers, run by run in turn, and keeps what each run gave.

use crate::certificate::Certificate;
use crate::load::protocol::Protocol;
use crate::load::{self, Job, Load, crowd};
use crate::plan::Plan;
use crate::probe;
use crate::progress::Progress;
use crate::results::{Established, Latency, Row, Run, ScenarioResult};
use crate::scenario::{Idle, Scenario, Storm};
use crate::servers::{Role, Running, Spec};
use crate::siege::healthy;
use std::time::Duration;

/// How a bench is run.
pub struct Options {
    /// Runs of each server and scenario.
    pub runs: usize,
    /// Cores of the server.
    pub server_cores: Vec<usize>,
    /// Cores of the generator, one thread each.
    pub generator_cores: Vec<usize>,
    /// Seconds measured, instead of what the scenarios say.
    pub duration_s: Option<f64>,
    /// Seconds of warm-up, instead of what the scenarios say.
    pub warm_up_s: Option<f64>,
    /// Spin rather than sleep.
    pub spin: bool,
    /// Verify every message where that is possible.
    pub verify: bool,
    /// TCP congestion control of the generator's sockets, instead of the host's.
    pub congestion: Option<String>,
}

/// Versions by server name, as their INFO tells.
pub type Versions = Vec<(String, String)>;

/// Runs everything. A run that fails is noted in its row, and the rest goes on. `keep` is given
/// what there is after each scenario, so that a bench that is cut short has not been for nothing.
///
/// # Errors
/// A scenario that can't be planned, or a certificate that can't be made.
pub fn run(
    scenarios: &[Scenario],
    servers: &[Spec],
    options: &Options,
    mut keep: impl FnMut(&[ScenarioResult], &Versions),
) -> Result<(Vec<ScenarioResult>, Versions), String> {
    let skips = |scenario: &Scenario, server: &Spec| {
        let kind = scenario.skip.contains(&server.name);
        let resp = server.protocol() == Protocol::Resp && !scenario.resp;
        kind || resp || (scenario.tls && !server.knows_tls())
    };
    let takes = |scenario: &Scenario| {
        let those = servers.iter().filter(|server| !skips(scenario, server)).count();
        those * runs(scenario, options)
    };
    let mut progress = Progress::new(scenarios.iter().map(takes).sum());
    let any_tls = scenarios.iter().any(|scenario| scenario.tls);
    let certificate = if any_tls { Some(Certificate::make()?) } else { None };
    let mut versions = Versions::new();
    let mut results: Vec<ScenarioResult> = Vec::new();
    for scenario in scenarios {
        let scenario = &paced(scenario, &results);
        let plan = match &scenario.publish {
            Some(_) => Some(
                Plan::new(scenario, options.verify && scenario.payload >= crate::stamp::SIZE)
                    .map_err(|e| format!("{}: {e}", scenario.name))?,
            ),
            None => None,
        };
        progress.note(&format!("{} ({})", scenario.title, scenario.name));
        let mut rows: Vec<Row> = servers.iter().map(|server| Row::new(&server.name)).collect();
        for (row, server) in rows.iter_mut().zip(servers) {
            row.skipped = skips(scenario, server);
        }
        for number in 0..runs(scenario, options) {
            for place in 0..servers.len() {
                // Whoever went first last time goes last this time.
                let place = (place + number) % servers.len();
                if rows[place].skipped {
                    continue;
                }
                let server = &servers[place];
                progress.begin(&format!("{} on {}", scenario.name, server.name));
                let certificate = certificate.as_ref().filter(|_| scenario.tls);
                let running =
                    server.start(certificate, &options.server_cores, &options.generator_cores);
                let one = running.and_then(|mut running| {
                    note_version(&mut versions, server, &running);
                    running.door.congestion.clone_from(&options.congestion);
                    one(scenario, plan.as_ref(), &mut running, number, options)
                });
                progress.end(&format!("{:<12} {}", server.name, line(&one)));
                match one {
                    Ok(run) => rows[place].runs.push(run),
                    Err(e) => rows[place].errors.push(e),
                }
            }
        }
        results.push(ScenarioResult::new(scenario, rows));
        keep(&results, &versions);
    }
    Ok((results, versions))
}

fn runs(scenario: &Scenario, options: &Options) -> usize {
    options.runs.min(scenario.runs_max.unwrap_or(usize::MAX))
}

/// The scenario with the rate that an earlier row found.
fn paced(scenario: &Scenario, results: &[ScenarioResult]) -> Scenario {
    let mut scenario = scenario.clone();
    let Some(publish) = &mut scenario.publish else { return scenario };
    let Some(from) = &publish.rate_from else { return scenario };
    let row = results.iter().find(|result| result.name == from.row);
    let rows = row.into_iter().flat_map(|result| &result.rows);
    let nats = rows.filter(|row| row.role() == Role::Nats);
    let published = |row: &Row| {
        let rates = row.sound().map(|run| run.published as f64 / run.seconds);
        crate::stats::spread(rates).map(|rates| rates.median)
    };
    if let Some(rate) = nats.filter_map(published).max_by(f64::total_cmp) {
        publish.rate = Some((rate * from.share).max(1.0));
    }
    scenario
}

/// A run as a line of its own.
pub fn line(run: &Result<Run, String>) -> String {
    match run {
        Err(e) => format!("FAILED: {e}"),
        Ok(run) => {
            let fault = run.faults.first().map(|f| format!("  FAULT: {f}")).unwrap_or_default();
            let stall = run.stall().map(|why| format!("  LEFT OUT: {why}")).unwrap_or_default();
            let empty = if run.empty() { "  FAULT: nothing came in the measure" } else { "" };
            let latency = run.latency.map(|l| format!("  p99 {:.0} µs", l.p99_us));
            format!(
                "{:>12.0}/s  {:>9.3} CPU-s/M  {:>7.1} MiB{}{stall}{empty}{fault}",
                run.per_second,
                run.cpu_s_per_million,
                run.memory_peak_bytes as f64 / 1048576.0,
                latency.unwrap_or_default(),
            )
        }
    }
}

fn note_version(versions: &mut Versions, server: &Spec, running: &Running) {
    if !versions.iter().any(|(name, _)| *name == server.name) {
        versions.push((server.name.clone(), running.version.clone()));
    }
}

fn one(
    scenario: &Scenario,
    plan: Option<&Plan>,
    running: &mut Running,
    number: usize,
    options: &Options,
) -> Result<Run, String> {
    let run = match (&scenario.storm, &scenario.idle) {
        (Some(storm), _) => weather(number, storm, running)?,
        (_, Some(idle)) => {
            let hold_s = match scenario.slow {
                // Its length is what makes it slow.
                true => scenario.duration_s,
                false => options.duration_s.unwrap_or(scenario.duration_s),
            };
            hold(number, idle, Duration::from_secs_f64(hold_s), running)?
        }
        _ => {
            let load = load(scenario, plan, running, options)?;
            from_load(number, scenario, load, running)
        }
    };
    if !running.alive() {
        return Err("the server died".into());
    }
    Ok(run)
}

/// The first connection of a fresh server pays for things that are made once.
const FIRST: crowd::Order = crowd::Order {
    connections: 100,
    subscriptions: 1,
    in_flight: 10,
    hold: None,
    pings_per_second: 0.0,
};

/// How long established clients are watched before a storm.
const CALM: Duration = Duration::from_secs(1);

/// A storm, and what clients that were there before it feel of it.
fn weather(number: usize, storm: &Storm, running: &Running) -> Result<Run, String> {
    let (connections, in_flight) = (storm.connections, storm.in_flight);
    let order = crowd::Order { connections, in_flight, ..FIRST };
    crowd::run(&running.door, running.pid, &FIRST)?;
    let storms = || {
        let mut all = crowd::run(&running.door, running.pid, &order)?;
        for _ in 1..storm.times {
            all.add(&crowd::run(&running.door, running.pid, &order)?);
        }
        Ok::<_, String>(all)
    };
    if !storm.established {
        return Ok(from_crowd(number, storms()?, 1, running));
    }
    let pair = healthy::Pair::start(&running.door)?;
    std::thread::sleep(CALM);
    let before_p99_us = pair.measured().p99_us as f64;
    let crowd = storms()?;
    let meanwhile_p99_us = pair.measured().p99_us as f64;
    let mut run = from_crowd(number, crowd, 1, running);
    run.established = Some(Established { before_p99_us, meanwhile_p99_us });
    if !pair.end() {
        run.faults.push("a message between established clients was lost".into());
    }
    Ok(run)
}

fn hold(number: usize, idle: &Idle, hold: Duration, running: &Running) -> Result<Run, String> {
    crowd::run(&running.door, running.pid, &FIRST)?;
    let order = crowd::Order {
        connections: idle.connections,
        subscriptions: idle.subscriptions,
        in_flight: 64,
        hold: Some(hold),
        pings_per_second: idle.pings_per_second,
    };
    let crowd = crowd::run(&running.door, running.pid, &order)?;
    Ok(from_crowd(number, crowd, idle.subscriptions as u64, running))
}

fn load(
    scenario: &Scenario,
    plan: Option<&Plan>,
    running: &Running,
    options: &Options,
) -> Result<Load, String> {
    // A request loop and a window live inside one thread: their two ends must not be apart.
    let all = options.generator_cores.len();
    let apart = scenario.request.is_some() || plan.is_some_and(|plan| !plan.fits_threads(all));
    let threads = if apart { 1 } else { all };
    load::run(&Job {
        scenario,
        plan,
        door: &running.door,
        pid: running.pid,
        threads,
        cores: &options.generator_cores,
        spin: options.spin,
        // No warm-up in a scenario is part of what it measures.
        warm_up_s: match options.warm_up_s {
            Some(seconds) if scenario.warm_up_s > 0.0 => seconds,
            _ => scenario.warm_up_s,
        },
        duration_s: options.duration_s.unwrap_or(scenario.duration_s),
    })
}

fn from_load(number: usize, scenario: &Scenario, load: Load, running: &Running) -> Run {
    let units = match scenario.unit() {
        crate::scenario::Unit::Published => load.published,
        _ => load.delivered,
    };
    let latency = Latency::of(&load.latencies);
    Run {
        run: number,
        seconds: load.seconds,
        units,
        published: load.published,
        per_second: units as f64 / load.seconds,
        cpu_s_per_million: per_million(load.server_cpu_ns, units),
        server_busy: load.server_cpu_ns as f64 / 1e9 / load.seconds,
        generator_busy: load.generator_busy,
        others_busy: load.others_busy,
        memory_peak_bytes: probe::resident_peak_bytes(running.pid),
        memory_per_connection: None,
        established: None,
        latency,
        stalled_s: load.stalled_s,
        account: load.account,
        faults: load.faults,
    }
}

/// `each`: of how many things a connection is made up, each with its share of the memory.
fn from_crowd(number: usize, crowd: crowd::Crowd, each: u64, running: &Running) -> Run {
    Run {
        run: number,
        seconds: crowd.seconds,
        units: crowd.connections,
        published: 0,
        per_second: crowd.connections as f64 / crowd.seconds,
        cpu_s_per_million: per_million(crowd.server_cpu_ns, crowd.connections),
        server_busy: crowd.server_cpu_ns as f64 / 1e9 / crowd.seconds,
        generator_busy: crowd.generator_busy,
        others_busy: crowd.others_busy,
        memory_peak_bytes: probe::resident_peak_bytes(running.pid),
        memory_per_connection: Some(crowd.memory_bytes as f64 / (crowd.connections * each) as f64),
        established: None,
        latency: Latency::of(&crowd.latencies),
        stalled_s: None,
        account: load::tally::Account { owed: crowd.connections, came: crowd.connections },
        faults: crowd.faults,
    }
}

/// CPU-seconds per million units: as a number, the same as µs per unit. With no unit at all
/// there is no such figure.
fn per_million(cpu_ns: u64, units: u64) -> f64 {
    if units == 0 { 0.0 } else { cpu_ns as f64 / 1e3 / units as f64 }
}
