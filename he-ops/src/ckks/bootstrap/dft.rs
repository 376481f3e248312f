//! The transforms between slots and coefficients, factored into a few sparse maps (ePrint 2018/1043, 2020/1203).
//!
//! Both leave out the bit reversal: the coefficients lie in bit-reversed order between them, which nobody sees.

use crate::ckks::Diagonals;
use num_complex::Complex64;

/// One butterfly stage on n slots in blocks of `len`: of the transform to values, or of its inverse.
fn stage(n: usize, len: usize, inverse: bool) -> Diagonals {
    let half = len / 2;
    let mut powers = Vec::with_capacity(half);
    let mut power = 1usize;
    for _ in 0..half {
        powers.push(power);
        power = power * 5 % (4 * len);
    }
    let root = |j: usize| {
        let angle = std::f64::consts::TAU * powers.get(j).copied().unwrap_or(0) as f64 / (4 * len) as f64;
        Complex64::from_polar(1.0, if inverse { -angle } else { angle })
    };
    // Steps of +len/2 and -len/2 are one where the block is everything.
    let (up, down) = (half as i64, if len == n { half as i64 } else { -(half as i64) });
    let one = Complex64::new(1.0, 0.0);
    let mut out = Diagonals::zero(n);
    for base in (0..n).step_by(len) {
        for j in 0..half {
            let (lo, hi, w) = (base + j, base + half + j, root(j));
            let entries = if inverse {
                [(0, lo, one), (up, lo, one), (0, hi, -w), (down, hi, w)].map(|(k, at, v)| (k, at, v * 0.5))
            } else {
                [(0, lo, one), (up, lo, w), (0, hi, -w), (down, hi, one)]
            };
            for (k, at, value) in entries {
                out.add(k, at, value);
            }
        }
    }
    out
}

/// The stages of some block lengths as one map, in order of evaluation.
fn merged(n: usize, lens: impl Iterator<Item = usize>, inverse: bool) -> Diagonals {
    let mut out: Option<Diagonals> = None;
    for len in lens {
        let next = stage(n, len, inverse);
        out = Some(match out {
            // Blocks of the whole vector make all offsets cyclic.
            Some(first) => next.after(&first, len == n || first.iter().any(|(k, _)| 2 * k == n as i64)),
            None => next,
        });
    }
    out.unwrap_or_default()
}

/// Slots to coefficients: new slots = sum over coefficients of old slots times powers of the roots; radices in order
/// of evaluation, smallest blocks first.
pub(super) fn slots_to_coeffs(n: usize, radices: &[u32]) -> Vec<Diagonals> {
    let mut done = 0;
    radices
        .iter()
        .map(|&radix| {
            let lens = (done + 1..=done + radix).map(|s| 1usize << s);
            done += radix;
            merged(n, lens, false)
        })
        .collect()
}

/// Coefficients to slots, the inverse of [`slots_to_coeffs`]: largest blocks first.
pub(super) fn coeffs_to_slots(n: usize, radices: &[u32]) -> Vec<Diagonals> {
    let mut left = n.trailing_zeros();
    radices
        .iter()
        .map(|&radix| {
            let lens = (left.saturating_sub(radix) + 1..=left).rev().map(|s| 1usize << s);
            left = left.saturating_sub(radix);
            merged(n, lens, true)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::ntt::bit_reverse;

    /// zeta_(4 len)^(5^j): the twiddle of entry j in a block of `len`.
    fn twiddle(len: usize, j: usize) -> Complex64 {
        let quad = 4 * len;
        let power = (0..j).fold(1usize, |p, _| p * 5 % quad);
        Complex64::from_polar(1.0, std::f64::consts::TAU * power as f64 / quad as f64)
    }

    fn vector(n: usize) -> Vec<Complex64> {
        (0..n)
            .map(|i| Complex64::new((i as f64 * 0.7).sin(), (i as f64 * 1.3).cos()))
            .collect()
    }

    #[test]
    fn slots_become_the_coefficients_in_bit_reversed_order() {
        let n = 64;
        for radices in [vec![6], vec![3, 3], vec![2, 2, 2], vec![1, 3, 2]] {
            let z = vector(n);
            let got = slots_to_coeffs(n, &radices)
                .iter()
                .fold(z.clone(), |x, map| map.apply(&x));
            for (j, got) in got.iter().enumerate() {
                // Slot j of the polynomial whose complex coefficients are z: its value at zeta_4n^(5^j).
                let root = twiddle(n, j);
                let want: Complex64 = (0..n).map(|i| z[bit_reverse(i, 6)] * root.powu(i as u32)).sum();
                assert!((got - want).norm() < 1e-9, "slot {j}");
            }
        }
    }

    #[test]
    fn coefficients_to_slots_undoes_it_and_has_few_diagonals_of_short_period() {
        let n = 512;
        let z = vector(n);
        let there = slots_to_coeffs(n, &[3, 3, 3]);
        let back = coeffs_to_slots(n, &[3, 3, 3]);
        let got = there.iter().chain(&back).fold(z.clone(), |x, map| map.apply(&x));
        for (g, w) in got.iter().zip(&z) {
            assert!((g - w).norm() < 1e-9);
        }
        let shape = |maps: &[Diagonals]| maps.iter().map(|m| (m.len(), m.period())).collect::<Vec<_>>();
        assert_eq!(shape(&there), [(15, 8), (15, 64), (8, 512)]);
        assert_eq!(shape(&back), [(8, 512), (15, 64), (15, 8)]);
    }
}
