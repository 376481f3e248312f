//! `model.safetensors`: the weights that only the server has.

use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::model::Quadratic;
use crate::model::tensors::Tensors;
use crate::one_layer::config::ModelConfig;

/// All weights of a classifier, in f64. Shapes are (outputs, inputs).
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// The one transformer layer.
    pub layer: LayerWeights,
    /// (num_labels, dim).
    pub wc: Matrix,
    /// (num_labels).
    pub bc: Vec<f64>,
}

/// Weights of a transformer layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerWeights {
    /// Query, (dim, dim).
    pub wq: Matrix,
    /// (dim).
    pub bq: Vec<f64>,
    /// Key, (dim, dim).
    pub wk: Matrix,
    /// (dim).
    pub bk: Vec<f64>,
    /// Value, (dim, dim).
    pub wv: Matrix,
    /// (dim).
    pub bv: Vec<f64>,
    /// Added to every score of a head, (n_heads).
    pub shift: Vec<f64>,
    /// Attention output, (dim, dim).
    pub wo: Matrix,
    /// (dim).
    pub bo: Vec<f64>,
    /// Batch norm between attention and feed-forward, each (dim).
    pub norm: BatchNorm,
    /// Feed-forward up, (hidden_dim, dim).
    pub w1: Matrix,
    /// (hidden_dim).
    pub b1: Vec<f64>,
    /// Quadratic activation, (hidden_dim) each.
    pub activation: Quadratic,
    /// Feed-forward down, (dim, hidden_dim).
    pub w2: Matrix,
    /// (dim).
    pub b2: Vec<f64>,
}

/// `gamma (x - mean) / sqrt(var + epsilon) + beta` with statistics of the training data.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// (dim).
    pub gamma: Vec<f64>,
    /// (dim).
    pub beta: Vec<f64>,
    /// (dim).
    pub mean: Vec<f64>,
    /// (dim).
    pub var: Vec<f64>,
}

impl BatchNorm {
    /// The norm as `scale * x + offset`.
    pub fn affine(&self, epsilon: f64) -> (Vec<f64>, Vec<f64>) {
        let scale: Vec<f64> = self
            .gamma
            .iter()
            .zip(&self.var)
            .map(|(gamma, var)| gamma / (var + epsilon).sqrt())
            .collect();
        let offset = self
            .beta
            .iter()
            .zip(&self.mean)
            .zip(&scale)
            .map(|((beta, mean), scale)| beta - mean * scale)
            .collect();
        (scale, offset)
    }
}

const FILE: &str = "model.safetensors";

impl Weights {
    /// Reads the bytes of `model.safetensors` (F32, names as in Hugging Face's BERT).
    ///
    /// # Errors
    /// - not a safetensors file, or a tensor is missing, of another type or shape than `config` says
    /// - a value is not finite, a variance is negative, or an `activation.a` is zero
    pub fn load(config: &ModelConfig, bytes: &[u8]) -> Result<Self> {
        let file = Tensors::open(FILE, bytes)?;
        let (dim, hidden) = (config.dim, config.hidden_dim);
        let name = |suffix: &str| format!("encoder.layer.0.{suffix}");
        let matrix = |suffix: &str, rows, cols| file.matrix(&name(&format!("{suffix}.weight")), rows, cols);
        let vector = |suffix: &str, length| file.vector(&name(suffix), length);
        let layer = LayerWeights {
            wq: matrix("attention.self.query", dim, dim)?,
            bq: vector("attention.self.query.bias", dim)?,
            wk: matrix("attention.self.key", dim, dim)?,
            bk: vector("attention.self.key.bias", dim)?,
            wv: matrix("attention.self.value", dim, dim)?,
            bv: vector("attention.self.value.bias", dim)?,
            shift: vector("attention.self.shift", config.n_heads)?,
            wo: matrix("attention.output.dense", dim, dim)?,
            bo: vector("attention.output.dense.bias", dim)?,
            norm: BatchNorm {
                gamma: vector("norm.weight", dim)?,
                beta: vector("norm.bias", dim)?,
                mean: vector("norm.running_mean", dim)?,
                var: vector("norm.running_var", dim)?,
            },
            w1: matrix("intermediate.dense", hidden, dim)?,
            b1: vector("intermediate.dense.bias", hidden)?,
            activation: Quadratic {
                a: vector("activation.a", hidden)?,
                b: vector("activation.b", hidden)?,
                c: vector("activation.c", hidden)?,
            },
            w2: matrix("output.dense", dim, hidden)?,
            b2: vector("output.dense.bias", dim)?,
        };
        if layer.norm.var.iter().any(|var| *var < 0.0) {
            return Err(format("norm.running_var holds a negative variance"));
        }
        if layer.activation.a.contains(&0.0) {
            return Err(format(
                "activation.a holds a zero; the square cannot be completed",
            ));
        }
        Ok(Self {
            layer,
            wc: file.matrix("classifier.weight", config.num_labels, dim)?,
            bc: file.vector("classifier.bias", config.num_labels)?,
        })
    }

    /// Number of weights.
    pub fn parameters(&self) -> usize {
        let layer = &self.layer;
        let matrices = [
            &layer.wq, &layer.wk, &layer.wv, &layer.wo, &layer.w1, &layer.w2, &self.wc,
        ];
        let vectors = [
            &layer.bq,
            &layer.bk,
            &layer.bv,
            &layer.shift,
            &layer.bo,
            &layer.norm.gamma,
            &layer.norm.beta,
            &layer.b1,
            &layer.activation.a,
            &layer.activation.b,
            &layer.activation.c,
            &layer.b2,
            &self.bc,
        ];
        matrices.iter().map(|m| m.rows() * m.cols()).sum::<usize>()
            + vectors.iter().map(|v| v.len()).sum::<usize>()
    }
}

fn format(reason: &str) -> Error {
    Error::Format {
        file: FILE,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::one_layer::synthetic::Shape;

    #[test]
    fn weights_survive_the_file() {
        let shape = Shape::SMALL;
        let model = shape.model(7).unwrap();
        let bytes = crate::one_layer::synthetic::to_safetensors(&model.weights).unwrap();
        assert_eq!(Weights::load(&model.config, &bytes).unwrap(), model.weights);
        assert!(model.weights.parameters() > 4 * shape.dim * shape.dim);
    }

    #[test]
    fn wrong_files_are_refused_by_tensor_name() {
        let model = Shape::SMALL.model(7).unwrap();
        let bytes = crate::one_layer::synthetic::to_safetensors(&model.weights).unwrap();
        assert!(matches!(
            Weights::load(&model.config, &bytes[..100]),
            Err(Error::Format { .. })
        ));

        let mut wider = model.config.clone();
        wider.dim *= 2;
        match Weights::load(&wider, &bytes) {
            Err(Error::TensorShape { tensor, .. }) => assert!(tensor.contains("query.weight"), "{tensor}"),
            other => panic!("{other:?}"),
        }

        let mut weights = model.weights.clone();
        weights.layer.activation.a[1] = 0.0;
        let bytes = crate::one_layer::synthetic::to_safetensors(&weights).unwrap();
        let error = Weights::load(&model.config, &bytes).unwrap_err().to_string();
        assert!(error.contains("activation.a"), "{error}");
    }
}
