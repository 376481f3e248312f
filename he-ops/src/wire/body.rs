//! Polynomials as packed limbs, each under its prime.

use super::error::{Result, WireError};
use super::pack::{packed_len, unpack_limb};
use crate::arith::NttTable;
use crate::arith::packed::pack_limb;
use crate::ring::{Eval, Poly};
use crate::rlwe::Params;

/// Bytes of one polynomial under these primes.
pub(super) fn poly_len<'a>(degree: usize, tables: impl IntoIterator<Item = &'a NttTable>) -> usize {
    tables
        .into_iter()
        .map(|t| packed_len(degree, t.modulus().bits()))
        .sum()
}

/// Appends a polynomial that has exactly one limb for each of `tables`.
///
/// # Errors
/// [`WireError::Field`] for another number of limbs or another degree.
pub(super) fn pack_poly(
    poly: &Poly<Eval>,
    tables: &[&NttTable],
    params: &Params,
    out: &mut Vec<u8>,
) -> Result<()> {
    if poly.limbs() != tables.len() || poly.degree() != params.degree() {
        return Err(WireError::Field {
            what: "polynomial to write",
            needed: format!("{} limbs of {}", tables.len(), params.degree()),
            found: format!("{} limbs of {}", poly.limbs(), poly.degree()),
        });
    }
    for (i, table) in tables.iter().enumerate() {
        pack_limb(poly.limb(i), table.modulus().bits(), out);
    }
    Ok(())
}

/// Splits `count` polynomials off a body whose length is checked first: nothing is allocated for a body of another
/// size than `count`, `tables` and the ring say.
///
/// # Errors
/// [`WireError::Field`] for another length, [`WireError::Residue`] for a residue that is not below its prime.
pub(super) fn unpack_polys(
    mut body: &[u8],
    count: usize,
    tables: &[&NttTable],
    params: &Params,
) -> Result<Vec<Poly<Eval>>> {
    let needed = poly_len(params.degree(), tables.iter().copied()).checked_mul(count);
    if needed != Some(body.len()) {
        return Err(WireError::Field {
            what: "packed residues",
            needed: format!(
                "{count} x {} limbs, {} bytes",
                tables.len(),
                needed.unwrap_or(usize::MAX)
            ),
            found: format!("{} bytes", body.len()),
        });
    }
    let mut polys = Vec::with_capacity(count);
    for part in 0..count {
        let mut poly = Poly::zero(tables.len(), params.degree());
        for (i, table) in tables.iter().enumerate() {
            let modulus = table.modulus();
            let (head, rest) = body.split_at(packed_len(params.degree(), modulus.bits()).min(body.len()));
            body = rest;
            unpack_limb(
                head,
                modulus.value(),
                modulus.bits(),
                part * tables.len() + i,
                poly.limb_mut(i),
            )?;
        }
        polys.push(poly);
    }
    Ok(polys)
}

/// A level that the parameters have.
///
/// # Errors
/// [`WireError::Field`].
pub(super) fn checked_level(params: &Params, level: u32) -> Result<usize> {
    let found = level as usize;
    if found <= params.max_level() {
        return Ok(found);
    }
    Err(WireError::Field {
        what: "level",
        needed: format!("at most {}", params.max_level()),
        found: found.to_string(),
    })
}

/// A scale that a ciphertext can have: finite, at least 1, below the modulus.
///
/// # Errors
/// [`WireError::Field`].
pub(super) fn checked_scale(params: &Params, scale: f64) -> Result<f64> {
    if scale.is_finite() && scale >= 1.0 && scale.log2() < params.log_q() {
        return Ok(scale);
    }
    Err(WireError::Field {
        what: "scale",
        needed: format!("a finite number from 1 to 2^{:.0}", params.log_q()),
        found: format!("{scale:e}"),
    })
}
