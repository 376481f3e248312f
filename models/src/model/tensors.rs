//! `model.safetensors` of a polynomial transformer: its tensors by their Hugging Face names.
//!
//! | Tensor of layer N, `encoder.layer.N.` | Shape |
//! |---|---|
//! | `attention.self.{query,key,value}.{weight,bias}` | (dim, dim), (dim) |
//! | `attention.self.shift` | (n_heads) |
//! | `attention.output.dense.{weight,bias}` | (dim, dim), (dim) |
//! | `attention.output.LayerNorm.{weight,bias,running_mean,running_var}`, the first norm | (dim) |
//! | `intermediate.dense.{weight,bias}` | (hidden_dim, dim), (hidden_dim) |
//! | `activation.{a,b,c}` if quadratic | (hidden_dim) |
//! | `output.dense.{weight,bias}` | (dim, hidden_dim), (dim) |
//! | `output.LayerNorm.{..}`, the second norm | (dim) |
//!
//! and `final_layer_norm.{..}` with norms before the blocks, `classifier.{weight,bias}` or `lm_head.{weight,bias}`.
//! Absent biases and shifts are zero. All of it may stand under `bert.`, all but the head.

use half::f16;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::model::config::{Activation, Head, NormKind, Position, TransformerConfig};
use crate::model::weights::{FILE, Quadratic};
use crate::model::weights::{Linear, NormWeights, TransformerLayer, TransformerWeights, Weight};

fn format(reason: String) -> Error {
    Error::Format { file: FILE, reason }
}

struct Reader<'a> {
    tensors: Tensors<'a>,
    prefix: &'static str,
}

impl Reader<'_> {
    fn vector(&self, name: &str, length: usize) -> Result<Vec<f64>> {
        self.tensors.vector(name, length)
    }

    fn vector_or_zeros(&self, name: &str, length: usize) -> Result<Vec<f64>> {
        if self.tensors.has(name) {
            self.vector(name, length)
        } else {
            Ok(vec![0.0; length])
        }
    }

    fn linear(&self, name: &str, rows: usize, cols: usize) -> Result<Linear> {
        let weight = self.tensors.matrix(&format!("{name}.weight"), rows, cols)?;
        Ok(Linear {
            weight: Weight::Values(weight),
            bias: self.vector_or_zeros(&format!("{name}.bias"), rows)?,
        })
    }

    fn norm(&self, config: &TransformerConfig, name: &str) -> Result<NormWeights> {
        let (kind, dim) = (config.norm.kind, config.dim);
        let mut norm = NormWeights::identity(kind, dim);
        if kind == NormKind::None {
            return Ok(norm);
        }
        norm.gamma = self.vector(&format!("{name}.weight"), dim)?;
        if kind != NormKind::RmsNorm {
            norm.beta = self.vector(&format!("{name}.bias"), dim)?;
        }
        if kind == NormKind::BatchNorm {
            norm.mean = self.vector(&format!("{name}.running_mean"), dim)?;
            norm.var = self.vector(&format!("{name}.running_var"), dim)?;
            if norm.var.iter().any(|var| *var < 0.0) {
                return Err(format(format!("{name}.running_var holds a negative variance")));
            }
        }
        Ok(norm)
    }

    fn layer(&self, config: &TransformerConfig, n: usize) -> Result<TransformerLayer> {
        let (dim, hidden) = (config.dim, config.hidden_dim);
        let name = |suffix: &str| format!("{}encoder.layer.{n}.{suffix}", self.prefix);
        let linear = |suffix: &str, rows, cols| self.linear(&name(suffix), rows, cols);
        let channel = |suffix: &str| self.vector(&name(suffix), hidden);
        let quadratic = match config.activation {
            Activation::Quadratic => Some(Quadratic {
                a: channel("activation.a")?,
                b: channel("activation.b")?,
                c: channel("activation.c")?,
            }),
            _ => None,
        };
        if quadratic.as_ref().is_some_and(|q| q.a.contains(&0.0)) {
            let name = name("activation.a");
            return Err(format(format!(
                "{name} holds a zero; the square cannot be completed"
            )));
        }
        Ok(TransformerLayer {
            query: linear("attention.self.query", dim, dim)?,
            key: linear("attention.self.key", dim, dim)?,
            value: linear("attention.self.value", dim, dim)?,
            shift: self.vector_or_zeros(&name("attention.self.shift"), config.n_heads)?,
            output: linear("attention.output.dense", dim, dim)?,
            norm1: self.norm(config, &name("attention.output.LayerNorm"))?,
            norm2: self.norm(config, &name("output.LayerNorm"))?,
            up: linear("intermediate.dense", hidden, dim)?,
            quadratic,
            down: linear("output.dense", dim, hidden)?,
        })
    }
}

