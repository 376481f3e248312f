//! The transforms between slots and coefficients, factored into a few sparse maps (ePrint 2018/1043, 2020/1203).
//!
//! Both leave out the bit reversal: the coefficients lie in bit-reversed order between them, which nobody sees.

use crate::Result;
use crate::ckks::Diagonals;
use crate::error::broken;
use num_complex::Complex64;
use std::collections::BTreeSet;

/// One butterfly stage on n slots in blocks of `len`: of the transform to values, or of its inverse.
#[expect(clippy::indexing_slicing, reason = "an entry of half a block")]
fn stage(n: usize, len: usize, inverse: bool) -> Diagonals {
    let half = len / 2;
    let mut powers = Vec::with_capacity(half);
    let mut power = 1usize;
    for _ in 0..half {
        powers.push(power);
        power = power * 5 % (4 * len);
    }
    let root = |j: usize| {
        let angle = std::f64::consts::TAU * powers[j] as f64 / (4 * len) as f64;
        Complex64::from_polar(1.0, if inverse { -angle } else { angle })
    };
    let [up, down] = steps(n, len);
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

/// By how much a stage moves entries within blocks, up and down: one and the same where the block is everything.
fn steps(n: usize, len: usize) -> [i64; 2] {
    let half = (len / 2) as i64;
    [half, if len == n { half } else { -half }]
}

/// Whether a stage after maps of these offsets makes all offsets cyclic: one of a block of the whole vector is involved.
fn wraps(n: usize, len: usize, mut offsets: impl Iterator<Item = i64>) -> bool {
    len == n || offsets.any(|k| 2 * k == n as i64)
}

/// The block lengths of the stages of each map, in order of evaluation: from slots to coefficients the smallest first,
/// back the largest.
pub(super) fn blocks(radices: &[u32], inverse: bool) -> Vec<Vec<usize>> {
    let total: u32 = radices.iter().sum();
    let mut stages = (1..=total).map(|s| 1 << if inverse { total + 1 - s } else { s });
    let map = |&radix: &u32| stages.by_ref().take(radix as usize).collect();
    radices.iter().map(map).collect()
}

/// The offsets of the diagonals of stages on n slots, without their values.
pub(super) fn offsets(n: usize, lens: &[usize]) -> Vec<i64> {
    let mut out = BTreeSet::from([0]);
    for &len in lens {
        let cyclic = wraps(n, len, out.iter().copied());
        let [up, down] = steps(n, len);
        let sums = out.iter().flat_map(|k| [0, up, down].map(|step| k + step));
        out = sums
            .map(|k| if cyclic { k.rem_euclid(n as i64) } else { k })
            .collect();
    }
    out.into_iter().collect()
}

/// The maps of all stages, some of them merged.
fn maps(n: usize, radices: &[u32], inverse: bool) -> Result<Vec<Diagonals>> {
    let merged = |lens: Vec<usize>| {
        let mut stages = lens.into_iter().map(|len| (len, stage(n, len, inverse)));
        let (_, first) = stages.next().ok_or_else(|| broken("every map has a stage"))?;
        Ok(stages.fold(first, |first, (len, next)| {
            next.after(&first, wraps(n, len, first.iter().map(|(k, _)| k)))
        }))
    };
    blocks(radices, inverse).into_iter().map(merged).collect()
}

/// Slots to coefficients: new slots = sum over coefficients of old slots times powers of the roots.
pub(super) fn slots_to_coeffs(n: usize, radices: &[u32]) -> Result<Vec<Diagonals>> {
    maps(n, radices, false)
}

/// Coefficients to slots, the inverse of [`slots_to_coeffs`].
pub(super) fn coeffs_to_slots(n: usize, radices: &[u32]) -> Result<Vec<Diagonals>> {
    maps(n, radices, true)
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
            let maps = slots_to_coeffs(n, &radices).unwrap();
            let got = maps.iter().fold(z.clone(), |x, map| map.apply(&x));
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
        let there = slots_to_coeffs(n, &[3, 3, 3]).unwrap();
        let back = coeffs_to_slots(n, &[3, 3, 3]).unwrap();
        let got = there.iter().chain(&back).fold(z.clone(), |x, map| map.apply(&x));
        for (g, w) in got.iter().zip(&z) {
            assert!((g - w).norm() < 1e-9);
        }
        let shape = |maps: &[Diagonals]| maps.iter().map(|m| (m.len(), m.period())).collect::<Vec<_>>();
        assert_eq!(shape(&there), [(15, 8), (15, 64), (8, 512)]);
        assert_eq!(shape(&back), [(8, 512), (15, 64), (15, 8)]);
    }

    #[test]
    fn offsets_are_those_of_the_matrices() {
        let n = 256;
        for radices in [vec![3, 3, 2], vec![4, 4], vec![2, 6], vec![8], vec![1, 2, 5]] {
            for inverse in [false, true] {
                let lens = blocks(&radices, inverse);
                for (map, lens) in maps(n, &radices, inverse).unwrap().iter().zip(&lens) {
                    let found: Vec<i64> = map.iter().map(|(k, _)| k).collect();
                    assert_eq!(offsets(n, lens), found);
                    assert_eq!(map.period(), lens.iter().copied().max().unwrap());
                }
            }
        }
    }
}
