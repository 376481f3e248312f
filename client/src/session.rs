//! One model on the client's side: its manifest, its public bundle, and the secret key.

use crate::demo::LOGIT_TOLERANCE;
use crate::error::{Error, Result};
use he_ops::ckks::{Decryptor, Encoder, Encryptor};
use he_ops::rlwe::{KeyGenerator, Params, SecretKey};
use he_ops::trace::LatencyReport;
use he_ops::wire::{
    Frame, Header, Kind, ciphertext_frame_limit, decode_ciphertext, decode_report, decode_seeded_ciphertext,
    encode_key, encode_seeded_ciphertext,
};
use models::reference::{label, probabilities};
use models::{Bundle, Manifest};
use num_complex::Complex64;
use serde::Serialize;

/// Room for the report in a reply.
const REPORT_LIMIT: u64 = 1 << 20;

/// All that is needed to ask and to understand the answer. The secret key never leaves it.
pub struct Session {
    manifest: Manifest,
    params: Params,
    encoder: Encoder,
    bundle: Bundle,
    secret: SecretKey,
}

/// A text, ready to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The frame to send.
    pub frame: Vec<u8>,
    /// The embedded text in clear, for a comparison on this side.
    pub x: Vec<f64>,
    /// Tokens that are not padding.
    pub tokens: usize,
    /// The text was longer than the model takes; its end was cut.
    pub truncated: bool,
}

/// A decrypted answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The label with the largest logit.
    pub label: String,
    /// Its probability.
    pub probability: f64,
    /// One per label. Not for third parties in full precision: see SECURITY.md on approximate decryption.
    pub logits: Vec<f64>,
}

/// Every slot of an answer holds the same logits. Under another key, or after another computation, the slots are noise
/// instead, and noise must not be read as an answer.
fn check_agreement(slots: &[Complex64], logits: &[f64]) -> Result<()> {
    let [re, im] = logits else { return Ok(()) };
    let mean = Complex64::new(*re, *im);
    let found = slots.iter().map(|z| (z - mean).norm()).fold(0.0, f64::max);
    // A NaN is no agreement either.
    if found <= LOGIT_TOLERANCE && mean.norm().is_finite() {
        return Ok(());
    }
    Err(Error::OtherKeys {
        needed: LOGIT_TOLERANCE,
        found,
    })
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
        })
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

    /// The evaluation keys that the model uses, as concatenated frames; `progress(done, total)` after each.
    ///
    /// # Errors
    /// [`Error::Engine`] without randomness, or for levels that the parameters do not have.
    pub fn evaluation_keys(&self, mut progress: impl FnMut(usize, usize)) -> Result<Vec<u8>> {
        let config = self.manifest.key_config();
        let generator = KeyGenerator::new(&self.params, &self.secret)?;
        let room = config.wire_bits(&self.params)? / 8 + 200 * config.len();
        let mut out = Vec::with_capacity(room);
        // Key by key, so that never more than one is held twice.
        for (i, (purpose, level)) in config.iter().enumerate() {
            let key = generator.key(purpose, level)?;
            out.extend(encode_key(&self.params, &key).map_err(Error::wire("evaluation key"))?);
            progress(i + 1, config.len());
        }
        Ok(out)
    }

    /// Embeds, packs, encodes and encrypts a text.
    ///
    /// # Errors
    /// [`Error::EmptyText`], [`Error::Model`] when the tokenizer refuses the text, [`Error::Engine`] without randomness.
    pub fn encrypt(&self, text: &str) -> Result<Request> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::EmptyText);
        }
        let embedded = self.bundle.embed(text)?;
        let slots = self.manifest.packing.pack(&embedded.x)?;
        let level = self.manifest.input.level;
        let plaintext = self.encoder.encode(&slots, level, self.params.scale(level)?)?;
        let ciphertext = Encryptor::new(&self.params, &self.secret)?.encrypt(&plaintext)?;
        let frame = encode_seeded_ciphertext(&self.params, &ciphertext).map_err(Error::wire("request"))?;
        let (tokens, truncated) = (embedded.tokens, embedded.truncated);
        Ok(Request {
            frame,
            x: embedded.x,
            tokens,
            truncated,
        })
    }

    /// Most bytes of a reply.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a manifest whose output level does not exist, which its check rules out.
    pub fn reply_limit(&self) -> Result<u64> {
        let reply = ciphertext_frame_limit(&self.params, self.manifest.output.level, 2);
        Ok(reply.map_err(Error::wire("manifest"))? + REPORT_LIMIT)
    }

    /// Decrypts a reply: a ciphertext frame, with or without the report frame before it.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for damaged bytes or another model's reply, [`Error::OtherKeys`] for another key's.
    pub fn decrypt(&self, reply: &[u8]) -> Result<(Answer, Option<LatencyReport>)> {
        let limit = self.reply_limit()?;
        let wire = || Error::wire("reply");
        let (report, frame) = if Header::parse(reply).map_err(wire())?.kind == Kind::Report {
            let (frame, rest) = Frame::split(reply, limit).map_err(wire())?;
            (Some(decode_report(&frame).map_err(wire())?), rest)
        } else {
            (None, reply)
        };
        let ciphertext = decode_ciphertext(&self.params, frame, limit).map_err(wire())?;
        let plaintext = Decryptor::new(&self.params, &self.secret)?.decrypt(&ciphertext)?;
        let slots = self.encoder.decode(&plaintext)?;
        let logits = self.manifest.packing.unpack(&slots)?;
        check_agreement(&slots, &logits)?;
        Ok((self.answer(logits), report))
    }

    /// Checks that a file holds exactly one request: a whole, undamaged ciphertext under the model's parameters.
    ///
    /// # Errors
    /// [`Error::Unsafe`] for a secret key, [`Error::Mismatch`] for anything else.
    pub fn check_request(manifest: &Manifest, what: &str, bytes: &[u8]) -> Result<()> {
        let wire = || Error::wire(what);
        let kind = Header::parse(bytes).map_err(wire())?.kind;
        if !kind.is_safe_to_send() {
            return Err(Error::Unsafe {
                what: format!("{what} holds a {kind}, which"),
            });
        }
        let params = manifest.checked_params()?;
        let limit = ciphertext_frame_limit(&params, manifest.input.level, 2).map_err(wire())?;
        if kind == Kind::Ciphertext {
            decode_ciphertext(&params, bytes, limit).map(drop)
        } else {
            decode_seeded_ciphertext(&params, bytes, limit).map(drop)
        }
        .map_err(wire())
    }

    /// Label and probability of logits.
    #[must_use]
    pub fn answer(&self, logits: Vec<f64>) -> Answer {
        let index = label(&logits);
        let name = self
            .manifest
            .labels
            .get(index)
            .cloned()
            .unwrap_or_else(|| index.to_string());
        let probability = probabilities(&logits).get(index).copied().unwrap_or(f64::NAN);
        Answer {
            label: name,
            probability,
            logits,
        }
    }
}
