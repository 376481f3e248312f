//! EvalMod: x -> x - round(x) near integers, as sin(2 pi x) / 2 pi, by a cosine of an eighth of the angle and three
//! doublings (ePrint 2020/552, 2020/1203).
//!
//! The operand is t = (x - 1/4) / B in \[-1, 1\]. cos(2 pi B t / 2^r) is even, so it is a series of degree 15 in
//! u = 2 t^2 - 1; the quarter turns the cosine into a sine. Each product is kept at the scale that the next one needs,
//! so that sums match exactly and the result has the scale that is asked for.

use super::literal::{BootstrapLiteral, COSINE_DEGREE};
use crate::arith::dot::dot_runs;
use crate::ckks::encoder::{PeriodicPlaintext, add_periodic};
use crate::ckks::{Ciphertext, Evaluator};
use crate::par;
use crate::ring::Poly;
use crate::{Error, Result};
use num_complex::Complex64;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The sine of one bootstrap, with the constants that its packing asks for.
pub(super) struct EvalMod {
    /// Half width of the range of x.
    bound: f64,
    double_angles: u32,
    arcsine: bool,
    /// Coefficients in T_k(u).
    pub(super) series: Vec<f64>,
    /// Slot patterns that the cosine and the results of the doublings are multiplied by: each the square of the one
    /// before.
    twists: Vec<Twist>,
}

/// A slot pattern, with its encoded multiples: every bootstrap needs the same ones.
struct Twist {
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

impl EvalMod {
    /// `factors` is a slot pattern of absolute value one by which the sine comes out multiplied.
    pub(super) fn new(literal: &BootstrapLiteral, factors: &[Complex64]) -> Self {
        let bound = f64::from(literal.interval) + 0.5;
        let turns = f64::from(1u32 << literal.double_angles);
        let series = even_series(|t| (std::f64::consts::TAU * bound * t / turns).cos());
        let twists = (0..=literal.double_angles)
            .map(|i| {
                let part = f64::from(1u32 << i) / turns;
                let turned = |f: &Complex64| Complex64::from_polar(1.0, f.arg() * part);
                Twist::new(factors.iter().map(turned).collect())
            })
            .collect();
        Self {
            bound,
            double_angles: literal.double_angles,
            arcsine: literal.arcsine,
            series,
            twists,
        }
    }

    /// B: x / B is what the operand holds before the quarter.
    pub(super) fn bound(&self) -> f64 {
        self.bound
    }

    /// sin(2 pi x) times the factors from x / B, at `scale` of the level below all its levels.
    pub(super) fn apply(&self, e: &Evaluator, x: &Ciphertext, scale: f64) -> Result<Ciphertext> {
        let doublings = self.double_angles as usize;
        // The scale of each doubling's operand, from the last to the first.
        let cosine_level = level_below(x.level, super::literal::COSINE_DEPTH)?;
        let sine_level = level_below(cosine_level, doublings)?;
        let mut target = if self.arcsine {
            // 6 s^3 / q^2 comes out of s.
            let primes = prime(e, sine_level)? * prime(e, level_below(sine_level, 1)?)?;
            (scale * primes / 6.0).cbrt()
        } else {
            scale
        };
        for level in sine_level + 1..=cosine_level {
            target = (2.0 * target * prime(e, level)?).sqrt();
        }
        let t = self.shift(e, x)?;
        let mut c = self.cosine(e, &t, target)?;
        for twist in self.twists.iter().skip(1) {
            c = doubled(e, &c, Weight::Twisted(-1.0, twist))?;
        }
        if self.arcsine {
            c = arcsine(e, &c)?;
        }
        Ok(c)
    }

    /// x / B - 1 / 4B.
    fn shift(&self, e: &Evaluator, x: &Ciphertext) -> Result<Ciphertext> {
        plus(e, x.clone(), Weight::Real(-0.25 / self.bound))
    }

