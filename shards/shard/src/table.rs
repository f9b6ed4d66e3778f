//! How tables grow that have a row for each connection or subscription.

use std::collections::BinaryHeap;

/// A table of so many bytes is large.
const LARGE_BYTES: usize = 64 * 1024;
/// What a large table asks for at least: so much that it is mapped by itself. From then on it
/// grows by remapping. Nothing is copied, no hole of its old size stays behind, and of rows that
/// nobody has used yet there is only the address.
const MAPPED_BYTES: usize = 1024 * 1024;

/// Adds a row.
pub fn push<T>(table: &mut Vec<T>, row: T) {
    if table.len() == table.capacity() {
        table.reserve_exact(more_rows::<T>(table.len()));
    }
    table.push(row);
}

/// Fills a table up to this row, and with it.
pub(crate) fn fill_to<T>(table: &mut Vec<T>, last: usize, empty: impl FnMut() -> T) {
    if table.len() > last {
        return;
    }
    if table.capacity() <= last {
        let missing = last + 1 - table.len();
        table.reserve_exact(missing.max(more_rows::<T>(table.len())));
    }
    table.resize_with(last + 1, empty);
}

/// As [`push`], for a heap.
pub(crate) fn push_heap<T: Ord>(heap: &mut BinaryHeap<T>, row: T) {
    if heap.len() == heap.capacity() {
        heap.reserve_exact(more_rows::<T>(heap.len()));
    }
    heap.push(row);
}

/// By a quarter, not by doubling: the slack is part of what a row may cost.
fn more_rows<T>(rows: usize) -> usize {
    let quarter = rows / 4 + 4;
    match rows * size_of::<T>() {
        bytes if (LARGE_BYTES..MAPPED_BYTES).contains(&bytes) => {
            quarter.max((MAPPED_BYTES - bytes) / size_of::<T>())
        }
        _ => quarter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_table_has_little_slack_and_a_large_one_a_mapping() {
        let (mut table, mut seen) = (Vec::new(), Vec::new());
        for row in 0..400_000_u64 {
            push(&mut table, row);
            if seen.last() != Some(&table.capacity()) {
                seen.push(table.capacity());
            }
        }
        assert!(table.iter().copied().eq(0..400_000));
        assert_eq!(seen[..4], [4, 9, 15, 22]);
        let small = seen.partition_point(|rows| rows * 8 < MAPPED_BYTES);
        assert!(seen[small - 1] * 8 < LARGE_BYTES * 5 / 4 + 64, "{seen:?}");
        assert!(seen[small] * 8 < MAPPED_BYTES * 5 / 4, "{seen:?}");
        assert!(seen.iter().zip(&seen[1..small]).all(|(rows, next)| *next <= rows + rows / 4 + 4));
    }

    #[test]
    fn a_table_is_filled_to_the_row_that_is_wanted() {
        let mut table = vec![1];
        fill_to(&mut table, 0, || 2);
        assert_eq!(table, [1]);
        fill_to(&mut table, 20, || 2);
        assert_eq!((table.len(), table[20]), (21, 2));
    }
}
