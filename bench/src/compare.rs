//! Runs scenarios against servers, run by run in turn, and keeps what each run gave.

use crate::load::{self, Job, Load, crowd};
use crate::plan::Plan;
use crate::probe;
use crate::progress::Progress;
use crate::results::{Latency, Row, Run, ScenarioResult};
use crate::scenario::Scenario;
use crate::servers::{Running, Spec};
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
}

/// Versions by server name, as their INFO tells.
pub type Versions = Vec<(String, String)>;

/// Runs everything. A run that fails is noted in its row, and the rest goes on.
///
/// # Errors
/// A scenario that can't be planned.
pub fn run(
    scenarios: &[Scenario],
    servers: &[Spec],
    options: &Options,
) -> Result<(Vec<ScenarioResult>, Versions), String> {
    let takes = |scenario: &Scenario| {
        servers.iter().filter(|server| !scenario.skip.contains(&server.name)).count()
    };
    let steps = scenarios.iter().map(takes).sum::<usize>() * options.runs;
    let mut progress = Progress::new(steps);
    let mut versions = Versions::new();
    let mut results = Vec::new();
    for scenario in scenarios {
        let plan = match &scenario.publish {
            Some(_) => Some(
                Plan::new(scenario, options.verify && scenario.payload >= crate::stamp::SIZE)
                    .map_err(|e| format!("{}: {e}", scenario.name))?,
            ),
            None => None,
        };
        progress.note(&format!("{} ({})", scenario.title, scenario.name));
        let mut rows: Vec<Row> = servers.iter().map(|server| Row::new(&server.name)).collect();
        for row in rows.iter_mut().filter(|row| scenario.skip.contains(&row.server)) {
            row.skipped = true;
        }
        for number in 0..options.runs {
            for place in 0..servers.len() {
                // Whoever went first last time goes last this time.
                let place = (place + number) % servers.len();
                if rows[place].skipped {
                    continue;
                }
                let server = &servers[place];
                progress.begin(&format!("{} on {}", scenario.name, server.name));
                let one = one(scenario, plan.as_ref(), server, number, options, &mut versions);
                progress.end(&format!("{:<12} {}", server.name, line(&one)));
                match one {
                    Ok(run) => rows[place].runs.push(run),
                    Err(e) => rows[place].errors.push(e),
                }
            }
        }
        results.push(ScenarioResult::new(scenario, rows));
    }
    Ok((results, versions))
}

fn line(run: &Result<Run, String>) -> String {
    match run {
        Err(e) => format!("FAILED: {e}"),
        Ok(run) => {
            let fault = run.faults.first().map(|f| format!("  FAULT: {f}")).unwrap_or_default();
            let latency = run.latency.map(|l| format!("  p99 {:.0} µs", l.p99_us));
            format!(
                "{:>12.0}/s  {:>9.3} CPU-s/M  {:>7.1} MiB{}{fault}",
                run.per_second,
                run.cpu_s_per_million,
                run.memory_peak_bytes as f64 / 1048576.0,
                latency.unwrap_or_default(),
            )
        }
    }
}

fn one(
    scenario: &Scenario,
    plan: Option<&Plan>,
    server: &Spec,
    number: usize,
    options: &Options,
    versions: &mut Versions,
) -> Result<Run, String> {
    let mut running = server.start(&options.server_cores, &options.generator_cores)?;
    if !versions.iter().any(|(name, _)| *name == server.name) {
        versions.push((server.name.clone(), running.version.clone()));
    }
    let run = match (&scenario.storm, &scenario.idle) {
        (Some(storm), _) => {
            // The first connection of a fresh server pays for things that are made once.
            crowd::run(running.port, running.pid, 100, 10, None)?;
            let crowd =
                crowd::run(running.port, running.pid, storm.connections, storm.in_flight, None)?;
            from_crowd(number, crowd, &running)
        }
        (_, Some(idle)) => {
            crowd::run(running.port, running.pid, 100, 10, None)?;
            let hold_s = options.duration_s.unwrap_or(scenario.duration_s);
            let hold = Some(Duration::from_secs_f64(hold_s));
            let crowd = crowd::run(running.port, running.pid, idle.connections, 64, hold)?;
            from_crowd(number, crowd, &running)
        }
        _ => from_load(number, scenario, load(scenario, plan, &running, options)?, &running),
    };
    if !running.alive() {
        return Err("the server died".into());
    }
    Ok(run)
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
        port: running.port,
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
        latency,
        account: load.account,
        faults: load.faults,
    }
}

fn from_crowd(number: usize, crowd: crowd::Crowd, running: &Running) -> Run {
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
        memory_per_connection: Some(crowd.memory_bytes as f64 / crowd.connections as f64),
        latency: Latency::of(&crowd.latencies),
        account: load::tally::Account { owed: crowd.connections, came: crowd.connections },
        faults: crowd.faults,
    }
}

/// CPU-seconds per million units: as a number, the same as µs per unit. With no unit at all
/// there is no such figure.
fn per_million(cpu_ns: u64, units: u64) -> f64 {
    if units == 0 { 0.0 } else { cpu_ns as f64 / 1e3 / units as f64 }
}
