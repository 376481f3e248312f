//! `config.json` of a polynomial transformer: its shape, its polynomials, and where its values were seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::fit::Fit;

/// What the model is, in the field names of the Hugging Face libraries.
///
/// Sizes are arbitrary; the packing pads them. Unknown fields are ignored, so the file may carry more than the
/// evaluation needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransformerConfig {
    /// Always `polynomial_transformer`.
    pub model_type: String,
    /// Features of a token.
    #[serde(rename = "hidden_size")]
    pub dim: usize,
    /// Transformer layers.
    #[serde(rename = "num_hidden_layers")]
    pub n_layers: usize,
    /// Attention heads, a divisor of `dim`.
    #[serde(rename = "num_attention_heads")]
    pub n_heads: usize,
    /// Features inside the feed-forward block.
    #[serde(rename = "intermediate_size")]
    pub hidden_dim: usize,
    /// Tokens of every input, 1 to 512. Shorter texts are filled up, longer ones are cut.
    #[serde(rename = "max_position_embeddings")]
    pub seq_len: usize,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Label number (as text, JSON has no other keys) to name; may be empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub id2label: BTreeMap<String, String>,
    /// Token that fills short inputs.
    #[serde(default)]
    pub pad_token_id: u32,
    /// Where the norms are: after the residual additions or before the blocks.
    #[serde(default)]
    pub norm_position: Position,
    /// Constants of PowerSoftmax.
    pub attention: Attention,
    /// The norm of all blocks.
    pub norm: Norm,
    /// The activation of the feed-forward blocks.
    pub activation: Activation,
    /// What the model answers.
    pub head: Head,
    /// Bits that every approximation should have, of which not more than 10 are asked for, as depth is dear (see
    /// [`Fit::calibrate`](crate::model::fit::Fit::calibrate)); and bits that encryption must leave of the outputs.
    #[serde(default = "default_precision_bits")]
    pub precision_bits: u32,
    /// Factor by which calibrated ranges are widened.
    #[serde(default = "default_margin")]
    pub margin: f64,
    /// Ranges and degrees; none before the calibration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<Fit>,
}

/// Where the norms of a layer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// `x' = norm(x + block(x))`, as in BERT.
    #[default]
    Post,
    /// `x' = x + block(norm(x))` and a norm at the very end, as in GPT.
    Pre,
}

/// PowerSoftmax (arXiv 2410.09457): `s = q.k / sqrt(head_dim) * score_scale + shift`, `w = s^power * mask`,
/// `o = (sum_j w_j v_j / seq_len) / (sum_j w_j / seq_len + epsilon)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attention {
    /// The even power p, 2 to 16.
    pub power: u32,
    /// Added to the mean, so that the denominator stays away from zero.
    pub epsilon: f64,
    /// Factor of the scores, before the shift of the head is added.
    #[serde(default = "one")]
    pub score_scale: f64,
    /// Which tokens a token sees.
    #[serde(default)]
    pub mask: Mask,
    /// With a causal mask: whether its entries are `seq_len / (t + 1)` instead of 1, which makes the sums means over
    /// the visible tokens. Only epsilon notices, but the denominators of the first tokens are then no longer
    /// `seq_len` times smaller than those of the last ones. See [`mask_at`](Self::mask_at).
    #[serde(default)]
    pub visible_mean: bool,
}

/// Which tokens a token sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// All.
    #[default]
    None,
    /// Itself and those before it.
    Causal,
}

/// A norm and its epsilon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Norm {
    /// Which.
    pub kind: NormKind,
    /// Added to the variance.
    #[serde(default = "default_norm_epsilon")]
    pub epsilon: f64,
}

/// The norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// `gamma (z - mean) / sqrt(variance + epsilon) + beta`, statistics of the token.
    LayerNorm,
    /// `gamma z / sqrt(mean of squares + epsilon)`.
    RmsNorm,
    /// The formula of the layer norm with statistics of the training data: affine, folded into its neighbours.
    BatchNorm,
    /// The identity.
    None,
}

