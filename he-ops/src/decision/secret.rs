//! The client's side: the secrets of `tfhe`, the key that leaves, and the label. Only builds with the feature `secret`
//! contain it.

use tfhe::core_crypto::prelude::*;
use tfhe::core_crypto::seeders::new_seeder;
use zeroize::Zeroizing;

use super::keys::{SeededDecisionKey, compression_seed};
use super::label::{Digits, EncryptedLabel};
use super::params::{DEGREE, DIGITS, TFHE_PARAMETERS as TFHE, check_params};
use super::ring_switch::{SeededRingSwitchKey, expand_mask, gadget, small_table};
use crate::arith::sample::{SecretRng, Seed};
use crate::ring::{Coeff, Poly};
use crate::rlwe::{Params, SecretKey};
use crate::{Error, Result};

/// The binary secrets of `tfhe`: of the ring (2048 bits), and of the small dimension. Erased when dropped.
///
/// They belong to one CKKS secret: a label of numbers under another one is as good as random, and nothing in it tells.
pub struct DecisionSecret {
    /// Public, in the keys and the labels as well.
    id: [u8; 16],
    /// Tells the CKKS secret; stays with the secrets.
    ckks: Zeroizing<[u8; 32]>,
    ring: Zeroizing<Vec<u64>>,
    small: Zeroizing<Vec<u64>>,
}

impl std::fmt::Debug for DecisionSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DecisionSecret(..)")
    }
}

/// What tells a CKKS secret.
fn digest(secret: &SecretKey) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(blake3::derive_key(
        "he-ops exact decision: the CKKS secret",
        &secret.to_bytes(),
    ))
}

fn lengths() -> [usize; 2] {
    [
        TFHE.glwe_dimension.0 * TFHE.polynomial_size.0,
        TFHE.lwe_dimension.0,
    ]
}

impl DecisionSecret {
    /// Fresh secrets, uniform bits from the operating system's entropy, to go with this CKKS secret.
    ///
    /// # Errors
    /// [`Error::Entropy`].
    pub fn generate(secret: &SecretKey) -> Result<Self> {
        let mut rng = SecretRng::from_entropy()?;
        let [ring, small] =
            lengths().map(|n| Zeroizing::new((0..n).map(|_| rng.bit()).collect::<Vec<u64>>()));
        Ok(DecisionSecret {
            id: Seed::generate()?.0,
            ckks: digest(secret),
            ring,
            small,
        })
    }

    /// Checks that they were made to go with this CKKS secret.
    ///
    /// # Errors
    /// [`Error::Value`] for another one.
    pub fn check(&self, secret: &SecretKey) -> Result<()> {
        // No shortcut: all bytes are looked at.
        let own = digest(secret);
        let different = self
            .ckks
            .iter()
            .zip(own.iter())
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        if different == 0 {
            return Ok(());
        }
        Err(Error::Value {
            what: "secret key of the exact decision",
            reason: "it was made with another secret key; use files of one key generation".to_owned(),
        })
    }

