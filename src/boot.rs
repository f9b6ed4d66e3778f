//! From a command line understood to a server that runs, and down again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use runtime::identity::{Place, Words, decode_operator};
use runtime::tls::TlsSettings;

use crate::cli::{self, Command};
use crate::config::access;
use crate::config::options::{self, Options};
use crate::config::value::Fault;
use crate::config::{self, File};
use crate::cores;
use crate::engine::{self, GIT_COMMIT};
use crate::files::{self, PortsFile};
use crate::life::Life;
use crate::logging::{Logging, fatal};
use crate::notify;
use crate::signals;

/// Why the server did not run to its orderly end.
#[derive(Debug)]
pub enum Failure {
    /// Nobody has said so yet.
    BeforeLogging(String),
    /// The log says why.
    Logged,
}

/// Checks the configuration, or runs the server until a signal ends it.
///
/// # Errors
/// The server could not start.
pub fn run(command: Command) -> Result<(), Failure> {
    let file = command.config.as_deref().map(|path| load(path, command.check)).transpose()?;
    if let (true, Some(path), Some(file)) = (command.check, &command.config, &file) {
        eprintln!(
            "{}: configuration file {} is valid ({})",
            cli::PROGRAM,
            path.display(),
            file.digest
        );
        return Ok(());
    }
    let (from_file, digest) = file.map(|file| (file.raw, file.digest)).unwrap_or_default();
    let options = Options::resolve(&from_file.overlaid(command.raw.clone()))
        .map_err(Failure::BeforeLogging)?;
    let source =
        command.config.as_deref().map(|path| Source { path: path.display().to_string(), digest });
    serve(command, options, source.as_ref())
}

/// The configuration file in use.
struct Source {
    path: String,
    digest: String,
}

/// Warnings keep a check from passing, but not a server from starting.
fn load(path: &Path, check: bool) -> Result<File, Failure> {
    let (file, warnings) = read(path).map_err(Failure::BeforeLogging)?;
    if check && !warnings.is_empty() {
        return Err(Failure::BeforeLogging(warnings));
    }
    if !warnings.is_empty() {
        eprintln!("{warnings}");
    }
    Ok(file)
}

/// A configuration file and what it warns of, one line each.
///
/// # Errors
/// Everything that is wrong with it, one line each.
pub fn read(path: &Path) -> Result<(File, String), String> {
    let lines =
        |faults: &[Fault]| faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n");
    let file =
        config::load(path, &|name| std::env::var(name).ok()).map_err(|faults| lines(&faults))?;
    let warnings = lines(&file.warnings);
    Ok((file, warnings))
}

fn serve(command: Command, options: Options, source: Option<&Source>) -> Result<(), Failure> {
    let logging = Logging::start(&options.log).map_err(Failure::BeforeLogging)?;
    cli::redact::hide();
    let events = signals::listen().map_err(|error| Failure::BeforeLogging(error.to_string()))?;
    let fail = |why: String| {
        fatal!("{why}");
        Failure::Logged
    };
    let placement = cores::place(options.shards, options.pin);
    let key = nkeys::KeyPair::new_server();
    banner(&options, &command.raw.credentials, source, &key.public_key());
    if let Some(path) = &options.pid_file {
        files::write_pid(path)
            .map_err(|error| fail(format!("Could not write pidfile: {error}")))?;
    }
    engine::preflight(&placement).map_err(fail)?;
    let digest = source.map(|source| source.digest.as_str()).unwrap_or_default();
    let server = engine::start(&options, digest, placement, &key).map_err(fail)?;
    let ports_file = announce(&options, server.client_addr(), server.http_addr());
    notify::ready();
    let life = Life { command, options, logging, server, ports_file };
    life.live(&events).map_err(|_| Failure::Logged)
}

