//! What a shard tells of itself, to monitoring and to the operator's log. Plain data.

use std::net::SocketAddr;
use std::sync::Arc;

pub use subject::{matches, valid_literal};
pub use wire::CloseReason;

use crate::access::{Access, Papers, Permissions};
use crate::account::response::ReplyId;
use crate::ids::{AccountId, ConnId, Nanos, ShardId};
use crate::security::TlsFacts;

/// A request of the control plane. Every ask for a report is answered by exactly one [`Report`].
#[derive(Clone, Debug)]
pub enum Ask {
    /// Report figures, connections or subscriptions.
    Report {
        /// Comes back with the answer.
        ticket: u64,
        /// What is wanted.
        what: Wanted,
    },
    /// Who may come in has changed: connections that no longer belong are closed, subscriptions
    /// that are no longer allowed end. Give it to every shard.
    Access(Arc<Access>),
    /// There are more accounts than before, and other accounts have the same to do with each other
    /// apart from those. Give it to every shard.
    MoreAccounts(Arc<Access>),
    /// Hold these services of the system account from now on, and be ready to speak there. The
    /// services are for one shard only.
    Serve {
        /// A slot without a socket.
        conn: ConnId,
        /// What is listened to.
        subjects: Vec<String>,
        /// What is listened to in other accounts.
        elsewhere: Vec<(AccountId, String)>,
    },
    /// Publish something the server says itself, in the system account; for one shard, see
    /// [`Saying::place`].
    Say(Box<Saying>),
    /// Tell with [`News::Settled`] when all shards have taken in what this one has said.
    Settle,
    /// Close this connection, if it is here.
    Kick {
        /// Its number on the server.
        cid: u64,
    },
    /// Close this connection, if it is here: its account may not have so many.
    CrowdOut {
        /// Which.
        conn: ConnId,
    },
    /// Tell this connection to go elsewhere, if it is here.
    SendAway {
        /// Its number on the server.
        cid: u64,
    },
    /// Close every connection: the server is going away.
    Shutdown,
    /// Other options from here on.
    Reload(Arc<Reload>),
    /// Tell every client that the server goes away, and close them by and by.
    LameDuck(LameDuck),
}

/// What an operator changes while the server runs.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    /// All options, changed or not.
    pub options: crate::limits::Options,
    /// Where INFO says that this server is.
    pub host: String,
    /// Where INFO says that this server is.
    pub port: u16,
    /// Connections of this shard to close because there are more than may be.
    pub excess: usize,
}

/// How a server goes away.
#[derive(Clone, Copy, Debug)]
pub struct LameDuck {
    /// Nobody is closed before this has passed.
    pub grace_ns: Nanos,
    /// Over about this time all are closed.
    pub duration_ns: Nanos,
}

/// A message that reached a service of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it was published to.
    pub subject: Vec<u8>,
    /// Empty if no answer is wanted.
    pub reply: Vec<u8>,
    /// With its version line; empty if there is none.
    pub header: Vec<u8>,
    /// Without the header.
    pub payload: Vec<u8>,
}

/// Where an account's own people are told of connections that were turned away.
pub const REFUSED: &str = "$SYS.ACCOUNT.CLIENT.AUTH.ERR";

/// A message of the server itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saying {
    /// The system account if none.
    pub account: Option<AccountId>,
    /// Where to.
    pub subject: Vec<u8>,
    /// Where answers go; empty for none.
    pub reply: Vec<u8>,
    /// With its version line; empty for none.
    pub header: Vec<u8>,
    /// Without the header.
    pub payload: Vec<u8>,
    /// What is listened to in the account from then on, if nothing has been before.
    pub inbox: Option<Box<str>>,
}

impl Saying {
    /// Without a header.
    pub fn new(subject: Vec<u8>, payload: Vec<u8>) -> Saying {
        let (reply, header) = (Vec::new(), Vec::new());
        Saying { account: None, subject, reply, header, payload, inbox: None }
    }

    /// Who has to say it, if it answers a request of another account: the shard that keeps the
    /// request.
    pub fn place(&self) -> Option<ShardId> {
        ReplyId::shard(&self.subject)
    }
}

