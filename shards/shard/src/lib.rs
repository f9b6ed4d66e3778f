//! One shard: a state machine that owns its connections and their subscriptions. No clock, socket,
//! thread or lock.
#![forbid(unsafe_code)]

pub mod access;
pub mod account;
mod alike;
mod batch;
mod cast;
mod choice;
mod claim;
mod closing;
mod deliver;
mod effect;
mod entry;
mod fence;
mod frame;
mod ids;
mod input;
mod interest;
mod keepalive;
pub mod limits;
mod news;
mod outbound;
mod plans;
mod pressure;
pub mod report;
mod reporting;
mod rng;
mod router;
mod security;
mod session;
mod shard;
mod sid;
mod stall;
mod subscription;
pub mod table;
mod targets;
mod timers;
mod top;
mod tracing;
pub mod turns;

pub use account::response::Answer;
pub use effect::{Close, Effects, Reads, Seat};
pub use frame::{Claim, Frame, Interest, Question};
pub use ids::{AccountId, ConnId, Nanos, ShardId};
pub use input::{Hangup, Input, Introduction, Name, Peer};
pub use interest::Wish;
pub use limits::Options;
pub use outbound::Chunk;
pub use security::{PeerCertificate, Secured, TlsFacts, TlsOffer};
pub use shard::Shard;
pub use wire::{CloseReason, ServerInfo, proxy, quoted};
