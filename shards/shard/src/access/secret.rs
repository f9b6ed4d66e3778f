//! Passwords and tokens: compared in constant time, never shown.

use std::fmt;

use subtle::ConstantTimeEq;

/// A password, a token, or a bcrypt hash of one. Nothing shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// As the operator wrote it, or as a client presents it.
    pub fn new(text: impl Into<Box<str>>) -> Secret {
        Secret(text.into())
    }

    /// Is it a bcrypt hash, `$2a$11$…`?
    pub fn is_bcrypt(&self) -> bool {
        matches!(
            self.0.as_bytes(),
            [b'$', b'2', b'a' | b'b' | b'x' | b'y', b'$', tens, ones, b'$', ..]
                if tens.is_ascii_digit() && ones.is_ascii_digit()
        )
    }

    /// Nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text itself: not for people.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Equal bytes? Takes as long for a near miss as for a far one of the same length.
    pub(crate) fn equals(&self, presented: &str) -> bool {
        self.0.as_bytes().ct_eq(presented.as_bytes()).into()
    }

    /// Would whoever has shown this one pass for the other? Two hashes are only compared as text.
    pub(crate) fn says_the_same_as(&self, new: &Secret) -> bool {
        match (self.is_bcrypt(), new.is_bcrypt()) {
            (true, false) => self.is_hash_of(new),
            (false, true) => new.is_hash_of(self),
            _ => self.equals(&new.0),
        }
    }

    /// Is `presented` what this hash was made of? Takes milliseconds and more: never on a shard.
    pub(crate) fn is_hash_of(&self, presented: &Secret) -> bool {
        bcrypt::verify(presented.0.as_bytes(), &self.0).unwrap_or(false)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}