/// What the control plane hears without having asked.
#[derive(Clone, Debug)]
pub enum News {
    /// Every shard knows of the services that [`Ask::Serve`] has asked of this one, or, after
    /// [`Ask::Settle`], has taken in what was said before.
    Settled,
    /// A service was asked.
    Request(Request),
    /// A connection has come in, or gone if it is closed. Only told if somebody listens.
    Connection(Box<Connection>),
    /// An account, by name, has one connection more or less. Only told if somebody listens.
    Counted(String),
    /// A connection was turned away. Only told if somebody listens.
    TurnedAway(Box<Connection>),
    /// As that, for those who own an account, and why. Only told if somebody there listens.
    Refused {
        /// Who.
        connection: Box<Connection>,
        /// Whose people are told, and its name.
        account: (AccountId, Box<str>),
        /// Why.
        reason: Box<str>,
    },
}

/// The parts of a report.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The open connections.
    pub open: bool,
    /// The remembered closed ones.
    pub closed: bool,
    /// Each connection's subscriptions.
    pub subscriptions: bool,
    /// Only this connection.
    pub cid: Option<u64>,
    /// Each account's figures.
    pub accounts: bool,
    /// Latencies and the busiest subjects.
    pub metrics: bool,
    /// Whether anybody follows how many connections accounts have.
    pub followers: bool,
    /// What the shard goes by.
    pub access: bool,
}

/// One shard's answer.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of the request.
    pub ticket: u64,
    /// Who answers.
    pub shard: ShardId,
    /// Its figures when the report was finished.
    pub figures: Figures,
    /// What the shard's driver has counted. The shard leaves it empty; its driver fills it in.
    pub driver: DriverFigures,
    /// As wanted, in no particular order.
    pub connections: Vec<Connection>,
    /// By number, if wanted.
    pub accounts: Vec<AccountFigures>,
    /// Somebody follows how many connections accounts have; if wanted.
    pub has_followers: bool,
    /// What the shard goes by, if wanted.
    pub access: Option<Arc<Access>>,
    /// The busiest subjects, if wanted and sampled; busiest first.
    pub top_subjects: Vec<SubjectRates>,
}

/// What clients of one shard publish to one subject, per second, as estimated from samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubjectRates {
    /// Its account's name.
    pub account: String,
    /// As published, before any mapping.
    pub subject: Vec<u8>,
    /// Messages.
    pub msgs: f64,
    /// Their payload bytes, headers included.
    pub bytes: f64,
}

/// One account as one shard sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFigures {
    /// As clients and operators know it.
    pub name: String,
    /// Those that are counted per account: connections, messages and bytes, slow consumers, and
    /// everything about its table. Others are 0.
    pub figures: Figures,
}

/// Counters and gauges of the loop around one shard. Counters only ever grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverFigures {
    /// The clock of the shards when these were read.
    pub now: Nanos,
    /// Time with nothing to do, asleep or looking for work, nanoseconds.
    pub idle_ns: u64,
    /// Times round the loop.
    pub turns: u64,
    /// Times it slept and woke.
    pub wakes: u64,
    /// System calls into its io_uring.
    pub enters: u64,
    /// Buffers of input received from sockets, and their bytes.
    pub reads: u64,
    /// Bytes received from sockets.
    pub read_bytes: u64,
    /// Sends the kernel has completed.
    pub writes: u64,
    /// Bytes of those.
    pub written_bytes: u64,
    /// If wanted. Empty until the driver fills it in.
    pub latency: Option<Latency>,
    /// Rings to the peer shards, in their order.
    pub lanes: Vec<LaneFigures>,
}

/// How long deliveries have taken inside the server: from when the bytes of a publication were
/// received, on whatever shard, to when those of the delivery are given to the kernel. What goes to
/// the kernel together counts as long as the oldest of it. Time a receiver is slow is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Of the last minute or two: nanoseconds, and how many messages took that long.
    pub recent: Vec<(u64, u64)>,
    /// Of all messages ever, nanoseconds.
    pub sum_ns: u128,
    /// Messages ever delivered.
    pub count: u64,
}

