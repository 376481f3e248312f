//! What a forward pass saw on its way.

use serde::{Deserialize, Serialize};

/// Output and ranges of one forward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Logits (num_labels), the pooled embedding (dim), or logits of every position (seq_len, vocab).
    pub output: Vec<f64>,
    /// Output of every layer, (seq_len, dim) row-major.
    pub hidden: Vec<Vec<f64>>,
    /// Where the values were.
    pub ranges: Ranges,
}

/// Where the values of one or many forward passes were, before any margin: `ranges.json` of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranges {
    /// Forward passes.
    pub inputs: usize,
    /// Of every layer.
    pub layers: Vec<LayerTrace>,
    /// Largest |x| of the input.
    pub embedding_max: f64,
    /// What the norm at the end saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_norm: Option<NormTrace>,
}

/// Ranges of one layer. Largest values are of the magnitude.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerTrace {
    /// Largest score, scale and shift included, of each head; masked ones count.
    pub score_max: Vec<f64>,
    /// Smallest and largest denominator of each head.
    pub denominator: Vec<[f64; 2]>,
    /// Largest value v.
    pub value_max: f64,
    /// Largest attention output before its matrix.
    pub attention_max: f64,
    /// Largest x + attention.
    pub residual1_max: f64,
    /// The norm of the attention block.
    pub norm1: NormTrace,
    /// Largest input of the activation.
    pub up_max: f64,
    /// Largest value after the second residual addition.
    pub residual2_max: f64,
    /// The norm of the feed-forward block.
    pub norm2: NormTrace,
}

/// What a norm saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NormTrace {
    /// Smallest and largest variance + epsilon; `[inf, 0]` where nothing is inverted.
    pub variance: [f64; 2],
    /// Largest output before gamma and beta.
    pub normed_max: f64,
}

/// Nothing seen yet.
pub(crate) const EMPTY: [f64; 2] = [f64::INFINITY, 0.0];

pub(crate) fn widen(range: &mut [f64; 2], value: f64) {
    let [lo, hi] = *range;
    *range = [lo.min(value), hi.max(value)];
}

/// The largest magnitude.
pub(crate) fn max_abs(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |max, value| max.max(value.abs()))
}

impl NormTrace {
    pub(crate) const EMPTY: Self = Self {
        variance: EMPTY,
        normed_max: 0.0,
    };

    fn merge(&mut self, other: &Self) {
        let ([lo, hi], [other_lo, other_hi]) = (self.variance, other.variance);
        self.variance = [lo.min(other_lo), hi.max(other_hi)];
        self.normed_max = self.normed_max.max(other.normed_max);
    }
}

impl LayerTrace {
    pub(crate) fn empty(n_heads: usize) -> Self {
        Self {
            score_max: vec![0.0; n_heads],
            denominator: vec![EMPTY; n_heads],
            value_max: 0.0,
            attention_max: 0.0,
            residual1_max: 0.0,
            norm1: NormTrace::EMPTY,
            up_max: 0.0,
            residual2_max: 0.0,
            norm2: NormTrace::EMPTY,
        }
    }

    fn merge(&mut self, other: &Self) {
        for (max, other) in self.score_max.iter_mut().zip(&other.score_max) {
            *max = max.max(*other);
        }
        for (range, [lo, hi]) in self.denominator.iter_mut().zip(&other.denominator) {
            *range = [range[0].min(*lo), range[1].max(*hi)];
        }
        for (max, other) in [
            (&mut self.value_max, other.value_max),
            (&mut self.attention_max, other.attention_max),
            (&mut self.residual1_max, other.residual1_max),
            (&mut self.up_max, other.up_max),
            (&mut self.residual2_max, other.residual2_max),
        ] {
            *max = max.max(other);
        }
        self.norm1.merge(&other.norm1);
        self.norm2.merge(&other.norm2);
    }
}

impl Ranges {
    /// Widens the ranges by those of other forward passes of the same model.
    pub fn merge(&mut self, other: &Self) {
        self.inputs += other.inputs;
        for (layer, other) in self.layers.iter_mut().zip(&other.layers) {
            layer.merge(other);
        }
        self.embedding_max = self.embedding_max.max(other.embedding_max);
        if let (Some(norm), Some(other)) = (&mut self.final_norm, &other.final_norm) {
            norm.merge(other);
        }
    }
}
