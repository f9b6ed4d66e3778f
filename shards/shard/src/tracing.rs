//! Protocol lines for the operator's log, written only when asked for.

use wire::ClientOp;

use crate::effect::Effects;
use crate::ids::ConnId;
use crate::interest::Target;
use crate::report::{Event, Note};
use crate::router::Publication;
use crate::shard::Shard;

impl Shard {
    /// Tells of something that happened to an open connection.
    pub(crate) fn note(&mut self, conn: ConnId, what: Event, out: &mut Effects) {
        let (debug, trace) = (self.options.debug, self.options.trace);
        let wanted = match what {
            Event::Created | Event::Closed(_) | Event::Stalled { .. } | Event::PingTimer => debug,
            Event::Late | Event::TurnedAway(_) => debug,
            Event::TlsStarted
            | Event::TlsComplete
            | Event::TlsAgreed { .. }
            | Event::TlsTimedOut
            | Event::TlsFailed { probe: true, .. } => debug,
            Event::TraceIn(_) | Event::TraceOut(_) | Event::TraceDelete(_) => trace,
            _ => true,
        };
        if !wanted {
            return;
        }
        let user = self.described_user(conn);
        let Some(client) = self.client(conn) else { return };
        let note = Note {
            cid: client.cid,
            addr: client.addr,
            conn,
            client: client.described(),
            user,
            what,
        };
        out.notes.push(note);
    }

    /// `$G/user:alice`; empty for those who are not in or have not said who they are.
    fn described_user(&self, conn: ConnId) -> String {
        let client = self.clients.get(conn.index()).and_then(Option::as_ref);
        let client = client.filter(|client| client.is_in() && !client.identity.label.is_empty());
        client.map_or(String::new(), |client| {
            let account = self.options.access.name_of(client.account);
            format!("{account}/{}", client.identity.label)
        })
    }

    #[cold]
    pub(crate) fn trace_in(&mut self, conn: ConnId, op: &ClientOp<'_>, out: &mut Effects) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let line = match op {
            ClientOp::Connect(json) => format!("[CONNECT {}]", redacted(&text(json))),
            ClientOp::Info(json) => format!("[INFO {}]", text(json)),
            ClientOp::Ping => "[PING]".to_string(),
            ClientOp::Pong => "[PONG]".to_string(),
            ClientOp::Ok => "[OK]".to_string(),
            ClientOp::Err(what) => format!("[-ERR {}]", text(what)),
            ClientOp::Sub { subject, queue, sid } => {
                let queue = queue.map(|queue| format!(" {}", text(queue))).unwrap_or_default();
                format!("[SUB {}{queue} {}]", text(subject), text(sid))
            }
            ClientOp::Unsub { sid, max: 0 } => format!("[UNSUB {}]", text(sid)),
            ClientOp::Unsub { sid, max } => format!("[UNSUB {} {max}]", text(sid)),
            ClientOp::Pub(publication) => {
                let verb = if publication.header_len > 0 { "HPUB" } else { "PUB" };
                let sizes = sizes(publication.header_len, publication.payload.len());
                let reply = match publication.reply {
                    b"" => String::new(),
                    reply => format!("{} ", text(reply)),
                };
                self.note(
                    conn,
                    Event::TraceIn(format!(
                        "[{verb} {} {reply}{sizes}]",
                        text(publication.subject)
                    )),
                    out,
                );
                self.payload_shown(publication.payload)
            }
        };
        self.note(conn, Event::TraceIn(line), out);
    }

    fn payload_shown(&self, payload: &[u8]) -> String {
        let max = self.options.traced_msg_len_max;
        if max > 0 && payload.len() > max {
            return format!("MSG_PAYLOAD: [{:?}...]", String::from_utf8_lossy(&payload[..max]));
        }
        format!("MSG_PAYLOAD: [{:?}]", String::from_utf8_lossy(payload))
    }

    pub(crate) fn trace_out(&mut self, conn: ConnId, line: &str, out: &mut Effects) {
        self.note(conn, Event::TraceOut(format!("[{line}]")), out);
    }

    pub(crate) fn trace_delsub(&mut self, conn: ConnId, sid: &[u8], out: &mut Effects) {
        let line = format!("[DELSUB {}]", String::from_utf8_lossy(sid));
        self.note(conn, Event::TraceDelete(line), out);
    }

    #[cold]
    pub(crate) fn trace_delivery(
        &mut self,
        target: &Target,
        publication: &Publication<'_>,
        out: &mut Effects,
    ) {
        let line = format!(
            "MSG {} {} {}",
            String::from_utf8_lossy(publication.subject),
            String::from_utf8_lossy(target.sid.as_bytes()),
            sizes(publication.header_len, publication.payload.len()),
        );
        self.trace_out(target.conn, &line, out);
    }
}

fn sizes(header_len: usize, len: usize) -> String {
    if header_len > 0 { format!("{header_len} {len}") } else { len.to_string() }
}

/// A CONNECT line without what must never reach a log.
fn redacted(json: &str) -> String {
    const SECRETS: [&str; 5] =
        ["\"pass\"", "\"auth_token\"", "\"jwt\"", "\"sig\"", "\"proxy_sig\""];
    let mut shown = json.to_string();
    for key in SECRETS {
        let mut from = 0;
        while let Some(at) = shown[from..].to_ascii_lowercase().find(key) {
            let after = from + at + key.len();
            let Some(open) = shown[after..].find('"').map(|quote| after + quote) else { break };
            let close = closing_quote(&shown, open + 1);
            shown.replace_range(open + 1..close, "[REDACTED]");
            from = open + 1;
        }
    }
    shown
}

/// Where the JSON string that starts at `at` ends.
fn closing_quote(text: &str, at: usize) -> usize {
    let mut escaped = false;
    for (offset, c) in text[at..].char_indices() {
        match c {
            '"' if !escaped => return at + offset,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let shown =
            redacted(r#"{"user":"u","PASS":"s\"ecret","auth_token" : "tok","sig":"","x":1}"#);
        assert!(!shown.contains("ecret") && !shown.contains("tok\""), "{shown}");
        assert!(shown.contains(r#""user":"u""#) && shown.contains(r#""x":1"#), "{shown}");
    }
}
