//! The weights of a polynomial transformer, with their numbers or as shapes alone.

use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::model::config::{Activation, Head, NormKind, Position, TransformerConfig};

pub(crate) const FILE: &str = "model.safetensors";

/// A matrix, (outputs, inputs), or only its shape.
#[derive(Debug, Clone, PartialEq)]
pub enum Weight {
    /// With its numbers.
    Values(Matrix),
    /// No numbers: for plans from the configuration alone.
    Shape {
        /// Outputs.
        rows: usize,
        /// Inputs.
        cols: usize,
    },
}

/// `y = W x + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// W, (outputs, inputs).
    pub weight: Weight,
    /// b, (outputs).
    pub bias: Vec<f64>,
}

/// Weights of a norm; all empty for [`NormKind::None`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NormWeights {
    /// (dim).
    pub gamma: Vec<f64>,
    /// (dim); zeros for [`NormKind::RmsNorm`].
    pub beta: Vec<f64>,
    /// (dim) for [`NormKind::BatchNorm`], else empty.
    pub mean: Vec<f64>,
    /// (dim) for [`NormKind::BatchNorm`], else empty.
    pub var: Vec<f64>,
}

/// `a x^2 + b x + c`, each with its own value per channel. No `a` is zero: the square is completed.
#[derive(Debug, Clone, PartialEq)]
pub struct Quadratic {
    /// (hidden_dim), away from zero.
    pub a: Vec<f64>,
    /// (hidden_dim).
    pub b: Vec<f64>,
    /// (hidden_dim).
    pub c: Vec<f64>,
}

/// Weights of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerLayer {
    /// (dim, dim); head h has the outputs `h * head_dim ..`.
    pub query: Linear,
    /// (dim, dim).
    pub key: Linear,
    /// (dim, dim).
    pub value: Linear,
    /// Added to every score of a head, (n_heads).
    pub shift: Vec<f64>,
    /// (dim, dim).
    pub output: Linear,
    /// The norm of the attention block.
    pub norm1: NormWeights,
    /// The norm of the feed-forward block.
    pub norm2: NormWeights,
    /// (hidden_dim, dim).
    pub up: Linear,
    /// (hidden_dim) each, with [`Activation::Quadratic`] only.
    pub quadratic: Option<Quadratic>,
    /// (dim, hidden_dim).
    pub down: Linear,
}

/// All weights.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerWeights {
    /// One for each layer.
    pub layers: Vec<TransformerLayer>,
    /// The norm at the end, with [`Position::Pre`] only.
    pub final_norm: Option<NormWeights>,
    /// (num_labels, dim) or (vocab, dim); none with [`Head::Embedding`].
    pub head: Option<Linear>,
}

impl Weight {
    /// Outputs.
    pub fn rows(&self) -> usize {
        match self {
            Self::Values(matrix) => matrix.rows(),
            Self::Shape { rows, .. } => *rows,
        }
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        match self {
            Self::Values(matrix) => matrix.cols(),
            Self::Shape { cols, .. } => *cols,
        }
    }

    /// The numbers.
    ///
    /// # Errors
    /// - there are none
    pub fn values(&self) -> Result<&Matrix> {
        match self {
            Self::Values(matrix) => Ok(matrix),
            Self::Shape { rows, cols } => Err(Error::Format {
                file: FILE,
                reason: format!("a ({rows}, {cols}) matrix has a shape but no numbers; load the weights"),
            }),
        }
    }
}

impl Linear {
    fn shape_only(rows: usize, cols: usize) -> Self {
        Self {
            weight: Weight::Shape { rows, cols },
            bias: vec![0.0; rows],
        }
    }

    fn parameters(&self) -> usize {
        self.weight.rows() * self.weight.cols() + self.bias.len()
    }
}

impl NormWeights {
    /// The norm that changes nothing but what its kind changes: gamma 1, beta 0, statistics 0 and 1.
    pub fn identity(kind: NormKind, dim: usize) -> Self {
        let of = |kinds: &[NormKind], value: f64| vec![value; if kinds.contains(&kind) { dim } else { 0 }];
        let all = [NormKind::LayerNorm, NormKind::RmsNorm, NormKind::BatchNorm];
        Self {
            gamma: of(&all, 1.0),
            beta: of(&all, 0.0),
            mean: of(&[NormKind::BatchNorm], 0.0),
            var: of(&[NormKind::BatchNorm], 1.0),
        }
    }

    /// A batch norm as `scale * x + offset`.
    pub fn affine(&self, epsilon: f64) -> (Vec<f64>, Vec<f64>) {
        let scale: Vec<f64> = (self.gamma.iter().zip(&self.var))
            .map(|(gamma, var)| gamma / (var + epsilon).sqrt())
            .collect();
        let offset = (self.beta.iter().zip(&self.mean).zip(&scale))
            .map(|((beta, mean), scale)| beta - mean * scale)
            .collect();
        (scale, offset)
    }

    fn parameters(&self) -> usize {
        self.gamma.len() + self.beta.len() + self.mean.len() + self.var.len()
    }
}

impl TransformerWeights {
    /// Shapes without numbers, for plans from the configuration alone: no biases (zeros), norms that change nothing,
    /// score shifts of 1, the activation x^2/4 + x/2 + 1/4 where it is quadratic.
    pub fn shape_only(config: &TransformerConfig) -> Self {
        let (dim, hidden) = (config.dim, config.hidden_dim);
        let norm = NormWeights::identity(config.norm.kind, dim);
        let layer = TransformerLayer {
            query: Linear::shape_only(dim, dim),
            key: Linear::shape_only(dim, dim),
            value: Linear::shape_only(dim, dim),
            shift: vec![1.0; config.n_heads],
            output: Linear::shape_only(dim, dim),
            norm1: norm.clone(),
            norm2: norm.clone(),
            up: Linear::shape_only(hidden, dim),
            quadratic: (config.activation == Activation::Quadratic).then(|| Quadratic {
                a: vec![0.25; hidden],
                b: vec![0.5; hidden],
                c: vec![0.25; hidden],
            }),
            down: Linear::shape_only(dim, hidden),
        };
        let head = match config.head {
            Head::Embedding => None,
            Head::Classification { .. } | Head::NextToken { .. } => {
                Some(Linear::shape_only(config.outputs(), dim))
            }
        };
        Self {
            layers: vec![layer; config.n_layers],
            final_norm: (config.norm_position == Position::Pre).then_some(norm),
            head,
        }
    }

    /// Number of weights, embeddings not counted.
    pub fn parameters(&self) -> usize {
        let layer = |layer: &TransformerLayer| {
            let linear = [
                &layer.query,
                &layer.key,
                &layer.value,
                &layer.output,
                &layer.up,
                &layer.down,
            ];
            linear.iter().map(|l| l.parameters()).sum::<usize>()
                + layer.shift.len()
                + layer.norm1.parameters()
                + layer.norm2.parameters()
                + layer.quadratic.as_ref().map_or(0, |q| 3 * q.a.len())
        };
        self.layers.iter().map(layer).sum::<usize>()
            + self.final_norm.as_ref().map_or(0, NormWeights::parameters)
            + self.head.as_ref().map_or(0, Linear::parameters)
    }

    /// Whether there are numbers, not only shapes.
    pub fn has_values(&self) -> bool {
        (self.layers.iter()).all(|layer| matches!(layer.query.weight, Weight::Values(_)))
    }
}
