//! One model on the client's side: its manifest, its public bundle, and the secret key.

use crate::error::{Error, Result};
use he_ops::ckks::{Decryptor, Encoder, Encryptor};
use he_ops::rlwe::{KeyGenerator, KeyPurpose, Params, SecretKey};
use he_ops::trace::LatencyReport;
use he_ops::wire::{
    Frame, Header, Kind, ciphertext_frame_limit, decode_ciphertext, decode_report, encode_key,
    encode_seeded_ciphertext,
};
use models::reference::{label, probabilities};
use models::{Bundle, Manifest};
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
            let key = match purpose {
                KeyPurpose::Relin => generator.relin_key(level)?,
                KeyPurpose::Galois(element) => generator.galois_key(element, level)?,
            };
            out.extend(encode_key(&self.params, &key).map_err(Error::wire("evaluation key"))?);
            progress(i + 1, config.len());
        }
        Ok(out)
    }

    /// Embeds, packs, encodes and encrypts a text.
    ///
    /// # Errors
    /// [`Error::Model`] when the tokenizer refuses the text, [`Error::Engine`] without randomness.
    pub fn encrypt(&self, text: &str) -> Result<Request> {
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
    /// [`Error::Mismatch`] for damaged bytes or another key's or model's reply.
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
        let logits = self.manifest.packing.unpack(&self.encoder.decode(&plaintext)?)?;
        Ok((self.answer(logits), report))
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
