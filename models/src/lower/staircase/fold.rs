//! Weights folded into their neighbours, in f64: what is left needs the fewest levels.
//!
//! - the two halves of an input ride in one ciphertext, so Wq, Wk, Wv and W1 carry the 1/2 of a real or imaginary part;
//! - the attention circuit leaves a factor out of each head; it goes into the columns of Wo;
//! - norms are affine here, and go into the matrices after them;
//! - Wo goes into W1 and into the classifier: the residual stream is never formed;
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
use crate::model::{NormKind, NormWeights, Position, TransformerConfig, TransformerWeights};

/// The linear parts of a model as the server evaluates them.
///
/// For the input x of a token (z packs two of them) and the attention o of the token without its gain:
/// `q = 2 Re(wq z) + bq`, `k = 2 Im(wk z) + bk`, `v = 2 Im(wv z) + bv`,
/// `u = (2 w1_x x + 2 w1_o o + pre_offset)^2`,
/// `logits = sum over tokens of (head_u u + head_o o + head_x x) + head_offset`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Folded {
    /// Half of Wq, (dim, dim), and bq: `q = 2 Re(wq z) + bq`.
    pub query: (Matrix, Vec<f64>),
    /// Half of Wk, and bk: `k = 2 Im(wk z) + bk`.
    pub key: (Matrix, Vec<f64>),
    /// Half of Wv, and bv: `v = 2 Im(wv z) + bv`.
    pub value: (Matrix, Vec<f64>),
    /// Half of the input's weight on the activation, (hidden_dim, dim): `2 Re(w1_x z)`.
    pub w1_x: Matrix,
    /// Half of the attention's weight on the activation, (hidden_dim, dim).
    pub w1_o: Matrix,
    /// Added before the square, (hidden_dim).
    pub pre_offset: Vec<f64>,
    /// Weight of the squares on the logits, (labels, hidden_dim).
    pub head_u: Matrix,
    /// Weight of the attention on the logits, (labels, dim).
    pub head_o: Matrix,
    /// Weight of the input on the logits, (labels, dim).
    pub head_x: Matrix,
    /// Added to the logits, (labels).
    pub head_offset: Vec<f64>,
}

/// `scale * x + offset`, feature by feature.
struct Affine {
    scale: Vec<f64>,
    offset: Vec<f64>,
}

impl Affine {
    fn identity(dim: usize) -> Self {
        Self {
            scale: vec![1.0; dim],
            offset: vec![0.0; dim],
        }
    }

    fn norm(config: &TransformerConfig, norm: &NormWeights) -> Self {
        if config.norm.kind == NormKind::None {
            return Self::identity(config.dim);
        }
        let (scale, offset) = norm.affine(config.norm.epsilon);
        Self { scale, offset }
    }

    /// `scale * x + offset`.
    fn at(&self, x: &[f64]) -> Vec<f64> {
        (0..x.len())
            .map(|f| self.scale[f] * x[f] + self.offset[f])
            .collect()
    }
}

impl Folded {
    /// Folds the weights of a model that the staircase takes. `gains` has, for each head, the factor that the attention
    /// circuit leaves out: o = gain * result.
    ///
    /// # Errors
    /// - weights without numbers, or without what the configuration says
    pub(super) fn new(
        config: &TransformerConfig,
        weights: &TransformerWeights,
        gains: &[f64],
    ) -> Result<Self> {
        let missing = |tensor: &str| Error::Format {
            file: "model.safetensors",
            reason: format!("{tensor} is missing"),
        };
        let layer = weights.layers.first().ok_or_else(|| missing("encoder.layer.0"))?;
        let head = weights.head.as_ref().ok_or_else(|| missing("classifier"))?;
        let act = layer.quadratic.as_ref().ok_or_else(|| missing("activation.a"))?;
        // x -> before -> attention, + x, -> between -> up, square, down, + -> after -> classifier; with the norms before the
        // blocks, the feed-forward block reads `up` of the residual that it is added to.
        let identity = || Affine::identity(config.dim);
        let norm = |norm| Affine::norm(config, norm);
        let (before, between, up, after) = match (config.norm_position, &weights.final_norm) {
            (Position::Pre, Some(last)) => (norm(&layer.norm1), identity(), norm(&layer.norm2), norm(last)),
            (Position::Pre, None) => return Err(missing("final_layer_norm")),
            (Position::Post, _) => (identity(), norm(&layer.norm1), identity(), norm(&layer.norm2)),
        };
        let score_scale = config.attention.score_scale;
        let input = |linear: &crate::model::Linear, factor: f64| -> Result<(Matrix, Vec<f64>)> {
            let matrix = linear.weight.values()?;
            let bias = matrix.affine(&before.offset, &linear.bias);
            Ok((
                matrix.scale_columns(&before.scale).scale(0.5 * factor),
                bias.iter().map(|b| factor * b).collect(),
            ))
        };
        let columns: Vec<f64> = (0..config.dim).map(|f| gains[config.head_of(f)]).collect();
        let wo = layer.output.weight.values()?.scale_columns(&columns);
        // pre = W1 (up (between (x + Wo o + bo))) + b1
        let (w1, w2) = (layer.up.weight.values()?, layer.down.weight.values()?);
        let residual_bias = between.at(&layer.output.bias);
        let pre_bias = w1.affine(&up.at(&residual_bias), &layer.up.bias);
        let w1 = w1.scale_columns(&up.scale).scale_columns(&between.scale);
        let pre_offset = (0..config.hidden_dim)
            .map(|i| pre_bias[i] + act.b[i] / (2.0 * act.a[i]))
            .collect();
        // logits = Wc mean(after (between (x + Wo o + bo) + W2 (a u + rest) + b2)) + bc
        let rest: Vec<f64> = (0..config.hidden_dim)
            .map(|i| act.c[i] - act.b[i] * act.b[i] / (4.0 * act.a[i]))
            .collect();
        let down = w2.affine(&rest, &layer.down.bias);
        let constant: Vec<f64> = (0..config.dim).map(|f| residual_bias[f] + down[f]).collect();
        let wc = head.weight.values()?;
        let offset = wc.affine(&after.offset, &head.bias);
        let wc = wc.scale_columns(&after.scale);
        let mean = wc.scale(1.0 / config.seq_len as f64);
        let head_x = mean.scale_columns(&between.scale);
        Ok(Self {
            query: input(&layer.query, score_scale)?,
            key: input(&layer.key, 1.0)?,
            value: input(&layer.value, 1.0)?,
            w1_x: w1.scale(0.5),
            w1_o: w1.product(&wo).scale(0.5),
            pre_offset,
            head_u: mean.product(w2).scale_columns(&act.a),
            head_o: head_x.product(&wo),
            head_x,
            head_offset: wc.affine(&constant, &offset),
        })
    }
}
