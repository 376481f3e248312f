//! Linear maps of the slots with double hoisting: one decomposition for all baby steps, and no division by the special
//! primes before a giant step has been summed (ePrint 2018/244, 2020/1203 section 4).
//!
//! With offsets k = first + unit (baby_steps g + b) the map is, by Horner's rule in the giant steps g,
//!
//! sum_g rot_(s g)( sum_b rot_(-s g)(d_k) (.) rot_(first + unit b)(x) ),  s = unit baby_steps,
//!
//! so all giant steps need one key. Everything inside runs modulo Q P, prime by prime: for one prime the baby steps of
//! that prime are made, used and forgotten, so they never travel to memory as a whole.

use super::super::ciphertext::{Ciphertext, check_level};
use super::super::encoder::Encoder;
use super::super::evaluator::Evaluator;
use super::columns::{Limb, PAD, Scratch, block_len};
use super::diagonals::Diagonals;
use crate::arith::arena;
use crate::arith::dot::{dot_runs, products, scale_in_place};
use crate::arith::{Modulus, NttTable};
use crate::par;
use crate::ring::{Eval, Poly};
use crate::rlwe::giant_step::{Giant, Wide, giant_step};
use crate::rlwe::key_switch::{Decomposed, decompose};
use crate::rlwe::{EvaluationKeyConfig, Gadget, KeyPurpose, KeySwitchKey, Params};
use crate::{Error, Result};
use num_complex::Complex64;
use std::sync::Arc;

/// Cost of a giant step in baby steps: a decomposition and a division against one inner product.
const GIANT_COST: f64 = 3.2;
/// Runs of fewer words than this are written out in full.
pub(crate) const MIN_RUN: usize = 8;

const OP: &str = "linear transform";

/// What the baby steps rotate.
pub(crate) enum Operand<'a> {
    /// A ciphertext with its second part decomposed.
    Switched(&'a Poly<Eval>, Decomposed<'a>, &'a Poly<Eval>),
    /// A ciphertext raised from the lowest modulus, under the ephemeral secret: the body over Q, the mask over QP.
    Raised(&'a Poly<Eval>, &'a Poly<Eval>),
}

impl Operand<'_> {
    fn body(&self) -> &Poly<Eval> {
        match self {
            Self::Switched(body, ..) | Self::Raised(body, _) => body,
        }
    }

    /// The key of a rotation, if one is needed: an operand under the ephemeral secret is never left alone.
    fn purpose(&self, element: u64) -> Option<KeyPurpose> {
        match self {
            Self::Switched(..) => (element != 1).then_some(KeyPurpose::Galois(element)),
            Self::Raised(..) => Some(KeyPurpose::Raise(element)),
        }
    }

    fn digits(&self, limb: usize) -> Vec<&[u64]> {
        match self {
            Self::Switched(_, decomposed, _) => decomposed.limb(limb),
            Self::Raised(_, mask) => vec![mask.limb(limb)],
        }
    }
}

/// What a baby step and its key cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BabySteps {
    /// Keys are a minor matter.
    Fast,
    /// Keys are of the highest level, many, and the client has to send them.
    FewKeys,
    /// On a raised operand: a third of the digits, in the key and in the product.
    Raised,
}

impl BabySteps {
    /// In inner products with a key of all digits.
    fn cost(self) -> f64 {
        match self {
            Self::Fast => 1.3,
            Self::FewKeys => 1.9,
            Self::Raised => 1.1,
        }
    }
}

/// How the offsets of a map are cut into baby and giant steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    first: i64,
    unit: i64,
    pub baby: usize,
    pub giant: usize,
}

impl Steps {
    /// For diagonals at these offsets, lowest first.
    pub(crate) fn choose(offsets: &[i64], baby_steps: BabySteps) -> Option<Self> {
        let (first, last) = (*offsets.first()?, *offsets.last()?);
        let unit = offsets.iter().fold(0, |unit, k| gcd(unit, k - first)).max(1);
        let count = ((last - first) / unit) as usize + 1;
        let cost =
            |baby: usize| baby as f64 * baby_steps.cost() + (count.div_ceil(baby) - 1) as f64 * GIANT_COST;
        let baby = (0..=count.next_power_of_two().trailing_zeros())
            .map(|b| 1usize << b)
            .min_by(|a, b| cost(*a).total_cmp(&cost(*b)))?;
        Some(Self {
            first,
            unit,
            baby: baby.min(count),
            giant: count.div_ceil(baby),
        })
    }

    fn baby_rotation(&self, b: usize) -> i64 {
        self.first + self.unit * b as i64
    }

    fn giant_rotation(&self) -> i64 {
        self.unit * self.baby as i64
    }