/// The ring to one peer shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneFigures {
    /// The peer.
    pub to: ShardId,
    /// Publications carried.
    pub msgs: u64,
    /// Frames put on the ring; several publications share one.
    pub frames: u64,
    /// Frames on the ring now.
    pub ring_frames: u64,
    /// Most frames on the ring at once in this second and the one before.
    pub ring_frames_peak: u64,
    /// Frames the ring can hold.
    pub ring_frames_max: u64,
    /// Bytes that wait for room on the ring.
    pub staged_bytes: u64,
}

/// Counters and gauges of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Open client connections.
    pub connections: u64,
    /// Client connections ever accepted, refused ones included.
    pub connections_total: u64,
    /// Closed connections remembered now, that is what a report of the closed ones would hold.
    pub closed_remembered: u64,
    /// Subscriptions of connections of this shard.
    pub subscriptions: u64,
    /// Messages published by clients of this shard.
    pub in_msgs: u64,
    /// Their payload bytes, headers included.
    pub in_bytes: u64,
    /// Messages delivered to clients of this shard.
    pub out_msgs: u64,
    /// Their payload bytes.
    pub out_bytes: u64,
    /// Connections closed because too many bytes were waiting for them.
    pub slow_pending_bytes: u64,
    /// Connections closed because they took no byte for too long.
    pub slow_write_deadline: u64,
    /// Connections closed because they left PINGs unanswered.
    pub stale_connections: u64,
    /// Clients turned away because too many waited for accounts' tokens.
    pub logins_crowded: u64,
    /// Times a publisher was slowed for a receiver that was behind.
    pub stalled_clients: u64,
    /// Deliveries dropped under `no_fast_producer_stall`.
    pub dropped_behind: u64,
    /// Deliveries to a queue group whose last member here went away while they were on a ring.
    pub dropped_no_member: u64,
    /// Requests of other accounts forgotten because too many waited for a response.
    pub dropped_responses: u64,
    /// Messages from and to the server itself dropped because too much waited.
    pub dropped_internal: u64,
    /// Publications carried to other shards, counted once per shard.
    pub forwarded_msgs: u64,
    /// Times a publisher waited for a full ring.
    pub congested: u64,
    /// Patterns ever added to this shard's table by its own clients.
    pub inserts: u64,
    /// Patterns ever removed.
    pub removes: u64,
    /// Fan-out plans looked up.
    pub matches: u64,
    /// Of those, found ready made.
    pub plan_hits: u64,
    /// Plans remembered now.
    pub plans: u64,
    /// Most receivers of one plan made so far.
    pub fanout_max: u64,
    /// Receivers of all plans made so far.
    pub fanout_sum: u64,
    /// Plans made so far.
    pub plans_made: u64,
}

impl Figures {
    /// Clients have published messages with so many bytes of payload. No such sum passes 64 bits,
    /// and to check that costs more than the sum.
    #[inline(always)]
    pub(crate) fn publish(&mut self, msgs: u64, payload_bytes: u64) {
        self.in_msgs = self.in_msgs.wrapping_add(msgs);
        self.in_bytes = self.in_bytes.wrapping_add(payload_bytes);
    }
}

/// One connection as /connz shows it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Counts from 1 over the whole server.
    pub cid: u64,
    /// Where it lives.
    pub shard: ShardId,
    /// The peer's address.
    pub addr: SocketAddr,
    /// Wall clock at accept, ns since 1970.
    pub start_unix_ns: u64,
    /// Shard clock at accept, at the last sign of life, and now.
    pub start: Nanos,
    /// Last time it sent or received a message, or changed a subscription.
    pub last_activity: Nanos,
    /// Shard clock when the report was made.
    pub now: Nanos,
    /// How and when it ended; none while it is open.
    pub closed: Option<(CloseReason, Nanos)>,
    /// Round trip of the last PING; 0 is unknown.
    pub rtt: Nanos,
    /// Bytes waiting to be sent.
    pub pending_bytes: u64,
    /// Messages it published.
    pub in_msgs: u64,
    /// Messages delivered to it.
    pub out_msgs: u64,
    /// Payload bytes it published.
    pub in_bytes: u64,
    /// Payload bytes delivered to it.
    pub out_bytes: u64,
    /// Times it was slowed for a receiver that was behind.
    pub stalls: u64,
    /// How many subscriptions it has.
    pub subscriptions: u32,
    /// Its account's name.
    pub account: String,
    /// What the account's token calls it; empty if that is nothing.
    pub account_tag: String,
    /// What was agreed, if it uses TLS.
    pub tls: Option<Arc<TlsFacts>>,
    /// From its CONNECT.
    pub name: String,
    /// From its CONNECT.
    pub lang: String,
    /// From its CONNECT.
    pub version: String,
    /// Who it says it is, as /connz?auth=1 shows it: the nkey, else the user, else `[REDACTED]`
    /// if it gave a token; empty if it gave none of them.
    pub authorized_user: String,
    /// Whose key vouches for it, if it has shown a key: a signing key's, else its account's name.
    pub issuer_key: String,
    /// What its token says.
    pub papers: Option<Arc<Papers>>,
    /// What it may do; none is everything. Of open connections.
    pub permissions: Option<Arc<Permissions>>,
    /// Filled when asked for, of closed connections too.
    pub subscriptions_list: Vec<Subscription>,
}

