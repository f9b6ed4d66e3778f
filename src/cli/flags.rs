//! The flags of nats-server, those this server has and those it refuses by name, and Go's grammar
//! for them: `-x` and `--x` are one, a value follows `=` or as the next word, a boolean takes one
//! only after `=`, and the first word that is no flag ends them.

use std::collections::BTreeMap;

/// What follows a flag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
}

#[derive(Clone, Copy)]
enum Means {
    /// One of the command's own arguments, by its long name.
    Argument(&'static str),
    /// What to do instead.
    Unsupported(&'static str),
}

struct Flag {
    names: &'static [&'static str],
    takes: Takes,
    means: Means,
}

const fn switch(names: &'static [&'static str], argument: &'static str) -> Flag {
    Flag { names, takes: Takes::Nothing, means: Means::Argument(argument) }
}

const fn valued(names: &'static [&'static str], argument: &'static str) -> Flag {
    Flag { names, takes: Takes::Value, means: Means::Argument(argument) }
}

const fn no_switch(names: &'static [&'static str], advice: &'static str) -> Flag {
    Flag { names, takes: Takes::Nothing, means: Means::Unsupported(advice) }
}

const fn no_value(names: &'static [&'static str], advice: &'static str) -> Flag {
    Flag { names, takes: Takes::Value, means: Means::Unsupported(advice) }
}

const STANDALONE: &str = "start without it to run one server";
const NO_DISK: &str = "start without it; nothing is stored";

const FLAGS: &[Flag] = &[
    switch(&["h", "help"], "help"),
    switch(&["v", "version"], "version"),
    valued(&["p", "port"], "port"),
    valued(&["n", "name", "server_name"], "server_name"),
    valued(&["a", "addr", "net"], "addr"),
    switch(&["D", "debug"], "debug"),
    switch(&["V", "trace"], "trace"),
    switch(&["DV"], "DV"),
    switch(&["VV"], "VV"),
    switch(&["DVV"], "DVV"),
    switch(&["T", "logtime"], "logtime"),
    switch(&["logtime_utc"], "logtime_utc"),
    valued(&["m", "http_port"], "http_port"),
    valued(&["ms", "https_port"], "https_port"),
    valued(&["c", "config"], "config"),
    switch(&["t"], "t"),
    valued(&["P", "pid"], "pid"),
    valued(&["ports_file_dir"], "ports_file_dir"),
    valued(&["l", "log"], "log"),
    valued(&["log_size_limit"], "log_size_limit"),
    switch(&["s", "syslog"], "syslog"),
    valued(&["r", "remote_syslog"], "remote_syslog"),
    valued(&["max_traced_msg_len"], "max_traced_msg_len"),
    valued(&["shards"], "shards"),
    valued(&["client_advertise"], "client_advertise"),
    valued(&["sl", "signal"], "signal"),
    valued(&["user"], "user"),
    valued(&["pass"], "pass"),
    valued(&["auth"], "auth"),
    no_value(&["profile"], "start without it and profile with perf"),
    no_value(
        &[
            "routes",
            "cluster",
            "cluster_listen",
            "cluster_advertise",
            "connect_retries",
            "cluster_name",
        ],
        STANDALONE,
    ),
    no_switch(&["no_advertise"], STANDALONE),
    switch(&["help_tls"], "help_tls"),
    switch(&["tls"], "tls"),
    switch(&["tlsverify"], "tlsverify"),
    valued(&["tlscert"], "tlscert"),
    valued(&["tlskey"], "tlskey"),
    valued(&["tlscacert"], "tlscacert"),
    no_switch(&["js", "jetstream"], NO_DISK),
    no_value(&["sd", "store_dir"], NO_DISK),
];

/// A command line taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// The flags this server has, as `--argument=value`.
    pub arguments: Vec<String>,
    /// How the operator spelled each of them last.
    pub spelled: BTreeMap<&'static str, String>,
    /// The first flag this server refuses: its name and what to do instead.
    pub unsupported: Option<(String, &'static str)>,
    /// Words after the flags.
    pub words: Vec<String>,
}

/// # Errors
/// A complaint in the words of Go's `flag` package.
pub fn split(arguments: &[String]) -> Result<Split, String> {
    let mut split = Split::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let dashes = match argument.as_bytes() {
            b"--" => break,
            [b'-', b'-', ..] => 2,
            [b'-', _, ..] => 1,
            _ => {
                split.words.push(argument.clone());
                break;
            }
        };
        let body = &argument[dashes..];
        if body.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {argument}"));
        }
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (body, None),
        };
        let Some(flag) = FLAGS.iter().find(|flag| flag.names.contains(&name)) else {
            return Err(format!("flag provided but not defined: -{name}"));
        };
        let value = match (flag.takes, inline) {
            (_, Some(value)) => value,
            (Takes::Nothing, None) => "true".to_string(),
            (Takes::Value, None) => {
                rest.next().cloned().ok_or_else(|| format!("flag needs an argument: -{name}"))?
            }
        };
        split.add(flag, name, argument, value);
    }
    split.words.extend(rest.cloned());
    Ok(split)
}

