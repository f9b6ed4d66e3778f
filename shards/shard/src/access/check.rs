//! Proofs too costly to look at on a shard.

use std::fmt;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use ed25519_dalek::{Signature, VerifyingKey};

use super::callout::Applicant;
use super::secret::Secret;
use super::token::{Outcome, Shown};
use crate::ids::{AccountId, Nanos};
use crate::turns::Origin;

/// One proof to look at, on a thread that has time. Shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Check {
    what: What,
    origin: Origin,
    since: Nanos,
}

#[derive(Clone, PartialEq, Eq)]
enum What {
    Hash { hash: Secret, presented: Secret },
    Signature { key: [u8; 32], nonce: Box<str>, signature: Box<str> },
    Token(Shown),
    Callout(Applicant),
    Seat { account: AccountId, max: u32 },
}

impl Check {
    fn new(what: What) -> Check {
        Check { what, origin: Origin::default(), since: 0 }
    }

    /// Of a client that comes from there, and has shown what is to be looked at now.
    pub(crate) fn comes_from(&mut self, origin: Origin, now: Nanos) {
        self.origin = origin;
        self.since = now;
    }

    /// When its client has shown what is to be looked at.
    pub fn since(&self) -> Nanos {
        self.since
    }

    /// Where its client comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    pub(crate) fn hash(hash: Secret, presented: Secret) -> Check {
        Check::new(What::Hash { hash, presented })
    }

    pub(crate) fn signature(key: [u8; 32], nonce: &str, signature: &str) -> Check {
        Check::new(What::Signature { key, nonce: nonce.into(), signature: signature.into() })
    }

    pub(crate) fn token(shown: Shown) -> Check {
        Check::new(What::Token(shown))
    }

    pub(crate) fn callout(applicant: Applicant) -> Check {
        Check::new(What::Callout(applicant))
    }

    pub(crate) fn seat(account: AccountId, max: u32) -> Check {
        Check::new(What::Seat { account, max })
    }

    /// Does it prove what it should? Takes from 50 microseconds to seconds of CPU. What only
    /// others can tell ([`Check::shown`], [`Check::wanted_seat`]) does not.
    pub fn outcome(&self) -> Outcome {
        let passes = match &self.what {
            What::Hash { hash, presented } => hash.is_hash_of(presented),
            What::Signature { key, nonce, signature } => {
                is_signed(key, nonce, signature).unwrap_or(false)
            }
            What::Token(_) | What::Callout(_) | What::Seat { .. } => false,
        };
        match passes {
            true => Outcome::Passed,
            false => Outcome::Failed("wrong password, token or signature".into()),
        }
    }

    /// Somebody who shows a token: whoever knows accounts' tokens has to say who it is.
    pub fn shown(&self) -> Option<&Shown> {
        match &self.what {
            What::Token(shown) => Some(shown),
            _ => None,
        }
    }

    /// Somebody whom a service has to judge.
    pub fn applicant(&self) -> Option<&Applicant> {
        match &self.what {
            What::Callout(applicant) => Some(applicant),
            _ => None,
        }
    }

    /// Others than [`Check::outcome`] have to tell.
    pub fn is_for_others(&self) -> bool {
        matches!(self.what, What::Token(_) | What::Callout(_) | What::Seat { .. })
    }

    /// An account and how many connections it may have: whoever counts them has to say whether
    /// there is room for one more.
    pub fn wanted_seat(&self) -> Option<(AccountId, u32)> {
        match self.what {
            What::Seat { account, max } => Some((account, max)),
            _ => None,
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.what {
            What::Hash { .. } => "Check(hash)",
            What::Signature { .. } => "Check(signature)",
            What::Token(_) => "Check(token)",
            What::Callout(_) => "Check(callout)",
            What::Seat { .. } => "Check(seat)",
        })
    }
}

/// Signatures come in either alphabet of base64.
fn is_signed(key: &[u8; 32], nonce: &str, signature: &str) -> Option<bool> {
    let signature = signature.as_bytes();
    let bytes = BASE64URL_NOPAD.decode(signature).or_else(|_| BASE64.decode(signature)).ok()?;
    let signature = Signature::from_slice(&bytes).ok()?;
    let key = VerifyingKey::from_bytes(key).ok()?;
    Some(key.verify_strict(nonce.as_bytes(), &signature).is_ok())
}
