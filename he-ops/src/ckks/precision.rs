//! How close two slot vectors are, in bits.

use num_complex::Complex64;
use serde::{Deserialize, Serialize};

/// Errors of a slot vector against an oracle. Bits are -log2 of the absolute error; an error of zero counts as 60 bits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrecisionStats {
    /// Bits of the largest error.
    pub min_bits: f64,
    /// Bits of the mean error.
    pub mean_bits: f64,
    /// Largest error.
    pub max_error: f64,
}

const EXACT_BITS: f64 = 60.0;

impl PrecisionStats {
    /// Compares slot by slot; slots that only one side has count as errors of their own size.
    #[must_use]
    pub fn new(want: &[Complex64], got: &[Complex64]) -> Self {
        let len = want.len().max(got.len());
        let at = |v: &[Complex64], i: usize| v.get(i).copied().unwrap_or_default();
        let (mut max, mut sum) = (0.0f64, 0.0);
        for i in 0..len {
            let error = (at(want, i) - at(got, i)).norm();
            // A NaN must not hide behind max().
            let error = if error.is_finite() { error } else { f64::INFINITY };
            max = max.max(error);
            sum += error;
        }
        let bits = |e: f64| {
            if e > 0.0 {
                (-e.log2()).min(EXACT_BITS)
            } else {
                EXACT_BITS
            }
        };
        Self {
            min_bits: bits(max),
            mean_bits: bits(sum / len.max(1) as f64),
            max_error: max,
        }
    }
}

impl std::fmt::Display for PrecisionStats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1} bits at least, {:.1} bits in the mean",
            self.min_bits, self.mean_bits
        )
    }
}
