//! Medians of a few runs: one slow run must not move the number that is reported.

use serde::Serialize;

/// A few measurements of the same thing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Runs {
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median_ms: f64,
    /// The fastest.
    pub min_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// All, in the order of measuring.
    pub runs_ms: Vec<f64>,
}

impl Runs {
    /// Measurements in milliseconds; zeros when there are none.
    pub fn new(runs_ms: Vec<f64>) -> Self {
        let mut sorted = runs_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or(0.0);
        let (half, last) = (sorted.len() / 2, sorted.len().saturating_sub(1));
        let median_ms = (at(last - last.min(half)) + at(half.min(last))) / 2.0;
        Self {
            median_ms,
            min_ms: at(0),
            max_ms: at(last),
            runs_ms,
        }
    }

    /// Position of the run nearest to the median.
    pub fn median_run(&self) -> usize {
        let distance = |i: &usize| {
            self.runs_ms
                .get(*i)
                .map_or(f64::INFINITY, |ms| (ms - self.median_ms).abs())
        };
        (0..self.runs_ms.len())
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_one_and_none() {
        let median = |runs: &[f64]| Runs::new(runs.to_vec()).median_ms;
        assert_eq!(median(&[3.0, 1.0, 9.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 9.0, 2.0]), 3.0);
        assert_eq!(median(&[5.0]), 5.0);
        assert_eq!(median(&[]), 0.0);
        let runs = Runs::new(vec![3.0, 1.0, 9.0]);
        assert_eq!((runs.min_ms, runs.max_ms, runs.median_run()), (1.0, 9.0, 0));
    }
}
