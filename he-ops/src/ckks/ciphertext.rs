//! Plaintexts and ciphertexts: values with a level and a scale.

use crate::arith::NttTable;
use crate::arith::sample::{Domain, Seed};
use crate::ring::{Eval, Poly};
use crate::rlwe::Params;
use crate::rlwe::keys::expand_body_mask;
use crate::{Error, Result};

/// An encoded slot vector. Level and scale belong to the polynomial: they can be read, and only an operation changes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Plaintext {
    /// Values over q_0..q_level.
    pub(crate) poly: Poly<Eval>,
    pub(crate) level: usize,
    /// Factor between slots and the polynomial.
    pub(crate) scale: f64,
}

/// An encrypted slot vector: parts (c_0, c_1, ..) with sum c_i s^i = scale x slots + noise. Level and scale belong to the parts:
/// they can be read, and only an operation changes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Ciphertext {
    /// Two parts; three after a product, until it is relinearized.
    pub(crate) parts: Vec<Poly<Eval>>,
    pub(crate) level: usize,
    /// Factor between slots and the polynomial.
    pub(crate) scale: f64,
}

/// A fresh ciphertext under the secret key as it is sent: the uniform part is a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct SeededCiphertext {
    /// Seed of c_1.
    pub(crate) seed: Seed,
    /// c_0.
    pub(crate) body: Poly<Eval>,
    pub(crate) level: usize,
    pub(crate) scale: f64,
}

impl Plaintext {
    /// Level.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// Factor between slots and the polynomial.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Bytes in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        8 * self.poly.words().len()
    }
}

impl SeededCiphertext {
    /// Puts a ciphertext together that another program took apart.
    ///
    /// # Errors
    /// [`Error::Level`], [`Error::Shape`] or [`Error::Value`] when it does not fit the parameters.
    pub fn from_parts(
        params: &Params,
        seed: Seed,
        body: Poly<Eval>,
        level: usize,
        scale: f64,
    ) -> Result<Self> {
        check_poly(params, "limbs of a ciphertext", &body, level)?;
        check_positive(scale)?;
        Ok(Self {
            seed,
            body,
            level,
            scale,
        })
    }

    /// Level.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// Factor between slots and the polynomial.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Expands the mask.
    ///
    /// # Errors
    /// [`Error::Level`] or [`Error::Shape`] when it does not fit the parameters.
    pub fn expand(self, params: &Params) -> Result<Ciphertext> {
        let mask = expand_body_mask(params, &self.seed, Domain::Ciphertext, self.level)?;
        check_poly(params, "limbs of a ciphertext", &self.body, self.level)?;
        Ok(Ciphertext {
            parts: vec![self.body, mask],
            level: self.level,
            scale: self.scale,
        })
    }
}

impl Ciphertext {
    /// Puts a ciphertext together that another program took apart.
    ///
    /// # Errors
    /// [`Error::Parts`], [`Error::Level`], [`Error::Shape`] or [`Error::Value`] when it does not fit the parameters.
    pub fn from_parts(params: &Params, parts: Vec<Poly<Eval>>, level: usize, scale: f64) -> Result<Self> {
        check_positive(scale)?;
        let found = parts.len();
        let out = Self { parts, level, scale };
        check_parts(params, &out)?;
        if !(2..=3).contains(&found) {
            return Err(Error::Parts {
                op: "from_parts",
                needed: 2,
                found,
            });
        }
        Ok(out)
    }

    /// The same ciphertext with the scale that a plan computed for it, where both are one but for the tolerance of the wire:
    /// operations ask for the exact number.
    ///
    /// # Errors
    /// [`Error::Scale`] for a scale that differs by more than [`SCALE_TOLERANCE`].
    pub fn with_scale_of_plan(self, scale: f64) -> Result<Self> {
        check_scale("with_scale_of_plan", scale, self.scale)?;
        Ok(Self { scale, ..self })
    }

    /// The parts c_0, c_1, and after a product c_2.
    #[must_use]
    pub fn parts(&self) -> &[Poly<Eval>] {
        &self.parts
    }

    /// Level.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// Factor between slots and the polynomial.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Bytes in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.parts.iter().map(|p| 8 * p.words().len()).sum()
    }

    /// c_0, to which plaintexts are added.
    ///
    /// # Errors
    /// [`Error::Parts`] where there is no part.
    pub(crate) fn body_mut(&mut self, op: &'static str) -> Result<&mut Poly<Eval>> {
        self.parts.first_mut().ok_or(Error::Parts {
            op,
            needed: 2,
            found: 0,
        })
    }
}

/// Two scales count as equal when they differ by less than this, relative: far below every noise.
pub const SCALE_TOLERANCE: f64 = 1.0 / (1 << 20) as f64;

/// One scale, computed twice, differs by less than this, relative: roundings of f64 and nothing else.
const SCALE_ROUNDING: f64 = 1e-9;

/// Checks that a scale can be divided by.
fn check_positive(scale: f64) -> Result<()> {
    if scale.is_finite() && scale > 0.0 {
        return Ok(());
    }
    Err(Error::Value {
        what: "scale",
        reason: format!("a number above zero needed, {scale} found"),
    })
}

/// Whether two scales count as equal. Not when one is no number.
pub(crate) fn scales_agree(needed: f64, found: f64) -> bool {
    (found / needed - 1.0).abs() < SCALE_TOLERANCE
}

/// Whether two scales are one but for roundings of f64. Not when one is no number.
#[must_use]
pub fn is_same_scale(needed: f64, found: f64) -> bool {
    (found / needed - 1.0).abs() < SCALE_ROUNDING
}

/// Checks that two scales agree.
pub(crate) fn check_scale(op: &'static str, needed: f64, found: f64) -> Result<()> {
    if scales_agree(needed, found) {
        return Ok(());
    }
    Err(Error::Scale { op, needed, found })
}

/// Checks that two scales are one but for roundings.
pub(crate) fn check_same_scale(op: &'static str, needed: f64, found: f64) -> Result<()> {
    if is_same_scale(needed, found) {
        return Ok(());
    }
    Err(Error::Scale { op, needed, found })
}

/// Checks that a polynomial has a limb for each prime of a level.
pub(crate) fn check_poly<'p>(
    params: &'p Params,
    what: &'static str,
    poly: &Poly<Eval>,
    level: usize,
) -> Result<&'p [NttTable]> {
    let q = params.q_tables(level)?;
    if poly.limbs() == q.len() && poly.degree() == params.degree() {
        return Ok(q);
    }
    Err(Error::Shape {
        what,
        needed: q.len(),
        found: poly.limbs(),
    })
}

/// The primes of a ciphertext, after a check that its parts have a limb for each of them.
pub(crate) fn check_parts<'p>(params: &'p Params, a: &Ciphertext) -> Result<&'p [NttTable]> {
    for part in &a.parts {
        check_poly(params, "limbs of a ciphertext", part, a.level)?;
    }
    params.q_tables(a.level)
}

/// Checks that there is a prime to divide by.
pub(crate) fn check_rescale(op: &'static str, level: usize) -> Result<()> {
    if level > 0 {
        return Ok(());
    }
    Err(Error::Level {
        op,
        needed: 1,
        found: 0,
    })
}

/// Checks that two levels agree.
pub(crate) fn check_level(op: &'static str, needed: usize, found: usize) -> Result<()> {
    if needed == found {
        Ok(())
    } else {
        Err(Error::Level { op, needed, found })
    }
}
