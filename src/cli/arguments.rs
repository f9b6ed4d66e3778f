//! The flags this server has, as clap parses and describes them once Go's grammar is undone: each
//! one comes as `--name=value`, the last one of a kind wins.

use std::path::PathBuf;

use clap::{ArgAction, Command, CommandFactory, Parser, ValueHint};

use super::flags::{self, boolean, integer};

/// Columns of the usage text.
const WIDTH: usize = 96;

#[derive(Debug, Parser)]
#[command(
    name = "nats-server",
    rename_all = "snake_case",
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    override_usage = "nats-server [options]"
)]
pub struct Arguments {
    /// Address to listen on (default: 0.0.0.0)
    #[arg(short, long, visible_alias = "net", value_name = "host")]
    #[arg(value_hint = ValueHint::Hostname, help_heading = SERVER)]
    pub addr: Option<String>,
    /// Port for clients (default: 4222, -1 for any)
    #[arg(short, long, value_name = "port", value_parser = integer, help_heading = SERVER)]
    pub port: Option<i64>,
    /// Name of this server (default: its id)
    #[arg(short = 'n', long, visible_alias = "name", value_name = "name", help_heading = SERVER)]
    pub server_name: Option<String>,
    /// Write the process id to this file
    #[arg(short = 'P', long, value_name = "file", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = SERVER)]
    pub pid: Option<String>,
    /// Port for monitoring over HTTP (default: off, -1 for any)
    #[arg(short = 'm', long, value_name = "port", value_parser = integer, help_heading = SERVER)]
    pub http_port: Option<i64>,
    /// Port for monitoring over HTTPS
    #[arg(long, visible_alias = "ms", value_name = "port", value_parser = integer)]
    #[arg(help_heading = SERVER)]
    pub https_port: Option<i64>,
    /// Configuration file, in TOML if it ends in .toml
    #[arg(short, long, value_name = "file", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = SERVER)]
    pub config: Option<PathBuf>,
    /// Check the configuration file and exit
    #[arg(short = 't', value_parser = boolean, help_heading = SERVER)]
    pub test: Option<bool>,
    /// Send ldm, stop, quit, term, reopen or reload to a server that runs: to the only one, or to
    /// those of a process id, of a pid file, or of a prefix that ends in *
    #[arg(long, visible_alias = "sl", value_name = "signal[=pid]", help_heading = SERVER)]
    pub signal: Option<String>,
    /// Where to send clients, host:port (default: as it listens)
    #[arg(long, value_name = "addr", value_hint = ValueHint::Hostname, help_heading = SERVER)]
    pub client_advertise: Option<String>,
    /// Write the ports in use to <executable>_<pid>.ports in this directory
    #[arg(long, value_name = "dir", value_hint = ValueHint::DirPath, help_heading = SERVER)]
    pub ports_file_dir: Option<String>,
    /// Number of shards (default: one for each core it may use)
    #[arg(long, value_name = "n", value_parser = integer, help_heading = SERVER)]
    pub shards: Option<i64>,

