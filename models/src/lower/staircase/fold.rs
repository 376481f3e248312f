//! Weights folded into their neighbours, in f64: what is left needs the fewest levels.
//!
//! - the two halves of an input ride in one ciphertext, so Wq, Wk, Wv and W1 carry the 1/2 of a real or imaginary part;
//! - the attention circuit leaves a factor out of each head; it goes into the columns of Wo;
//! - Wo and the batch norm go into W1, and Wo into the classifier: the residual stream is never formed;
//! - the square of the activation is completed, so that it is one product: `a p^2 + b p + c = a (p + b/2a)^2 + rest`;
//! - a, W2, the mean over tokens and the classifier are one matrix for each branch of the residual.
//!
//! (The attention circuit itself folds 1/sqrt(head_dim), 1/seq_len and the range of the reciprocal into its mask.)

#![expect(
    clippy::indexing_slicing,
    reason = "shapes are checked when weights are loaded; sums over heads and features"
)]

use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::one_layer::config::ModelConfig;
use crate::one_layer::weights::Weights;

/// The linear parts of a classifier as the server evaluates them.
///
/// For the input x of a token (z packs two of them) and the attention o of the token without its gain:
/// `q = 2 Re(wq z) + bq`, `k = 2 Im(wk z) + bk`, `v = 2 Im(wv z) + bv`,
/// `u = (2 w1_x x + 2 w1_o o + pre_offset)^2`,
/// `logits = sum over tokens of (head_u u + head_o o + head_x x) + head_offset`.
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
    /// Folds the weights of a checked model. `gains` has, for each head, the factor that the attention circuit leaves
    /// out: o = gain * result.
    ///
    /// # Errors
    /// - another number of gains than heads
    pub fn new(config: &ModelConfig, weights: &Weights, gains: &[f64]) -> Result<Self> {
        if gains.len() != config.n_heads {
            return Err(Error::Length {
                what: "gains of the heads",
                needed: config.n_heads,
                found: gains.len(),
            });
        }
        let layer = &weights.layer;
        let seq_len = config.seq_len as f64;

        let columns: Vec<f64> = (0..config.dim).map(|f| gains[config.head_of(f)]).collect();
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

        Ok(Self {
            wq: layer.wq.scale(0.5),
            bq: layer.bq.clone(),
            wk: layer.wk.scale(0.5),
            bk: layer.bk.clone(),
            wv: layer.wv.scale(0.5),
            bv: layer.bv.clone(),
            w1_x: w1.scale(0.5),
            w1_o: w1.product(&wo).scale(0.5),
            pre_offset,
            head_u: head_x.product(&layer.w2).scale_columns(&act.a),
            head_o: head_x.product(&wo),
            head_x,
            head_offset: weights.wc.affine(&constant, &weights.bc),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mode;
    use crate::one_layer::reference::trace;
    use crate::one_layer::synthetic::Shape;

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
            let model = shape.model(11).unwrap();
            let config = &model.config;
            // any gains will do, as long as the attention lacks them
            let gains: Vec<f64> = (0..config.n_heads).map(|head| 0.5 + head as f64).collect();
            let folded = Folded::new(config, &model.weights, &gains).unwrap();
            let x = model.input(2);
            let expected = trace(config, &model.weights, &x, Mode::Polynomial).unwrap();
            let mut logits = folded.head_offset.clone();
            for (x, attention) in x.chunks(config.dim).zip(&expected.attention) {
                let o: Vec<f64> = attention
                    .iter()
                    .enumerate()
                    .map(|(f, o)| o / gains[config.head_of(f)])
                    .collect();
                let from_x = folded.w1_x.scale(2.0).affine(x, &folded.pre_offset);
                let pre = folded.w1_o.scale(2.0).affine(&o, &from_x);
                let u: Vec<f64> = pre.iter().map(|p| p * p).collect();
                logits = folded.head_u.affine(&u, &logits);
                logits = folded.head_o.affine(&o, &logits);
                logits = folded.head_x.affine(x, &logits);
            }
            for (a, b) in logits.iter().zip(&expected.logits) {
                assert!((a - b).abs() < 1e-10, "{shape:?}: {a} {b}");
            }
            assert!(Folded::new(config, &model.weights, &gains[1..]).is_err());
        }
    }
}
