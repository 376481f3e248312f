//! The dry run: levels, scales, expected noise and work of every step, without a ciphertext.
//!
//! Noise is a variance per slot, E|error|^2, in the units of the message, under the usual heuristics: coefficients of
//! errors are independent, so a polynomial error of variance s^2 per coefficient is one of N s^2 / scale^2 per slot
//! (the canonical embedding has |ζ| = 1 at every root). With secret s uniform ternary, E|s_i|^2 = 2/3:
//!
//! | step | variance added, per coefficient unless said otherwise |
//! |---|---|
//! | fresh, secret key | 3.2^2 + 1/12 (encoding) |
//! | division by k primes (rescale: 1; end of a key switch: the specials) | k/12 (1 + 2N/3): both parts are rounded |
//! | key switch, from the key's noise | Σ_digits N (limbs D^2 / 12) 3.2^2 / P^2, D the digit, P the specials in use |
//! | a + pattern of period D | 2D of N coefficients are rounded: D/6 in all, so D/6 / scale^2 per slot |
//! | Σ w_i a_i | per slot: Σ mean\|w_i\|^2 var(a_i) + D/6 / plain_scale^2 Σ mean\|a_i\|^2 |
//! | a b | per slot: mean\|a\|^2 var(b) + mean\|b\|^2 var(a) + var(a) var(b); a^2: 4 mean\|a\|^2 var(a) |
//! | bootstrap | those of its parts, and the cubic term of the sine for a message uniform in a square |
//! | a constant of an alignment | per slot: mean\|a\|^2 / (12 plain_scale^2) |
//!
//! Magnitudes mean|a|^2 come from a plain run. Reference: ePrint 2020/1118, sections 3 and 5.

use super::{Backend, SumRow};
use crate::ckks::Pattern;
use crate::ckks::bootstrap::{noise, structure::Map};
use crate::graph::{Op, Plan, PlannedBootstrap, Step};
use crate::rlwe::key_switch_key::serving_gadget;
use crate::rlwe::params::ERROR_STD_DEV;
use crate::rlwe::{EvaluationKeyConfig, KeyPurpose, KeyUses, Params};
use crate::{Error, Result};

/// What is known of a ciphertext without having it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimValue {
    /// Level.
    pub level: usize,
    /// Scale.
    pub scale: f64,
    /// Ciphertext parts.
    pub parts: usize,
    /// Expected |error|^2 of a slot.
    pub variance: f64,
    /// Mean |slot|^2.
    pub power: f64,
}

impl SimValue {
    /// Bits to which every slot is expected to be right: -log2 of the largest of `slots` errors.
    pub fn precision_bits(&self, slots: usize) -> f64 {
        // |error|^2 is exponentially distributed; the largest of n is near ln n times the mean.
        -0.5 * (self.variance * (slots.max(2) as f64).ln()).log2()
    }
}

/// Work of a run, from the formulas of the operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Number-theoretic transforms of one limb, either direction.
    pub transforms: u64,
    /// Multiply-adds of one word.
    pub products: u64,
    /// Bytes of ciphertexts and keys read and written by the inner loops.
    pub bytes: u64,
}

impl Cost {
    /// Microseconds, from those of one transform and of 2^20 products or bytes, whichever takes longer.
    pub fn predict_us(&self, transform_us: f64, mega_products_us: f64, megabyte_us: f64) -> f64 {
        let mega = f64::from(1 << 20);
        let products = self.products as f64 / mega * mega_products_us;
        self.transforms as f64 * transform_us + products.max(self.bytes as f64 / mega * megabyte_us)
    }
}

/// Runs a plan on [`SimValue`]s.
#[derive(Debug, Clone)]
pub struct Sim {
    params: Params,
    magnitudes: Vec<f64>,
    keys: EvaluationKeyConfig,
    uses: KeyUses,
    bootstrap: Option<PlannedBootstrap>,
    done: usize,
    cost: Cost,
}

impl Sim {
    /// For a plan, with the root mean square of every step as [`Plain::magnitudes`](super::Plain::magnitudes) has it
    /// after a run on typical inputs; steps without one count as 1.
    pub fn new(plan: &Plan, magnitudes: &[f64]) -> Self {
        Sim {
            params: plan.params.clone(),
            magnitudes: magnitudes.to_vec(),
            keys: plan.keys(),
            uses: plan.key_uses(),
            bootstrap: plan.bootstrap.clone(),
            done: 0,
            cost: Cost::default(),
        }
    }

