//! /varz: the server and its counters.

use std::collections::BTreeMap;

use serde::Serialize;
use shard::report::{Figures, Report};

use crate::ProcessFigures;
use crate::duration::{rfc3339_nano, uptime};
use crate::figures::sum;
use crate::json;
use crate::site::Site;

/// Clients' protocol version 1: asynchronous INFO.
const PROTO: u8 = 1;

/// The body of the answer.
#[derive(Serialize)]
pub(crate) struct Varz<'a> {
    #[serde(flatten)]
    identity: Identity<'a>,
    #[serde(flatten)]
    limits: Limits<'a>,
    #[serde(flatten)]
    features: Features,
    #[serde(flatten)]
    process: Process<'a>,
    #[serde(flatten)]
    counters: Counters,
    http_req_stats: &'a BTreeMap<&'static str, u64>,
    #[serde(flatten)]
    configuration: Configuration<'a>,
    slow_consumer_stats: ByKind,
    stale_connection_stats: ByKind,
    disk_io_wait_stats: DiskIoWait,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert_not_after: Option<String>,
}

#[derive(Serialize)]
struct Identity<'a> {
    server_id: &'a str,
    server_name: &'a str,
    version: &'a str,
    proto: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    git_commit: &'a str,
    go: &'a str,
    host: &'a str,
    port: u16,
    #[serde(skip_serializing_if = "json::is_default")]
    auth_required: bool,
    #[serde(skip_serializing_if = "json::is_default")]
    tls_required: bool,
    #[serde(skip_serializing_if = "json::is_default")]
    tls_verify: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    ip: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    connect_urls: &'a [String],
}

#[derive(Serialize)]
struct Limits<'a> {
    max_connections: i64,
    #[serde(skip_serializing_if = "json::is_default")]
    max_subscriptions: u32,
    ping_interval: u64,
    ping_max: u32,
    http_host: &'a str,
    http_port: u16,
    http_base_path: &'a str,
    https_port: u16,
    #[serde(serialize_with = "json::float")]
    auth_timeout: f64,
    max_control_line: usize,
    max_payload: usize,
    max_pending: u64,
}

/// What is not configured is an empty object.
#[derive(Default, Serialize)]
struct Features {
    cluster: Absent,
    gateway: Absent,
    leaf: Absent,
    mqtt: Absent,
    websocket: Absent,
    jetstream: Absent,
}

#[derive(Default, Serialize)]
struct Absent {}

#[derive(Serialize)]
struct Process<'a> {
    #[serde(serialize_with = "json::float")]
    tls_timeout: f64,
    write_deadline: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    write_timeout: &'a str,
    start: String,
    now: String,
    uptime: String,
    mem: u64,
    cores: usize,
    gomaxprocs: usize,
    #[serde(serialize_with = "json::float")]
    cpu: f64,
}

/// Clients are the only peers, so their figures are those of the server.
#[derive(Serialize)]
struct Counters {
    connections: u64,
    total_connections: u64,
    routes: u64,
    remotes: u64,
    leafnodes: u64,
    in_msgs: u64,
    in_bytes: u64,
    in_client_msgs: u64,
    in_client_bytes: u64,
    out_msgs: u64,
    out_bytes: u64,
    out_client_msgs: u64,
    out_client_bytes: u64,
    slow_consumers: u64,
    stale_connections: u64,
    stalled_clients: u64,
    subscriptions: u64,
}

#[derive(Serialize)]
struct Configuration<'a> {
    config_load_time: String,
    config_digest: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    feature_flags: &'a BTreeMap<String, bool>,
    #[serde(skip_serializing_if = "str::is_empty")]
    system_account: &'a str,
}

/// A figure by the kind of peer.
#[derive(Serialize)]
pub(crate) struct ByKind {
    clients: u64,
    routes: u64,
    gateways: u64,
    leafs: u64,
}

impl ByKind {
    pub(crate) fn clients(clients: u64) -> ByKind {
        ByKind { clients, routes: 0, gateways: 0, leafs: 0 }
    }
}

#[derive(Default, Serialize)]
struct DiskIoWait {
    waiters: u64,
    waits: u64,
    wait_time: u64,
    max_wait_time: u64,
}

