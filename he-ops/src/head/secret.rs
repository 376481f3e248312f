//! The client's side: the secrets of `tfhe`, the key that leaves, and the label. Only builds with the feature `secret`
//! contain it.

use tfhe::core_crypto::prelude::*;
use tfhe::core_crypto::seeders::new_seeder;
use zeroize::Zeroizing;

use super::decide::{EncryptedLabel, UNIT};
use super::keys::{SeededHeadKey, compression_seed};
use super::params::{TFHE_PARAMETERS as TFHE, check_params};
use super::ring_switch::{DEGREE, DIGITS, SeededRingSwitchKey, expand_mask, gadget, small_table};
use crate::arith::sample::{SecretRng, Seed};
use crate::ring::{Coeff, Poly};
use crate::rlwe::{Params, SecretKey};
use crate::{Error, Result};

/// The binary secrets of `tfhe`: of the ring (2048 bits), and of the small dimension. Erased when dropped.
pub struct HeadSecret {
    ring: Zeroizing<Vec<u64>>,
    small: Zeroizing<Vec<u64>>,
}

impl std::fmt::Debug for HeadSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeadSecret(..)")
    }
}

fn lengths() -> [usize; 2] {
    [
        TFHE.glwe_dimension.0 * TFHE.polynomial_size.0,
        TFHE.lwe_dimension.0,
    ]
}

impl HeadSecret {
    /// Fresh secrets, uniform bits from the operating system's entropy.
    ///
    /// # Errors
    /// [`Error::Entropy`].
    pub fn generate() -> Result<Self> {
        let mut rng = SecretRng::from_entropy()?;
        let [ring, small] =
            lengths().map(|n| Zeroizing::new((0..n).map(|_| rng.bit()).collect::<Vec<u64>>()));
        Ok(HeadSecret { ring, small })
    }