    /// The number, what tells the CKKS secret, and one bit of each byte's eight for each coefficient: the ring's, then the
    /// small one's.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let bits: Vec<&u64> = self.ring.iter().chain(self.small.iter()).collect();
        let byte = |bits: &[&u64]| {
            bits.iter()
                .enumerate()
                .fold(0u8, |byte, (i, bit)| byte | (**bit as u8) << i)
        };
        let bits = bits.chunks(8).map(byte);
        Zeroizing::new(self.id.into_iter().chain(*self.ckks).chain(bits).collect())
    }

    /// Reads [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`Error::Shape`] for another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let [ring, small] = lengths();
        let length = (ring + small).div_ceil(8);
        let parts = bytes.split_first_chunk::<16>();
        let parts = parts.and_then(|(id, rest)| Some((id, rest.split_first_chunk::<32>()?)));
        match parts {
            Some((id, (ckks, bits))) if bits.len() == length => {
                let bits = || {
                    bits.iter()
                        .flat_map(|byte| (0..8).map(move |i| u64::from(byte >> i & 1)))
                };
                Ok(DecisionSecret {
                    id: *id,
                    ckks: Zeroizing::new(*ckks),
                    ring: Zeroizing::new(bits().take(ring).collect()),
                    small: Zeroizing::new(bits().skip(ring).take(small).collect()),
                })
            }
            _ => Err(Error::Shape {
                what: "bytes of a secret key of the exact decision",
                needed: 48 + length,
                found: bytes.len(),
            }),
        }
    }

    /// The evaluation key that leads from this CKKS secret to encrypted labels.
    ///
    /// # Errors
    /// [`Error::Params`] for a secret key of other parameters, [`Error::Entropy`], and as
    /// [`check_params`] and [`check`](Self::check).
    pub fn evaluation_key(&self, params: &Params, secret: &SecretKey) -> Result<SeededDecisionKey> {
        check_params(params)?;
        secret.check(params)?;
        self.check(secret)?;
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
        Ok(SeededDecisionKey {
            id: self.id,
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
    /// [`Error::Value`] for a label under other keys, or a message that is no label.
    pub fn decrypt(&self, label: &EncryptedLabel, classes: usize) -> Result<Option<usize>> {
        let refused = |reason: &str| Error::Value {
            what: "encrypted label",
            reason: reason.to_owned(),
        };
        if label.id() != self.id {
            return Err(refused(
                "it was made under other keys; use the keys that made the request",
            ));
        }
        let digits = Digits::of(classes);
        let samples = label.words().chunks_exact(EncryptedLabel::DIGIT).rev();
        let number = samples.map(|sample| digits.nearest(self.phase(sample))).try_fold(
            // Highest digit first.
            0,
            |number, digit| Some(number * digits.base + digit?),
        );
        match number {
            Some(number) if number <= classes as u64 => Ok((number as usize).checked_sub(1)),
            _ => Err(refused(
                "it is none of the classes; the evaluation keys on the server are damaged, or of several key generations",
            )),
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a mask of the small dimension, and a body"
    )]
    fn phase(&self, sample: &[u32]) -> u32 {
        let (mask, body) = sample.split_at(self.small.len());
        let inner = mask
            .iter()
            .zip(self.small.iter())
            .fold(0u32, |sum, (a, s)| sum.wrapping_add(a.wrapping_mul(*s as u32)));
        body[0].wrapping_sub(inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::{DecisionKey, lwe};
    use super::super::lwe::torus;
    use super::super::noise::{label_variance, operand_variance, output_variance};
    use super::*;
    use crate::rlwe::ParamsLiteral;

    fn variance(errors: &[f64]) -> f64 {
        errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64
    }

    #[test]
    fn noise_is_what_the_formulas_say() {
        let params = Params::new(&ParamsLiteral::leveled(14, 2, 35)).unwrap();
        let secret = SecretKey::generate(&params).unwrap();
        let head = DecisionSecret::generate(&secret).unwrap();
        let key = DecisionKey::expand(&params, head.evaluation_key(&params, &secret).unwrap()).unwrap();
        let error = |words: &[u64], secret: &[u64], message: u64| {
            let inner = words
                .iter()
                .zip(secret)
                .fold(0u64, |sum, (a, s)| sum.wrapping_add(a.wrapping_mul(*s)));
            let phase = words.last().unwrap().wrapping_sub(inner);
            phase.wrapping_sub(message) as i64 as f64 * (-64f64).exp2()
        };
        let value = torus(1.0 / 7.0);
        let (mut out, mut small) = (Vec::new(), Vec::new());
        let mut mask = vec![0; head.ring.len()];
        for i in 0..48 {
            expand_mask(
                &Seed([7; 16]),
                i,
                small_table(&params).unwrap().modulus(),
                &mut mask,
            );
            let mut words: Vec<u64> = mask.iter().map(|a| a << 14).collect();
            let inner = words
                .iter()
                .zip(head.ring.iter())
                .fold(0u64, |sum, (a, s)| sum.wrapping_add(a.wrapping_mul(*s)));
            // Far from the borders of a sign, so that none is wrong.
            words.push(inner.wrapping_add(torus(0.25)));
            let sample = key.sign(&lwe(words), value);
            out.push(error(sample.as_ref(), &head.ring, value));
            small.push(error(key.to_small(&sample).as_ref(), &head.small, value));
        }
        for (name, found, expected) in [
            ("bootstrap", variance(&out), output_variance()),
            ("label", variance(&small), label_variance(1)),
        ] {
            let [found, expected] = [found, expected].map(|v: f64| v.log2() / 2.0);
            println!("{name}: 2^{found:.2}, expected 2^{expected:.2}");
            assert!(
                (found - expected).abs() < 0.5,
                "{name}: 2^{found:.2}, expected 2^{expected:.2}"
            );
        }
        println!("operand: 2^{:.2}", operand_variance().log2() / 2.0);
    }
}
