//! Buffers for records, kept for reuse.
//!
//! What waits for a slow receiver is limited by its bytes, whatever the buffer is that they are in.
//! So a chunk gets one of the shortest length it fits into.

/// Their lengths, each eight times the one before, and how many of each are kept.
const KINDS: [(usize, usize); 4] =
    [(4 * 1024, 512), (32 * 1024, 128), (256 * 1024, 32), (2 * 1024 * 1024, 8)];

#[derive(Default)]
pub(super) struct Spare {
    /// By kind.
    kept: [Vec<Vec<u8>>; KINDS.len()],
}

impl Spare {
    /// A buffer of this length at least.
    fn take(&mut self, length: usize) -> Vec<u8> {
        match KINDS.iter().position(|(kind, _)| length <= *kind) {
            Some(kind) => self.kept[kind].pop().unwrap_or_else(|| vec![0; KINDS[kind].0]),
            None => vec![0; length],
        }
    }

    /// The first `used` bytes of a buffer in one of this length at least. What is behind them is
    /// left over from others.
    pub fn lengthen(&mut self, buffer: Vec<u8>, used: usize, length: usize) -> Vec<u8> {
        if length <= buffer.len() {
            return buffer;
        }
        let mut longer = self.take(length);
        longer[..used].copy_from_slice(&buffer[..used]);
        self.give(buffer);
        longer
    }

    /// One longer than the longest kind is not kept.
    pub fn give(&mut self, buffer: Vec<u8>) {
        if let Some(kind) = KINDS.iter().position(|(kind, _)| buffer.len() == *kind)
            && self.kept[kind].len() < KINDS[kind].1
        {
            self.kept[kind].push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_by_what_fills_a_part_of_it() {
        let mut spare = Spare::default();
        for (length, least) in [(20_000, 4097), (70_000, 32_769), (300_000, 262_145)] {
            let buffer = spare.take(length);
            let at = buffer.as_ptr();
            spare.give(buffer);
            let (little, enough) = (spare.take(least / 9), spare.take(least));
            assert_ne!(little.as_ptr(), at);
            assert_eq!(enough.as_ptr(), at);
            assert!(enough.len() >= length);
        }
    }

    #[test]
    fn a_longer_one_begins_alike() {
        let mut spare = Spare::default();
        let short = vec![7; 4096];
        let short = spare.lengthen(short, 3000, 4096);
        assert_eq!(short.len(), 4096);
        let long = spare.lengthen(short, 3000, 5000);
        assert_eq!(
            (long.len(), &long[..3001]),
            (32 * 1024, &[vec![7; 3000], vec![0]].concat()[..])
        );
        assert_eq!(spare.kept.each_ref().map(Vec::len), [1, 0, 0, 0]);
    }

    #[test]
    fn few_are_kept() {
        let mut spare = Spare::default();
        (0..20).for_each(|_| spare.give(vec![0; 2 * 1024 * 1024]));
        spare.give(vec![0; 3 * 1024 * 1024]);
        assert_eq!(spare.kept.each_ref().map(Vec::len), [0, 0, 0, 8]);
    }
}