    /// The twisted series at u = 2 t^2 - 1, at scale `scale`, five levels below t.
    fn cosine(&self, e: &Evaluator, t: &Ciphertext, scale: f64) -> Result<Ciphertext> {
        let minus = Weight::Real(-1.0);
        // T_1 = 2 t^2 - 1. Most t are near 0, where the series is steep in t^2, so T_2 = 8 t^4 - 8 t^2 + 1 takes its
        // middle term from the square before its rescale: two bits of precision. The scale of t makes its weight whole.
        let square = e.relinearize(&e.square(t)?)?;
        let rescaled = e.rescale(&square)?;
        let half = twice(rescaled.clone());
        let t1 = plus(e, half, minus)?;
        let t2 = {
            let fourth = twice(twice(twice(multiply(e, &rescaled, &rescaled)?)));
            let middle = [(&square, Weight::Real(-8.0))];
            let rest = combine(e, &middle, None, fourth.level, fourth.scale)?;
            plus(e, close(e, &e.add(&fourth, &rest)?)?, Weight::Real(1.0))?
        };
        let t4 = doubled(e, &t2, minus)?;
        let t8 = doubled(e, &t4, minus)?;
        let t3 = {
            let product = twice(multiply(e, &t2, &t1)?);
            let minus_t1 = [(&t1, Weight::Real(-1.0))];
            let rest = combine(e, &minus_t1, None, product.level, product.scale)?;
            close(e, &e.add(&product, &rest)?)?
        };
        // p = A + B T_4 + T_8 (C + D T_4), all of degree at most 3; D = E T_2 + rest has to be ready one level earlier.
        let (high, low) = split(&self.series, 8);
        let ((d, c), (b, a)) = (split(&high, 4), split(&low, 4));
        let at = |p: &[f64], k: usize| p.get(k).copied().unwrap_or(0.0);
        let [l8, l4, l2] = [t8.level, t4.level, t2.level];
        let sum_scale = scale * prime(e, l8)?;
        let tau = sum_scale / t8.scale * prime(e, l4)?;
        let delta = tau / t4.scale * prime(e, l2)?;
        let twist = self.twists.first();
        let twisted = |v: f64| twist.map_or(Weight::Real(v), |twist| Weight::Twisted(v, twist));
        let cubic = |p: &[f64], level: usize, scale: f64| {
            let terms = [(&t1, at(p, 1)), (&t2, at(p, 2)), (&t3, at(p, 3))].map(|(x, v)| (x, twisted(v)));
            combine(e, &terms, Some(twisted(at(p, 0))), level, scale)
        };
        let leading = {
            let inner_scale = delta / t2.scale * prime(e, t1.level)?;
            let terms = [(&t1, twisted(2.0 * at(&d, 3)))];
            let inner = combine(e, &terms, Some(twisted(at(&d, 2))), t1.level, inner_scale)?;
            let product = multiply(e, &e.rescale(&inner)?, &t2)?;
            let terms = [(&t1, twisted(at(&d, 1) - at(&d, 3)))];
            let rest = combine(e, &terms, Some(twisted(at(&d, 0))), l2, product.scale)?;
            close(e, &e.add(&product, &rest)?)?
        };
        let upper = {
            let product = multiply(e, &leading, &t4)?;
            close(e, &e.add(&product, &cubic(&c, l4, product.scale)?)?)?
        };
        let middle = e.rescale(&cubic(&b, l4, sum_scale / t4.scale * prime(e, l4)?)?)?;
        let product = e.add(&multiply(e, &upper, &t8)?, &multiply(e, &middle, &t4)?)?;
        close(e, &e.add(&product, &cubic(&a, l8, product.scale)?)?)
    }
}

/// s -> s + s^3 / 6.
fn arcsine(e: &Evaluator, s: &Ciphertext) -> Result<Ciphertext> {
    let mut square = close(e, &multiply(e, s, s)?)?;
    // A sixth by name only.
    square.scale *= 6.0;
    let cube = multiply(e, &square, s)?;
    let rest = combine(e, &[(s, Weight::Real(1.0))], None, cube.level, cube.scale)?;
    close(e, &e.add(&cube, &rest)?)
}

/// Coefficients c_k of sum c_k T_2k(t) = sum c_k T_k(2 t^2 - 1), the interpolation of an even function.
fn even_series(f: impl Fn(f64) -> f64) -> Vec<f64> {
    let n = 4 * COSINE_DEGREE;
    let angle = |i: usize| std::f64::consts::PI * (i as f64 + 0.5) / n as f64;
    (0..=COSINE_DEGREE / 2)
        .map(|k| {
            let sum: f64 = (0..n)
                .map(|i| f(angle(i).cos()) * ((2 * k) as f64 * angle(i)).cos())
                .sum();
            sum * if k == 0 { 1.0 } else { 2.0 } / n as f64
        })
        .collect()
}

/// p = q T_at + r, by T_(at + i) = 2 T_at T_i - T_(at - i): (q, r).
pub(super) fn split(p: &[f64], at: usize) -> (Vec<f64>, Vec<f64>) {
    let (low, high) = p.split_at(at.min(p.len()));
    let mut r = low.to_vec();
    let mut q = high.to_vec();
    for (i, c) in q.iter_mut().enumerate().skip(1) {
        if let Some(mirror) = r.get_mut(at - i) {
            *mirror -= *c;
        }
        *c *= 2.0;
    }
    (q, r)
}

fn prime(e: &Evaluator, level: usize) -> Result<f64> {
    let prime = e.params().moduli().nth(level);
    prime.map(|q| q.value() as f64).ok_or(Error::Level {
        op: "eval_mod",
        needed: level,
        found: e.params().max_level(),
    })
}

fn level_below(level: usize, depth: usize) -> Result<usize> {
    level.checked_sub(depth).ok_or(Error::Level {
        op: "eval_mod",
        needed: depth,
        found: level,
    })
}

/// a b in three parts, at the lower of both levels.
fn multiply(e: &Evaluator, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
    let level = a.level.min(b.level);
    e.mul(&e.drop_level(a, level)?, &e.drop_level(b, level)?)
}

/// Three parts to two, and one level down.
fn close(e: &Evaluator, a: &Ciphertext) -> Result<Ciphertext> {
    e.relinearize_rescale(a)
}

/// Twice the value, by name only: half the scale. Under doublings scales therefore settle at twice the primes, which is
/// a bit of precision more than at the primes.
fn twice(mut a: Ciphertext) -> Ciphertext {
    a.scale /= 2.0;
    a
}

/// 2 c^2 + constant, one level down.
fn doubled(e: &Evaluator, c: &Ciphertext, constant: Weight<'_>) -> Result<Ciphertext> {
    plus(e, close(e, &twice(e.square(c)?))?, constant)
}

/// A number, or a number times a slot pattern.
#[derive(Clone, Copy)]
enum Weight<'a> {
    Real(f64),
    Twisted(f64, &'a Twist),
}

impl Weight<'_> {
    fn encode(self, e: &Evaluator, scale: f64, level: usize) -> Result<Arc<PeriodicPlaintext>> {
        match self {
            Self::Real(v) => Twist::new(vec![Complex64::new(1.0, 0.0)]).encode(e, v, scale, level),
            Self::Twisted(v, twist) => twist.encode(e, v, scale, level),
        }
    }
}

