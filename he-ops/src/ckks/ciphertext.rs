//! Plaintexts and ciphertexts: values with a level and a scale.

use crate::arith::sample::{Domain, Seed};
use crate::ring::{Eval, Poly};
use crate::rlwe::Params;
use crate::rlwe::keys::expand_body_mask;
use crate::{Error, Result};

/// An encoded slot vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Plaintext {
    /// Values over q_0..q_level.
    pub poly: Poly<Eval>,
    /// Level.
    pub level: usize,
    /// Factor between slots and the polynomial.
    pub scale: f64,
}

/// An encrypted slot vector: parts (c_0, c_1, ..) with sum c_i s^i = scale x slots + noise.
#[derive(Clone, Debug, PartialEq)]
pub struct Ciphertext {
    /// Two parts; three after a product, until it is relinearized.
    pub parts: Vec<Poly<Eval>>,
    /// Level.
    pub level: usize,
    /// Factor between slots and the polynomial.
    pub scale: f64,
}

/// A fresh ciphertext under the secret key as it is sent: the uniform part is a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct SeededCiphertext {
    /// Seed of c_1.
    pub seed: Seed,
    /// c_0.
    pub body: Poly<Eval>,
    /// Level.
    pub level: usize,
    /// Scale.
    pub scale: f64,
}

impl SeededCiphertext {
    /// Expands the mask.
    ///
    /// # Errors
    /// [`Error::Level`] or [`Error::Shape`] when it does not fit the parameters.
    pub fn expand(self, params: &Params) -> Result<Ciphertext> {
        let mask = expand_body_mask(params, &self.seed, Domain::Ciphertext, self.level)?;
        if self.body.limbs() != mask.limbs() || self.body.degree() != mask.degree() {
            return Err(Error::Shape {
                what: "limbs of a ciphertext",
                needed: mask.limbs(),
                found: self.body.limbs(),
            });
        }
        Ok(Ciphertext {
            parts: vec![self.body, mask],
            level: self.level,
            scale: self.scale,
        })
    }
}

impl Ciphertext {
    /// Bytes in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.parts.iter().map(|p| 8 * p.words().len()).sum()
    }
}

/// Two scales count as equal when they differ by less than this, relative: far below every noise.
const SCALE_TOLERANCE: f64 = 1.0 / (1 << 20) as f64;

/// Checks that two scales agree.
pub(crate) fn check_scale(op: &'static str, needed: f64, found: f64) -> Result<()> {
    if (found / needed - 1.0).abs() < SCALE_TOLERANCE {
        Ok(())
    } else {
        Err(Error::Scale { op, needed, found })
    }
}

/// Checks that two levels agree.
pub(crate) fn check_level(op: &'static str, needed: usize, found: usize) -> Result<()> {
    if needed == found {
        Ok(())
    } else {
        Err(Error::Level { op, needed, found })
    }
}
