//! The error of a bootstrap of all slots, before there is one: the sine, roundings, key switches.
//!
//! The last two under the heuristics of [`crate::exec::Sim`]. What a rounding inside EvalMod does to the result is found
//! by running EvalMod on numbers, with a small error in each place in turn, over the multiples of q_0 as they come.

use super::BootstrapLiteral;
use super::eval_mod::{Arithmetic, EvalMod, Weight};
use crate::Result;
use crate::ckks::ciphertext::{check_level, check_scale};
use crate::rlwe::noise::{key_switch, rounding};
use crate::rlwe::security::EPHEMERAL_WEIGHT;
use crate::rlwe::{KeyPurpose, Params};
use std::f64::consts::TAU;

/// Variance per slot that a bootstrap adds to a message whose slots are uniform in a square and of this mean square.
pub(crate) fn variance(literal: &BootstrapLiteral, params: &Params, power: f64) -> Result<f64> {
    let sine = EvalMod::new(literal);
    let ratio = literal.log_message_ratio.exp2();
    let (top, bottom) = (params.max_level(), params.prime(0)? / ratio);
    let degree = params.degree() as f64;
    let rounding = rounding(params, 2);

    // SlotsToCoeffs: a stage doubles the variance of slots, and all of them together divide it by their number.
    let maps = literal.maps(params)?;
    let (down, up) = maps.split_at(literal.slots_to_coeffs.len().min(maps.len()));
    let input_scale = params.scale(literal.input_level())?;
    let step = (bottom / input_scale).powf(1.0 / down.len().max(1) as f64);
    let mut message = 0.0;
    let (mut scale, mut stages) = (input_scale, literal.log_slots);
    for map in down {
        let switch = key_switch(params, params.gadget(map.key_level)?, map.level);
        message += 2.0 * switch / (scale * scale) * f64::from(stages).exp2();
        // The entries of the matrix are rounded too, and its primes are small.
        let columns = (map.steps.baby * map.steps.giant) as f64;
        let entries = columns * map.period as f64 / 6.0 / (params.prime(map.level)? * step).powi(2);
        scale *= step;
        stages = stages.saturating_sub(map.radix);
        message += power * entries * (-f64::from(map.radix)).exp2();
        message += 2.0 * rounding / (scale * scale) * f64::from(stages).exp2();
    }
    // The switch to the ephemeral secret.
    let encapsulate = key_switch(params, &params.key_gadget(KeyPurpose::Encapsulate, 0)?, 0);
    let sparse = (1.0 + EPHEMERAL_WEIGHT as f64) / 12.0;
    message += 2.0 * (encapsulate + sparse) / (bottom * bottom);

    // CoeffsToSlots: a stage halves the variance of slots; x / B is a slot plus its conjugate.
    let sine_level = top - up.len();
    let mut scale = params.prime(0)? * 2.0 * sine.bound();
    let sine_scale = 2.0 * params.prime(sine_level)?;
    let step = (sine_scale / scale).powf(1.0 / up.len().max(1) as f64);
    let mut stages = literal.log_slots;
    let mut x = 0.0;
    for map in up {
        if !map.raised {
            let switch = key_switch(params, params.gadget(map.key_level)?, map.level);
            x += 2.0 * degree * switch / (scale * scale) * (-f64::from(stages)).exp2();
        }
        scale *= step;
        stages = stages.saturating_sub(map.radix);
        x += 2.0 * degree * rounding / (scale * scale) * (-f64::from(stages)).exp2();
    }
    let conjugate = key_switch(params, params.gadget(top)?, sine_level) + rounding;
    x += degree * conjugate / (sine_scale * sine_scale);
    // Real and imaginary part.
    message += 2.0 * x * (sine.bound() * ratio).powi(2);

    // EvalMod: what its roundings do, and what the series with its doublings leaves of the multiples.
    let output_scale = params.scale(literal.output_level(params)?)? * ratio / TAU;
    let sum = |squares: Vec<f64>| squares.iter().sum::<f64>() * (ratio / TAU).powi(2);
    let run = |i: f64, wrong: Option<usize>| -> Result<(f64, Vec<f64>)> {
        let mut numbers = OnNumbers {
            params,
            roundings: Vec::new(),
            wrong,
        };
        let x = Number {
            value: i / sine.bound(),
            level: sine_level,
            scale: sine_scale,
        };
        let value = sine.apply(&mut numbers, &x, output_scale)?.value;
        Ok((value, numbers.roundings))
    };
    let switch = key_switch(params, params.gadget(sine_level)?, sine_level);
    let each = rounding + switch / params.prime(sine_level)?.powi(2);
    for (i, weight) in multiples(literal) {
        let (clean, roundings) = run(i, None)?;
        let mut squares = vec![clean * clean];
        for (place, scale) in roundings.iter().enumerate() {
            let derivative = (run(i, Some(place))?.0 - clean) / DELTA;
            squares.push(derivative * derivative * degree * each / (scale * scale));
        }
        message += 2.0 * weight * sum(squares);
    }

    // What is left of the sine after its linear term; both parts uniform in [-b, b], b^2 = 3/2 of the mean square.
    let (square, w) = (1.5 * power, TAU / ratio);
    message += 2.0
        * if literal.arcsine {
            (3.0 / 40.0 * w.powi(4)).powi(2) * square.powi(5) / 11.0
        } else {
            (w * w / 6.0).powi(2) * square.powi(3) / 7.0
        };
    Ok(message)
}

