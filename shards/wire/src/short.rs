//! Short pieces of memory, compared and copied in place: a call, which has to find out how long
//! they are, costs more than the work.

/// As `a == b`.
#[inline(always)]
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let ends = match a.len() {
        8..16 => ends_equal::<8>(a, b),
        16..32 => ends_equal::<16>(a, b),
        32..=64 => ends_equal::<32>(a, b),
        _ => None,
    };
    ends.unwrap_or_else(|| a == b)
}

/// Writes `from` over `to`, which must be as long.
#[inline(always)]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    debug_assert_eq!(to.len(), from.len());
    let copied = match from.len() {
        8..16 => copy_ends::<8>(to, from),
        16..32 => copy_ends::<16>(to, from),
        32..=64 => copy_ends::<32>(to, from),
        _ => None,
    };
    if copied.is_none() {
        to.copy_from_slice(from);
    }
}

/// Of the first and the last `N` bytes, which may overlap.
#[inline(always)]
fn ends_equal<const N: usize>(a: &[u8], b: &[u8]) -> Option<bool> {
    let first = a.first_chunk::<N>()? == b.first_chunk::<N>()?;
    Some(first & (a.last_chunk::<N>()? == b.last_chunk::<N>()?))
}

/// As [`ends_equal`].
#[inline(always)]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) -> Option<()> {
    *to.first_chunk_mut::<N>()? = *from.first_chunk::<N>()?;
    *to.last_chunk_mut::<N>()? = *from.last_chunk::<N>()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts_at_every_length() {
        for len in 0..100 {
            let from: Vec<u8> = (0..len).collect();
            let mut to = vec![0xff; from.len()];
            copy(&mut to, &from);
            assert_eq!(to, from);
            assert!(equal(&to, &from), "{len}");
            for at in 0..from.len() {
                to[at] ^= 0x80;
                assert!(!equal(&to, &from), "{at} of {len}");
                to[at] ^= 0x80;
            }
            assert!(!equal(&to, &[&from[..], b"x"].concat()));
        }
    }
}
