//! Random numbers and random linear maps.

use crate::error::Result;
use crate::matrix::Matrix;
use crate::model::weights::{Linear, Weight};

/// SplitMix64: the same numbers on every machine, and nothing that must stay secret.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Twelve uniforms less six: near enough to a normal, and bounded.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// `n` values around `mean`, rounded to f32.
    pub(crate) fn vector(&mut self, n: usize, deviation: f64, mean: f64) -> Vec<f64> {
        (0..n)
            .map(|_| f64::from((mean + deviation * self.normal()) as f32))
            .collect()
    }

    pub(crate) fn matrix(&mut self, rows: usize, cols: usize, deviation: f64) -> Matrix {
        Matrix::from_fn(rows, cols, |_, _| f64::from((deviation * self.normal()) as f32))
    }
}

pub(crate) fn f32_of(x: f64) -> f64 {
    f64::from(x as f32)
}

/// Deviation `1 / sqrt(cols)`, so that outputs are as large as inputs.
pub(crate) fn linear(random: &mut Random, rows: usize, cols: usize, bias: f64) -> Linear {
    Linear {
        weight: Weight::Values(random.matrix(rows, cols, 1.0 / (cols as f64).sqrt())),
        bias: random.vector(rows, bias, 0.0),
    }
}

/// [`linear`] with a direction of its own that is `strength` times as strong as all others: what it adds to a token
/// depends on the token, and so do the variances that the norms see.
pub(crate) fn heavy(random: &mut Random, rows: usize, cols: usize, strength: f64) -> Linear {
    let mut map = linear(random, rows, cols, 0.1);
    let (left, right) = (random.vector(rows, 1.0, 0.0), random.vector(cols, strength, 0.0));
    if let Weight::Values(matrix) = &map.weight {
        let factor = 1.0 / (cols as f64).sqrt();
        let at = |v: &[f64], i: usize| v.get(i).copied().unwrap_or(0.0);
        map.weight = Weight::Values(Matrix::from_fn(rows, cols, |i, j| {
            f32_of(matrix.get(i, j) + factor * at(&left, i) * at(&right, j))
        }));
    }
    map
}

/// The linear map with output i multiplied by `factor(i)`.
pub(crate) fn scaled(linear: &Linear, factor: impl Fn(usize) -> f64) -> Result<Linear> {
    let matrix = linear.weight.values()?;
    let weight = Matrix::from_fn(matrix.rows(), matrix.cols(), |i, j| {
        f32_of(factor(i) * matrix.get(i, j))
    });
    let bias = (linear.bias.iter().enumerate())
        .map(|(i, b)| f32_of(factor(i) * b))
        .collect();
    Ok(Linear {
        weight: Weight::Values(weight),
        bias,
    })
}