    /// One bit of each byte's eight for each coefficient: the ring's, then the small one's.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let bits: Vec<&u64> = self.ring.iter().chain(self.small.iter()).collect();
        let byte = |bits: &[&u64]| {
            bits.iter()
                .enumerate()
                .fold(0u8, |byte, (i, bit)| byte | (**bit as u8) << i)
        };
        Zeroizing::new(bits.chunks(8).map(byte).collect())
    }

    /// Reads [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`Error::Shape`] for another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let [ring, small] = lengths();
        let needed = (ring + small).div_ceil(8);
        if bytes.len() != needed {
            return Err(Error::Shape {
                what: "bytes of a secret key of the exact head",
                needed,
                found: bytes.len(),
            });
        }
        let bit = |i: usize| bytes.get(i / 8).map_or(0, |byte| u64::from(byte >> (i % 8) & 1));
        Ok(HeadSecret {
            ring: Zeroizing::new((0..ring).map(bit).collect()),
            small: Zeroizing::new((ring..ring + small).map(bit).collect()),
        })
    }

    /// The evaluation key that leads from this CKKS secret to encrypted labels.
    ///
    /// # Errors
    /// [`Error::Params`] for a secret key of other parameters, [`Error::Entropy`], and as
    /// [`check_params`].
    pub fn evaluation_key(&self, params: &Params, secret: &SecretKey) -> Result<SeededHeadKey> {
        check_params(params)?;
        secret.check(params)?;
        let ring = GlweSecretKey::from_container(self.ring.as_slice(), TFHE.polynomial_size);
        let small = LweSecretKey::from_container(self.small.as_slice());
        let mut seeder = new_seeder();
        let (bootstrap_seed, switch_seed) = (Seed::generate()?, Seed::generate()?);
        let size = TFHE.glwe_dimension.to_glwe_size();
        let mut bootstrap = SeededLweBootstrapKey::new(
            0u64,
            size,
            TFHE.polynomial_size,
            TFHE.pbs_base_log,
            TFHE.pbs_level,
            TFHE.lwe_dimension,
            compression_seed(&bootstrap_seed),
            TFHE.ciphertext_modulus,
        );
        let noise = TFHE.glwe_noise_distribution;
        par_generate_seeded_lwe_bootstrap_key(&small, &ring, &mut bootstrap, noise, seeder.as_mut());
        let mut switch = SeededLweKeyswitchKey::new(
            0u64,
            TFHE.ks_base_log,
            TFHE.ks_level,
            ring.as_lwe_secret_key().lwe_dimension(),
            TFHE.lwe_dimension,
            compression_seed(&switch_seed),
            TFHE.ciphertext_modulus,
        );
        let noise = TFHE.lwe_noise_distribution;
        generate_seeded_lwe_keyswitch_key(
            &ring.as_lwe_secret_key(),
            &small,
            &mut switch,
            noise,
            seeder.as_mut(),
        );
        Ok(SeededHeadKey {
            ring_switch: self.ring_switch_key(params, secret)?,
            bootstrap_seed,
            bootstrap: bootstrap.into_container(),
            switch_seed,
            switch: switch.into_container(),
        })
    }

    fn ring_switch_key(&self, params: &Params, secret: &SecretKey) -> Result<SeededRingSwitchKey> {
        let table = small_table(params)?;
        let modulus = *table.modulus();
        let seed = Seed::generate()?;
        let mut rng = SecretRng::from_entropy()?;
        let transformed = |values: Zeroizing<Vec<i64>>| {
            let poly = Poly::<Coeff>::from_signed(&values, [&table]);
            Zeroizing::new(poly.into_eval([&table]).limb(0).to_vec())
        };
        let target = transformed(Zeroizing::new(self.ring.iter().map(|bit| *bit as i64).collect()));
        let mut bodies = Vec::with_capacity(params.degree() * DIGITS);
        let mut mask = vec![0; DEGREE];
        for (t, block) in secret.coefficients().chunks(DEGREE).enumerate() {
            let source = transformed(Zeroizing::new(block.iter().map(|c| i64::from(*c)).collect()));
            for digit in 0..DIGITS {
                expand_mask(&seed, t * DIGITS + digit, &modulus, &mut mask);
                let noise = (0..DEGREE).map(|_| i64::from(rng.noise())).collect();
                let noise = transformed(Zeroizing::new(noise));
                let g = gadget(&modulus, digit);
                let values = mask
                    .iter()
                    .zip(target.iter())
                    .zip(source.iter().zip(noise.iter()));
                bodies.extend(values.map(|((a, s), (m, e))| {
                    modulus.sub(modulus.add(*e, modulus.mul(g, *m)), modulus.mul(*a, *s))
                }));
            }
        }
        Ok(SeededRingSwitchKey { seed, bodies })
    }

    /// Number of the class, below `classes`; `None` where no class was ahead of all others.
    ///
    /// # Errors
    /// [`Error::Value`] for a message that is no label: a label under other keys.
    pub fn decrypt(&self, label: &EncryptedLabel, classes: usize) -> Result<Option<usize>> {
        let mut words = label.words().iter().rev();
        let body = words.next().copied().unwrap_or(0);
        let mask = label.words().iter().zip(self.small.iter());
        let inner = mask.fold(0u32, |sum, (a, s)| sum.wrapping_add(a.wrapping_mul(*s as u32)));
        let phase = body.wrapping_sub(inner);
        let unit = (UNIT >> 32) as u32;
        let nearest = phase.wrapping_add(unit / 2) / unit;
        // A right label lies within a quarter of a unit of its place, by far; under another key hardly one in 100 does.
        let off = phase.wrapping_sub(nearest.wrapping_mul(unit)) as i32;
        if off.unsigned_abs() <= unit / 4 && nearest as usize <= classes {
            return Ok((nearest as usize).checked_sub(1));
        }
        Err(Error::Value {
            what: "encrypted label",
            reason: format!(
                "no class of {classes}: the reply was made under other keys, or is damaged; use the keys that made the request"
            ),
        })
    }
}
