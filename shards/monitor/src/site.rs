//! What the monitoring endpoints tell of a server besides its figures.

use std::collections::BTreeMap;

use shard::Options;

/// The server as configured. Everything but `options` is reported as it is here.
#[derive(Clone, Debug)]
pub struct Site {
    /// The server's generated id.
    pub server_id: String,
    /// Its configured name; the id if it has none.
    pub server_name: String,
    /// The version clients see.
    pub version: String,
    /// The commit it was built from; left out when empty.
    pub git_commit: String,
    /// nats-server's Go version here; free-form.
    pub toolchain: String,
    /// Where clients connect, as they are told.
    pub host: String,
    /// Where clients connect, as they are told.
    pub port: u16,
    /// The address clients are told, if there is one; left out when empty.
    pub ip: String,
    /// Addresses of this server and its cluster; left out when empty.
    pub connect_urls: Vec<String>,
    /// Clients must use TLS.
    pub tls_required: bool,
    /// Clients must have a certificate.
    pub tls_verify: bool,
    /// Where monitoring is.
    pub http_host: String,
    /// Where monitoring is; 0 is nowhere.
    pub http_port: u16,
    /// As configured, before normalization; usually empty.
    pub http_base_path: String,
    /// Where monitoring over TLS is; 0 is nowhere.
    pub https_port: u16,
    /// How long a client may take to log in, seconds.
    pub auth_timeout_s: f64,
    /// How long a TLS handshake may take, seconds.
    pub tls_timeout_s: f64,
    /// When the server's certificate expires, seconds since 1970; left out without one.
    pub tls_cert_not_after_unix_s: Option<u64>,
    /// What becomes of a client whose writes take too long, if that is configured; left out when
    /// empty.
    pub write_timeout: String,
    /// The limits of the engine.
    pub options: Options,
    /// Wall clock at start, nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// Wall clock when the configuration was last loaded, nanoseconds since 1970.
    pub config_load_unix_ns: u64,
    /// `sha256:<hex>` of the configuration file; empty without one.
    pub config_digest: String,
    /// From the configuration; left out when empty.
    pub tags: Vec<String>,
    /// From the configuration; left out when empty.
    pub metadata: BTreeMap<String, String>,
    /// Left out when empty.
    pub feature_flags: BTreeMap<String, bool>,
    /// The system account's name; left out when empty.
    pub system_account: String,
    /// The command line of the process.
    pub command_line: Vec<String>,
    /// Cores this process may use.
    pub cores: usize,
    /// Shards it runs: what `gomaxprocs` is to nats-server.
    pub shards: usize,
}

impl Default for Site {
    /// nats-server's defaults where it has some; names, ports and times are empty.
    fn default() -> Site {
        Site {
            server_id: String::new(),
            server_name: String::new(),
            version: String::new(),
            git_commit: String::new(),
            toolchain: "rust".to_owned(),
            host: "0.0.0.0".to_owned(),
            port: 4222,
            ip: String::new(),
            connect_urls: Vec::new(),
            tls_required: false,
            tls_verify: false,
            http_host: "0.0.0.0".to_owned(),
            http_port: 0,
            http_base_path: String::new(),
            https_port: 0,
            auth_timeout_s: 2.0,
            tls_timeout_s: 2.0,
            tls_cert_not_after_unix_s: None,
            write_timeout: String::new(),
            options: Options::default(),
            start_unix_ns: 0,
            config_load_unix_ns: 0,
            config_digest: String::new(),
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            feature_flags: default_feature_flags(),
            system_account: "$SYS".to_owned(),
            command_line: Vec::new(),
            cores: 1,
            shards: 1,
        }
    }
}

/// The flags nats-server 2.15.1 reports when none is configured.
pub fn default_feature_flags() -> BTreeMap<String, bool> {
    [
        ("js_ack_fc_v2", false),
        ("js_api_reply_v2", false),
        ("js_raft_delete_range", true),
        ("js_snapshot_sources", false),
    ]
    .map(|(name, on)| (name.to_owned(), on))
    .into()
}
