//! Public nkeys: whose they may be, and what they have signed.

use nkeys::KeyPair;

/// What a public nkey stands for; its first letter says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `A…`
    Account,
    /// `O…`
    Operator,
    /// `N…`
    Server,
    /// `U…`
    User,
    /// `X…`, which signs nothing.
    Curve,
}

impl Kind {
    fn letter(self) -> u8 {
        match self {
            Kind::Account => b'A',
            Kind::Operator => b'O',
            Kind::Server => b'N',
            Kind::User => b'U',
            Kind::Curve => b'X',
        }
    }
}

/// Is this the public nkey of a `kind`? Letter, length and checksum must be right.
pub fn is_public(kind: Kind, key: &str) -> bool {
    key.as_bytes().first() == Some(&kind.letter()) && nkeys::from_public_key(key).is_ok()
}

/// Did the owner of the public nkey `key` sign these bytes? A key or a signature that is none
/// has signed nothing.
pub fn verify(key: &str, signed: &[u8], signature: &[u8]) -> bool {
    KeyPair::from_public_key(key).is_ok_and(|pair| pair.verify(signed, signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_their_letter() {
        let user = KeyPair::new_user().public_key();
        let account = KeyPair::new_account().public_key();
        assert!(is_public(Kind::User, &user));
        assert!(!is_public(Kind::Account, &user));
        assert!(is_public(Kind::Account, &account));
        assert!(is_public(Kind::Operator, &KeyPair::new_operator().public_key()));
        assert!(is_public(Kind::Server, &KeyPair::new_server().public_key()));
    }

    /// Advisory 2026-23: a key of a wrong length in a JWT ended the process.
    #[test]
    fn advisory_2026_23_a_key_of_any_length_is_no_reason_to_panic() {
        let key = KeyPair::new_account().public_key();
        for length in 0..key.len() {
            assert!(!is_public(Kind::Account, &key[..length]));
            assert!(!verify(&key[..length], b"x", &[0; 64]));
        }
        let long = format!("{key}{key}");
        assert!(!is_public(Kind::Account, &long));
        for length in 0..130 {
            assert!(!verify(&key, b"x", &vec![7; length]));
        }
        assert!(!is_public(Kind::Account, "Aééééééééééééééééééééééééééé"));
    }
}
