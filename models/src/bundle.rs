//! The public bundle: tokenizer and embedding table, all that a client needs to turn a text into numbers.

use half::f16;
use safetensors::Dtype;
use tokenizers::{PaddingParams, PostProcessor, Tokenizer, TruncationParams, pad_encodings};

use crate::config::{Padding, PublicConfig};
use crate::dir::ModelDir;
use crate::error::{Error, Result};
use crate::weights::Tensors;

/// Bytes of a text that are looked at.
const TEXT_LIMIT: usize = 32 << 10;

/// Text to embeddings, in clear, on the side of the client.
#[derive(Debug)]
pub struct Bundle {
    config: PublicConfig,
    /// Without its cutting and padding, which would hide how long the text was.
    tokenizer: Tokenizer,
    truncation: TruncationParams,
    /// Tokens of the text that are kept, special tokens not counted.
    room: usize,
    padding: PaddingParams,
    /// (vocab_size, dim), F16 as in the file.
    words: Vec<f16>,
    /// (seq_len, dim).
    positions: Vec<f64>,
    norm_weight: Vec<f64>,
    norm_bias: Vec<f64>,
}

/// A text as the model's input.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// Row-major `x[t * dim + f]`, (seq_len, dim).
    pub x: Vec<f64>,
    /// Token ids, filled up to seq_len.
    pub ids: Vec<u32>,
    /// Tokens of the text itself.
    pub tokens: usize,
    /// Whether the text was longer than the model takes, so that its end was cut.
    pub truncated: bool,
}

const EMBEDDINGS: &str = "embeddings.safetensors";
const TOKENIZER: &str = "tokenizer.json";

impl Bundle {
    /// A bundle from the bytes of its three files, as downloaded.
    ///
    /// # Errors
    /// - a file cannot be read as what it should be, or the shapes contradict `config.json`
    /// - a value of the table is not finite
    /// - the tokenizer does not pad and cut every text to exactly the model's length
    pub fn new(config: &[u8], tokenizer: &[u8], embeddings: &[u8]) -> Result<Self> {
        let config = PublicConfig::from_json(config)?;
        let mut tokenizer = Tokenizer::from_bytes(tokenizer).map_err(|error| Error::Format {
            file: TOKENIZER,
            reason: error.to_string(),
        })?;
        let (truncation, padding) = match (tokenizer.get_truncation(), tokenizer.get_padding()) {
            (Some(truncation), Some(padding)) => (truncation.clone(), padding.clone()),
            _ => {
                return Err(Error::Format {
                    file: TOKENIZER,
                    reason: "truncation and padding are needed: every text must become equally long"
                        .to_owned(),
                });
            }
        };
        let special = tokenizer
            .get_post_processor()
            .map_or(0, |post| post.added_tokens(false));
        let room = truncation.max_length.saturating_sub(special);
        if truncation.stride >= room {
            return Err(Error::Format {
                file: TOKENIZER,
                reason: format!(
                    "it keeps {room} tokens of a text; more than the stride {} needed",
                    truncation.stride
                ),
            });
        }
        tokenizer
            .with_padding(None)
            .with_truncation(None)
            .map_err(|error| Error::Format {
                file: TOKENIZER,
                reason: error.to_string(),
            })?;
        let file = Tensors::open(EMBEDDINGS, embeddings)?;
        let words = "embeddings.word_embeddings.weight";
        let (pairs, _) = file
            .bytes(words, Dtype::F16, &[config.vocab_size, config.dim])?
            .as_chunks::<2>();
        let words: Vec<f16> = pairs.iter().map(|pair| f16::from_le_bytes(*pair)).collect();
        if !words.iter().all(|value| value.is_finite()) {
            return Err(Error::Format {
                file: EMBEDDINGS,
                reason: "word_embeddings holds a value that is not finite".to_owned(),
            });
        }
        let positions = file.vector_of(
            "embeddings.position_embeddings.weight",
            &[config.seq_len, config.dim],
        )?;
        let bundle = Self {
            norm_weight: file.vector("embeddings.LayerNorm.weight", config.dim)?,
            norm_bias: file.vector("embeddings.LayerNorm.bias", config.dim)?,
            tokenizer,
            truncation,
            room,
            padding,
            words,
            positions,
            config,
        };
        bundle.embed("")?;
        Ok(bundle)
    }

