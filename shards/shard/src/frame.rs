//! What crosses a ring between two shards. Nothing else does but emptied buffers on their way back,
//! which say nothing.

use crate::account::response::Answer;
use crate::batch;
use crate::ids::{AccountId, ConnId};

/// One slot of a ring.
#[derive(Debug)]
pub enum Frame {
    /// Publications for this shard's subscribers, in order; written and read by [`crate::batch`].
    Deliver(Vec<u8>),
    /// The sender's interest in a pattern has changed.
    Interest(Box<Interest>),
    /// Answer in band with [`Frame::Fenced`] once everything before this has been taken in.
    Fence {
        /// Counts the frames the sender has forwarded on this lane, this fence apart.
        upto: u64,
    },
    /// Everything up to `upto` has been taken in.
    Fenced {
        /// As in the fence that is answered.
        upto: u64,
    },
    /// A receiver here is behind: slow this connection of yours, which publishes to it.
    Stall {
        /// The publisher, on the shard this frame is sent to.
        conn: ConnId,
    },
    /// Takes one [`Frame::Stall`] back.
    Unstall {
        /// The publisher, on the shard this frame is sent to.
        conn: ConnId,
    },
    /// May the sender count on one delivery to somebody who can't be counted on for every message?
    Claim(Box<Claim>),
    /// The answer to a claim.
    Claimed {
        /// The publisher that asked.
        conn: ConnId,
        /// Its claim was granted: the next delivery to the group is held for it, or somebody of a
        /// plain subscription may see the message.
        granted: bool,
    },
    /// What is a publication on a reply subject of the receiver's a response to?
    Question(Box<Question>),
    /// The answer to a question, for the connection that publishes.
    Answer(Box<(ConnId, Answer)>),
    /// What is still held for this publisher will not be used.
    Unclaim {
        /// The publisher, on the sending shard.
        conn: ConnId,
    },
}

/// What a frame that carries no batch counts for in a lane, bytes, besides what it names.
const SMALL_FRAME_BYTES: usize = 64;

impl Frame {
    /// What it counts for in a lane: about as many bytes as it makes for one receiver.
    pub fn weight(&self) -> usize {
        match self {
            Frame::Deliver(batch) => batch::weight(batch),
            Frame::Interest(interest) => {
                let queue = interest.queue.as_ref().map_or(0, |queue| queue.len());
                SMALL_FRAME_BYTES + interest.pattern.len() + queue
            }
            _ => SMALL_FRAME_BYTES,
        }
    }
}

const _: () = assert!(size_of::<Frame>() == 24, "a frame is three words: think before it grows");

/// Aggregated interest of a shard in one pattern of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Whose subjects.
    pub account: AccountId,
    /// The pattern as subscribed.
    pub pattern: Box<[u8]>,
    /// The queue group, or none for plain subscriptions.
    pub queue: Option<Box<[u8]>>,
    /// Members of the group on the sending shard, or 1 for any number of plain subscriptions;
    /// 0 takes the interest back.
    pub weight: u32,
    /// How many of those can't be counted on for every message: they take a limited number, or may
    /// not see some.
    pub unsure: u32,
    /// As `unsure`, for what comes by an imported service.
    pub unsure_of_services: u32,
}

/// A publisher has a message for a subject that only the receiver can make sense of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The publisher, on the asking shard.
    pub conn: ConnId,
    /// Whose subjects.
    pub account: AccountId,
    /// The reply subject.
    pub subject: Box<[u8]>,
    /// The message is empty: the last of several.
    pub is_last: bool,
}

/// A publisher asks for one delivery to a group, or whether any plain subscription may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose subjects.
    pub account: AccountId,
    /// The subject about to be published on.
    pub subject: Box<[u8]>,
    /// The group; none is plain subscriptions.
    pub queue: Option<Box<[u8]>>,
    /// The publisher, on the asking shard.
    pub conn: ConnId,
    /// It comes by an imported service.
    pub from_service: bool,
}
