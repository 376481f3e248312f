//! `embeddings.safetensors`: from token ids or pixels to the model's input, in clear.
//!
//! | Tensor, `embeddings.` | Type and shape |
//! |---|---|
//! | `word_embeddings.weight`, of texts | F16 (vocab_size, dim) |
//! | `patch_projection.{weight,bias}`, of images with pixels from 0 to 1 | F32 (dim, patch * patch), (dim) |
//! | `position_embeddings.weight` | F32 (seq_len, dim) |
//! | `LayerNorm.{weight,bias}`, may be absent | F32 (dim) |

use half::f16;
use safetensors::Dtype;

use crate::bundle::public::{Input, Padding, PublicConfig};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::model::tensors::Tensors;

const FILE: &str = "embeddings.safetensors";

/// The tables of the public bundle.
#[derive(Debug)]
pub struct Embeddings {
    config: PublicConfig,
    source: Source,
    /// (seq_len, dim).
    positions: Vec<f64>,
    /// Weight and bias of the layer norm, if there is one.
    norm: Option<[Vec<f64>; 2]>,
}

#[derive(Debug)]
enum Source {
    /// (vocab_size, dim), F16 as in the file.
    Words(Vec<f16>),
    /// (dim, patch * patch) and (dim).
    Patches(Matrix, Vec<f64>),
}

impl Embeddings {
    /// Reads the bytes of `embeddings.safetensors`.
    ///
    /// # Errors
    /// - not a safetensors file, or a tensor is missing, of another type or shape than `config` says
    /// - a value is not finite
    pub fn new(config: PublicConfig, bytes: &[u8]) -> Result<Self> {
        let file = Tensors::open(FILE, bytes)?;
        let dim = config.dim;
        let source = match config.input {
            Input::Text => {
                let name = "embeddings.word_embeddings.weight";
                let (pairs, _) = file
                    .bytes(name, Dtype::F16, &[config.vocab_size, dim])?
                    .as_chunks::<2>();
                let words: Vec<f16> = pairs.iter().map(|pair| f16::from_le_bytes(*pair)).collect();
                if !words.iter().all(|value| value.is_finite()) {
                    return Err(Error::Format {
                        file: FILE,
                        reason: format!("tensor {name} holds a value that is not finite"),
                    });
                }
                Source::Words(words)
            }
            Input::Patches { patch, .. } => Source::Patches(
                file.matrix("embeddings.patch_projection.weight", dim, patch * patch)?,
                file.vector("embeddings.patch_projection.bias", dim)?,
            ),
        };
        let positions = file.matrix("embeddings.position_embeddings.weight", config.seq_len, dim)?;
        let norm = if file.has("embeddings.LayerNorm.weight") {
            Some([
                file.vector("embeddings.LayerNorm.weight", dim)?,
                file.vector("embeddings.LayerNorm.bias", dim)?,
            ])
        } else {
            None
        };
        Ok(Self {
            source,
            positions: (0..config.seq_len)
                .flat_map(|t| positions.row(t).to_vec())
                .collect(),
            norm,
            config,
        })
    }

    /// The public configuration.
    pub fn config(&self) -> &PublicConfig {
        &self.config
    }

    /// `norm(word[id] + position[t])` of every token, (ids, dim) row-major; with [`Padding::Repeat`], again and again up to
    /// (seq_len, dim).
    ///
    /// # Errors
    /// - an id is outside the table, there are more ids than positions, or the model takes images
    pub fn embed_ids(&self, ids: &[u32]) -> Result<Vec<f64>> {
        let Source::Words(words) = &self.source else {
            return Err(self.other_input("a text"));
        };
        let dim = self.config.dim;
        let mut x = Vec::with_capacity(ids.len() * dim);
        for (t, id) in ids.iter().enumerate() {
            let at = *id as usize;
            let word = words
                .get(at * dim..(at + 1) * dim)
                .ok_or_else(|| Error::Tokenizer {
                    reason: format!(
                        "token {id} at position {t} is outside the table of {} words",
                        self.config.vocab_size
                    ),
                })?;
            let word: Vec<f64> = word.iter().map(|w| w.to_f64()).collect();
            x.extend(self.token(t, &word)?);
        }
        Ok(match self.config.padding {
            Padding::Token => x,
            Padding::Repeat => x
                .iter()
                .copied()
                .cycle()
                .take(self.config.seq_len * dim)
                .collect(),
        })
    }

