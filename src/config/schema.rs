//! What each top-level key means: a setting, or something this server does not do yet.

mod cluster;
mod tls;

use std::collections::BTreeMap;

use super::access;
use super::duration;
use super::operators;
use super::options::{self, Raw, SHARDS_MAX, SyslogAddress};
use super::value::{Data, Fault, Map, Value};

/// A file's settings and what is wrong with it.
#[derive(Debug, Default)]
pub struct Findings {
    pub raw: Raw,
    pub errors: Vec<Fault>,
    /// Things to write differently that don't keep the server from starting.
    pub warnings: Vec<Fault>,
}

/// Reads all top-level keys, in the order they are written.
pub fn read(map: &Map) -> Findings {
    let mut findings = Findings::default();
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by(|(_, a), (_, b)| {
        (&a.at.file, a.at.line, a.at.column).cmp(&(&b.at.file, b.at.line, b.at.column))
    });
    for (key, value) in entries {
        if let Err(fault) = read_key(key, value, &mut findings) {
            findings.errors.push(fault);
        }
    }
    check_tls(map, &mut findings);
    findings.errors.extend(findings.raw.access.missing_accounts());
    findings
}

/// The files a `tls` block names, once the whole of it is understood.
fn check_tls(map: &Map, findings: &mut Findings) {
    let named = |name: &str| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    let stapling = findings.raw.stapling;
    if let (Some(settings), Some((_, value))) = (&mut findings.raw.tls, named("tls"))
        && let Err(why) = tls::check(settings, stapling)
    {
        findings.errors.push(value.fault(why));
    }
}

fn read_key(key: &str, value: &Value, findings: &mut Findings) -> Result<(), Fault> {
    let mut reader =
        access::Reader { errors: &mut findings.errors, warnings: &mut findings.warnings };
    if findings.raw.access.take(key, value, &mut reader)
        || operators::take(&mut findings.raw.operators, key, value, &mut reader)
    {
        return Ok(());
    }
    let name = key.to_lowercase();
    let Some(rule) = RULES.iter().find(|rule| rule.names.contains(&name.as_str())) else {
        return if value.referenced.get() {
            Ok(())
        } else {
            Err(value.fault(unknown("field", key, names())))
        };
    };
    let (warnings, errors) = (&mut findings.warnings, &mut findings.errors);
    let mut field = Field { key, value, warnings, errors };
    match rule.meaning {
        Meaning::Sets(set) => set(&mut findings.raw, &mut field),
        Meaning::Unsupported(advice) if !is_off(&name, &value.data) => {
            Err(value.fault(format!("{key} is not supported yet: {advice}")))
        }
        Meaning::Unsupported(_) => Ok(()),
    }
}

struct Rule {
    names: &'static [&'static str],
    meaning: Meaning,
}