    /// A fresh encryption under the secret key, for the given input step.
    pub fn fresh(&self, step: &Step) -> SimValue {
        let variance = self.per_slot(ERROR_STD_DEV * ERROR_STD_DEV + 1.0 / 12.0, step.scale);
        SimValue {
            level: step.level,
            scale: step.scale,
            parts: 2,
            variance,
            power: 1.0,
        }
    }

    /// Work of the steps run so far.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    fn degree(&self) -> f64 {
        self.params.degree() as f64
    }

    /// Variance per slot of an error with this variance per coefficient.
    fn per_slot(&self, per_coefficient: f64, scale: f64) -> f64 {
        self.degree() * per_coefficient / (scale * scale)
    }

    /// Variance per coefficient of a division by `primes` primes of two parts, or of three before a relinearisation.
    fn division(&self, primes: usize, parts: usize) -> f64 {
        let secret = 2.0 / 3.0 * self.degree();
        // E|s^2|^2 per coefficient is N (2/3)^2, so the third part counts N^2 (2/3)^2.
        let third = if parts > 2 { secret * secret } else { 0.0 };
        primes as f64 / 12.0 * (1.0 + secret + third)
    }

    /// Holds the level and the scale against the plan and fills in the magnitude.
    fn keep(&mut self, value: SimValue, step: &Step) -> Result<SimValue> {
        let power = self.magnitudes.get(self.done).map_or(1.0, |rms| rms * rms);
        self.done += 1;
        if value.level != step.level {
            return Err(Error::Level {
                op: step.op.name(),
                needed: step.level,
                found: value.level,
            });
        }
        if (value.scale / step.scale - 1.0).abs() < 1e-9 {
            return Ok(SimValue { power, ..value });
        }
        Err(Error::Scale {
            op: step.op.name(),
            needed: step.scale,
            found: value.scale,
        })
    }

    fn same(op: &'static str, a: &SimValue, b: &SimValue) -> Result<()> {
        if a.level != b.level {
            return Err(Error::Level {
                op,
                needed: a.level,
                found: b.level,
            });
        }
        if (a.scale / b.scale - 1.0).abs() < 1e-9 {
            return Ok(());
        }
        Err(Error::Scale {
            op,
            needed: a.scale,
            found: b.scale,
        })
    }

    /// Reads and writes of whole limbs, and products on them.
    fn count(&mut self, transforms: usize, limb_products: usize, limbs_moved: usize) {
        let n = self.params.degree() as u64;
        self.cost.transforms += transforms as u64;
        self.cost.products += limb_products as u64 * n;
        self.cost.bytes += 8 * limbs_moved as u64 * n;
    }

    /// Noise of one key switch; counts the work, without the decomposition if it is shared.
    fn key_switch(&mut self, a: &SimValue, purpose: KeyPurpose, shared: bool) -> Result<SimValue> {
        let key_level = match purpose {
            KeyPurpose::Relin => self.keys.relin,
            KeyPurpose::Galois(element) => self.keys.galois.get(&element).copied(),
            KeyPurpose::Encapsulate | KeyPurpose::Raise(_) => None,
        };
        let Some(key_level) = key_level.filter(|level| *level >= a.level) else {
            return Err(Error::MissingKey {
                op: "key switch",
                key: purpose.describe(&self.params),
                level: a.level,
                found: "the plan has none".to_owned(),
            });
        };
        let gadget = match self.uses.get(&purpose) {
            Some(uses) => serving_gadget(&self.params, key_level, uses, a.level)?,
            None => self.params.gadget(key_level)?.clone(),
        };
        let (limbs, specials) = (a.level + 1, gadget.specials);
        let digits = gadget.digits_at(a.level);
        if !shared {
            let extended: usize = (0..digits)
                .map(|digit| limbs + specials - gadget.digit_range(digit, a.level).len())
                .sum();
            self.count(limbs + extended, limbs * extended, limbs + extended);
        }
        // Inner product with the key, then both parts from QP back to Q.
        let wide = limbs + specials;
        self.count(
            2 * wide,
            2 * digits * wide + 2 * specials * limbs,
            3 * digits * wide + 2 * wide + 2 * limbs,
        );
        let sigma = ERROR_STD_DEV * ERROR_STD_DEV;
        let mut noise = self.division(specials, 2);
        for digit in 0..digits {
            let range = gadget.digit_range(digit, a.level);
            let size = range.len();
            let log_digit: f64 = self
                .params
                .moduli()
                .skip(range.start)
                .take(size)
                .map(crate::arith::Modulus::log2)
                .sum();
            let log_p: f64 = self
                .params
                .special_moduli()
                .take(specials)
                .map(crate::arith::Modulus::log2)
                .sum();
            noise += self.degree() * size as f64 / 12.0 * sigma * (2.0 * (log_digit - log_p)).exp2();
        }
        Ok(SimValue {
            parts: 2,
            variance: a.variance + self.per_slot(noise, a.scale),
            ..*a
        })
    }

    /// The work of one linear map: a decomposition, baby steps, weights, giant steps, one division.
    fn count_map(&mut self, map: &Map) -> Result<()> {
        let gadget = self.params.gadget(map.key_level)?.clone();
        let (limbs, specials) = (map.level + 1, gadget.specials);
        let wide = limbs + specials;
        let (baby, giant) = (map.steps.baby, map.steps.giant);
        let digits = gadget.digits_at(map.level);
        let extended = digits * wide - limbs;
        let mut decompositions = giant - 1;
        let mut inner = digits * (giant - 1);
        if map.raised {
            inner += baby;
        } else {
            decompositions += 1;
            inner += digits * baby;
        }
        self.count(
            decompositions * (limbs + extended),
            decompositions * limbs * extended,
            decompositions * (limbs + extended),
        );
        // A digit and both halves of the key.
        self.count(0, 2 * inner * wide, 3 * inner * wide);
        // Weights that are constant on runs are few.
        let full = usize::from(self.params.degree() < 16 * map.period);
        self.count(
            0,
            2 * baby * giant * wide,
            (full * baby * giant + 2 * giant) * wide,
        );
        // Giant steps divide one part by the special primes, the end both by the last prime as well.
        self.count(
            (giant - 1) * wide + 2 * wide,
            (giant - 1) * specials * limbs + 2 * (specials + 1) * (limbs - 1),
            (giant - 1) * (wide + limbs) + 2 * (wide + limbs),
        );
        Ok(())
    }

    /// The work of one bootstrap of all slots.
    fn count_bootstrap(&mut self, planned: &PlannedBootstrap) -> Result<()> {
        let literal = &planned.literal;
        for map in literal.maps(&self.params) {
            self.count_map(&map)?;
        }
        // Both parts of the raised ciphertext in all primes.
        let (top, specials) = (
            self.params.max_level(),
            self.params.gadget(self.params.max_level())?.specials,
        );
        let raised = 2 * (top + 1) + specials;
        self.count(raised, raised, raised);
        let mut level = top - literal.coeffs_to_slots.len();
        let value = |level: usize, parts: usize| SimValue {
            level,
            scale: 1.0,
            parts,
            variance: 0.0,
            power: 1.0,
        };
        let conjugate = KeyPurpose::Galois(self.params.galois_element_conjugate());
        self.key_switch(&value(level, 2), conjugate, false)?;
        // EvalMod twice: products with relinearisation and rescale at each level, then rescales alone. The cosine has
        // t^2; T_2; T_3, T_4 and one inner product; T_8 and the next; the last two share what follows them.
        let cosine = [(1, 0), (1, 1), (3, 0), (2, 1), (1, 0)];
        let doublings = vec![(1, 0); literal.eval_mod_depth().saturating_sub(cosine.len())];
        for (products, rescales) in cosine.into_iter().chain(doublings) {
            for _ in 0..2 * products {
                self.count(0, 4 * (level + 1), 5 * (level + 1));
                self.key_switch(&value(level, 3), KeyPurpose::Relin, false)?;
            }
            for _ in 0..2 * (products + rescales) {
                self.divide(&value(level, 2), 1.0);
                // The constants and weights that follow.
                self.count(0, 2 * level, 4 * level);
            }
            level = level.saturating_sub(1);
        }
        Ok(())
    }

    fn divide(&mut self, a: &SimValue, scale: f64) -> SimValue {
        self.count(
            a.parts * (a.level + 1),
            a.parts * 2 * a.level,
            a.parts * (2 * a.level + 1),
        );
        let added = self.per_slot(self.division(1, a.parts), scale);
        SimValue {
            level: a.level.saturating_sub(1),
            scale,
            variance: a.variance + added,
            ..*a
        }
    }

    fn last_prime(&self, level: usize) -> Result<f64> {
        let prime = self.params.moduli().nth(level).filter(|_| level > 0);
        prime.map(|q| q.value() as f64).ok_or(Error::Level {
            op: "rescale",
            needed: 1,
            found: level,
        })
    }
}

