//! Secret keys in files of the client. Only builds with the feature `secret` contain this.

use super::ciphertext::checked_frame;
use super::error::Result;
use super::frame::{HEADER_LEN, write_frame};
use super::kind::Kind;
use crate::decision::DecisionSecret;
use crate::rlwe::{Params, SecretKey};
use zeroize::Zeroizing;

/// Frame of a secret key, for a file that only its owner reads. Never send it.
#[must_use]
pub fn encode_secret_key(params: &Params, key: &SecretKey) -> Zeroizing<Vec<u8>> {
    // The coefficients go in as they are: a codec would leave copies behind that nobody erases.
    Zeroizing::new(write_frame(Kind::SecretKey, params.digest(), &key.to_bytes()))
}

/// Secret key of exactly one frame.
///
/// # Errors
/// Any variant of [`WireError`](super::WireError), the first that applies in the order of the module's text.
pub fn decode_secret_key(params: &Params, bytes: &[u8]) -> Result<SecretKey> {
    let limit = (HEADER_LEN + params.degree()) as u64;
    let frame = checked_frame(params, bytes, limit, Kind::SecretKey)?;
    Ok(SecretKey::from_bytes(params, frame.payload)?)
}

/// Frame of the secrets of the exact decision, for a file that only their owner reads. Never send it.
#[must_use]
pub fn encode_decision_secret(params: &Params, secret: &DecisionSecret) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(write_frame(
        Kind::DecisionSecret,
        params.digest(),
        &secret.to_bytes(),
    ))
}

/// Secrets of the exact decision of exactly one frame.
///
/// # Errors
/// Any variant of [`WireError`](super::WireError), the first that applies in the order of the module's text.
pub fn decode_decision_secret(params: &Params, bytes: &[u8]) -> Result<DecisionSecret> {
    let limit = (HEADER_LEN + params.degree()) as u64;
    let frame = checked_frame(params, bytes, limit, Kind::DecisionSecret)?;
    Ok(DecisionSecret::from_bytes(frame.payload)?)
}
