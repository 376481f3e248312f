//! The dry run: levels, scales and expected noise of every step, without a ciphertext.
//!
//! Noise is a variance per slot, E|error|^2, in the units of the message, under the usual heuristics: coefficients of
//! errors are independent, so a polynomial error of variance s^2 per coefficient is one of N s^2 / scale^2 per slot
//! (the canonical embedding has |ζ| = 1 at every root). With secret s uniform ternary, E|s_i|^2 = 2/3:
//!
//! | step | variance added, per coefficient unless said otherwise |
//! |---|---|
//! | fresh; division by primes; key switch, from the key's noise | as in [`crate::rlwe::noise`] |
//! | relinearisation and rescale at once | the noise of the key at the scale before, the division once at the scale after |
//! | a + pattern of period D | 2D of N coefficients are rounded: D/6 in all, so D/6 / scale^2 per slot |
//! | Σ w_i a_i | per slot: Σ mean\|w_i\|^2 var(a_i) + D/6 / plain_scale^2 Σ mean\|a_i\|^2 |
//! | a b | per slot: mean\|a\|^2 var(b) + mean\|b\|^2 var(a) + var(a) var(b); a^2: 4 mean\|a\|^2 var(a) |
//! | bootstrap | those of its parts, and the cubic term of the sine for a message uniform in a square |
//! | a constant of an alignment | per slot: mean\|a\|^2 / (12 plain_scale^2) |
//!
//! Magnitudes mean|a|^2 come from a plain run. Reference: ePrint 2020/1118, sections 3 and 5.

use super::Backend;
use crate::ckks::bootstrap::noise::variance as bootstrap_variance;
use crate::ckks::ciphertext::{check_level, check_rescale, check_same_scale};
use crate::ckks::linear::schedule::Schedule;
use crate::ckks::{Pattern, SlotMap};
use crate::cost::KeyLevels;
use crate::decision::Decision;
use crate::graph::{Plan, PlannedBootstrap, Port, Step};
use crate::rlwe::{KeyPurpose, Params, noise};
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

/// Runs a plan on [`SimValue`]s.
#[derive(Debug, Clone)]
pub struct Sim {
    params: Params,
    magnitudes: Vec<f64>,
    keys: KeyLevels,
    bootstrap: Option<PlannedBootstrap>,
    done: Vec<SimValue>,
    resolution: Option<f64>,
}

impl Sim {
    /// For a plan, with the root mean square of every step as [`Plain::magnitudes`](super::Plain::magnitudes) has it
    /// after a run on typical inputs; steps without one count as 1.
    pub fn new(plan: &Plan, magnitudes: &[f64]) -> Self {
        Sim {
            params: plan.params.clone(),
            magnitudes: magnitudes.to_vec(),
            keys: KeyLevels::of(plan),
            bootstrap: plan.bootstrap.clone(),
            done: Vec::new(),
            resolution: None,
        }
    }

    /// A fresh encryption under the secret key, for the given input.
    pub fn fresh(&self, input: &Port) -> SimValue {
        let variance = self.per_slot(noise::fresh(), input.scale);
        SimValue {
            level: input.level,
            scale: input.scale,
            parts: 2,
            variance,
            power: 1.0,
        }
    }

    /// What came of the steps run so far, in their order.
    #[must_use]
    pub fn steps(&self) -> &[SimValue] {
        &self.done
    }

    /// How far apart two logits of the decision at the end must be, after a run of a plan with one.
    #[must_use]
    pub fn resolution(&self) -> Option<f64> {
        self.resolution
    }

    /// Variance per slot of an error with this variance per coefficient.
    fn per_slot(&self, per_coefficient: f64, scale: f64) -> f64 {
        self.params.degree() as f64 * per_coefficient / (scale * scale)
    }

    /// Holds the level and the scale against the plan and fills in the magnitude.
    fn keep(&mut self, value: SimValue, step: &Step) -> Result<SimValue> {
        let power = self.magnitudes.get(self.done.len()).map_or(1.0, |rms| rms * rms);
        let value = SimValue { power, ..value };
        self.done.push(value);
        check_level(step.op.name(), step.level, value.level)?;
        check_same_scale(step.op.name(), step.scale, value.scale)?;
        Ok(value)
    }

    fn same(op: &'static str, a: &SimValue, b: &SimValue) -> Result<()> {
        check_level(op, a.level, b.level)?;
        check_same_scale(op, a.scale, b.scale)
    }

    /// Variance per coefficient of the noise of a key, before the division that ends the switch.
    fn key_noise(&self, purpose: KeyPurpose, level: usize) -> Result<f64> {
        let gadget = self.keys.gadget(purpose, level)?;
        Ok(noise::key_switch(&self.params, &gadget, level))
    }

    fn key_switch(&self, a: &SimValue, purpose: KeyPurpose) -> Result<SimValue> {
        let noise = self.key_noise(purpose, a.level)? + noise::rounding(&self.params, 2);
        Ok(SimValue {
            parts: 2,
            variance: a.variance + self.per_slot(noise, a.scale),
            ..*a
        })
    }

    fn divide(&self, a: &SimValue, scale: f64) -> SimValue {
        let added = self.per_slot(noise::rounding(&self.params, a.parts), scale);
        SimValue {
            level: a.level.saturating_sub(1),
            scale,
            variance: a.variance + added,
            ..*a
        }
    }

    fn last_prime(&self, level: usize) -> Result<f64> {
        check_rescale("rescale", level)?;
        self.params.prime(level)
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
        self.keep(
            SimValue {
                parts: a.parts.max(b.parts),
                variance: a.variance + b.variance,
                ..*a
            },
            step,
        )
    }

