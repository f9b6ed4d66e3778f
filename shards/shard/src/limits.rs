//! Every bound of the engine: what the operator may set, and what follows from the design.

use std::sync::Arc;

use crate::access::{Access, Secret};
use crate::ids::Nanos;

/// Milliseconds in [`Nanos`].
pub const MILLIS: Nanos = 1_000_000;
/// Seconds in [`Nanos`].
pub const SECONDS: Nanos = 1_000_000_000;

/// The most shards one server may have.
pub const SHARDS_MAX: usize = 256;

/// With about this many bytes to be sent, they are sent before more input is taken, at most: a wide
/// fan-out of a megabyte of input would leave no cache and little memory alone.
pub const TURN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A batch of deliveries for one peer is sealed when it is this long, at the latest.
pub const BATCH_BYTES_MAX: usize = 32 * 1024;
/// With this many bytes staged for a peer whose ring is full, publications that need it pause, at
/// most.
pub const LANE_STAGED_BYTES_MAX: usize = 256 * 1024;
/// Emptied buffers of batches that a shard keeps to fill them again, and how long each may be.
pub const SPARE_BATCHES_MAX: usize = 32;
/// See [`SPARE_BATCHES_MAX`].
pub const SPARE_BATCH_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;
/// Those on their way back to one shard, from all its peers together; of each peer one may be.
pub const EMPTIED_BATCHES_MAX: usize = 16;
/// Frames a ring holds.
pub const RING_FRAMES: usize = 64;
/// Bytes of the frames on a ring, beyond which it takes no further one: at most, and at least.
pub const LANE_BYTES_MAX: usize = RING_FRAMES * BATCH_BYTES_MAX;
/// See [`LANE_BYTES_MAX`].
pub const LANE_BYTES_MIN: usize = 16 * 1024;
/// Input given to a shard at once: at most, and at least, whatever comes of it.
pub const SLICE_BYTES_MAX: usize = 64 * 1024;
/// See [`SLICE_BYTES_MAX`].
pub const SLICE_BYTES_MIN: usize = 16 * 1024;

/// Bytes of one outbound chunk, which goes to the kernel in one write: as many as a turn reads, so
/// that all that one connection is sent leaves in the turn in which it came, and nothing queues up
/// that has left the cache before it is sent. One larger message is one chunk.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// For a message of at least so many bytes, room is made for all of it when it begins.
pub const WHOLE_BYTES_MIN: usize = 16 * 1024;
/// But at once for no more of it than this; beyond it, the room doubles as it comes.
pub const WHOLE_BYTES_MAX: usize = 1024 * 1024;
/// Subscribers of one pattern and one sid from which on they share what they are sent.
pub const CAST_MIN: usize = 2;
/// Bytes gathered for them before they get it.
pub const CAST_BYTES_MAX: usize = 64 * 1024;
/// Fewer bytes than this are copied rather than shared: they go out with what else there is.
pub const SHARE_BYTES_MIN: usize = 1024;

/// Moments of arrival told apart among the deliveries of one turn, where their latency is measured.
pub const ARRIVALS_MAX: usize = 256;
/// Spare bytes of outbound chunks a shard keeps for reuse, of small ones and of large ones each.
pub const POOL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A paused connection with more unread bytes than this is not read from until it goes on.
pub const READ_AHEAD_BYTES_MAX: usize = 64 * 1024;

/// Longest argument of a CONNECT from a client that has not authenticated, bytes. With the strings
/// made of it, its greeting and its own state a connection stays under 16 KiB.
pub const GREETING_BYTES_MAX: usize = 6 * 1024;
/// Proofs of one shard that are looked at elsewhere at once, half of them of clients from one
/// address; more wait in their connections.
pub const CHECKS_MAX: usize = 64;
/// What a client may send behind a CONNECT that is being checked, bytes; it is not let in if it
/// sends more.
pub const UNCHECKED_BYTES_MAX: usize = 4 * 1024;

/// Subjects of which one connection remembers whether it may publish there; a power of two.
pub const DECIDED_MAX: usize = 8192;
/// Subscriptions of one pattern up to which a subject has a list of its own of those that may see
/// it, if some may not. Of more, each is asked for each message.
pub const OWN_TARGETS_MAX: usize = 64;
/// Lists of those that may see a subject which a pattern keeps for subjects that some may not see.
pub const PARTS_MAX: usize = 4;
/// Requests that one connection may still answer; the oldest is forgotten first.
pub const REPLIES_MAX: usize = 4096;
/// Connections and subscriptions looked at in one turn after access has changed.
pub const RECHECKED_PER_TURN: usize = 512;

