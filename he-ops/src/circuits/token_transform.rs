//! Matrix times vector, for every token at once: diagonals, baby steps and giant steps.

use std::collections::BTreeMap;

use super::{Circuit, check_inputs};
use crate::ckks::Pattern;
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// A dense matrix, row-major, (out, in) as in the files of a model; complex entries are two real matrices.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    re: Vec<f32>,
    im: Option<Vec<f32>>,
}

impl Matrix {
    /// A real matrix.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are not rows * cols entries.
    pub fn real(rows: usize, cols: usize, entries: Vec<f32>) -> Result<Self> {
        if entries.len() != rows * cols {
            return Err(Error::Shape {
                what: "entries of a matrix",
                needed: rows * cols,
                found: entries.len(),
            });
        }
        Ok(Matrix {
            rows,
            cols,
            re: entries,
            im: None,
        })
    }

    /// A complex matrix.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are not rows * cols entries in each part.
    pub fn complex(rows: usize, cols: usize, re: Vec<f32>, im: Vec<f32>) -> Result<Self> {
        let im = Matrix::real(rows, cols, im)?.re;
        Ok(Matrix {
            im: Some(im),
            ..Matrix::real(rows, cols, re)?
        })
    }

    /// Rows: length of the result.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: length of the operand.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Real and imaginary part; zero outside of the matrix.
    #[expect(
        clippy::indexing_slicing,
        reason = "`real` and `complex` refuse another number of entries"
    )]
    pub(super) fn entry(&self, row: usize, col: usize) -> (f32, f32) {
        if row >= self.rows || col >= self.cols {
            return (0.0, 0.0);
        }
        let at = |part: &[f32]| part[row * self.cols + col];
        (at(&self.re), self.im.as_deref().map_or(0.0, at))
    }

    /// diag_k(j) = W\[j, j + k\] for slots j of one period, shifted right by `shift` slots.
    fn diagonal(&self, k: i64, period: usize, shift: i64) -> Result<Pattern> {
        let mut re = vec![0.0; period];
        let mut im = vec![0.0; period];
        for (j, (re, im)) in re.iter_mut().zip(&mut im).enumerate() {
            let row = (j as i64 - shift).rem_euclid(period as i64);
            if let (Ok(row), Ok(col)) = (usize::try_from(row), usize::try_from(row + k)) {
                (*re, *im) = self.entry(row, col);
            }
        }
        Pattern::complex(re, im)
    }
}

/// y = Σ_i W_i x_i for every token: matrices of up to `dim` rows and columns on slots of period `dim`.
///
/// y\[j\] = Σ_k diag_k(j) x\[j + k\] with the non-cyclic diagonals diag_k(j) = W\[j, j + k\], -dim < k < dim; entries
/// outside of the matrix are zero, so nothing of a neighbouring token leaks in and no mask is needed. With k = n g + b,
/// 0 <= b < n: the baby steps rot_b(x) are shared by every matrix on the same input, and the giant steps are summed by
/// Horner's rule with the two rotations +n and -n only:
///
/// Σ_g rot_{n g}(Σ_b rot_{-n g}(diag_{n g + b}) * rot_b(x)).
///
/// Baby steps are composed of rotations by powers of two, which are few keys. Diagonals of zeros are left out.
///
/// **Level:** in -> in - 1. **Keys:** rotations 1, 2, .., n/2, +n and -n.
/// **Cost:** at most n - 1 rotations for each input and 2 dim / n - 1 for the giant steps, one plaintext product for
/// each diagonal. **Reference:** ePrint 2014/106 (diagonals), 2018/244 (baby steps, giant steps).
#[derive(Debug, Clone)]
pub struct TokenTransform {
    slots: usize,
    dim: usize,
    baby_steps: usize,
    matrices: Vec<Matrix>,
}

impl TokenTransform {
    /// One matrix for each input. `dim` is the period of the slots, a power of two.
    ///
    /// # Errors
    /// [`Error::Circuit`] for a period that is no power of two or does not fit the slots, for no matrix at all, and
    /// for a matrix with more than `dim` rows or columns.
    pub fn new(slots: usize, dim: usize, matrices: Vec<Matrix>) -> Result<Self> {
        let refuse = |reason: String| {
            Err(Error::Circuit {
                circuit: "token_transform",
                reason,
            })
        };
        if !dim.is_power_of_two() || dim > slots {
            return refuse(format!(
                "a period that is a power of two up to {slots} needed, {dim} found"
            ));
        }
        if matrices.is_empty() {
            return refuse("at least one matrix needed".to_owned());
        }
        for Matrix { rows, cols, .. } in &matrices {
            if *rows > dim || *cols > dim {
                return refuse(format!(
                    "matrices of up to {dim} x {dim} needed, {rows} x {cols} found; split it"
                ));
            }
        }
        // The power of two next above sqrt(2 dim): baby steps are shared between matrices, so rather more of them.
        let baby_steps = 1 << (dim.trailing_zeros() + 2).div_ceil(2);
        Ok(TokenTransform {
            slots,
            dim,
            baby_steps: usize::min(baby_steps, dim),
            matrices,
        })
    }