/// The activation of the feed-forward blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Activation {
    /// `x Phi(x)`, approximated on the range of its fit.
    Gelu,
    /// `a x^2 + b x + c` with tensors a, b, c of a value per channel.
    Quadratic,
    /// `sum_k coefficients[k] x^k`, the same for all channels.
    Polynomial {
        /// Of 1, x, x^2, ..; 2 to 128 of them.
        coefficients: Vec<f64>,
    },
    /// `sum_k coefficients[k] T_k(t)`, t from -1 to 1 over the range.
    Chebyshev {
        /// `[lo, hi]`: where x may be.
        range: [f64; 2],
        /// Of T_0, T_1, ..; 2 to 128 of them.
        coefficients: Vec<f64>,
    },
}

/// What the model answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Head {
    /// One logit per label.
    Classification {
        /// Labels.
        num_labels: usize,
        /// What the classifier reads.
        pool: Pool,
    },
    /// The mean over the tokens, (dim); the client divides it by its length.
    Embedding,
    /// The logits of every position, (seq_len, vocab), by an untied matrix.
    NextToken {
        /// Tokens that may come next.
        vocab: usize,
    },
}

/// How a classifier reads the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The first token.
    Cls,
    /// The mean of all.
    Mean,
}

fn one() -> f64 {
    1.0
}

fn default_precision_bits() -> u32 {
    12
}

fn default_margin() -> f64 {
    1.5
}

fn default_norm_epsilon() -> f64 {
    1e-5
}

/// The value of `model_type`.
pub const MODEL_TYPE: &str = "polynomial_transformer";

pub(crate) const FILE: &str = "config.json";

/// Degree of the activation, where it is a polynomial itself.
pub(crate) fn exact_degree(activation: &Activation) -> Option<u32> {
    match activation {
        Activation::Gelu => None,
        Activation::Quadratic => Some(2),
        Activation::Polynomial { coefficients } | Activation::Chebyshev { coefficients, .. } => {
            Some(coefficients.len().saturating_sub(1) as u32)
        }
    }
}

impl Attention {
    /// The factor of `s^p` of token t looking at token j: 0 where it must not look, else 1, or `seq_len / (t + 1)`
    /// with [`visible_mean`](Self::visible_mean).
    pub fn mask_at(&self, t: usize, j: usize, seq_len: usize) -> f64 {
        match self.mask {
            Mask::None => 1.0,
            Mask::Causal if j > t => 0.0,
            Mask::Causal if self.visible_mean => seq_len as f64 / (t + 1) as f64,
            Mask::Causal => 1.0,
        }
    }
}

impl Norm {
    /// Whether the norm needs 1/sqrt of a value that depends on the input.
    pub fn inverts(&self) -> bool {
        matches!(self.kind, NormKind::LayerNorm | NormKind::RmsNorm)
    }
}

impl TransformerConfig {
    /// The bytes of `config.json`; always the same for the same model.
    ///
    /// # Errors
    /// - a number that JSON cannot hold
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| Error::Format {
            file: FILE,
            reason: error.to_string(),
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Features of one head.
    pub fn head_dim(&self) -> usize {
        self.dim / self.n_heads.max(1)
    }

    /// The head that feature `f` belongs to.
    pub fn head_of(&self, feature: usize) -> usize {
        feature / self.head_dim().max(1)
    }

    /// Outputs of the head: labels, features of the embedding, or next tokens of one position.
    pub fn outputs(&self) -> usize {
        match self.head {
            Head::Classification { num_labels, .. } => num_labels,
            Head::Embedding => self.dim,
            Head::NextToken { vocab } => vocab,
        }
    }
}

/// Names of labels 0 to `count - 1`; those without one are called by their number.
pub(crate) fn label_names(id2label: &BTreeMap<String, String>, count: usize) -> Vec<String> {
    let name = |label: usize| id2label.get(&label.to_string()).cloned();
    (0..count)
        .map(|label| name(label).unwrap_or_else(|| format!("label {label}")))
        .collect()
}