    /// The bundle of a model folder.
    ///
    /// # Errors
    /// - as for [`Bundle::new`], or a file cannot be read
    pub fn open(dir: &ModelDir) -> Result<Self> {
        Self::new(
            &dir.public_file("config.json")?,
            &dir.public_file(TOKENIZER)?,
            &dir.public_file(EMBEDDINGS)?,
        )
    }

    /// The public configuration.
    pub fn config(&self) -> &PublicConfig {
        &self.config
    }

    /// Label names in the order of the logits.
    pub fn labels(&self) -> Vec<String> {
        self.config.labels()
    }

    /// `LayerNorm(word[id] + position[t])` of every token of `text`, cut or filled up to the model's length.
    ///
    /// What fills it ([`Padding`]) is as good as any token: the length of the text does not show in the shape of the input.
    ///
    /// # Errors
    /// - the tokenizer fails, gives another number of tokens, or one outside the table
    pub fn embed(&self, text: &str) -> Result<Embedded> {
        let refused = |error: tokenizers::Error| Error::Tokenizer {
            reason: error.to_string(),
        };
        // Far more than the model reads; the tokenizer's time and memory grow with the rest.
        let head = text.get(..text.floor_char_boundary(TEXT_LIMIT)).unwrap_or(text);
        let mut encoding = self.tokenizer.encode(head, false).map_err(refused)?;
        let truncated = head.len() < text.len() || encoding.len() > self.room;
        encoding.truncate(self.room, self.truncation.stride, self.truncation.direction);
        let mut encoding = [self
            .tokenizer
            .post_process(encoding, None, true)
            .map_err(refused)?];
        if self.config.padding == Padding::Repeat {
            let [encoding] = encoding;
            return self.repeated(encoding.get_ids(), truncated);
        }
        pad_encodings(&mut encoding, &self.padding).map_err(refused)?;
        let [encoding] = encoding;
        let ids = encoding.get_ids().to_vec();
        if ids.len() != self.config.seq_len {
            return Err(Error::Length {
                what: "tokens of a text",
                needed: self.config.seq_len,
                found: ids.len(),
            });
        }
        let tokens = encoding
            .get_attention_mask()
            .iter()
            .filter(|mask| **mask == 1)
            .count();
        let x = self.embed_ids(&ids)?;
        Ok(Embedded {
            x,
            ids,
            tokens,
            truncated,
        })
    }

    /// The tokens as they stand, again and again until the length is full; of no tokens, the padding token.
    fn repeated(&self, ids: &[u32], truncated: bool) -> Result<Embedded> {
        let (tokens, needed) = (ids.len(), self.config.seq_len);
        if tokens > needed {
            return Err(Error::Length {
                what: "tokens of a text (at most)",
                needed,
                found: tokens,
            });
        }
        let padding = [self.config.pad_token_id];
        let ids = if ids.is_empty() { &padding } else { ids };
        let once = self.embed_ids(ids)?;
        Ok(Embedded {
            x: once
                .iter()
                .copied()
                .cycle()
                .take(needed * self.config.dim)
                .collect(),
            ids: ids.iter().copied().cycle().take(needed).collect(),
            tokens,
            truncated,
        })
    }

    /// A token as the tokenizer writes it.
    ///
    /// # Errors
    /// - it does not know the token
    pub fn token(&self, id: u32) -> Result<String> {
        self.tokenizer.id_to_token(id).ok_or_else(|| Error::Tokenizer {
            reason: format!("no token has the number {id}"),
        })
    }