enum Meaning {
    Sets(fn(&mut Raw, &mut Field<'_>) -> Result<(), Fault>),
    /// What to do instead.
    Unsupported(&'static str),
}

const fn sets(
    names: &'static [&'static str],
    set: fn(&mut Raw, &mut Field<'_>) -> Result<(), Fault>,
) -> Rule {
    Rule { names, meaning: Meaning::Sets(set) }
}

const fn unsupported(names: &'static [&'static str], advice: &'static str) -> Rule {
    Rule { names, meaning: Meaning::Unsupported(advice) }
}

const STANDALONE: &str = "this server runs alone; remove it to start one server";
const NO_PPROF: &str = "it serves Go's pprof; remove it and profile with perf, or use /metrics";
const NO_DISK: &str = "nothing is stored; remove it, and use clients without JetStream";

const RULES: &[Rule] = &[
    sets(&["listen"], |raw, field| {
        let (host, port) = field.listen()?;
        (raw.host, raw.port) = (Some(host), Some(port));
        Ok(())
    }),
    sets(&["port"], |raw, field| field.port().map(|port| raw.port = Some(port))),
    sets(&["host", "net"], |raw, field| field.text().map(|host| raw.host = Some(host))),
    sets(&["server_name"], |raw, field| {
        let name = field.text()?;
        if name.contains(' ') {
            return Err(field.value.fault("server name cannot contain spaces"));
        }
        raw.server_name = Some(name);
        Ok(())
    }),
    sets(&["debug"], |raw, field| field.flag().map(|on| raw.debug = Some(on))),
    sets(&["trace"], |raw, field| field.flag().map(|on| raw.trace = Some(on))),
    sets(&["logtime"], |raw, field| field.flag().map(|on| raw.logtime = Some(on))),
    sets(&["logtime_utc"], |raw, field| field.flag().map(|on| raw.logtime_utc = Some(on))),
    sets(&["logfile", "log_file"], |raw, field| field.text().map(|file| raw.log_file = Some(file))),
    sets(&["trace_verbose"], |raw, field| {
        let on = field.flag()?;
        (raw.trace_verbose, raw.trace) = (Some(on), Some(on));
        Ok(())
    }),
    sets(&["trace_headers"], |raw, field| {
        let on = field.flag()?;
        (raw.trace_headers, raw.trace) = (Some(on), Some(on));
        Ok(())
    }),
    sets(&["logfile_size_limit", "log_size_limit"], |raw, field| {
        field.integer().map(|n| raw.log_size_limit = Some(n))
    }),
    sets(&["logfile_max_num", "log_max_num"], |raw, field| {
        field.integer().map(|n| raw.log_files_max = Some(n))
    }),
    sets(&["syslog"], |raw, field| field.flag().map(|on| raw.syslog = Some(on))),
    sets(&["remote_syslog"], |raw, field| {
        let url = field.text()?;
        if !url.is_empty() {
            SyslogAddress::parse(&url).map_err(|message| field.value.fault(message))?;
        }
        raw.remote_syslog = Some(url);
        Ok(())
    }),
    sets(&["pidfile", "pid_file"], |raw, field| field.text().map(|file| raw.pid_file = Some(file))),
    sets(&["ports_file_dir"], |raw, field| field.text().map(|dir| raw.ports_file_dir = Some(dir))),
    sets(&["http"], |raw, field| {
        let (host, port) = field.listen()?;
        (raw.http_host, raw.http_port) = (Some(host), Some(port));
        Ok(())
    }),
    sets(&["http_port", "monitor_port"], |raw, field| {
        field.port().map(|port| raw.http_port = Some(port))
    }),
    sets(&["metrics"], metrics),
    sets(&["http_base_path"], |raw, field| {
        field.text().map(|path| raw.http_base_path = Some(path))
    }),
    sets(&["max_control_line"], |raw, field| {
        field.size_31().map(|n| raw.control_line_max = Some(n))
    }),
    sets(&["max_payload"], |raw, field| field.size_31().map(|n| raw.payload_max = Some(n))),
    // The second is what it was called once.
    sets(&["max_pending", "max_pending_size"], |raw, field| {
        field.integer().map(|n| raw.pending_bytes_max = Some(n))
    }),
    sets(&["max_connections", "max_conn"], |raw, field| {
        field.integer().map(|n| raw.connections_max = Some(n))
    }),
    sets(&["max_subscriptions", "max_subs"], |raw, field| {
        field.integer().map(|n| raw.subscriptions_max = Some(n))
    }),
    sets(&["max_sub_tokens", "max_subscription_tokens"], |raw, field| {
        let tokens = field.integer()?;
        if tokens <= 0 {
            return Err(field.value.fault(format!(
                "{} value can not be negative or zero: write 1 to 255",
                field.key
            )));
        }
        let tokens = u8::try_from(tokens).map_err(|_| field.too_big("255"))?;
        raw.sub_tokens_max = Some(tokens);
        Ok(())
    }),
    sets(&["max_traced_msg_len"], |raw, field| {
        field.integer().map(|n| raw.traced_msg_len_max = Some(n))
    }),
    sets(&["max_closed_clients"], |raw, field| {
        field.not_negative().map(|n| raw.closed_clients_max = Some(n))
    }),
    sets(&["ping_interval"], |raw, field| {
        field.duration_or_seconds().map(|ns| raw.ping_interval_ns = Some(ns))
    }),
    sets(&["ping_max"], |raw, field| field.not_negative().map(|n| raw.pings_out_max = Some(n))),
    sets(&["write_deadline"], |raw, field| {
        field.duration_or_seconds().map(|ns| raw.write_deadline_ns = Some(ns))
    }),
    sets(&["no_fast_producer_stall"], |raw, field| {
        field.flag().map(|on| raw.no_fast_producer_stall = Some(on))
    }),
    sets(&["no_header_support"], |raw, field| {
        field.flag().map(|on| raw.no_header_support = Some(on))
    }),
    sets(&["write_timeout"], |raw, field| {
        write_timeout(field)?;
        let how = field.text()?;
        if how == "close" {
            return Err(field.value.fault(
                "write_timeout close is not supported yet: a client that takes something in time \
                 is kept, one that takes nothing is closed; write retry",
            ));
        }
        raw.write_timeout = Some(how);
        Ok(())
    }),
    sets(&["disable_sublist_cache", "no_sublist_cache"], |raw, field| {
        field.flag().map(|on| raw.no_match_cache = Some(on))
    }),
    sets(&["feature_flags"], feature_flags),
    sets(&["cluster"], |_, field| cluster::read(field)),
    sets(&["client_advertise"], |raw, field| {
        let text = field.text()?;
        if !text.is_empty() {
            let checked = options::host_and_port(&text);
            checked.map_err(|why| field.value.fault(format!("client_advertise: {why}")))?;
        }
        raw.client_advertise = Some(text);
        Ok(())
    }),
    sets(&["server_tags"], |raw, field| field.tags().map(|tags| raw.tags = Some(tags))),
    sets(&["server_metadata"], |raw, field| {
        let Data::Map(map) = &field.value.data else { return Err(field.expected("a map")) };
        let mut metadata = BTreeMap::new();
        for (key, value) in map.iter() {
            let Data::Text(text) = &value.data else {
                return Err(value.fault(format!(
                    "server_metadata.{key} expects a string, got {}",
                    value.data.noun()
                )));
            };
            metadata.insert(key.clone(), text.clone());
        }
        raw.metadata = Some(metadata);
        Ok(())
    }),
    sets(&["lame_duck_duration"], |raw, field| {
        let text = field.text()?;
        let ns = field.any_duration(&text)?;
        if ns < 30_000_000_000 {
            let shown = duration::parse(&text).map(|ns| match u64::try_from(ns) {
                Ok(ns) => duration::format(ns),
                Err(_) => format!("-{}", duration::format(ns.unsigned_abs())),
            });
            return Err(field.value.fault(format!(
                "invalid lame_duck_duration of {}, minimum is 30 seconds",
                shown.unwrap_or_default()
            )));
        }
        raw.lame_duck_ns = Some(ns);
        Ok(())
    }),
    sets(&["lame_duck_grace_period"], |raw, field| {
        let text = field.text()?;
        let ns = field.any_duration(&text)?;
        if ns < 0 {
            let message = "invalid lame_duck_grace_period, needs to be positive";
            return Err(field.value.fault(message));
        }
        raw.lame_duck_grace_ns = Some(ns);
        Ok(())
    }),
    sets(&["shards"], shards),
    sets(&["https"], |raw, field| {
        let (host, port) = field.listen()?;
        (raw.http_host, raw.https_port) = (Some(host), Some(port));
        Ok(())
    }),
    sets(&["https_port"], |raw, field| field.port().map(|port| raw.https_port = Some(port))),
    sets(&["tls"], |raw, field| tls::read(field).map(|tls| raw.tls = Some(tls))),
    sets(&["proxy_protocol"], |raw, field| field.flag().map(|on| raw.proxy_protocol = Some(on))),
    sets(&["allow_non_tls"], |raw, field| field.flag().map(|on| raw.allow_non_tls = Some(on))),
    sets(&["ocsp"], |raw, field| tls::ocsp(field).map(|stapling| raw.stapling = stapling)),
    unsupported(&["prof_port", "prof_block_rate"], NO_PPROF),
    unsupported(&["proxies"], "no proxy is trusted; remove it"),
    unsupported(&["ocsp_cache"], "clients' certificates are not checked for revocation; remove it"),
    unsupported(&["gateway", "leafnodes", "leaf"], STANDALONE),
    unsupported(&["connect_error_reports", "reconnect_error_reports"], STANDALONE),
    unsupported(&["websocket", "ws", "mqtt"], "clients connect over TCP; remove it"),
    unsupported(&["jetstream", "store_dir", "storedir", "default_js_domain"], NO_DISK),
];

/// `metrics { top_subjects: 20 }`: how many of the busiest subjects are told, by /metrics and the
/// dashboard; 0 samples none.
fn metrics(raw: &mut Raw, field: &mut Field<'_>) -> Result<(), Fault> {
    const TOP_SUBJECTS_MAX: i64 = 1000;
    let Data::Map(map) = &field.value.data else {
        return Err(field.expected("a block such as { top_subjects: 20 }"));
    };
    for (key, value) in map.iter() {
        if !key.eq_ignore_ascii_case("top_subjects") {
            let name = format!("metrics.{key}");
            let known = ["metrics.top_subjects"].into_iter();
            return Err(value.fault(unknown("field", &name, known)));
        }
        let inner = field.within(key, value);
        let subjects = inner.not_negative()?;
        if subjects > TOP_SUBJECTS_MAX {
            return Err(inner.too_big(&TOP_SUBJECTS_MAX.to_string()));
        }
        raw.top_subjects = Some(subjects);
    }
    Ok(())
}

/// `feature_flags { js_ack_fc_v2: true }`: parts of JetStream, which monitoring tells of.
fn feature_flags(raw: &mut Raw, field: &mut Field<'_>) -> Result<(), Fault> {
    let Data::Map(map) = &field.value.data else {
        return Err(field.expected("a map of flags, each true or false"));
    };
    let mut flags = BTreeMap::new();
    for (name, value) in map.iter() {
        let Data::Bool(on) = value.data else {
            let noun = value.data.noun();
            return Err(value.fault(format!(
                "error parsing feature flag {name:?}: expected true or false, got {noun}"
            )));
        };
        if runtime::default_feature_flags().get(name).is_some_and(|default| *default != on) {
            return Err(value.fault(format!(
                "feature flag {name:?} is not supported yet: it is about JetStream; remove it"
            )));
        }
        flags.insert(name.clone(), on);
    }
    raw.feature_flags = Some(flags);
    Ok(())
}

/// What becomes of a client that does not take what is written to it in time.
fn write_timeout(field: &Field<'_>) -> Result<(), Fault> {
    match field.text()?.as_str() {
        "default" | "close" | "retry" => Ok(()),
        _ => Err(field.value.fault("write_timeout must be 'default', 'close' or 'retry'")),
    }
}

/// `shards: 4`, or `shards { count: 4, pin: true, spin: "50us", gather: "750us" }`.
fn shards(raw: &mut Raw, field: &mut Field<'_>) -> Result<(), Fault> {
    let Data::Map(map) = &field.value.data else {
        raw.shards = Some(field.shard_count()?);
        return Ok(());
    };
    for (key, value) in map.iter() {
        let inner = field.within(key, value);
        match key.to_lowercase().as_str() {
            "count" => raw.shards = Some(inner.shard_count()?),
            "pin" => raw.pin = Some(inner.flag()?),
            "spin" => raw.spin_ns = Some(inner.short_time("50us")?),
            "gather" => raw.gather_ns = Some(inner.gather_time()?),
            _ => {
                return Err(value.fault(unknown(
                    "field",
                    &format!("shards.{key}"),
                    ["shards.count", "shards.pin", "shards.spin", "shards.gather"].into_iter(),
                )));
            }
        }
    }
    Ok(())
}

/// A key at its off position asks for nothing, so it is no reason not to start.
fn is_off(name: &str, data: &Data) -> bool {
    match (name, data) {
        ("jetstream" | "ocsp_cache", Data::Bool(on)) => !on,
        ("prof_port" | "prof_block_rate", Data::Integer(number)) => *number == 0,
        ("jetstream", Data::Text(text)) => {
            text.eq_ignore_ascii_case("disabled") || text.eq_ignore_ascii_case("disable")
        }
        _ => false,
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    let others = access::NAMES.iter().chain(&operators::NAMES).copied();
    RULES.iter().flat_map(|rule| rule.names.iter().copied()).chain(others)
}

/// `unknown <what> "x"`, with the nearest known name if one is near.
pub fn unknown<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let lower = name.to_lowercase();
    let near = known
        .map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 5)
        .min();
    match near {
        Some((_, candidate)) => format!("unknown {what} {name:?}, did you mean {candidate:?}?"),
        None => format!("unknown {what} {name:?}"),
    }
}

/// A key, its value, and the ways to read it.
struct Field<'v> {
    key: &'v str,
    value: &'v Value,
    warnings: &'v mut Vec<Fault>,
    /// Those of a block that has several; another is what reading it ends with.
    errors: &'v mut Vec<Fault>,
}

