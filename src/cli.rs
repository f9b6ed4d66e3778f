//! The operator's words: the command line, its flags and what it asks for.

mod arguments;
mod flags;
pub mod redact;
pub mod signal;

use std::ffi::OsString;
use std::path::PathBuf;

use arguments::Arguments;
use clap::Parser;
use clap::error::{ContextKind, ContextValue};

use runtime::access::Secret;

use crate::config::access;
use crate::config::options::{self, Raw, TlsFlags};
use crate::config::schema;

/// The name operators, scripts and error messages know this program by.
pub const PROGRAM: &str = "nats-server";
/// The nats-server release whose behaviour this is.
pub const NATS_VERSION: &str = "2.15.1";
/// Major, minor, update of it.
pub const NATS_VERSION_NUMBERS: (u64, u64, u64) = (2, 15, 1);

const TLS_USAGE: &str = include_str!("cli/usage_tls.txt");

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Print to standard output, exit 0.
    Print(String),
    /// A broken flag: complain on standard error, print the usage, exit 0 as nats-server does.
    Complain(String),
    /// A command line that asks for something this server can't do: one line, exit 1.
    Refuse(String),
    /// Send this to a server that runs already.
    Signal(String),
    Run(Box<Command>),
}

#[derive(Debug, Default, PartialEq)]
pub struct Command {
    pub config: Option<PathBuf>,
    /// Check the configuration file only.
    pub check: bool,
    /// What the flags set; it overrides the file.
    pub raw: Raw,
}

/// `2.15.1 (ringbus 0.1.0)`.
pub fn version() -> String {
    format!("{NATS_VERSION} (ringbus {})", env!("CARGO_PKG_VERSION"))
}

pub fn usage() -> String {
    arguments::usage()
}

/// Understands a command line, the program's name not included.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Action {
    let mut words = Vec::new();
    for argument in arguments {
        match argument.into_string() {
            Ok(word) => words.push(word),
            Err(word) => return Action::Refuse(format!("argument {word:?} is not UTF-8")),
        }
    }
    let split = match flags::split(&words) {
        Ok(split) => split,
        Err(complaint) => return Action::Complain(with_hint(complaint)),
    };
    let arguments = std::iter::once(PROGRAM.to_string()).chain(split.arguments.iter().cloned());
    let typed = match Arguments::try_parse_from(arguments) {
        Ok(typed) => typed,
        Err(error) => return Action::Complain(complaint(&error, &split)),
    };
    let word = split.words.first().map(|word| word.to_lowercase());
    if typed.version == Some(true) {
        return Action::Print(version_line());
    }
    if typed.help == Some(true) {
        return Action::Print(usage());
    }
    if typed.help_tls == Some(true) {
        return Action::Print(TLS_USAGE.to_string());
    }
    if split.unsupported.is_none() {
        match word.as_deref() {
            Some("version") => return Action::Print(version_line()),
            Some("help") => return Action::Print(usage()),
            Some(_) => {
                return Action::Refuse(format!("unrecognized command: {:?}", split.words[0]));
            }
            None => {}
        }
    }
    match &split.unsupported {
        Some((flag, advice)) => Action::Refuse(format!("{flag} is not supported yet; {advice}")),
        None => typed.into_action(),
    }
}

fn version_line() -> String {
    format!("{PROGRAM}: v{}\n", version())
}

impl Arguments {
    /// What these flags ask for.
    fn into_action(self) -> Action {
        if let Some(request) = self.signal.filter(|request| !request.is_empty()) {
            return Action::Signal(request);
        }
        if let Some(Err(message)) = self.shards.map(options::shard_count) {
            return Action::Refuse(format!("--{message}"));
        }
        let config = self.config.filter(|path| !path.as_os_str().is_empty());
        let check = self.test == Some(true);
        if check && config.is_none() {
            return Action::Refuse(
                "must specify [-c, --config] option to check configuration file syntax".to_string(),
            );
        }
        let raw = Raw {
            host: self.addr,
            port: self.port,
            server_name: self.server_name,
            http_port: self.http_port,
            https_port: self.https_port,
            tls_flags: TlsFlags {
                on: self.tls,
                verify: self.tlsverify,
                cert: self.tlscert,
                key: self.tlskey,
                ca: self.tlscacert,
            },
            // In nats-server's order: of the flags given, the one that sorts last decides.
            debug: self.debug_and_verbose_trace.or(self.debug_and_trace).or(self.debug),
            trace: self
                .verbose_trace
                .or(self.debug_and_verbose_trace)
                .or(self.debug_and_trace)
                .or(self.trace),
            trace_verbose: self.verbose_trace.or(self.debug_and_verbose_trace),
            log_size_limit: self.log_size_limit,
            syslog: self.syslog,
            remote_syslog: self.remote_syslog,
            logtime: self.logtime,
            logtime_utc: self.logtime_utc,
            log_file: self.log,
            pid_file: self.pid,
            ports_file_dir: self.ports_file_dir,
            traced_msg_len_max: self.max_traced_msg_len,
            client_advertise: self.client_advertise,
            shards: self.shards,
            credentials: access::Flags {
                user: self.user,
                pass: self.pass.map(Secret::new),
                token: self.auth.map(Secret::new),
            },
            ..Raw::default()
        };
        Action::Run(Box::new(Command { config, check, raw }))
    }
}