pub(crate) fn body<'a>(
    site: &'a Site,
    requests: &'a BTreeMap<&'static str, u64>,
    reports: &[Report],
    process: &ProcessFigures,
    now_unix_ns: u64,
) -> Varz<'a> {
    let figures = sum(reports);
    Varz {
        identity: identity(site),
        limits: limits(site),
        features: Features::default(),
        process: self::process(site, process, now_unix_ns),
        slow_consumer_stats: ByKind::clients(slow_consumers(&figures)),
        stale_connection_stats: ByKind::clients(figures.stale_connections),
        counters: counters(&figures),
        http_req_stats: requests,
        configuration: configuration(site),
        disk_io_wait_stats: DiskIoWait::default(),
        tls_cert_not_after: site.tls_cert_not_after_unix_s.map(|s| rfc3339_nano(s * 1_000_000_000)),
    }
}

fn identity(site: &Site) -> Identity<'_> {
    Identity {
        server_id: &site.server_id,
        server_name: &site.server_name,
        version: &site.version,
        proto: PROTO,
        git_commit: &site.git_commit,
        go: &site.toolchain,
        host: &site.host,
        port: site.port,
        auth_required: site.options.access.required,
        tls_required: site.tls_required,
        tls_verify: site.tls_verify,
        ip: &site.ip,
        connect_urls: &site.connect_urls,
    }
}

fn limits(site: &Site) -> Limits<'_> {
    let options = &site.options;
    Limits {
        max_connections: max_connections(options.connections_max),
        max_subscriptions: options.subscriptions_max,
        ping_interval: options.ping_interval_ns,
        ping_max: options.pings_out_max,
        http_host: &site.http_host,
        http_port: site.http_port,
        http_base_path: &site.http_base_path,
        https_port: site.https_port,
        auth_timeout: site.auth_timeout_s,
        max_control_line: options.control_line_max,
        max_payload: options.payload_max,
        max_pending: options.pending_bytes_max,
    }
}

/// In nats-server's terms 0 is no limit and -1 refuses all.
fn max_connections(limit: Option<u64>) -> i64 {
    match limit {
        None => 0,
        Some(0) => -1,
        Some(limit) => i64::try_from(limit).unwrap_or(i64::MAX),
    }
}

fn process<'a>(site: &'a Site, figures: &ProcessFigures, now_unix_ns: u64) -> Process<'a> {
    Process {
        tls_timeout: site.tls_timeout_s,
        write_deadline: site.options.write_deadline_ns,
        write_timeout: &site.write_timeout,
        start: rfc3339_nano(site.start_unix_ns),
        now: rfc3339_nano(now_unix_ns),
        uptime: uptime(now_unix_ns.saturating_sub(site.start_unix_ns)),
        mem: figures.mem_rss,
        cores: site.cores,
        gomaxprocs: site.shards,
        cpu: figures.cpu_percent,
    }
}

fn slow_consumers(figures: &Figures) -> u64 {
    figures.slow_pending_bytes + figures.slow_write_deadline
}

fn counters(figures: &Figures) -> Counters {
    Counters {
        connections: figures.connections,
        total_connections: figures.connections_total,
        routes: 0,
        remotes: 0,
        leafnodes: 0,
        in_msgs: figures.in_msgs,
        in_bytes: figures.in_bytes,
        in_client_msgs: figures.in_msgs,
        in_client_bytes: figures.in_bytes,
        out_msgs: figures.out_msgs,
        out_bytes: figures.out_bytes,
        out_client_msgs: figures.out_msgs,
        out_client_bytes: figures.out_bytes,
        slow_consumers: slow_consumers(figures),
        stale_connections: figures.stale_connections,
        stalled_clients: figures.stalled_clients,
        subscriptions: figures.subscriptions,
    }
}

fn configuration(site: &Site) -> Configuration<'_> {
    Configuration {
        config_load_time: rfc3339_nano(site.config_load_unix_ns),
        config_digest: &site.config_digest,
        tags: &site.tags,
        metadata: &site.metadata,
        feature_flags: &site.feature_flags,
        system_account: &site.system_account,
    }
}
