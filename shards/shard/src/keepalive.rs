//! PINGs of the server, and the end of clients that don't answer them.

use wire::{CloseReason, emit, error_text};

use crate::effect::Effects;
use crate::ids::{ConnId, Nanos};
use crate::limits::SECONDS;
use crate::report::Event;
use crate::shard::Shard;
use crate::timers::Due;

/// The first PING comes this soon, to learn the round trip.
const FIRST_PING: Nanos = 2 * SECONDS;
/// A round trip is measured again after this long.
const RTT_EVERY: Nanos = 3600 * SECONDS;

impl Shard {
    /// Sets the ping timer of a connection that was opened or has sent its CONNECT.
    pub(crate) fn first_ping_timer(&mut self, conn: ConnId, connected: bool) {
        let mut after = self.options.ping_interval_ns;
        if connected {
            after = after.min(FIRST_PING);
            after += self.rng.below((after / 5) as usize + 1) as u64;
        }
        self.set_ping_timer(conn, after);
    }

    fn set_ping_timer(&mut self, conn: ConnId, after: Nanos) {
        let at = self.now + after;
        let Some(client) = self.client(conn) else { return };
        client.ping_due = at;
        self.timers.set(at, Due::Ping, conn);
    }

    /// A ping timer fired.
    pub(crate) fn ping_due(&mut self, conn: ConnId, out: &mut Effects) {
        let (now, interval) = (self.now, self.options.ping_interval_ns);
        let pings_out_max = self.options.pings_out_max;
        let Some(client) = self.client(conn) else { return };
        if now < client.ping_due {
            return;
        }
        self.note(conn, Event::PingTimer, out);
        let Some(client) = self.client(conn) else { return };
        let knows_rtt =
            client.ping_sent_at > 0 && now.saturating_sub(client.ping_sent_at) <= RTT_EVERY;
        let active = now.saturating_sub(client.last_in) < interval;
        // While it waits for a receiver or a lane its PONG is not read either.
        if (active && knows_rtt) || client.is_waiting() {
            return self.set_ping_timer(conn, interval);
        }
        if client.pings_out + 1 > pings_out_max {
            self.figures.stale_connections += 1;
            self.note(conn, Event::Stale, out);
            self.write(conn, out, |bytes| emit::err(bytes, error_text::STALE_CONNECTION));
            return self.close(conn, CloseReason::StaleConnection, out);
        }
        client.pings_out += 1;
        client.ping_sent_at = now;
        self.write(conn, out, emit::ping);
        if self.options.trace {
            self.trace_out(conn, "PING", out);
        }
        self.set_ping_timer(conn, interval);
    }
}