/// Mean |w|^2 of a pattern.
fn mean_power(pattern: &Pattern) -> f64 {
    let values = pattern.values();
    values.iter().map(num_complex::Complex64::norm_sqr).sum::<f64>() / values.len().max(1) as f64
}

impl Backend for Sim {
    type Value = SimValue;

    fn input(&mut self, value: &SimValue, step: &Step) -> Result<SimValue> {
        self.keep(*value, step)
    }

    fn add(&mut self, a: &SimValue, b: &SimValue, step: &Step) -> Result<SimValue> {
        Self::same("add", a, b)?;
        let limbs = a.parts.max(b.parts) * (a.level + 1);
        self.count(0, 0, 3 * limbs);
        // The same value twice is an error twice as large, not two errors.
        let doubled = matches!(step.op, Op::Add(x, y) if x == y);
        let variance = if doubled {
            4.0 * a.variance
        } else {
            a.variance + b.variance
        };
        self.keep(
            SimValue {
                parts: a.parts.max(b.parts),
                variance,
                ..*a
            },
            step,
        )
    }

    fn sub(&mut self, a: &SimValue, b: &SimValue, step: &Step) -> Result<SimValue> {
        Self::same("sub", a, b)?;
        let parts = a.parts.max(b.parts);
        self.count(0, 0, 3 * parts * (a.level + 1));
        self.keep(
            SimValue {
                parts,
                variance: a.variance + b.variance,
                ..*a
            },
            step,
        )
    }

