//! Cutting subjects into tokens. The scans look at eight bytes at a time, since tokens are short
//! and a call into a vectorised search costs more than it saves.

const DOTS: u64 = u64::from_ne_bytes([b'.'; 8]);
const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
const HIGH: u64 = 0x80;

/// Where the token that starts at `from` ends: the index of the next dot, or the length.
#[inline]
pub(crate) fn token_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let dots_are_zero = u64::from_le_bytes(*chunk) ^ DOTS;
        let found = dots_are_zero.wrapping_sub(ONES) & !dots_are_zero & HIGHS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < bytes.len() && bytes[at] != b'.' {
        at += 1;
    }
    at
}

/// What comes before the last token and its dot; none if there is but one token.
#[inline]
pub(crate) fn before_last(bytes: &[u8]) -> Option<&[u8]> {
    let mut end = bytes.len();
    while let Some(chunk) = bytes[..end].last_chunk::<8>() {
        let dots = dots(u64::from_be_bytes(*chunk));
        if dots != 0 {
            return Some(&bytes[..end - 1 - dots.trailing_zeros() as usize / 8]);
        }
        end -= 8;
    }
    let dot = bytes[..end].iter().rposition(|byte| *byte == b'.')?;
    Some(&bytes[..dot])
}

/// Whether some token is empty; so is the only token of the empty subject. In other words: whether
/// two dots meet, if there were one before the start and one after the end.
#[inline]
pub(crate) fn has_empty_token(bytes: &[u8]) -> bool {
    let (chunks, tail) = bytes.as_chunks::<8>();
    let mut after_dot = HIGH;
    for chunk in chunks {
        let dots = dots(u64::from_le_bytes(*chunk));
        if dots & (dots << 8 | after_dot) != 0 {
            return true;
        }
        after_dot = dots >> 56;
    }
    let mut after_dot = after_dot != 0;
    for &byte in tail {
        if after_dot && byte == b'.' {
            return true;
        }
        after_dot = byte == b'.';
    }
    after_dot
}

/// The high bit of each byte that is a dot, and of no other.
#[inline]
fn dots(bytes: u64) -> u64 {
    let dots_are_zero = bytes ^ DOTS;
    let low_bits_set = (dots_are_zero & !HIGHS) + !HIGHS;
    !(low_bits_set | dots_are_zero | !HIGHS)
}

/// The tokens in order, empty ones included.
pub(crate) fn tokens(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&byte| byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_ends_at_the_next_dot_at_every_offset() {
        for length in 0..40 {
            for dot in 0..=length {
                let mut bytes = vec![b'x'; length];
                // Bytes next to the dot's value, where a borrow in the eight-byte trick would show.
                bytes.iter_mut().skip(1).step_by(2).for_each(|byte| *byte = b'/');
                bytes.iter_mut().skip(2).step_by(3).for_each(|byte| *byte = 0xae);
                if dot < length {
                    bytes[dot] = b'.';
                }
                for from in 0..=length {
                    let expected = if from <= dot { dot } else { length };
                    assert_eq!(token_end(&bytes, from), expected, "{bytes:?} from {from}");
                }
            }
        }
    }

    #[test]
    fn the_last_dot_is_found_at_every_offset() {
        for length in 0..40 {
            let plain: Vec<u8> = (0..length).map(|at| [b'/', 0xae, b'-'][at % 3]).collect();
            assert_eq!(before_last(&plain), None);
            for dot in 0..length {
                let mut bytes = plain.clone();
                (bytes[dot / 2], bytes[dot]) = (b'.', b'.');
                assert_eq!(before_last(&bytes), Some(&bytes[..dot]), "{bytes:?}");
            }
        }
    }

    #[test]
    fn empty_tokens_are_found_anywhere() {
        for bad in ["", ".", ".a", "a.", "a..b", "abcdefgh..", "abcdefghi..abcdefghijk", ".."] {
            assert!(has_empty_token(bad.as_bytes()), "{bad}");
        }
        for length in 0..40 {
            for first in 0..length {
                for second in 0..length {
                    let mut bytes = vec![b'/'; length];
                    bytes[first] = b'.';
                    bytes[second] = b'.';
                    let expected = bytes.split(|byte| *byte == b'.').any(<[u8]>::is_empty);
                    assert_eq!(has_empty_token(&bytes), expected, "{bytes:?}");
                }
            }
        }
        for good in ["a", "a.b", "abcdefgh.i", "abcdefgh.ijklmnop.q.r.s.t.u.v", "*", ">.>"] {
            assert!(!has_empty_token(good.as_bytes()), "{good}");
        }
    }
}
