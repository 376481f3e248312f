//! Secret keys in files of the client. Only builds with the feature `secret` contain this.

use super::ciphertext::checked_frame;
use super::error::Result;
use super::frame::{HEADER_LEN, Kind, write_frame};
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
