//! EvalMod: x -> x - round(x) near integers, as sin(2 pi x) / 2 pi, by a cosine of an eighth of the angle and three
//! doublings (ePrint 2020/552, 2020/1203).
//!
//! The operand is t = (x - 1/4) / B in \[-1, 1\]. cos(2 pi B t / 2^r) is even, so it is a series of degree 15 in
//! u = 2 t^2 - 1; the quarter turns the cosine into a sine. Each product is kept at the scale that the next one needs,
//! so that sums match exactly and the result has the scale that is asked for.
//!
//! Written once, over [`Arithmetic`]: it runs on ciphertexts ([`super::on_ciphertexts`]), on numbers with an error in one
//! place ([`super::noise`]), and to count its work ([`crate::cost`]).

use super::literal::{BootstrapLiteral, COSINE_DEGREE, COSINE_DEPTH};
use crate::arith::chebyshev::{interpolate, split};
use crate::{Error, Result};
use std::f64::consts::TAU;

/// What EvalMod is made of.
pub(crate) trait Arithmetic {
    /// Something with a level and a scale.
    type Value: Clone;

    fn level(&self, a: &Self::Value) -> usize;
    fn scale(&self, a: &Self::Value) -> f64;
    /// The prime that a rescale at this level divides by.
    fn prime(&self, level: usize) -> Result<f64>;

    /// The same integers taken as values of another scale: a times the old scale over the new one, at no cost.
    fn reinterpret(&mut self, a: Self::Value, scale: f64) -> Self::Value;
    /// a b at the lower of both levels, not relinearized.
    fn multiply(&mut self, a: &Self::Value, b: &Self::Value) -> Result<Self::Value>;
    /// a + b of one level and scale.
    fn add(&mut self, a: &Self::Value, b: &Self::Value) -> Result<Self::Value>;
    /// a + constant.
    fn add_constant(&mut self, a: Self::Value, constant: Weight) -> Result<Self::Value>;
    /// sum weight_i x_i + constant, at this level and scale, without a rescale: the weights carry the difference of scales.
    fn weighted_sum(
        &mut self,
        terms: &[(&Self::Value, Weight)],
        constant: Option<Weight>,
        level: usize,
        scale: f64,
    ) -> Result<Self::Value>;
    fn relinearize(&mut self, a: &Self::Value) -> Result<Self::Value>;
    /// One level down.
    fn rescale(&mut self, a: &Self::Value) -> Result<Self::Value>;
    /// Both at once.
    fn relinearize_rescale(&mut self, a: &Self::Value) -> Result<Self::Value>;
}

/// A number, or a number times a slot pattern.
#[derive(Clone, Copy)]
pub(crate) enum Weight {
    Real(f64),
    /// With the pattern of the cosine (0), or of the result of this doubling of its angle (from 1).
    Twisted(f64, usize),
}

impl Weight {
    /// The number.
    pub(crate) fn factor(self) -> f64 {
        match self {
            Self::Real(v) | Self::Twisted(v, _) => v,
        }
    }
}

/// The sine of one bootstrap.
pub(crate) struct EvalMod {
    /// Half width of the range of x.
    bound: f64,
    double_angles: usize,
    arcsine: bool,
    /// Coefficients in T_k(u).
    series: Vec<f64>,
}

impl EvalMod {
    pub(crate) fn new(literal: &BootstrapLiteral) -> Self {
        let bound = f64::from(literal.interval) + 0.5;
        let turns = f64::from(1u32 << literal.double_angles);
        // c_k T_2k(t) = c_k T_k(2 t^2 - 1).
        let powers = (0..=COSINE_DEGREE / 2).map(|k| 2 * k);
        Self {
            bound,
            double_angles: literal.double_angles as usize,
            arcsine: literal.arcsine,
            series: interpolate(|t| (TAU * bound * t / turns).cos(), 4 * COSINE_DEGREE, powers),
        }
    }

    /// B: x / B is what the operand holds before the quarter.
    pub(crate) fn bound(&self) -> f64 {
        self.bound
    }

