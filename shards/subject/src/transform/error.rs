//! Why a transform can't be made, in nats-server's words.

use std::fmt;

/// Why a destination does not go with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformError {
    reason: Reason,
    token: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    InvalidSubject,
    InvalidTransform,
    NotAllWildcards,
    UnknownFunction,
    IndexOutOfRange,
    NotEnoughArguments,
    InvalidArgument,
    TooManyArguments,
    NotForImports,
}

impl TransformError {
    pub(super) fn of(reason: Reason) -> TransformError {
        TransformError { reason, token: String::new() }
    }

    pub(super) fn at(reason: Reason, token: &[u8]) -> TransformError {
        TransformError { reason, token: String::from_utf8_lossy(token).into_owned() }
    }

    pub(super) fn index(token: &[u8], index: i64) -> TransformError {
        let token = format!("{}: [{index}]", String::from_utf8_lossy(token));
        TransformError { reason: Reason::IndexOutOfRange, token }
    }
}

impl fmt::Display for TransformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.reason {
            Reason::InvalidSubject => return f.write_str("invalid subject"),
            Reason::InvalidTransform => "invalid transform",
            Reason::NotAllWildcards => "not using all of the token wildcard(s)",
            Reason::UnknownFunction => "unknown function",
            Reason::IndexOutOfRange => "wildcard index out of range",
            Reason::NotEnoughArguments => "not enough arguments passed to the function",
            Reason::InvalidArgument => "function argument is invalid or in the wrong format",
            Reason::TooManyArguments => "too many arguments passed to the function",
            Reason::NotForImports => {
                "the only mapping function allowed for import transforms is {{Wildcard()}}"
            }
        };
        write!(f, "invalid mapping destination: {what}")?;
        match self.token.as_str() {
            "" => Ok(()),
            token => write!(f, " in {token}"),
        }
    }
}

impl std::error::Error for TransformError {}
