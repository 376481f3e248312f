//! Where the values of a model were seen, and the polynomials chosen for these ranges.
//!
//! The lowering and the f64 reference take their polynomials from here, so both evaluate the same numbers.
//!
//! Newton steps for 1/sqrt are not among the choices: at equal depth a polynomial of higher degree is always
//! closer. The reciprocal is the optimal relaxed Goldschmidt iteration already (note 009 of `he-ops`).

use he_ops::circuits::{ChebyshevSeries, Reciprocal};
use serde::{Deserialize, Serialize};

use super::check::need;
use super::config::{Activation, Position, TransformerConfig};
use super::report::Report;
use super::special::gelu;
use super::trace::Ranges;
use super::weights::TransformerWeights;
use crate::error::Result;

/// Ranges of all layers, the margin included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// One for each layer.
    pub layers: Vec<LayerFit>,
    /// Largest |x| of the embedded inputs.
    pub embedding_max: f64,
    /// The norm at the end, with [`Position::Pre`] only.
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

/// Degree of the activation, where it is a polynomial itself.
pub(super) fn exact_degree(activation: &Activation) -> Option<u32> {
    match activation {
        Activation::Gelu => None,
        Activation::Quadratic => Some(2),
        Activation::Polynomial { coefficients } | Activation::Chebyshev { coefficients, .. } => {
            Some(coefficients.len().saturating_sub(1) as u32)
        }
    }
}

impl Fit {
    /// Plausible ranges where there are no weights: for plans from the configuration alone. **Assumed, not measured:**
    /// denominators of condition number 30 around 1, variances of condition number 20 around 1, activation inputs
    /// within 6, everything else within the usual few standard deviations. Degrees are those which these ranges need.
    ///
    /// # Errors
    /// - a degree of the activation that no circuit has
    pub fn assumed(config: &TransformerConfig) -> Result<Self> {
        super::calibrate::assumed(config)
    }

    /// Runs the exact forward pass on clear inputs, (seq_len, dim) row-major each, and widens what it saw by
    /// `config.margin`: `[lo, hi]` to `[lo / margin, hi * margin]`, but no denominator or variance to less than the
    /// epsilon that is part of it.
    ///
    /// Then every approximation gets the smallest depth K (degree 2^K - 1, K at most 7) at which its error is at most
    /// 2^-precision_bits, or 2^-10 if that is larger: relative for 1/x and 1/sqrt(x), absolute for GELU.
    /// The report lists them, and those that missed it.
    ///
    /// # Errors
    /// - no input, or one of another length than `seq_len * dim`
    /// - the weights do not belong to `config`, or have no numbers
    /// - a denominator or variance was not positive and finite
    /// - the activation is a Chebyshev series that was seen outside of its own range
    pub fn calibrate(
        config: &TransformerConfig,
        weights: &TransformerWeights,
        inputs: &[Vec<f64>],
    ) -> Result<(Self, Report)> {
        super::calibrate::calibrate(config, weights, inputs)
    }

    /// The same from ranges that somebody else saw: a training that ran the model on far more inputs.
    ///
    /// # Errors
    /// - ranges of another number of layers or heads; otherwise as [`calibrate`](Self::calibrate)
    pub fn from_ranges(config: &TransformerConfig, ranges: &Ranges) -> Result<(Self, Report)> {
        super::calibrate::from_ranges(config, ranges)
    }

    /// Refuses a fit that does not belong to the configuration.
    ///
    /// # Errors
    /// - [`Error::Config`](crate::Error::Config) names the field
    pub fn check(&self, config: &TransformerConfig) -> Result<()> {
        need(
            self.layers.len() == config.n_layers,
            "fit.layers",
            "one for each layer",
            self.layers.len(),
        )?;
        need(
            self.final_norm.is_some() == (config.norm_position == Position::Pre),
            "fit.final_norm",
            "present if and only if norm_position is pre",
            format!("{:?}", self.final_norm),
        )?;
        positive("fit.embedding_max", self.embedding_max)?;
        if let Some(norm) = &self.final_norm {
            norm.check("fit.final_norm", config)?;
        }
        self.layers.iter().try_for_each(|layer| layer.check(config))
    }
}

fn positive(field: &'static str, value: f64) -> Result<()> {
    need(
        value.is_finite() && value > 0.0,
        field,
        "a finite number above 0",
        value,
    )
}

fn ordered(field: &'static str, range: [f64; 2]) -> Result<()> {
    let [lo, hi] = range;
    let found = format!("{range:?}");
    need(lo > 0.0 && lo < hi && hi.is_finite(), field, "0 < lo < hi", found)
}

impl NormFit {
    fn check(&self, field: &'static str, config: &TransformerConfig) -> Result<()> {
        if !config.norm.inverts() {
            return Ok(());
        }
        ordered(field, self.variance)?;
        need(
            (1..=127).contains(&self.degree),
            field,
            "a degree from 1 to 127",
            self.degree,
        )
    }
}

impl LayerFit {
    fn check(&self, config: &TransformerConfig) -> Result<()> {
        let heads = |field, found: usize| need(found == config.n_heads, field, "one for each head", found);
        heads("fit.score_max", self.score_max.len())?;
        heads("fit.denominator", self.denominator.len())?;
        for max in &self.score_max {
            positive("fit.score_max", *max)?;
        }
        for range in &self.denominator {
            ordered("fit.denominator", *range)?;
        }
        need(
            (1..=7).contains(&self.reciprocal_doublings),
            "fit.reciprocal_doublings",
            "1 to 7",
            self.reciprocal_doublings,
        )?;
        self.norm1.check("fit.norm1", config)?;
        self.norm2.check("fit.norm2", config)?;
        positive("fit.activation.range", self.activation.range)?;
        need(
            (1..=127).contains(&self.activation.degree),
            "fit.activation.degree",
            "1 to 127",
            self.activation.degree,
        )?;
        for (field, max) in [
            ("fit.value_max", self.value_max),
            ("fit.attention_max", self.attention_max),
            ("fit.residual1_max", self.residual1_max),
            ("fit.residual2_max", self.residual2_max),
            ("fit.normed1_max", self.normed1_max),
            ("fit.normed2_max", self.normed2_max),
            ("fit.up_max", self.up_max),
        ] {
            positive(field, max)?;
        }
        Ok(())
    }
}