    /// sin(2 pi x), with its pattern, from x / B, at `scale` of the level below all its levels.
    pub(crate) fn apply<A: Arithmetic>(&self, a: &mut A, x: &A::Value, scale: f64) -> Result<A::Value> {
        // The scale of each doubling's operand, from the last to the first.
        let cosine_level = level_below(a.level(x), COSINE_DEPTH)?;
        let sine_level = level_below(cosine_level, self.double_angles)?;
        let mut target = if self.arcsine {
            // 6 s^3 / q^2 comes out of s.
            let primes = a.prime(sine_level)? * a.prime(level_below(sine_level, 1)?)?;
            (scale * primes / 6.0).cbrt()
        } else {
            scale
        };
        for level in sine_level + 1..=cosine_level {
            target = (2.0 * target * a.prime(level)?).sqrt();
        }
        let t = a.add_constant(x.clone(), Weight::Real(-0.25 / self.bound))?;
        let mut c = self.cosine(a, &t, target)?;
        for doubling in 1..=self.double_angles {
            c = doubled(a, &c, Weight::Twisted(-1.0, doubling))?;
        }
        if self.arcsine {
            c = arcsine(a, &c)?;
        }
        Ok(c)
    }

    /// The series, with its pattern, at u = 2 t^2 - 1, at scale `scale`, five levels below t.
    fn cosine<A: Arithmetic>(&self, a: &mut A, t: &A::Value, scale: f64) -> Result<A::Value> {
        let minus = Weight::Real(-1.0);
        // T_1 = 2 t^2 - 1. Most t are near 0, where the series is steep in t^2, so T_2 = 8 t^4 - 8 t^2 + 1 takes its
        // middle term from the square before its rescale: two bits of precision. The scale of t makes its weight whole.
        let square = a.multiply(t, t)?;
        let square = a.relinearize(&square)?;
        let rescaled = a.rescale(&square)?;
        let half = twice(a, rescaled.clone());
        let t1 = a.add_constant(half, minus)?;
        let t2 = {
            let mut fourth = a.multiply(&rescaled, &rescaled)?;
            for _ in 0..3 {
                fourth = twice(a, fourth);
            }
            let sum = plus_terms(a, &fourth, &[(&square, Weight::Real(-8.0))], None)?;
            let t2 = a.relinearize_rescale(&sum)?;
            a.add_constant(t2, Weight::Real(1.0))?
        };
        let t4 = doubled(a, &t2, minus)?;
        let t8 = doubled(a, &t4, minus)?;
        let t3 = {
            let product = a.multiply(&t2, &t1)?;
            let product = twice(a, product);
            let sum = plus_terms(a, &product, &[(&t1, minus)], None)?;
            a.relinearize_rescale(&sum)?
        };
        // p = A + B T_4 + T_8 (C + D T_4), all of degree at most 3; D = E T_2 + rest has to be ready one level earlier.
        let (high, low) = split(&self.series, 8);
        let [[d, c], [b, constant]] = [high, low].map(|p| {
            let (high, low) = split(&p, 4);
            [cubic(&high), cubic(&low)]
        });
        let [l8, l4, l2, l1] = [&t8, &t4, &t2, &t1].map(|x| a.level(x));
        let [s8, s4, s2] = [&t8, &t4, &t2].map(|x| a.scale(x));
        let sum_scale = scale * a.prime(l8)?;
        let tau = sum_scale / s8 * a.prime(l4)?;
        let delta = tau / s4 * a.prime(l2)?;
        let twisted = |v: f64| Weight::Twisted(v, 0);
        let terms = |p: [f64; 4]| [(&t1, twisted(p[1])), (&t2, twisted(p[2])), (&t3, twisted(p[3]))];
        let leading = {
            let inner_scale = delta / s2 * a.prime(l1)?;
            let inner = a.weighted_sum(
                &[(&t1, twisted(2.0 * d[3]))],
                Some(twisted(d[2])),
                l1,
                inner_scale,
            )?;
            let inner = a.rescale(&inner)?;
            let product = a.multiply(&inner, &t2)?;
            let sum = plus_terms(a, &product, &[(&t1, twisted(d[1] - d[3]))], Some(twisted(d[0])))?;
            a.relinearize_rescale(&sum)?
        };
        let upper = {
            let product = a.multiply(&leading, &t4)?;
            let sum = plus_terms(a, &product, &terms(c), Some(twisted(c[0])))?;
            a.relinearize_rescale(&sum)?
        };
        let middle = {
            let middle_scale = sum_scale / s4 * a.prime(l4)?;
            let sum = a.weighted_sum(&terms(b), Some(twisted(b[0])), l4, middle_scale)?;
            a.rescale(&sum)?
        };
        let products = [a.multiply(&upper, &t8)?, a.multiply(&middle, &t4)?];
        let product = a.add(&products[0], &products[1])?;
        let sum = plus_terms(a, &product, &terms(constant), Some(twisted(constant[0])))?;
        a.relinearize_rescale(&sum)
    }
}

