//! One model on the client's side: its manifest, its public bundle, and the secret key.

use crate::answer::{Answer, TOLERANCE};
use crate::error::{Error, Result};
use he_ops::ckks::{Decryptor, Encoder, Encryptor};
use he_ops::rlwe::{KeyGenerator, Params, SecretKey};
use he_ops::trace::LatencyReport;
use he_ops::wire::{
    Frame, Header, Kind, WireError, ciphertext_frame_limit, decode_ciphertext, decode_report,
    decode_seeded_ciphertext, encode_key, encode_seeded_ciphertext,
};
use models::manifest::PortEntry;
use models::transformer::packing::Slots;
use models::{Bundle, Manifest};

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
    /// The frames to send, one for each ciphertext.
    pub frames: Vec<u8>,
    /// The embedded text in clear, for a comparison on this side.
    pub x: Vec<f64>,
    /// Tokens of the text itself.
    pub tokens: usize,
    /// The text was longer than the model takes; its end was cut.
    pub truncated: bool,
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
        let slots = self.manifest.layout.pack(&embedded.x)?;
        let encryptor = Encryptor::new(&self.params, &self.secret)?;
        let mut frames = Vec::new();
        for port in &self.manifest.inputs {
            let values = slots.get(&port.name).map(Vec::as_slice).unwrap_or_default();
            let scale = self.params.scale(port.level)?;
            let plaintext = self.encoder.encode_repeated(values, port.level, scale)?;
            let ciphertext = encryptor.encrypt(&plaintext)?;
            let frame =
                encode_seeded_ciphertext(&self.params, &ciphertext).map_err(Error::wire("request"))?;
            frames.extend(frame);
        }
        let (tokens, truncated) = (embedded.tokens, embedded.truncated);
        Ok(Request {
            frames,
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
        Self::reply_limit_of(&self.manifest, &self.params)
    }

    /// The same from a manifest and its parameters, without a secret key.
    ///
    /// # Errors
    /// As [`reply_limit`](Self::reply_limit).
    pub fn reply_limit_of(manifest: &Manifest, params: &Params) -> Result<u64> {
        let limit = |port: &PortEntry| ciphertext_frame_limit(params, port.level, 2);
        let limits = manifest.outputs.iter().map(limit);
        let sum = limits.sum::<std::result::Result<u64, _>>();
        Ok(sum.map_err(Error::wire("manifest"))? + REPORT_LIMIT)
    }

    /// Decrypts a reply: the ciphertext frames of the outputs, with or without the report frame before them.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for damaged bytes or another model's reply, [`Error::OtherKeys`] for another key's.
    pub fn decrypt(&self, reply: &[u8]) -> Result<(Answer, Option<LatencyReport>)> {
        let limit = self.reply_limit()?;
        let wire = || Error::wire("reply");
        let (report, mut rest) = if Header::parse(reply).map_err(wire())?.kind == Kind::Report {
            let (frame, rest) = Frame::split(reply, limit).map_err(wire())?;
            (Some(decode_report(&frame).map_err(wire())?), rest)
        } else {
            (None, reply)
        };
        let decryptor = Decryptor::new(&self.params, &self.secret)?;
        let mut slots = Slots::new();
        for port in &self.manifest.outputs {
            let head = Header::parse(rest).map_err(wire())?;
            head.expect_kind(Kind::Ciphertext).map_err(wire())?;
            let frame = first_frame(&mut rest, limit).map_err(wire())?;
            let ciphertext = decode_ciphertext(&self.params, frame, limit).map_err(wire())?;
            let plaintext = decryptor.decrypt(&ciphertext)?;
            slots.insert(port.name.clone(), self.encoder.decode(&plaintext)?);
        }
        nothing_left("reply", rest).map_err(wire())?;
        // Under another key, or after another computation, the slots are noise, and noise must not be read as an answer.
        let found = self.manifest.layout.disagreement(&slots)?;
        if found > TOLERANCE {
            return Err(Error::OtherKeys {
                needed: TOLERANCE,
                found,
            });
        }
        let values = self.manifest.layout.unpack(&slots)?;
        Ok((self.answer(values)?, report))
    }

    /// Checks that a file holds exactly one request: whole, undamaged ciphertexts under the model's parameters.
    ///
    /// # Errors
    /// [`Error::Unsafe`] for a secret key, [`Error::Mismatch`] for anything else.
    pub fn check_request(manifest: &Manifest, what: &str, bytes: &[u8]) -> Result<()> {
        let wire = || Error::wire(what);
        let params = manifest.checked_params()?;
        let mut rest = bytes;
        for port in &manifest.inputs {
            let kind = Header::parse(rest).map_err(wire())?.kind;
            if !kind.is_safe_to_send() {
                return Err(Error::Unsafe {
                    what: format!("{what} holds a {kind}, which"),
                });
            }
            let limit = ciphertext_frame_limit(&params, port.level, 2).map_err(wire())?;
            let frame = first_frame(&mut rest, limit).map_err(wire())?;
            if kind == Kind::Ciphertext {
                decode_ciphertext(&params, frame, limit).map(drop)
            } else {
                decode_seeded_ciphertext(&params, frame, limit).map(drop)
            }
            .map_err(wire())?;
        }
        nothing_left("request", rest).map_err(wire())
    }

    /// What the numbers of an answer mean.
    ///
    /// # Errors
    /// [`Error::Model`] for a next token that the tokenizer does not know.
    pub fn answer(&self, values: Vec<f64>) -> Result<Answer> {
        Answer::new(&self.manifest, &self.bundle, values)
    }
}

/// Takes the first frame off `rest`.
fn first_frame<'a>(rest: &mut &'a [u8], limit: u64) -> std::result::Result<&'a [u8], WireError> {
    let (_, after) = Frame::split(rest, limit)?;
    let frame = rest.get(..rest.len() - after.len()).unwrap_or_default();
    *rest = after;
    Ok(frame)
}

fn nothing_left(what: &'static str, rest: &[u8]) -> std::result::Result<(), WireError> {
    if rest.is_empty() {
        return Ok(());
    }
    Err(WireError::Trailing {
        what,
        extra: rest.len() as u64,
    })
}
