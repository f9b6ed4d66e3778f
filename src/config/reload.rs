//! What a running server takes over from a configuration read again, and what it can't.

use std::collections::BTreeSet;
use std::fmt::Display;

use runtime::access::{Access, Account};
use runtime::identity::{Place, Words};

use super::duration::format as duration;
use super::options::{Log, LogPlace, Options};

/// The lines to log for what changes from `old` to `new`, in nats-server's words.
///
/// # Errors
/// One line: something differs that only a start can change. Then nothing must.
pub fn differences(old: &Options, new: &Options) -> Result<Vec<String>, String> {
    fixed(old, new)?;
    let mut lines = of_the_log(&old.log, &new.log);
    let mut say = |changed: bool, what: &str, value: &dyn Display| {
        if changed {
            lines.push(format!("Reloaded: {what} = {value}"));
        }
    };
    let (was, is) = (&old.limits, &new.limits);
    // None at all is -1 in nats-server.
    let connections = match is.connections_max {
        0 => -1,
        max => i64::try_from(max).unwrap_or(i64::MAX),
    };
    say(was.connections_max != is.connections_max, "max_connections", &connections);
    say(was.control_line_max != is.control_line_max, "max_control_line", &is.control_line_max);
    say(was.payload_max != is.payload_max, "max_payload", &is.payload_max);
    let changed = was.ping_interval_ns != is.ping_interval_ns;
    say(changed, "ping_interval", &duration(is.ping_interval_ns));
    say(was.pings_out_max != is.pings_out_max, "ping_max", &is.pings_out_max);
    let changed = was.write_deadline_ns != is.write_deadline_ns;
    say(changed, "write_deadline", &duration(is.write_deadline_ns));
    let changed = was.traced_msg_len_max != is.traced_msg_len_max;
    say(changed, "max_traced_msg_len", &is.traced_msg_len_max);
    say(was.top_subjects != is.top_subjects, "metrics.top_subjects", &is.top_subjects);
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    };
    let moved = old.pid_file != new.pid_file && new.pid_file.is_some();
    say(moved, "pid_file", &path(&new.pid_file));
    let changed = old.ports_file_dir != new.ports_file_dir;
    say(changed, "ports_file_dir", &path(&new.ports_file_dir));
    if configured(&old.access) != configured(&new.access) {
        lines.push("Reloaded: accounts".to_string());
    }
    lines.extend(of_access(&old.access, &new.access));
    if old.tls != new.tls {
        let state = if new.tls.is_some() { "enabled" } else { "disabled" };
        lines.push(format!("Reloaded: tls = {state}"));
    }
    if old.tags != new.tags {
        lines.push("Reloaded: tags".to_string());
    }
    if old.metadata != new.metadata {
        lines.push("Reloaded: metadata".to_string());
    }
    if old.client_advertise != new.client_advertise {
        let advertise = new.client_advertise.as_deref().unwrap_or_default();
        lines.push(format!("Reload: client_advertise = {advertise}"));
    }
    if old.no_fast_producer_stall != new.no_fast_producer_stall {
        let not = if new.no_fast_producer_stall { "not " } else { "" };
        lines.push(format!("Reloaded: fast producers will {not}be stalled"));
    }
    Ok(lines)
}

fn of_access(was: &Access, is: &Access) -> Vec<String> {
    let name = |access: &Access| access.single.as_ref().map(|(name, _)| name.clone());
    let pass = |access: &Access| access.single.as_ref().map(|(_, pass)| pass.clone());
    let seconds = |access: &Access| access.auth_timeout_ns as f64 / 1e9;
    let timeout = format!("timeout = {}", seconds(is));
    let changes = [
        (name(was) != name(is), "username"),
        (pass(was) != pass(is), "password"),
        (was.token != is.token, "token"),
        (was.auth_timeout_ns != is.auth_timeout_ns, timeout.as_str()),
        (was.users() != is.users(), "users"),
    ];
    let changed = changes.into_iter().filter(|(changed, _)| *changed);
    changed.map(|(_, what)| format!("Reloaded: authorization {what}")).collect()
}

fn of_the_log(was: &Log, is: &Log) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |changed: bool, what: &str, value: &dyn Display| {
        if changed {
            lines.push(format!("Reloaded: {what} = {value}"));
        }
    };
    say(was.trace != is.trace, "trace", &is.trace);
    say(was.trace_system != is.trace_system, "trace_verbose", &is.trace_system);
    say(was.trace_headers_only != is.trace_headers_only, "trace_headers", &is.trace_headers_only);
    say(was.debug != is.debug, "debug", &is.debug);
    say(was.time != is.time, "logtime", &is.time);
    say(was.utc != is.utc, "logtime_utc", &is.utc);
    if was.place != is.place {
        match &is.place {
            LogPlace::File { path, .. } => say(true, "log_file", &path.display()),
            LogPlace::Syslog(address) if address.is_remote() => {
                say(true, "remote_syslog", address);
            }
            LogPlace::Syslog(_) => say(true, "syslog", &true),
            LogPlace::Stderr => say(true, "log_file", &""),
        }
    }
    lines
}

