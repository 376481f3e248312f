//! Maps whose weights are kept as residues: those of bootstraps, and a matrix that many ciphertexts meet.

use super::columns::{Column, Digits};
use super::diagonals::Diagonals;
use super::engine::{Chain, Engine, finish};
use super::schedule::{BabySteps, InnerSum, Steps};
use super::weights::{Encoded, Layout, Matrix};
use crate::arith::NttTable;
use crate::ckks::ciphertext::{Ciphertext, check_level};
use crate::ckks::evaluator::two_parts;
use crate::ckks::{Encoder, Evaluator};
use crate::error::broken;
use crate::par;
use crate::ring::{Eval, Poly};
use crate::rlwe::giant_step::{Giant, Undivided, giant_step};
use crate::rlwe::key_switch::decompose;
use crate::rlwe::{EvaluationKeyConfig, Gadget, KeyPurpose, Params};
use crate::{Error, Result};
use num_complex::Complex64;
use std::sync::Arc;

const OP: &str = "linear transform";

/// A map that is ready for ciphertexts of one level: its diagonals as residues modulo Q P.
///
/// **Memory:** 2 D words for each diagonal and prime, D the period of the diagonals; N words where D is above N/16.
pub struct LinearTransform {
    params: Params,
    level: usize,
    key_level: usize,
    gadget: Gadget,
    raised: bool,
    plain_scale: f64,
    steps: Steps,
    layout: Layout,
    /// Per prime of QP: the weights of all inner sums, the highest giant step first.
    matrices: Vec<Matrix>,
}

impl LinearTransform {
    /// Encodes a map for ciphertexts of `level`, its entries at scale `plain_scale`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a map of no diagonals or more slots than the ring has; [`Error::Value`] when an entry does
    /// not fit; [`Error::Level`].
    pub fn new(encoder: &Encoder, map: &Diagonals, level: usize, plain_scale: f64) -> Result<Self> {
        Self::with_keys_of(encoder, map, [level, level], plain_scale, BabySteps::Fast)
    }

    /// The same with keys of a level that may be above that of the operand (the second one): several transforms can share
    /// them. [`BabySteps::Raised`] is for operands raised from the lowest modulus.
    pub(crate) fn with_keys_of(
        encoder: &Encoder,
        map: &Diagonals,
        [level, key_level]: [usize; 2],
        plain_scale: f64,
        baby_steps: BabySteps,
    ) -> Result<Self> {
        let params = encoder.params();
        let offsets: Vec<i64> = map.iter().map(|(k, _)| k).collect();
        let steps = Steps::choose(&offsets, baby_steps)
            .filter(|_| map.dim() <= params.slots())
            .ok_or(Error::Shape {
                what: "slots of a linear map with diagonals (at most)",
                needed: params.slots(),
                found: map.dim(),
            })?;
        let gadget = params.gadget(key_level)?;
        let q = params.q_tables(level)?;
        let tables: Vec<&NttTable> = q.iter().chain(params.p_tables(gadget.specials)?).collect();
        let (n, period) = (params.degree(), map.period());
        let encoded = Encoded::new(encoder, map.iter().collect(), |(k, diagonal)| {
            let shift = steps.giant_rotation() * steps.of(k).0 as i64;
            let cyclic = diagonal.iter().cycle();
            let start = (-shift).rem_euclid(map.dim() as i64) as usize;
            (
                cyclic
                    .skip(start)
                    .take(period)
                    .copied()
                    .collect::<Vec<Complex64>>(),
                plain_scale,
            )
        })?;
        let mut terms: Vec<Vec<(usize, usize)>> = vec![Vec::new(); steps.giant];
        for (weight, k) in offsets.iter().enumerate() {
            let (giant, baby) = steps.of(*k);
            if let Some(terms) = terms.get_mut(giant) {
                terms.push((baby, weight));
            }
        }
        let sums: Vec<InnerSum> = terms
            .into_iter()
            .enumerate()
            .rev()
            .map(|(giant, terms)| InnerSum::new(0, giant as i64, terms))
            .collect();
        let layout = Layout::of_period(period, n);
        let matrices = par::try_map(tables, |table| -> Result<_> {
            let values = encoded.values(encoder, table);
            Ok(Matrix::new(&sums, (0..steps.baby).collect(), &values, layout, n))
        })?;
        Ok(Self {
            params: params.clone(),
            level,
            key_level,
            gadget: gadget.clone(),
            raised: baby_steps == BabySteps::Raised,
            plain_scale,
            steps,
            layout,
            matrices,
        })
    }

