//! The runtime against real sockets, with a toy engine and with the real one.

mod bus;
mod client;
mod monitoring;
mod sockets;
mod system;
mod toy;
