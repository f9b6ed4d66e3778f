//! Protocol lines for the operator's log, written only when asked for.

use std::net::SocketAddr;

use wire::{ClientOp, Connect};

use crate::access::CALLOUT_SUBJECT;
use crate::effect::Effects;
use crate::ids::ConnId;
use crate::report::{Event, Note, REFUSED};
use crate::router::Publication;
use crate::shard::Shard;
use crate::targets::Target;

/// What log lines call a connection, where that is not what it is like now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alias {
    /// The address of the proxy it comes from.
    pub proxy: Option<SocketAddr>,
    /// What it said first of itself, and its user then.
    label: Option<(String, String)>,
}

impl Shard {
    /// Tells of something that happened to an open connection.
    pub(crate) fn note(&mut self, conn: ConnId, what: Event, out: &mut Effects) {
        let (debug, trace) = (self.options.debug, self.options.trace);
        let wanted = match what {
            Event::Created | Event::Closed(_) | Event::PingTimer => debug,
            Event::Late | Event::TurnedAway(_) | Event::HadAll { .. } => debug,
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
        out.notes.extend(self.noted(conn, what));
    }

    fn noted(&self, conn: ConnId, what: Event) -> Option<Note> {
        let (client, user) = self.label(conn)?;
        let proxy = self.aliases.get(&conn).and_then(|alias| alias.proxy);
        let known = self.clients.get(conn.index())?.as_ref().filter(|known| known.conn == conn)?;
        let (cid, addr) = (known.cid, proxy.unwrap_or(known.addr));
        Some(Note { cid, addr, conn, client, user, what })
    }

    /// What a trace calls a connection whose end is told already, while its subscriptions go; and
    /// what it has left half said.
    pub(crate) fn trace_close(&mut self, conn: ConnId, out: &mut Effects) -> Option<Box<Note>> {
        if !self.options.trace {
            return None;
        }
        let client = self.clients[conn.index()].as_ref();
        let waits = client.is_some_and(|client| client.is_waiting());
        if let Some((verb, arguments)) = client.and_then(|client| client.unfinished_line())
            && !waits
        {
            let line = line(verb, arguments);
            self.note(conn, Event::TraceIn(line), out);
        }
        self.noted(conn, Event::TraceDelete(String::new())).map(Box::new)
    }

    /// What log lines call a connection besides its address: what it said of itself, and its user,
    /// when it first came in.
    fn label(&self, conn: ConnId) -> Option<(String, String)> {
        let client = self.clients.get(conn.index())?.as_ref()?;
        let kept = self.aliases.get(&conn).and_then(|alias| alias.label.clone());
        Some(kept.unwrap_or_else(|| (client.described(), self.described_user(conn))))
    }

    /// It is about to say again who it is.
    #[cold]
    pub(crate) fn keep_label(&mut self, conn: ConnId) {
        let label = self.label(conn);
        self.aliases.entry(conn).or_default().label = label;
    }

    /// `$G/user:alice`; empty for those who are not in or have not said who they are.
    fn described_user(&self, conn: ConnId) -> String {
        let client = self.clients.get(conn.index()).and_then(Option::as_ref);
        let client = client.filter(|client| client.is_in() && !client.identity.label().is_empty());
        client.map_or(String::new(), |client| {
            let account = self.options.access.name_of(client.account);
            format!("{account}/{}", client.identity.label())
        })
    }

    /// Traces a control line that is no operation.
    #[cold]
    pub(crate) fn trace_line(
        &mut self,
        conn: ConnId,
        line_of: Option<(&str, &[u8])>,
        out: &mut Effects,
    ) {
        if let Some((verb, arguments)) = line_of.filter(|_| self.options.trace) {
            self.note(conn, Event::TraceIn(line(verb, arguments)), out);
        }
    }

    /// Traces where the mappings of its account send a publication.
    pub(crate) fn trace_mapping(
        &mut self,
        conn: ConnId,
        from: &[u8],
        to: &[u8],
        out: &mut Effects,
    ) {
        if self.options.trace && from != to {
            let [from, to] = [from, to].map(String::from_utf8_lossy);
            self.note(conn, Event::TraceIn(format!("[MAPPING {from} -> {to}]")), out);
        }
    }

    /// Traces an operation, once.
    #[cold]
    pub(crate) fn trace_in(&mut self, conn: ConnId, op: &ClientOp<'_>, out: &mut Effects) {
        if self.client(conn).is_some_and(|client| std::mem::take(&mut client.is_traced)) {
            return;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let line = match op {
            // Where the secrets of what can't be read are, nobody knows.
            ClientOp::Connect(json) if wire::connect::parse(&Connect::default(), json).is_err() => {
                "[CONNECT [REDACTED]]".to_string()
            }
            ClientOp::Connect(json) => format!("[CONNECT {}]", redacted(&text(json))),
            ClientOp::Info(json) => format!("[INFO {}]", text(json)),
            ClientOp::Ping => "[PING]".to_string(),
            ClientOp::Pong => "[PONG]".to_string(),
            ClientOp::Ok => "[OK]".to_string(),
            // It is an error of the log's.
            ClientOp::Err(_) => return,
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
                let line = format!("[{verb} {} {reply}{sizes}]", text(publication.subject));
                self.note(conn, Event::TraceIn(line), out);
                match self.payload_shown(
                    publication.subject,
                    publication.header_len,
                    publication.payload,
                ) {
                    Some(line) => line,
                    None => return,
                }
            }
        };
        self.note(conn, Event::TraceIn(line), out);
    }

    /// None where there is nothing to show.
    fn payload_shown(&self, subject: &[u8], header_len: usize, payload: &[u8]) -> Option<String> {
        if subject == CALLOUT {
            // What clients have shown is in it.
            return Some("MSG_PAYLOAD: [REDACTED]".to_owned());
        }
        let shown = match self.options.trace_headers_only {
            // A header block ends with an empty line, which is not shown.
            true => payload[..header_len].strip_suffix(b"\r\n\r\n").unwrap_or_default(),
            false => payload,
        };
        if shown.is_empty() {
            return None;
        }
        let max = self.options.traced_msg_len_max;
        if max > 0 && shown.len() > max {
            let cut = wire::quoted(&shown[..max]);
            return Some(format!("MSG_PAYLOAD: [{}...\"]", &cut[..cut.len() - 1]));
        }
        Some(format!("MSG_PAYLOAD: [{}]", wire::quoted(shown)))
    }

    pub(crate) fn trace_out(&mut self, conn: ConnId, line: &str, out: &mut Effects) {
        self.note(conn, Event::TraceOut(format!("[{line}]")), out);
    }

    pub(crate) fn trace_delsub(&mut self, conn: ConnId, sid: &[u8], out: &mut Effects) {
        self.note(conn, Event::TraceDelete(line("DELSUB", sid)), out);
    }

    /// Tells of a subscription that has had all it asked for.
    #[cold]
    pub(crate) fn trace_ended(&mut self, conn: ConnId, sid: &[u8], max: u64, out: &mut Effects) {
        let name = String::from_utf8_lossy(sid).into_owned();
        self.note(conn, Event::HadAll { sid: name, max }, out);
        self.trace_delsub(conn, sid, out);
    }

    /// Traces that the server's own connection listens to a subject.
    pub(crate) fn trace_serving(&self, conn: ConnId, subject: &str, sid: usize, out: &mut Effects) {
        if self.options.trace_system {
            let line = format!("[SUB {subject}  {sid}]");
            out.notes.push(of_server(conn, false, line));
        }
    }

    /// Traces what the server itself says.
    pub(crate) fn trace_saying(
        &self,
        conn: ConnId,
        subject: &[u8],
        reply: &[u8],
        (header_len, body): (usize, &[u8]),
        out: &mut Effects,
    ) {
        // As nats-server does, for the account that asks or is told.
        let of_account = matches!(subject, CALLOUT | REFUSED_LOGIN);
        let wanted = if of_account { self.options.trace } else { self.options.trace_system };
        if !wanted {
            return;
        }
        let shown = self.payload_shown(subject, header_len, body);
        let [subject, reply] = [subject, reply].map(String::from_utf8_lossy);
        let line = format!("[PUB {subject} {reply} {}]", body.len());
        for line in [Some(line), shown].into_iter().flatten() {
            out.notes.push(of_server(conn, of_account, line));
        }
    }

    #[cold]
    pub(crate) fn trace_delivery(
        &mut self,
        target: &Target,
        publication: &Publication<'_>,
        out: &mut Effects,
    ) {
        let headers = self.outbound.peek(target.conn).is_some_and(|receiver| receiver.headers);
        let (header_len, payload) = match publication.header_len {
            header_len if headers => (header_len, publication.payload),
            stripped => (0, &publication.payload[stripped..]),
        };
        let reply = match publication.reply {
            b"" => String::new(),
            reply => format!("{} ", String::from_utf8_lossy(reply)),
        };
        let line = format!(
            "{} {} {} {reply}{}",
            if header_len > 0 { "HMSG" } else { "MSG" },
            String::from_utf8_lossy(publication.subject),
            String::from_utf8_lossy(target.sid.as_bytes()),
            sizes(header_len, payload.len()),
        );
        self.trace_out(target.conn, &line, out);
        if let Some(line) = self.payload_shown(publication.subject, header_len, payload) {
            self.note(target.conn, Event::TraceOut(line), out);
        }
    }
}

/// Subjects of what the server says in an account of the operator's choice.
const CALLOUT: &[u8] = CALLOUT_SUBJECT.as_bytes();
const REFUSED_LOGIN: &[u8] = REFUSED.as_bytes();

/// A note about the server's own connection, of which there is no more to tell.
fn of_server(conn: ConnId, of_account: bool, line: String) -> Note {
    let addr = SocketAddr::from(([0, 0, 0, 0], 0));
    let (client, user) = (String::new(), String::new());
    Note { cid: 0, addr, conn, client, user, what: Event::TraceServer { of_account, line } }
}

/// `[SUB foo 1]`
pub(crate) fn line(verb: &str, arguments: &[u8]) -> String {
    format!("[{verb} {}]", String::from_utf8_lossy(arguments))
}

fn sizes(header_len: usize, len: usize) -> String {
    if header_len > 0 { format!("{header_len} {len}") } else { len.to_string() }
}

/// A CONNECT line without what must never reach a log.
fn redacted(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(quote) = rest.find('"') {
        let end = closing_quote(rest, quote + 1);
        let (key, after) = (&rest[quote + 1..end], &rest[(end + 1).min(rest.len())..]);
        shown.push_str(&rest[..rest.len() - after.len()]);
        rest = after;
        let value = after.trim_start().strip_prefix(':').map(str::trim_start);
        let Some(value) = value.filter(|_| is_secret(key)) else { continue };
        shown.push_str(&after[..after.len() - value.len()]);
        rest = match value.strip_prefix('"') {
            Some(text) => {
                shown.push_str("\"[REDACTED]\"");
                &text[(closing_quote(text, 0) + 1).min(text.len())..]
            }
            None => {
                shown.push_str("[REDACTED]");
                &value[value.find([',', '}']).unwrap_or(value.len())..]
            }
        };
    }
    shown.push_str(rest);
    shown
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    // An escape may hide anything, and libraries write none in a key.
    key.contains('\\')
        || key.starts_with("pass")
        || key.starts_with("auth_token")
        || matches!(key.as_str(), "jwt" | "nkey" | "sig" | "proxy_sig")
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
        let table = [
            (
                r#"{"user":"u","PASS":"s\"ecret","auth_token" : "tok","sig":"","x":1}"#,
                concat!(
                    r#"{"user":"u","PASS":"[REDACTED]","auth_token" : "#,
                    r#""[REDACTED]","sig":"[REDACTED]","x":1}"#
                ),
            ),
            (r#"{"name":"pass","pass":7,"x":"y"}"#, r#"{"name":"pass","pass":[REDACTED],"x":"y"}"#),
            (r#"{"jwt":"a.b.c","nkey":"U"}"#, r#"{"jwt":"[REDACTED]","nkey":"[REDACTED]"}"#),
            (r#"{"pass":"unfinished"#, r#"{"pass":"[REDACTED]""#),
            (r#"{"pass":"#, r#"{"pass":[REDACTED]"#),
            (r#"{"p\u0061ss":"x","name":"y"}"#, r#"{"p\u0061ss":"[REDACTED]","name":"y"}"#),
            ("{}", "{}"),
        ];
        for (json, shown) in table {
            assert_eq!(redacted(json), shown);
        }
    }
}
