//! One model on the client's side: its manifest, its public bundle, and the secret key.

use crate::answer::{Answer, Decided};
use crate::error::{Error, Result};
use he_ops::ckks::{Ciphertext, Decryptor, Encoder, Encryptor};
use he_ops::decision::{DecisionSecret, EncryptedLabel};
use he_ops::rlwe::{KeyGenerator, Params, SecretKey};
use he_ops::trace::LatencyReport;
use he_ops::wire::{
    Frame, Header, Kind, ciphertext_frame_limit, decode_ciphertext, decode_label, decode_report,
    decode_seeded_ciphertext, encode_decision_key, encode_key, encode_seeded_ciphertext,
    expect_level_and_scale, first_frame, label_frame_len,
};
use models::packing::blocks::Slots;
use models::{Bundle, Embedded, Head, Input, Manifest};
use num_complex::Complex64;
use std::io::Write;

/// Room for the report in a reply.
const REPORT_LIMIT: u64 = 1 << 20;

/// Largest difference of a number from the clear polynomial model that counts as agreement, as a part of the largest number
/// of the answer if that is above 1.
pub const TOLERANCE: f64 = 1.0 / 128.0;

/// All that is needed to ask and to understand the answer. The secret key never leaves it.
pub struct Session {
    manifest: Manifest,
    params: Params,
    encoder: Encoder,
    bundle: Bundle,
    secret: SecretKey,
    decision: Option<DecisionSecret>,
}

/// What a model is asked.
#[derive(Debug, Clone)]
pub enum Query {
    /// A text.
    Text(String),
    /// An image.
    Image {
        /// The bytes of its file, see [`image::read`](crate::image::read).
        file: Vec<u8>,
        /// Which one of an IDX file.
        index: usize,
    },
}

/// An input, ready to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The frames to send, one for each input ciphertext.
    pub frames: Vec<u8>,
    /// The embedded input in clear, for a comparison on this side.
    pub x: Vec<f64>,
    /// Tokens that are not padding.
    pub tokens: usize,
    /// The text was longer than the model takes; its end was cut.
    pub truncated: bool,
}

/// What a server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The numbers that the model ends with.
    #[default]
    Logits,
    /// The class alone, exact.
    Label,
}

impl Reply {
    /// As in `?reply=`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::Label => "label",
        }
    }

    /// What was asked for, if the model gives it; what it gives, if nothing was asked for.
    ///
    /// # Errors
    /// [`Error::NoLabel`] for a label of a model without an exact decision.
    pub fn choose(asked: Option<Self>, manifest: &Manifest) -> Result<Self> {
        match (asked, &manifest.decision) {
            (Some(Self::Label), None) => Err(Error::NoLabel {
                model: manifest.id.clone(),
            }),
            (Some(asked), _) => Ok(asked),
            (None, Some(decision)) if decision.config.only => Ok(Self::Label),
            (None, _) => Ok(Self::Logits),
        }
    }
}

impl std::str::FromStr for Reply {
    type Err = String;

    /// By [`name`](Self::name).
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let known = [Self::Logits, Self::Label];
        let found = known.into_iter().find(|reply| reply.name() == text);
        found.ok_or_else(|| "logits or label needed".to_owned())
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A decrypted reply.
#[derive(Debug, Clone)]
pub struct Decrypted {
    /// Logits, a pooled embedding, or (tokens, vocab) logits, as they are.
    pub outputs: Vec<f64>,
    /// Where the time of the server went, if the reply says so.
    pub report: Option<LatencyReport>,
    /// The class, where a label was asked for; then there are no outputs.
    pub label: Option<Decided>,
}

/// A set of evaluation keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    /// Bytes.
    pub bytes: u64,
    /// Under which a server stores them: blake3 of the bytes, hex.
    pub key_id: String,
}

