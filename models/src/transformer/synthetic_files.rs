//! A model folder with synthetic weights: what a server serves and a client talks to, where no trained model is at hand.

use std::path::Path;

use half::f16;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Map, Value, json};

use super::config::TransformerConfig;
use super::synthetic::embedding_parts;
use super::weights::TransformerWeights;
use crate::config::Padding;
use crate::error::{Error, Result};

/// Writes `config.json`, `model.safetensors`, `tokenizer.json` and `embeddings.safetensors`. The tokenizer knows the words
/// `w0`, `w1`, .. of the vocabulary; `w0` fills short texts (on the left, so that the last position is that of the last
/// word) and stands for words that it does not know.
///
/// # Errors
/// - the weights have no numbers, or a file cannot be written
pub fn write(path: &Path, config: &TransformerConfig, weights: &TransformerWeights) -> Result<()> {
    let config = TransformerConfig {
        pad_token_id: 0,
        ..config.clone()
    };
    let files = [
        ("config.json", config.to_json()?),
        ("model.safetensors", weights.to_safetensors(&config)?),
        ("tokenizer.json", tokenizer(&config).to_string().into_bytes()),
        ("embeddings.safetensors", embeddings(&config)?),
    ];
    for (name, bytes) in files {
        let path = path.join(name);
        std::fs::write(&path, bytes).map_err(|source| Error::Read { path, source })?;
    }
    Ok(())
}

/// Word number `id` of the vocabulary.
#[must_use]
pub fn word(id: usize) -> String {
    format!("w{id}")
}

fn tokenizer(config: &TransformerConfig) -> Value {
    let vocabulary: Map<String, Value> = (0..config.vocab_size).map(|id| (word(id), json!(id))).collect();
    let direction = match config.padding {
        Padding::Token => "Left",
        Padding::Repeat => "Right",
    };
    json!({
        "version": "1.0", "added_tokens": [], "post_processor": null, "decoder": null, "normalizer": null,
        "truncation": {
            "direction": direction, "max_length": config.seq_len, "strategy": "LongestFirst", "stride": 0,
        },
        "padding": {
            "strategy": {"Fixed": config.seq_len}, "direction": direction, "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": word(0),
        },
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "unk_token": word(0), "vocab": vocabulary},
    })
}

fn embeddings(config: &TransformerConfig) -> Result<Vec<u8>> {
    let (dim, vocab, length) = (config.dim, config.vocab_size, config.seq_len);
    let mut words = Vec::with_capacity(2 * vocab * dim);
    for id in 0..vocab {
        let (word, _) = embedding_parts(dim, id as u64, 0);
        words.extend(word.into_iter().flat_map(|v| f16::from_f64(v).to_le_bytes()));
    }
    let f32s = |values: Vec<f64>| -> Vec<u8> {
        values
            .into_iter()
            .flat_map(|v| (v as f32).to_le_bytes())
            .collect()
    };
    let positions = (0..length).flat_map(|t| embedding_parts(dim, 0, t as u64).1);
    let positions = f32s(positions.collect());
    let (gamma, beta) = (f32s(vec![1.0; dim]), f32s(vec![0.0; dim]));
    let refused = |error: safetensors::SafeTensorError| Error::Format {
        file: "embeddings.safetensors",
        reason: error.to_string(),
    };
    let view = |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).map_err(refused);
    let views = [
        (
            "embeddings.word_embeddings.weight",
            view(Dtype::F16, &[vocab, dim], &words)?,
        ),
        (
            "embeddings.position_embeddings.weight",
            view(Dtype::F32, &[length, dim], &positions)?,
        ),
        ("embeddings.LayerNorm.weight", view(Dtype::F32, &[dim], &gamma)?),
        ("embeddings.LayerNorm.bias", view(Dtype::F32, &[dim], &beta)?),
    ];
    safetensors::serialize(views, None).map_err(refused)
}
