//! Connections, one file per kind of peer, and what they have in common.

pub(crate) mod client;
pub(crate) mod guard;
pub(crate) mod login;
pub(crate) mod recheck;
pub(crate) mod subscriptions;
pub(crate) mod system;
pub(crate) mod told;