    fn negate(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
        self.count(0, a.parts * (a.level + 1), 2 * a.parts * (a.level + 1));
        self.keep(*a, step)
    }

    fn mul_i(&mut self, a: &SimValue, _: u32, step: &Step) -> Result<SimValue> {
        self.count(0, a.parts * (a.level + 1), 2 * a.parts * (a.level + 1));
        self.keep(*a, step)
    }

    fn add_plain(&mut self, a: &SimValue, pattern: &Pattern, step: &Step) -> Result<SimValue> {
        self.count(0, 0, 2 * a.parts * (a.level + 1));
        let added = pattern.period() as f64 / 6.0 / (a.scale * a.scale);
        self.keep(
            SimValue {
                variance: a.variance + added,
                ..*a
            },
            step,
        )
    }

    fn weighted_sums(&mut self, inputs: &[&SimValue], rows: &[SumRow<'_>]) -> Result<Vec<SimValue>> {
        let Some(first) = inputs.first() else {
            return Err(Error::Shape {
                what: "inputs of a weighted sum",
                needed: 1,
                found: 0,
            });
        };
        for input in inputs {
            Self::same("weighted sum", first, input)?;
            if input.parts != 2 {
                return Err(Error::Parts {
                    op: "weighted sum",
                    needed: 2,
                    found: input.parts,
                });
            }
        }
        let limbs = 2 * (first.level + 1);
        self.count(0, 0, limbs * inputs.len());
        let mut sums = Vec::with_capacity(rows.len());
        for row in rows {
            let mut variance = 0.0;
            for (input, weight) in inputs.iter().zip(&row.weights) {
                let Some(weight) = weight else { continue };
                self.count(0, limbs, 0);
                let plain_scale = row.step.plain_scale;
                let rounding = weight.period() as f64 / 6.0 / (plain_scale * plain_scale);
                variance += mean_power(weight) * input.variance + rounding * input.power;
            }
            self.count(0, 0, limbs);
            let scale = first.scale * row.step.plain_scale;
            sums.push(self.keep(
                SimValue {
                    variance,
                    scale,
                    ..**first
                },
                row.step,
            )?);
        }
        Ok(sums)
    }

    fn linear_maps(&mut self, inputs: &[&SimValue], steps: &[Step]) -> Result<Vec<SimValue>> {
        let mut outputs = Vec::with_capacity(steps.len());
        for step in steps {
            let Op::LinearMap(_, map) = &step.op else { continue };
            let mut variance = 0.0;
            let mut scale = step.scale;
            let mut level = step.level_in;
            for (i, (input, part)) in inputs.iter().zip(map.parts()).enumerate() {
                Self::same("linear map", inputs.first().unwrap_or(input), input)?;
                (scale, level) = (input.scale, input.level);
                let mut turned = **input;
                for b in map.babies(i) {
                    if b > 0 {
                        let key = KeyPurpose::Galois(self.params.galois_element(b as i64));
                        turned = self.key_switch(input, key, i > 0)?;
                    }
                }
                let rounding = map.period() as f64 / 6.0 / (step.plain_scale * step.plain_scale);
                for pattern in part.values() {
                    self.count(0, 2 * (level + 1), 0);
                    variance += mean_power(pattern) * turned.variance + rounding * input.power;
                }
            }
            let mut value = SimValue {
                level,
                scale: scale * step.plain_scale,
                parts: 2,
                variance,
                power: 1.0,
            };
            let (first, last) = (*map.giants().start(), *map.giants().end());
            for giant in (first..0).chain(1..=last) {
                let k = giant.signum() * map.baby_steps() as i64;
                let key = KeyPurpose::Galois(self.params.galois_element(k));
                value = self.key_switch(&value, key, false)?;
            }
            let scale = value.scale / self.last_prime(level)?;
            let value = self.divide(&value, scale);
            outputs.push(self.keep(value, step)?);
        }
        Ok(outputs)
    }

    fn mul(&mut self, a: &SimValue, b: &SimValue, step: &Step) -> Result<SimValue> {
        Self::same("mul", a, b)?;
        if a.parts.max(b.parts) > 2 {
            return Err(Error::Parts {
                op: "mul",
                needed: 2,
                found: a.parts.max(b.parts),
            });
        }
        self.count(0, 4 * (a.level + 1), 7 * (a.level + 1));
        let variance = a.power * b.variance + b.power * a.variance + a.variance * b.variance;
        self.keep(
            SimValue {
                parts: 3,
                scale: a.scale * b.scale,
                variance,
                ..*a
            },
            step,
        )
    }

    fn square(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
        if a.parts > 2 {
            return Err(Error::Parts {
                op: "square",
                needed: 2,
                found: a.parts,
            });
        }
        self.count(0, 4 * (a.level + 1), 5 * (a.level + 1));
        let variance = 4.0 * a.power * a.variance + a.variance * a.variance;
        self.keep(
            SimValue {
                parts: 3,
                scale: a.scale * a.scale,
                variance,
                ..*a
            },
            step,
        )
    }

    fn rotate(&mut self, a: &SimValue, steps: &[Step]) -> Result<Vec<SimValue>> {
        let mut turned = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            let k = match step.op {
                Op::Rotate(_, k) => k,
                _ => 0,
            };
            let key = KeyPurpose::Galois(self.params.galois_element(k));
            let value = self.key_switch(a, key, index > 0)?;
            turned.push(self.keep(value, step)?);
        }
        Ok(turned)
    }

