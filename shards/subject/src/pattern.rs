//! Relations between patterns and subjects, one pair at a time. The plain reading of the rules: the
//! sublist must agree with it.

use crate::token::{self, has_empty_token, tokens};

const ONE: &[u8] = b"*";
const REST: &[u8] = b">";

/// Whether a subscription may name it: no empty token, no space, tab, LF, FF or CR, and the token
/// `>` only at the end. `*` and `>` inside a longer token are ordinary bytes.
#[must_use]
pub fn valid_pattern(bytes: &[u8]) -> bool {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0c | b'\r');
    !bytes.iter().any(blank) && well_formed(bytes)
}

/// Whether it is a literal subject: no empty token and no token that is a wildcard as a whole.
/// Blanks are not looked for; they cannot arrive in one argument of a control line, except FF,
/// which a literal subject may contain.
#[must_use]
pub fn valid_literal(bytes: &[u8]) -> bool {
    !has_empty_token(bytes) && !has_wildcard(bytes)
}

/// What comes before the last token of a subject and its dot; none if there is no dot, or nothing
/// behind the last one.
#[must_use]
#[inline]
pub fn before_last_token(subject: &[u8]) -> Option<&[u8]> {
    if subject.last() == Some(&b'.') {
        return None;
    }
    token::before_last(subject)
}

/// Whether some whole token is `*` or `>`.
#[must_use]
pub fn has_wildcard(bytes: &[u8]) -> bool {
    tokens(bytes).any(|token| token == ONE || token == REST)
}

/// Whether a message published to `subject` reaches a subscription to `pattern`. Every byte of the
/// subject is literal: `foo.*` as a subject is matched by the pattern `foo.*`, not by `foo.bar`.
/// False if either has an empty token or the pattern has `>` before its end.
#[must_use]
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    if !well_formed(pattern) || has_empty_token(subject) {
        return false;
    }
    let mut names = tokens(subject);
    for token in tokens(pattern) {
        let Some(name) = names.next() else {
            return false;
        };
        if token == REST {
            return true;
        }
        if token != ONE && token != name {
            return false;
        }
    }
    names.next().is_none()
}

/// Whether every subject that `narrow` matches is matched by `wide` as well. A pattern covers
/// itself. False if either has an empty token or `>` before its end.
#[must_use]
pub fn covers(wide: &[u8], narrow: &[u8]) -> bool {
    if !well_formed(wide) || !well_formed(narrow) {
        return false;
    }
    let mut narrow = tokens(narrow);
    for wide in tokens(wide) {
        let Some(narrow) = narrow.next() else {
            return false;
        };
        if wide == REST {
            return true;
        }
        if narrow == REST || (wide != ONE && wide != narrow) {
            return false;
        }
    }
    narrow.next().is_none()
}

/// Whether some subject is matched by both patterns.
/// False if either has an empty token or `>` before its end.
#[must_use]
pub fn collide(a: &[u8], b: &[u8]) -> bool {
    if !well_formed(a) || !well_formed(b) {
        return false;
    }
    let (mut a, mut b) = (tokens(a), tokens(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == REST || b == REST => return true,
            (Some(a), Some(b)) if a == ONE || b == ONE || a == b => {}
            _ => return false,
        }
    }
}

/// Whether it has the shape of a pattern, whatever bytes its tokens are made of: what nats-server
/// asks of a subscription's subject.
#[must_use]
pub fn well_formed(bytes: &[u8]) -> bool {
    if has_empty_token(bytes) {
        return false;
    }
    let mut tokens = tokens(bytes);
    // A `>` that `any` stops at is followed by a token unless it is the last one.
    !tokens.any(|token| token == REST) || tokens.next().is_none()
}
