//! What the operations of the engine do, counted: the one place that knows.
//!
//! Counts are of what the code executes, in units whose time a machine file knows: butterflies of transforms, products
//! of words, bytes that are too many for a cache, scalar steps of encoding. A limb is N words; l + 1 limbs at level l,
//! k special primes, w = l + 1 + k, d digits.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::ckks::BootstrapLiteral;
use crate::ckks::bootstrap::eval_mod::{Arithmetic, EvalMod, Weight};
use crate::ckks::bootstrap::structure::{Map, trace};
use crate::ckks::linear::Layout;
use crate::rlwe::{Gadget, KeyPurpose, Params};

/// Scalar steps of an encoded word besides its butterflies: its reduction, its Montgomery form, its way to its place.
const STEPS_PER_WORD: u64 = 4;

/// Work of an operation or of many, from the formulas of the operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Number-theoretic transforms of one limb, either direction.
    pub transforms: u64,
    /// Their butterflies: N/2 log2 N each.
    pub butterflies: u64,
    /// Multiply-adds of one word.
    pub products: u64,
    /// Bytes of ciphertexts and keys read and written by the inner loops.
    pub bytes: u64,
    /// Steps of encoding weights, one word at a time.
    pub scalars: u64,
}

impl Add for Work {
    type Output = Work;

    fn add(mut self, other: Work) -> Work {
        self += other;
        self
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        self.transforms += other.transforms;
        self.butterflies += other.butterflies;
        self.products += other.products;
        self.bytes += other.bytes;
        self.scalars += other.scalars;
    }
}

impl Mul<usize> for Work {
    type Output = Work;

    fn mul(self, times: usize) -> Work {
        let times = times as u64;
        Work {
            transforms: self.transforms * times,
            butterflies: self.butterflies * times,
            products: self.products * times,
            bytes: self.bytes * times,
            scalars: self.scalars * times,
        }
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Work>>(iter: I) -> Work {
        iter.fold(Work::default(), Add::add)
    }
}

/// Counts the work of operations on ciphertexts of one parameter set. Levels are those of the operands.
#[derive(Debug, Clone, Copy)]
pub struct Counter<'a> {
    pub(super) params: &'a Params,
}

/// Shape of the weighted sums of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SumShape {
    /// Distinct inputs.
    pub inputs: usize,
    /// Sums.
    pub rows: usize,
    /// Weights that are there.
    pub weights: usize,
    /// Largest period of a weight.
    pub period: usize,
}

impl<'a> Counter<'a> {
    /// For these parameters.
    #[must_use]
    pub fn new(params: &'a Params) -> Self {
        Counter { params }
    }

    pub(super) fn degree(&self) -> usize {
        self.params.degree()
    }

    /// Whole limbs: transforms, products of words, reads and writes.
    pub(super) fn limbs(&self, transforms: usize, products: usize, moved: usize) -> Work {
        let n = self.params.degree() as u64;
        Work {
            transforms: transforms as u64,
            butterflies: transforms as u64 * n / 2 * u64::from(self.params.log_n()),
            products: products as u64 * n,
            bytes: 8 * moved as u64 * n,
            scalars: 0,
        }
    }

    /// What is the same for all primes of the encoding of `count` weights: a complex transform of the period.
    pub(super) fn coefficients(&self, count: usize, period: usize) -> Work {
        Work {
            scalars: (count * period * (period.max(2).ilog2() as usize) * 4) as u64,
            ..Work::default()
        }
    }

    /// Weights modulo `primes` primes, in the subring of their period: a transform of twice the period for each.
    pub(super) fn values(&self, count: usize, period: usize, primes: usize) -> Work {
        let words = (count * primes * 2 * period) as u64;
        Work {
            butterflies: words / 2 * u64::from((2 * period).ilog2()),
            scalars: words * STEPS_PER_WORD,
            ..Work::default()
        }
    }

    fn encode(&self, count: usize, period: usize, primes: usize) -> Work {
        self.coefficients(count, period) + self.values(count, period, primes)
    }

    /// One part into digits over QP: l + 1 inverse transforms, d w - (l + 1) transforms.
    #[must_use]
    pub fn decompose(&self, gadget: &Gadget, level: usize) -> Work {
        let (limbs, wide) = (level + 1, level + 1 + gadget.specials);
        let sizes = || (0..gadget.digits_at(level)).map(|digit| gadget.digit_range(digit, level).len());
        let extended: usize = sizes().map(|size| wide - size).sum();
        let converted: usize = sizes().map(|size| size * (wide - size)).sum();
        self.limbs(limbs + extended, limbs + converted, limbs)
    }

    /// Digits times both halves of a key of `digits` digits: 2 d w products; the key is packed to the bits of its primes.
    pub(super) fn inner_product(&self, digits: usize, wide: usize) -> Work {
        let moduli = || self.params.moduli().chain(self.params.special_moduli());
        let bits: usize = moduli().map(|m| m.bits() as usize).sum();
        let words = 2 * digits * wide * bits / (64 * moduli().count().max(1));
        self.limbs(0, 2 * digits * wide, words)
    }