/// One subscription as /connz and /subsz show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its account's name.
    pub account: String,
    /// What the account's token calls it; empty if that is nothing.
    pub account_tag: String,
    /// The pattern.
    pub subject: Vec<u8>,
    /// The queue group.
    pub queue: Option<Vec<u8>>,
    /// The client's id for it.
    pub sid: Vec<u8>,
    /// Messages delivered to it.
    pub msgs: u64,
    /// It ends by itself after this many; 0 is never.
    pub max: u64,
    /// Whose it is.
    pub cid: u64,
}

/// Something an operator may want to read in the log, with the connection it is about.
#[derive(Clone, Debug)]
pub struct Note {
    /// The connection's number on the server.
    pub cid: u64,
    /// The peer's address.
    pub addr: SocketAddr,
    /// The slot, for the driver's own bookkeeping.
    pub conn: ConnId,
    /// From its CONNECT, as shown in log lines: `v1.2:go:name`; empty before.
    pub client: String,
    /// Its account and who it is, as shown in log lines: `$G/user:alice`; empty if it has not said.
    pub user: String,
    /// What happened.
    pub what: Event,
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was accepted. Debug.
    Created,
    /// Its TLS handshake begins. Debug.
    TlsStarted,
    /// Its TLS handshake is done. Debug.
    TlsComplete,
    /// What came of it. Debug.
    TlsAgreed {
        /// `1.2` or `1.3`.
        version: &'static str,
        /// By Go's name.
        cipher: &'static str,
    },
    /// Its TLS handshake took too long. Debug.
    TlsTimedOut,
    /// Its TLS handshake went wrong. Debug if it is a probe.
    TlsFailed {
        /// How.
        why: String,
        /// It does not know TLS at all.
        probe: bool,
    },
    /// It ended. Debug.
    Closed(CloseReason),
    /// Too many bytes were waiting for it.
    SlowPendingBytes {
        /// The limit.
        limit: u64,
    },
    /// It took no byte for too long.
    SlowWriteDeadline {
        /// The deadline.
        deadline_ns: Nanos,
        /// Bytes that were waiting.
        pending_bytes: u64,
    },
    /// It has not authenticated in time. Debug.
    Late,
    /// Why it was not let in. Debug.
    TurnedAway(Box<str>),
    /// A subscription it may no longer have has ended: which, and whose.
    Removed(String),
    /// It sent something it must not.
    Fault(String),
    /// It was slowed for receivers that were behind, for 5 ms or more.
    Stalled {
        /// For this long.
        for_ns: Nanos,
        /// Its account's name.
        account: Box<str>,
    },
    /// A PING of the server goes out. Debug.
    PingTimer,
    /// It left PINGs unanswered.
    Stale,
    /// A protocol line came in. Trace.
    TraceIn(String),
    /// A protocol line went out. Trace.
    TraceOut(String),
    /// A subscription was taken out. Trace.
    TraceDelete(String),
    /// The server itself said something, or listens to something. Trace.
    TraceServer {
        /// In an account that decides about logins, not in the system account.
        of_account: bool,
        /// What.
        line: String,
    },
    /// A subscription has ended, having had as many messages as it asked for. Debug.
    HadAll {
        /// The client's name for it.
        sid: String,
        /// How many.
        max: u64,
    },
}
