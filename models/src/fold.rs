//! Weights folded into their neighbours, in f64: what is left needs the fewest levels.
//!
//! - the two halves of an input ride in one ciphertext, so Wq, Wk, Wv and W1 carry the 1/2 of a real or imaginary part;
//! - 1/sqrt(head_dim), 1/seq_len and the map of the denominator's range to \[-1, 1\] go into the mask of the scores;
//! - the constant of the reciprocal goes into the columns of Wo, Wo and the batch norm into W1 and the classifier;
//! - the square of the activation is completed, so that it is one product: `a p^2 + b p + c = a (p + b/2a)^2 + rest`;
//! - a, W2, the mean over tokens and the classifier are one matrix for each branch of the residual.

#![expect(
    clippy::indexing_slicing,
    reason = "shapes are checked when weights are loaded; sums over heads and features"
)]

use crate::config::ModelConfig;
use crate::matrix::Matrix;
use crate::weights::Weights;

/// A classifier as the server evaluates it.
///
/// With heads h of features f, and all sums over the tokens j:
/// `s = mask_h (q . k) + shift_h`, `w = s^2`, `t = t_offset_h - sum w`, `r = prod_k (T_{2^k}(t0_h) + T_{2^k}(t))`,
/// `o = (sum w v) r`, `u = (w1_x x + w1_o o + pre_offset)^2`,
/// `logits = sum_t (head_u u + head_o o + head_x x) + head_offset`.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded {
    /// Half of Wq, (dim, dim): `q = 2 Re(wq z) + bq`.
    pub wq: Matrix,
    /// (dim).
    pub bq: Vec<f64>,
    /// Half of Wk, (dim, dim): `k = 2 Im(wk z) + bk`.
    pub wk: Matrix,
    /// (dim).
    pub bk: Vec<f64>,
    /// Half of Wv, (dim, dim): `v = 2 Im(wv z) + bv`.
    pub wv: Matrix,
    /// (dim).
    pub bv: Vec<f64>,
    /// Factor of the scores of a head, (n_heads).
    pub mask: Vec<f64>,
    /// Added to the scores of a head, (n_heads).
    pub shift: Vec<f64>,
    /// The sum of the powers is subtracted from it to give t, (n_heads).
    pub t_offset: Vec<f64>,
    /// The image of a zero denominator, (n_heads).
    pub t0: Vec<f64>,
    /// Half of the input's weight on the activation, (hidden_dim, dim): `2 Re(w1_x z)`.
    pub w1_x: Matrix,
    /// Half of the attention's weight on the activation, (hidden_dim, dim).
    pub w1_o: Matrix,
    /// Added before the square, (hidden_dim).
    pub pre_offset: Vec<f64>,
    /// Weight of the squares on the logits, (num_labels, hidden_dim).
    pub head_u: Matrix,
    /// Weight of the attention on the logits, (num_labels, dim).
    pub head_o: Matrix,
    /// Weight of the input on the logits, (num_labels, dim).
    pub head_x: Matrix,
    /// Added to the logits, (num_labels).
    pub head_offset: Vec<f64>,
}

