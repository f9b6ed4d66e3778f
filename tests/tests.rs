//! One integration binary; each room judges the server from outside, over its sockets.

mod clients;
mod command;
mod configs;
mod differential;
mod harness;
mod monitoring;
mod operations;
mod replay;
mod scripts;
mod stress;
mod tidy;
mod tls;
