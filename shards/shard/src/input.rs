//! Everything that can happen to a shard.

use std::net::SocketAddr;

use crate::access::{DistinguishedName, Outcome};
use crate::frame::Frame;
use crate::ids::{ConnId, Nanos, ShardId};
use crate::report::Ask;
use crate::security::{Secured, TlsOffer};

/// One event. The driver calls [`crate::Shard::step`] with each, in the order they happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client connected. `conn` is free on this shard.
    Open {
        /// The slot it gets.
        conn: ConnId,
        /// What is known of it.
        peer: Peer,
    },
    /// What came of a check of [`crate::Effects::checks`].
    Checked {
        /// Whose.
        conn: ConnId,
        /// The check's own [`crate::access::Check::outcome`], or what others say.
        outcome: Outcome,
    },
    /// Bytes from the socket, in order. Bytes for a connection already closed are ignored.
    Bytes {
        /// Whose.
        conn: ConnId,
        /// When they were received: some have waited for their turn.
        at: Nanos,
        /// Any cut of the stream.
        bytes: &'a [u8],
    },
    /// The encryption of a connection that was opened with an offer of TLS has come on, or failed.
    Secured {
        /// Whose.
        conn: ConnId,
        /// How it fares.
        what: Secured,
    },
    /// A connection that was opened with [`Peer::proxied`] has been introduced, or not. No
    /// bytes of it come before.
    Introduced {
        /// Whose.
        conn: ConnId,
        /// By whom.
        what: Introduction,
    },
    /// The kernel took this many bytes of what [`crate::Shard::take_chunk`] gave out.
    Sent {
        /// Whose.
        conn: ConnId,
        /// At least 1.
        bytes: u64,
    },
    /// The answer to [`crate::Effects::probes`]: bytes the kernel holds that the peer has not
    /// acknowledged.
    Unacknowledged {
        /// Whose.
        conn: ConnId,
        /// Bytes in the kernel's send queue.
        bytes: u64,
    },
    /// The socket is gone, or is of no more use.
    Hangup {
        /// Whose.
        conn: ConnId,
        /// How it went.
        cause: Hangup,
    },
    /// A frame from a peer shard, in ring order.
    Frame {
        /// The sender.
        from: ShardId,
        /// What it sent.
        frame: Frame,
    },
    /// A lane that was congested has room again.
    Room {
        /// The peer whose ring has room.
        to: ShardId,
    },
    /// A turn is over: run what is due and a budget of long work.
    Turn,
    /// The control plane wants something.
    Ask(Ask),
}

/// A new client connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Counts the connections of the whole server from 1.
    pub cid: u64,
    /// Its address.
    pub addr: SocketAddr,
    /// Wall clock at accept, nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// There are too many already: greet it, say so and close.
    pub refused: bool,
    /// It is to use TLS, or may.
    pub tls: Option<TlsOffer>,
    /// A proxy may say where it really comes from: [`Input::Introduced`].
    pub proxied: bool,
}

/// What a proxy has said of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Introduction {
    /// Its client is there.
    Client(SocketAddr),
    /// Nothing: whoever has connected is the client.
    Itself,
    /// Something wrong.
    Wrong,
}

/// One name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A user's name must be equal.
    Text(String),
    /// A user's name must be the same name, read as one.
    Distinguished(DistinguishedName),
}

/// How a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// The peer closed its side.
    Closed,
    /// Reading failed.
    ReadError,
    /// Writing failed.
    WriteError,
}
