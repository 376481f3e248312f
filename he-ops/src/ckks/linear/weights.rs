//! The weights of linear maps: encoded once for all primes, then laid out as matrices, prime by prime.
#![expect(
    clippy::indexing_slicing,
    reason = "columns and weights are numbered by the schedule"
)]

use super::schedule::InnerSum;
use crate::Result;
use crate::arith::NttTable;
use crate::arith::dot::scale_in_place;
use crate::ckks::encoder::Encoder;
use crate::par;
use num_complex::Complex64;

/// Weights as integers: 2D doubles for each, D its period.
pub(super) struct Encoded(Vec<Vec<f64>>);

impl Encoded {
    /// `values` tells one period of a weight and its scale.
    ///
    /// # Errors
    /// [`crate::Error::Value`] when an entry does not fit.
    pub(super) fn new<W: Send>(
        encoder: &Encoder,
        weights: Vec<W>,
        values: impl Fn(W) -> (Vec<Complex64>, f64) + Sync + Send,
    ) -> Result<Self> {
        let encode = |weight| {
            let (mut period, scale) = values(weight);
            encoder.subring_coefficients(&mut period, scale)
        };
        par::try_map(weights, encode).map(Self)
    }

    /// The weights modulo one prime, 2D values each in Montgomery form.
    pub(super) fn values(&self, encoder: &Encoder, table: &NttTable) -> Vec<Vec<u64>> {
        let modulus = table.modulus();
        // Montgomery form of the Montgomery form of 1.
        let one = modulus.to_mont52(modulus.to_mont52(1));
        self.0
            .iter()
            .map(|coefficients| {
                let mut values = vec![0; coefficients.len()];
                encoder.subring_values(coefficients, table, &mut values);
                scale_in_place(&mut values, one, 0, modulus);
                values
            })
            .collect()
    }
}

/// How the weights of a matrix lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Constant on runs of this many words: one for each run, sum and column, in this order.
    Runs(usize),
    /// Written out: N words for each sum and column.
    Words,
}

impl Layout {
    /// Runs of fewer words than this are written out where memory allows.
    const MIN_RUN: usize = 8;

    /// For weights of a period that are kept.
    pub(crate) fn of_period(period: usize, n: usize) -> Self {
        match n / (2 * period) {
            run if run < Self::MIN_RUN => Self::Words,
            run => Self::Runs(run),
        }
    }

    /// Words of a weight, of N entries.
    pub(crate) fn words(self, n: usize) -> usize {
        match self {
            Self::Runs(run) => n / run,
            Self::Words => n,
        }
    }
}

/// The weights of a few sums modulo one prime: those of the columns in use, zeros where a sum has none.
pub(super) struct Matrix {
    pub sums: usize,
    pub columns: Vec<usize>,
    pub weights: Vec<u64>,
}

impl Matrix {
    /// From the values of all weights; `columns` in increasing order, terms of other columns are left out.
    pub(super) fn new(
        sums: &[InnerSum],
        columns: Vec<usize>,
        values: &[Vec<u64>],
        layout: Layout,
        n: usize,
    ) -> Self {
        let width = sums.len() * columns.len();
        let words = layout.words(n);
        let mut weights = vec![0; words * width];
        for (j, sum) in sums.iter().enumerate() {
            let mut lists: Vec<&[u64]> = vec![&[]; columns.len()];
            for (column, weight) in &sum.terms {
                if let Ok(k) = columns.binary_search(column) {
                    lists[k] = &values[*weight];
                }
            }
            match layout {
                Layout::Runs(_) => fill(&mut weights, width, j * columns.len(), &lists),
                Layout::Words => {
                    let limbs = weights.chunks_mut(n).skip(j * columns.len());
                    for (limb, values) in limbs.zip(lists).filter(|(_, values)| !values.is_empty()) {
                        for (run, value) in limb.chunks_mut(n / values.len()).zip(values) {
                            run.fill(*value);
                        }
                    }
                }
            }
        }
        Self {
            sums: sums.len(),
            columns,
            weights,
        }
    }
}

/// Rows that are filled together: a cache line of the matrix.
const LINE: usize = 8;

/// Fills the matrix of one sum, at `from` of every row of `width` words: entry k of row r is value r of the k-th list,
/// lists of shorter periods repeat their values; an empty list counts as zero.
fn fill(matrix: &mut [u64], width: usize, from: usize, lists: &[&[u64]]) {
    let rows = matrix.len() / width.max(1);
    for (l, lists) in lists.chunks(LINE).enumerate() {
        // Row r takes value r >> shift.
        let mut sources: [(&[u64], u32); LINE] = [(&[0], u32::BITS - 1); LINE];
        for (source, list) in sources.iter_mut().zip(lists) {
            if !list.is_empty() {
                *source = (list, (rows / list.len()).trailing_zeros());
            }
        }
        for (r, row) in matrix.chunks_exact_mut(width.max(1)).enumerate() {
            let line = &mut row[from + l * LINE..];
            for (slot, (values, shift)) in line.iter_mut().zip(&sources).take(lists.len()) {
                *slot = values[r >> shift];
            }
        }
    }
}
