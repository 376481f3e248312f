//! What a configuration and its weights must be before anything is built from them.

use crate::error::{Error, Result};
use crate::model::config::{self, Activation, Head, MODEL_TYPE, Position, TransformerConfig};
use crate::model::fit::{Fit, LayerFit, NormFit};
use crate::model::weights::{self, Linear, NormWeights, TransformerLayer, TransformerWeights};

/// Refuses a field by its name unless `ok`.
pub(crate) fn need(ok: bool, field: &'static str, needed: &str, found: impl ToString) -> Result<()> {
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
    /// Reads and checks the bytes of `config.json`.
    ///
    /// # Errors
    /// - not JSON, or a field is missing
    /// - a field has a value that cannot be evaluated, see [`check`](Self::check)
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(bytes).map_err(|error| Error::Format {
            file: config::FILE,
            reason: error.to_string(),
        })?;
        config.check()?;
        Ok(config)
    }

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

impl Fit {
    /// Refuses a fit that does not belong to the configuration.
    ///
    /// # Errors
    /// - [`Error::Config`] names the field
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

fn shape(tensor: impl Into<String>, found: &[usize], needed: &[usize]) -> Result<()> {
    if found == needed {
        Ok(())
    } else {
        Err(Error::TensorShape {
            file: weights::FILE,
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