/// Subscriptions of closed connections, or of those that begin anew, that are taken back in one
/// turn.
pub const TEARDOWN_PER_TURN: usize = 512;
/// Patterns of which peers are told at once, before it is seen whether lanes have room for more.
pub const TOLD_AT_ONCE: usize = 16;
/// A closed connection with more subscriptions than this is remembered without their list.
pub const CLOSED_SUBSCRIPTIONS_MAX: usize = 1024;
/// Connections told of news, or closed because the server goes away, in one turn.
pub const NEWS_PER_TURN: usize = 256;
/// Connections looked at for a report in one turn.
pub const REPORT_PER_TURN: usize = 512;

/// Ways of one publication: its own account, services, hops of a response. More are not followed.
pub const LEGS_MAX: usize = 64;
/// Requests to services of other accounts that wait for a response on one shard; with more, the
/// one that would be given up first is forgotten.
pub const RESPONSES_MAX: usize = 256 * 1024;
/// Of those, how many are given up in one turn.
pub const EXPIRE_PER_TURN: usize = 512;

/// Subjects of an account whose fan-out plan is remembered.
pub const PLANS_MAX: usize = 32_768;
/// As long as there are fewer, each plan is remembered; from then on, that of a subject that comes
/// a second time.
pub const PLANS_EASY_MAX: usize = 1024;
/// Subjects that have come once, by hash; a power of two.
pub const PLANS_SEEN: usize = 65_536;
/// Plans kept by the patterns they are made of, for subjects that have none; a power of two.
pub const PLANS_SHARED_MAX: usize = 4096;
/// Beginnings of subjects of which an account remembers the shared plan; all are forgotten when
/// there are as many.
pub const PLANS_BEGUN_MAX: usize = 4096;
/// Up to this many plans, a change of a pattern with wildcards voids only those it concerns.
pub const PLANS_CHECKED_MAX: usize = 256;

/// How long publishers wait at first for a receiver that shows no progress.
pub const PATIENCE_MIN: Nanos = 100 * MILLIS;
/// And for one that has taken more than its whole limit since it came: it pauses, most likely.
pub const PATIENCE_PROVEN: Nanos = SECONDS;
/// The longest patience a slowly draining receiver can earn.
pub const PATIENCE_MAX: Nanos = 2 * SECONDS;
/// A publisher that was stalled for less is not told of.
pub(crate) const STALL_TOLD: Nanos = 5 * MILLIS;
/// How often the log is told that a client of an account can have no more subscriptions.
pub(crate) const FULL_TOLD_EVERY: Nanos = 2 * SECONDS;
/// How often a receiver that stalls publishers is asked for progress.
pub const PROBE_EVERY: Nanos = 20 * MILLIS;
/// Publishers that go on in one step because nobody need wait for a receiver any more; each brings
/// what it has sent meanwhile, about [`READ_AHEAD_BYTES_MAX`].
pub const RELEASED_PER_STEP: usize = 16;

/// Busiest subjects told if the operator does not say how many.
pub const TOP_SUBJECTS: usize = 20;

/// What may be under way to receivers, bytes; each may be exceeded by one message.
///
/// A receiver is behind when three quarters of its limit wait for it. What publishers on other
/// shards have under way until they know must fit into the rest, that of all of them together, or
/// whoever takes all it is given would be taken for too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowBounds {
    /// Written for receivers before the kernel is given it.
    pub turn: usize,
    /// Of the frames on one ring.
    pub ring: usize,
    /// Of the frames that wait for one ring, when publications begin to.
    pub staged: usize,
    /// Of one batch, which is at most [`BATCH_BYTES_MAX`] long besides.
    pub batch: usize,
    /// Of the input given to a shard at once, at most.
    pub slice: usize,
}

impl FlowBounds {
    fn of(turn: usize, ring: usize) -> FlowBounds {
        let ring = ring.clamp(LANE_BYTES_MIN, LANE_BYTES_MAX);
        FlowBounds {
            turn: turn.clamp(LANE_BYTES_MIN, TURN_BYTES_MAX),
            ring,
            staged: LANE_STAGED_BYTES_MAX.min(ring / 4),
            batch: ring / 4,
            slice: (ring / 4).clamp(SLICE_BYTES_MIN, SLICE_BYTES_MAX),
        }
    }
}

impl Default for FlowBounds {
    /// The widest.
    fn default() -> FlowBounds {
        FlowBounds::of(TURN_BYTES_MAX, LANE_BYTES_MAX)
    }
}

