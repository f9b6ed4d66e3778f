//! The one place that calls the engine: options out, settings in.

use std::sync::Arc;

use runtime::access::Secret;
use runtime::tls::Tls;
use runtime::{Changed, HttpSettings, Identity, Server, Settings};

use crate::cli;
use crate::config::options::{self, Http, Options};
use crate::cores::Placement;

/// Given at build time; a build from an archive has none.
pub const GIT_COMMIT: Option<&str> = option_env!("RINGBUS_GIT_COMMIT");

/// Checks that this machine lets the engine run.
///
/// # Errors
/// One line with what the operator must change.
pub fn preflight(placement: &Placement) -> Result<(), String> {
    runtime::preflight(placement.cores.len())
}

/// Starts the engine; it listens when this returns.
///
/// # Errors
/// One line: the ports can't be had, or a shard can't be set up.
pub fn start(
    options: &Options,
    digest: &str,
    placement: Placement,
    id: &nkeys::KeyPair,
) -> Result<Server, String> {
    runtime::start(settings(options, digest, placement, id)).map_err(|error| error.to_string())
}

fn settings(
    options: &Options,
    digest: &str,
    placement: Placement,
    key: &nkeys::KeyPair,
) -> Settings {
    let (id, xkey) = (key.public_key(), nkeys::XKey::new());
    let seeds = key.seed().ok().zip(xkey.seed().ok());
    let seeds = seeds.map(|(seed, xkey)| (Secret::new(seed), Secret::new(xkey)));
    let mut settings = Settings {
        listen_host: options.host.clone(),
        listen_port: options.port,
        http: options.http.as_ref().map(http_settings),
        cores: placement.cores,
        pin: placement.pin,
        spin_ns: options.spin_ns,
        gather_ns: options.gather_ns,
        identity: Identity {
            server_name: options.server_name.clone().unwrap_or_else(|| id.clone()),
            server_id: id,
            version: cli::NATS_VERSION.to_string(),
            git_commit: GIT_COMMIT.unwrap_or_default().to_string(),
            xkey: xkey.public_key(),
            seeds,
            go: format!("rust{}", env!("CARGO_PKG_RUST_VERSION")),
            command_line: cli::redact::shown(std::env::args_os()),
        },
        config_digest: digest.to_string(),
        advertise: advertise(options),
        write_timeout: write_timeout(options),
        tags: options.tags.clone(),
        metadata: options.metadata.clone(),
        feature_flags: options.feature_flags.clone(),
        shard: Default::default(),
        proxied: options.proxy_protocol,
        tls: options.tls.clone(),
        operators: options.operators.clone(),
        recount: runtime::RECOUNT,
    };
    set_limits(&mut settings.shard, options);
    settings
}

/// What a running server takes over from options read again.
pub fn changed(options: &Options, digest: &str, tls: Option<Tls>) -> Changed {
    let mut changed = Changed {
        advertise: advertise(options),
        write_timeout: write_timeout(options),
        tags: options.tags.clone(),
        metadata: options.metadata.clone(),
        digest: digest.to_string(),
        tls,
        operators: options.operators.clone(),
        ..Changed::default()
    };
    set_limits(&mut changed.shard, options);
    changed
}

fn advertise(options: &Options) -> Option<(String, u16)> {
    let advertise = options.client_advertise.as_deref()?;
    options::host_and_port(advertise).ok()
}

/// As configured, if it says anything.
fn write_timeout(options: &Options) -> String {
    options.write_timeout.replace("default", "")
}

fn set_limits(shard: &mut runtime::ShardOptions, options: &Options) {
    let mut access = options.access.clone();
    if let Some(tls) = &options.tls {
        access.maps_certificates = tls.map;
        if !options.auth_timeout_is_set {
            // As long as a handshake, and a second more.
            access.auth_timeout_ns = tls.timeout_ns.saturating_add(1_000_000_000);
        }
    }
    shard.access = Arc::new(access);
    let limits = &options.limits;
    shard.control_line_max = limits.control_line_max;
    shard.payload_max = limits.payload_max;
    shard.connections_max = Some(limits.connections_max);
    shard.subscriptions_max = limits.subscriptions_max;
    shard.sub_tokens_max = limits.sub_tokens_max;
    shard.pending_bytes_max = limits.pending_bytes_max;
    shard.write_deadline_ns = limits.write_deadline_ns;
    shard.ping_interval_ns = limits.ping_interval_ns;
    shard.pings_out_max = limits.pings_out_max;
    shard.no_fast_producer_stall = options.no_fast_producer_stall;
    shard.match_cache = options.match_cache;
    shard.headers = options.headers;
    shard.debug = options.log.debug;
    shard.trace = options.log.trace;
    shard.trace_system = options.log.trace && options.log.trace_system;
    shard.trace_headers_only = options.log.trace_headers_only;
    shard.traced_msg_len_max = limits.traced_msg_len_max;
    shard.top_subjects = limits.top_subjects;
    shard.closed_clients_max = limits.closed_clients_max;
}

fn http_settings(http: &Http) -> HttpSettings {
    let Http { host, port, base_path, secure } = http.clone();
    HttpSettings { host, port, base_path, secure }
}
