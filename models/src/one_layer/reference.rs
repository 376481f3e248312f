//! The classifier in f64, in clear: the oracle that every encrypted answer is held against.
//!
//! Reads from top to bottom, one token at a time, in the notation of the model card.

#![expect(
    clippy::indexing_slicing,
    reason = "shapes are checked at the door; loops over the model's own sizes"
)]

use crate::error::{Error, Result};
use crate::model::Mode;
use crate::one_layer::config::ModelConfig;
use crate::one_layer::weights::Weights;

/// Logits of the embedded input `x` (row-major, `x[t * dim + f]`), (num_labels).
///
/// # Errors
/// - `x` has another length than `seq_len * dim`
pub fn forward(config: &ModelConfig, weights: &Weights, x: &[f64], mode: Mode) -> Result<Vec<f64>> {
    trace(config, weights, x, mode).map(|trace| trace.logits)
}

/// What [`trace`] saw on the way to the logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Denominators of every head and token, `[head][token]`.
    pub denominators: Vec<Vec<f64>>,
    /// Attention output before Wo, `[token][feature]`.
    pub attention: Vec<Vec<f64>>,
    /// Input of the activation, `[token][hidden]`.
    pub pre_activations: Vec<Vec<f64>>,
    /// The logits.
    pub logits: Vec<f64>,
}

/// [`forward`] with intermediate values, for tests of single layers and for range checks.
///
/// # Errors
/// - `x` has another length than `seq_len * dim`
pub fn trace(config: &ModelConfig, weights: &Weights, x: &[f64], mode: Mode) -> Result<Trace> {
    let (seq_len, dim, head_dim) = (config.seq_len, config.dim, config.head_dim());
    if x.len() != seq_len * dim {
        return Err(Error::Length {
            what: "embedded input",
            needed: seq_len * dim,
            found: x.len(),
        });
    }
    let w = &weights.layer;
    let x: Vec<&[f64]> = x.chunks_exact(dim).collect();

    // queries, keys, values: (seq_len, dim)
    let q: Vec<_> = x.iter().map(|x| w.wq.affine(x, &w.bq)).collect();
    let k: Vec<_> = x.iter().map(|x| w.wk.affine(x, &w.bk)).collect();
    let v: Vec<_> = x.iter().map(|x| w.wv.affine(x, &w.bv)).collect();

    // PowerSoftmax attention, head by head
    let mut denominators = vec![vec![0.0; seq_len]; config.n_heads];
    let mut attention = vec![vec![0.0; dim]; seq_len];
    for (head, seen) in denominators.iter_mut().enumerate() {
        let features = head * head_dim..(head + 1) * head_dim;
        for t in 0..seq_len {
            let powers: Vec<f64> = (0..seq_len)
                .map(|j| {
                    let dot: f64 = features.clone().map(|f| q[t][f] * k[j][f]).sum();
                    (dot / (head_dim as f64).sqrt() + w.shift[head]).powi(2)
                })
                .collect();
            let denominator = powers.iter().sum::<f64>() / seq_len as f64 + config.attention.epsilon;
            let inverse = match mode {
                Mode::Exact => 1.0 / denominator,
                Mode::Polynomial => {
                    reciprocal(denominator, config.ranges()[head], config.reciprocal.doublings)
                }
            };
            for f in features.clone() {
                let sum: f64 = (0..seq_len).map(|j| powers[j] * v[j][f]).sum();
                attention[t][f] = sum / seq_len as f64 * inverse;
            }
            seen[t] = denominator;
        }
    }

    // residual, norm, feed-forward, residual, mean over tokens, classifier
    let (scale, offset) = w.norm.affine(config.batch_norm_eps);
    let mut pre_activations = Vec::with_capacity(seq_len);
    let mut pooled = vec![0.0; dim];
    for t in 0..seq_len {
        let projected = w.wo.affine(&attention[t], &w.bo);
        let x1: Vec<f64> = (0..dim).map(|f| x[t][f] + projected[f]).collect();
        let normed: Vec<f64> = (0..dim).map(|f| scale[f] * x1[f] + offset[f]).collect();
        let pre = w.w1.affine(&normed, &w.b1);
        let act = &w.activation;
        let u: Vec<f64> = (0..pre.len())
            .map(|i| (act.a[i] * pre[i] + act.b[i]) * pre[i] + act.c[i])
            .collect();
        let down = w.w2.affine(&u, &w.b2);
        for f in 0..dim {
            pooled[f] += (x1[f] + down[f]) / seq_len as f64;
        }
        pre_activations.push(pre);
    }
    let logits = weights.wc.affine(&pooled, &weights.bc);
    Ok(Trace {
        denominators,
        attention,
        pre_activations,
        logits,
    })
}