fn head_name(head: &Head) -> Option<&'static str> {
    match head {
        Head::Classification { .. } => Some("classifier"),
        Head::Embedding => None,
        Head::NextToken { .. } => Some("lm_head"),
    }
}

impl TransformerWeights {
    /// Reads the bytes of `model.safetensors` (F32, F64 or F16), names as in the module's table.
    ///
    /// # Errors
    /// - not a safetensors file, or a tensor is missing, of another type or shape than `config` says
    /// - a value is not finite, a variance is negative, or an `activation.a` is zero
    pub fn load(config: &TransformerConfig, bytes: &[u8]) -> Result<Self> {
        let tensors = Tensors::open(FILE, bytes)?;
        let mut names = tensors.tensors.names().into_iter();
        let in_bert = names.any(|name| name.starts_with("bert.encoder."));
        let reader = Reader {
            prefix: if in_bert { "bert." } else { "" },
            tensors,
        };
        let layers = (0..config.n_layers)
            .map(|n| reader.layer(config, n))
            .collect::<Result<_>>()?;
        let final_norm = match config.norm_position {
            Position::Post => None,
            Position::Pre => Some(reader.norm(config, &format!("{}final_layer_norm", reader.prefix))?),
        };
        let head = head_name(&config.head)
            .map(|name| reader.linear(name, config.outputs(), config.dim))
            .transpose()?;
        Ok(Self {
            layers,
            final_norm,
            head,
        })
    }

    /// The bytes of a `model.safetensors` with these weights, in F32.
    ///
    /// # Errors
    /// - there are no numbers, only shapes
    pub fn to_safetensors(&self, config: &TransformerConfig) -> Result<Vec<u8>> {
        let mut file = Writer::default();
        for (n, layer) in self.layers.iter().enumerate() {
            let name = |suffix: &str| format!("encoder.layer.{n}.{suffix}");
            file.linear(&name("attention.self.query"), &layer.query)?;
            file.linear(&name("attention.self.key"), &layer.key)?;
            file.linear(&name("attention.self.value"), &layer.value)?;
            file.vector(name("attention.self.shift"), &layer.shift);
            file.linear(&name("attention.output.dense"), &layer.output)?;
            file.norm(&name("attention.output.LayerNorm"), &layer.norm1);
            file.norm(&name("output.LayerNorm"), &layer.norm2);
            file.linear(&name("intermediate.dense"), &layer.up)?;
            if let Some(quadratic) = &layer.quadratic {
                file.vector(name("activation.a"), &quadratic.a);
                file.vector(name("activation.b"), &quadratic.b);
                file.vector(name("activation.c"), &quadratic.c);
            }
            file.linear(&name("output.dense"), &layer.down)?;
        }
        if let Some(norm) = &self.final_norm {
            file.norm("final_layer_norm", norm);
        }
        if let (Some(name), Some(head)) = (head_name(&config.head), &self.head) {
            file.linear(name, head)?;
        }
        file.finish()
    }
}

#[derive(Default)]
struct Writer {
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl Writer {
    fn put<'a>(&mut self, name: String, shape: Vec<usize>, values: impl Iterator<Item = &'a f64>) {
        let bytes = values.flat_map(|v| (*v as f32).to_le_bytes()).collect();
        self.tensors.push((name, shape, bytes));
    }