/// What the operator decides about connections, in the units of the engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Longest argument part of a control line, bytes.
    pub control_line_max: usize,
    /// Longest payload including headers, bytes.
    pub payload_max: usize,
    /// Most client connections at once on the whole server; `None` is no limit, 0 refuses all.
    pub connections_max: Option<u64>,
    /// Most subscriptions of one connection; 0 is no limit.
    pub subscriptions_max: u32,
    /// Most tokens of a subscription's subject; 0 is no limit.
    pub sub_tokens_max: u8,
    /// Bytes one connection may have waiting to be sent.
    pub pending_bytes_max: u64,
    /// How long a connection may take no byte while some are waiting.
    pub write_deadline_ns: Nanos,
    /// Time between PINGs of the server.
    pub ping_interval_ns: Nanos,
    /// Unanswered PINGs after which a connection is stale.
    pub pings_out_max: u32,
    /// Drop for a receiver that is far behind instead of slowing its publishers.
    pub no_fast_producer_stall: bool,
    /// Remember who gets what is published, by subject.
    pub match_cache: bool,
    /// Message headers are supported.
    pub headers: bool,
    /// Tell of connections opened and closed.
    pub debug: bool,
    /// Tell of every protocol line.
    pub trace: bool,
    /// Tell of what the server itself says and listens to, too.
    pub trace_system: bool,
    /// Show the headers of a traced message only.
    pub trace_headers_only: bool,
    /// Longest payload shown in a trace, bytes; 0 is no limit.
    pub traced_msg_len_max: usize,
    /// Busiest subjects told by /metrics and the dashboard; 0 samples none.
    pub top_subjects: usize,
    /// Closed connections remembered for reports, on the whole server.
    pub closed_clients_max: usize,
    /// Who may come in, where they belong and what they may do.
    pub access: Arc<Access>,
    /// Nonces and reply subjects are made of it: 32 bytes that nobody can guess, in text.
    pub nonce_key: Secret,
}

impl Default for Options {
    /// nats-server's defaults.
    fn default() -> Options {
        Options {
            control_line_max: 4096,
            payload_max: 1024 * 1024,
            connections_max: Some(65_536),
            subscriptions_max: 0,
            sub_tokens_max: 0,
            pending_bytes_max: 64 * 1024 * 1024,
            write_deadline_ns: 10 * SECONDS,
            ping_interval_ns: 120 * SECONDS,
            pings_out_max: 2,
            no_fast_producer_stall: false,
            match_cache: true,
            headers: true,
            debug: false,
            trace: false,
            trace_system: false,
            trace_headers_only: false,
            traced_msg_len_max: 0,
            top_subjects: TOP_SUBJECTS,
            closed_clients_max: 10_000,
            access: Arc::default(),
            nonce_key: Secret::new(""),
        }
    }
}

impl Options {
    /// Publishers of a receiver with more bytes waiting than this are slowed (nats-server's 75 %).
    pub fn stall_bytes(&self) -> u64 {
        self.pending_bytes_max / 4 * 3
    }

    /// They go on when the receiver has come down to this.
    pub fn relief_bytes(&self) -> u64 {
        self.pending_bytes_max / 2
    }

    /// What may be under way to receivers, among so many shards.
    pub fn flow_bounds(&self, shards: usize) -> FlowBounds {
        let peers = shards.saturating_sub(1).max(1) as u64;
        let share =
            |part: u64| usize::try_from(self.pending_bytes_max / part).unwrap_or(usize::MAX);
        FlowBounds::of(share(4), share(32 * peers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_peers_have_under_way_fits_between_behind_and_too_slow() {
        for (mib, shards) in [(1, 2), (4, 2), (4, 8), (64, 2), (64, 16), (64, 64), (512, 256)] {
            let pending_bytes_max = mib * 1024 * 1024;
            let options = Options { pending_bytes_max, ..Options::default() };
            let bounds = options.flow_bounds(shards);
            // What is taken off a ring and waits for the next turn makes room for as much.
            let lane = 2 * bounds.ring + bounds.staged + bounds.batch + bounds.slice;
            let rest = pending_bytes_max - options.stall_bytes();
            // Twice, since what a client subscribes to twice comes twice.
            assert!(2 * lane * (shards - 1) <= rest as usize, "{mib} MiB, {shards} shards");
            assert!(bounds.turn as u64 <= pending_bytes_max / 4);
        }
        assert_eq!(Options::default().flow_bounds(2), FlowBounds::default());
        assert_eq!(Options::default().flow_bounds(1), FlowBounds::default());
    }
}
