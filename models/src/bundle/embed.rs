//! The public bundle: tokenizer and embeddings, all that a client needs to turn a text or an image into numbers.

use tokenizers::{PaddingParams, PostProcessor, Tokenizer, TruncationParams, pad_encodings};

use crate::bundle::embeddings::Embeddings;
use crate::bundle::public::{Input, Padding, PublicConfig};
use crate::error::{Error, Result};

/// Bytes of a text that are looked at.
const TEXT_LIMIT: usize = 32 << 10;

/// Texts or images to embeddings, in clear, on the side of the client.
#[derive(Debug)]
pub struct Bundle {
    embeddings: Embeddings,
    /// None for images.
    text: Option<TextReader>,
}

/// Texts to token ids.
#[derive(Debug)]
struct TextReader {
    /// Without its cutting and padding, which would hide how long the text was.
    tokenizer: Tokenizer,
    truncation: TruncationParams,
    /// Tokens of the text that are kept, special tokens not counted.
    room: usize,
    padding: PaddingParams,
}

/// The model's input.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// Row-major `x[t * dim + f]`, (seq_len, dim).
    pub x: Vec<f64>,
    /// Token ids, padded to seq_len unless the text repeats; none of an image.
    pub ids: Vec<u32>,
    /// Tokens that are not padding.
    pub tokens: usize,
    /// Whether the text was longer than the model takes, so that its end was cut.
    pub truncated: bool,
}

const TOKENIZER: &str = "tokenizer.json";

impl Bundle {
    /// A bundle from the bytes of its files, by name, as downloaded.
    ///
    /// # Errors
    /// - a file is missing, cannot be read as what it should be, or the shapes contradict `config.json`
    /// - a value of the embeddings is not finite
    /// - the tokenizer does not pad and cut every text to exactly the model's length
    pub fn new<'f>(file: impl Fn(&str) -> Option<&'f [u8]>) -> Result<Self> {
        let find = |name: &'static str| {
            file(name).ok_or_else(|| Error::Format {
                file: name,
                reason: "not among the files of the bundle".to_owned(),
            })
        };
        let config = PublicConfig::from_json(find("config.json")?)?;
        let text = match config.input {
            Input::Text => Some(TextReader::new(find(TOKENIZER)?)?),
            Input::Patches { .. } => None,
        };
        let embeddings = Embeddings::new(config, find("embeddings.safetensors")?)?;
        let bundle = Self { embeddings, text };
        if bundle.text.is_some() {
            bundle.embed("")?;
        }
        Ok(bundle)
    }

    /// The public configuration.
    pub fn config(&self) -> &PublicConfig {
        self.embeddings.config()
    }

    /// The embedding of every token of `text`, cut or filled up to the model's length ([`Padding`]): the length of the text
    /// does not show in the shape of the input.
    ///
    /// # Errors
    /// - the model takes images
    /// - the tokenizer fails, gives another number of tokens, or one outside the table
    pub fn embed(&self, text: &str) -> Result<Embedded> {
        let needed = self.config().seq_len;
        let Some(reader) = &self.text else {
            self.embeddings.embed_ids(&[])?;
            return Err(Error::Length {
                what: "tokens of a text",
                needed,
                found: 0,
            });
        };
        let padding = self.config().padding;
        let (mut ids, tokens, truncated) = reader.read(text, padding)?;
        if padding == Padding::Repeat && ids.is_empty() {
            ids.push(self.config().pad_token_id);
        }
        if ids.len() > needed || (padding == Padding::Token && ids.len() < needed) {
            return Err(Error::Length {
                what: "tokens of a text",
                needed,
                found: ids.len(),
            });
        }
        Ok(Embedded {
            x: self.embeddings.embed_ids(&ids)?,
            ids,
            tokens,
            truncated,
        })
    }

    /// The embedding of every patch of an image, row-major grey pixels from 0 to 255.
    ///
    /// # Errors
    /// - the model takes texts, or images of another size
    pub fn embed_image(&self, pixels: &[u8]) -> Result<Embedded> {
        Ok(Embedded {
            x: self.embeddings.embed_image(pixels)?,
            ids: Vec::new(),
            tokens: self.config().seq_len,
            truncated: false,
        })
    }

    /// The text of a token, if there is one of this number.
    pub fn token(&self, id: u32) -> Option<String> {
        let tokenizer = &self.text.as_ref()?.tokenizer;
        let text = tokenizer.decode(&[id], false).ok()?;
        if text.is_empty() {
            return tokenizer.id_to_token(id);
        }
        Some(text)
    }
}

impl TextReader {
    fn new(bytes: &[u8]) -> Result<Self> {
        let format = |reason: String| Error::Format {
            file: TOKENIZER,
            reason,
        };
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| format(error.to_string()))?;
        let (Some(truncation), Some(padding)) = (tokenizer.get_truncation(), tokenizer.get_padding()) else {
            let reason = "truncation and padding are needed: every text must become equally long";
            return Err(format(reason.to_owned()));
        };
        let (truncation, padding) = (truncation.clone(), padding.clone());
        let special = tokenizer
            .get_post_processor()
            .map_or(0, |post| post.added_tokens(false));
        let room = truncation.max_length.saturating_sub(special);
        if truncation.stride >= room {
            let stride = truncation.stride;
            return Err(format(format!(
                "it keeps {room} tokens of a text; more than the stride {stride} needed"
            )));
        }
        tokenizer
            .with_padding(None)
            .with_truncation(None)
            .map_err(|error| format(error.to_string()))?;
        Ok(Self {
            tokenizer,
            truncation,
            room,
            padding,
        })
    }

    /// Ids, cut, and padded by the padding token if that is what pads; how many are not padding; whether the text was cut.
    fn read(&self, text: &str, padding: Padding) -> Result<(Vec<u32>, usize, bool)> {
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
        if padding == Padding::Token {
            pad_encodings(&mut encoding, &self.padding).map_err(refused)?;
        }
        let [encoding] = encoding;
        let mask = encoding.get_attention_mask();
        let tokens = mask.iter().filter(|mask| **mask == 1).count();
        Ok((encoding.get_ids().to_vec(), tokens, truncated))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;
    use safetensors::{Dtype, tensor::TensorView};

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
    const CONFIG: &str = r#"{"model_type": "polynomial_transformer", "hidden_size": 2,
        "max_position_embeddings": 4, "vocab_size": 5, "layer_norm_eps": 0.0}"#;

    fn open(config: &str, tokenizer: &str, table: &[u8]) -> Result<Bundle> {
        Bundle::new(|name| match name {
            "config.json" => Some(config.as_bytes()),
            TOKENIZER => Some(tokenizer.as_bytes()),
            _ => Some(table),
        })
    }

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
        let bundle = open(CONFIG, WORDS, &embeddings(5)).unwrap();
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
        assert_eq!(bundle.token(4).as_deref(), Some("film"));
        assert_eq!(bundle.token(77), None);
        assert!(bundle.embed_image(&[0]).is_err());
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused() {
        let refused = |config: &str, tokenizer: &str, table: &[u8]| {
            open(config, tokenizer, table).unwrap_err().to_string()
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
