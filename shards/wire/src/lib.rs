#![forbid(unsafe_code)]
//! Bytes ↔ operations of the NATS text protocol, sans I/O.
//!
//! [`ClientParser`] takes what a client sent to [`ClientOp`]s that borrow from the receive buffer;
//! [`emit`] appends what a server answers to an output buffer. Nothing here opens a socket, reads a
//! clock, or knows what an account or a subscription is.

pub mod advisory;
pub mod client_op;
pub mod connect;
pub mod emit;
pub mod errors;
pub mod framer;
pub mod headers;
pub mod info;
pub mod proxy;

mod args;
mod hot;
mod json;
mod quote;
mod short;
mod stamp;
mod verb;

pub use advisory::{ClientInfo, ServiceLatency};
pub use client_op::{ClientOp, Pub};
pub use connect::{Connect, Secrets};
pub use errors::{CloseReason, Fault, PubFault, error_text};
pub use framer::{ClientParser, Limits, Next};
pub use hot::alike;
pub use info::ServerInfo;
pub use quote::quoted;
pub use stamp::rfc3339_nano;
pub use verb::Verb;