/// Multiples of q_0 in the coefficients of a raised ciphertext, with their probabilities: sums of uniform variables, one
/// for each coefficient of the ephemeral secret.
fn multiples(literal: &BootstrapLiteral) -> Vec<(f64, f64)> {
    let interval = f64::from(literal.interval);
    let deviation = ((EPHEMERAL_WEIGHT as f64 + 1.0) / 12.0).sqrt();
    let all = || (0..=2 * literal.interval).map(|i| f64::from(i) - interval);
    let weight = |i: f64| (-0.5 * (i / deviation).powi(2)).exp();
    let total: f64 = all().map(weight).sum();
    all().map(|i| (i, weight(i) / total)).collect()
}

/// The error of one rounding, small enough for a derivative.
const DELTA: f64 = 1e-6;

/// The arithmetic of EvalMod on numbers, with [`DELTA`] added at one of the places where a rescale rounds.
struct OnNumbers<'a> {
    params: &'a Params,
    /// The scale at each rounding so far.
    roundings: Vec<f64>,
    /// Which rounding has an error.
    wrong: Option<usize>,
}

#[derive(Clone, Copy)]
struct Number {
    value: f64,
    level: usize,
    scale: f64,
}

impl Arithmetic for OnNumbers<'_> {
    type Value = Number;

    fn level(&self, a: &Number) -> usize {
        a.level
    }

    fn scale(&self, a: &Number) -> f64 {
        a.scale
    }

    fn prime(&self, level: usize) -> Result<f64> {
        self.params.prime(level)
    }

    fn reinterpret(&mut self, a: Number, scale: f64) -> Number {
        let value = a.value * (a.scale / scale);
        Number { value, scale, ..a }
    }

    fn multiply(&mut self, a: &Number, b: &Number) -> Result<Number> {
        Ok(Number {
            value: a.value * b.value,
            level: a.level.min(b.level),
            scale: a.scale * b.scale,
        })
    }

    fn add(&mut self, a: &Number, b: &Number) -> Result<Number> {
        check_level("eval_mod", a.level, b.level)?;
        check_scale("eval_mod", a.scale, b.scale)?;
        let value = a.value + b.value;
        Ok(Number { value, ..*a })
    }

    fn add_constant(&mut self, a: Number, constant: Weight) -> Result<Number> {
        let value = a.value + constant.factor();
        Ok(Number { value, ..a })
    }

    fn weighted_sum(
        &mut self,
        terms: &[(&Number, Weight)],
        constant: Option<Weight>,
        level: usize,
        scale: f64,
    ) -> Result<Number> {
        let sum: f64 = terms.iter().map(|(x, weight)| x.value * weight.factor()).sum();
        let value = sum + constant.map_or(0.0, Weight::factor);
        Ok(Number { value, level, scale })
    }

    fn relinearize(&mut self, a: &Number) -> Result<Number> {
        Ok(*a)
    }

    fn rescale(&mut self, a: &Number) -> Result<Number> {
        let error = if self.wrong == Some(self.roundings.len()) {
            DELTA
        } else {
            0.0
        };
        let scale = a.scale / self.params.prime(a.level)?;
        self.roundings.push(scale);
        Ok(Number {
            value: a.value + error,
            level: a.level - 1,
            scale,
        })
    }

    fn relinearize_rescale(&mut self, a: &Number) -> Result<Number> {
        self.rescale(a)
    }
}

#[cfg(test)]
mod tests {
    use super::super::BootstrapPreset;
    use super::*;

    #[test]
    fn eval_mod_on_numbers_is_the_sine_at_the_scale_that_was_asked_for() {
        let preset = BootstrapPreset::N15;
        let params = Params::new(&preset.params()).unwrap();
        for arcsine in [false, true] {
            let literal = BootstrapLiteral {
                arcsine,
                ..preset.bootstrap(14)
            };
            let sine = EvalMod::new(&literal);
            let level = params.max_level() - literal.coeffs_to_slots.len();
            for i in -14..=14 {
                for offset in [-0.002, 0.0, 0.001] {
                    let x = f64::from(i) + offset;
                    let mut numbers = OnNumbers {
                        params: &params,
                        roundings: Vec::new(),
                        wrong: None,
                    };
                    let start = Number {
                        value: x / sine.bound(),
                        level,
                        scale: 2.0 * params.prime(level).unwrap(),
                    };
                    let found = sine.apply(&mut numbers, &start, 2f64.powi(40)).unwrap();
                    let s = (TAU * x).sin();
                    let want = if arcsine { s + s * s * s / 6.0 } else { s };
                    assert!((found.value - want).abs() < 1e-8, "{x}: {}", found.value);
                    assert!((found.scale / 2f64.powi(40) - 1.0).abs() < 1e-12);
                    assert_eq!(found.level, level - literal.eval_mod_depth());
                    assert_eq!(numbers.roundings.len(), 13 + 2 * usize::from(arcsine));
                }
            }
        }
    }
}
