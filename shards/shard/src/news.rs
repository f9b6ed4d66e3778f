//! What changes for clients while the server runs: new options, a new INFO for all who know what to
//! do with one, and the slow end of a server that goes away.

use std::sync::Arc;

use wire::emit;

use crate::effect::Effects;
use crate::ids::{ConnId, Nanos};
use crate::limits::{NEWS_PER_TURN, Options, SECONDS};
use crate::report::{Event, LameDuck, Reload};
use crate::shard::Shard;

/// A round of INFO: the slot that is next, and when it began. Who came later has the new one.
pub(crate) struct Telling {
    slot: usize,
    since: Nanos,
}

/// Connections that are closed one after the other, and those who come meanwhile.
pub(crate) struct Leaving {
    conns: Vec<ConnId>,
    next_at: Nanos,
    /// The longest time from one to the next; the shortest is half of it.
    step_ns: Nanos,
}

impl Shard {
    /// From here on these options hold, and clients are told of what matters to them.
    pub(crate) fn reload(&mut self, reload: &Reload, out: &mut Effects) {
        let options: &Options = &reload.options;
        let payload_max = i32::try_from(options.payload_max).unwrap_or(i32::MAX);
        let news = self.info.max_payload != payload_max
            || (&self.info.host, self.info.port) != (&reload.host, reload.port)
            || self.info.headers != options.headers;
        self.info.max_payload = payload_max;
        self.info.headers = options.headers;
        (self.info.host, self.info.port) = (reload.host.clone(), reload.port);
        self.stall_bytes = options.stall_bytes();
        self.relief_bytes = options.relief_bytes();
        self.cast_bytes_max = crate::cast::bytes_max(options.pending_bytes_max);
        out.bound(options.flow_bounds(self.shards));
        if self.options.top_subjects != options.top_subjects {
            self.sample_top(options.top_subjects);
        }
        let access = Arc::clone(&options.access);
        let own = std::mem::replace(&mut self.options, options.clone());
        // Not the operator's to change: those who have not answered yet were greeted with it.
        self.options.nonce_key = own.nonce_key;
        self.options.access = own.access;
        if !Arc::ptr_eq(&access, &self.options.access) {
            self.change_access(access, out);
        }
        if news {
            self.tell_all();
        }
        self.close_excess(reload.excess, out);
    }

    /// Closes that many connections, any of them: there are more than may be.
    fn close_excess(&mut self, excess: usize, out: &mut Effects) {
        let open: Vec<ConnId> =
            self.clients.iter().flatten().map(|client| client.conn).take(excess).collect();
        for conn in open {
            let text = wire::error_text::MAXIMUM_CONNECTIONS;
            self.note(conn, Event::Fault(text.to_string()), out);
            self.send_err(conn, text, out);
            self.close(conn, wire::CloseReason::MaximumConnectionsExceeded, out);
        }
    }

    /// The server goes away: tell everybody, and after a while close them one by one.
    pub(crate) fn lame_duck(&mut self, how: LameDuck) {
        if self.info.ldm {
            return;
        }
        self.info.ldm = true;
        self.info.connect_urls.clear();
        self.tell_all();
        let mut conns: Vec<ConnId> =
            self.clients.iter().flatten().map(|client| client.conn).collect();
        for at in (1..conns.len()).rev() {
            conns.swap(at, self.rng.below(at + 1));
        }
        let count = conns.len().max(1) as u64;
        let step_max = SECONDS.saturating_mul(self.shards as u64);
        let step_ns = (how.duration_ns / count).clamp(1, step_max);
        self.leaving = Some(Leaving { conns, next_at: self.now + how.grace_ns, step_ns });
    }

    /// Who is let in by a server that goes away, since it did not know of that, goes next.
    pub(crate) fn let_go(&mut self, conn: ConnId) {
        if let Some(leaving) = &mut self.leaving {
            leaving.conns.push(conn);
        }
    }

    fn tell_all(&mut self) {
        self.telling = Some(Telling { slot: 0, since: self.now });
    }

    /// A budget of a round of INFO and of closes that are due.
    pub(crate) fn spread_news(&mut self, out: &mut Effects) {
        if let Some(telling) = self.telling.take() {
            self.tell_some(telling, out);
        }
        let mut budget = NEWS_PER_TURN;
        while budget > 0 {
            budget -= 1;
            let now = self.now;
            let Some(leaving) = &mut self.leaving else { return };
            if leaving.next_at > now {
                return;
            }
            let Some(conn) = leaving.conns.pop() else { return };
            // Drawn in microseconds, for `below` takes no more than a usize.
            let half = leaving.step_ns / 2;
            let drawn = self.rng.below((half / 1_000) as usize + 1) as u64 * 1_000;
            leaving.next_at += half + drawn.min(half);
            self.close(conn, wire::CloseReason::ServerShutdown, out);
        }
    }

    fn tell_some(&mut self, telling: Telling, out: &mut Effects) {
        let end = (telling.slot + NEWS_PER_TURN).min(self.clients.len());
        for slot in telling.slot..end {
            let Some(client) = &self.clients[slot] else { continue };
            let knows = client.knows_news() && client.start <= telling.since;
            if knows {
                let conn = client.conn;
                let info = self.info_for(conn);
                self.write(conn, out, |bytes| emit::info(bytes, &info));
            }
        }
        if end < self.clients.len() {
            self.telling = Some(Telling { slot: end, ..telling });
        }
    }

    /// When the next connection is to be closed.
    pub(crate) fn leaving_due(&self) -> Option<Nanos> {
        let leaving = self.leaving.as_ref().filter(|leaving| !leaving.conns.is_empty());
        leaving.map(|leaving| leaving.next_at)
    }
}
