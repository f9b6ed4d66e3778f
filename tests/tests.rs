//! One integration binary; each room judges the server from outside, over its sockets.

mod callout;
mod clients;
mod command;
mod configs;
mod dashboard;
mod differential;
mod documents;
mod harness;
mod identity;
mod lines;
mod migration;
mod monitoring;
mod operations;
mod packaging;
mod proxied;
mod replay;
mod scripts;
mod stress;
mod tidy;
mod tls;