    /// `norm(W patch / 255 + b + position[t])` of every patch of an image, row by row, (seq_len, dim) row-major.
    ///
    /// # Errors
    /// - another number of pixels than rows * cols, or the model takes texts
    pub fn embed_image(&self, pixels: &[u8]) -> Result<Vec<f64>> {
        let (Source::Patches(weight, bias), Input::Patches { rows, cols, patch }) =
            (&self.source, self.config.input)
        else {
            return Err(self.other_input("an image"));
        };
        if pixels.len() != rows * cols {
            return Err(Error::Length {
                what: "pixels of an image",
                needed: rows * cols,
                found: pixels.len(),
            });
        }
        let mut x = Vec::with_capacity(self.config.seq_len * self.config.dim);
        for t in 0..self.config.seq_len {
            let (top, left) = (t / (cols / patch) * patch, t % (cols / patch) * patch);
            let values: Vec<f64> = (0..patch * patch)
                .map(|i| (top + i / patch) * cols + left + i % patch)
                .filter_map(|at| pixels.get(at))
                .map(|pixel| f64::from(*pixel) / 255.0)
                .collect();
            x.extend(self.token(t, &weight.affine(&values, bias))?);
        }
        Ok(x)
    }

    /// `norm(value + position[t])`.
    fn token(&self, t: usize, value: &[f64]) -> Result<Vec<f64>> {
        let dim = self.config.dim;
        let position = self.positions.get(t * dim..(t + 1) * dim).ok_or(Error::Length {
            what: "tokens of an input",
            needed: self.config.seq_len,
            found: t + 1,
        })?;
        let mut sum: Vec<f64> = value.iter().zip(position).map(|(v, p)| v + p).collect();
        let Some([weight, bias]) = &self.norm else {
            return Ok(sum);
        };
        let mean = sum.iter().sum::<f64>() / dim as f64;
        let variance = sum.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / dim as f64;
        let inverse = 1.0 / (variance + self.config.layer_norm_eps).sqrt();
        for ((v, weight), bias) in sum.iter_mut().zip(weight).zip(bias) {
            *v = (*v - mean) * inverse * weight + bias;
        }
        Ok(sum)
    }

    fn other_input(&self, found: &str) -> Error {
        let needed = match self.config.input {
            Input::Text => "a text".to_owned(),
            Input::Patches { rows, cols, .. } => format!("an image of {rows} rows of {cols} grey pixels"),
        };
        Error::Config {
            field: "input",
            needed,
            found: found.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    #[test]
    fn patches_are_read_row_by_row() {
        let json = r#"{"model_type": "polynomial_transformer", "hidden_size": 2, "max_position_embeddings": 2,
            "input": {"kind": "patches", "rows": 2, "cols": 4, "patch": 2}}"#;
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        // the first feature is the sum of the patch, the second its lower left pixel
        let weight = bytes(&[255.0, 255.0, 255.0, 255.0, 0.0, 0.0, 255.0, 0.0]);
        let (bias, positions) = (bytes(&[0.5, 0.0]), bytes(&[0.0, 0.0, 1000.0, 0.0]));
        let view = |shape: &[usize], data| TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap();
        let file = safetensors::serialize(
            [
                ("embeddings.patch_projection.weight", view(&[2, 4], &weight)),
                ("embeddings.patch_projection.bias", view(&[2], &bias)),
                ("embeddings.position_embeddings.weight", view(&[2, 2], &positions)),
            ],
            None,
        )
        .unwrap();
        let config = PublicConfig::from_json(json.as_bytes()).unwrap();
        let embeddings = Embeddings::new(config, &file).unwrap();
        let x = embeddings.embed_image(&[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        let expected = [14.5, 5.0, 1022.5, 7.0];
        assert!(x.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{x:?}");
        assert!(
            embeddings
                .embed_image(&[0; 7])
                .unwrap_err()
                .to_string()
                .contains("8 values needed")
        );
        assert!(
            embeddings
                .embed_ids(&[0])
                .unwrap_err()
                .to_string()
                .contains("an image")
        );
    }
}
