//! /metrics: the server's figures as Prometheus reads them.

use std::fmt::{Display, Write};

use shard::report::{DriverFigures, Figures, Latency, Report};

use crate::ProcessFigures;
use crate::figures::{of_account, sum};
use crate::http::Response;
use crate::site::Site;

/// The exposition format's own type.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Of the latency summary.
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 1.0];
const SECOND_NS: f64 = 1e9;

/// Text of the exposition format, family by family.
struct Page(String);

impl Page {
    /// Begins a family.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// `labels` are names and values.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{open}{label}=\"{}\"", escaped(value));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// One sample for each shard.
    fn by_shard(
        &mut self,
        reports: &[&Report],
        (name, kind, help): (&str, &str, &str),
        value: impl Fn(&Report) -> f64,
    ) {
        self.family(name, kind, help);
        for report in reports {
            let shard = report.shard.0.to_string();
            self.sample(name, &[("shard", &shard)], value(report));
        }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

pub(crate) fn page(
    site: &Site,
    reports: &[Report],
    process: &ProcessFigures,
    now_unix_ns: u64,
) -> Response {
    let mut page = Page(String::with_capacity(16 * 1024));
    let mut shards: Vec<&Report> = reports.iter().collect();
    shards.sort_unstable_by_key(|report| report.shard);
    let figures = sum(reports);
    server(&mut page, site, process, now_unix_ns);
    traffic(&mut page, &figures);
    limits(&mut page, site);
    table(&mut page, &figures);
    accounts(&mut page, reports);
    loops(&mut page, &shards);
    lanes(&mut page, &shards);
    latency(&mut page, &shards);
    subjects(&mut page, site, reports);
    Response::new(200, TEXT, page.0.into_bytes())
}

fn server(page: &mut Page, site: &Site, process: &ProcessFigures, now_unix_ns: u64) {
    page.family("ringbus_build_info", "gauge", "What runs: always 1.");
    let labels = [
        ("version", &*site.version),
        ("git_commit", &*site.git_commit),
        ("toolchain", &*site.toolchain),
        ("server_id", &*site.server_id),
        ("server_name", &*site.server_name),
    ];
    page.sample("ringbus_build_info", &labels, 1);
    let seconds = |ns: u64| ns as f64 / SECOND_NS;
    let start = seconds(site.start_unix_ns);
    page.gauge("ringbus_start_time_seconds", "Start, seconds since 1970.", start);
    let uptime = seconds(now_unix_ns.saturating_sub(site.start_unix_ns));
    page.gauge("ringbus_uptime_seconds", "Time since the start.", uptime);
    let load = seconds(site.config_load_unix_ns);
    let help = "When the configuration was last loaded, seconds since 1970.";
    page.gauge("ringbus_config_load_time_seconds", help, load);
    let (mem, cpu) = (process.mem_rss, process.cpu_percent / 100.0);
    page.gauge("ringbus_resident_memory_bytes", "Resident memory.", mem);
    page.gauge("ringbus_cpu_ratio", "CPU used, in cores: 1 is one core busy.", cpu);
    page.gauge("ringbus_cores", "Cores this process may use.", site.cores);
    page.gauge("ringbus_shards", "Shards.", site.shards);
}

fn traffic(page: &mut Page, it: &Figures) {
    page.gauge("ringbus_connections", "Open client connections.", it.connections);
    let help = "Client connections ever accepted, refused ones included.";
    page.counter("ringbus_connections_total", help, it.connections_total);
    page.gauge("ringbus_closed_connections", "Closed ones remembered.", it.closed_remembered);
    page.gauge("ringbus_routes", "Routes.", 0);
    page.gauge("ringbus_remotes", "Servers connected by routes.", 0);
    page.gauge("ringbus_leafnodes", "Leafnode connections.", 0);
    page.counter("ringbus_in_messages_total", "Messages published by clients.", it.in_msgs);
    page.counter("ringbus_in_bytes_total", "Payload bytes of those.", it.in_bytes);
    page.counter("ringbus_out_messages_total", "Messages delivered to clients.", it.out_msgs);
    page.counter("ringbus_out_bytes_total", "Payload bytes of those.", it.out_bytes);
    page.gauge("ringbus_subscriptions", "Subscriptions.", it.subscriptions);
    let name = "ringbus_slow_consumers_total";
    page.family(name, "counter", "Connections closed as slow consumers, by reason.");
    page.sample(name, &[("reason", "pending_bytes")], it.slow_pending_bytes);
    page.sample(name, &[("reason", "write_deadline")], it.slow_write_deadline);
    let help = "Connections closed because they left PINGs unanswered.";
    page.counter("ringbus_stale_connections_total", help, it.stale_connections);
    let help = "Times a publisher was slowed for a receiver that was behind.";
    page.counter("ringbus_stalled_clients_total", help, it.stalled_clients);
    let name = "ringbus_dropped_messages_total";
    page.family(name, "counter", "Deliveries dropped, by reason.");
    page.sample(name, &[("reason", "behind")], it.dropped_behind);
    page.sample(name, &[("reason", "no_member")], it.dropped_no_member);
}

fn limits(page: &mut Page, site: &Site) {
    let options = &site.options;
    // As everywhere else in Prometheus, no limit is an infinite one.
    let connections = options.connections_max.map_or(f64::INFINITY, |max| max as f64);
    page.gauge("ringbus_max_connections", "Limit of connections.", Number(connections));
    page.gauge("ringbus_max_payload_bytes", "Limit of a payload.", options.payload_max);
    page.gauge("ringbus_max_control_line_bytes", "Limit of a line.", options.control_line_max);
    let help = "Limit of what may wait for one connection.";
    page.gauge("ringbus_max_pending_bytes", help, options.pending_bytes_max);
}

fn table(page: &mut Page, it: &Figures) {
    let help = "Patterns added to tables by clients.";
    page.counter("ringbus_table_inserts_total", help, it.inserts);
    page.counter("ringbus_table_removes_total", "Patterns removed again.", it.removes);
    page.counter("ringbus_plan_lookups_total", "Fan-out plans looked up.", it.matches);
    page.counter("ringbus_plan_hits_total", "Those found ready made.", it.plan_hits);
    page.counter("ringbus_plans_made_total", "Those made anew.", it.plans_made);
    page.gauge("ringbus_plans", "Plans remembered.", it.plans);
    page.counter("ringbus_fanout_receivers_total", "Receivers of all plans made.", it.fanout_sum);
    page.gauge("ringbus_fanout_max", "Most receivers of one plan.", it.fanout_max);
}

fn accounts(page: &mut Page, reports: &[Report]) {
    type Value = fn(&Figures) -> u64;
    let known = reports.first().map_or(&[][..], |report| &report.accounts);
    let families: [(&str, &str, &str, Value); 6] = [
        ("ringbus_account_connections", "gauge", "Connections by account.", |it| it.connections),
        ("ringbus_account_subscriptions", "gauge", "Subscriptions by account.", |it| {
            it.subscriptions
        }),
        ("ringbus_account_in_messages_total", "counter", "Messages published.", |it| it.in_msgs),
        ("ringbus_account_in_bytes_total", "counter", "Their payload bytes.", |it| it.in_bytes),
        ("ringbus_account_out_messages_total", "counter", "Messages delivered.", |it| it.out_msgs),
        ("ringbus_account_out_bytes_total", "counter", "Their payload bytes.", |it| it.out_bytes),
    ];
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        for account in known {
            let figures = of_account(reports, &account.name);
            page.sample(name, &[("account", &account.name)], value(&figures));
        }
    }
}

fn loops(page: &mut Page, shards: &[&Report]) {
    type Value = fn(&Report) -> f64;
    fn driver(report: &Report) -> &DriverFigures {
        &report.driver
    }
    let families: [(&str, &str, &str, Value); 14] = [
        ("ringbus_shard_connections", "gauge", "Connections of each shard.", |it| {
            it.figures.connections as f64
        }),
        ("ringbus_shard_in_messages_total", "counter", "Messages published.", |it| {
            it.figures.in_msgs as f64
        }),
        ("ringbus_shard_out_messages_total", "counter", "Messages delivered.", |it| {
            it.figures.out_msgs as f64
        }),
        ("ringbus_shard_forwarded_messages_total", "counter", "Copies for other shards.", |it| {
            it.figures.forwarded_msgs as f64
        }),
        ("ringbus_shard_congested_total", "counter", "Publishers paused for a full ring.", |it| {
            it.figures.congested as f64
        }),
        ("ringbus_shard_busy_seconds_total", "counter", "Time with work to do.", |it| {
            driver(it).now.saturating_sub(driver(it).idle_ns) as f64 / SECOND_NS
        }),
        ("ringbus_shard_idle_seconds_total", "counter", "Time without.", |it| {
            driver(it).idle_ns as f64 / SECOND_NS
        }),
        ("ringbus_shard_turns_total", "counter", "Times round the loop.", |it| {
            driver(it).turns as f64
        }),
        ("ringbus_shard_wakes_total", "counter", "Times it slept and woke.", |it| {
            driver(it).wakes as f64
        }),
        ("ringbus_shard_ring_enters_total", "counter", "System calls into io_uring.", |it| {
            driver(it).enters as f64
        }),
        ("ringbus_shard_reads_total", "counter", "Buffers received from sockets.", |it| {
            driver(it).reads as f64
        }),
        ("ringbus_shard_read_bytes_total", "counter", "Bytes received.", |it| {
            driver(it).read_bytes as f64
        }),
        ("ringbus_shard_writes_total", "counter", "Sends the kernel completed.", |it| {
            driver(it).writes as f64
        }),
        ("ringbus_shard_written_bytes_total", "counter", "Bytes of those.", |it| {
            driver(it).written_bytes as f64
        }),
    ];
    for (name, kind, help, value) in families {
        page.by_shard(shards, (name, kind, help), value);
    }
}

fn lanes(page: &mut Page, shards: &[&Report]) {
    type Value = fn(&shard::report::LaneFigures) -> u64;
    let families: [(&str, &str, &str, Value); 6] = [
        ("ringbus_lane_messages_total", "counter", "Publications carried to a peer.", |it| it.msgs),
        ("ringbus_lane_frames_total", "counter", "Frames they went in.", |it| it.frames),
        ("ringbus_lane_frames", "gauge", "Frames on the ring.", |it| it.ring_frames),
        ("ringbus_lane_frames_peak", "gauge", "Most in the last second or two.", |it| {
            it.ring_frames_peak
        }),
        ("ringbus_lane_frames_max", "gauge", "Frames the ring can hold.", |it| it.ring_frames_max),
        ("ringbus_lane_staged_bytes", "gauge", "Bytes that wait for room.", |it| it.staged_bytes),
    ];
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        for report in shards {
            for lane in &report.driver.lanes {
                let (from, to) = (report.shard.0.to_string(), lane.to.0.to_string());
                page.sample(name, &[("from", &from), ("to", &to)], value(lane));
            }
        }
    }
}