    /// [`Bundle::embed`] after the tokenizer.
    ///
    /// # Errors
    /// - an id is outside the table, or there are more ids than positions
    pub fn embed_ids(&self, ids: &[u32]) -> Result<Vec<f64>> {
        let dim = self.config.dim;
        let mut x = Vec::with_capacity(ids.len() * dim);
        for (t, id) in ids.iter().enumerate() {
            let row = |values: usize, index: usize| (index * values)..((index + 1) * values);
            let outside = || Error::Tokenizer {
                reason: format!(
                    "token {id} at position {t} is outside the table of {} words and {} positions",
                    self.config.vocab_size, self.config.seq_len
                ),
            };
            let word = self.words.get(row(dim, *id as usize)).ok_or_else(outside)?;
            let position = self.positions.get(row(dim, t)).ok_or_else(outside)?;
            let sum: Vec<f64> = word.iter().zip(position).map(|(w, p)| w.to_f64() + p).collect();
            let mean = sum.iter().sum::<f64>() / dim as f64;
            let variance = sum.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / dim as f64;
            let inverse = 1.0 / (variance + self.config.layer_norm_eps).sqrt();
            let affine = self.norm_weight.iter().zip(&self.norm_bias);
            x.extend(
                sum.iter()
                    .zip(affine)
                    .map(|(v, (weight, bias))| (v - mean) * inverse * weight + bias),
            );
        }
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    /// A tokenizer of five words that pads and cuts to four tokens.
    const WORDS: &str = r#"{
        "version": "1.0", "added_tokens": [], "post_processor": null, "decoder": null,
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 4}, "direction": "Right", "pad_to_multiple_of": null,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "unk_token": "[UNK]",
                  "vocab": {"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3, "film": 4}}
    }"#;
    const CONFIG: &str = r#"{"model_type": "power_softmax_classifier", "hidden_size": 2,
        "max_position_embeddings": 4, "vocab_size": 5, "num_labels": 2,
        "id2label": {"0": "negative", "1": "positive"}, "layer_norm_eps": 0.0}"#;

    fn embeddings(vocab: usize) -> Vec<u8> {
        let words: Vec<u8> = (0..vocab * 2)
            .flat_map(|i| f16::from_f64((i * i) as f64).to_le_bytes())
            .collect();
        let f32s = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let (positions, weight, bias) = (f32s(&[0.0; 8]), f32s(&[2.0, 3.0]), f32s(&[0.0, 1.0]));
        let view = |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).unwrap();
        let views = [
            (
                "embeddings.word_embeddings.weight",
                view(Dtype::F16, &[vocab, 2], &words),
            ),
            (
                "embeddings.position_embeddings.weight",
                view(Dtype::F32, &[4, 2], &positions),
            ),
            ("embeddings.LayerNorm.weight", view(Dtype::F32, &[2], &weight)),
            ("embeddings.LayerNorm.bias", view(Dtype::F32, &[2], &bias)),
        ];
        safetensors::serialize(views, None).unwrap()
    }

    #[test]
    fn texts_are_padded_cut_and_normed() {
        let bundle = Bundle::new(CONFIG.as_bytes(), WORDS.as_bytes(), &embeddings(5)).unwrap();
        let short = bundle.embed("good film").unwrap();
        assert_eq!(
            (short.ids.as_slice(), short.tokens, short.truncated),
            (&[2, 4, 0, 0][..], 2, false)
        );
        // a layer norm of two values is -1 and 1; then the weight and the bias
        assert_eq!(&short.x[..2], &[-2.0, 4.0]);
        let long = bundle.embed("good bad terrible film film").unwrap();
        assert_eq!(
            (long.ids.as_slice(), long.tokens, long.truncated),
            (&[2, 3, 1, 4][..], 4, true)
        );
        assert_eq!(bundle.labels(), ["negative", "positive"]);
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused() {
        let refused = |config: &str, tokenizer: &str, table: &[u8]| {
            Bundle::new(config.as_bytes(), tokenizer.as_bytes(), table)
                .unwrap_err()
                .to_string()
        };
        let table = embeddings(5);
        assert!(refused(CONFIG, WORDS, &embeddings(4)).contains("[5, 2] needed"));
        assert!(
            refused(CONFIG, &WORDS.replace("\"Fixed\": 4", "\"Fixed\": 3"), &table)
                .contains("tokens of a text")
        );
        assert!(refused(CONFIG, "{}", &table).starts_with("tokenizer.json"));
        assert!(refused("{}", WORDS, &table).starts_with("config.json"));
        assert!(refused(CONFIG, WORDS, &table[..20]).starts_with("embeddings.safetensors"));
    }
}
