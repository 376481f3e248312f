//! The error of a bootstrap of all slots, before there is one: the sine, roundings, key switches.
//!
//! The last two under the heuristics of [`crate::exec::Sim`]. What a rounding inside EvalMod does to the result is found
//! by running EvalMod on numbers, with a small error in each place in turn, over the multiples of q_0 as they come.

use super::BootstrapLiteral;
use super::eval_mod::{EvalMod, split};
use crate::Result;
use crate::rlwe::params::ERROR_STD_DEV;
use crate::rlwe::security::EPHEMERAL_WEIGHT;
use crate::rlwe::{Gadget, Params};
use num_complex::Complex64;
use std::f64::consts::TAU;

/// Places of EvalMod where a rescale rounds, without the doublings: t^2, T_2, T_3, T_4, T_8, the three inner products,
/// the coefficient of T_4, the cosine.
const COSINE_ROUNDINGS: usize = 10;

/// Variance per slot that a bootstrap adds to a message whose slots are uniform in a square and of this mean square.
pub(crate) fn variance(literal: &BootstrapLiteral, params: &Params, power: f64) -> Result<f64> {
    let sine = EvalMod::new(literal, &[Complex64::new(1.0, 0.0)]);
    let q: Vec<f64> = params.moduli().map(|m| m.value() as f64).collect();
    let prime = |level: usize| q.get(level).copied().unwrap_or(1.0);
    let ratio = literal.log_message_ratio.exp2();
    let (top, bottom) = (params.max_level(), prime(0) / ratio);
    let degree = params.degree() as f64;
    // Both parts of a ciphertext, per coefficient.
    let rounding = (1.0 + degree * 2.0 / 3.0) / 12.0;

    // SlotsToCoeffs: a stage doubles the variance of slots, and all of them together divide it by their number.
    let maps = literal.maps(params);
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
        let entries = columns * map.period as f64 / 6.0 / (prime(map.level) * step).powi(2);
        scale *= step;
        stages = stages.saturating_sub(map.radix);
        message += power * entries * (-f64::from(map.radix)).exp2();
        message += 2.0 * rounding / (scale * scale) * f64::from(stages).exp2();
    }
    // The switch to the ephemeral secret.
    let special = params.special_moduli().next().map_or(1.0, |p| p.value() as f64);
    let encapsulate = degree / 12.0 * ERROR_STD_DEV.powi(2) * (prime(0) / special).powi(2);
    let sparse = (1.0 + EPHEMERAL_WEIGHT as f64) / 12.0;
    message += 2.0 * (encapsulate + sparse) / (bottom * bottom);

    // CoeffsToSlots: a stage halves the variance of slots; x / B is a slot plus its conjugate.
    let sine_level = top - up.len();
    let mut scale = prime(0) * 2.0 * sine.bound();
    let sine_scale = 2.0 * prime(sine_level);
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

    // EvalMod: scales settle at twice the primes.
    let settled = prime(sine_level);
    let names = [4.0, 2.0, 2.0, 2.0, 2.0, 0.25, 0.5, 1.0, 1.0, 2.0];
    let mut scales: Vec<f64> = names.iter().map(|name| name * settled).collect();
    let output_scale = params.scale(literal.output_level(params)?)? * ratio / TAU;
    let extra = if literal.arcsine { 1 } else { 0 };
    scales.extend(vec![
        2.0 * settled;
        (literal.double_angles as usize + extra).saturating_sub(1)
    ]);
    scales.push(output_scale);
    message += 2.0 * approximation(&sine, literal);
    let gains = gains(&sine, literal);
    for (gain, scale) in gains.iter().zip(&scales) {
        let switch = key_switch(params, params.gadget(sine_level)?, sine_level);
        message += 2.0 * gain * degree * (rounding + switch / prime(sine_level).powi(2)) / (scale * scale);
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

/// Noise of the keys in a key switch, per coefficient.
fn key_switch(params: &Params, gadget: &Gadget, level: usize) -> f64 {
    let log = |from: usize, count: usize| -> f64 {
        let primes = params.moduli().skip(from).take(count);
        primes.map(crate::arith::Modulus::log2).sum()
    };
    let specials = params.special_moduli().take(gadget.specials);
    let log_p: f64 = specials.map(crate::arith::Modulus::log2).sum();
    (0..gadget.digits_at(level))
        .map(|digit| {
            let range = gadget.digit_range(digit, level);
            let log_digit = log(range.start, range.len());
            params.degree() as f64 * range.len() as f64 / 12.0
                * ERROR_STD_DEV.powi(2)
                * (2.0 * (log_digit - log_p)).exp2()
        })
        .sum()
}

/// Multiples of q_0 in the coefficients of a raised ciphertext, with their probabilities: sums of uniform variables, one
/// for each coefficient of the ephemeral secret.
fn multiples(literal: &BootstrapLiteral) -> Vec<(f64, f64)> {
    let interval = i32::try_from(literal.interval).unwrap_or(0);
    let deviation = ((EPHEMERAL_WEIGHT as f64 + 1.0) / 12.0).sqrt();
    let weight = |i: i32| (-0.5 * (f64::from(i) / deviation).powi(2)).exp();
    let total: f64 = (-interval..=interval).map(weight).sum();
    (-interval..=interval)
        .map(|i| (f64::from(i), weight(i) / total))
        .collect()
}

/// Mean square of what the series with its doublings leaves of the multiples, in one part of the message.
fn approximation(sine: &EvalMod, literal: &BootstrapLiteral) -> f64 {
    let factor = literal.log_message_ratio.exp2() / TAU;
    let squares = multiples(literal)
        .into_iter()
        .map(|(i, weight)| weight * (factor * on_numbers(sine, literal, i, &[])).powi(2));
    squares.sum()
}

/// For every rounding of EvalMod, the mean square of the derivative of the message by it.
fn gains(sine: &EvalMod, literal: &BootstrapLiteral) -> Vec<f64> {
    let places = COSINE_ROUNDINGS + literal.double_angles as usize + if literal.arcsine { 2 } else { 0 };
    let factor = literal.log_message_ratio.exp2() / TAU;
    let multiples = multiples(literal);
    let delta = 1e-6;
    (0..places)
        .map(|place| {
            let squares = multiples.iter().map(|&(i, weight)| {
                let mut errors = vec![0.0; places];
                let clean = on_numbers(sine, literal, i, &errors);
                if let Some(error) = errors.get_mut(place) {
                    *error = delta;
                }
                let gain = (on_numbers(sine, literal, i, &errors) - clean) / delta * factor;
                weight * gain * gain
            });
            squares.sum()
        })
        .collect()
}

/// EvalMod on a number, with an error at every rounding.
fn on_numbers(sine: &EvalMod, literal: &BootstrapLiteral, x: f64, errors: &[f64]) -> f64 {
    let mut errors = errors.iter().copied();
    let mut error = || errors.next().unwrap_or(0.0);
    let t = (x - 0.25) / sine.bound();
    let square = t * t + error();
    let t1 = 2.0 * square - 1.0;
    let t2 = 8.0 * square * square - 8.0 * t * t + 1.0 + error();
    let t3 = 2.0 * t2 * t1 - t1 + error();
    let t4 = 2.0 * t2 * t2 - 1.0 + error();
    let t8 = 2.0 * t4 * t4 - 1.0 + error();
    let (high, low) = split(&sine.series, 8);
    let ((d, c), (b, a)) = (split(&high, 4), split(&low, 4));
    let at = |p: &[f64], k: usize| p.get(k).copied().unwrap_or(0.0);
    let cubic = |p: &[f64]| at(p, 0) + at(p, 1) * t1 + at(p, 2) * t2 + at(p, 3) * t3;
    let inner = 2.0 * at(&d, 3) * t1 + at(&d, 2) + error();
    let leading = inner * t2 + (at(&d, 1) - at(&d, 3)) * t1 + at(&d, 0) + error();
    let upper = leading * t4 + cubic(&c) + error();
    let middle = cubic(&b) + error();
    let mut value = upper * t8 + middle * t4 + cubic(&a) + error();
    for _ in 0..literal.double_angles {
        value = 2.0 * value * value - 1.0 + error();
    }
    if literal.arcsine {
        let square = value * value + error();
        value += square * value / 6.0 + error();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::BootstrapPreset;
    use super::*;

    #[test]
    fn eval_mod_on_numbers_is_the_sine() {
        let literal = BootstrapPreset::N16.bootstrap(15);
        let sine = EvalMod::new(&literal, &[Complex64::new(1.0, 0.0)]);
        for i in -14..=14 {
            for offset in [-0.002, 0.0, 0.001] {
                let x = f64::from(i) + offset;
                let found = on_numbers(&sine, &literal, x, &[]);
                assert!((found - (TAU * x).sin()).abs() < 1e-8, "{x}: {found}");
            }
        }
    }
}
