//! From what the operator wrote (`Raw`, once from the file and once from the command line) to what
//! the server runs with (`Options`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use runtime::access::Access;
use runtime::identity::Words;
use runtime::tls::{CertificateFiles, TlsSettings};

use super::access;
use super::duration;
use super::schema::{self, Stapling};
use crate::cli;

/// How long input from many connections gathers under load, unless the operator says otherwise.
const GATHER_NS: i64 = 750_000;

pub const PORT_DEFAULT: u16 = 4222;
pub const HOST_DEFAULT: &str = "0.0.0.0";
pub const SHARDS_MAX: usize = 256;
/// From here up nats-server discourages payloads, and so do we.
pub const PAYLOAD_ADVISED_MAX: usize = 8 << 20;

/// What one source says; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Raw {
    pub host: Option<String>,
    /// -1 = any port, 0 = the default.
    pub port: Option<i64>,
    pub server_name: Option<String>,
    pub http_host: Option<String>,
    /// -1 = any port, 0 = no monitoring.
    pub http_port: Option<i64>,
    /// -1 = any port, 0 = no monitoring over TLS.
    pub https_port: Option<i64>,
    pub http_base_path: Option<String>,
    pub tls: Option<TlsSettings>,
    /// What the command line says of TLS; it replaces the files and `verify` of the rest.
    pub tls_flags: TlsFlags,
    pub allow_non_tls: Option<bool>,
    pub proxy_protocol: Option<bool>,
    pub stapling: Stapling,
    pub debug: Option<bool>,
    pub trace: Option<bool>,
    pub logtime: Option<bool>,
    pub logtime_utc: Option<bool>,
    pub log_file: Option<String>,
    pub log_size_limit: Option<i64>,
    pub log_files_max: Option<i64>,
    pub syslog: Option<bool>,
    pub remote_syslog: Option<String>,
    pub trace_headers: Option<bool>,
    pub trace_verbose: Option<bool>,
    pub pid_file: Option<String>,
    pub ports_file_dir: Option<String>,
    pub control_line_max: Option<i64>,
    pub payload_max: Option<i64>,
    pub pending_bytes_max: Option<i64>,
    /// Zero and below: none are accepted.
    pub connections_max: Option<i64>,
    pub subscriptions_max: Option<i64>,
    pub sub_tokens_max: Option<u8>,
    pub traced_msg_len_max: Option<i64>,
    pub top_subjects: Option<i64>,
    pub closed_clients_max: Option<i64>,
    pub ping_interval_ns: Option<i64>,
    pub pings_out_max: Option<i64>,
    pub write_deadline_ns: Option<i64>,
    pub no_fast_producer_stall: Option<bool>,
    pub write_timeout: Option<String>,
    pub no_match_cache: Option<bool>,
    pub feature_flags: Option<BTreeMap<String, bool>>,
    pub no_header_support: Option<bool>,
    pub client_advertise: Option<String>,
    pub tags: Option<Vec<String>>,
    pub metadata: Option<BTreeMap<String, String>>,
    pub lame_duck_ns: Option<i64>,
    pub lame_duck_grace_ns: Option<i64>,
    pub shards: Option<i64>,
    pub pin: Option<bool>,
    pub spin_ns: Option<i64>,
    pub gather_ns: Option<i64>,
    /// What the file says; the command line has nothing like it.
    pub access: access::Said,
    /// What the file says of tokens.
    pub operators: Words,
    /// Of the command line; they go before those of the file.
    pub credentials: access::Flags,
}

/// The flags that begin with `--tls`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsFlags {
    pub on: Option<bool>,
    pub verify: Option<bool>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub ca: Option<PathBuf>,
}