/// Writes through, counts and digests.
struct Counted<'w, W> {
    out: &'w mut W,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(piece)?;
        self.bytes += written as u64;
        self.hasher.update(piece.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// A true answer stays below half the modulus, and so does its root mean square over the slots. Under another key the
/// coefficients are uniform below the modulus, and their sums in the slots larger by a factor of sqrt(N / 3): noise that must
/// not be read as an answer.
fn check_magnitude(params: &Params, ciphertext: &Ciphertext, slots: &[Complex64]) -> Result<()> {
    let moduli = params.moduli().take(ciphertext.level() + 1);
    let log_q: f64 = moduli.map(|q| (q.value() as f64).log2()).sum();
    let needed = (log_q - 1.0).exp2() / ciphertext.scale();
    let found = (slots.iter().map(Complex64::norm_sqr).sum::<f64>() / slots.len().max(1) as f64).sqrt();
    // Written so that a NaN is refused.
    if found <= needed {
        return Ok(());
    }
    Err(Error::OtherKeys { needed, found })
}

/// Most bytes of a reply to a request of this model.
///
/// # Errors
/// [`Error::Mismatch`] for a manifest whose output levels do not exist, which its check rules out.
pub fn reply_limit(manifest: &Manifest, params: &Params) -> Result<u64> {
    let mut limit = REPORT_LIMIT + label_frame_len(manifest.packing.answer_features());
    for port in &manifest.outputs {
        limit += ciphertext_frame_limit(params, port.level, 2).map_err(Error::wire("manifest"))?;
    }
    Ok(limit)
}

impl Session {
    /// With a fresh secret key.
    ///
    /// # Errors
    /// [`Error::Model`] for parameters that are refused, [`Error::Engine`] without randomness.
    pub fn generate(manifest: Manifest, bundle: Bundle) -> Result<Self> {
        let secret = SecretKey::generate(&manifest.checked_params()?)?;
        Self::new(manifest, bundle, secret)
    }

    /// With a secret key made before.
    ///
    /// # Errors
    /// [`Error::Model`] for parameters that are refused.
    pub fn new(manifest: Manifest, bundle: Bundle, secret: SecretKey) -> Result<Self> {
        let params = manifest.checked_params()?;
        let encoder = Encoder::new(&params);
        Ok(Self {
            manifest,
            params,
            encoder,
            bundle,
            secret,
            decision: None,
        })
    }

    /// The same with secrets of the exact decision, so that it can ask for labels: fresh ones, or those of a file.
    ///
    /// # Errors
    /// - [`Error::NoLabel`] for a model without an exact decision
    /// - secrets that were made with another secret key
    /// - no randomness from the operating system
    pub fn with_labels(self, known: Option<DecisionSecret>) -> Result<Self> {
        if self.manifest.decision.is_none() {
            return Err(Error::NoLabel {
                model: self.manifest.id,
            });
        }
        let decision = match known {
            Some(decision) => decision,
            None => DecisionSecret::generate(&self.secret)?,
        };
        decision.check(&self.secret)?;
        Ok(Self {
            decision: Some(decision),
            ..self
        })
    }

    /// The secrets of the exact decision, if it can ask for labels.
    #[must_use]
    pub fn decision_secret(&self) -> Option<&DecisionSecret> {
        self.decision.as_ref()
    }

    /// Evaluation keys that it makes.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.manifest.keys.len() + usize::from(self.decision.is_some())
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The parameters.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The secret key.
    #[must_use]
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// Makes the evaluation keys that the model uses and writes their frames to `out`; `progress(done, total)` after each.
    ///
    /// Those of deep models are gigabytes: one key at a time is in memory.
    ///
    /// # Errors
    /// [`Error::Engine`] without randomness, or for levels that the parameters do not have; [`Error::Io`] of `out`.
    pub fn evaluation_keys(
        &self,
        out: &mut impl Write,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<KeySet> {
        let config = self.manifest.key_config();
        // One generator: the keys of a bootstrap share its ephemeral secret.
        let generator = KeyGenerator::new(&self.params, &self.secret)?;
        let mut out = Counted {
            out,
            bytes: 0,
            hasher: blake3::Hasher::new(),
        };
        for (i, (purpose, level)) in config.iter().enumerate() {
            let key = generator.key(purpose, level)?;
            let frame = encode_key(&self.params, &key).map_err(Error::wire("evaluation key"))?;
            out.write_all(&frame).map_err(Error::io("evaluation keys"))?;
            progress(i + 1, self.key_count());
        }
        if let Some(decision) = &self.decision {
            let key = decision.evaluation_key(&self.params, &self.secret)?;
            let frame =
                encode_decision_key(&self.params, &key).map_err(Error::wire("key of the exact decision"))?;
            out.write_all(&frame).map_err(Error::io("evaluation keys"))?;
            progress(self.key_count(), self.key_count());
        }
        out.flush().map_err(Error::io("evaluation keys"))?;
        Ok(KeySet {
            bytes: out.bytes,
            key_id: out.hasher.finalize().to_hex().to_string(),
        })
    }

    /// Embeds, packs, encodes and encrypts a text.
    ///
    /// # Errors
    /// [`Error::EmptyText`], [`Error::Model`] when the tokenizer refuses the text or the model takes images,
    /// [`Error::Engine`] without randomness.
    pub fn encrypt(&self, text: &str) -> Result<Request> {
        // Of the white space at the ends only that of a shell goes: a language model reads the rest.
        let text = text.trim_end_matches(['\r', '\n']);
        if text.trim().is_empty() {
            return Err(Error::EmptyText);
        }
        self.seal(self.bundle.embed(text)?)
    }

    /// The same for an image file; of an IDX file the image `index`.
    ///
    /// # Errors
    /// [`Error::Image`] for another size, [`Error::Model`] when the model takes texts, [`Error::Engine`] without
    /// randomness.
    pub fn encrypt_image(&self, file: &[u8], index: usize) -> Result<Request> {
        let pixels = match self.manifest.input {
            Input::Patches { rows, cols, .. } => crate::image::read(file, [rows, cols], index)?,
            // The bundle says what it takes instead.
            Input::Text => Vec::new(),
        };
        self.seal(self.bundle.embed_image(&pixels)?)
    }

    /// [`encrypt`](Self::encrypt) or [`encrypt_image`](Self::encrypt_image).
    ///
    /// # Errors
    /// As those.
    pub fn encrypt_query(&self, query: &Query) -> Result<Request> {
        match query {
            Query::Text(text) => self.encrypt(text),
            Query::Image { file, index } => self.encrypt_image(file, *index),
        }
    }

    fn seal(&self, embedded: Embedded) -> Result<Request> {
        let packed = self.manifest.packing.pack(&embedded.x)?;
        let encryptor = Encryptor::new(&self.params, &self.secret)?;
        let mut frames = Vec::new();
        // Ciphertext by ciphertext, so that never more than one is held as polynomials.
        for port in &self.manifest.inputs {
            let slots = packed.get(&port.name).map(Vec::as_slice).unwrap_or_default();
            let scale = self.params.scale(port.level)?;
            let plaintext = self.encoder.encode_repeated(slots, port.level, scale)?;
            let ciphertext = encryptor.encrypt(&plaintext)?;
            let frame = encode_seeded_ciphertext(&self.params, &ciphertext);
            frames.extend(frame.map_err(Error::wire("request"))?);
        }
        Ok(Request {
            frames,
            x: embedded.x,
            tokens: embedded.tokens,
            truncated: embedded.truncated,
        })
    }

    /// Refuses a text of a language model that ends before the last position: the label is that of the token after it.
    ///
    /// # Errors
    /// [`Error::ShortText`].
    pub fn check_label(&self, request: &Request) -> Result<()> {
        let needed = self.manifest.max_tokens();
        if self.manifest.head != Head::NextToken || request.tokens == needed {
            return Ok(());
        }
        Err(Error::ShortText {
            needed,
            found: request.tokens,
        })
    }

    /// Most bytes of a reply.
    ///
    /// # Errors
    /// As [`reply_limit`].
    pub fn reply_limit(&self) -> Result<u64> {
        reply_limit(&self.manifest, &self.params)
    }

    /// Decrypts a reply: the ciphertext frames of all outputs, with or without the report frame before them.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for damaged bytes or another model's reply, [`Error::OtherKeys`] for another key's.
    pub fn decrypt(&self, reply: &[u8]) -> Result<Decrypted> {
        let limit = self.reply_limit()?;
        let wire = || Error::wire("reply");
        let (report, mut rest) = if Header::parse(reply).map_err(wire())?.kind == Kind::Report {
            let (frame, rest) = Frame::split(reply, REPORT_LIMIT).map_err(wire())?;
            (Some(decode_report(&frame).map_err(wire())?), rest)
        } else {
            (None, reply)
        };
        if Header::parse(rest).map_err(wire())?.kind == Kind::Label {
            let classes = self.manifest.packing.answer_features();
            let label = decode_label(&self.params, classes, rest).map_err(wire())?;
            return Ok(Decrypted {
                outputs: Vec::new(),
                label: Some(self.read_label(&label)?),
                report,
            });
        }
        let decryptor = Decryptor::new(&self.params, &self.secret)?;
        let mut answer = Slots::new();
        let total = self.manifest.outputs.len();
        for (number, port) in (1..).zip(&self.manifest.outputs) {
            let frame = if number == total {
                // What is left over is found out with the frame.
                rest
            } else {
                let (frame, tail) = first_frame(rest, limit).map_err(wire())?;
                rest = tail;
                frame
            };
            let ciphertext = decode_ciphertext(&self.params, frame, limit).map_err(wire())?;
            let needed = (port.level, self.params.scale(port.level)?);
            expect_level_and_scale("reply", (ciphertext.level(), ciphertext.scale()), needed)
                .map_err(wire())?;
            let slots = self.encoder.decode(&decryptor.decrypt(&ciphertext)?)?;
            check_magnitude(&self.params, &ciphertext, &slots)?;
            answer.insert(port.name.clone(), slots);
        }
        let outputs = self.manifest.packing.unpack(&answer)?;
        Ok(Decrypted {
            outputs,
            label: None,
            report,
        })
    }

    fn read_label(&self, label: &EncryptedLabel) -> Result<Decided> {
        let decision = self.decision.as_ref().ok_or_else(|| Error::NoLabelKey {
            model: self.manifest.id.clone(),
        })?;
        let classes = self.manifest.packing.answer_features();
        Ok(decision
            .decrypt(label, classes)?
            .map_or(Decided::Tie, Decided::Class))
    }

    /// Checks that a file holds exactly one request: whole, undamaged ciphertexts under the model's parameters, one for each
    /// input.
    ///
    /// # Errors
    /// [`Error::Unsafe`] for a secret key, [`Error::Mismatch`] for anything else.
    pub fn check_request(manifest: &Manifest, what: &str, mut bytes: &[u8]) -> Result<()> {
        let wire = || Error::wire(what);
        let params = manifest.checked_params()?;
        let total = manifest.inputs.len();
        for (number, port) in (1..).zip(&manifest.inputs) {
            let kind = Header::parse(bytes).map_err(wire())?.kind;
            if !kind.is_safe_to_send() {
                return Err(Error::Unsafe {
                    what: format!("{what} holds a {kind}, which"),
                });
            }
            let limit = ciphertext_frame_limit(&params, port.level, 2).map_err(wire())?;
            let frame = if number == total {
                bytes
            } else {
                let (frame, rest) = first_frame(bytes, limit).map_err(wire())?;
                bytes = rest;
                frame
            };
            if kind == Kind::Ciphertext {
                decode_ciphertext(&params, frame, limit).map(drop)
            } else {
                decode_seeded_ciphertext(&params, frame, limit).map(drop)
            }
            .map_err(wire())?;
        }
        Ok(())
    }

    /// What decrypted numbers mean; of a language model, what follows the token at `position`.
    #[must_use]
    pub fn answer(&self, outputs: Vec<f64>, position: usize) -> Answer {
        Answer::new(&self.manifest, &self.bundle, outputs, position)
    }

    /// How far a reply is from clear outputs, and how far it may be: the largest difference of a number; for a label, by how
    /// much the clear logits contradict it, and its resolution.
    #[must_use]
    pub fn difference(&self, decrypted: &Decrypted, clear: &[f64]) -> (f64, f64) {
        if let (Some(decided), Some(decision)) = (decrypted.label, &self.manifest.decision) {
            let class = match decided {
                Decided::Class(class) => Some(class),
                Decided::Tie => None,
            };
            let logits = self.manifest.head.decided(self.manifest.max_tokens(), clear);
            return (decision.config.contradiction(logits, class), decision.resolution);
        }
        let differences = decrypted.outputs.iter().zip(clear).map(|(a, b)| (a - b).abs());
        // A number that is not one is an infinite error.
        let worst = |worst: f64, next: f64| worst.max(if next.is_nan() { f64::INFINITY } else { next });
        let largest = clear.iter().map(|v| v.abs()).fold(1.0, f64::max);
        (differences.fold(0.0, worst), TOLERANCE * largest)
    }

    /// The meaning of a reply: of its numbers at this position of a text, or of its label.
    #[must_use]
    pub fn answer_of(&self, decrypted: &Decrypted, position: usize) -> Answer {
        match decrypted.label {
            Some(decided) => Answer::label(&self.manifest, &self.bundle, decided),
            None => self.answer(decrypted.outputs.clone(), position),
        }
    }
}
