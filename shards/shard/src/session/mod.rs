//! Connections, one file per kind of peer.

pub(crate) mod client;