fn banner(options: &Options, flags: &access::Flags, source: Option<&Source>, id: &str) {
    log::info!("Starting {}", cli::PROGRAM);
    log::info!("  Version:  {}", cli::version());
    log::info!("  Git:      [{}]", GIT_COMMIT.unwrap_or("not set"));
    log::info!("  Name:     {}", options.server_name.as_deref().unwrap_or(id));
    log::info!("  ID:       {id}");
    tell_feature_flags(&options.feature_flags);
    let by_certificate = options.tls.as_ref().is_some_and(|tls| tls.map);
    if access::has_plain_passwords(&options.access, flags, by_certificate) {
        log::warn!("Plaintext passwords detected, use nkeys or bcrypt");
    }
    if let Some(source) = source {
        log::info!("Using configuration file: {} ({})", source.path, source.digest);
    }
    for name in options.access.callout.iter().flat_map(|callout| &callout.users) {
        if !options.access.has_user(name) {
            log::error!("Authorization callout user {name:?} not valid: <nil>");
        }
    }
    tell_operators(&options.operators);
    if options.limits.payload_max > options::PAYLOAD_ADVISED_MAX {
        log::warn!(
            "Maximum payloads over 8.00 MB are generally discouraged \
             and could lead to poor performance"
        );
    }
}

/// Whose signatures count.
fn tell_operators(words: &Words) {
    let operators = words.operators.iter().filter_map(|token| decode_operator(token).ok());
    let operators: Vec<_> = operators.collect();
    if operators.is_empty() {
        return;
    }
    log::info!("Trusted Operators");
    let time = |seconds: i64| {
        let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
        at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
    };
    for operator in &operators {
        let claims = &operator.claims;
        log::info!("  System  : {:?}", claims.audience);
        log::info!("  Operator: {:?}", claims.name);
        log::info!("  Issued  : {}", time(claims.issued_at_s));
        match claims.expires_s {
            0 => log::info!("  Expires : Never"),
            seconds => log::info!("  Expires : {}", time(seconds)),
        }
    }
    let has_system = operators.iter().any(|operator| !operator.system_account().is_empty());
    if words.system_account.is_none() && !has_system {
        log::warn!("Trusted Operators should utilize a System Account");
    }
}

/// In the words of nats-server: those it has, and those nobody knows.
fn tell_feature_flags(flags: &BTreeMap<String, bool>) {
    if flags.is_empty() {
        return;
    }
    let defaults = runtime::default_feature_flags();
    let (known, unknown): (Vec<_>, Vec<_>) =
        flags.iter().partition(|(name, _)| defaults.contains_key(*name));
    let mut configured = Vec::new();
    for (name, on) in known {
        let state = match (defaults[name], on) {
            (true, true) => "enabled",
            (true, false) => "opt-out",
            (false, true) => "opt-in",
            (false, false) => "disabled",
        };
        configured.push(format!("{name} ({state})"));
    }
    if configured.is_empty() {
        configured.push("none".to_string());
    }
    log::info!("  Feature flags:");
    log::info!("    Configured:    {}", configured.join(", "));
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().map(|(name, _)| name.as_str()).collect();
        log::info!("    Unsupported:   {}", names.join(", "));
    }
}

/// Says where the server listens, once it does.
fn announce(options: &Options, clients: SocketAddr, http: Option<SocketAddr>) -> Option<PortsFile> {
    if let (Some(wanted), Some(address)) = (&options.http, http) {
        let scheme = if wanted.secure { "https" } else { "http" };
        log::info!("Starting {scheme} monitor on {}", host_port(&wanted.host, address.port()));
    }
    if let Some(Place::Directory { path, .. }) = &options.operators.place {
        log::info!("Managing all jwt in exclusive directory {}", path.display());
    }
    let ports_file = write_ports(options, clients, http);
    log::info!("Listening for client connections on {}", host_port(&options.host, clients.port()));
    if options.proxy_protocol {
        log::info!("PROXY protocol enabled for client connections");
    }
    if let Some(tls) = &options.tls {
        announce_tls(tls);
    }
    log::info!("Server is ready");
    ports_file
}

fn announce_tls(tls: &TlsSettings) {
    let first_only = tls.first && tls.fallback_ns == 0;
    if tls.optional && !first_only {
        log::info!("TLS available for client connections");
    } else {
        log::info!("TLS required for client connections");
    }
    if first_only {
        log::warn!(
            "Clients that are not using \"TLS Handshake First\" option will fail to connect"
        );
    }
}

/// The ports file, if one is wanted.
pub fn write_ports(
    options: &Options,
    clients: SocketAddr,
    http: Option<SocketAddr>,
) -> Option<PortsFile> {
    let directory = options.ports_file_dir.as_deref()?;
    PortsFile::write(directory, clients, http).inspect_err(|why| log::error!("{why}")).ok()
}

/// `host:port`, with brackets around an IPv6 address.
fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