impl TlsFlags {
    /// TLS as these flags and a configuration file have it.
    ///
    /// # Errors
    /// A flag that asks for TLS without a certificate or a key.
    fn resolve(&self, file: Option<TlsSettings>) -> Result<Option<TlsSettings>, String> {
        if self.on == Some(false) {
            return Ok(None);
        }
        if *self == TlsFlags::default() {
            return Ok(file);
        }
        let cert_file = self.cert.clone().filter(|path| !path.as_os_str().is_empty());
        let key_file = self.key.clone().filter(|path| !path.as_os_str().is_empty());
        Ok(Some(TlsSettings {
            certificates: vec![CertificateFiles {
                cert_file: cert_file.ok_or("TLS Server certificate must be present and valid")?,
                key_file: key_file.ok_or("TLS Server private key must be present and valid")?,
            }],
            ca_file: self.ca.clone().filter(|path| !path.as_os_str().is_empty()),
            verify: self.verify.unwrap_or(false),
            cipher_suites: Vec::new(),
            curves: Vec::new(),
            only_1_3: false,
            ocsp_staple_file: None,
            ..file.unwrap_or_default()
        }))
    }
}

impl Raw {
    /// What `over` says, and what `self` says where `over` is silent.
    pub fn overlaid(self, over: Raw) -> Raw {
        Raw {
            host: over.host.or(self.host),
            port: over.port.or(self.port),
            server_name: over.server_name.or(self.server_name),
            http_host: over.http_host.or(self.http_host),
            http_port: over.http_port.or(self.http_port),
            https_port: over.https_port.or(self.https_port),
            http_base_path: over.http_base_path.or(self.http_base_path),
            tls: over.tls.or(self.tls),
            tls_flags: over.tls_flags,
            allow_non_tls: over.allow_non_tls.or(self.allow_non_tls),
            proxy_protocol: over.proxy_protocol.or(self.proxy_protocol),
            stapling: self.stapling,
            debug: over.debug.or(self.debug),
            trace: over.trace.or(self.trace),
            logtime: over.logtime.or(self.logtime),
            logtime_utc: over.logtime_utc.or(self.logtime_utc),
            log_file: over.log_file.or(self.log_file),
            log_size_limit: over.log_size_limit.or(self.log_size_limit),
            log_files_max: over.log_files_max.or(self.log_files_max),
            syslog: over.syslog.or(self.syslog),
            remote_syslog: over.remote_syslog.or(self.remote_syslog),
            trace_headers: over.trace_headers.or(self.trace_headers),
            trace_verbose: over.trace_verbose.or(self.trace_verbose),
            pid_file: over.pid_file.or(self.pid_file),
            ports_file_dir: over.ports_file_dir.or(self.ports_file_dir),
            control_line_max: over.control_line_max.or(self.control_line_max),
            payload_max: over.payload_max.or(self.payload_max),
            pending_bytes_max: over.pending_bytes_max.or(self.pending_bytes_max),
            connections_max: over.connections_max.or(self.connections_max),
            subscriptions_max: over.subscriptions_max.or(self.subscriptions_max),
            sub_tokens_max: over.sub_tokens_max.or(self.sub_tokens_max),
            traced_msg_len_max: over.traced_msg_len_max.or(self.traced_msg_len_max),
            top_subjects: over.top_subjects.or(self.top_subjects),
            closed_clients_max: over.closed_clients_max.or(self.closed_clients_max),
            ping_interval_ns: over.ping_interval_ns.or(self.ping_interval_ns),
            pings_out_max: over.pings_out_max.or(self.pings_out_max),
            write_deadline_ns: over.write_deadline_ns.or(self.write_deadline_ns),
            no_fast_producer_stall: over.no_fast_producer_stall.or(self.no_fast_producer_stall),
            write_timeout: over.write_timeout.or(self.write_timeout),
            no_match_cache: over.no_match_cache.or(self.no_match_cache),
            feature_flags: over.feature_flags.or(self.feature_flags),
            no_header_support: over.no_header_support.or(self.no_header_support),
            client_advertise: over.client_advertise.or(self.client_advertise),
            tags: over.tags.or(self.tags),
            metadata: over.metadata.or(self.metadata),
            lame_duck_ns: over.lame_duck_ns.or(self.lame_duck_ns),
            lame_duck_grace_ns: over.lame_duck_grace_ns.or(self.lame_duck_grace_ns),
            shards: over.shards.or(self.shards),
            pin: over.pin.or(self.pin),
            spin_ns: over.spin_ns.or(self.spin_ns),
            gather_ns: over.gather_ns.or(self.gather_ns),
            access: self.access,
            operators: self.operators,
            credentials: over.credentials,
        }
    }
}