/// Those whose tokens are known come in later.
fn configured(access: &Access) -> Vec<&Account> {
    let accounts = access.accounts().iter().map(|account| &**account);
    accounts.filter(|account| !account.is_gone && account.terms.is_none()).collect()
}

/// What only a start can change.
fn fixed(old: &Options, new: &Options) -> Result<(), String> {
    let (was, is) = (&old.limits, &new.limits);
    let http = |options: &Options| options.http.clone();
    same("Host", &old.host, &new.host)?;
    same("Port", &old.port, &new.port)?;
    same("ServerName", &shown(&old.server_name), &shown(&new.server_name))?;
    let port = |options: &Options| http(options).map_or(0, |http| i64::from(http.port));
    if http(old).is_some() != http(new).is_some() || port(old) != port(new) {
        return Err(unsupported("HTTPPort", &port(old), &port(new)));
    }
    let secure = |options: &Options| http(options).is_some_and(|http| http.secure);
    same("HTTPSPort", &secure(old), &secure(new))?;
    let host = |options: &Options| http(options).map(|http| http.host).unwrap_or_default();
    same("HTTPHost", &host(old), &host(new))?;
    let base = |options: &Options| http(options).map(|http| http.base_path).unwrap_or_default();
    same("HTTPBasePath", &base(old), &base(new))?;
    same("NoSystemAccount", &old.no_system_account, &new.no_system_account)?;
    let system = |options: &Options| {
        let account = options.access.system;
        account.map_or("", |account| options.access.name_of(account)).to_string()
    };
    if old.access.callout != new.access.callout {
        let (was, is) = (shown_callout(&old.access), shown_callout(&new.access));
        return Err(unsupported("AuthCallout", &was, &is));
    }
    same_operators(&old.operators, &new.operators)?;
    same("SystemAccount", &system(old), &system(new))?;
    same("MaxSubs", &was.subscriptions_max, &is.subscriptions_max)?;
    same("MaxSubTokens", &was.sub_tokens_max, &is.sub_tokens_max)?;
    same("MaxPending", &was.pending_bytes_max, &is.pending_bytes_max)?;
    same("MaxClosedClients", &was.closed_clients_max, &is.closed_clients_max)?;
    let no_headers = |options: &Options| !options.headers;
    same("NoHeaderSupport", &no_headers(old), &no_headers(new))?;
    let (was, is) = (old.lame_duck, new.lame_duck);
    same("LameDuckDuration", &duration(was.duration_ns), &duration(is.duration_ns))?;
    same("LameDuckGracePeriod", &duration(was.grace_ns), &duration(is.grace_ns))?;
    let patience = |options: &Options| options.write_timeout.replace("default", "");
    same("WriteTimeout", &patience(old), &patience(new))?;
    let no_cache = |options: &Options| !options.match_cache;
    same("NoSublistCache", &no_cache(old), &no_cache(new))?;
    let map = |options: &Options| options.tls.as_ref().is_some_and(|tls| tls.map);
    same("TLSMap", &map(old), &map(new))?;
    let rate = |options: &Options| options.tls.as_ref().map_or(0, |tls| tls.rate_max);
    same("TLSRateLimit", &rate(old), &rate(new))?;
    same("AllowNonTLS", &old.allow_non_tls, &new.allow_non_tls)?;
    same("ProxyProtocol", &old.proxy_protocol, &new.proxy_protocol)?;
    same("FeatureFlags", &flags(old), &flags(new))?;
    // Who is gone from the file altogether may be named no more.
    let gone = new.access.users().iter().all(|user| *user.name != *old.no_auth_user);
    if !(new.no_auth_user.is_empty() && gone) {
        same("NoAuthUser", &old.no_auth_user, &new.no_auth_user)?;
    }
    let shards = |options: &Options| format!("{:?}", options.shards.unwrap_or(0));
    same("shards", &shards(old), &shards(new))?;
    same("shards.pin", &format!("{:?}", old.pin), &format!("{:?}", new.pin))?;
    same("shards.spin", &duration(old.spin_ns), &duration(new.spin_ns))?;
    same("shards.gather", &duration(old.gather_ns), &duration(new.gather_ns))
}

/// As Go prints a map.
fn flags(options: &Options) -> String {
    let flags: Vec<String> =
        options.feature_flags.iter().map(|(name, on)| format!("{name}:{on}")).collect();
    format!("map[{}]", flags.join(" "))
}

