//! Evaluation keys on the wire: one frame each, concatenated in a key file or an upload.

use super::body::{checked_level, pack_poly, poly_len, unpack_polys};
use super::ciphertext::checked_frame;
use super::codec::{self, Bytes};
use super::error::{Result, WireError};
use super::frame::{HEADER_LEN, write_frame};
use super::kind::Kind;
use crate::arith::NttTable;
use crate::arith::sample::Seed;
use crate::rlwe::{KeyPurpose, Params, PublicKey, SeededKeySwitchKey};
use serde::{Deserialize, Serialize};

/// Fields before the residues: element, level, digits, seed, length of the body; rounded up.
const FIELDS: usize = 48;
#[derive(Serialize, Deserialize)]
pub(super) struct KeyWire<'a> {
    /// [`KeyPurpose::code`].
    pub(super) element: u64,
    pub(super) level: u32,
    digits: u32,
    seed: Seed,
    #[serde(borrow)]
    body: Bytes<'a>,
}

fn tables(params: &Params, purpose: KeyPurpose, level: usize) -> Result<Vec<&NttTable>> {
    let specials = params.key_gadget(purpose, level)?.specials;
    Ok(params
        .q_tables(level)?
        .iter()
        .chain(params.p_tables(specials)?)
        .collect())
}

/// Limit for the frame of a key-switch key of `level`: its exact size, and a few bytes for the fields.
///
/// # Errors
/// [`WireError::Engine`] for a level that the purpose does not have.
pub fn key_frame_limit(params: &Params, purpose: KeyPurpose, level: usize) -> Result<u64> {
    let digits = params.key_gadget(purpose, level)?.digits();
    Ok((HEADER_LEN + FIELDS + digits * poly_len(params.degree(), tables(params, purpose, level)?)) as u64)
}

/// Frame of a seeded key-switch key.
///
/// # Errors
/// [`WireError::Field`] when the bodies do not have the digits and limbs of the level's gadget.
pub fn encode_key(params: &Params, key: &SeededKeySwitchKey) -> Result<Vec<u8>> {
    let tables = tables(params, key.purpose, key.level)?;
    let mut body = Vec::with_capacity(poly_len(params.degree(), tables.iter().copied()) * key.bodies.len());
    for digit in &key.bodies {
        pack_poly(digit, &tables, params, &mut body)?;
    }
    let wire = KeyWire {
        element: key.purpose.code(),
        level: key.level as u32,
        digits: key.bodies.len() as u32,
        seed: key.seed,
        body: Bytes(&body),
    };
    Ok(write_frame(
        Kind::KeySwitchKey,
        params.digest(),
        &codec::encode("key-switch key", &wire)?,
    ))
}

/// Seeded key-switch key of exactly one frame of at most `limit` bytes.
///
/// # Errors
/// Any variant of [`WireError`], the first that applies in the order of the module's text.
pub fn decode_key(params: &Params, bytes: &[u8], limit: u64) -> Result<SeededKeySwitchKey> {
    let frame = checked_frame(params, bytes, limit, Kind::KeySwitchKey)?;
    let wire: KeyWire<'_> = codec::decode("key-switch key", frame.payload)?;
    let level = checked_level(params, wire.level)?;
    let purpose = KeyPurpose::from_code(wire.element, params.degree()).ok_or_else(|| WireError::Field {
        what: "purpose of a key-switch key",
        needed: format!(
            "0, 4, a Galois element below {} or the code of a raising key",
            2 * params.degree()
        ),
        found: wire.element.to_string(),
    })?;
    let digits = params.key_gadget(purpose, level)?.digits();
    if wire.digits as usize != digits {
        return Err(WireError::Field {
            what: "digits of a key-switch key",
            needed: digits.to_string(),
            found: wire.digits.to_string(),
        });
    }
    let bodies = unpack_polys(wire.body.0, digits, &tables(params, purpose, level)?, params)?;
    Ok(SeededKeySwitchKey {
        purpose,
        level,
        seed: wire.seed,
        bodies,
    })
}

#[derive(Serialize, Deserialize)]
struct PublicKeyWire<'a> {
    seed: Seed,
    #[serde(borrow)]
    body: Bytes<'a>,
}

/// Frame of a public encryption key.
///
/// # Errors
/// [`WireError::Field`] when the body does not have the limbs of the highest level.
pub fn encode_public_key(params: &Params, key: &PublicKey) -> Result<Vec<u8>> {
    let tables: Vec<_> = params.q_tables(params.max_level())?.iter().collect();
    let mut body = Vec::with_capacity(poly_len(params.degree(), tables.iter().copied()));
    pack_poly(&key.body, &tables, params, &mut body)?;
    let wire = PublicKeyWire {
        seed: key.seed,
        body: Bytes(&body),
    };
    Ok(write_frame(
        Kind::PublicKey,
        params.digest(),
        &codec::encode("public key", &wire)?,
    ))
}

/// Public encryption key of exactly one frame of at most `limit` bytes.
///
/// # Errors
/// Any variant of [`WireError`], the first that applies in the order of the module's text.
pub fn decode_public_key(params: &Params, bytes: &[u8], limit: u64) -> Result<PublicKey> {
    let frame = checked_frame(params, bytes, limit, Kind::PublicKey)?;
    let wire: PublicKeyWire<'_> = codec::decode("public key", frame.payload)?;
    let tables: Vec<_> = params.q_tables(params.max_level())?.iter().collect();
    let mut polys = unpack_polys(wire.body.0, 1, &tables, params)?;
    let body = polys.pop().ok_or(WireError::Truncated {
        what: "public key",
        needed: 1,
        found: 0,
    })?;
    Ok(PublicKey {
        seed: wire.seed,
        body,
    })
}