    /// Level of the operand; the result is one below.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// Bytes of the encoded diagonals.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.matrices.iter().map(|matrix| 8 * matrix.weights.len()).sum()
    }

    /// Rotations: (baby steps, giant steps).
    #[must_use]
    pub fn rotations(&self) -> (usize, usize) {
        (self.steps.baby, self.steps.giant - 1)
    }

    /// The keys it needs.
    #[must_use]
    pub fn keys(&self) -> EvaluationKeyConfig {
        self.steps.keys(&self.params, self.key_level, self.raised)
    }

    /// The map on a ciphertext.
    ///
    /// **Level:** -1. **Scale:** x plain_scale / last prime. **Keys:** [`Self::keys`]. **Cost:** one decomposition, an
    /// inner product for each baby step; a division, a decomposition and an inner product for each giant step but one;
    /// one division.
    ///
    /// # Errors
    /// [`Error::Level`], [`Error::Parts`]; [`Error::MissingKey`] naming the rotation.
    pub fn apply(&self, evaluator: &Evaluator, a: &Ciphertext) -> Result<Ciphertext> {
        self.finish(&self.undivided(evaluator, a)?, a.scale)
    }

    /// The map on a ciphertext, before [`Self::finish`].
    pub(in crate::ckks) fn undivided(&self, evaluator: &Evaluator, a: &Ciphertext) -> Result<Undivided> {
        check_level(OP, self.level, a.level)?;
        let (body, mask) = two_parts(OP, a)?;
        let digits = Arc::new(decompose(&self.params, mask, self.level, &self.gadget)?);
        self.sum(evaluator, |element| {
            if element == 1 {
                return Ok(Column::plain(body, mask));
            }
            let key = evaluator
                .keys()
                .get(OP, KeyPurpose::Galois(element), self.key_level)?;
            if key.gadget != self.gadget {
                return Err(Error::Shape {
                    what: "digits of a key (one made for the level of the transform)",
                    needed: self.gadget.digits(),
                    found: key.gadget.digits(),
                });
            }
            Ok(Column::Rotated {
                body,
                digits: Digits::Decomposed(digits.clone()),
                key,
                permutation: Some(self.params.permutation(element)?),
            })
        })
    }

    /// The same on a ciphertext raised from the lowest modulus, under the ephemeral secret: the body over Q, the mask over
    /// QP. No rotation leaves it alone, all change the secret.
    pub(in crate::ckks) fn undivided_raised(
        &self,
        evaluator: &Evaluator,
        body: &Poly<Eval>,
        mask: &Poly<Eval>,
    ) -> Result<Undivided> {
        self.sum(evaluator, |element| {
            Ok(Column::Rotated {
                body,
                digits: Digits::Raised(mask),
                key: evaluator
                    .keys()
                    .get(OP, KeyPurpose::Raise(element), self.key_level)?,
                permutation: (element != 1)
                    .then(|| self.params.permutation(element))
                    .transpose()?,
            })
        })
    }

    /// The map, from the columns of its baby steps.
    fn sum<'c>(
        &self,
        evaluator: &Evaluator,
        column: impl FnMut(u64) -> Result<Column<'c>>,
    ) -> Result<Undivided> {
        let babies = (0..self.steps.baby).map(|b| self.params.galois_element(self.steps.baby_rotation(b)));
        let engine = Engine {
            params: &self.params,
            level: self.level,
            specials: self.gadget.specials,
            columns: babies.map(column).collect::<Result<_>>()?,
        };
        #[expect(clippy::indexing_slicing, reason = "there is one for each prime of a sum")]
        let matrices = |i: usize, _: &NttTable| std::slice::from_ref(&self.matrices[i]);
        let sums = engine.inner_sums(self.steps.giant, self.layout, matrices)?;
        let element = self.params.galois_element(self.steps.giant_rotation());
        let giant = (self.steps.giant > 1).then(|| self.giant(evaluator, element));
        let giant = giant.transpose()?;
        let mut chain = Chain::new(giant.as_ref());
        for (g, sum) in (0..self.steps.giant as u64).rev().zip(sums) {
            chain.add(&engine, g, Some(sum))?;
        }
        chain.sum.ok_or_else(|| broken("a map has a giant step"))
    }

    fn giant<'e>(&self, evaluator: &'e Evaluator, element: u64) -> Result<Giant<'e>> {
        Ok(Giant {
            key: evaluator
                .keys()
                .get(OP, KeyPurpose::Galois(element), self.key_level)?,
            permutation: self.params.permutation(element)?,
        })
    }

    /// A sum plus its automorphism.
    pub(in crate::ckks) fn plus_automorphism(
        &self,
        evaluator: &Evaluator,
        sum: &Undivided,
        element: u64,
    ) -> Result<Undivided> {
        let giant = self.giant(evaluator, element)?;
        let (level, specials) = (self.level, self.gadget.specials);
        giant_step(&self.params, level, specials, &giant, sum, Some(sum.clone()))
    }

    /// Division by P and the last prime.
    pub(in crate::ckks) fn finish(&self, sum: &Undivided, scale: f64) -> Result<Ciphertext> {
        let specials = self.gadget.specials;
        finish(&self.params, self.level, specials, sum, scale * self.plain_scale)
    }
}
