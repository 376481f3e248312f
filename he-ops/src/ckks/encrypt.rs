//! Encryption and decryption. Only builds with the feature `secret` contain it.

use super::ciphertext::{Ciphertext, Plaintext, SeededCiphertext, check_parts, check_poly};
use crate::arith::sample::{Domain, SecretRng, Seed};
use crate::ring::Poly;
use crate::rlwe::keygen::noise_minus_product;
use crate::rlwe::keys::expand_body_mask;
use crate::rlwe::secret::{SecretPoly, noise_poly, small_poly};
use crate::rlwe::{Params, PublicKey, SecretKey};
use crate::{Error, Result};
use zeroize::Zeroizing;

/// Encrypts under the secret key: half the size of a public-key encryption, and less noise.
pub struct Encryptor<'a> {
    params: &'a Params,
    secret: &'a SecretKey,
}

impl<'a> Encryptor<'a> {
    /// For a secret key of these parameters.
    ///
    /// # Errors
    /// [`Error::Params`] when the key belongs to other parameters.
    pub fn new(params: &'a Params, secret: &'a SecretKey) -> Result<Self> {
        secret.check(params)?;
        Ok(Self { params, secret })
    }

    /// c_1 = a from a fresh seed, c_0 = -a s + e + m.
    ///
    /// **Level, scale:** those of the plaintext.
    ///
    /// # Errors
    /// [`Error::Entropy`]; [`Error::Level`] or [`Error::Shape`] when the plaintext does not fit.
    pub fn encrypt(&self, plaintext: &Plaintext) -> Result<SeededCiphertext> {
        let (params, level) = (self.params, plaintext.level);
        let q = check_poly(params, "limbs of a plaintext", &plaintext.poly, level)?;
        let seed = Seed::generate()?;
        let mask = expand_body_mask(params, &seed, Domain::Ciphertext, level)?;
        let secret = self.secret.values(level, 0, params.degree());
        let noise = SecretPoly(noise_poly(&mut SecretRng::from_entropy()?, params.degree(), q));
        let mut body = noise_minus_product(&noise.0, &mask, &secret.0, q);
        body = Poly::sum(&body, &plaintext.poly, false, q);
        Ok(SeededCiphertext {
            seed,
            body,
            level,
            scale: plaintext.scale,
        })
    }
}

impl PublicKey {
    /// Encrypts under the public key: c = v (b, a) + (e_0 + m, e_1) with a ternary v.
    ///
    /// **Level, scale:** those of the plaintext.
    ///
    /// # Errors
    /// As [`Encryptor::encrypt`].
    pub fn encrypt(&self, params: &Params, plaintext: &Plaintext) -> Result<Ciphertext> {
        let level = plaintext.level;
        let q = check_poly(params, "limbs of a plaintext", &plaintext.poly, level)?;
        let mut rng = SecretRng::from_entropy()?;
        let ephemeral = Zeroizing::new((0..params.degree()).map(|_| rng.ternary()).collect::<Vec<_>>());
        let ephemeral = SecretPoly(small_poly(&ephemeral, q));
        let mask = self.mask(params)?;
        let parts = [&self.body, &mask]
            .into_iter()
            .map(|key| {
                let mut part = noise_poly(&mut rng, params.degree(), q);
                part.mul_accumulate(&key.truncated(q.len()), &ephemeral.0, q);
                part
            })
            .collect();
        let mut out = Ciphertext {
            parts,
            level,
            scale: plaintext.scale,
        };
        let body = out.body_mut("encrypt")?;
        *body = Poly::sum(body, &plaintext.poly, false, q);
        Ok(out)
    }
}

/// Decrypts under the secret key. Never send what it returns, nor anything computed from its last digits, to the
/// server or a third party: approximate results leak the key (IND-CPA-D, ePrint 2020/1533).
pub struct Decryptor<'a> {
    params: &'a Params,
    secret: &'a SecretKey,
}

impl<'a> Decryptor<'a> {
    /// For a secret key of these parameters.
    ///
    /// # Errors
    /// [`Error::Params`] when the key belongs to other parameters.
    pub fn new(params: &'a Params, secret: &'a SecretKey) -> Result<Self> {
        secret.check(params)?;
        Ok(Self { params, secret })
    }

    /// sum c_i s^i, for any number of parts.
    ///
    /// # Errors
    /// [`Error::Parts`], [`Error::Level`] or [`Error::Shape`] when the ciphertext does not fit.
    pub fn decrypt(&self, ciphertext: &Ciphertext) -> Result<Plaintext> {
        let level = ciphertext.level;
        let q = check_parts(self.params, ciphertext)?;
        let secret = self.secret.values(level, 0, self.params.degree());
        let mut parts = ciphertext.parts.iter().rev();
        let mut acc = parts.next().cloned().ok_or(Error::Parts {
            op: "decrypt",
            needed: 2,
            found: 0,
        })?;
        for part in parts {
            let mut next = part.clone();
            next.mul_accumulate(&acc, &secret.0, q);
            acc = next;
        }
        Ok(Plaintext {
            poly: acc,
            level,
            scale: ciphertext.scale,
        })
    }
}