/// Quantiles over all shards, of the last minute or two.
fn latency(page: &mut Page, shards: &[&Report]) {
    let name = "ringbus_delivery_latency_seconds";
    let all: Vec<&Latency> =
        shards.iter().filter_map(|report| report.driver.latency.as_ref()).collect();
    let mut recent: Vec<(u64, u64)> = all.iter().flat_map(|it| &it.recent).copied().collect();
    recent.sort_unstable();
    let help = "Time inside the server of each delivered message, from its batch being taken in to \
                its bytes being given to the kernel. Quantiles are of the last minute or two.";
    page.family(name, "summary", help);
    for quantile in QUANTILES {
        let value = at_quantile(&recent, quantile).map_or(f64::NAN, |ns| ns as f64 / SECOND_NS);
        page.sample(name, &[("quantile", &quantile.to_string())], Number(value));
    }
    let sum: f64 = all.iter().map(|it| it.sum_ns as f64 / SECOND_NS).sum();
    page.sample(&format!("{name}_sum"), &[], sum);
    let count: u64 = all.iter().map(|it| it.count).sum();
    page.sample(&format!("{name}_count"), &[], count);
}

/// Of values in order with how often each was seen.
fn at_quantile(sorted: &[(u64, u64)], quantile: f64) -> Option<u64> {
    let total: u64 = sorted.iter().map(|(_, count)| count).sum();
    let wanted = (quantile * total as f64).ceil().max(1.0) as u64;
    let mut seen = 0;
    sorted.iter().find_map(|(value, count)| {
        seen += count;
        (seen >= wanted).then_some(*value)
    })
}