    /// Division of `parts` parts by `drop` primes, `keep` are left: a transform for each of them.
    pub(super) fn divide(&self, drop: usize, keep: usize, parts: usize) -> Work {
        let products = drop * keep + drop + keep;
        self.limbs(drop + keep, products, drop + 2 * keep) * parts
    }

    /// What a key switch does after the decomposition: what each of several hoisted rotations costs.
    #[must_use]
    pub fn switch(&self, gadget: &Gadget, level: usize) -> Work {
        let (limbs, wide) = (level + 1, level + 1 + gadget.specials);
        self.inner_product(gadget.digits_at(level), wide) + self.divide(gadget.specials, limbs, 2)
    }

    /// Rotation, conjugation or relinearisation on its own.
    #[must_use]
    pub fn key_switch(&self, gadget: &Gadget, level: usize) -> Work {
        self.decompose(gadget, level) + self.switch(gadget, level)
    }

    /// Relinearisation and rescale in one division.
    #[must_use]
    pub fn relinearize_rescale(&self, gadget: &Gadget, level: usize) -> Work {
        self.decompose(gadget, level)
            + self.inner_product(gadget.digits_at(level), level + 1 + gadget.specials)
            + self.divide(gadget.specials + 1, level, 2)
    }

    /// Division by the last prime.
    #[must_use]
    pub fn rescale(&self, level: usize, parts: usize) -> Work {
        self.divide(1, level, parts)
    }

    /// Product of two ciphertexts, in three parts.
    #[must_use]
    pub fn multiply(&self, level: usize) -> Work {
        self.limbs(0, 4 * (level + 1), 7 * (level + 1))
    }

    /// Square of a ciphertext, in three parts.
    #[must_use]
    pub fn square(&self, level: usize) -> Work {
        self.limbs(0, 4 * (level + 1), 5 * (level + 1))
    }

    /// Sum or difference.
    #[must_use]
    pub fn add(&self, level: usize, parts: usize) -> Work {
        self.limbs(0, 0, 3 * parts * (level + 1))
    }

    /// Product with a scalar or a power of i.
    #[must_use]
    pub fn scale(&self, level: usize, parts: usize) -> Work {
        let limbs = parts * (level + 1);
        self.limbs(0, limbs, 2 * limbs)
    }

    /// A copy on fewer primes.
    #[must_use]
    pub fn drop_level(&self) -> Work {
        Work::default()
    }

    /// A constant of this period added to one part; the other parts are shared.
    #[must_use]
    pub fn add_pattern(&self, level: usize, period: usize) -> Work {
        self.limbs(0, 0, 3 * (level + 1)) + self.encode(1, period, level + 1)
    }

    /// To the level and scale of another value, `level` above the result's: a product with a scalar and a rescale.
    #[must_use]
    pub fn align(&self, level: usize, parts: usize) -> Work {
        self.scale(level, parts) + self.rescale(level, parts)
    }

    /// Weighted sums over common inputs: every row takes all inputs, weights that are not there as zeros.
    #[must_use]
    pub fn weighted_sums(&self, level: usize, shape: SumShape) -> Work {
        let limbs = level + 1;
        let SumShape { inputs, rows, .. } = shape;
        let mut work = self.limbs(
            0,
            2 * limbs * inputs * rows,
            2 * limbs * (inputs * rows.div_ceil(4) + rows),
        );
        work += self.encode(shape.weights, shape.period, limbs);
        // Run by run, each with its lists of inputs and of outputs.
        work.scalars += (2 * limbs * 2 * shape.period * (inputs + 2 * rows)) as u64;
        work
    }

    /// A map of a bootstrap, its weights prepared.
    fn prepared_map(&self, map: &Map) -> Result<Work> {
        let gadget = self.params.gadget(map.key_level)?;
        let level = map.level;
        let (limbs, specials) = (level + 1, gadget.specials);
        let (wide, digits) = (limbs + specials, gadget.digits_at(level));
        let (baby, giant) = (map.steps.baby, map.steps.giant);
        let digits = if map.raised { 1 } else { digits };
        let baby_step = self.inner_product(digits, wide) + self.limbs(0, 2 * limbs + 2 * wide, 2 * wide);
        let layout = Layout::of_period(map.period, self.params.degree());
        let columns = baby * giant * wide;
        let weights = self.limbs(
            0,
            2 * columns,
            2 * giant * wide + if layout == Layout::Words { columns } else { 0 },
        );
        let start = if map.raised {
            Work::default()
        } else {
            self.decompose(gadget, level)
        };
        Ok(start
            + baby_step * baby
            + weights
            + self.giant_step(gadget, level) * (giant - 1)
            + self.divide(specials + 1, level, 2))
    }

    /// Bytes of the weights of a map of a bootstrap.
    fn prepared_bytes(&self, map: &Map) -> Result<u64> {
        let wide = map.level + 1 + self.params.gadget(map.key_level)?.specials;
        let n = self.params.degree();
        let words = Layout::of_period(map.period, n).words(n);
        Ok(8 * (wide * map.steps.baby * map.steps.giant * words) as u64)
    }

