//! `config.json`: the shape of a model and the constants of its polynomials.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::config::label_names;

/// What the model is, in the field names of the Hugging Face libraries.
///
/// Unknown fields are ignored, so the file may carry more than the evaluation needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Always `power_softmax_classifier`.
    pub model_type: String,
    /// Features of a token, a power of two.
    #[serde(rename = "hidden_size")]
    pub dim: usize,
    /// Transformer layers; this version evaluates one.
    #[serde(rename = "num_hidden_layers")]
    pub n_layers: usize,
    /// Attention heads; a power of two.
    #[serde(rename = "num_attention_heads")]
    pub n_heads: usize,
    /// Features inside the feed-forward block, at most `dim`.
    #[serde(rename = "intermediate_size")]
    pub hidden_dim: usize,
    /// Tokens of every input, a power of two. Shorter texts are padded, longer ones are cut.
    #[serde(rename = "max_position_embeddings")]
    pub seq_len: usize,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Labels; two, one in the real and one in the imaginary part of the answer.
    pub num_labels: usize,
    /// Label number (as text, JSON has no other keys) to name.
    pub id2label: BTreeMap<String, String>,
    /// Epsilon of the embedding's layer norm.
    pub layer_norm_eps: f64,
    /// Epsilon of the batch norm that is folded into its neighbours.
    pub batch_norm_eps: f64,
    /// Constants of PowerSoftmax.
    pub attention: AttentionConfig,
    /// Constants of the polynomial that stands for 1/x.
    pub reciprocal: ReciprocalConfig,
    /// Token that fills short inputs.
    #[serde(default)]
    pub pad_token_id: u32,
}

/// Constants of PowerSoftmax, `w_j = s_j^p / (mean_i s_i^p + epsilon)` (arXiv 2410.09457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttentionConfig {
    /// The even power p; this version evaluates 2.
    pub power: u32,
    /// Added to the mean, so that the denominator stays away from zero.
    pub epsilon: f64,
}

/// The polynomial for 1/x: Chebyshev doubling, of relative error `1 / T_{2^K}(t0)` on each range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReciprocalConfig {
    /// Always `chebyshev_doubling`.
    pub kind: String,
    /// K: the degree is 2^K - 1.
    pub doublings: u32,
    /// `[layer][head] = [lo, hi]`: where the denominator was seen in training, with a margin.
    pub ranges: Vec<Vec<[f64; 2]>>,
}

const FILE: &str = "config.json";

