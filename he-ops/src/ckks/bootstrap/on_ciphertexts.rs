//! The arithmetic of EvalMod on ciphertexts.

use super::eval_mod::{Arithmetic, Weight};
use super::literal::BootstrapLiteral;
use crate::arith::dot::dot_runs;
use crate::ckks::encoder::{PeriodicPlaintext, add_periodic};
use crate::ckks::evaluator::two_parts;
use crate::ckks::{Ciphertext, Evaluator};
use crate::error::broken;
use crate::ring::Poly;
use crate::{Result, par};
use num_complex::Complex64;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A slot pattern, with its encoded multiples: every bootstrap needs the same ones.
pub(super) struct Twist {
    values: Vec<Complex64>,
    encoded: Mutex<HashMap<EncodedKey, Arc<PeriodicPlaintext>>>,
}

/// A multiple, a scale (bits of both) and a level.
type EncodedKey = (u64, u64, usize);

impl Twist {
    fn new(values: Vec<Complex64>) -> Self {
        Self {
            values,
            encoded: Mutex::default(),
        }
    }

    /// The patterns of the cosine and of the results of its doublings, each the square of the one before, so that the
    /// sine comes out times `factors`, of absolute value one.
    pub(super) fn of(literal: &BootstrapLiteral, factors: &[Complex64]) -> Vec<Self> {
        let turns = f64::from(1u32 << literal.double_angles);
        let part = |i: u32| f64::from(1u32 << i) / turns;
        let turned = |i: u32| {
            let factors = factors.iter();
            factors
                .map(|f| Complex64::from_polar(1.0, f.arg() * part(i)))
                .collect()
        };
        (0..=literal.double_angles)
            .map(|i| Self::new(turned(i)))
            .collect()
    }

    fn encode(&self, e: &Evaluator, factor: f64, scale: f64, level: usize) -> Result<Arc<PeriodicPlaintext>> {
        let key = (factor.to_bits(), scale.to_bits(), level);
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = encoded.get(&key) {
            return Ok(found.clone());
        }
        let tables: Vec<_> = e.params().q_tables(level)?.iter().collect();
        let mut values: Vec<_> = self.values.iter().map(|g| g * factor).collect();
        let made = Arc::new(e.encoder().encode_subring(&mut values, scale, &tables)?);
        // Scales are the same for every operand; should they not be, this must not grow.
        if encoded.len() < 64 {
            encoded.insert(key, made.clone());
        }
        Ok(made)
    }
}

/// An evaluator, and the patterns by which the cosine and the results of its doublings are multiplied.
pub(super) struct OnCiphertexts<'a> {
    pub evaluator: &'a Evaluator,
    pub twists: &'a [Twist],
}

impl OnCiphertexts<'_> {
    fn encode(&self, weight: Weight, scale: f64, level: usize) -> Result<Arc<PeriodicPlaintext>> {
        match weight {
            Weight::Real(v) => {
                Twist::new(vec![Complex64::new(1.0, 0.0)]).encode(self.evaluator, v, scale, level)
            }
            Weight::Twisted(v, i) => {
                let twist = self
                    .twists
                    .get(i)
                    .ok_or_else(|| broken("a pattern for each doubling"))?;
                twist.encode(self.evaluator, v, scale, level)
            }
        }
    }
}

impl Arithmetic for OnCiphertexts<'_> {
    type Value = Ciphertext;

    fn level(&self, a: &Ciphertext) -> usize {
        a.level
    }

    fn scale(&self, a: &Ciphertext) -> f64 {
        a.scale
    }

    fn prime(&self, level: usize) -> Result<f64> {
        self.evaluator.params().prime(level)
    }

    fn reinterpret(&mut self, a: Ciphertext, scale: f64) -> Ciphertext {
        Ciphertext { scale, ..a }
    }

    fn multiply(&mut self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        let e = self.evaluator;
        let level = a.level.min(b.level);
        e.mul(&e.drop_level(a, level)?, &e.drop_level(b, level)?)
    }

    fn add(&mut self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        self.evaluator.add(a, b)
    }

    fn add_constant(&mut self, mut a: Ciphertext, constant: Weight) -> Result<Ciphertext> {
        let plain = self.encode(constant, a.scale, a.level)?;
        let q = self.evaluator.params().q_tables(a.level)?;
        add_periodic(a.body_mut("eval_mod")?, &plain, q);
        Ok(a)
    }

    #[expect(clippy::indexing_slicing, reason = "values of a period, two parts")]
    fn weighted_sum(
        &mut self,
        terms: &[(&Ciphertext, Weight)],
        constant: Option<Weight>,
        level: usize,
        scale: f64,
    ) -> Result<Ciphertext> {
        let e = self.evaluator;
        let q = e.params().q_tables(level)?;
        let n = e.params().degree();
        let weights = terms
            .iter()
            .map(|(x, weight)| self.encode(*weight, scale / x.scale, level))
            .collect::<Result<Vec<_>>>()?;
        let inputs = terms
            .iter()
            .map(|(x, _)| {
                two_parts("eval_mod", x)?;
                e.drop_level(x, level)
            })
            .collect::<Result<Vec<_>>>()?;
        let runs = weights.iter().map(|w| 2 * w.period()).max().unwrap_or(2);
        let mut parts = [(); 2].map(|()| Poly::scratch(q.len(), n));
        let [body, mask] = parts.each_mut().map(|part| part.words_mut().chunks_mut(n));
        par::for_each(body.zip(mask).zip(q).collect(), |i, ((body, mask), table)| {
            let modulus = table.modulus();
            let value = |plain: &PeriodicPlaintext, r: usize| {
                modulus.to_mont52(plain.limb(i)[r * 2 * plain.period() / runs])
            };
            let constants: Vec<u64> = (0..runs)
                .flat_map(|r| weights.iter().map(move |w| value(w, r)))
                .collect();
            for (part, out) in [body, mask].into_iter().enumerate() {
                let xs: Vec<&[u64]> = inputs.iter().map(|x| x.parts[part].limb(i)).collect();
                dot_runs(&mut [out], &xs, &constants, n / runs, modulus);
            }
        });
        let sum = Ciphertext {
            parts: parts.into(),
            level,
            scale,
        };
        match constant {
            Some(constant) => self.add_constant(sum, constant),
            None => Ok(sum),
        }
    }

    fn relinearize(&mut self, a: &Ciphertext) -> Result<Ciphertext> {
        self.evaluator.relinearize(a)
    }

    fn rescale(&mut self, a: &Ciphertext) -> Result<Ciphertext> {
        self.evaluator.rescale(a)
    }

    fn relinearize_rescale(&mut self, a: &Ciphertext) -> Result<Ciphertext> {
        self.evaluator.relinearize_rescale(a)
    }
}