/// Everything the server runs with, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub host: String,
    /// 0 = any.
    pub port: u16,
    pub http: Option<Http>,
    pub tls: Option<TlsSettings>,
    /// `None`: the server's id is its name.
    pub server_name: Option<String>,
    pub log: Log,
    pub pid_file: Option<PathBuf>,
    pub ports_file_dir: Option<PathBuf>,
    pub limits: Limits,
    pub no_fast_producer_stall: bool,
    /// `default` or `retry`.
    pub write_timeout: String,
    pub match_cache: bool,
    pub feature_flags: BTreeMap<String, bool>,
    pub headers: bool,
    /// `host` or `host:port` that clients are sent to.
    pub client_advertise: Option<String>,
    pub tags: Vec<String>,
    pub metadata: BTreeMap<String, String>,
    pub lame_duck: LameDuck,
    /// `None`: one per core this process may use.
    pub shards: Option<usize>,
    /// `None`: pin when every shard has a core of its own.
    pub pin: Option<bool>,
    pub spin_ns: u64,
    pub gather_ns: u64,
    /// Who may come in.
    pub access: Access,
    /// Whose tokens let clients in.
    pub operators: Words,
    /// Its timeout is not the default.
    pub auth_timeout_is_set: bool,
    /// Who a client is that shows no credentials; empty if there is nobody.
    pub no_auth_user: String,
    pub no_system_account: bool,
    /// With TLS, for those who want it.
    pub allow_non_tls: bool,
    /// Clients may come from a proxy that says first where they really are.
    pub proxy_protocol: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    pub host: String,
    /// 0 = any.
    pub port: u16,
    /// As configured.
    pub base_path: String,
    /// Over TLS.
    pub secure: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub debug: bool,
    pub trace: bool,
    /// Trace the system account's clients too.
    pub trace_system: bool,
    /// Of a message trace the headers only.
    pub trace_headers_only: bool,
    pub time: bool,
    pub utc: bool,
    pub place: LogPlace,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            debug: false,
            trace: false,
            trace_system: false,
            trace_headers_only: false,
            time: true,
            utc: false,
            place: LogPlace::Stderr,
        }
    }
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq)]
pub enum LogPlace {
    Stderr,
    File {
        path: PathBuf,
        /// Bytes after which the file is put aside; 0 = never.
        size_limit: u64,
        /// The file and those put aside; 0 = all are kept.
        files_max: usize,
    },
    Syslog(SyslogAddress),
}

/// Where a syslog daemon listens.
#[derive(Clone, Debug, PartialEq)]
pub enum SyslogAddress {
    /// The one of this host.
    Local,
    /// `host:port`.
    Udp(String),
    /// `host:port`.
    Tcp(String),
    Unix(PathBuf),
}

impl SyslogAddress {
    /// # Errors
    /// One line: it is none.
    pub fn parse(url: &str) -> Result<SyslogAddress, String> {
        let (scheme, rest) =
            url.split_once("://").unwrap_or((url.split(':').next().unwrap_or(""), ""));
        match scheme {
            "udp" => Ok(SyslogAddress::Udp(rest.to_string())),
            "tcp" => Ok(SyslogAddress::Tcp(rest.to_string())),
            "unix" => Ok(SyslogAddress::Unix(PathBuf::from(rest))),
            _ => Err(format!(
                "error invalid network type: {scheme:?}: write udp://host:514, tcp://host:514 or \
                 unix:///dev/log"
            )),
        }
    }

    /// Is the daemon to be told which host this is?
    pub fn is_remote(&self) -> bool {
        matches!(self, SyslogAddress::Udp(_) | SyslogAddress::Tcp(_))
    }
}

impl std::fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SyslogAddress::Local => f.write_str("syslog"),
            SyslogAddress::Udp(host) => write!(f, "udp://{host}"),
            SyslogAddress::Tcp(host) => write!(f, "tcp://{host}"),
            SyslogAddress::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Bounds the shards enforce. Durations in nanoseconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub control_line_max: usize,
    pub payload_max: usize,
    pub pending_bytes_max: u64,
    pub connections_max: u64,
    /// 0 = unlimited.
    pub subscriptions_max: u32,
    /// 0 = unlimited.
    pub sub_tokens_max: u8,
    /// 0 = unlimited.
    pub traced_msg_len_max: usize,
    pub top_subjects: usize,
    pub closed_clients_max: usize,
    pub ping_interval_ns: u64,
    pub pings_out_max: u32,
    pub write_deadline_ns: u64,
}

