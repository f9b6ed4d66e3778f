//! Subjects and patterns of the NATS protocol: what is valid, what matches what, and [`Sublist`],
//! the table of distinct patterns that a published subject is matched against.
//!
//! A *subject* is what a message is published to: tokens between dots, all bytes literal. A
//! *pattern* is what a subscription names: a subject in which the whole token `*` stands for
//! exactly one token and the whole last token `>` for one or more. Bytes are opaque; UTF-8 is not
//! required.
#![forbid(unsafe_code)]

mod mapping;
mod pattern;
mod sublist;
mod token;
mod transform;

pub use mapping::{Choice, Mapping, MappingError, Mappings};
pub use pattern::{
    before_last_token, collide, covers, has_wildcard, matches, valid_literal, valid_pattern,
    well_formed,
};
pub use sublist::{PatternId, Sublist};
pub use transform::{Transform, TransformError, check_mapping, tokenize, untokenize};
