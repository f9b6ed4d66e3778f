//! /metrics: the server's figures as Prometheus reads them.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use shard::ShardId;
use shard::report::{Figures, LaneFigures, Report, SubjectRates};

use crate::ProcessFigures;
use crate::figures::{Tail, of_account, sum, top_subjects};
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

    /// A family for each row, with a sample of each item.
    fn families<T, V: Display>(&mut self, rows: &[Row<T, V>], items: &[(Labels, T)]) {
        for (name, kind, help, value) in rows {
            self.family(name, kind, help);
            for (labels, item) in items {
                let labels: Vec<(&str, &str)> =
                    labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
                self.sample(name, &labels, value(item));
            }
        }
    }
}

/// Name, kind, help, and where the value is.
type Row<T, V = u64> = (&'static str, &'static str, &'static str, fn(&T) -> V);
type Labels = Vec<(&'static str, String)>;

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

pub(crate) fn page(
    site: &Site,
    requests: &BTreeMap<&'static str, u64>,
    reports: &[Report],
    process: &ProcessFigures,
    now_unix_ns: u64,
) -> Response {
    let mut page = Page(String::with_capacity(32 * 1024));
    let mut shards: Vec<&Report> = reports.iter().collect();
    shards.sort_unstable_by_key(|report| report.shard);
    let figures = sum(reports);
    server(&mut page, site, process, now_unix_ns);
    http_requests(&mut page, requests);
    traffic(&mut page, &figures);
    drops(&mut page, &figures);
    limits(&mut page, site);
    table(&mut page, &figures);
    accounts(&mut page, reports);
    loops(&mut page, &shards);
    lanes(&mut page, &shards);
    latency(&mut page, &Tail::of(shards.iter().copied()));
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
    if let Some(at) = site.tls_cert_not_after_unix_s {
        let help = "When the server's certificate expires, seconds since 1970.";
        page.gauge("ringbus_certificate_expiry_time_seconds", help, at);
    }
}

fn http_requests(page: &mut Page, requests: &BTreeMap<&'static str, u64>) {
    let rows: [Row<u64>; 1] =
        [("ringbus_http_requests_total", "counter", "Monitoring requests.", |it| *it)];
    let items: Vec<(Labels, u64)> =
        requests.iter().map(|(path, count)| (vec![("path", (*path).to_owned())], *count)).collect();
    page.families(&rows, &items);
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
}

/// Receivers that did not keep up, and what was lost.
fn drops(page: &mut Page, it: &Figures) {
    let name = "ringbus_slow_consumers_total";
    page.family(name, "counter", "Connections closed as slow consumers, by reason.");
    page.sample(name, &[("reason", "pending_bytes")], it.slow_pending_bytes);
    page.sample(name, &[("reason", "write_deadline")], it.slow_write_deadline);
    let help = "Connections closed because they left PINGs unanswered.";
    page.counter("ringbus_stale_connections_total", help, it.stale_connections);
    let help = "Clients turned away because too many waited for accounts' tokens.";
    page.counter("ringbus_logins_crowded_total", help, it.logins_crowded);
    let help = "Times a publisher was slowed for a receiver that was behind.";
    page.counter("ringbus_stalled_clients_total", help, it.stalled_clients);
    let name = "ringbus_dropped_messages_total";
    page.family(name, "counter", "What was dropped, by reason.");
    page.sample(name, &[("reason", "behind")], it.dropped_behind);
    page.sample(name, &[("reason", "no_member")], it.dropped_no_member);
    page.sample(name, &[("reason", "responses")], it.dropped_responses);
    page.sample(name, &[("reason", "internal")], it.dropped_internal);
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
    let no_limit = |max: u32| if max == 0 { f64::INFINITY } else { f64::from(max) };
    let subscriptions = Number(no_limit(options.subscriptions_max));
    page.gauge("ringbus_max_subscriptions", "Limit of one connection.", subscriptions);
    let seconds = |ns: u64| ns as f64 / SECOND_NS;
    let help = "Time between PINGs of the server.";
    page.gauge("ringbus_ping_interval_seconds", help, seconds(options.ping_interval_ns));
    page.gauge("ringbus_ping_max", "PINGs that may be unanswered.", options.pings_out_max);
    let help = "How long a connection may take no byte.";
    page.gauge("ringbus_write_deadline_seconds", help, seconds(options.write_deadline_ns));
    page.gauge("ringbus_auth_timeout_seconds", "Limit of a login.", site.auth_timeout_s);
    page.gauge("ringbus_tls_timeout_seconds", "Limit of a TLS handshake.", site.tls_timeout_s);
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
    let rows: [Row<Figures>; 6] = [
        ("ringbus_account_connections", "gauge", "Connections by account.", |it| it.connections),
        ("ringbus_account_subscriptions", "gauge", "Subscriptions by account.", |it| {
            it.subscriptions
        }),
        ("ringbus_account_in_messages_total", "counter", "Messages published.", |it| it.in_msgs),
        ("ringbus_account_in_bytes_total", "counter", "Their payload bytes.", |it| it.in_bytes),
        ("ringbus_account_out_messages_total", "counter", "Messages delivered.", |it| it.out_msgs),
        ("ringbus_account_out_bytes_total", "counter", "Their payload bytes.", |it| it.out_bytes),
    ];
    let known = reports.first().map_or(&[][..], |report| &report.accounts);
    let items: Vec<(Labels, Figures)> = known
        .iter()
        .map(|account| {
            (vec![("account", account.name.clone())], of_account(reports, &account.name))
        })
        .collect();
    page.families(&rows, &items);
}

fn loops(page: &mut Page, shards: &[&Report]) {
    let seconds: [Row<&Report, f64>; 2] = [
        ("ringbus_shard_busy_seconds_total", "counter", "Time with work to do.", |it| {
            it.driver.now.saturating_sub(it.driver.idle_ns) as f64 / SECOND_NS
        }),
        ("ringbus_shard_idle_seconds_total", "counter", "Time without.", |it| {
            it.driver.idle_ns as f64 / SECOND_NS
        }),
    ];
    let rows: [Row<&Report>; 12] = [
        ("ringbus_shard_connections", "gauge", "Connections of each shard.", |it| {
            it.figures.connections
        }),
        ("ringbus_shard_in_messages_total", "counter", "Messages published.", |it| {
            it.figures.in_msgs
        }),
        ("ringbus_shard_out_messages_total", "counter", "Messages delivered.", |it| {
            it.figures.out_msgs
        }),
        ("ringbus_shard_forwarded_messages_total", "counter", "Copies for other shards.", |it| {
            it.figures.forwarded_msgs
        }),
        ("ringbus_shard_congested_total", "counter", "Publishers paused for a full ring.", |it| {
            it.figures.congested
        }),
        ("ringbus_shard_turns_total", "counter", "Times round the loop.", |it| it.driver.turns),
        ("ringbus_shard_wakes_total", "counter", "Times it slept and woke.", |it| it.driver.wakes),
        ("ringbus_shard_ring_enters_total", "counter", "System calls into io_uring.", |it| {
            it.driver.enters
        }),
        ("ringbus_shard_reads_total", "counter", "Buffers received from sockets.", |it| {
            it.driver.reads
        }),
        ("ringbus_shard_read_bytes_total", "counter", "Bytes received.", |it| it.driver.read_bytes),
        ("ringbus_shard_writes_total", "counter", "Sends the kernel completed.", |it| {
            it.driver.writes
        }),
        ("ringbus_shard_written_bytes_total", "counter", "Bytes of those.", |it| {
            it.driver.written_bytes
        }),
    ];
    let items: Vec<(Labels, &Report)> =
        shards.iter().map(|it| (vec![("shard", it.shard.0.to_string())], *it)).collect();
    page.families(&rows, &items);
    page.families(&seconds, &items);
}

fn lanes(page: &mut Page, shards: &[&Report]) {
    let rows: [Row<LaneFigures>; 6] = [
        ("ringbus_lane_messages_total", "counter", "Publications carried to a peer.", |it| it.msgs),
        ("ringbus_lane_frames_total", "counter", "Frames they went in, in batches.", |it| {
            it.frames
        }),
        ("ringbus_lane_frames", "gauge", "Frames on the ring.", |it| it.ring_frames),
        ("ringbus_lane_frames_peak", "gauge", "Most in the last second or two.", |it| {
            it.ring_frames_peak
        }),
        ("ringbus_lane_frames_max", "gauge", "Frames the ring can hold.", |it| it.ring_frames_max),
        ("ringbus_lane_staged_bytes", "gauge", "Bytes that wait for room.", |it| it.staged_bytes),
    ];
    let lanes = shards.iter().flat_map(|it| it.driver.lanes.iter().map(|lane| (it.shard, *lane)));
    let labels =
        |from: ShardId, to: ShardId| vec![("from", from.0.to_string()), ("to", to.0.to_string())];
    let items: Vec<(Labels, LaneFigures)> =
        lanes.map(|(from, lane)| (labels(from, lane.to), lane)).collect();
    page.families(&rows, &items);
}

/// Quantiles over all shards, of the last minute or two.
fn latency(page: &mut Page, tail: &Tail) {
    let name = "ringbus_delivery_latency_seconds";
    let help = "Time inside the server of each delivered message, from its bytes being received to \
                those of the delivery being given to the kernel. Quantiles are of the last minute \
                or two.";
    page.family(name, "summary", help);
    for quantile in QUANTILES {
        let value = tail.quantile(quantile).map_or(f64::NAN, |ns| ns as f64 / SECOND_NS);
        page.sample(name, &[("quantile", &quantile.to_string())], Number(value));
    }
    page.sample(&format!("{name}_sum"), &[], tail.sum_ns / SECOND_NS);
    page.sample(&format!("{name}_count"), &[], tail.count);
}

fn subjects(page: &mut Page, site: &Site, reports: &[Report]) {
    let max = site.options.top_subjects;
    if max == 0 {
        return;
    }
    let rows: [Row<SubjectRates, f64>; 2] = [
        (
            "ringbus_top_subject_messages_per_second",
            "gauge",
            "The busiest subjects, estimated from samples; no more of them than configured.",
            |it| it.msgs,
        ),
        ("ringbus_top_subject_bytes_per_second", "gauge", "Payload bytes of those.", |it| it.bytes),
    ];
    let labels = |it: &SubjectRates| {
        vec![("account", it.account.clone()), ("subject", crate::json::text(&it.subject))]
    };
    let top = top_subjects(reports, max);
    let items: Vec<(Labels, SubjectRates)> = top.into_iter().map(|it| (labels(&it), it)).collect();
    page.families(&rows, &items);
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
    fn labels_are_escaped() {
        let mut page = Page(String::new());
        page.sample("a", &[("b", "x\"\\\n"), ("c", "y")], Number(f64::INFINITY));
        assert_eq!(page.0, "a{b=\"x\\\"\\\\\\n\",c=\"y\"} +Inf\n");
    }
}
