//! nats.go's own nats-bench as the load, for figures that others can compare with theirs. The
//! client is the bottleneck, so what the server costs says more than the rate.

use crate::load::tally::Account;
use crate::probe::{self, Mark};
use crate::progress::Progress;
use crate::results::{Row, Run, ScenarioResult};
use crate::scenario::Unit;
use crate::servers::Spec;
use crate::target::Target;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A bench that takes longer has lost a message.
const PATIENCE: Duration = Duration::from_secs(120);

/// One bench.
struct Shape {
    name: &'static str,
    title: &'static str,
    publishers: u64,
    subscribers: u64,
    payload: usize,
    /// Publications of all publishers together.
    messages: u64,
    /// CPU of the better nats-server divided by ours.
    nats_at_least: f64,
}

const SHAPES: [Shape; 5] = [
    shape("nb-pub-16", "nats-bench 1→0, 16 B", (1, 0), 16, 10_000_000, 3.0),
    shape("nb-one-16", "nats-bench 1→1, 16 B", (1, 1), 16, 3_000_000, 4.0),
    shape("nb-fan-10", "nats-bench 1→10, 128 B", (1, 10), 128, 300_000, 4.0),
    shape("nb-fan-100", "nats-bench 1→100, 128 B", (1, 100), 128, 40_000, 4.0),
    shape("nb-five", "nats-bench 5→5, 128 B", (5, 5), 128, 500_000, 4.0),
];

const fn shape(
    name: &'static str,
    title: &'static str,
    (publishers, subscribers): (u64, u64),
    payload: usize,
    messages: u64,
    nats_at_least: f64,
) -> Shape {
    Shape { name, title, publishers, subscribers, payload, messages, nats_at_least }
}

/// How it is run.
pub struct Options<'a> {
    /// Path of nats-bench.
    pub program: &'a Path,
    /// Runs of each server and bench.
    pub runs: usize,
    /// Publications, as a share of what is usual.
    pub share: f64,
    /// Cores of the server.
    pub server_cores: &'a [usize],
    /// Cores of nats-bench.
    pub generator_cores: &'a [usize],
}

/// Runs every bench on every server, in turn; gives the rows and the servers' versions.
///
/// # Errors
/// When there is no nats-bench.
pub fn run(
    servers: &[Spec],
    options: &Options<'_>,
) -> Result<(Vec<ScenarioResult>, crate::compare::Versions), String> {
    if !options.program.is_file() {
        return Err(format!("{}: not found", options.program.display()));
    }
    let mut progress = Progress::new(SHAPES.len() * servers.len() * options.runs);
    let mut versions = crate::compare::Versions::new();
    let mut results = Vec::new();
    for shape in &SHAPES {
        progress.note(&format!("{} ({})", shape.title, shape.name));
        let mut rows: Vec<Row> = servers.iter().map(|server| Row::new(&server.name)).collect();
        for number in 0..options.runs {
            for place in 0..servers.len() {
                let place = (place + number) % servers.len();
                let server = &servers[place];
                progress.begin(&format!("{} on {}", shape.name, server.name));
                let run = one(shape, server, number, options, &mut versions);
                progress.end(&format!("{:<12} {}", server.name, crate::compare::line(&run)));
                match run {
                    Ok(run) => rows[place].runs.push(run),
                    Err(e) => rows[place].errors.push(e),
                }
            }
        }
        results.push(result(shape, rows));
    }
    Ok((results, versions))
}

fn result(shape: &Shape, rows: Vec<Row>) -> ScenarioResult {
    let unit = if shape.subscribers == 0 { Unit::Published } else { Unit::Delivered };
    let target = Target {
        nats_at_least: Some(shape.nats_at_least),
        rate_at_least: Some(1.0),
        ..Target::default()
    };
    let title = shape.title.to_string();
    ScenarioResult::of(shape.name.into(), title, "nats-bench".into(), unit, Some(target), rows)
}

fn one(
    shape: &Shape,
    server: &Spec,
    number: usize,
    options: &Options<'_>,
    versions: &mut crate::compare::Versions,
) -> Result<Run, String> {
    let mut running = server.start(None, options.server_cores, options.generator_cores)?;
    if !versions.iter().any(|(name, _)| *name == server.name) {
        versions.push((server.name.clone(), running.version.clone()));
    }
    let messages = ((shape.messages as f64 * options.share) as u64).max(shape.publishers);
    let messages = messages / shape.publishers * shape.publishers;
    let mut program = Command::new(options.program);
    program
        .args(["-s", &format!("nats://127.0.0.1:{}", running.door.port)])
        .args(["-np", &shape.publishers.to_string(), "-ns", &shape.subscribers.to_string()])
        .args(["-ms", &shape.payload.to_string(), "-n", &messages.to_string(), "bench"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let from = Mark::take(running.pid);
    let child = program.spawn().map_err(|e| format!("nats-bench: {e}"))?;
    let said = finish(child)?;
    let to = Mark::take(running.pid);
    if !running.alive() {
        return Err("the server died".into());
    }
    let rate = rate(&said).ok_or_else(|| format!("nats-bench said {said:?}"))?;
    // nats-bench ends only once every subscriber has had every message.
    let units = messages * shape.subscribers.max(1);
    let sum = messages * (1 + shape.subscribers);
    let seconds = sum as f64 / rate;
    let cpu_ns = to.server_cpu_ns.saturating_sub(from.server_cpu_ns);
    Ok(Run {
        run: number,
        seconds,
        units,
        published: messages,
        per_second: units as f64 / seconds,
        cpu_s_per_million: cpu_ns as f64 / 1e3 / units as f64,
        server_busy: cpu_ns as f64 / 1e9 / to.at.duration_since(from.at).as_secs_f64(),
        // The client is always at work: that it bounds the rate goes without saying.
        generator_busy: 1.0,
        others_busy: 0.0,
        memory_peak_bytes: probe::resident_peak_bytes(running.pid),
        memory_per_connection: None,
        established: None,
        latency: None,
        stalled_s: None,
        account: Account { owed: units, came: units },
        faults: Vec::new(),
    })
}

/// What it said on standard output.
fn finish(mut child: Child) -> Result<String, String> {
    let start = Instant::now();
    loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => {
                let output = child.wait_with_output().map_err(|e| e.to_string())?;
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let wrong = String::from_utf8_lossy(&output.stderr);
                return if status.success() { Ok(said) } else { Err(format!("{status}: {wrong}")) };
            }
            None if start.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("nats-bench did not end: not every message came".into());
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Messages per second of publishers and subscribers together: the first figure it prints.
fn rate(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.contains(" stats: "))?;
    let number = line.split(" stats: ").nth(1)?.split_whitespace().next()?;
    number.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_all_together_is_read() {
        let both = "NATS Pub/Sub stats: 2,922,312 msgs/sec ~ 44.59 MB/sec\n Pub stats: 1,461,156 \
            msgs/sec ~ 22.30 MB/sec\n Sub stats: 1,530,704 msgs/sec ~ 23.36 MB/sec\n";
        assert_eq!(rate(both), Some(2_922_312.0));
        assert_eq!(rate("Pub stats: 6,782,138 msgs/sec ~ 103.49 MB/sec\n"), Some(6_782_138.0));
        assert_eq!(rate("no such thing"), None);
    }

    #[test]
    fn a_bench_that_says_nothing_is_an_error() {
        let options = Options {
            program: Path::new("/no/such/nats-bench"),
            runs: 1,
            share: 1.0,
            server_cores: &[0],
            generator_cores: &[0],
        };
        assert!(run(&[], &options).is_err());
    }
}
