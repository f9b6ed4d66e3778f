//! The figures of the page: counters, which it turns into rates itself, and gauges.

use serde::Serialize;
use shard::report::{Figures, LaneFigures, Report};

use crate::ProcessFigures;
use crate::figures::{Tail, sum, top_subjects};
use crate::json;
use crate::site::Site;

/// Milliseconds, for JavaScript: its numbers hold no nanoseconds since 1970.
const NS_PER_MS: u64 = 1_000_000;

#[derive(Serialize)]
pub(crate) struct Data<'a> {
    server: Server<'a>,
    process: Process,
    totals: Counters,
    slow: Slow,
    latency: Latency,
    /// Null where none are sampled.
    subjects: Option<Vec<Subject>>,
    shards: Vec<Shard>,
}

#[derive(Serialize)]
struct Server<'a> {
    id: &'a str,
    name: &'a str,
    version: &'a str,
    host: &'a str,
    port: u16,
    cores: usize,
    start_ms: u64,
    now_ms: u64,
    /// Null without a limit.
    connections_max: Option<u64>,
}

#[derive(Serialize)]
struct Process {
    mem_bytes: u64,
    /// 100 is one core busy.
    cpu_percent: f64,
}

#[derive(Serialize)]
struct Counters {
    connections: u64,
    connections_total: u64,
    subscriptions: u64,
    in_msgs: u64,
    in_bytes: u64,
    out_msgs: u64,
    out_bytes: u64,
    forwarded_msgs: u64,
    congested: u64,
}

impl From<&Figures> for Counters {
    fn from(figures: &Figures) -> Counters {
        Counters {
            connections: figures.connections,
            connections_total: figures.connections_total,
            subscriptions: figures.subscriptions,
            in_msgs: figures.in_msgs,
            in_bytes: figures.in_bytes,
            out_msgs: figures.out_msgs,
            out_bytes: figures.out_bytes,
            forwarded_msgs: figures.forwarded_msgs,
            congested: figures.congested,
        }
    }
}

/// What became of receivers that did not keep up.
#[derive(Serialize)]
struct Slow {
    pending_bytes: u64,
    write_deadline: u64,
    stale: u64,
    stalls: u64,
    dropped_behind: u64,
    dropped_no_member: u64,
    dropped_responses: u64,
    dropped_internal: u64,
}

/// Inside the server, of deliveries of the last minute or two; null if there were none.
#[derive(Serialize)]
struct Latency {
    /// Ever measured.
    count: u64,
    p50_ns: Option<u64>,
    p90_ns: Option<u64>,
    p99_ns: Option<u64>,
    p999_ns: Option<u64>,
    max_ns: Option<u64>,
}

impl From<&Tail> for Latency {
    fn from(tail: &Tail) -> Latency {
        Latency {
            count: tail.count,
            p50_ns: tail.quantile(0.5),
            p90_ns: tail.quantile(0.9),
            p99_ns: tail.quantile(0.99),
            p999_ns: tail.quantile(0.999),
            max_ns: tail.quantile(1.0),
        }
    }
}

/// One of the busiest, per second.
#[derive(Serialize)]
struct Subject {
    account: String,
    subject: String,
    msgs: f64,
    bytes: f64,
}

#[derive(Serialize)]
struct Shard {
    id: u16,
    #[serde(flatten)]
    counters: Counters,
    /// The clock of the shards, nanoseconds since the server began.
    now_ns: u64,
    idle_ns: u64,
    turns: u64,
    wakes: u64,
    enters: u64,
    reads: u64,
    writes: u64,
    latency: Latency,
    lanes: Vec<Lane>,
}

#[derive(Serialize)]
struct Lane {
    to: u16,
    msgs: u64,
    frames: u64,
    ring: u64,
    ring_peak: u64,
    ring_max: u64,
    staged_bytes: u64,
}

impl From<&LaneFigures> for Lane {
    fn from(lane: &LaneFigures) -> Lane {
        Lane {
            to: lane.to.0,
            msgs: lane.msgs,
            frames: lane.frames,
            ring: lane.ring_frames,
            ring_peak: lane.ring_frames_peak,
            ring_max: lane.ring_frames_max,
            staged_bytes: lane.staged_bytes,
        }
    }
}

impl From<&Report> for Shard {
    fn from(report: &Report) -> Shard {
        let driver = &report.driver;
        Shard {
            id: report.shard.0,
            counters: Counters::from(&report.figures),
            now_ns: driver.now,
            idle_ns: driver.idle_ns,
            turns: driver.turns,
            wakes: driver.wakes,
            enters: driver.enters,
            reads: driver.reads,
            writes: driver.writes,
            latency: Latency::from(&Tail::of([report])),
            lanes: driver.lanes.iter().map(Lane::from).collect(),
        }
    }
}

pub(crate) fn body<'a>(
    site: &'a Site,
    reports: &[Report],
    process: &ProcessFigures,
    now_unix_ns: u64,
) -> Data<'a> {
    let figures = sum(reports);
    let mut shards: Vec<Shard> = reports.iter().map(Shard::from).collect();
    shards.sort_by_key(|shard| shard.id);
    let max = site.options.top_subjects;
    let subjects = top_subjects(reports, max).into_iter().map(|it| Subject {
        subject: json::text(&it.subject),
        account: it.account,
        msgs: it.msgs,
        bytes: it.bytes,
    });
    Data {
        server: Server {
            id: &site.server_id,
            name: &site.server_name,
            version: &site.version,
            host: &site.host,
            port: site.port,
            cores: site.cores,
            start_ms: site.start_unix_ns / NS_PER_MS,
            now_ms: now_unix_ns / NS_PER_MS,
            connections_max: site.options.connections_max,
        },
        process: Process { mem_bytes: process.mem_rss, cpu_percent: process.cpu_percent },
        totals: Counters::from(&figures),
        slow: Slow {
            pending_bytes: figures.slow_pending_bytes,
            write_deadline: figures.slow_write_deadline,
            stale: figures.stale_connections,
            stalls: figures.stalled_clients,
            dropped_behind: figures.dropped_behind,
            dropped_no_member: figures.dropped_no_member,
            dropped_responses: figures.dropped_responses,
            dropped_internal: figures.dropped_internal,
        },
        latency: Latency::from(&Tail::of(reports)),
        subjects: (max > 0).then(|| subjects.collect()),
        shards,
    }
}