impl Options {
    /// Fills in the defaults and checks what only the whole can tell.
    ///
    /// # Errors
    /// One line with what to write instead.
    pub fn resolve(raw: &Raw) -> Result<Options, String> {
        Options::resolve_after(raw, None)
    }

    /// As [`Options::resolve`], for a server that runs with this access.
    ///
    /// # Errors
    /// One line with what to write instead.
    pub fn resolve_after(raw: &Raw, before: Option<&Access>) -> Result<Options, String> {
        let limits = Limits::resolve(raw)?;
        let server_name = raw.server_name.clone().filter(|name| !name.is_empty());
        if server_name.as_ref().is_some_and(|name| name.contains(' ')) {
            return Err("server name cannot contain spaces".to_string());
        }
        let host = named(raw.host.as_ref()).unwrap_or_else(|| HOST_DEFAULT.to_string());
        let operators = operators(raw)?;
        Ok(Options {
            http: Http::resolve(raw, &host)?,
            tls: raw
                .tls_flags
                .resolve(raw.tls.clone())?
                .map(|tls| TlsSettings { optional: raw.allow_non_tls.unwrap_or(false), ..tls }),
            port: match raw.port {
                None | Some(0) => PORT_DEFAULT,
                Some(port) => listen_port("port", port)?,
            },
            host,
            server_name,
            log: Log::resolve(raw)?,
            pid_file: named(raw.pid_file.as_ref()).map(PathBuf::from),
            ports_file_dir: named(raw.ports_file_dir.as_ref()).map(PathBuf::from),
            limits,
            no_fast_producer_stall: raw.no_fast_producer_stall.unwrap_or(false),
            write_timeout: raw.write_timeout.clone().unwrap_or_else(|| "default".to_string()),
            match_cache: !raw.no_match_cache.unwrap_or(false),
            feature_flags: raw.feature_flags.clone().unwrap_or_default(),
            headers: !raw.no_header_support.unwrap_or(false),
            client_advertise: advertised(raw)?,
            tags: raw.tags.clone().unwrap_or_default(),
            metadata: raw.metadata.clone().unwrap_or_default(),
            lame_duck: LameDuck::resolve(raw)?,
            shards: raw.shards.map(shard_count).transpose()?,
            pin: raw.pin,
            spin_ns: raw.spin_ns.unwrap_or(0).unsigned_abs(),
            gather_ns: raw.gather_ns.unwrap_or(GATHER_NS).unsigned_abs(),
            access: raw.access.resolve(&raw.credentials, &operators, before)?,
            operators,
            auth_timeout_is_set: raw.access.has_timeout(),
            no_auth_user: raw.access.no_auth_user().to_string(),
            no_system_account: raw.access.no_system_account(),
            allow_non_tls: raw.allow_non_tls.unwrap_or(false),
            proxy_protocol: raw.proxy_protocol.unwrap_or(false),
        })
    }
}

/// How the server goes away at SIGUSR2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LameDuck {
    /// From the signal until the last client is closed.
    pub duration_ns: u64,
    /// From the signal until the first one is.
    pub grace_ns: u64,
}

impl LameDuck {
    fn resolve(raw: &Raw) -> Result<LameDuck, String> {
        let duration_ns: u64 = clamp(or_default(raw.lame_duck_ns, 120_000_000_000));
        let grace_ns: u64 = clamp(or_default(raw.lame_duck_grace_ns, 10_000_000_000));
        if grace_ns >= duration_ns {
            return Err(format!(
                "lame duck grace period ({}) should be strictly lower than \
                 lame duck duration ({})",
                duration::format(grace_ns),
                duration::format(duration_ns)
            ));
        }
        Ok(LameDuck { duration_ns, grace_ns })
    }
}

