//! Randomness: public masks expanded from seeds, secrets and noise from the operating system's entropy, both through
//! the AES-CTR generators of `tfhe-csprng`.

use super::Modulus;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use tfhe_csprng::generators::{DefaultRandomGenerator, RandomGenerator};
use tfhe_csprng::seeders::XofSeed;
use zeroize::Zeroizing;

/// Seed of a public mask. Sent in place of the mask, so it holds nothing secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(pub [u8; 16]);

/// Which object a mask belongs to: no two kinds share a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Mask of a ciphertext.
    Ciphertext,
    /// Masks of a key-switch key.
    KeySwitchKey,
    /// Mask of a public key.
    PublicKey,
    /// Masks of a key that leads to a smaller ring.
    RingSwitch,
}

impl Domain {
    fn tag(self) -> [u8; XofSeed::DOMAIN_SEP_LEN] {
        match self {
            Self::Ciphertext => *b"ckks-cts",
            Self::KeySwitchKey => *b"ckks-ksk",
            Self::PublicKey => *b"ckks-pub",
            Self::RingSwitch => *b"ckks-rsw",
        }
    }
}

impl Seed {
    /// A fresh seed.
    ///
    /// # Errors
    /// [`Error::Entropy`] when the operating system gives no randomness.
    pub fn generate() -> Result<Self> {
        let mut bytes = [0; 16];
        entropy(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Fills a limb with uniform residues: stream `index` of this seed and domain, by rejection below the next power
    /// of two. Every limb has a stream of its own, so limbs expand in any order and on any thread.
    pub fn expand_uniform(&self, domain: Domain, index: u64, modulus: &Modulus, limb: &mut [u64]) {
        let mut input = self.0.to_vec();
        input.extend_from_slice(&index.to_le_bytes());
        let mut generator = DefaultRandomGenerator::new(XofSeed::new(input, domain.tag()));
        let bits = modulus.bits();
        let mask = (1u64 << bits) - 1;
        let bytes = bits.div_ceil(8);
        for out in limb {
            *out = loop {
                let word = (0..bytes).fold(0u64, |acc, i| {
                    acc | u64::from(next_byte(&mut generator)) << (8 * i)
                });
                if word & mask < modulus.value() {
                    break word & mask;
                }
            };
        }
    }
}

fn entropy(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|e| Error::Entropy {
        reason: e.to_string(),
    })
}

/// Never a value of our own in place of a random one.
#[expect(
    clippy::expect_used,
    reason = "the stream has 2^132 bytes: its end is out of reach"
)]
fn next_byte(generator: &mut DefaultRandomGenerator) -> u8 {
    generator.next_byte().expect("a stream of 2^132 bytes")
}

/// Coins on either side of a noise value.
const COINS: u32 = 21;

/// Variance of the noise of every encryption and key, a standard deviation of 3.24: each coin has 1/4. The security table
/// ([`crate::rlwe::security`]) assumes 3.2; more is never less secure.
pub const NOISE_VARIANCE: f64 = COINS as f64 / 2.0;

/// The noise value of 42 uniform bits.
fn noise_of(word: u64) -> i8 {
    const SIDE: u64 = (1 << COINS) - 1;
    ((word & SIDE).count_ones() as i8) - ((word >> COINS & SIDE).count_ones() as i8)
}

/// A generator of secret values, keyed with 256 bits of the operating system's entropy.
pub struct SecretRng(DefaultRandomGenerator);

impl SecretRng {
    /// A generator with a fresh key.
    ///
    /// # Errors
    /// [`Error::Entropy`] when the operating system gives no randomness.
    pub fn from_entropy() -> Result<Self> {
        let mut key = Zeroizing::new(vec![0; 32]);
        entropy(&mut key)?;
        Ok(Self(DefaultRandomGenerator::new(XofSeed::new(
            key.to_vec(),
            *b"ckks-sec",
        ))))
    }

    /// 0 or 1, uniform.
    pub fn bit(&mut self) -> u64 {
        u64::from(next_byte(&mut self.0) & 1)
    }

    /// A uniform element of {-1, 0, 1}.
    pub fn ternary(&mut self) -> i8 {
        loop {
            let byte = next_byte(&mut self.0);
            // 255 is a multiple of three: the values below it are uniform modulo three.
            if byte < 255 {
                return (byte % 3) as i8 - 1;
            }
        }
    }

    /// A uniform place below a power of two of at most 2^24, and a sign.
    pub fn place_and_sign(&mut self, degree: usize) -> (usize, i8) {
        let word = (0..4).fold(0usize, |acc, i| {
            acc | usize::from(next_byte(&mut self.0)) << (8 * i)
        });
        (word >> 8 & (degree - 1), if word & 1 == 0 { 1 } else { -1 })
    }

    /// A centered binomial: `COINS` coins less as many others, of [`NOISE_VARIANCE`]; without branches on the value.
    pub fn noise(&mut self) -> i8 {
        let word = (0..6).fold(0u64, |acc, i| acc | u64::from(next_byte(&mut self.0)) << (8 * i));
        noise_of(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_reproducible_uniform_and_separated() {
        let m = Modulus::new(34359754753).unwrap();
        let seed = Seed([7; 16]);
        let draw = |domain, index| {
            let mut limb = vec![0; 4096];
            seed.expand_uniform(domain, index, &m, &mut limb);
            limb
        };
        let a = draw(Domain::Ciphertext, 0);
        assert_eq!(a, draw(Domain::Ciphertext, 0));
        assert_ne!(a, draw(Domain::Ciphertext, 1));
        assert_ne!(a, draw(Domain::KeySwitchKey, 0));
        assert!(a.iter().all(|&v| v < m.value()));
        let mean = a.iter().map(|&v| v as f64 / m.value() as f64).sum::<f64>() / 4096.0;
        assert!((mean - 0.5).abs() < 0.03, "{mean}");
    }

    #[test]
    fn secret_and_noise_have_the_stated_distributions() {
        let mut rng = SecretRng::from_entropy().unwrap();
        let n = 60_000;
        let mut counts = [0; 3];
        for _ in 0..n {
            counts[(rng.ternary() + 1) as usize] += 1;
        }
        assert!(
            counts
                .iter()
                .all(|&c: &i32| (f64::from(c) / f64::from(n) - 1.0 / 3.0).abs() < 0.01)
        );
        let samples: Vec<f64> = (0..n).map(|_| f64::from(rng.noise())).collect();
        let mean = samples.iter().sum::<f64>() / f64::from(n);
        let variance = samples.iter().map(|v| v * v).sum::<f64>() / f64::from(n);
        // Eight standard deviations of these estimates.
        assert!(
            mean.abs() < 0.11 && (variance - NOISE_VARIANCE).abs() < 0.5,
            "{mean} {variance}"
        );
    }

    /// Over all words of one side, the other having no coin on top: the variance of one side is half of it.
    #[test]
    fn the_variance_of_the_noise_is_exact() {
        let words = 1u64 << COINS;
        let (sum, squares) = (0..words).fold((0i64, 0i64), |(sum, squares), word| {
            let v = i64::from(noise_of(word));
            (sum + v, squares + v * v)
        });
        let mean = sum as f64 / words as f64;
        assert_eq!(
            2.0 * (squares as f64 / words as f64 - mean * mean),
            NOISE_VARIANCE
        );
        assert_eq!(noise_of(words - 1), -noise_of((words - 1) << COINS));
    }
}