    /// Another number of baby steps, a power of two up to `dim`: more of them where several matrices share an input.
    ///
    /// # Errors
    /// [`Error::Circuit`] for another number.
    pub fn with_baby_steps(self, baby_steps: usize) -> Result<Self> {
        if baby_steps.is_power_of_two() && baby_steps <= self.dim {
            return Ok(TokenTransform { baby_steps, ..self });
        }
        let reason = format!(
            "a power of two of baby steps up to {} needed, {baby_steps} found",
            self.dim
        );
        Err(Error::Circuit {
            circuit: "token_transform",
            reason,
        })
    }

    /// Diagonals that are not zero.
    ///
    /// # Errors
    /// As [`Circuit::expand`].
    pub fn plaintext_products(&self) -> Result<usize> {
        Ok(self.profile()?.counts.plain_products)
    }

    /// Inner sums by giant step.
    fn giants(&self) -> Result<BTreeMap<i64, Vec<Term>>> {
        let n = self.baby_steps as i64;
        let dim = self.dim as i64;
        let mut giants: BTreeMap<i64, Vec<Term>> = BTreeMap::new();
        for (input, matrix) in self.matrices.iter().enumerate() {
            for k in 1 - dim..dim {
                let (giant, baby) = (k.div_euclid(n), k.rem_euclid(n));
                let weights = matrix.diagonal(k, self.dim, n * giant)?;
                if !weights.is_zero() {
                    giants
                        .entry(giant)
                        .or_default()
                        .push((input, baby as usize, weights));
                }
            }
        }
        if giants.is_empty() {
            // A zero matrix still has a result.
            giants.insert(0, vec![(0, 0, Pattern::constant(0.0)?)]);
        }
        Ok(giants)
    }
}

/// Input, baby step, weights.
type Term = (usize, usize, Pattern);

/// rot_k(x), composed of rotations by powers of two; equal prefixes are equal nodes.
fn baby(g: &mut Graph, x: NodeId, k: usize) -> NodeId {
    if k == 0 {
        return x;
    }
    let lowest = k & k.wrapping_neg();
    let rest = baby(g, x, k - lowest);
    g.rotate(rest, lowest as i64)
}

/// Σ_{g > 0} rot_{n g}(inner(g)) by Horner's rule, from the outermost giant step inwards.
fn horner(g: &mut Graph, giants: &BTreeMap<u64, NodeId>, n: i64) -> Option<NodeId> {
    let (outermost, _) = giants.last_key_value()?;
    let mut sum = None;
    for giant in (1..=*outermost).rev() {
        let inner = giants.get(&giant).copied();
        let both = match (sum, inner) {
            (Some(sum), Some(inner)) => Some(g.add(sum, inner)),
            (sum, inner) => sum.or(inner),
        };
        sum = both.map(|both| g.rotate(both, n));
    }
    sum
}

impl Circuit for TokenTransform {
    fn name(&self) -> &'static str {
        "token_transform"
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn arity(&self) -> usize {
        self.matrices.len()
    }

    fn expand(&self, g: &mut Graph, inputs: &[NodeId]) -> Result<NodeId> {
        check_inputs(self, g, inputs)?;
        let giants = self.giants()?;
        g.category("plaintext matmul", |g| {
            let (mut left, mut right, mut total) = (BTreeMap::new(), BTreeMap::new(), None);
            for (giant, terms) in giants {
                let mut sum = Vec::with_capacity(terms.len());
                for (input, steps, weights) in terms {
                    if let Some(x) = inputs.get(input) {
                        sum.push((baby(g, *x, steps), weights));
                    }
                }
                let inner = g.weighted_sum(sum);
                match giant {
                    0 => total = Some(inner),
                    1.. => _ = left.insert(giant.unsigned_abs(), inner),
                    _ => _ = right.insert(giant.unsigned_abs(), inner),
                }
            }
            let n = self.baby_steps as i64;
            for part in [horner(g, &left, n), horner(g, &right, -n)].into_iter().flatten() {
                total = Some(match total {
                    Some(total) => g.add(total, part),
                    None => part,
                });
            }
            total.ok_or(Error::Circuit {
                circuit: "token_transform",
                reason: "no diagonal".to_owned(),
            })
        })
    }
}
