//! The engine on one thread, without sockets: shards joined by the very rings a server joins them
//! with, connections that are pipes in memory, and scripts of what clients send.
#![forbid(unsafe_code)]

pub mod count;
pub mod gate;
pub mod houses;
pub mod rig;
pub mod script;
