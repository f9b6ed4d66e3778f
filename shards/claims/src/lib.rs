//! Decentralised identity: what JWTs of operators, accounts and users say, and whether to believe
//! them.
//!
//! [`decode`] gives claims whose signature is right; [`Trust`] says whether the one who signed may
//! say so, and what a user may then do. Pure: time, addresses and files are arguments.
//!
//! Sources of the facts: the claims of version 2 as the official libraries write them, and what
//! nats-server 2.15.1 makes of the same files.
#![forbid(unsafe_code)]

mod account;
mod activation;
mod authorization;
mod hours;
mod json;
mod key;
mod operator;
mod permissions;
mod source;
mod template;
mod token;
mod trust;
mod user;

pub use account::{
    Account, AccountLimits, Export, ExportKind, External, Import, Latency, Revocations, Sampling,
    Scope, SigningKey, WeightedSubject,
};
pub use activation::Activation;
pub use authorization::{
    ClientInfo, ConnectOptions, Request, Response, ServerId, TlsFacts, read_response, request,
    tls_facts,
};
pub use hours::{Hours, LocalTime, Shift};
pub use key::{Kind, is_public, verify};
pub use operator::{Operator, Version};
pub use permissions::{Permission, Permissions, ResponsePermission, UserLimits};
pub use source::Network;
pub use template::TEMPLATE_SUBJECTS_MAX;
pub use token::{
    Claims, Fault, Known, TOKEN_BYTES_MAX, decode, decode_account, decode_operator, decode_user,
    undecorated,
};
pub use trust::{Admitted, Denied, Expiry, Presented, Trust};
pub use user::User;
