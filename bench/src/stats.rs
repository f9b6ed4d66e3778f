//! Medians and ratios of a few runs. No means: one bad run must not move a figure.

use serde::{Deserialize, Serialize};

/// A median with the least and the greatest of its runs.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// Middle value; of an even number, the mean of the middle two.
    pub median: f64,
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
}

/// The spread of some values; nothing of nothing. Values that are no numbers are left out.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    };
    Some(Spread { median, min, max })
}

/// The spread of `above / below`, run by run: interleaved runs share their weather, so the ratio
/// of two neighbours is worth more than the ratio of two medians.
pub fn ratio(above: &[(usize, f64)], below: &[(usize, f64)]) -> Option<Spread> {
    let pairs = above.iter().filter_map(|(run, a)| {
        let (_, b) = below.iter().find(|(other, _)| other == run)?;
        (*b > 0.0).then(|| a / b)
    });
    spread(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(spread([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(spread([f64::NAN, 5.0]).unwrap().median, 5.0);
        assert_eq!(spread([]), None);
    }

    #[test]
    fn ratios_pair_runs_by_their_number() {
        let nats = [(0, 10.0), (1, 20.0), (3, 7.0)];
        let ours = [(1, 2.0), (0, 2.0), (2, 9.0), (3, 0.0)];
        let ratio = ratio(&nats, &ours).unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max), (7.5, 5.0, 10.0));
    }
}
