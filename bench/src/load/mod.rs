//! The load generator: one thread per generator core, each with its own connections and loop.

mod churner;
pub mod crowd;
pub mod dial;
pub mod inbox;
mod lane;
pub mod protocol;
mod publisher;
mod request;
mod resp;
pub mod stream;
mod subscriber;
pub mod tally;
#[cfg(test)]
mod tests;
pub mod timing;
mod worker;

use crate::plan::Plan;
use crate::probe::Mark;
use crate::scenario::Scenario;
use dial::Door;
use hdrhistogram::Histogram;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Barrier, Mutex, OnceLock};
use std::time::Instant;
use tally::{Account, Gauge};
use timing::Window;
use worker::{Found, Worker};

/// A generator thread that stands still for more than this share of the measure spoils it: the
/// rate, or the moments between which it was counted, are then its own and not the server's.
const STILL_MAX: f64 = 0.1;

/// One run of messages, as its threads see it.
pub struct Job<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// Worked out; none for request/reply.
    pub plan: Option<&'a Plan>,
    /// Where the server is, and what it speaks.
    pub door: &'a Door,
    /// The server's process.
    pub pid: u32,
    /// Generator threads.
    pub threads: usize,
    /// The core of each thread.
    pub cores: &'a [usize],
    /// Look again at once, or sleep until something happens. Spinning spares the server the cost
    /// of waking us, and keeps our own delay out of the latencies.
    pub spin: bool,
    /// Seconds of traffic before the measure.
    pub warm_up_s: f64,
    /// Seconds measured.
    pub duration_s: f64,
}

/// What the threads of a run share.
pub struct Shared {
    origin: Instant,
    gauges: Vec<Gauge>,
    sent: Mutex<Vec<u64>>,
    settled: AtomicUsize,
}

/// What a run of messages gave.
pub struct Load {
    /// Seconds between the two marks.
    pub seconds: f64,
    /// Messages received between them.
    pub delivered: u64,
    /// Messages sent between them.
    pub published: u64,
    /// CPU ns of the server between them.
    pub server_cpu_ns: u64,
    /// Share of the time the busiest generator thread was at work.
    pub generator_busy: f64,
    /// Cores' worth of other programs' work meanwhile.
    pub others_busy: f64,
    /// Latencies of the messages meant to be sent between the marks.
    pub latencies: Histogram<u64>,
    /// How long a generator thread stood still in the measure, seconds, where that spoils it.
    pub stalled_s: Option<f64>,
    /// Over the whole run.
    pub account: Account,
    /// Empty when every message owed came exactly once.
    pub faults: Vec<String>,
}

/// A moment of a run: what had been done by then.
struct Moment {
    mark: Mark,
    delivered: u64,
    published: u64,
    busy_ns: Vec<u64>,
}

impl Moment {
    fn take(pid: u32, shared: &Shared) -> Self {
        let sum = |pick: fn(&Gauge) -> u64| shared.gauges.iter().map(pick).sum();
        Self {
            mark: Mark::take(pid),
            delivered: sum(|gauge| gauge.delivered.load(Relaxed)),
            published: sum(|gauge| gauge.published.load(Relaxed)),
            busy_ns: shared.gauges.iter().map(|gauge| gauge.busy_ns.load(Relaxed)).collect(),
        }
    }
}