impl Field<'_> {
    fn within<'f>(&'f mut self, key: &'f str, value: &'f Value) -> Field<'f> {
        Field { key, value, warnings: &mut *self.warnings, errors: &mut *self.errors }
    }

    fn expected(&self, what: &str) -> Fault {
        self.value.fault(format!("{} expects {what}, got {}", self.key, self.value.data.noun()))
    }

    fn too_big(&self, limit: &str) -> Fault {
        self.value.fault(format!("{} value is too big: the limit is {limit}", self.key))
    }

    fn text(&self) -> Result<String, Fault> {
        match &self.value.data {
            Data::Text(text) => Ok(text.clone()),
            Data::Integer(_) | Data::Float(_) | Data::Bool(_) | Data::Date(_) => {
                Err(self.expected("a string (put the value in quotes)"))
            }
            Data::Array(_) | Data::Map(_) => Err(self.expected("a string")),
        }
    }

    fn flag(&self) -> Result<bool, Fault> {
        match &self.value.data {
            Data::Bool(on) => Ok(*on),
            Data::Text(_) => Err(self.expected("true or false, without quotes")),
            _ => Err(self.expected("true or false")),
        }
    }

    fn integer(&self) -> Result<i64, Fault> {
        match &self.value.data {
            Data::Integer(number) => Ok(*number),
            Data::Text(_) => {
                Err(self.expected("a whole number, without quotes, such as 1024 or 8MB"))
            }
            _ => Err(self.expected("a whole number")),
        }
    }

    fn not_negative(&self) -> Result<i64, Fault> {
        match self.integer()? {
            number @ 0.. => Ok(number),
            number => {
                Err(self.value.fault(format!("{} can not be negative, got {number}", self.key)))
            }
        }
    }

    /// A size the protocol keeps in 31 bits.
    fn size_31(&self) -> Result<i64, Fault> {
        let number = self.integer()?;
        if number > i64::from(i32::MAX) {
            return Err(self.too_big("2147483647"));
        }
        self.not_negative()
    }

    fn port(&self) -> Result<i64, Fault> {
        let Data::Integer(port) = self.value.data else {
            return Err(self.expected("a port number, without quotes"));
        };
        options::listen_port(self.key, port).map_err(|message| self.value.fault(message))?;
        Ok(port)
    }

    fn shard_count(&self) -> Result<i64, Fault> {
        match &self.value.data {
            Data::Integer(count) => {
                options::shard_count(*count).map_err(|message| self.value.fault(message))?;
                Ok(*count)
            }
            _ => {
                Err(self.expected(&format!("1 to {SHARDS_MAX}, or {{ count, pin, spin, gather }}")))
            }
        }
    }

    /// `host:port`, or a port alone.
    fn listen(&self) -> Result<(String, i64), Fault> {
        match &self.value.data {
            Data::Integer(_) => Ok((String::new(), self.port()?)),
            Data::Text(text) => {
                let (host, port) =
                    split_host_port(text).map_err(|message| self.value.fault(message))?;
                options::listen_port(self.key, port)
                    .map_err(|message| self.value.fault(message))?;
                Ok((host, port))
            }
            _ => Err(self.expected("a port or host:port")),
        }
    }

    /// One string or several; each once, in lower case.
    fn tags(&self) -> Result<Vec<String>, Fault> {
        let mut tags = Vec::new();
        let mut add = |tag: &str| {
            let tag = tag.trim().to_lowercase();
            if !tag.is_empty() && !tags.contains(&tag) {
                tags.push(tag);
            }
        };
        match &self.value.data {
            Data::Text(tag) => add(tag),
            Data::Array(items) => {
                for item in items.iter() {
                    match &item.data {
                        Data::Text(tag) => add(tag),
                        _ => return Err(self.expected("a string, or an array of strings")),
                    }
                }
            }
            _ => return Err(self.expected("a string, or an array of strings")),
        }
        Ok(tags)
    }

    fn any_duration(&self, text: &str) -> Result<i64, Fault> {
        duration::parse(text)
            .map_err(|message| self.value.fault(format!("error parsing {}: {message}", self.key)))
    }

    fn duration(&self, text: &str) -> Result<i64, Fault> {
        let ns = self.any_duration(text)?;
        if ns < 0 {
            return Err(self.value.fault(format!("{} can not be negative, got {text}", self.key)));
        }
        Ok(ns)
    }

    /// A duration; a bare number is seconds, and frowned upon.
    fn duration_or_seconds(&mut self) -> Result<i64, Fault> {
        match &self.value.data {
            Data::Text(text) => self.duration(text),
            Data::Integer(seconds) => {
                self.warnings.push(self.value.fault(format!(
                    "invalid use of field {:?}: {} should be converted to a duration, \
                     \"{seconds}s\"",
                    self.key, self.key
                )));
                self.not_negative()?;
                Ok(seconds.saturating_mul(1_000_000_000))
            }
            _ => Err(self.expected("a duration such as \"10s\" or \"2m\"")),
        }
    }

    fn gather_time(&self) -> Result<i64, Fault> {
        match self.short_time("500us")? {
            1..1000 => Err(self.value.fault("gather value is too small: write 1us or more, or 0")),
            ns => Ok(ns),
        }
    }

    /// A duration of at most 10 ms, or none.
    fn short_time(&self, example: &str) -> Result<i64, Fault> {
        const SHORT_NS_MAX: i64 = 10_000_000;
        let ns = match &self.value.data {
            Data::Text(text) => self.duration(text)?,
            Data::Bool(false) | Data::Integer(0) => 0,
            _ => return Err(self.expected(&format!("a duration such as {example:?}, or false"))),
        };
        if ns > SHORT_NS_MAX { Err(self.too_big("10ms")) } else { Ok(ns) }
    }
}