impl Folded {
    /// Folds the weights of a checked model.
    pub fn new(config: &ModelConfig, weights: &Weights) -> Self {
        let layer = &weights.layer;
        let seq_len = config.seq_len as f64;

        // the denominator D in [lo, hi] becomes t = t0 - alpha D in [-1, 1]
        let alpha: Vec<f64> = config.ranges().iter().map(|[lo, hi]| 2.0 / (hi - lo)).collect();
        let t0: Vec<f64> = config
            .ranges()
            .iter()
            .map(|[lo, hi]| (hi + lo) / (hi - lo))
            .collect();
        // the powers come out as alpha w / seq_len, so o is short of C / alpha = 2^K / T_{2^K}(t0)
        let missing: Vec<f64> = t0
            .iter()
            .map(|t0| {
                let last = (0..config.reciprocal.doublings).fold(*t0, |t, _| 2.0 * t * t - 1.0);
                f64::from(1u32 << config.reciprocal.doublings) / last
            })
            .collect();
        let columns: Vec<f64> = (0..config.dim).map(|f| missing[config.head_of(f)]).collect();
        let wo = layer.wo.scale_columns(&columns);

        // pre = W1 (scale (x + Wo o + bo) + offset) + b1
        let (scale, offset) = layer.norm.affine(config.batch_norm_eps);
        let w1 = layer.w1.scale_columns(&scale);
        let normed_bias: Vec<f64> = (0..config.dim)
            .map(|f| scale[f] * layer.bo[f] + offset[f])
            .collect();
        let pre_bias = layer.w1.affine(&normed_bias, &layer.b1);
        let act = &layer.activation;
        let pre_offset = (0..config.hidden_dim)
            .map(|i| pre_bias[i] + act.b[i] / (2.0 * act.a[i]))
            .collect();

        // logits = Wc mean(x + Wo o + bo + W2 (a u + rest) + b2) + bc
        let rest: Vec<f64> = (0..config.hidden_dim)
            .map(|i| act.c[i] - act.b[i] * act.b[i] / (4.0 * act.a[i]))
            .collect();
        let down = layer.w2.affine(&rest, &layer.b2);
        let constant: Vec<f64> = (0..config.dim).map(|f| layer.bo[f] + down[f]).collect();
        let head_x = weights.wc.scale(1.0 / seq_len);

        Self {
            wq: layer.wq.scale(0.5),
            bq: layer.bq.clone(),
            wk: layer.wk.scale(0.5),
            bk: layer.bk.clone(),
            wv: layer.wv.scale(0.5),
            bv: layer.bv.clone(),
            mask: alpha
                .iter()
                .map(|alpha| (alpha / (seq_len * config.head_dim() as f64)).sqrt())
                .collect(),
            shift: alpha
                .iter()
                .zip(&layer.shift)
                .map(|(alpha, c)| c * (alpha / seq_len).sqrt())
                .collect(),
            t_offset: t0
                .iter()
                .zip(&alpha)
                .map(|(t0, alpha)| t0 - alpha * config.attention.epsilon)
                .collect(),
            t0,
            w1_x: w1.scale(0.5),
            w1_o: w1.product(&wo).scale(0.5),
            pre_offset,
            head_u: head_x.product(&layer.w2).scale_columns(&act.a),
            head_o: head_x.product(&wo),
            head_x,
            head_offset: weights.wc.affine(&constant, &weights.bc),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{Mode, forward};
    use crate::synthetic::{Shape, SyntheticModel};

    /// The formulas of [`Folded`], term by term.
    fn evaluate(model: &SyntheticModel, folded: &Folded, x: &[f64]) -> Vec<f64> {
        let config = &model.config;
        let x: Vec<&[f64]> = x.chunks(config.dim).collect();
        let rows = |w: &Matrix, b: &[f64]| -> Vec<Vec<f64>> {
            x.iter().map(|x| w.scale(2.0).affine(x, b)).collect()
        };
        let (q, k, v) = (
            rows(&folded.wq, &folded.bq),
            rows(&folded.wk, &folded.bk),
            rows(&folded.wv, &folded.bv),
        );
        let mut logits = folded.head_offset.clone();
        for t in 0..config.seq_len {
            let o: Vec<f64> = (0..config.dim)
                .map(|f| {
                    let head = config.head_of(f);
                    let features = head * config.head_dim()..(head + 1) * config.head_dim();
                    let powers: Vec<f64> = (0..config.seq_len)
                        .map(|j| {
                            let dot: f64 = features.clone().map(|f| q[t][f] * k[j][f]).sum();
                            (folded.mask[head] * dot + folded.shift[head]).powi(2)
                        })
                        .collect();
                    let mut image = folded.t_offset[head] - powers.iter().sum::<f64>();
                    let (mut at_zero, mut r) = (folded.t0[head], 1.0);
                    for _ in 0..config.reciprocal.doublings {
                        r *= at_zero + image;
                        (at_zero, image) = (2.0 * at_zero * at_zero - 1.0, 2.0 * image * image - 1.0);
                    }
                    powers.iter().zip(&v).map(|(w, v)| w * v[f]).sum::<f64>() * r
                })
                .collect();
            let from_x = folded.w1_x.scale(2.0).affine(x[t], &folded.pre_offset);
            let pre = folded.w1_o.scale(2.0).affine(&o, &from_x);
            let u: Vec<f64> = pre.iter().map(|p| p * p).collect();
            logits = folded.head_u.affine(&u, &logits);
            logits = folded.head_o.affine(&o, &logits);
            logits = folded.head_x.affine(x[t], &logits);
        }
        logits
    }

    #[test]
    fn folding_changes_nothing() {
        for shape in [
            Shape::SMALL,
            Shape {
                n_heads: 4,
                ..Shape::SENTIMENT
            },
            Shape::SENTIMENT,
        ] {
            let mut model = shape.model(11).unwrap();
            for doublings in [2, 3] {
                model.config.reciprocal.doublings = doublings;
                let folded = Folded::new(&model.config, &model.weights);
                let x = model.input(2);
                let expected = forward(&model.config, &model.weights, &x, Mode::Polynomial).unwrap();
                for (a, b) in evaluate(&model, &folded, &x).iter().zip(&expected) {
                    assert!((a - b).abs() < 1e-10, "{shape:?} {doublings}: {a} {b}");
                }
            }
        }
    }
}