impl Split {
    fn add(&mut self, flag: &Flag, name: &str, argument: &str, value: String) {
        match flag.means {
            Means::Argument(long) => {
                let dashes = if long.len() == 1 { "-" } else { "--" };
                self.arguments.push(format!("{dashes}{long}={value}"));
                self.spelled.insert(long, name.to_string());
            }
            // Switched off explicitly, it asks for nothing.
            Means::Unsupported(_)
                if flag.takes == Takes::Nothing && boolean(&value) == Ok(false) => {}
            Means::Unsupported(advice) => {
                let spelled = argument.split('=').next().unwrap_or(argument).to_string();
                self.unsupported.get_or_insert((spelled, advice));
            }
        }
    }
}

/// Whether the flag of this name is a boolean.
pub fn is_switch(name: &str) -> bool {
    FLAGS.iter().any(|flag| flag.takes == Takes::Nothing && flag.names.contains(&name))
}

/// The names of those that are refused.
pub fn refused() -> impl Iterator<Item = &'static str> {
    let refused = FLAGS.iter().filter(|flag| matches!(flag.means, Means::Unsupported(_)));
    refused.flat_map(|flag| flag.names.iter().copied())
}

/// The names of all flags, for "did you mean".
pub fn names() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().flat_map(|flag| flag.names.iter().copied())
}

/// Go's `strconv.ParseBool`.
///
/// # Errors
/// Any other word.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("parse error".to_string()),
    }
}

/// Go's `strconv.ParseInt` with base 0: decimal, `0x`, `0o`, `0b`, and underscores between digits.
///
/// # Errors
/// No integer, or one beyond 64 bits.
pub fn integer(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => ("-", &text[1..]),
        Some(b'+') => ("", &text[1..]),
        _ => ("", text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.is_empty() || !digits.chars().all(|c| c == '_' || c.is_digit(radix)) {
        return Err("parse error".to_string());
    }
    i64::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), radix).map_err(|error| {
        match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                "value out of range"
            }
            _ => "parse error",
        }
        .to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn splitting() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("-p 4222 --port=1 -p=-1", &["--port=4222", "--port=1", "--port=-1"], &[]),
            ("-p -1", &["--port=-1"], &[]),
            ("-DV -D=false --T=f", &["--DV=true", "--debug=false", "--logtime=f"], &[]),
            ("-D false -p 1", &["--debug=true"], &["false", "-p", "1"]),
            ("-D -- -p 1", &["--debug=true"], &["-p", "1"]),
            ("-n a=b", &["--server_name=a=b"], &[]),
            ("version", &[], &["version"]),
            ("- -D", &[], &["-", "-D"]),
            ("--tls=false -js=0", &["--tls=false"], &[]),
        ];
        for (line, arguments, rest) in table {
            let split = split(&words(line)).unwrap();
            assert_eq!(split.arguments, *arguments, "{line}");
            assert_eq!(split.words, *rest, "{line}");
            assert_eq!(split.unsupported, None, "{line}");
        }
    }

    #[test]
    fn complaints() {
        for (line, complaint) in [
            ("-x", "flag provided but not defined: -x"),
            ("--x=1", "flag provided but not defined: -x"),
            ("-p", "flag needs an argument: -p"),
            ("---p", "bad flag syntax: ---p"),
            ("-=1", "bad flag syntax: -=1"),
        ] {
            assert_eq!(split(&words(line)), Err(complaint.to_string()), "{line}");
        }
    }

    #[test]
    fn every_flag_of_nats_server_is_known() {
        let all = "h help port p n name server_name addr a net client_advertise D debug V VV \
            trace DV DVV T logtime logtime_utc user pass auth m http_port ms https_port c \
            config t sl signal P pid ports_file_dir l log log_size_limit s syslog r \
            remote_syslog version v profile routes cluster cluster_listen \
            cluster_advertise no_advertise connect_retries cluster_name help_tls tls \
            tlsverify tlscert tlskey tlscacert max_traced_msg_len js jetstream sd \
            store_dir";
        for name in all.split_whitespace() {
            assert!(names().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn integers() {
        for (text, number) in [
            ("10", 10),
            ("-1", -1),
            ("+7", 7),
            ("0x10", 16),
            ("010", 8),
            ("0b11", 3),
            ("1_000", 1000),
            ("0", 0),
        ] {
            assert_eq!(integer(text), Ok(number), "{text}");
        }
        for text in ["", "x", "1.5", "0x", "08", "--1", "99999999999999999999"] {
            assert!(integer(text).is_err(), "{text}");
        }
    }
}
