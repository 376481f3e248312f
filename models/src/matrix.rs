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

    /// `W x + b` for every row of `x`, (n, cols) row-major -> (n, rows) row-major.
    ///
    /// Two rows of W meet two rows of x at a time, in four running sums each, so that the compiler can use vectors.
    ///
    /// # Errors
    /// - `x` is not whole rows, or `b` has another length than W has rows
    pub fn affine_rows(&self, x: &[f64], b: &[f64]) -> Result<Vec<f64>> {
        let n = x.len() / self.cols.max(1);
        for (what, needed, found) in [
            ("rows of a matrix product", n * self.cols, x.len()),
            ("bias", self.rows, b.len()),
        ] {
            if needed != found {
                return Err(Error::Length { what, needed, found });
            }
        }
        let mut out = vec![0.0; n * self.rows];
        let of_x = |t: usize| &x[t * self.cols..(t + 1) * self.cols];
        for i in (0..self.rows).step_by(2) {
            for t in (0..n).step_by(2) {
                let (i1, t1) = ((i + 1).min(self.rows - 1), (t + 1).min(n - 1));
                let [y00, y01, y10, y11] = dots([self.row(i), self.row(i1)], [of_x(t), of_x(t1)]);
                // the last odd row is done twice, to the same result
                out[t1 * self.rows + i1] = y11 + b[i1];
                out[t1 * self.rows + i] = y10 + b[i];
                out[t * self.rows + i1] = y01 + b[i1];
                out[t * self.rows + i] = y00 + b[i];
            }
        }
        Ok(out)
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

/// `[x0.w0, x0.w1, x1.w0, x1.w1]` of rows of equal length.
fn dots([w0, w1]: [&[f64]; 2], [x0, x1]: [&[f64]; 2]) -> [f64; 4] {
    let mut sums = [[0.0; 4]; 4];
    let ((w0, w0_rest), (w1, w1_rest)) = (w0.as_chunks::<4>(), w1.as_chunks::<4>());
    let ((x0, x0_rest), (x1, x1_rest)) = (x0.as_chunks::<4>(), x1.as_chunks::<4>());
    for ((w0, w1), (x0, x1)) in w0.iter().zip(w1).zip(x0.iter().zip(x1)) {
        for lane in 0..4 {
            sums[0][lane] += x0[lane] * w0[lane];
            sums[1][lane] += x0[lane] * w1[lane];
            sums[2][lane] += x1[lane] * w0[lane];
            sums[3][lane] += x1[lane] * w1[lane];
        }
    }
    let mut totals = sums.map(|lanes| (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]));
    for ((w0, w1), (x0, x1)) in w0_rest.iter().zip(w1_rest).zip(x0_rest.iter().zip(x1_rest)) {
        totals[0] += x0 * w0;
        totals[1] += x0 * w1;
        totals[2] += x1 * w0;
        totals[3] += x1 * w1;
    }
    totals
}

/// The inner product, in four running sums.
pub(crate) fn dot(x: &[f64], y: &[f64]) -> f64 {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<4>(), y.as_chunks::<4>());
    let mut sums = [0.0; 4];
    for (x, y) in x.iter().zip(y) {
        for lane in 0..4 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
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
    fn many_rows_at_once_are_the_rows_one_by_one() {
        for (rows, cols, n) in [(1, 1, 1), (2, 3, 4), (5, 9, 3), (4, 8, 1), (3, 6, 5)] {
            let w = Matrix::from_fn(rows, cols, |i, j| (i as f64 + 1.0) / (j as f64 + 2.0));
            let x: Vec<f64> = (0..n * cols).map(|i| (i as f64).sin()).collect();
            let b: Vec<f64> = (0..rows).map(|i| i as f64).collect();
            let found = w.affine_rows(&x, &b).unwrap();
            assert_eq!(found.len(), n * rows);
            for (found, x) in found.chunks(rows).zip(x.chunks(cols)) {
                for ((found, expected), i) in found.iter().zip(w.affine(x, &b)).zip(0..) {
                    assert!((found - expected).abs() < 1e-12);
                    assert!((found - b[i] - dot(w.row(i), x)).abs() < 1e-12);
                }
            }
        }
        let w = Matrix::from_fn(2, 3, |_, _| 1.0);
        assert!(w.affine_rows(&[0.0; 4], &[0.0; 2]).is_err());
        assert!(w.affine_rows(&[0.0; 6], &[0.0; 3]).is_err());
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