/// Runs one load against a server that is up.
///
/// # Errors
/// When the load could not be put on at all. What went wrong with messages is in [`Load::faults`].
pub fn run(job: &Job<'_>) -> Result<Load, String> {
    let shared = Shared {
        origin: Instant::now(),
        gauges: (0..job.threads).map(|_| Gauge::default()).collect(),
        sent: Mutex::new(vec![0; job.plan.map_or(0, |plan| plan.publishers.len())]),
        settled: AtomicUsize::new(0),
    };
    let moments = Mutex::new(Vec::new());
    let barrier = Barrier::new(job.threads);
    let start: OnceLock<u64> = OnceLock::new();
    let broken = AtomicUsize::new(0);
    let one = |id: usize| -> Result<Found, String> {
        let pinned = crate::sys::pin(&job.cores[id..=id]).map_err(|e| format!("pinning: {e}"));
        let worker = pinned.and_then(|()| Worker::new(id, job, &shared));
        broken.fetch_add(usize::from(worker.is_err()), Relaxed);
        barrier.wait();
        let worker = worker?;
        if broken.load(Relaxed) > 0 {
            return Err("another thread could not connect".into());
        }
        let start_ns = *start.get_or_init(|| shared.origin.elapsed().as_nanos() as u64 + 5_000_000);
        let begin_ns = start_ns + (job.warm_up_s * 1e9) as u64;
        let end_ns = begin_ns + (job.duration_s * 1e9) as u64;
        let window = Window { origin: shared.origin, start_ns, begin_ns, end_ns };
        worker.run(window, || {
            let moment = Moment::take(job.pid, &shared);
            moments.lock().unwrap_or_else(|e| e.into_inner()).push(moment);
        })
    };
    let found: Vec<Result<Found, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..job.threads).map(|id| scope.spawn(move || one(id))).collect();
        let lost = |_| Err("a generator thread panicked".to_string());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(lost)).collect()
    });
    let found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
    let moments = moments.into_inner().unwrap_or_else(|e| e.into_inner());
    let [from, to] = &moments[..] else { return Err("the measure never ended".into()) };
    let sent = shared.sent.into_inner().unwrap_or_else(|e| e.into_inner());
    let settled = settle(job.plan, &sent, &found);
    Ok(measure(job, (from, to), &found, settled))
}

fn measure(
    job: &Job<'_>,
    (from, to): (&Moment, &Moment),
    found: &[Found],
    (account, faults): (Account, Vec<String>),
) -> Load {
    let seconds = to.mark.at.duration_since(from.mark.at).as_secs_f64();
    let busy = from.busy_ns.iter().zip(&to.busy_ns).map(|(a, b)| b - a).max().unwrap_or(0);
    let mut latencies = timing::histogram();
    for found in found {
        // Both are made by one function, so adding can't fail.
        let _ = latencies.add(&found.latencies);
    }
    Load {
        seconds,
        delivered: to.delivered - from.delivered,
        published: to.published - from.published,
        server_cpu_ns: to.mark.server_cpu_ns.saturating_sub(from.mark.server_cpu_ns),
        generator_busy: (busy as f64 / 1e9 / seconds).min(1.0),
        others_busy: to.mark.others_since(&from.mark),
        latencies,
        stalled_s: stalled_s(found, job.duration_s),
        account,
        faults,
    }
}

fn stalled_s(found: &[Found], duration_s: f64) -> Option<f64> {
    let longest_ns = found.iter().map(|found| found.longest_turn_ns).max()?;
    Some(longest_ns as f64 / 1e9).filter(|longest_s| *longest_s > duration_s * STILL_MAX)
}

/// Compares what was owed with what came.
fn settle(plan: Option<&Plan>, sent: &[u64], found: &[Found]) -> (Account, Vec<String>) {
    let mut faults: Vec<String> = found.iter().flat_map(|f| f.faults.iter().cloned()).collect();
    let (asked, answered) =
        found.iter().fold((0, 0), |(a, b), f| (a + f.replies.0, b + f.replies.1));
    let mut account = Account { owed: 2 * asked, came: asked + answered };
    if asked != answered {
        faults.push(format!("{asked} requests, {answered} replies"));
        account.came = 2 * answered;
    }
    let Some(plan) = plan else { return (account, faults) };
    let owed = plan.owed(sent);
    let mut came = vec![0u64; owed.len()];
    for &(index, count) in found.iter().flat_map(|f| &f.came) {
        came[index] += count;
    }
    for (index, (owed, came)) in owed.iter().zip(&came).enumerate() {
        if owed != came {
            faults.push(format!("account {index}: owed {owed}, came {came}"));
        }
    }
    account = Account { owed: owed.iter().sum(), came: came.iter().sum() };
    (account, faults)
}