impl ModelConfig {
    /// Reads and checks the bytes of `config.json`.
    ///
    /// # Errors
    /// - not JSON, or a field is missing
    /// - a field has a value that this version cannot evaluate
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(bytes).map_err(|error| Error::Format {
            file: FILE,
            reason: error.to_string(),
        })?;
        config.check()?;
        Ok(config)
    }

    /// Features of one head.
    pub fn head_dim(&self) -> usize {
        self.dim / self.n_heads
    }

    /// The head that feature `f` belongs to.
    pub fn head_of(&self, feature: usize) -> usize {
        feature / self.head_dim()
    }

    /// Denominator ranges `[lo, hi]` of the heads of the one layer.
    pub fn ranges(&self) -> &[[f64; 2]] {
        self.reciprocal.ranges.first().map_or(&[], Vec::as_slice)
    }

    /// Label names in the order of the logits.
    pub fn labels(&self) -> Vec<String> {
        label_names(&self.id2label, self.num_labels)
    }

    /// Refuses what the reference or the lowering could not evaluate.
    ///
    /// # Errors
    /// - [`Error::Config`] names the first field that does not fit, what was needed and what was found
    pub fn check(&self) -> Result<()> {
        let need = |ok: bool, field, needed: &str, found: String| {
            if ok {
                Ok(())
            } else {
                Err(Error::Config {
                    field,
                    needed: needed.to_owned(),
                    found,
                })
            }
        };
        let power_of_two = |field, value: usize| {
            need(
                value.is_power_of_two(),
                field,
                "a power of two",
                value.to_string(),
            )
        };
        need(
            self.model_type == MODEL_TYPE,
            "model_type",
            MODEL_TYPE,
            self.model_type.clone(),
        )?;
        power_of_two("hidden_size", self.dim)?;
        power_of_two("max_position_embeddings", self.seq_len)?;
        power_of_two("num_attention_heads", self.n_heads)?;
        need(
            self.n_layers == 1,
            "num_hidden_layers",
            "1",
            self.n_layers.to_string(),
        )?;
        need(
            self.n_heads <= self.dim,
            "num_attention_heads",
            "at most hidden_size",
            self.n_heads.to_string(),
        )?;
        need(
            (1..=self.dim).contains(&self.hidden_dim),
            "intermediate_size",
            "1 to hidden_size",
            self.hidden_dim.to_string(),
        )?;
        need(
            self.num_labels == 2,
            "num_labels",
            "2",
            self.num_labels.to_string(),
        )?;
        need(
            self.vocab_size > 0,
            "vocab_size",
            "at least 1",
            self.vocab_size.to_string(),
        )?;
        need(
            (0..self.num_labels).all(|label| self.id2label.contains_key(&label.to_string())),
            "id2label",
            "a name for every label",
            format!("{:?}", self.id2label),
        )?;
        need(
            self.attention.power == 2,
            "attention.power",
            "2",
            self.attention.power.to_string(),
        )?;
        let positive = |field, value: f64| {
            need(
                value.is_finite() && value >= 0.0,
                field,
                "a finite number, 0 or more",
                value.to_string(),
            )
        };
        positive("attention.epsilon", self.attention.epsilon)?;
        positive("layer_norm_eps", self.layer_norm_eps)?;
        positive("batch_norm_eps", self.batch_norm_eps)?;
        let reciprocal = &self.reciprocal;
        need(
            reciprocal.kind == RECIPROCAL,
            "reciprocal.kind",
            RECIPROCAL,
            reciprocal.kind.clone(),
        )?;
        need(
            (1..=6).contains(&reciprocal.doublings),
            "reciprocal.doublings",
            "1 to 6",
            reciprocal.doublings.to_string(),
        )?;
        need(
            reciprocal.ranges.len() == self.n_layers && self.ranges().len() == self.n_heads,
            "reciprocal.ranges",
            "one [lo, hi] for each layer and head",
            format!("{:?}", reciprocal.ranges),
        )?;
        for range in self.ranges() {
            let [lo, hi] = *range;
            need(
                lo > 0.0 && hi > lo && hi.is_finite(),
                "reciprocal.ranges",
                "0 < lo < hi",
                format!("{range:?}"),
            )?;
        }
        Ok(())
    }
}

/// The value of `model_type`.
pub const MODEL_TYPE: &str = "power_softmax_classifier";
const RECIPROCAL: &str = "chebyshev_doubling";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::one_layer::synthetic::Shape;

    #[test]
    fn a_configuration_survives_its_file() {
        let config = Shape::SENTIMENT.config();
        let whole = serde_json::to_vec(&config).unwrap();
        assert_eq!(ModelConfig::from_json(&whole).unwrap(), config);
        assert_eq!(config.labels(), ["negative", "positive"]);
    }

    #[test]
    fn values_that_cannot_be_evaluated_are_refused_by_name() {
        type Change = fn(&mut ModelConfig);
        let changes: [(&str, Change); 8] = [
            ("model_type", |c| c.model_type = "bert".into()),
            ("hidden_size", |c| c.dim = 48),
            ("num_hidden_layers", |c| c.n_layers = 2),
            ("intermediate_size", |c| c.hidden_dim = 65),
            ("num_labels", |c| c.num_labels = 3),
            ("attention.power", |c| c.attention.power = 4),
            ("reciprocal.ranges", |c| c.reciprocal.ranges[0][1] = [2.0, 1.0]),
            ("reciprocal.ranges", |c| {
                c.reciprocal.ranges[0].pop();
            }),
        ];
        for (field, change) in changes {
            let mut config = Shape::SENTIMENT.config();
            change(&mut config);
            match config.check() {
                Err(Error::Config { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }
}
