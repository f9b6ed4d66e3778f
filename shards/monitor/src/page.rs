//! Offsets and limits of long lists.

pub(crate) fn at_least_0(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

pub(crate) fn at_least_1_or(number: i64, otherwise: usize) -> usize {
    usize::try_from(number).ok().filter(|number| *number > 0).unwrap_or(otherwise)
}

/// The part of a list that a page shows.
pub(crate) fn page<T>(list: &[T], offset: usize, limit: usize) -> &[T] {
    let rest = &list[offset.min(list.len())..];
    &rest[..limit.min(rest.len())]
}
