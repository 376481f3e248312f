//! Polynomials as coefficients of T_0, T_1, .., the Chebyshev polynomials.

use std::f64::consts::PI;

/// Coefficients of the T_k with these k of the interpolation of `f`, on \[-1, 1\], in so many Chebyshev nodes.
pub(crate) fn interpolate(
    f: impl Fn(f64) -> f64,
    nodes: usize,
    powers: impl Iterator<Item = usize>,
) -> Vec<f64> {
    let angle = |i: usize| PI * (i as f64 + 0.5) / nodes as f64;
    let samples: Vec<f64> = (0..nodes).map(|i| f(angle(i).cos())).collect();
    let coefficient = |k: usize| {
        let terms = samples.iter().enumerate();
        let sum: f64 = terms.map(|(i, y)| y * (k as f64 * angle(i)).cos()).sum();
        sum * if k == 0 { 1.0 } else { 2.0 } / nodes as f64
    };
    powers.map(coefficient).collect()
}

/// p(t), by Clenshaw's recurrence.
pub(crate) fn evaluate(p: &[f64], t: f64) -> f64 {
    let Some((constant, others)) = p.split_first() else {
        return 0.0;
    };
    let (mut next, mut after) = (0.0, 0.0);
    for c in others.iter().rev() {
        (next, after) = (c + 2.0 * t * next - after, next);
    }
    constant + t * next - after
}

/// (q, r) with p = q T_at + r, by T_(at + i) = 2 T_at T_i - T_(at - i): what the method of Paterson and Stockmeyer
/// does again and again. The degree of p is below 2 at.
pub(crate) fn split(p: &[f64], at: usize) -> (Vec<f64>, Vec<f64>) {
    let (low, high) = p.split_at(at.min(p.len()));
    let (mut q, mut r) = (high.to_vec(), low.to_vec());
    // T_(at - i) for i from 1.
    for (c, mirror) in q.iter_mut().skip(1).zip(r.iter_mut().rev()) {
        *mirror -= *c;
        *c *= 2.0;
    }
    (q, r)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_keeps_the_value() {
        let p: Vec<f64> = (0..16).map(|i| (f64::from(i) * 0.9).sin()).collect();
        let (q, r) = split(&p, 8);
        for x in [-0.9, -0.3, 0.2, 0.77f64] {
            let t8 = (8.0 * x.acos()).cos();
            assert!((evaluate(&p, x) - evaluate(&q, x) * t8 - evaluate(&r, x)).abs() < 1e-12);
        }
    }

    #[test]
    fn an_interpolation_meets_its_function() {
        let p = interpolate(f64::exp, 16, 0..16);
        for x in [-1.0, -0.4, 0.0, 0.9] {
            assert!((evaluate(&p, x) - x.exp()).abs() < 1e-13);
        }
        // An even function from its even terms.
        let even = interpolate(f64::cos, 24, (0..8).map(|k| 2 * k));
        assert!((evaluate(&even, 2.0 * 0.36 - 1.0) - 0.6f64.cos()).abs() < 1e-13);
    }
}
