//! What a configuration and its weights must be before anything is built from them.

use super::config::{Activation, Head, MODEL_TYPE, Position, TransformerConfig};
use super::weights::{Linear, NormWeights, TransformerLayer, TransformerWeights};
use crate::error::{Error, Result};

/// Refuses a field by its name unless `ok`.
pub(super) fn need(ok: bool, field: &'static str, needed: &str, found: impl ToString) -> Result<()> {
    if ok {
        Ok(())
    } else {
        Err(Error::Config {
            field,
            needed: needed.to_owned(),
            found: found.to_string(),
        })
    }
}

impl TransformerConfig {
    /// Refuses what the reference or the lowering could not evaluate.
    ///
    /// # Errors
    /// - [`Error::Config`] names the first field that does not fit, what was needed and what was found
    pub fn check(&self) -> Result<()> {
        need(
            self.model_type == MODEL_TYPE,
            "model_type",
            MODEL_TYPE,
            &self.model_type,
        )?;
        self.check_sizes()?;
        self.check_numbers()?;
        self.check_activation()?;
        match &self.fit {
            Some(fit) => fit.check(self),
            None => Ok(()),
        }
    }

    fn check_sizes(&self) -> Result<()> {
        let size = |field, value: usize| need((1..=1 << 20).contains(&value), field, "1 to 2^20", value);
        size("hidden_size", self.dim)?;
        size("num_hidden_layers", self.n_layers)?;
        size("num_attention_heads", self.n_heads)?;
        size("intermediate_size", self.hidden_dim)?;
        size("vocab_size", self.vocab_size)?;
        need(
            self.dim.is_multiple_of(self.n_heads),
            "num_attention_heads",
            "a divisor of hidden_size",
            self.n_heads,
        )?;
        need(
            (1..=512).contains(&self.seq_len),
            "max_position_embeddings",
            "1 to 512",
            self.seq_len,
        )?;
        match self.head {
            Head::Classification { num_labels, .. } => {
                size("head.num_labels", num_labels)?;
                let named = (0..num_labels).all(|label| self.id2label.contains_key(&label.to_string()));
                need(
                    self.id2label.is_empty() || named,
                    "id2label",
                    "a name for every label, or none",
                    format!("{:?}", self.id2label),
                )
            }
            Head::Embedding => Ok(()),
            Head::NextToken { vocab } => size("head.vocab", vocab),
        }
    }

    fn check_numbers(&self) -> Result<()> {
        let attention = &self.attention;
        need(
            attention.power.is_multiple_of(2) && (2..=16).contains(&attention.power),
            "attention.power",
            "an even number from 2 to 16",
            attention.power,
        )?;
        let not_negative = |field, value: f64| {
            need(
                value.is_finite() && value >= 0.0,
                field,
                "a finite number, 0 or more",
                value,
            )
        };
        not_negative("attention.epsilon", attention.epsilon)?;
        not_negative("norm.epsilon", self.norm.epsilon)?;
        need(
            attention.score_scale.is_finite() && attention.score_scale != 0.0,
            "attention.score_scale",
            "a finite number, not 0",
            attention.score_scale,
        )?;
        need(
            (4..=24).contains(&self.precision_bits),
            "precision_bits",
            "4 to 24",
            self.precision_bits,
        )?;
        need(
            self.margin > 1.0 && self.margin <= 16.0,
            "margin",
            "above 1, at most 16",
            self.margin,
        )
    }

    fn check_activation(&self) -> Result<()> {
        let coefficients = match &self.activation {
            Activation::Gelu | Activation::Quadratic => return Ok(()),
            Activation::Polynomial { coefficients } => coefficients,
            Activation::Chebyshev { range, coefficients } => {
                let [lo, hi] = *range;
                need(
                    lo.is_finite() && hi.is_finite() && lo < hi,
                    "activation.range",
                    "lo < hi, both finite",
                    format!("{range:?}"),
                )?;
                coefficients
            }
        };
        let usable = (2..=128).contains(&coefficients.len())
            && coefficients.iter().all(|c| c.is_finite())
            && coefficients.last().is_some_and(|c| *c != 0.0);
        need(
            usable,
            "activation.coefficients",
            "2 to 128 finite numbers, the last one not 0",
            format!("{coefficients:?}"),
        )
    }
}

fn shape(tensor: impl Into<String>, found: &[usize], needed: &[usize]) -> Result<()> {
    if found == needed {
        Ok(())
    } else {
        Err(Error::TensorShape {
            file: super::tensors::FILE,
            tensor: tensor.into(),
            needed: needed.to_vec(),
            found: found.to_vec(),
        })
    }
}

fn linear(name: &str, linear: &Linear, rows: usize, cols: usize) -> Result<()> {
    let found = [linear.weight.rows(), linear.weight.cols()];
    shape(format!("{name}.weight"), &found, &[rows, cols])?;
    shape(format!("{name}.bias"), &[linear.bias.len()], &[rows])
}

fn norm(name: &str, norm: &NormWeights, config: &TransformerConfig) -> Result<()> {
    let needed = NormWeights::identity(config.norm.kind, config.dim);
    for (part, found, needed) in [
        ("weight", &norm.gamma, &needed.gamma),
        ("bias", &norm.beta, &needed.beta),
        ("running_mean", &norm.mean, &needed.mean),
        ("running_var", &norm.var, &needed.var),
    ] {
        shape(format!("{name}.{part}"), &[found.len()], &[needed.len()])?;
    }
    Ok(())
}

impl TransformerWeights {
    /// Refuses weights whose shapes are not those of the configuration.
    ///
    /// # Errors
    /// - [`Error::TensorShape`] names the first tensor that does not fit
    pub fn check(&self, config: &TransformerConfig) -> Result<()> {
        shape("encoder.layer", &[self.layers.len()], &[config.n_layers])?;
        for layer in &self.layers {
            layer.check(config)?;
        }
        let norms = usize::from(config.norm_position == Position::Pre);
        shape(
            "final_layer_norm",
            &[usize::from(self.final_norm.is_some())],
            &[norms],
        )?;
        if let Some(weights) = &self.final_norm {
            norm("final_layer_norm", weights, config)?;
        }
        let heads = usize::from(config.head != Head::Embedding);
        shape("head", &[usize::from(self.head.is_some())], &[heads])?;
        match &self.head {
            Some(head) => linear("head", head, config.outputs(), config.dim),
            None => Ok(()),
        }
    }
}

impl TransformerLayer {
    fn check(&self, config: &TransformerConfig) -> Result<()> {
        let (dim, hidden) = (config.dim, config.hidden_dim);
        linear("attention.self.query", &self.query, dim, dim)?;
        linear("attention.self.key", &self.key, dim, dim)?;
        linear("attention.self.value", &self.value, dim, dim)?;
        shape("attention.self.shift", &[self.shift.len()], &[config.n_heads])?;
        linear("attention.output.dense", &self.output, dim, dim)?;
        norm("attention.output.LayerNorm", &self.norm1, config)?;
        norm("output.LayerNorm", &self.norm2, config)?;
        linear("intermediate.dense", &self.up, hidden, dim)?;
        linear("output.dense", &self.down, dim, hidden)?;
        let needed = if config.activation == Activation::Quadratic {
            hidden
        } else {
            0
        };
        let [a, b, c] = (self.quadratic.as_ref()).map_or([0; 3], |q| [q.a.len(), q.b.len(), q.c.len()]);
        shape("activation.{a,b,c}", &[a, b, c], &[needed; 3])
    }
}