/// 1/x on [lo, hi] by Chebyshev doubling: `C prod_{j<K} (T_{2^j}(t0) + T_{2^j}(t))`.
///
/// It equals `(1 - T_{2^K}(t) / T_{2^K}(t0)) / x`, so the relative error on the range is at most
/// `1 / T_{2^K}(t0)`, the least possible for the degree.
pub fn reciprocal(x: f64, [lo, hi]: [f64; 2], doublings: u32) -> f64 {
    let (mut t, mut t0) = ((hi + lo - 2.0 * x) / (hi - lo), (hi + lo) / (hi - lo));
    let mut product = 1.0;
    for _ in 0..doublings {
        product *= t0 + t;
        (t, t0) = (2.0 * t * t - 1.0, 2.0 * t0 * t0 - 1.0);
    }
    product * f64::from(1u32 << (doublings + 1)) / ((hi - lo) * t0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::one_layer::synthetic::Shape;

    #[test]
    fn reciprocal_is_within_its_bound() {
        for range in [[0.5, 2.0], [0.3, 4.0], [0.1, 10.0_f64]] {
            let [lo, hi]: [f64; 2] = range;
            for doublings in 1..=5 {
                let degree = f64::from(1u32 << doublings);
                let bound = 1.0 / (degree * ((hi + lo) / (hi - lo)).acosh()).cosh();
                let worst = (0..=1000)
                    .map(|i| lo + (hi - lo) * f64::from(i) / 1000.0)
                    .map(|x| (reciprocal(x, range, doublings) * x - 1.0).abs())
                    .fold(0.0, f64::max);
                assert!(
                    worst <= bound * (1.0 + 1e-6) + 1e-14,
                    "{range:?} {doublings}: {worst} > {bound}"
                );
                assert!(
                    worst >= bound * 0.9 - 1e-14,
                    "{range:?} {doublings}: {worst} far below {bound}"
                );
            }
        }
    }

    #[test]
    fn polynomial_follows_the_division_where_the_range_holds() {
        let model = Shape::SENTIMENT.model(3).unwrap();
        for seed in 0..4 {
            let x = model.input(seed);
            let exact = trace(&model.config, &model.weights, &x, Mode::Exact).unwrap();
            let polynomial = trace(&model.config, &model.weights, &x, Mode::Polynomial).unwrap();
            for (head, found) in exact.denominators.iter().enumerate() {
                let [lo, hi] = model.config.ranges()[head];
                assert!(found.iter().all(|d| (lo..=hi).contains(d)), "{lo} {hi} {found:?}");
            }
            for (a, b) in exact.logits.iter().zip(&polynomial.logits) {
                assert!((a - b).abs() < 0.1, "{exact:?} {polynomial:?}");
            }
        }
    }

    #[test]
    fn uniform_attention_is_the_mean_of_the_values() {
        // with zero queries every score is the shift, so every token attends to all tokens alike
        let mut model = Shape::SMALL.model(1).unwrap();
        model.weights.layer.wq = model.weights.layer.wq.scale(0.0);
        model.weights.layer.bq.fill(0.0);
        model.config.attention.epsilon = 0.0;
        let x = model.input(0);
        let found = trace(&model.config, &model.weights, &x, Mode::Exact)
            .unwrap()
            .attention;
        let layer = &model.weights.layer;
        let values: Vec<_> = x
            .chunks(model.config.dim)
            .map(|x| layer.wv.affine(x, &layer.bv))
            .collect();
        for f in 0..model.config.dim {
            let mean = values.iter().map(|v| v[f]).sum::<f64>() / values.len() as f64;
            assert!((found[0][f] - mean).abs() < 1e-12);
        }
    }
}
