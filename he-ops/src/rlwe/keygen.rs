//! Generation of the keys that may leave the client.

use super::key_switch_key::{SeededKeySwitchKey, expand_mask};
use super::keys::{EvaluationKeyConfig, KeyPurpose, PublicKey, expand_body_mask};
use super::params::Params;
use super::secret::{EphemeralSecret, SecretKey, SecretPoly, noise_poly};
use crate::Result;
use crate::arith::NttTable;
use crate::arith::dot::{Output, dot};
use crate::arith::rns::product;
use crate::arith::sample::{Domain, SecretRng, Seed};
use crate::error::broken;
use crate::par;
use crate::ring::{Eval, Poly};
use std::sync::OnceLock;

/// Makes public and evaluation keys from a secret key.
pub struct KeyGenerator<'a> {
    params: &'a Params,
    secret: &'a SecretKey,
    /// The ephemeral secret, made at first use and forgotten with the generator.
    ephemeral: OnceLock<EphemeralSecret>,
}

impl<'a> KeyGenerator<'a> {
    /// For a secret key of these parameters. All bootstrapping keys of a bundle must come from one generator: they share
    /// its ephemeral secret.
    ///
    /// # Errors
    /// [`crate::Error::Params`] when the key belongs to other parameters.
    pub fn new(params: &'a Params, secret: &'a SecretKey) -> Result<Self> {
        secret.check(params)?;
        Ok(Self {
            params,
            secret,
            ephemeral: OnceLock::new(),
        })
    }

    /// The public encryption key.
    ///
    /// # Errors
    /// [`crate::Error::Entropy`] when there is no randomness.
    pub fn public_key(&self) -> Result<PublicKey> {
        let (params, level) = (self.params, self.params.max_level());
        let q = params.q_tables(level)?;
        let seed = Seed::generate()?;
        let mask = expand_body_mask(params, &seed, Domain::PublicKey, level)?;
        let secret = self.secret.values(level, 0, params.degree());
        let noise = SecretPoly(noise_poly(&mut SecretRng::from_entropy()?, params.degree(), q));
        let body = noise_minus_product(&noise.0, &mask, &secret.0, q.iter());
        Ok(PublicKey { seed, body })
    }

    /// The key of a Galois element for ciphertexts of at most this level.
    ///
    /// # Errors
    /// [`crate::Error::Level`] above the highest level; [`crate::Error::Entropy`].
    pub fn galois_key(&self, element: u64, level: usize) -> Result<SeededKeySwitchKey> {
        self.key(KeyPurpose::Galois(element), level)
    }

    /// All keys of a configuration; `progress(done, total)` after each.
    ///
    /// # Errors
    /// As [`Self::galois_key`].
    pub fn evaluation_keys(
        &self,
        config: &EvaluationKeyConfig,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Vec<SeededKeySwitchKey>> {
        let total = config.len();
        config
            .iter()
            .enumerate()
            .map(|(i, (purpose, level))| {
                let key = self.key(purpose, level)?;
                progress(i + 1, total);
                Ok(key)
            })
            .collect()
    }

    fn ephemeral(&self) -> Result<&EphemeralSecret> {
        if self.ephemeral.get().is_none() {
            // Another thread may have been faster: then its secret stays.
            let _ = self.ephemeral.set(EphemeralSecret::generate(self.params)?);
        }
        self.ephemeral
            .get()
            .ok_or_else(|| broken("an ephemeral secret that was just made"))
    }

    /// One key: for each digit, b = -a s' + e + P s_in on the primes of the digit; a raising key encrypts P s_in modulo
    /// every prime, its operand being the same small integers everywhere.
    ///
    /// # Errors
    /// [`crate::Error::Level`] above the highest level of the purpose; [`crate::Error::Entropy`].
    pub fn key(&self, purpose: KeyPurpose, level: usize) -> Result<SeededKeySwitchKey> {
        let params = self.params;
        let gadget = params.key_gadget(purpose, level)?;
        let q = params.q_tables(level)?;
        let p = params.p_tables(gadget.specials)?;
        let secret = self.secret.values(level, gadget.specials, params.degree());
        // (source, target) as in the docs of KeySwitchKey.
        let (source, target) = match purpose {
            KeyPurpose::Relin => {
                let mut square = Poly::<Eval>::zero(secret.0.limbs(), params.degree());
                square.mul_accumulate(&secret.0, &secret.0, q.iter().chain(p));
                (SecretPoly(square), secret)
            }
            KeyPurpose::Galois(element) => {
                let inverse = params.permutation(params.inverse_element(element))?;
                let target = secret.permuted(&inverse);
                (secret, target)
            }
            KeyPurpose::Encapsulate => (secret, self.ephemeral()?.values(q.iter().chain(p))),
            KeyPurpose::Raise(element) => {
                let inverse = params.permutation(params.inverse_element(element))?;
                (
                    self.ephemeral()?.values(q.iter().chain(p)),
                    secret.permuted(&inverse),
                )
            }
        };
        let everywhere = matches!(purpose, KeyPurpose::Raise(_));
        let seed = Seed::generate()?;
        let mut rng = SecretRng::from_entropy()?;
        let mut bodies = Vec::with_capacity(gadget.digits());
        for digit in 0..gadget.digits() {
            let mask = expand_mask(params, &seed, digit, level, &gadget)?;
            let noise = SecretPoly(noise_poly(&mut rng, params.degree(), q.iter().chain(p)));
            let mut body = noise_minus_product(&noise.0, &mask, &target.0, q.iter().chain(p));
            let range = if everywhere {
                0..level + 1
            } else {
                gadget.digit_range(digit, level)
            };
            for (i, table) in q.iter().enumerate().filter(|(i, _)| range.contains(i)) {
                let m = table.modulus();
                let factor = product(&p.iter().collect::<Vec<_>>(), m);
                let old = body.limb(i).to_vec();
                let weights = [m.to_mont52(1), m.to_mont52(factor)];
                let mut output = [Output {
                    out: body.limb_mut(i),
                    weights: &weights,
                    start: 0,
                    modulus: m,
                }];
                dot(&mut output, &[&old, source.0.limb(i)]);
            }
            bodies.push(body);
        }
        Ok(SeededKeySwitchKey {
            purpose,
            level,
            seed,
            bodies,
        })
    }
}

/// noise - a b, limb by limb.
pub(crate) fn noise_minus_product<'t>(
    noise: &Poly<Eval>,
    a: &Poly<Eval>,
    b: &Poly<Eval>,
    tables: impl IntoIterator<Item = &'t NttTable>,
) -> Poly<Eval> {
    let tables: Vec<_> = tables.into_iter().collect();
    let mut out = Poly::<Eval>::zero(noise.limbs(), noise.degree());
    out.mul_accumulate(a, b, tables.iter().copied());
    let limbs = out.words_mut().chunks_mut(noise.degree()).zip(tables);
    par::for_each(limbs.collect(), |i, (limb, table): (&mut [u64], &NttTable)| {
        let m = table.modulus();
        for (word, &e) in limb.iter_mut().zip(noise.limb(i)) {
            *word = m.sub(e, *word);
        }
    });
    out
}
