//! Where the values of a model were seen, and the polynomials chosen for these ranges.
//!
//! The lowering and the f64 reference take their polynomials from here, so both evaluate the same numbers.
//!
//! Newton steps for 1/sqrt are not among the choices: at equal depth a polynomial of higher degree is always
//! closer. The reciprocal is the optimal relaxed Goldschmidt iteration already (note 009 of `he-ops`).

use he_ops::circuits::{ChebyshevSeries, Reciprocal};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::special::gelu;

/// Ranges of all layers, the margin included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// One for each layer.
    pub layers: Vec<LayerFit>,
    /// Largest |x| of the embedded inputs.
    pub embedding_max: f64,
    /// The norm at the end, with [`Position::Pre`](super::config::Position::Pre) only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_norm: Option<NormFit>,
}

/// Ranges and degrees of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerFit {
    /// Largest |s|, scale and shift included, of each head.
    pub score_max: Vec<f64>,
    /// `[lo, hi]` of the denominators of each head.
    pub denominator: Vec<[f64; 2]>,
    /// K: the polynomial for 1/denominator has degree 2^K - 1 and depth K.
    pub reciprocal_doublings: u32,
    /// Largest |v|.
    pub value_max: f64,
    /// The norm of the attention block.
    pub norm1: NormFit,
    /// The norm of the feed-forward block.
    pub norm2: NormFit,
    /// The activation.
    pub activation: ActivationFit,
    /// Largest |o|, the attention output before its matrix.
    pub attention_max: f64,
    /// Largest |x + attention|.
    pub residual1_max: f64,
    /// Largest value after the second residual addition.
    pub residual2_max: f64,
    /// Largest output of the first norm before gamma and beta.
    pub normed1_max: f64,
    /// Largest output of the second norm before gamma and beta.
    pub normed2_max: f64,
    /// Largest input of the activation.
    pub up_max: f64,
}

/// The polynomial for 1/sqrt(variance).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NormFit {
    /// `[lo, hi]` of variance + epsilon (RMS norm: of the mean of squares + epsilon). Without meaning for norms
    /// that do not invert.
    pub variance: [f64; 2],
    /// Degree; 0 for norms that do not invert.
    pub degree: u32,
}

/// The polynomial for the activation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActivationFit {
    /// R: its input is in \[-R, R\].
    pub range: f64,
    /// Degree of the approximation, or of the activation itself if that is a polynomial.
    pub degree: u32,
}

impl NormFit {
    /// What a norm that does not invert has.
    pub const UNUSED: Self = Self {
        variance: [1.0, 1.0],
        degree: 0,
    };

    /// Chebyshev series of t = [`normalize`](ChebyshevSeries::normalize)(x, lo, hi) for `sqrt(lo / x)`, which is in
    /// (0, 1\]: 1/sqrt(x) is [`gain`](Self::gain) times the series.
    ///
    /// # Errors
    /// - the degree is 0
    pub fn inverse_sqrt(&self, slots: usize) -> Result<ChebyshevSeries> {
        let [lo, hi] = self.variance;
        Ok(ChebyshevSeries::interpolate(
            slots,
            |x| (lo / x).sqrt(),
            lo,
            hi,
            self.degree as usize,
        )?)
    }

    /// 1/sqrt(lo): 1/sqrt(x) is this times [`inverse_sqrt`](Self::inverse_sqrt). Fold it into gamma.
    pub fn gain(&self) -> f64 {
        1.0 / self.variance[0].sqrt()
    }
}

impl ActivationFit {
    /// Chebyshev series of t = x / range in \[-1, 1\] for gelu(x) = x/2 + even part; all odd coefficients but that
    /// of T_1 (which is range / 2) are zero.
    ///
    /// # Errors
    /// - the degree is 0
    pub fn gelu(&self, slots: usize) -> Result<ChebyshevSeries> {
        let n = self.degree as usize + 1;
        let angle = |i: usize| std::f64::consts::PI * (i as f64 + 0.5) / n as f64;
        let samples: Vec<f64> = (0..n)
            .map(|i| {
                let x = self.range * angle(i).cos();
                gelu(x) - 0.5 * x
            })
            .collect();
        let coefficient = |k: usize| match k {
            1 => 0.5 * self.range,
            _ if k % 2 == 1 => 0.0,
            _ => {
                let sum: f64 = (samples.iter().enumerate())
                    .map(|(i, y)| y * (k as f64 * angle(i)).cos())
                    .sum();
                sum * if k == 0 { 1.0 } else { 2.0 } / n as f64
            }
        };
        Ok(ChebyshevSeries::new(slots, (0..n).map(coefficient).collect())?)
    }
}

impl LayerFit {
    /// 1/denominator of head h in slot h of a period of `n_heads` rounded up to a power of two; what is beyond the
    /// heads repeats the range of the last one.
    ///
    /// # Errors
    /// - a range is not 0 < lo < hi, or the doublings are not 1 to 8
    pub fn reciprocal(&self, slots: usize, n_heads: usize) -> Result<Reciprocal> {
        let ranges = (0..n_heads.next_power_of_two())
            .filter_map(|head| self.denominator.get(head).or(self.denominator.last()))
            .map(|[lo, hi]| (*lo, *hi))
            .collect();
        Ok(Reciprocal::new(slots, ranges, self.reciprocal_doublings)?)
    }
}
