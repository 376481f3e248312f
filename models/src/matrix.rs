//! A small dense matrix in f64, enough to fold weights into each other.

#![expect(
    clippy::indexing_slicing,
    reason = "shapes are checked when a matrix is made; inner loops"
)]

use crate::error::{Error, Result};

/// Row-major matrix of f64, `data[i * cols + j]`.
///
/// A linear layer is (outputs, inputs), as in PyTorch: `y = W x + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

impl Matrix {
    /// A matrix from its values, row by row.
    ///
    /// # Errors
    /// - the number of values is not `rows * cols`
    pub fn new(rows: usize, cols: usize, data: Vec<f64>) -> Result<Self> {
        if data.len() != rows * cols {
            return Err(Error::Length {
                what: "matrix",
                needed: rows * cols,
                found: data.len(),
            });
        }
        Ok(Self { rows, cols, data })
    }

    /// The matrix with `value(i, j)` in row i, column j.
    pub fn from_fn(rows: usize, cols: usize, mut value: impl FnMut(usize, usize) -> f64) -> Self {
        let data = (0..rows)
            .flat_map(|i| (0..cols).map(move |j| (i, j)))
            .map(|(i, j)| value(i, j))
            .collect();
        Self { rows, cols, data }
    }

    /// Number of rows (outputs).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns (inputs).
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Entry (i, j); zero outside, so that a padded matrix need not be copied.
    pub fn get(&self, i: usize, j: usize) -> f64 {
        if i < self.rows && j < self.cols {
            self.data[i * self.cols + j]
        } else {
            0.0
        }
    }

    /// Row i.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// `W x`.
    pub fn apply(&self, x: &[f64]) -> Vec<f64> {
        (0..self.rows)
            .map(|i| self.row(i).iter().zip(x).map(|(w, x)| w * x).sum())
            .collect()
    }

    /// `W x + b`.
    pub fn affine(&self, x: &[f64], b: &[f64]) -> Vec<f64> {
        self.apply(x).iter().zip(b).map(|(y, b)| y + b).collect()
    }

    /// The product `self * other`.
    pub fn product(&self, other: &Self) -> Self {
        Self::from_fn(self.rows, other.cols, |i, j| {
            (0..self.cols.min(other.rows))
                .map(|k| self.get(i, k) * other.get(k, j))
                .sum()
        })
    }

    /// The matrix with column j multiplied by `factors[j]`: `W diag(factors)`.
    pub fn scale_columns(&self, factors: &[f64]) -> Self {
        Self::from_fn(self.rows, self.cols, |i, j| {
            self.get(i, j) * factors.get(j).copied().unwrap_or(0.0)
        })
    }

    /// The matrix with every entry multiplied by `factor`.
    pub fn scale(&self, factor: f64) -> Self {
        Self::from_fn(self.rows, self.cols, |i, j| self.get(i, j) * factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_scalings_agree_with_application() {
        let a = Matrix::from_fn(2, 3, |i, j| (i * 3 + j) as f64);
        let b = Matrix::from_fn(3, 2, |i, j| 1.0 + i as f64 - 2.0 * j as f64);
        let x = [0.5, -2.0];
        assert_eq!(a.product(&b).apply(&x), a.apply(&b.apply(&x)));
        let y = [1.0, 2.0, 3.0];
        assert_eq!(
            a.scale_columns(&[2.0, 3.0, 4.0]).apply(&y),
            a.apply(&[2.0, 6.0, 12.0])
        );
        assert_eq!(a.scale(2.0).affine(&y, &[1.0, -1.0]), vec![17.0, 51.0]);
        assert_eq!(a.get(5, 0), 0.0);
    }

    #[test]
    fn wrong_length_is_refused() {
        assert!(matches!(
            Matrix::new(2, 2, vec![0.0; 3]),
            Err(Error::Length {
                needed: 4,
                found: 3,
                ..
            })
        ));
    }
}
