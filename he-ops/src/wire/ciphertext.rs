//! Ciphertexts on the wire: level, scale, and one or more packed polynomials; a fresh one sends a 16-byte seed in place
//! of its mask, which halves it.

use super::body::{checked_level, checked_scale, pack_poly, poly_len, unpack_polys};
use super::codec::{self, Bytes};
use super::error::{Result, WireError};
use super::frame::{Frame, HEADER_LEN, Header, write_frame};
use super::kind::Kind;
use crate::arith::NttTable;
use crate::arith::sample::Seed;
use crate::ckks::ciphertext::scales_agree;
use crate::ckks::{Ciphertext, SeededCiphertext};
use crate::rlwe::Params;
use serde::{Deserialize, Serialize};

/// Most parts of a ciphertext: three before relinearisation.
const MAX_PARTS: usize = 3;
/// Fields before the residues: level, scale, parts or seed, length of the body; rounded up.
const FIELDS: usize = 48;

#[derive(Serialize, Deserialize)]
pub(super) struct FullWire<'a> {
    pub(super) level: u32,
    pub(super) scale: f64,
    pub(super) parts: u32,
    #[serde(borrow)]
    body: Bytes<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SeededWire<'a> {
    pub(super) level: u32,
    pub(super) scale: f64,
    seed: Seed,
    #[serde(borrow)]
    body: Bytes<'a>,
}

fn tables(params: &Params, level: usize) -> Result<Vec<&NttTable>> {
    Ok(params.q_tables(level)?.iter().collect())
}

/// Limit for the frame of a ciphertext of `parts` polynomials (1 when seeded) at `level`: its exact size, and a few
/// bytes for the fields.
///
/// # Errors
/// [`WireError::Engine`] for a level that the parameters do not have.
pub fn ciphertext_frame_limit(params: &Params, level: usize, parts: usize) -> Result<u64> {
    let body = poly_len(params.degree(), params.q_tables(level)?) * parts;
    Ok((HEADER_LEN + FIELDS + body) as u64)
}

/// Frame of a ciphertext.
///
/// # Errors
/// [`WireError::Field`] when the parts do not have the limbs of the level.
pub fn encode_ciphertext(params: &Params, ciphertext: &Ciphertext) -> Result<Vec<u8>> {
    let tables = tables(params, ciphertext.level)?;
    let mut body =
        Vec::with_capacity(poly_len(params.degree(), tables.iter().copied()) * ciphertext.parts.len());
    for part in &ciphertext.parts {
        pack_poly(part, &tables, params, &mut body)?;
    }
    let wire = FullWire {
        level: ciphertext.level as u32,
        scale: ciphertext.scale,
        parts: ciphertext.parts.len() as u32,
        body: Bytes(&body),
    };
    Ok(write_frame(
        Kind::Ciphertext,
        params.digest(),
        &codec::encode("ciphertext", &wire)?,
    ))
}

/// Ciphertext of exactly one frame of at most `limit` bytes.
///
/// # Errors
/// Any variant of [`WireError`], the first that applies in the order of the module's text.
pub fn decode_ciphertext(params: &Params, bytes: &[u8], limit: u64) -> Result<Ciphertext> {
    let frame = checked_frame(params, bytes, limit, Kind::Ciphertext)?;
    let wire: FullWire<'_> = codec::decode("ciphertext", frame.payload)?;
    let level = checked_level(params, wire.level)?;
    let scale = checked_scale(params, wire.scale)?;
    let parts = wire.parts as usize;
    if !(2..=MAX_PARTS).contains(&parts) {
        return Err(WireError::Field {
            what: "parts of a ciphertext",
            needed: format!("2 to {MAX_PARTS}"),
            found: parts.to_string(),
        });
    }
    let parts = unpack_polys(wire.body.0, parts, &tables(params, level)?, params)?;
    Ok(Ciphertext { parts, level, scale })
}

/// Frame of a fresh, seeded ciphertext.
///
/// # Errors
/// [`WireError::Field`] when the body does not have the limbs of the level.
pub fn encode_seeded_ciphertext(params: &Params, ciphertext: &SeededCiphertext) -> Result<Vec<u8>> {
    let tables = tables(params, ciphertext.level)?;
    let mut body = Vec::with_capacity(poly_len(params.degree(), tables.iter().copied()));
    pack_poly(&ciphertext.body, &tables, params, &mut body)?;
    let wire = SeededWire {
        level: ciphertext.level as u32,
        scale: ciphertext.scale,
        seed: ciphertext.seed,
        body: Bytes(&body),
    };
    Ok(write_frame(
        Kind::SeededCiphertext,
        params.digest(),
        &codec::encode("seeded ciphertext", &wire)?,
    ))
}

/// Seeded ciphertext of exactly one frame of at most `limit` bytes.
///
/// # Errors
/// Any variant of [`WireError`], the first that applies in the order of the module's text.
pub fn decode_seeded_ciphertext(params: &Params, bytes: &[u8], limit: u64) -> Result<SeededCiphertext> {
    let frame = checked_frame(params, bytes, limit, Kind::SeededCiphertext)?;
    let wire: SeededWire<'_> = codec::decode("seeded ciphertext", frame.payload)?;
    let level = checked_level(params, wire.level)?;
    let scale = checked_scale(params, wire.scale)?;
    let mut polys = unpack_polys(wire.body.0, 1, &tables(params, level)?, params)?;
    let body = polys.pop().ok_or(WireError::Truncated {
        what: "seeded ciphertext",
        needed: 1,
        found: 0,
    })?;
    Ok(SeededCiphertext {
        seed: wire.seed,
        body,
        level,
        scale,
    })
}

/// Holds a decoded ciphertext against what a plan takes; the scale may differ by less than
/// [`SCALE_TOLERANCE`](crate::ckks::SCALE_TOLERANCE).
///
/// # Errors
/// [`WireError::Level`], [`WireError::Scale`].
pub fn expect_level_and_scale(what: &'static str, found: (usize, f64), needed: (usize, f64)) -> Result<()> {
    if found.0 != needed.0 {
        return Err(WireError::Level {
            what,
            needed: needed.0,
            found: found.0,
        });
    }
    if scales_agree(needed.1, found.1) {
        return Ok(());
    }
    Err(WireError::Scale {
        what,
        needed: needed.1,
        found: found.1,
    })
}

pub(super) fn checked_frame<'a>(
    params: &Params,
    bytes: &'a [u8],
    limit: u64,
    kind: Kind,
) -> Result<Frame<'a>> {
    // A file of the wrong sort is named as such before it is called too large or damaged.
    let header = Header::parse(bytes)?;
    header.expect_kind(kind)?;
    header.expect_params(&params.digest())?;
    Frame::parse(bytes, limit)
}