    /// Log to this file; SIGUSR1 reopens it
    #[arg(short, long, value_name = "file", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = LOGGING)]
    pub log: Option<String>,
    /// Put the time on log lines (default: true)
    #[arg(short = 'T', long, value_parser = boolean, help_heading = LOGGING)]
    pub logtime: Option<bool>,
    /// Give that time in UTC (default: false)
    #[arg(long, value_parser = boolean, help_heading = LOGGING)]
    pub logtime_utc: Option<bool>,
    /// Log to the syslog daemon of this host
    #[arg(short, long, value_parser = boolean, help_heading = LOGGING)]
    pub syslog: Option<bool>,
    /// Log to this daemon: udp://host:514 or tcp://host:514
    #[arg(short, long, value_name = "addr", help_heading = LOGGING)]
    pub remote_syslog: Option<String>,
    /// Log debugging lines
    #[arg(short = 'D', long, value_parser = boolean, help_heading = LOGGING)]
    pub debug: Option<bool>,
    /// Log the protocol as it is spoken
    #[arg(short = 'V', long, value_parser = boolean, help_heading = LOGGING)]
    pub trace: Option<bool>,
    /// The same, with that of the system account
    #[arg(long = "VV", value_parser = boolean, help_heading = LOGGING)]
    pub verbose_trace: Option<bool>,
    /// -D and -V
    #[arg(long = "DV", value_parser = boolean, help_heading = LOGGING)]
    pub debug_and_trace: Option<bool>,
    /// -D and -VV
    #[arg(long = "DVV", value_parser = boolean, help_heading = LOGGING)]
    pub debug_and_verbose_trace: Option<bool>,
    /// Put the log file aside when it is longer (default: never)
    #[arg(long, value_name = "bytes", value_parser = integer, help_heading = LOGGING)]
    pub log_size_limit: Option<i64>,
    /// Longest part of a message to trace (default: all of it)
    #[arg(long, value_name = "bytes", value_parser = integer, help_heading = LOGGING)]
    pub max_traced_msg_len: Option<i64>,

    /// User that clients must name
    #[arg(long, value_name = "user", help_heading = AUTHORIZATION)]
    pub user: Option<String>,
    /// Password of that user, or its bcrypt hash
    #[arg(long, value_name = "password", help_heading = AUTHORIZATION)]
    pub pass: Option<String>,
    /// Token that clients must show, or its bcrypt hash
    #[arg(long, value_name = "token", help_heading = AUTHORIZATION)]
    pub auth: Option<String>,

    /// Clients must use TLS; --tls=false turns off that of the file
    #[arg(long, value_parser = boolean, help_heading = TLS)]
    pub tls: Option<bool>,
    /// Certificate of the server, PEM
    #[arg(long, value_name = "file", value_hint = ValueHint::FilePath, help_heading = TLS)]
    pub tlscert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "file", value_hint = ValueHint::FilePath, help_heading = TLS)]
    pub tlskey: Option<PathBuf>,
    /// Clients must show a certificate
    #[arg(long, value_parser = boolean, help_heading = TLS)]
    pub tlsverify: Option<bool>,
    /// Certificates of those who sign clients' ones, PEM
    #[arg(long, value_name = "file", value_hint = ValueHint::FilePath, help_heading = TLS)]
    pub tlscacert: Option<PathBuf>,

    /// Print this and exit
    #[arg(short, long, value_parser = boolean, help_heading = COMMON)]
    pub help: Option<bool>,
    /// Print the version and exit
    #[arg(short, long, value_parser = boolean, help_heading = COMMON)]
    pub version: Option<bool>,
    /// Print what can be written in a tls block and exit
    #[arg(long, value_parser = boolean, help_heading = COMMON)]
    pub help_tls: Option<bool>,
}

const SERVER: &str = "Server Options";
const LOGGING: &str = "Logging Options";
const AUTHORIZATION: &str = "Authorization Options";
const TLS: &str = "TLS Options";
const COMMON: &str = "Common Options";

/// The command line as people are told of it: a switch needs no value.
pub fn described() -> Command {
    Arguments::command().mut_args(|argument| match argument.get_value_parser().type_id() {
        kind if kind == std::any::TypeId::of::<bool>() => argument.action(ArgAction::SetTrue),
        _ => argument,
    })
}

/// What `-h` prints.
pub fn usage() -> String {
    let refused = flags::refused().map(|name| format!("--{name}")).collect::<Vec<_>>().join(", ");
    let after = format!(
        "Each flag takes one dash or two, and its value after a blank or after =; a switch takes \
         none but after =, as in --logtime=false. Flags go before what the configuration file \
         says.\n\nRefused by name, for this server runs alone and stores nothing: {refused}"
    );
    let mut command = described()
        .help_template("\nUsage: {usage}\n\n{all-args}{after-help}\n")
        .after_help(after)
        .term_width(WIDTH);
    command.render_help().to_string()
}