    fn conjugate(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
        let value = self.key_switch(
            a,
            KeyPurpose::Galois(self.params.galois_element_conjugate()),
            false,
        )?;
        self.keep(value, step)
    }

    fn bootstrap(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
        let planned = self.bootstrap.take().ok_or_else(|| Error::Circuit {
            circuit: "run",
            reason: "a plan that says how to bootstrap needed; compile it again".to_owned(),
        })?;
        if a.level != planned.literal.input_level() {
            return Err(Error::Level {
                op: "bootstrap",
                needed: planned.literal.input_level(),
                found: a.level,
            });
        }
        let value = SimValue {
            level: planned.output_level,
            scale: self.params.scale(planned.output_level)?,
            variance: a.variance + noise::variance(&planned.literal, &self.params, a.power)?,
            ..*a
        };
        self.count_bootstrap(&planned)?;
        self.bootstrap = Some(planned);
        self.keep(value, step)
    }

    fn relinearize(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
        let value = self.key_switch(a, KeyPurpose::Relin, false)?;
        self.keep(value, step)
    }

    fn rescale(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
        let scale = a.scale / self.last_prime(a.level)?;
        let value = self.divide(a, scale);
        self.keep(value, step)
    }

    fn drop_level(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
        self.count(0, 0, 2 * a.parts * (step.level + 1));
        self.keep(
            SimValue {
                level: step.level,
                ..*a
            },
            step,
        )
    }

    fn align(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
        let above = step.level + 1;
        let scale = a.scale * step.plain_scale / self.last_prime(above)?;
        self.count(0, a.parts * (above + 1), 4 * a.parts * (above + 1));
        let rounding = a.power / (12.0 * step.plain_scale * step.plain_scale);
        let value = self.divide(
            &SimValue {
                level: above,
                variance: a.variance + rounding,
                ..*a
            },
            scale,
        );
        self.keep(value, step)
    }
}