fn same_operators(old: &Words, new: &Words) -> Result<(), String> {
    let keys = |words: &Words| {
        let keys = words.believed().map(|believed| believed.trust.keys());
        format!("{:?}", keys.unwrap_or_default())
    };
    if old.operators != new.operators {
        return Err(unsupported("TrustedOperators", &keys(old), &keys(new)));
    }
    same("TrustedKeys", &keys(old), &keys(new))?;
    if old.place.is_some() != new.place.is_some() {
        return Err("config reload does not support moving to or from an account resolver".into());
    }
    let place = |words: &Words| match &words.place {
        None => String::new(),
        Some(Place::Memory) => "MEMORY".to_string(),
        Some(Place::Url(_)) => "URL".to_string(),
        Some(Place::Directory { path, .. }) => path.display().to_string(),
    };
    if old.place != new.place {
        return Err(unsupported("resolver", &place(old), &place(new)));
    }
    Ok(())
}

/// As nats-server shows it.
fn shown_callout(access: &Access) -> String {
    let Some(callout) = &access.callout else { return "<nil>".to_string() };
    let list =
        |names: &BTreeSet<Box<str>>| names.iter().map(|name| &**name).collect::<Vec<_>>().join(" ");
    format!(
        "&{{{} {} [{}] {} [{}]}}",
        callout.issuer,
        access.name_of(callout.account),
        list(&callout.users),
        callout.xkey.as_deref().unwrap_or_default(),
        list(&callout.allowed_accounts),
    )
}

fn same<T: PartialEq + Display>(field: &str, old: &T, new: &T) -> Result<(), String> {
    if old == new { Ok(()) } else { Err(unsupported(field, old, new)) }
}

fn unsupported(field: &str, old: &dyn Display, new: &dyn Display) -> String {
    format!("config reload not supported for {field}: old={old}, new={new}")
}

fn shown(text: &Option<String>) -> String {
    text.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::Raw;

    fn options(change: impl FnOnce(&mut Raw)) -> Options {
        let mut raw = Raw::default();
        change(&mut raw);
        Options::resolve(&raw).unwrap()
    }

    type Set = fn(&mut Raw);

    #[test]
    fn changes_are_said() {
        let table: &[(Set, &str)] = &[
            (|raw| raw.trace = Some(true), "Reloaded: trace = true"),
            (|raw| raw.logtime = Some(false), "Reloaded: logtime = false"),
            (|raw| raw.top_subjects = Some(3), "Reloaded: metrics.top_subjects = 3"),
            (|raw| raw.log_file = Some("x".into()), "Reloaded: log_file = x"),
            (|raw| raw.connections_max = Some(7), "Reloaded: max_connections = 7"),
            (|raw| raw.connections_max = Some(0), "Reloaded: max_connections = -1"),
            (|raw| raw.payload_max = Some(7), "Reloaded: max_payload = 7"),
            (|raw| raw.control_line_max = Some(7), "Reloaded: max_control_line = 7"),
            (|raw| raw.ping_interval_ns = Some(5_000_000_000), "Reloaded: ping_interval = 5s"),
            (|raw| raw.pings_out_max = Some(3), "Reloaded: ping_max = 3"),
            (
                |raw| raw.write_deadline_ns = Some(90_000_000_000),
                "Reloaded: write_deadline = 1m30s",
            ),
            (|raw| raw.client_advertise = Some("a:1".into()), "Reload: client_advertise = a:1"),
            (
                |raw| raw.no_fast_producer_stall = Some(true),
                "Reloaded: fast producers will not be stalled",
            ),
            (|raw| raw.pid_file = Some("p".into()), "Reloaded: pid_file = p"),
            (|raw| raw.tags = Some(vec!["a".into()]), "Reloaded: tags"),
        ];
        for (set, line) in table {
            let lines = differences(&options(|_| ()), &options(set)).unwrap();
            assert_eq!(lines, [*line]);
        }
        assert_eq!(differences(&options(|_| ()), &options(|_| ())), Ok(Vec::new()));
    }

    #[test]
    fn what_only_a_start_can_change_is_refused() {
        let table: &[(Set, &str)] = &[
            (|raw| raw.port = Some(99), "Port: old=4222, new=99"),
            (|raw| raw.host = Some("h".into()), "Host: old=0.0.0.0, new=h"),
            (|raw| raw.server_name = Some("n".into()), "ServerName: old=, new=n"),
            (|raw| raw.http_port = Some(8222), "HTTPPort: old=0, new=8222"),
            (|raw| raw.subscriptions_max = Some(5), "MaxSubs: old=0, new=5"),
            (|raw| raw.pending_bytes_max = Some(1 << 21), "MaxPending: old=67108864, new=2097152"),
            (|raw| raw.lame_duck_ns = Some(60_000_000_000), "LameDuckDuration: old=2m0s, new=1m0s"),
            (|raw| raw.shards = Some(5), "shards: old=0, new=5"),
        ];
        for (set, refusal) in table {
            let refusal = format!("config reload not supported for {refusal}");
            assert_eq!(differences(&options(|_| ()), &options(set)), Err(refusal));
        }
    }
}
