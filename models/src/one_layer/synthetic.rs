//! Small seeded models of the real shape, for tests and measurements that must not depend on training.

use crate::error::{Error, Result};
use crate::model::{Mode, Quadratic};
use crate::one_layer::config::{AttentionConfig, ModelConfig, ReciprocalConfig};
use crate::one_layer::reference::trace;
use crate::one_layer::weights::{BatchNorm, LayerWeights, Weights};
use crate::synthetic::draw::Random;

/// The numbers that fix a model's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Tokens.
    pub seq_len: usize,
    /// Features.
    pub dim: usize,
    /// Heads.
    pub n_heads: usize,
    /// Feed-forward features.
    pub hidden_dim: usize,
}

impl Shape {
    /// The shape of the sentiment model.
    pub const SENTIMENT: Self = Self {
        seq_len: 32,
        dim: 64,
        n_heads: 8,
        hidden_dim: 64,
    };
    /// A shape that fits small rings.
    pub const SMALL: Self = Self {
        seq_len: 8,
        dim: 8,
        n_heads: 2,
        hidden_dim: 6,
    };

    /// A configuration of this shape with wide denominator ranges.
    pub fn config(self) -> ModelConfig {
        ModelConfig {
            model_type: "power_softmax_classifier".to_owned(),
            dim: self.dim,
            n_layers: 1,
            n_heads: self.n_heads,
            hidden_dim: self.hidden_dim,
            seq_len: self.seq_len,
            vocab_size: 100,
            num_labels: 2,
            id2label: [("0", "negative"), ("1", "positive")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            layer_norm_eps: 1e-5,
            batch_norm_eps: 1e-5,
            attention: AttentionConfig {
                power: 2,
                epsilon: 0.01,
            },
            reciprocal: ReciprocalConfig {
                kind: "chebyshev_doubling".to_owned(),
                doublings: 3,
                ranges: vec![vec![[0.5, 4.0]; self.n_heads]],
            },
            pad_token_id: 0,
        }
    }

    /// A random model of this shape; its denominator ranges are calibrated on random inputs.
    ///
    /// # Errors
    /// - the shape is not one that can be evaluated
    pub fn model(self, seed: u64) -> Result<SyntheticModel> {
        let mut config = self.config();
        config.check()?;
        let weights = self.weights(&mut Random(seed));
        let mut ranges = vec![[f64::INFINITY, 0.0_f64]; self.n_heads];
        for seed in 0..8 {
            let seen = trace(&config, &weights, &self.input(seed), Mode::Exact)?;
            for ([lo, hi], found) in ranges.iter_mut().zip(&seen.denominators) {
                *lo = found.iter().copied().fold(*lo, f64::min);
                *hi = found.iter().copied().fold(*hi, f64::max);
            }
        }
        config.reciprocal.ranges = vec![ranges.iter().map(|[lo, hi]| [lo / 1.25, hi * 1.25]).collect()];
        config.check()?;
        Ok(SyntheticModel {
            shape: self,
            config,
            weights,
        })
    }

    fn input(self, seed: u64) -> Vec<f64> {
        let mut random = Random(seed ^ 0x5eed_1234);
        (0..self.seq_len * self.dim).map(|_| random.normal()).collect()
    }

    fn weights(self, random: &mut Random) -> Weights {
        let (dim, hidden) = (self.dim, self.hidden_dim);
        let fan_in = |n: usize| 1.0 / (n as f64).sqrt();
        let layer = LayerWeights {
            wq: random.matrix(dim, dim, 0.7 * fan_in(dim)),
            bq: random.vector(dim, 0.1, 0.0),
            wk: random.matrix(dim, dim, 0.7 * fan_in(dim)),
            bk: random.vector(dim, 0.1, 0.0),
            wv: random.matrix(dim, dim, fan_in(dim)),
            bv: random.vector(dim, 0.2, 0.0),
            shift: random.vector(self.n_heads, 0.2, 1.0),
            wo: random.matrix(dim, dim, fan_in(dim)),
            bo: random.vector(dim, 0.2, 0.0),
            norm: BatchNorm {
                gamma: random.vector(dim, 0.1, 1.0),
                beta: random.vector(dim, 0.1, 0.0),
                mean: random.vector(dim, 0.3, 0.0),
                var: random.vector(dim, 0.05, 1.2),
            },
            w1: random.matrix(hidden, dim, fan_in(dim)),
            b1: random.vector(hidden, 0.2, 0.0),
            activation: Quadratic {
                a: random.vector(hidden, 0.05, 0.2),
                b: random.vector(hidden, 0.2, 0.5),
                c: random.vector(hidden, 0.1, 0.2),
            },
            w2: random.matrix(dim, hidden, fan_in(hidden)),
            b2: random.vector(dim, 0.2, 0.0),
        };
        Weights {
            layer,
            wc: random.matrix(2, dim, fan_in(dim)),
            bc: random.vector(2, 0.3, 0.0),
        }
    }
}

/// A configuration with weights that belong to it.
#[derive(Debug, Clone)]
pub struct SyntheticModel {
    shape: Shape,
    /// The configuration.
    pub config: ModelConfig,
    /// The weights; every value is an f32, as in a file.
    pub weights: Weights,
}

impl SyntheticModel {
    /// A random input that looks like the output of a layer norm; inputs 0 to 7 calibrated the ranges.
    pub fn input(&self, seed: u64) -> Vec<f64> {
        self.shape.input(seed)
    }
}

/// The bytes of a `model.safetensors` with these weights.
///
/// # Errors
/// - the safetensors library refuses (it has no reason to)
pub fn to_safetensors(weights: &Weights) -> Result<Vec<u8>> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut put = |name: &str, shape: Vec<usize>, values: &mut dyn Iterator<Item = f64>| {
        tensors.push((
            name.to_owned(),
            shape,
            values.flat_map(|v| (v as f32).to_le_bytes()).collect(),
        ));
    };
    let layer = &weights.layer;
    let linear = [
        ("encoder.layer.0.attention.self.query", &layer.wq, &layer.bq),
        ("encoder.layer.0.attention.self.key", &layer.wk, &layer.bk),
        ("encoder.layer.0.attention.self.value", &layer.wv, &layer.bv),
        ("encoder.layer.0.attention.output.dense", &layer.wo, &layer.bo),
        ("encoder.layer.0.intermediate.dense", &layer.w1, &layer.b1),
        ("encoder.layer.0.output.dense", &layer.w2, &layer.b2),
        ("classifier", &weights.wc, &weights.bc),
    ];
    for (name, matrix, bias) in linear {
        let mut values = (0..matrix.rows()).flat_map(|i| matrix.row(i).iter().copied());
        put(
            &format!("{name}.weight"),
            vec![matrix.rows(), matrix.cols()],
            &mut values,
        );
        put(
            &format!("{name}.bias"),
            vec![bias.len()],
            &mut bias.iter().copied(),
        );
    }
    let vectors = [
        ("attention.self.shift", &layer.shift),
        ("norm.weight", &layer.norm.gamma),
        ("norm.bias", &layer.norm.beta),
        ("norm.running_mean", &layer.norm.mean),
        ("norm.running_var", &layer.norm.var),
        ("activation.a", &layer.activation.a),
        ("activation.b", &layer.activation.b),
        ("activation.c", &layer.activation.c),
    ];
    for (name, values) in vectors {
        put(
            &format!("encoder.layer.0.{name}"),
            vec![values.len()],
            &mut values.iter().copied(),
        );
    }
    let refused = |error: safetensors::SafeTensorError| Error::Format {
        file: "model.safetensors",
        reason: error.to_string(),
    };
    let views = tensors
        .iter()
        .map(|(name, shape, data)| {
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), data)
                .map(|view| (name.as_str(), view))
                .map_err(refused)
        })
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, None).map_err(refused)
}