fn subjects(page: &mut Page, site: &Site, reports: &[Report]) {
    let max = site.options.top_subjects;
    if max == 0 {
        return;
    }
    let name = "ringbus_top_subject_messages_per_second";
    let help = "The busiest subjects, estimated from samples; no more of them than configured.";
    page.family(name, "gauge", help);
    let mut rates: Vec<(&[u8], f64)> = Vec::new();
    for (subject, rate) in reports.iter().flat_map(|report| &report.top_subjects) {
        match rates.iter_mut().find(|(known, _)| known == subject) {
            Some((_, sum)) => *sum += rate,
            None => rates.push((subject, *rate)),
        }
    }
    rates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    for (subject, rate) in rates.iter().take(max) {
        page.sample(name, &[("subject", &crate::json::text(subject))], rate);
    }
}

/// Infinity and what is not a number are spelled otherwise than in Rust.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            it if it == f64::INFINITY => f.write_str("+Inf"),
            it => write!(f, "{it}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_values_seen() {
        let seen = [(10, 50), (20, 40), (30, 9), (40, 1)];
        for (quantile, value) in [(0.5, 10), (0.51, 20), (0.9, 20), (0.99, 30), (1.0, 40)] {
            assert_eq!(at_quantile(&seen, quantile), Some(value), "{quantile}");
        }
        assert_eq!(at_quantile(&[], 0.5), None);
    }

    #[test]
    fn labels_are_escaped() {
        let mut page = Page(String::new());
        page.sample("a", &[("b", "x\"\\\n"), ("c", "y")], Number(f64::INFINITY));
        assert_eq!(page.0, "a{b=\"x\\\"\\\\\\n\",c=\"y\"} +Inf\n");
    }
}