    /// The keys of these steps, at one level.
    pub(crate) fn keys(&self, params: &Params, level: usize, raised: bool) -> EvaluationKeyConfig {
        let mut config = EvaluationKeyConfig::default();
        for b in 0..self.baby {
            let element = params.galois_element(self.baby_rotation(b));
            if raised {
                config.require(KeyPurpose::Raise(element), level);
            } else if element != 1 {
                config.require(KeyPurpose::Galois(element), level);
            }
        }
        if self.giant > 1 {
            let element = params.galois_element(self.giant_rotation());
            config.require(KeyPurpose::Galois(element), level);
        }
        config
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

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
    /// Words on which a weight is constant; 1 for weights written out in full.
    run: usize,
    /// Per prime of QP: Montgomery residues by run, giant step, baby step. For weights in full: by giant step, baby
    /// step, entry.
    weights: Vec<Vec<u64>>,
}

impl LinearTransform {
    /// Encodes a map for ciphertexts of `level`, its entries at scale `plain_scale`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a map of no diagonals or more slots than the ring has; [`Error::Value`] when an entry does
    /// not fit; [`Error::Level`].
    pub fn new(encoder: &Encoder, map: &Diagonals, level: usize, plain_scale: f64) -> Result<Self> {
        Self::prepare(encoder, map, [level, level], plain_scale, BabySteps::Fast)
    }

    /// The same with keys of a level that may be above that of the operand (the second one): several transforms can share them.
    pub(crate) fn with_keys_of(
        encoder: &Encoder,
        map: &Diagonals,
        levels: [usize; 2],
        plain_scale: f64,
        baby_steps: BabySteps,
    ) -> Result<Self> {
        Self::prepare(encoder, map, levels, plain_scale, baby_steps)
    }

    /// The same for operands raised from the lowest modulus.
    pub(crate) fn on_raised(
        encoder: &Encoder,
        map: &Diagonals,
        level: usize,
        plain_scale: f64,
    ) -> Result<Self> {
        Self::prepare(encoder, map, [level, level], plain_scale, BabySteps::Raised)
    }