/// Whose tokens let clients in, and which account is the system's then.
fn operators(raw: &Raw) -> Result<Words, String> {
    let mut words = raw.access.with_tokens(&raw.operators);
    let believed = words.understood(cli::NATS_VERSION_NUMBERS)?;
    if !believed.system_account.is_empty() {
        words.system_account = Some(believed.system_account);
    }
    Ok(words)
}

/// Checked, so that [`host_and_port`] understands it.
fn advertised(raw: &Raw) -> Result<Option<String>, String> {
    let advertise = named(raw.client_advertise.as_ref());
    if let Some(text) = &advertise {
        host_and_port(text).map_err(|why| format!("client_advertise {text:?}: {why}"))?;
    }
    Ok(advertise)
}

/// `host`, `host:port`, `[v6]:port`; 0 without a port.
///
/// # Errors
/// One line: it is none of these.
pub fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let bare = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']'),
        None => Some(text).filter(|text| !text.contains(':')),
    };
    if let Some(host) = bare {
        return Ok((host.trim().to_string(), 0));
    }
    let (host, port) = schema::split_host_port(text)?;
    let port = if port == 0 { 0 } else { listen_port("port", port)? };
    Ok((host.trim().to_string(), port))
}

impl Log {
    fn resolve(raw: &Raw) -> Result<Log, String> {
        let file = named(raw.log_file.as_ref()).map(PathBuf::from);
        let remote = named(raw.remote_syslog.as_ref());
        let place = match (file, remote) {
            (Some(path), _) => LogPlace::File {
                path,
                size_limit: clamp(raw.log_size_limit.unwrap_or(0)),
                files_max: clamp(raw.log_files_max.unwrap_or(0)),
            },
            (None, Some(url)) => LogPlace::Syslog(SyslogAddress::parse(&url)?),
            (None, None) if raw.syslog == Some(true) => LogPlace::Syslog(SyslogAddress::Local),
            (None, None) => LogPlace::Stderr,
        };
        Ok(Log {
            debug: raw.debug.unwrap_or(false),
            trace: raw.trace.unwrap_or(false),
            trace_system: raw.trace_verbose.unwrap_or(false),
            trace_headers_only: raw.trace_headers.unwrap_or(false),
            time: raw.logtime.unwrap_or(true),
            utc: raw.logtime_utc.unwrap_or(false),
            place,
        })
    }
}

impl Http {
    fn resolve(raw: &Raw, host: &str) -> Result<Option<Http>, String> {
        let wanted = |port: Option<i64>| port.filter(|port| *port != 0);
        let (port, secure) = match (wanted(raw.http_port), wanted(raw.https_port)) {
            (None, None) => return Ok(None),
            (Some(port), None) => (port, false),
            (None, Some(port)) => (port, true),
            (Some(plain), Some(secure)) => {
                return Err(format!(
                    "can't specify both HTTP ({plain}) and HTTPs ({secure}) ports"
                ));
            }
        };
        Ok(Some(Http {
            host: named(raw.http_host.as_ref()).unwrap_or_else(|| host.to_string()),
            port: listen_port(if secure { "https_port" } else { "http_port" }, port)?,
            base_path: raw.http_base_path.clone().unwrap_or_default(),
            secure,
        }))
    }
}

impl Limits {
    fn resolve(raw: &Raw) -> Result<Limits, String> {
        let payload_max = or_default(raw.payload_max, 1 << 20);
        let pending_bytes_max = or_default(raw.pending_bytes_max, 64 << 20);
        if payload_max > pending_bytes_max {
            return Err(format!(
                "max_payload ({payload_max}) cannot be higher than \
                 max_pending ({pending_bytes_max})"
            ));
        }
        Ok(Limits {
            control_line_max: clamp(or_default(raw.control_line_max, 4096)),
            payload_max: clamp(payload_max),
            pending_bytes_max: clamp(pending_bytes_max),
            connections_max: raw.connections_max.map_or(65_536, clamp),
            subscriptions_max: clamp(raw.subscriptions_max.unwrap_or(0)),
            sub_tokens_max: raw.sub_tokens_max.unwrap_or(0),
            traced_msg_len_max: clamp(raw.traced_msg_len_max.unwrap_or(0)),
            top_subjects: raw.top_subjects.map_or(20, clamp),
            closed_clients_max: clamp(or_default(raw.closed_clients_max, 10_000)),
            ping_interval_ns: clamp(or_default(raw.ping_interval_ns, 120_000_000_000)),
            pings_out_max: clamp(or_default(raw.pings_out_max, 2)),
            write_deadline_ns: clamp(or_default(raw.write_deadline_ns, 10_000_000_000)),
        })
    }
}

