//! What reaches a shard from outside its core, and what it answers.

use std::fs::File;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use mesh::{Counter, Padded};
use shard::access::Outcome;
use shard::report::{Ask, News, Reload, Report};
use shard::{AccountId, ConnId, Nanos};

use crate::lanes::{Bell, Peer, strike};
use crate::listener::Listener;
use crate::logins::Logins;
use crate::proofs::Proofs;
use crate::tls::Tls;

/// Messages that may wait for one shard.
pub(crate) const MESSAGES_MAX: usize = 4096;

/// Pieces of news that may wait to be heard.
const NEWS_MAX: usize = 4096;

/// For one shard, from another core.
pub(crate) enum Message {
    /// A connection to take over.
    Accepted(Accepted),
    /// A request of the control plane.
    Ask(Ask),
    /// Accept connections, for all shards.
    Listen(Box<Listener>),
    /// Hold the services of the system account.
    Serve { subjects: Vec<String>, elsewhere: Vec<(AccountId, String)> },
    /// What came of a check.
    Checked { conn: ConnId, outcome: Outcome },
    /// Other options from here on.
    Reload(Box<Order>),
}

/// One shard's part of a reload.
pub(crate) struct Order {
    pub reload: Arc<Reload>,
    /// What TLS new connections are offered.
    pub tls: Option<Arc<Tls>>,
    /// Told when it is done.
    pub done: Sender<()>,
}

/// A connection that has just come in.
pub(crate) struct Accepted {
    pub stream: TcpStream,
    pub cid: u64,
    pub start_unix_ns: u64,
    pub refused: bool,
}

/// Where to leave messages for one shard.
#[derive(Clone)]
pub(crate) struct Mailbox {
    pub messages: Sender<Message>,
    pub bell: Bell,
}

impl Mailbox {
    /// Leaves a message, waiting for room if there is none. False if the shard is gone.
    pub fn post(&self, message: Message) -> bool {
        let posted = self.messages.send(message).is_ok();
        self.bell.ring();
        posted
    }

    /// Leaves a message, or gives it back if there is no room or the shard is gone.
    pub fn try_post(&self, message: Message) -> Result<(), Message> {
        let posted = self.messages.try_send(message);
        self.bell.ring();
        posted.map_err(crossbeam_channel::TrySendError::into_inner)
    }
}

/// Where the shards' reports go.
#[derive(Clone)]
pub(crate) struct Answers {
    reports: Sender<Report>,
    news: Sender<News>,
    arrived: Arc<File>,
}

impl Answers {
    /// `arrived` is an eventfd, struck for every report. There is room for `max` unread ones.
    pub fn new(max: usize, arrived: Arc<File>) -> (Answers, Receiver<Report>, Receiver<News>) {
        let (reports, receiver) = crossbeam_channel::bounded(max);
        let (news, heard) = crossbeam_channel::bounded(NEWS_MAX);
        (Answers { reports, news, arrived }, receiver, heard)
    }

    /// The eventfd that is struck for every report.
    pub fn arrived(&self) -> Arc<File> {
        Arc::clone(&self.arrived)
    }

    /// Leaves news. False if it is dropped because too much is unread.
    pub fn tell(&self, news: News) -> bool {
        let left = self.news.try_send(news).is_ok();
        if !left {
            log::debug!("The system account has more to hear than it can take");
        }
        strike(&self.arrived);
        left
    }

    /// Leaves a report.
    pub fn post(&self, report: Report) {
        if self.reports.try_send(report).is_err() {
            // Only after the control plane has gone: it asks for no more than there is room for.
            log::debug!("Nobody waits for a report any more");
        }
        strike(&self.arrived);
    }
}

/// Somebody in the system account wants the configuration read anew, and waits for what comes of
/// it.
pub struct Plea {
    pub(crate) done: Sender<Result<(), String>>,
    pub(crate) arrived: Arc<File>,
}

impl Plea {
    /// Tells what came of it: the reason if it failed.
    pub fn answer(self, done: Result<(), String>) {
        // Fails if the control plane has gone.
        let _ = self.done.try_send(done);
        strike(&self.arrived);
    }
}

/// Pleas that may wait to be heard.
pub(crate) const PLEAS_MAX: usize = 8;

/// What all shards of a server share. Nothing on a hot path but reading it.
pub(crate) struct Commons {
    /// Where time begins.
    pub origin: Instant,
    /// By shard.
    pub mailboxes: Vec<Mailbox>,
    /// By shard: connections it has or has been given, refused ones apart.
    pub open: Vec<Padded<Counter>>,
    /// Messages from and to the system account that were dropped outside the shards.
    pub dropped: Arc<Padded<Counter>>,
    pub answers: Answers,
    pub proofs: Proofs,
    pub logins: Logins,
    pub spin_ns: Nanos,
    pub gather_ns: Nanos,
}

impl Commons {
    /// Nanoseconds since the server's own beginning.
    pub fn now(&self) -> Nanos {
        self.origin.elapsed().as_nanos() as Nanos
    }
}

/// The rings of a server, known once all of them exist.
pub(crate) type Peers = Arc<Vec<Peer>>;