/// s -> s + s^3 / 6.
fn arcsine<A: Arithmetic>(a: &mut A, s: &A::Value) -> Result<A::Value> {
    let square = a.multiply(s, s)?;
    let square = a.relinearize_rescale(&square)?;
    // A sixth of the square: six times its scale.
    let scale = 6.0 * a.scale(&square);
    let sixth = a.reinterpret(square, scale);
    let cube = a.multiply(&sixth, s)?;
    let sum = plus_terms(a, &cube, &[(s, Weight::Real(1.0))], None)?;
    a.relinearize_rescale(&sum)
}

/// The coefficients of a polynomial of degree at most 3.
fn cubic(p: &[f64]) -> [f64; 4] {
    let mut out = [0.0; 4];
    out.iter_mut().zip(p).for_each(|(out, p)| *out = *p);
    out
}

/// Twice the value, at half the scale. Under doublings scales therefore settle at twice the primes, which is a bit of
/// precision more than at the primes.
fn twice<A: Arithmetic>(a: &mut A, x: A::Value) -> A::Value {
    let scale = a.scale(&x) / 2.0;
    a.reinterpret(x, scale)
}

/// 2 c^2 + constant, one level down.
fn doubled<A: Arithmetic>(a: &mut A, c: &A::Value, constant: Weight) -> Result<A::Value> {
    let square = a.multiply(c, c)?;
    let square = twice(a, square);
    let square = a.relinearize_rescale(&square)?;
    a.add_constant(square, constant)
}

/// x + sum weight_i x_i + constant, at the level and scale of x.
fn plus_terms<A: Arithmetic>(
    a: &mut A,
    x: &A::Value,
    terms: &[(&A::Value, Weight)],
    constant: Option<Weight>,
) -> Result<A::Value> {
    let (level, scale) = (a.level(x), a.scale(x));
    let rest = a.weighted_sum(terms, constant, level, scale)?;
    a.add(x, &rest)
}

fn level_below(level: usize, depth: usize) -> Result<usize> {
    level.checked_sub(depth).ok_or(Error::Level {
        op: "eval_mod",
        needed: depth,
        found: level,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::chebyshev::evaluate;

    /// The series with its doublings is the sine, to far below what a bootstrap can resolve.
    #[test]
    fn the_series_is_a_cosine() {
        let sine = EvalMod::new(&super::super::BootstrapPreset::N16.bootstrap(15));
        let mut worst = 0.0f64;
        for i in -14..=14 {
            for offset in [-0.01, -0.001, 0.0, 0.0005, 0.004] {
                let x = f64::from(i) + offset;
                let t = (x - 0.25) / sine.bound;
                let mut c = evaluate(&sine.series, 2.0 * t * t - 1.0);
                for _ in 0..3 {
                    c = 2.0 * c * c - 1.0;
                }
                worst = worst.max((c - (TAU * x).sin()).abs());
            }
        }
        assert!(worst < 30f64.exp2().recip(), "2^{:.1}", worst.log2());
    }
}
