//! What cores share: a bounded single-producer single-consumer ring, the doorbell that wakes the
//! core at its far end, and counters that other cores read. The only atomics written by hand are
//! here.
//!
//! ```no_run
//! let (mut to_peer, mut from_peer) = mesh::ring::<u64>(64);
//! let mut waiting = (0..100).collect();
//! assert_eq!(to_peer.push_all(&mut waiting), 64);
//! let mut sum = 0;
//! assert_eq!(from_peer.drain(16, |number| sum += number), 16);
//! assert_eq!((sum, from_peer.len(), to_peer.free()), (120, 48, 16));
//! ```
// `cfg(loom)` swaps the atomics for the model checker's; it is set by hand, so rustc does not know
// it.
#![allow(unexpected_cfgs)]

mod counter;
mod doorbell;
mod primitives;
mod rate;
mod ring;

pub use counter::{Counter, Padded};
pub use doorbell::Doorbell;
pub use rate::Rate;
pub use ring::{Receiver, Sender, ring};
