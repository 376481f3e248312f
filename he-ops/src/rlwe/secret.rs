//! The secret key. Only builds with the feature `secret` contain it; the server is built without.

use super::params::Params;
use super::security::EPHEMERAL_WEIGHT;
use crate::arith::NttTable;
use crate::arith::sample::SecretRng;
use crate::ring::automorphism::permute;
use crate::ring::{Coeff, Eval, Poly};
use crate::{Error, ParamsError, Result};
use zeroize::Zeroizing;

/// A uniform ternary secret. Not `Clone`, not printable; zeroized when dropped.
pub struct SecretKey {
    digest: [u8; 32],
    coefficients: Zeroizing<Vec<i8>>,
    /// Values over all ciphertext primes, then all special primes.
    values: Poly<Eval>,
    q_limbs: usize,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

/// A polynomial with secret content that is zeroized before its buffer is reused.
pub(crate) struct SecretPoly(pub(crate) Poly<Eval>);

impl Drop for SecretPoly {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Small secret coefficients as values over the given primes.
pub(crate) fn small_poly<'a>(
    coefficients: &[i8],
    tables: impl IntoIterator<Item = &'a NttTable> + Clone,
) -> Poly<Eval> {
    let wide = Zeroizing::new(coefficients.iter().map(|&c| i64::from(c)).collect::<Vec<_>>());
    Poly::<Coeff>::from_signed(&wide, tables.clone()).into_eval(tables)
}

/// Fresh noise as values over the given primes.
pub(crate) fn noise_poly<'a>(
    rng: &mut SecretRng,
    degree: usize,
    tables: impl IntoIterator<Item = &'a NttTable> + Clone,
) -> Poly<Eval> {
    let noise = Zeroizing::new((0..degree).map(|_| rng.noise()).collect::<Vec<_>>());
    small_poly(&noise, tables)
}

impl SecretKey {
    /// A fresh key from the operating system's entropy.
    ///
    /// # Errors
    /// [`Error::Entropy`] when there is none.
    pub fn generate(params: &Params) -> Result<Self> {
        let mut rng = SecretRng::from_entropy()?;
        let coefficients = Zeroizing::new((0..params.degree()).map(|_| rng.ternary()).collect::<Vec<_>>());
        Self::build(params, coefficients)
    }

    fn build(params: &Params, coefficients: Zeroizing<Vec<i8>>) -> Result<Self> {
        let q = params.q_tables(params.max_level())?;
        let p = params.p_tables(params.special_moduli().len())?;
        let values = small_poly(&coefficients, q.iter().chain(p));
        Ok(Self {
            digest: params.digest(),
            coefficients,
            values,
            q_limbs: q.len(),
        })
    }

    /// The coefficients, two bits each, four in a byte: 0, 1, or 2 for -1.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(
            self.coefficients
                .chunks(4)
                .map(|c| {
                    c.iter()
                        .enumerate()
                        .fold(0, |acc, (i, &v)| acc | ((v.rem_euclid(3)) as u8) << (2 * i))
                })
                .collect(),
        )
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Shape`] for another length, [`Error::Value`] for a coefficient that is not ternary.
    pub fn from_bytes(params: &Params, bytes: &[u8]) -> Result<Self> {
        let needed = params.degree().div_ceil(4);
        if bytes.len() != needed {
            return Err(Error::Shape {
                what: "bytes of a secret key",
                needed,
                found: bytes.len(),
            });
        }
        let mut coefficients = Zeroizing::new(Vec::with_capacity(params.degree()));
        let codes = bytes.iter().flat_map(|b| [0, 2, 4, 6].map(|at| b >> at & 3));
        for (i, code) in codes.take(params.degree()).enumerate() {
            coefficients.push(match code {
                0 => 0,
                1 => 1,
                2 => -1,
                _ => {
                    return Err(Error::Value {
                        what: "secret key",
                        reason: format!("coefficient {i} is not one of -1, 0, 1; the file is damaged"),
                    });
                }
            });
        }
        Self::build(params, coefficients)
    }

    /// Digest of the parameters it belongs to.
    #[must_use]
    pub fn params_digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The coefficients, each -1, 0 or 1.
    pub(crate) fn coefficients(&self) -> &[i8] {
        &self.coefficients
    }

    pub(crate) fn check(&self, params: &Params) -> Result<()> {
        if self.digest == params.digest() {
            return Ok(());
        }
        Err(ParamsError::OtherParams { key: "secret key" }.into())
    }

    /// Values over q_0..q_level, then the first `specials` special primes.
    pub(crate) fn values(&self, level: usize, specials: usize, degree: usize) -> SecretPoly {
        let mut out = Poly::<Eval>::scratch(level + 1 + specials, degree);
        for i in 0..level + 1 + specials {
            let from = if i <= level {
                i
            } else {
                self.q_limbs + i - level - 1
            };
            out.limb_mut(i).copy_from_slice(self.values.limb(from));
        }
        SecretPoly(out)
    }
}

/// The sparse ternary secret around the raising of a bootstrap (ePrint 2022/024). It never leaves the generator that
/// made it: nobody needs it once the keys to it and from it are there.
pub(crate) struct EphemeralSecret(Zeroizing<Vec<i8>>);

impl EphemeralSecret {
    /// [`EPHEMERAL_WEIGHT`] coefficients of 1 or -1 at uniform places.
    pub(crate) fn generate(params: &Params) -> Result<Self> {
        let mut rng = SecretRng::from_entropy()?;
        let mut coefficients = Zeroizing::new(vec![0i8; params.degree()]);
        let mut left = EPHEMERAL_WEIGHT.min(params.degree() / 2);
        while left > 0 {
            let (place, sign) = rng.place_and_sign(params.degree());
            if let Some(slot) = coefficients.get_mut(place).filter(|c| **c == 0) {
                *slot = sign;
                left -= 1;
            }
        }
        Ok(Self(coefficients))
    }

    /// Values over the given primes.
    pub(crate) fn values<'a>(&self, tables: impl IntoIterator<Item = &'a NttTable> + Clone) -> SecretPoly {
        SecretPoly(small_poly(&self.0, tables))
    }
}

impl SecretPoly {
    pub(crate) fn permuted(&self, table: &[u32]) -> Self {
        Self(permute(&self.0, table))
    }
}
