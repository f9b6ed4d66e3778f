//! Randomness from a seed, in streams that don't disturb each other.

/// A stream of numbers. The same seed and salt give the same stream.
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    /// The stream of this seed that is called `salt`. Draws from one stream never move another.
    pub fn stream(seed: u64, salt: &str) -> Prng {
        let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
        for byte in salt.bytes() {
            state = mix(state ^ u64::from(byte));
        }
        Prng(state)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number less than `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// As [`Prng::below`], for indices.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number of a closed interval.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True this often in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }

    /// An index, each with the odds of its weight. Not all weights are 0.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let mut left = self.below(total);
        for (at, weight) in weights.iter().enumerate() {
            if left < u64::from(*weight) {
                return at;
            }
            left -= u64::from(*weight);
        }
        unreachable!("the draw is below the sum of the weights")
    }
}

/// The finalizer of splitmix64.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, salt| {
            let mut prng = Prng::stream(seed, salt);
            [prng.draw(), prng.draw(), prng.draw()]
        };
        assert_eq!(draw(7, "time"), draw(7, "time"));
        assert_ne!(draw(7, "time"), draw(7, "pipes"));
        assert_ne!(draw(7, "time"), draw(8, "time"));
    }

    #[test]
    fn draws_stay_in_their_bounds_and_reach_them() {
        let mut prng = Prng::stream(1, "bounds");
        let mut seen = [0u32; 5];
        for _ in 0..1000 {
            seen[prng.between(2, 4) as usize] += 1;
        }
        assert_eq!((seen[0], seen[1]), (0, 0));
        assert!(seen[2..].iter().all(|count| *count > 250));
        assert!((0..1000).all(|_| prng.weighted(&[0, 3, 0]) == 1));
        assert!((0..1000).all(|_| !prng.chance(0) && prng.chance(1000)));
    }
}