    /// Bytes of the prepared matrices of a bootstrap.
    ///
    /// # Errors
    /// [`Error::Level`](crate::Error::Level) when it does not fit the parameters.
    pub fn bootstrap_bytes(&self, literal: &BootstrapLiteral) -> Result<u64> {
        literal
            .maps(self.params)?
            .iter()
            .map(|map| self.prepared_bytes(map))
            .sum()
    }

    /// A bootstrap, phase by phase: its maps, the raise, the trace of a sparse one, the conjugation, EvalMod of one
    /// ciphertext or of two. `gadget` tells which one the key of a purpose has at a level.
    ///
    /// # Errors
    /// [`Error::Level`](crate::Error::Level) when it does not fit the parameters; whatever `gadget` refuses.
    pub fn bootstrap(
        &self,
        literal: &BootstrapLiteral,
        gadget: &dyn Fn(KeyPurpose, usize) -> Result<Gadget>,
    ) -> Result<Work> {
        let params = self.params;
        let mut work = Work::default();
        for map in literal.maps(params)? {
            work += self.prepared_map(&map)?;
        }
        let top = params.max_level();
        let specials = params.gadget(top)?.specials;
        let wide = top + 1 + specials;
        // To the ephemeral secret at level 0, then both parts in all primes.
        work += self.limbs(2 * wide, 2 * wide, 2 * wide);
        let slots = 1usize << literal.log_slots;
        let full = slots == params.slots();
        if !full {
            for k in trace(params, slots) {
                let key = gadget(KeyPurpose::Galois(params.galois_element(k)), top)?;
                work += self.giant_step(&key, top);
            }
        }
        let level = top.saturating_sub(literal.coeffs_to_slots.len());
        let conjugate = KeyPurpose::Galois(params.galois_element_conjugate());
        work += if full {
            self.key_switch(&gadget(conjugate, level)?, level) + self.add(level, 2)
        } else {
            self.giant_step(&gadget(conjugate, level + 1)?, level + 1)
        };
        let mut sine = EvalModWork {
            counter: self,
            gadget,
            work: Work::default(),
        };
        // Scales do not change the work.
        EvalMod::new(literal).apply(&mut sine, &(level, 1.0), 1.0)?;
        let sine = sine.work;
        let output = level.saturating_sub(literal.eval_mod_depth());
        if full {
            work += self.add(level, 2) + self.scale(level, 2) + sine * 2;
            work += self.scale(output, 2) + self.add(output, 2);
        } else {
            let key = gadget(KeyPurpose::Galois(params.galois_element(slots as i64)), output)?;
            work += sine + self.key_switch(&key, output) + self.add(output, 2);
        }
        Ok(work)
    }
}

/// The work of EvalMod; values are levels and scales.
struct EvalModWork<'a> {
    counter: &'a Counter<'a>,
    gadget: &'a dyn Fn(KeyPurpose, usize) -> Result<Gadget>,
    work: Work,
}

impl Arithmetic for EvalModWork<'_> {
    type Value = (usize, f64);

    fn level(&self, a: &(usize, f64)) -> usize {
        a.0
    }

    fn scale(&self, a: &(usize, f64)) -> f64 {
        a.1
    }

    fn prime(&self, level: usize) -> Result<f64> {
        self.counter.params.prime(level)
    }

    fn reinterpret(&mut self, a: (usize, f64), scale: f64) -> (usize, f64) {
        (a.0, scale)
    }

    /// With the sum that a product goes into.
    fn multiply(&mut self, a: &(usize, f64), b: &(usize, f64)) -> Result<(usize, f64)> {
        let level = a.0.min(b.0);
        self.work += self.counter.multiply(level) + self.counter.add(level, 3);
        Ok((level, a.1 * b.1))
    }

    fn add(&mut self, a: &(usize, f64), _: &(usize, f64)) -> Result<(usize, f64)> {
        Ok(*a)
    }

    fn add_constant(&mut self, a: (usize, f64), _: Weight) -> Result<(usize, f64)> {
        Ok(a)
    }

    fn weighted_sum(
        &mut self,
        terms: &[(&(usize, f64), Weight)],
        _: Option<Weight>,
        level: usize,
        scale: f64,
    ) -> Result<(usize, f64)> {
        self.work += self.counter.scale(level, 2) * terms.len();
        Ok((level, scale))
    }

    fn relinearize(&mut self, a: &(usize, f64)) -> Result<(usize, f64)> {
        let gadget = (self.gadget)(KeyPurpose::Relin, a.0)?;
        self.work += self.counter.key_switch(&gadget, a.0);
        Ok(*a)
    }

    fn rescale(&mut self, a: &(usize, f64)) -> Result<(usize, f64)> {
        self.work += self.counter.rescale(a.0, 2);
        Ok((a.0 - 1, a.1 / self.prime(a.0)?))
    }

    fn relinearize_rescale(&mut self, a: &(usize, f64)) -> Result<(usize, f64)> {
        let gadget = (self.gadget)(KeyPurpose::Relin, a.0)?;
        self.work += self.counter.relinearize_rescale(&gadget, a.0);
        Ok((a.0 - 1, a.1 / self.prime(a.0)?))
    }
}
