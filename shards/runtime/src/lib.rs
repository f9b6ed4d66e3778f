//! What connects shards with their cores, sockets, peers and operator.
//!
//! The only crate that names glommio, io-uring and libc.

mod buffers;
#[cfg(test)]
#[path = "../../shard/tests/support/bus.rs"]
mod bus;
mod conn;
mod control;
mod driver;
mod engine;
mod events;
mod executor;
mod gather;
mod glance;
mod http;
pub mod identity;
mod lanes;
mod latency;
mod listener;
mod logins;
mod notes;
mod preflight;
mod process;
mod proofs;
mod proxied;
mod ring;
mod server;
mod system;
pub mod tls;
mod words;

pub use control::Plea;
pub use engine::Engine;
pub use monitor::default_feature_flags;
pub use preflight::preflight;
pub use server::{
    Changed, HttpSettings, Identity, RECOUNT, Server, Settings, StartError, Stopper, start,
    start_with,
};
pub use shard::Options as ShardOptions;
pub use shard::report::LameDuck;
pub use shard::{AccountId, access, account};
pub use words::Cause;
