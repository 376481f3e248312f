//! The part of `config.json` that a client gets: enough to embed an input, nothing about the inside of the model.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const FILE: &str = "config.json";

/// What the client does in clear, before the first encrypted value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublicConfig {
    /// Always `polynomial_transformer`.
    pub model_type: String,
    /// Features of a token.
    #[serde(rename = "hidden_size")]
    pub dim: usize,
    /// Tokens of every input.
    #[serde(rename = "max_position_embeddings")]
    pub seq_len: usize,
    /// Rows of the embedding table; 0 for images.
    #[serde(default)]
    pub vocab_size: usize,
    /// Epsilon of the embedding's layer norm.
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f64,
    /// Token that fills short inputs.
    #[serde(default)]
    pub pad_token_id: u32,
    /// What fills short inputs.
    #[serde(default)]
    pub padding: Padding,
    /// What is embedded.
    #[serde(default)]
    pub input: Input,
}

/// What fills the positions that a short text leaves. Either way the length of a text does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// The padding token, which the model has learned as an ordinary one.
    #[default]
    Token,
    /// The text again and again: position t holds token t mod n as it stands at its first place. Means over all positions
    /// are then those over the text, nearly, so a model that was trained with a padding mask needs none.
    Repeat,
}

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Input {
    /// A text.
    #[default]
    Text,
    /// A grey image, cut into square patches; a token for each, row by row.
    Patches {
        /// Rows of pixels.
        rows: usize,
        /// Pixels of a row.
        cols: usize,
        /// Side of a patch, a divisor of both.
        patch: usize,
    },
}

impl Input {
    /// Files of the public bundle, the configuration last.
    pub fn files(&self) -> &'static [&'static str] {
        match self {
            Self::Text => &["tokenizer.json", "embeddings.safetensors", "config.json"],
            Self::Patches { .. } => &["embeddings.safetensors", "config.json"],
        }
    }
}

fn default_epsilon() -> f64 {
    1e-5
}

impl PublicConfig {
    /// Reads the public part from `config.json`, the whole file or the public one.
    ///
    /// # Errors
    /// - not JSON, or a field is missing
    /// - sizes that no model has, or patches that do not fill the image or the tokens
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(bytes).map_err(|error| Error::Format {
            file: FILE,
            reason: error.to_string(),
        })?;
        config.check()?;
        Ok(config)
    }

    /// The bytes that a client downloads as `config.json`; always the same for the same model.
    ///
    /// # Errors
    /// - a number that JSON cannot hold
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| Error::Format {
            file: FILE,
            reason: error.to_string(),
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn check(&self) -> Result<()> {
        let need = |ok: bool, field, needed: &str, found: String| {
            let needed = needed.to_owned();
            if ok {
                Ok(())
            } else {
                Err(Error::Config { field, needed, found })
            }
        };
        let size = |field, found: usize, most: usize| {
            let needed = format!("1 to {most}");
            need((1..=most).contains(&found), field, &needed, found.to_string())
        };
        size("hidden_size", self.dim, 1 << 16)?;
        size("max_position_embeddings", self.seq_len, 1 << 12)?;
        need(
            self.layer_norm_eps.is_finite() && self.layer_norm_eps >= 0.0,
            "layer_norm_eps",
            "a finite number, 0 or more",
            self.layer_norm_eps.to_string(),
        )?;
        match self.input {
            Input::Text => size("vocab_size", self.vocab_size, 1 << 24),
            Input::Patches { rows, cols, patch } => {
                size("input.rows", rows, 1 << 12)?;
                size("input.cols", cols, 1 << 12)?;
                size("input.patch", patch, rows.min(cols))?;
                need(
                    rows.is_multiple_of(patch) && cols.is_multiple_of(patch),
                    "input.patch",
                    "a divisor of rows and cols",
                    patch.to_string(),
                )?;
                let needed = format!("{}, one for each patch", rows / patch * (cols / patch));
                need(
                    rows / patch * (cols / patch) == self.seq_len,
                    "max_position_embeddings",
                    &needed,
                    self.seq_len.to_string(),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"model_type": "polynomial_transformer", "hidden_size": 8,
        "max_position_embeddings": 16, "vocab_size": 100, "num_hidden_layers": 2, "fit": {"secret": 1}}"#;

    #[test]
    fn the_public_part_says_nothing_about_the_inside() {
        let config = PublicConfig::from_json(TEXT.as_bytes()).unwrap();
        let json = String::from_utf8(config.to_json().unwrap()).unwrap();
        assert!(!json.contains("fit") && !json.contains("layers"), "{json}");
        assert_eq!(PublicConfig::from_json(json.as_bytes()).unwrap(), config);
        assert_eq!((config.input, config.layer_norm_eps), (Input::Text, 1e-5));
    }

    #[test]
    fn patches_must_fill_image_and_tokens() {
        let read = |input: &str| {
            let json = TEXT.replace(r#""vocab_size": 100"#, &format!(r#""input": {input}"#));
            PublicConfig::from_json(json.as_bytes())
        };
        let good = r#"{"kind": "patches", "rows": 28, "cols": 28, "patch": 7}"#;
        assert_eq!(read(good).unwrap().input.files().len(), 2);
        for (from, to, field) in [
            ("\"patch\": 7", "\"patch\": 5", "input.patch"),
            ("\"patch\": 7", "\"patch\": 0", "input.patch"),
            ("\"patch\": 7", "\"patch\": 14", "max_position_embeddings"),
            ("\"rows\": 28", "\"rows\": 99999", "input.rows"),
        ] {
            let error = read(&good.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(field), "{to}: {error}");
        }
    }
}
