//! A world for the production shard: clients, pipes, rings and time, all decided by one seed, and
//! an oracle that judges
//! what the clients see.
#![forbid(unsafe_code)]

pub mod bus;
pub mod canary;
pub mod client;
pub mod driver;
pub mod oracle;
pub mod pipe;
pub mod prng;
mod rest;
pub mod run;
pub mod swarm;
pub mod table;
pub mod trace;
pub mod walls;
pub mod world;

pub use canary::Defect;
pub use run::{Detail, Failure, Subject, replay, run};
pub use world::{Rare, Summary};