/// # Errors
/// A port that can't be listened on.
pub fn listen_port(key: &str, port: i64) -> Result<u16, String> {
    match port {
        -1 => Ok(0),
        _ => u16::try_from(port)
            .map_err(|_| format!("{key} {port} is no port: write 1 to 65535, or -1 for any")),
    }
}

/// # Errors
/// No shards at all, or more than any machine has use for.
pub fn shard_count(count: i64) -> Result<usize, String> {
    match usize::try_from(count) {
        Ok(count @ 1..=SHARDS_MAX) => Ok(count),
        _ => Err(format!(
            "shards {count} is out of range: \
             write 1 to {SHARDS_MAX}, or leave it out for one per core"
        )),
    }
}

/// nats-server takes zero for "not set" wherever zero makes no sense.
fn or_default(set: Option<i64>, default: i64) -> i64 {
    set.filter(|number| *number != 0).unwrap_or(default)
}

/// Nearest value of the target type; below zero is zero.
fn clamp<T: TryFrom<i64> + Bounded>(number: i64) -> T {
    T::try_from(number.max(0)).unwrap_or(T::MAX)
}

trait Bounded {
    const MAX: Self;
}

impl Bounded for u32 {
    const MAX: u32 = u32::MAX;
}

impl Bounded for u64 {
    const MAX: u64 = u64::MAX;
}

impl Bounded for usize {
    const MAX: usize = usize::MAX;
}

fn named(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults() {
        let options = Options::resolve(&Raw::default()).unwrap();
        assert_eq!((options.host.as_str(), options.port), ("0.0.0.0", 4222));
        assert_eq!(options.http, None);
        assert_eq!(options.limits.control_line_max, 4096);
        assert_eq!(options.limits.payload_max, 1_048_576);
        assert_eq!(options.limits.pending_bytes_max, 67_108_864);
        assert_eq!(options.limits.connections_max, 65_536);
        assert_eq!(options.limits.ping_interval_ns, 120_000_000_000);
        assert_eq!(options.limits.pings_out_max, 2);
        assert_eq!(options.limits.write_deadline_ns, 10_000_000_000);
        assert!(options.headers && options.log.time);
    }

    #[test]
    fn zero_connections_means_none() {
        for (set, max) in [(0, 0), (-5, 0), (7, 7)] {
            let raw = Raw { connections_max: Some(set), ..Raw::default() };
            assert_eq!(Options::resolve(&raw).unwrap().limits.connections_max, max);
        }
    }

    #[test]
    fn refusals() {
        let table: &[(Raw, &str)] = &[
            (
                Raw { payload_max: Some(10), pending_bytes_max: Some(5), ..Raw::default() },
                "max_payload (10) cannot be higher than max_pending (5)",
            ),
            (
                Raw { server_name: Some("a b".into()), ..Raw::default() },
                "server name cannot contain spaces",
            ),
            (
                Raw { port: Some(70_000), ..Raw::default() },
                "port 70000 is no port: write 1 to 65535, or -1 for any",
            ),
            (
                Raw { http_port: Some(-2), ..Raw::default() },
                "http_port -2 is no port: write 1 to 65535, or -1 for any",
            ),
            (
                Raw { shards: Some(0), ..Raw::default() },
                "shards 0 is out of range: write 1 to 256, or leave it out for one per core",
            ),
        ];
        for (raw, message) in table {
            assert_eq!(Options::resolve(raw), Err((*message).to_string()));
        }
    }

    #[test]
    fn monitoring_listens_where_clients_do() {
        let raw = Raw { host: Some("127.0.0.1".into()), http_port: Some(-1), ..Raw::default() };
        let http = Options::resolve(&raw).unwrap().http.unwrap();
        assert_eq!(
            http,
            Http { host: "127.0.0.1".into(), port: 0, base_path: String::new(), secure: false }
        );
    }
}