    /// The same value twice has an error twice as large, not two errors.
    fn double(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
        self.keep(
            SimValue {
                variance: 4.0 * a.variance,
                ..*a
            },
            step,
        )
    }

    fn sub(&mut self, a: &SimValue, b: &SimValue, step: &Step) -> Result<SimValue> {
        Self::same("sub", a, b)?;
        let parts = a.parts.max(b.parts);
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
        self.keep(*a, step)
    }

    fn mul_i(&mut self, a: &SimValue, _: u32, step: &Step) -> Result<SimValue> {
        self.keep(*a, step)
    }

    fn add_plain(&mut self, a: &SimValue, pattern: &Pattern, step: &Step) -> Result<SimValue> {
        let added = pattern.period() as f64 / 6.0 / (a.scale * a.scale);
        self.keep(
            SimValue {
                variance: a.variance + added,
                ..*a
            },
            step,
        )
    }

    fn weighted_sums(
        &mut self,
        inputs: &[&SimValue],
        rows: &[&[Option<&Pattern>]],
        steps: &[Step],
    ) -> Result<Vec<SimValue>> {
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
        let mut sums = Vec::with_capacity(rows.len());
        for (row, step) in rows.iter().zip(steps) {
            let mut variance = 0.0;
            let plain_scale = step.plain_scale;
            for (input, weight) in inputs.iter().zip(*row) {
                let Some(weight) = weight else { continue };
                let rounding = weight.period() as f64 / 6.0 / (plain_scale * plain_scale);
                variance += mean_power(weight) * input.variance + rounding * input.power;
            }
            let scale = first.scale * plain_scale;
            sums.push(self.keep(
                SimValue {
                    variance,
                    scale,
                    ..**first
                },
                step,
            )?);
        }
        Ok(sums)
    }

    fn linear_maps(
        &mut self,
        inputs: &[&SimValue],
        maps: &[&SlotMap],
        steps: &[Step],
    ) -> Result<Vec<SimValue>> {
        let Some(first) = inputs.first() else {
            return Err(Error::Shape {
                what: "inputs of linear maps (at least)",
                needed: 1,
                found: 0,
            });
        };
        let (scale, level) = (first.scale, first.level);
        let mut outputs = Vec::with_capacity(steps.len());
        for (map, step) in maps.iter().zip(steps) {
            let mut variance = 0.0;
            let rotation = |k| KeyPurpose::Galois(self.params.galois_element(k));
            let gadget = |k| self.keys.gadget(rotation(k), level);
            let schedule = Schedule::new(&self.params, std::iter::once(*map), &gadget)?;
            for (i, (input, part)) in inputs.iter().zip(map.parts()).enumerate() {
                Self::same("linear map", first, input)?;
                // Baby steps are divided once they are summed.
                let mut noise: f64 = 0.0;
                for baby in schedule
                    .babies
                    .iter()
                    .filter(|b| b.input == i && b.gadget.is_some())
                {
                    noise = noise.max(self.key_noise(rotation(baby.rotation), level)?);
                }
                let turned = input.variance + self.per_slot(noise, input.scale);
                let rounding = map.period() as f64 / 6.0 / (step.plain_scale * step.plain_scale);
                for pattern in part.values() {
                    variance += mean_power(pattern) * turned + rounding * input.power;
                }
            }
            let mut value = SimValue {
                level,
                scale: scale * step.plain_scale,
                parts: 2,
                variance,
                power: 1.0,
            };
            for giant in schedule.giants.iter().filter(|giant| giant.gadget.is_some()) {
                for _ in 0..giant.count {
                    value = self.key_switch(&value, rotation(giant.rotation))?;
                }
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

    fn rotate(&mut self, a: &SimValue, by: &[i64], steps: &[Step]) -> Result<Vec<SimValue>> {
        let mut turned = Vec::with_capacity(steps.len());
        for (k, step) in by.iter().zip(steps) {
            let key = KeyPurpose::Galois(self.params.galois_element(*k));
            let value = self.key_switch(a, key)?;
            turned.push(self.keep(value, step)?);
        }
        Ok(turned)
    }

    fn conjugate(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
        let key = KeyPurpose::Galois(self.params.galois_element_conjugate());
        let value = self.key_switch(a, key)?;
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
            variance: a.variance + bootstrap_variance(&planned.literal, &self.params, a.power)?,
            ..*a
        };
        self.bootstrap = Some(planned);
        self.keep(value, step)
    }

    fn relinearize(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
        let value = self.key_switch(a, KeyPurpose::Relin)?;
        self.keep(value, step)
    }

    fn rescale(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
        let scale = a.scale / self.last_prime(a.level)?;
        let value = self.divide(a, scale);
        self.keep(value, step)
    }

    fn relinearize_rescale(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
        let noise = self.key_noise(KeyPurpose::Relin, a.level)?;
        let switched = SimValue {
            parts: 2,
            variance: a.variance + self.per_slot(noise, a.scale),
            ..*a
        };
        let scale = a.scale / self.last_prime(a.level)?;
        let value = self.divide(&switched, scale);
        self.keep(value, step)
    }

    fn drop_level(&mut self, a: &SimValue, step: &Step) -> Result<SimValue> {
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

    fn decide(&mut self, values: &[&SimValue], decision: &Decision, _: &Step) -> Result<()> {
        let worst = |f: fn(&SimValue) -> f64| values.iter().map(|value| f(value)).fold(0.0, f64::max);
        let scale = values.first().map(|value| value.scale).ok_or(Error::Shape {
            what: "values of a decision (at least)",
            needed: 1,
            found: 0,
        })?;
        let (variance, power) = (worst(|value| value.variance), worst(|value| value.power));
        self.resolution = Some(decision.resolution_with(&self.params, scale, variance, power)?);
        Ok(())
    }
}