/// Go's complaint about a value, naming the flag as the operator spelled it.
fn complaint(error: &clap::Error, split: &flags::Split) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let value = text(ContextKind::InvalidValue);
    let argument = text(ContextKind::InvalidArg).trim_start_matches('-');
    let long = argument.split([' ', '=']).next().unwrap_or(argument);
    let spelled = split.spelled.get(long).map_or(long, String::as_str);
    let reason =
        std::error::Error::source(error).map_or("parse error".to_string(), ToString::to_string);
    if flags::is_switch(spelled) {
        return format!("invalid boolean value {value:?} for -{spelled}: {reason}");
    }
    format!("invalid value {value:?} for flag -{spelled}: {reason}")
}

fn with_hint(complaint: String) -> String {
    let Some(name) = complaint.strip_prefix("flag provided but not defined: -") else {
        return complaint;
    };
    let hint = schema::unknown("flag", name, flags::names().filter(|known| known.len() > 2));
    match hint.split_once(", did you mean ") {
        Some((_, near)) => {
            format!("{complaint} (did you mean --{}?)", near.trim_matches(['"', '?']))
        }
        None => complaint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_tables_of_flags_agree() {
        let described = arguments::described();
        described.clone().debug_assert();
        let mut told: Vec<String> = Vec::new();
        for argument in described.get_arguments() {
            let longs = argument
                .get_long()
                .into_iter()
                .chain(argument.get_visible_aliases().into_iter().flatten());
            told.extend(longs.map(str::to_string));
            told.extend(argument.get_short().map(String::from));
        }
        told.extend(flags::refused().map(str::to_string));
        let mut known: Vec<String> = flags::names().map(str::to_string).collect();
        told.sort();
        known.sort();
        assert_eq!(told, known);
    }

    #[test]
    fn the_usage_text_fits_a_terminal() {
        let text = usage();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        for heading in ["Server", "Logging", "Authorization", "TLS", "Common"] {
            assert!(text.contains(&format!("\n{heading} Options:\n")), "{text}");
        }
        assert!(text.contains("Usage: nats-server [options]"), "{text}");
    }

    fn parsed(line: &str) -> Action {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn command(line: &str) -> Command {
        match parsed(line) {
            Action::Run(command) => *command,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn flags_set_options() {
        let all = command(
            "-a h -p -1 -n s -P pid -m 8222 -c f.conf -l log -T=false --logtime_utc -D -V \
             --ports_file_dir d --shards 3 --max_traced_msg_len 9",
        );
        assert_eq!(all.config, Some(PathBuf::from("f.conf")));
        let text = |text: &str| Some(text.to_string());
        let raw = Raw {
            host: text("h"),
            port: Some(-1),
            server_name: text("s"),
            pid_file: text("pid"),
            http_port: Some(8222),
            log_file: text("log"),
            logtime: Some(false),
            logtime_utc: Some(true),
            debug: Some(true),
            trace: Some(true),
            ports_file_dir: text("d"),
            shards: Some(3),
            traced_msg_len_max: Some(9),
            ..Raw::default()
        };
        assert_eq!(all.raw, raw);
        assert_eq!(command("").raw, Raw::default());
    }

    #[test]
    fn aliases_and_repeats() {
        for line in ["--addr x", "-net x", "--a=x", "-a y -net x"] {
            assert_eq!(command(line).raw.host.as_deref(), Some("x"), "{line}");
        }
        for line in ["-DV", "-D -V", "--debug --trace", "-DV=true -D=false", "-DVV", "-VV -D"] {
            let raw = command(line).raw;
            assert_eq!((raw.debug, raw.trace), (Some(true), Some(true)), "{line}");
        }
    }

    #[test]
    fn prints() {
        let version = Action::Print("nats-server: v2.15.1 (ringbus 0.1.0)\n".to_string());
        for line in ["-v", "--version", "version", "-p 1 VERSION", "-js -v"] {
            assert_eq!(parsed(line), version, "{line}");
        }
        for line in ["-h", "--help", "help"] {
            assert_eq!(parsed(line), Action::Print(usage()), "{line}");
        }
    }

    #[test]
    fn mistakes() {
        let complaints = [
            ("-zz", "flag provided but not defined: -zz"),
            ("--prot 1", "flag provided but not defined: -prot (did you mean --port?)"),
            ("-p x", "invalid value \"x\" for flag -p: parse error"),
            ("--http_port 1e3", "invalid value \"1e3\" for flag -http_port: parse error"),
            (
                "-p 99999999999999999999",
                "invalid value \"99999999999999999999\" for flag -p: value out of range",
            ),
            ("-D=maybe", "invalid boolean value \"maybe\" for -D: parse error"),
            ("-c", "flag needs an argument: -c"),
        ];
        for (line, complaint) in complaints {
            assert_eq!(parsed(line), Action::Complain(complaint.to_string()), "{line}");
        }
        let refusals = [
            ("foo", "unrecognized command: \"foo\""),
            ("-t", "must specify [-c, --config] option to check configuration file syntax"),
            ("-js", "-js is not supported yet; start without it; nothing is stored"),
            (
                "--shards 0",
                "--shards 0 is out of range: write 1 to 256, or leave it out for one per core",
            ),
            (
                "--shards -2",
                "--shards -2 is out of range: write 1 to 256, or leave it out for one per core",
            ),
            (
                "--shards 257",
                "--shards 257 is out of range: write 1 to 256, or leave it out for one per core",
            ),
        ];
        for (line, refusal) in refusals {
            assert_eq!(parsed(line), Action::Refuse(refusal.to_string()), "{line}");
        }
    }
}