    /// Nothing for an empty one.
    fn vector(&mut self, name: String, values: &[f64]) {
        if !values.is_empty() {
            self.put(name, vec![values.len()], values.iter());
        }
    }

    fn linear(&mut self, name: &str, linear: &Linear) -> Result<()> {
        let matrix = linear.weight.values()?;
        let shape = vec![matrix.rows(), matrix.cols()];
        let rows = (0..matrix.rows()).flat_map(|i| matrix.row(i));
        self.put(format!("{name}.weight"), shape, rows);
        self.vector(format!("{name}.bias"), &linear.bias);
        Ok(())
    }

    fn norm(&mut self, name: &str, norm: &NormWeights) {
        self.vector(format!("{name}.weight"), &norm.gamma);
        self.vector(format!("{name}.bias"), &norm.beta);
        self.vector(format!("{name}.running_mean"), &norm.mean);
        self.vector(format!("{name}.running_var"), &norm.var);
    }

    fn finish(self) -> Result<Vec<u8>> {
        let refused = |error: safetensors::SafeTensorError| format(error.to_string());
        let views = (self.tensors.iter())
            .map(|(name, shape, data)| {
                TensorView::new(Dtype::F32, shape.clone(), data)
                    .map(|view| (name.as_str(), view))
                    .map_err(refused)
            })
            .collect::<Result<Vec<_>>>()?;
        safetensors::serialize(views, None).map_err(refused)
    }
}

/// A safetensors file with checked access: every read names the tensor, its type and its shape.
pub(crate) struct Tensors<'a> {
    file: &'static str,
    tensors: SafeTensors<'a>,
}

impl<'a> Tensors<'a> {
    /// Reads the header.
    pub(crate) fn open(file: &'static str, bytes: &'a [u8]) -> Result<Self> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| Error::Format {
            file,
            reason: error.to_string(),
        })?;
        Ok(Self { file, tensors })
    }

    /// The little-endian bytes of a tensor of this type and shape.
    pub(crate) fn bytes(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8]> {
        let format = |reason: String| Error::Format {
            file: self.file,
            reason,
        };
        let view = self
            .tensors
            .tensor(name)
            .map_err(|error| format(format!("tensor {name}: {error}")))?;
        if view.dtype() != dtype {
            return Err(format(format!(
                "tensor {name} is {:?}, {dtype:?} needed",
                view.dtype()
            )));
        }
        if view.shape() != shape {
            return Err(Error::TensorShape {
                file: self.file,
                tensor: name.to_owned(),
                needed: shape.to_vec(),
                found: view.shape().to_vec(),
            });
        }
        Ok(view.data())
    }

    /// Numbers of a tensor of F32, F64 or, half the size, F16.
    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f64>> {
        let dtype = self.tensors.tensor(name).map_or(Dtype::F32, |view| view.dtype());
        let values: Vec<f64> = match dtype {
            Dtype::F16 => (self.bytes(name, dtype, shape)?.as_chunks().0.iter())
                .map(|bytes| f16::from_le_bytes(*bytes).to_f64())
                .collect(),
            Dtype::F64 => (self.bytes(name, dtype, shape)?.as_chunks().0.iter())
                .map(|bytes| f64::from_le_bytes(*bytes))
                .collect(),
            _ => (self.bytes(name, Dtype::F32, shape)?.as_chunks().0.iter())
                .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
                .collect(),
        };
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(Error::Format {
                file: self.file,
                reason: format!("tensor {name} holds a value that is not finite"),
            })
        }
    }

    /// A matrix.
    pub(crate) fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Matrix> {
        Matrix::new(rows, cols, self.numbers(name, &[rows, cols])?)
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// A vector.
    pub(crate) fn vector(&self, name: &str, length: usize) -> Result<Vec<f64>> {
        self.numbers(name, &[length])
    }
}
