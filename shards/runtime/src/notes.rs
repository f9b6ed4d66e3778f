//! What shards note about connections, as lines of the operator's log.

use log::Level;
use monitor::go_duration;
use shard::limits::MILLIS;
use shard::quoted;
use shard::report::{Event, Note};

/// Lines of this target are told at most once a second, whatever they say.
const STALLED: &str = "ringbus::limited::stalled";

/// Writes a note at the level it has in nats-server.
pub(crate) fn write(note: &Note) {
    let level = level(&note.what);
    if level <= log::max_level() {
        match note.what {
            Event::Stalled { .. } => log::log!(target: STALLED, level, "{}", line(note)),
            _ => log::log!(level, "{}", line(note)),
        }
    }
}

fn level(event: &Event) -> Level {
    match event {
        Event::Fault(_) | Event::TlsFailed { probe: false, .. } => Level::Error,
        Event::Stalled { .. } => Level::Warn,
        Event::Removed(_) | Event::SlowPendingBytes { .. } | Event::SlowWriteDeadline { .. } => {
            Level::Info
        }
        Event::Created | Event::Closed(_) | Event::PingTimer | Event::Stale => Level::Debug,
        Event::Late | Event::TurnedAway(_) | Event::HadAll { .. } => Level::Debug,
        Event::TlsStarted
        | Event::TlsComplete
        | Event::TlsAgreed { .. }
        | Event::TlsTimedOut
        | Event::TlsFailed { probe: true, .. } => Level::Debug,
        Event::TraceIn(_) | Event::TraceOut(_) | Event::TraceDelete(_) => Level::Trace,
        Event::TraceServer { .. } => Level::Trace,
    }
}

fn line(note: &Note) -> String {
    match &note.what {
        Event::Removed(which) => return format!("Removed sub {which} - not authorized"),
        Event::TraceServer { of_account: false, line } => return format!("SYSTEM - <<- {line}"),
        Event::TraceServer { line, .. } => return format!("ACCOUNT - <<- {line}"),
        _ => {}
    }
    let (addr, cid) = (note.addr, note.cid);
    let client = match note.client.as_str() {
        "" => String::new(),
        client => format!(" - {}", quoted(client.as_bytes())),
    };
    let user = match note.user.as_str() {
        "" => String::new(),
        user => format!(" - {}", quoted(user.as_bytes())),
    };
    let end = match &note.what {
        Event::Stalled { account, .. } => {
            let label = note.user.strip_prefix(&**account).and_then(|it| it.strip_prefix('/'));
            label.map(|label| format!(" - {label}")).unwrap_or_default()
        }
        _ => String::new(),
    };
    format!("{addr} - cid:{cid}{client}{user} - {}{end}", text(&note.what))
}

fn text(event: &Event) -> String {
    match event {
        Event::Created => "Client connection created".to_owned(),
        Event::Closed(reason) => format!("Client connection closed: {}", reason.as_str()),
        Event::SlowPendingBytes { limit } => {
            format!("Slow Consumer Detected: MaxPending of {limit} Exceeded")
        }
        Event::SlowWriteDeadline { deadline_ns, pending_bytes } => {
            let deadline = go_duration(*deadline_ns);
            format!(
                "Slow Consumer Detected: WriteDeadline of {deadline} exceeded \
                 with {pending_bytes} total bytes."
            )
        }
        Event::Late => "Authentication Timeout".to_owned(),
        Event::TurnedAway(why) => format!("Not let in: {why}"),
        Event::Removed(which) => which.clone(),
        Event::Fault(fault) => fault.clone(),
        Event::Stalled { for_ns, account } => {
            // To the nearest millisecond.
            let stalled = go_duration((for_ns + MILLIS / 2) / MILLIS * MILLIS);
            format!("Producer was stalled for a total of {stalled} - Account:{account}")
        }
        Event::TlsStarted => "Starting TLS client connection handshake".to_owned(),
        Event::TlsComplete => "TLS handshake complete".to_owned(),
        Event::TlsAgreed { version, cipher } => {
            format!("TLS version {version}, cipher suite {cipher}")
        }
        Event::TlsTimedOut => "TLS handshake timeout".to_owned(),
        Event::TlsFailed { why, .. } => format!("TLS handshake error: {why}"),
        Event::PingTimer => "Client Ping Timer".to_owned(),
        Event::Stale => "Stale Client Connection - Closing".to_owned(),
        Event::HadAll { sid, max } => {
            format!("Auto-unsubscribe limit of {max} reached for sid '{sid}'")
        }
        Event::TraceIn(line) | Event::TraceServer { line, .. } => format!("<<- {line}"),
        Event::TraceOut(line) => format!("->> {line}"),
        Event::TraceDelete(line) => format!("<-> {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shard::ConnId;

    #[test]
    fn lines_read_as_nats_servers() {
        let conn = ConnId { slot: 0, generation: 0 };
        let addr = "127.0.0.1:1234".parse().unwrap();
        let mut note = Note {
            cid: 5,
            addr,
            conn,
            client: String::new(),
            user: String::new(),
            what: Event::Created,
        };
        assert_eq!(line(&note), "127.0.0.1:1234 - cid:5 - Client connection created");
        note.user = "A/user:u".to_owned();
        note.what = Event::Stalled { for_ns: 11_600_000, account: "A".into() };
        let told = "Producer was stalled for a total of 12ms - Account:A - user:u";
        assert_eq!(line(&note), format!("127.0.0.1:1234 - cid:5 - \"A/user:u\" - {told}"));
        note.user = String::new();
        note.client = "v1.2:go:it\0".to_owned();
        note.what = Event::SlowPendingBytes { limit: 7 };
        let slow = "Slow Consumer Detected: MaxPending of 7 Exceeded";
        assert_eq!(line(&note), format!("127.0.0.1:1234 - cid:5 - \"v1.2:go:it\\x00\" - {slow}"));
    }
}