    fn prepare(
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
        let tables: Vec<&NttTable> = params
            .q_tables(level)?
            .iter()
            .chain(params.p_tables(gadget.specials)?)
            .collect();
        let period = map.period();
        let natural = params.degree() / (2 * period);
        let run = if natural < MIN_RUN { 1 } else { natural };
        let columns = steps.baby * steps.giant;
        let words = params.degree() / run;
        let mut weights: Vec<Vec<u64>> = tables.iter().map(|_| vec![0; columns * words]).collect();
        let failure = std::sync::Mutex::new(None);
        // A few diagonals at a time, each over all primes.
        let jobs: Vec<(usize, Vec<Complex64>)> = map
            .iter()
            .map(|(k, d)| {
                let column = ((k - steps.first) / steps.unit) as usize;
                let shift = steps.giant_rotation() * (column / steps.baby) as i64;
                let turned = (0..period)
                    .map(|j| {
                        d.get((j as i64 - shift).rem_euclid(map.dim() as i64) as usize)
                            .copied()
                    })
                    .map(Option::unwrap_or_default)
                    .collect();
                (column, turned)
            })
            .collect();
        for batch in jobs.chunks(8) {
            let mut encoded: Vec<_> = batch
                .iter()
                .map(|(column, z)| (*column, z.clone(), None))
                .collect();
            par::for_each(encoded.iter_mut().collect(), |_, (_, z, out)| {
                match encoder.encode_subring(z, plain_scale, &tables) {
                    Ok(plain) => *out = Some(plain),
                    Err(error) => {
                        if let Ok(mut slot) = failure.lock() {
                            *slot = Some(error);
                        }
                    }
                }
            });
            par::for_each(
                weights.iter_mut().zip(&tables).collect(),
                |i, (weights, table)| {
                    for (column, _, plain) in &encoded {
                        let Some(plain) = plain else { continue };
                        place(
                            weights,
                            plain.limb(i),
                            *column,
                            columns,
                            run,
                            natural,
                            table.modulus(),
                        );
                    }
                },
            );
        }
        if let Ok(Some(error)) = failure.into_inner() {
            return Err(error);
        }
        Ok(Self {
            params: params.clone(),
            level,
            key_level,
            gadget: gadget.clone(),
            raised: baby_steps == BabySteps::Raised,
            plain_scale,
            steps,
            run,
            weights,
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
        self.weights.iter().map(|w| 8 * w.len()).sum()
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
        self.finish(self.undivided(evaluator, a)?, a.scale)
    }

    /// The map on a ciphertext modulo QP and times P, before [`Self::finish`].
    pub(in crate::ckks) fn undivided(&self, evaluator: &Evaluator, a: &Ciphertext) -> Result<Wide> {
        check_level(OP, self.level, a.level)?;
        let [body, mask] = &a.parts[..] else {
            return Err(Error::Parts {
                op: OP,
                needed: 2,
                found: a.parts.len(),
            });
        };
        let decomposed = decompose(&self.params, mask, self.level, &self.gadget)?;
        self.apply_wide(evaluator, &Operand::Switched(body, decomposed, mask))
    }

    /// The same on an operand whose decomposition is there already.
    pub(in crate::ckks) fn apply_wide(&self, evaluator: &Evaluator, operand: &Operand<'_>) -> Result<Wide> {
        let mut inner = self.inner_sums(evaluator, operand)?;
        let mut acc = inner.pop().ok_or(Error::Shape {
            what: "diagonals of a linear transform",
            needed: 1,
            found: 0,
        })?;
        let element = self.params.galois_element(self.steps.giant_rotation());
        while let Some(next) = inner.pop() {
            acc = self.rotate_and_add(evaluator, &acc, next, element)?;
        }
        Ok(acc)
    }

    /// The automorphism of `element` on a sum modulo QP, plus another one.
    pub(in crate::ckks) fn rotate_and_add(
        &self,
        evaluator: &Evaluator,
        acc: &Wide,
        next: Wide,
        element: u64,
    ) -> Result<Wide> {
        let key = evaluator
            .keys()
            .get(OP, KeyPurpose::Galois(element), self.key_level)?;
        let giant = Giant {
            key,
            permutation: self.params.permutation(element)?,
        };
        giant_step(
            &self.params,
            self.level,
            self.gadget.specials,
            &giant,
            acc,
            Some(next),
        )
    }

    /// For every giant step the sum over the baby steps, modulo QP and times P: (body, mask).
    fn inner_sums(&self, evaluator: &Evaluator, operand: &Operand<'_>) -> Result<Vec<Wide>> {
        let params = &self.params;
        let n = params.degree();
        let q = params.q_tables(self.level)?;
        let p = params.p_tables(self.gadget.specials)?;
        let tables: Vec<&NttTable> = q.iter().chain(p).collect();
        let babies = (0..self.steps.baby)
            .map(|b| self.baby(evaluator, operand, self.steps.baby_rotation(b)))
            .collect::<Result<Vec<_>>>()?;
        let mut sums: Vec<Wide> = (0..self.steps.giant)
            .map(|_| [(); 2].map(|()| Poly::scratch(tables.len(), n)))
            .collect();
        let mut tasks: Vec<[Vec<&mut [u64]>; 2]> =
            tables.iter().map(|_| [(); 2].map(|()| Vec::new())).collect();
        for sum in &mut sums {
            for (part, poly) in sum.iter_mut().enumerate() {
                for (task, limb) in tasks.iter_mut().zip(poly.words_mut().chunks_mut(n)) {
                    if let Some(list) = task.get_mut(part) {
                        list.push(limb);
                    }
                }
            }
        }
        par::for_each(tasks, |i, parts| {
            if let (Some(table), Some(weights)) = (tables.get(i), self.weights.get(i)) {
                let limbs: Vec<Limb<'_>> = babies
                    .iter()
                    .map(|baby| baby.limb(operand, i, self.level))
                    .collect();
                let modulus = table.modulus();
                self.weigh(&limbs, weights, parts, modulus);
            }
        });
        Ok(sums)
    }

    fn baby<'k>(&self, evaluator: &'k Evaluator, operand: &Operand<'_>, rotation: i64) -> Result<Baby<'k>> {
        let element = self.params.galois_element(rotation);
        let key = match operand.purpose(element) {
            None => None,
            Some(purpose) => {
                let key = evaluator.keys().get(OP, purpose, self.key_level)?;
                if matches!(operand, Operand::Switched(..)) {
                    check_gadget(key, &self.gadget)?;
                }
                Some(key)
            }
        };
        let turned = (element != 1).then(|| self.params.permutation(element));
        Ok(Baby {
            key,
            permutation: turned.transpose()?,
        })
    }

    /// Multiplies the baby steps of one prime by the weights and sums them for every giant step, block by block: they
    /// never travel to memory.
    fn weigh(
        &self,
        babies: &[Limb<'_>],
        weights: &[u64],
        mut parts: [Vec<&mut [u64]>; 2],
        modulus: &Modulus,
    ) {
        let n = self.params.degree();
        let (baby, giant) = (self.steps.baby, self.steps.giant);
        let block = block_len(baby, n);
        let stride = block + PAD;
        let mut turned = arena::take(2 * baby * stride);
        let mut scratch = Scratch::new();
        for at in (0..n).step_by(block) {
            for (limb, pair) in babies.iter().zip(turned.chunks_mut(2 * stride)) {
                let (body, mask) = pair.split_at_mut(stride);
                if let (Some(body), Some(mask)) = (body.get_mut(..block), mask.get_mut(..block)) {
                    limb.block(at, [body, mask], modulus, &mut scratch);
                }
            }
            let columns = |part: usize| -> Vec<&[u64]> {
                let columns = turned.chunks(stride).skip(part).step_by(2);
                columns.map(|c| c.get(..block).unwrap_or_default()).collect()
            };
            let columns = [columns(0), columns(1)];
            let [bodies, masks] = &mut parts;
            if self.run == 1 {
                for (g, (body, mask)) in bodies.iter_mut().zip(masks).enumerate() {
                    let weights = weights.chunks(n).skip(g * baby).take(baby);
                    let xs: Vec<&[u64]> = weights
                        .map(|w| w.get(at..at + block).unwrap_or_default())
                        .collect();
                    let outs = [body, mask].map(|out| out.get_mut(at..at + block).unwrap_or_default());
                    products(outs, &xs, [&columns[0], &columns[1]], modulus);
                }
                continue;
            }
            let run = self.run.min(block);
            let from = at / self.run * baby * giant;
            let weights = weights.get(from..from + block / run * baby * giant);
            for (outs, xs) in [bodies, masks].into_iter().zip(&columns) {
                let mut outs: Vec<&mut [u64]> = outs
                    .iter_mut()
                    .map(|out| out.get_mut(at..at + block).unwrap_or_default())
                    .collect();
                dot_runs(&mut outs, xs, weights.unwrap_or_default(), run, modulus);
            }
        }
    }

    /// Division by P and the last prime.
    pub(in crate::ckks) fn finish(&self, [body, mask]: Wide, scale: f64) -> Result<Ciphertext> {
        let q: Vec<&NttTable> = self.params.q_tables(self.level)?.iter().collect();
        let p = self.params.p_tables(self.gadget.specials)?;
        let (keep, last) = q.split_at(self.level);
        let drop: Vec<&NttTable> = last.iter().copied().chain(p).collect();
        let division = self.params.mod_down_rescale(self.level, self.gadget.specials)?;
        let parts = division.divide(&[&body, &mask], keep, &drop);
        let prime = last.first().map_or(1.0, |t| t.modulus().value() as f64);
        Ok(Ciphertext {
            parts,
            level: self.level.saturating_sub(1),
            scale: scale * self.plain_scale / prime,
        })
    }
}

/// One rotation of an operand.
struct Baby<'k> {
    key: Option<&'k KeySwitchKey>,
    permutation: Option<Arc<Vec<u32>>>,
}

impl Baby<'_> {
    /// What is needed of it modulo prime i.
    fn limb<'a>(&'a self, operand: &'a Operand<'_>, i: usize, level: usize) -> Limb<'a> {
        match (self.key, operand) {
            (Some(key), _) => Limb::Switched {
                body: operand.body().limb(i),
                digits: operand.digits(i),
                key: key.limb(level, i),
                permutation: self.permutation.as_ref().map(|table| &table[..]),
            },
            (None, Operand::Switched(body, _, mask)) => Limb::Plain([body.limb(i), mask.limb(i)]),
            (None, Operand::Raised(..)) => Limb::Plain([&[]; 2]),
        }
    }
}

fn check_gadget(key: &KeySwitchKey, gadget: &Gadget) -> Result<()> {
    if key.gadget == *gadget {
        return Ok(());
    }
    Err(Error::Shape {
        what: "digits of a key (one made for the level of the transform)",
        needed: gadget.digits(),
        found: key.gadget.digits(),
    })
}

/// Puts one encoded diagonal into the table of one prime.
fn place(
    weights: &mut [u64],
    values: &[u64],
    column: usize,
    columns: usize,
    run: usize,
    natural: usize,
    modulus: &Modulus,
) {
    if run > 1 {
        for (row, &value) in weights.chunks_mut(columns).zip(values) {
            if let Some(slot) = row.get_mut(column) {
                *slot = modulus.to_mont52(value);
            }
        }
        return;
    }
    let n = values.len() * natural;
    let Some(limb) = weights.get_mut(column * n..(column + 1) * n) else {
        return;
    };
    for (words, &value) in limb.chunks_mut(natural).zip(values) {
        words.fill(value);
    }
    scale_in_place(limb, modulus.to_mont52(modulus.to_mont52(1)), 0, modulus);
}