/// a + constant.
fn plus(e: &Evaluator, mut a: Ciphertext, constant: Weight<'_>) -> Result<Ciphertext> {
    let plain = constant.encode(e, a.scale, a.level)?;
    if let Some(body) = a.parts.first_mut() {
        add_periodic(body, &plain, e.params().q_tables(a.level)?);
    }
    Ok(a)
}

/// sum weight_i x_i + constant, at this level and scale, without a rescale: the weights carry the difference of scales.
fn combine(
    e: &Evaluator,
    terms: &[(&Ciphertext, Weight<'_>)],
    constant: Option<Weight<'_>>,
    level: usize,
    scale: f64,
) -> Result<Ciphertext> {
    let params = e.params();
    let q = params.q_tables(level)?;
    let n = params.degree();
    let weights = terms
        .iter()
        .map(|(x, weight)| weight.encode(e, scale / x.scale, level))
        .collect::<Result<Vec<_>>>()?;
    let inputs = terms
        .iter()
        .map(|(x, _)| e.drop_level(x, level))
        .collect::<Result<Vec<_>>>()?;
    let runs = weights.iter().map(|w| 2 * w.period()).max().unwrap_or(2);
    let mut parts = [(); 2].map(|()| Poly::scratch(q.len(), n));
    let [body, mask] = &mut parts;
    let items: Vec<_> = body
        .words_mut()
        .chunks_mut(n)
        .zip(mask.words_mut().chunks_mut(n))
        .zip(q)
        .collect();
    par::for_each(items, |i, ((body, mask), table)| {
        let modulus = table.modulus();
        let value = |plain: &PeriodicPlaintext, r: usize| {
            let at = r * 2 * plain.period() / runs;
            modulus.to_mont52(plain.limb(i).get(at).copied().unwrap_or_default())
        };
        let constants: Vec<u64> = (0..runs)
            .flat_map(|r| weights.iter().map(move |w| value(w, r)))
            .collect();
        for (part, out) in [body, mask].into_iter().enumerate() {
            let xs: Vec<&[u64]> = inputs
                .iter()
                .map(|x| x.parts.get(part).map(|p| p.limb(i)).unwrap_or_default())
                .collect();
            dot_runs(&mut [out], &xs, &constants, n / runs, modulus);
        }
    });
    let sum = Ciphertext {
        parts: parts.into(),
        level,
        scale,
    };
    match constant {
        Some(constant) => plus(e, sum, constant),
        None => Ok(sum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The series with its doublings is the sine, to far below what a bootstrap can resolve.
    #[test]
    fn the_series_is_a_cosine() {
        let literal = super::super::BootstrapPreset::N16.bootstrap(15);
        let sine = EvalMod::new(&literal, &[Complex64::new(1.0, 0.0)]);
        let mut worst = 0.0f64;
        for i in -14..=14 {
            for offset in [-0.01, -0.001, 0.0, 0.0005, 0.004] {
                let x = f64::from(i) + offset;
                let t = (x - 0.25) / sine.bound;
                let u = 2.0 * t * t - 1.0;
                let (mut next, mut after) = (0.0, 0.0);
                for c in sine.series.iter().skip(1).rev() {
                    (next, after) = (c + 2.0 * u * next - after, next);
                }
                let mut c = sine.series[0] + u * next - after;
                for _ in 0..3 {
                    c = 2.0 * c * c - 1.0;
                }
                worst = worst.max((c - (std::f64::consts::TAU * x).sin()).abs());
            }
        }
        assert!(worst < 30f64.exp2().recip(), "2^{:.1}", worst.log2());
    }

    #[test]
    fn splitting_keeps_the_value() {
        let p: Vec<f64> = (0..16).map(|i| (f64::from(i) * 0.9).sin()).collect();
        let (q, r) = split(&p, 8);
        let t = |k: usize, x: f64| (k as f64 * x.acos()).cos();
        let value = |p: &[f64], x: f64| p.iter().enumerate().map(|(k, c)| c * t(k, x)).sum::<f64>();
        for x in [-0.9, -0.3, 0.2, 0.77] {
            assert!((value(&p, x) - value(&q, x) * t(8, x) - value(&r, x)).abs() < 1e-12);
        }
    }
}