/// Go's `net.SplitHostPort`, and the port as a number.
pub fn split_host_port(text: &str) -> Result<(String, i64), String> {
    let invalid = || {
        format!(
            "could not parse address string {text:?}: write host:port, :port, or [v6 address]:port"
        )
    };
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']').ok_or_else(invalid)?;
            (host, rest.strip_prefix(':').ok_or_else(invalid)?)
        }
        None => {
            let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
            if host.contains(':') {
                return Err(invalid());
            }
            (host, port)
        }
    };
    if host.contains(['[', ']']) || port.contains([':', '[', ']']) {
        return Err(invalid());
    }
    let port = port.parse().map_err(|_| format!("could not parse port {port:?}"))?;
    Ok((host.to_string(), port))
}

pub use tls::Stapling;

#[cfg(test)]
mod tests {
    use super::split_host_port;

    #[test]
    fn host_and_port() {
        let table: &[(&str, &str, i64)] = &[
            ("127.0.0.1:4222", "127.0.0.1", 4222),
            ("localhost:-1", "localhost", -1),
            (":4222", "", 4222),
            ("[::1]:4222", "::1", 4222),
        ];
        for (text, host, port) in table {
            assert_eq!(split_host_port(text), Ok(((*host).to_string(), *port)), "{text}");
        }
        for text in
            ["", "4222", "::1:4222", "[::1]4222", "[::1", "a]b:1", "host:", "host:x", "h[:1"]
        {
            assert!(split_host_port(text).is_err(), "{text}");
        }
    }
}
