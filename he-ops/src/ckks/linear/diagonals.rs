//! Linear maps of the slots, written as their generalised diagonals.

use num_complex::Complex64;
use std::collections::BTreeMap;

/// y\[j\] = sum_k d_k\[j\] x\[j + k\], slots counted modulo `dim`: the diagonals d_k by offset k.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagonals {
    dim: usize,
    by_offset: BTreeMap<i64, Vec<Complex64>>,
}

impl Diagonals {
    /// The zero map of `dim` slots, a power of two.
    #[must_use]
    pub fn zero(dim: usize) -> Self {
        Self {
            dim,
            by_offset: BTreeMap::new(),
        }
    }

    /// A dense real matrix, row-major (out, in), applied to every block of `dim` slots: the diagonals k = 1 - dim ..
    /// dim - 1 do not wrap, so nothing of a neighbouring block leaks in. `dim` is a power of two.
    #[must_use]
    pub fn block_matrix(dim: usize, weights: &[f32]) -> Self {
        let mut out = Self::zero(dim);
        let reach = dim as i64 - 1;
        for k in -reach..=reach {
            let diagonal: Vec<Complex64> = (0..dim as i64)
                .map(|j| match usize::try_from(j + k) {
                    Ok(column) if column < dim => weights
                        .get(j as usize * dim + column)
                        .map_or(Complex64::ZERO, |&w| Complex64::new(f64::from(w), 0.0)),
                    _ => Complex64::ZERO,
                })
                .collect();
            if diagonal.iter().any(|v| *v != Complex64::ZERO) {
                out.by_offset.insert(k, diagonal);
            }
        }
        out
    }

    /// Period of the slots that the map works on.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of diagonals.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_offset.len()
    }

    /// True for the zero map.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_offset.is_empty()
    }

    /// Offsets and diagonals, lowest offset first.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &[Complex64])> {
        self.by_offset.iter().map(|(&k, d)| (k, d.as_slice()))
    }

    /// Adds `value` to entry j of diagonal k.
    pub(crate) fn add(&mut self, k: i64, j: usize, value: Complex64) {
        let dim = self.dim;
        let diagonal = self
            .by_offset
            .entry(k)
            .or_insert_with(|| vec![Complex64::ZERO; dim]);
        if let Some(entry) = diagonal.get_mut(j) {
            *entry += value;
        }
    }

    /// The map `self` after the map `first`. Offsets add; with `cyclic` they are taken modulo the dimension.
    #[must_use]
    pub(crate) fn after(&self, first: &Self, cyclic: bool) -> Self {
        let dim = self.dim as i64;
        let mut out = Self::zero(self.dim);
        for (k, a) in self.iter() {
            for (l, b) in first.iter() {
                let sum = if cyclic { (k + l).rem_euclid(dim) } else { k + l };
                let target = out
                    .by_offset
                    .entry(sum)
                    .or_insert_with(|| vec![Complex64::ZERO; self.dim]);
                for (j, (t, a)) in target.iter_mut().zip(a).enumerate() {
                    let at = (j as i64 + k).rem_euclid(dim) as usize;
                    *t += a * b.get(at).copied().unwrap_or_default();
                }
            }
        }
        out
    }

    /// Every entry j times factors\[j mod len\]; the factors may have a longer period than the map.
    #[must_use]
    pub(crate) fn scaled_rows(&self, factors: &[Complex64]) -> Self {
        let dim = self.dim.max(factors.len());
        let by_offset = self
            .by_offset
            .iter()
            .map(|(&k, d)| {
                let at = |j: usize| d.get(j % self.dim.max(1)).copied().unwrap_or_default();
                let row = |j: usize| factors.get(j % factors.len().max(1)).copied().unwrap_or_default();
                (k, (0..dim).map(|j| at(j) * row(j)).collect())
            })
            .collect();
        Self { dim, by_offset }
    }

    /// The smallest period that all diagonals have.
    #[must_use]
    pub fn period(&self) -> usize {
        let mut period = self.dim.max(1);
        while period > 1 {
            let half = period / 2;
            let repeats = self.by_offset.values().all(|d| {
                d.iter()
                    .zip(d.iter().skip(half))
                    .take(period - half)
                    .all(|(a, b)| a == b)
            });
            if !repeats {
                break;
            }
            period = half;
        }
        period
    }

    /// The map in clear, on a vector whose length is a multiple of the dimension.
    #[must_use]
    pub fn apply(&self, x: &[Complex64]) -> Vec<Complex64> {
        let n = x.len() as i64;
        (0..x.len())
            .map(|j| {
                self.iter()
                    .map(|(k, d)| {
                        let from = (j as i64 + k).rem_euclid(n.max(1)) as usize;
                        d.get(j % self.dim.max(1)).copied().unwrap_or_default()
                            * x.get(from).copied().unwrap_or_default()
                    })
                    .sum()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(n: usize) -> Vec<Complex64> {
        (0..n)
            .map(|i| Complex64::new((i as f64).sin(), (2.0 * i as f64).cos()))
            .collect()
    }

    #[test]
    fn a_block_matrix_multiplies_every_block() {
        let dim = 8;
        let weights: Vec<f32> = (0..64).map(|i| (i as f32 * 0.3).sin()).collect();
        let map = Diagonals::block_matrix(dim, &weights);
        assert_eq!((map.len(), map.period()), (15, 8));
        let x = vector(32);
        let got = map.apply(&x);
        for (b, block) in x.chunks(dim).enumerate() {
            for r in 0..dim {
                let want: Complex64 = (0..dim).map(|c| block[c] * f64::from(weights[r * dim + c])).sum();
                assert!((got[b * dim + r] - want).norm() < 1e-9);
            }
        }
    }

    #[test]
    fn composition_is_one_map_after_the_other() {
        let weights: Vec<f32> = (0..16).map(|i| (i as f32 * 0.7).cos()).collect();
        let a = Diagonals::block_matrix(4, &weights);
        let mut b = Diagonals::zero(4);
        for j in 0..4 {
            b.add(1, j, Complex64::new(j as f64, 1.0));
            b.add(0, j, Complex64::new(0.5, 0.0));
        }
        let x = vector(4);
        let want = a.apply(&b.apply(&x));
        for cyclic in [false, true] {
            for (w, g) in want.iter().zip(a.after(&b, cyclic).apply(&x)) {
                assert!((w - g).norm() < 1e-12);
            }
        }
        let halves = a.scaled_rows(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0].map(|v| Complex64::new(v, 0.0)));
        assert_eq!((halves.dim(), halves.period()), (8, 8));
    }
}
