//! The weights of linear maps, encoded on the fly.

use crate::Result;
use crate::arith::NttTable;
use crate::arith::dot::scale_in_place;
use crate::ckks::encoder::Encoder;
use crate::ckks::linear::pattern::Pattern;
use crate::par;
use num_complex::Complex64;
use std::collections::HashMap;
use std::sync::Mutex;

/// What a weight is encoded from: the digest of a pattern, by how much it is turned, the bits of its scale.
type CodeKey = ([u8; 32], usize, u64);

/// One weight.
struct Code<'a> {
    pattern: &'a Pattern,
    turn: usize,
    scale: f64,
}

/// The different weights of a group of maps: masks repeat a lot, each is encoded once.
#[derive(Default)]
pub(super) struct Codes<'a> {
    known: HashMap<CodeKey, usize>,
    list: Vec<Code<'a>>,
}

impl<'a> Codes<'a> {
    /// The number of the weight w\[j\] = pattern\[j - shift\] at a scale.
    pub(super) fn number(&mut self, pattern: &'a Pattern, shift: i64, scale: f64) -> usize {
        let turn = shift.rem_euclid(pattern.period().max(1) as i64) as usize;
        let digest = *blake3::hash(&pattern.canonical_bytes()).as_bytes();
        let list = &mut self.list;
        *self
            .known
            .entry((digest, turn, scale.to_bits()))
            .or_insert_with(|| {
                list.push(Code { pattern, turn, scale });
                list.len() - 1
            })
    }

    /// Largest period.
    pub(super) fn period(&self) -> usize {
        let periods = self.list.iter().map(|code| code.pattern.period());
        periods.max().unwrap_or(1)
    }

    /// Integers for all primes.
    pub(super) fn encode(&self, encoder: &Encoder) -> Result<Encoded> {
        let mut codes: Vec<Vec<f64>> = self.list.iter().map(|_| Vec::new()).collect();
        let failure = Mutex::new(None);
        let tasks: Vec<_> = codes.iter_mut().zip(&self.list).collect();
        par::for_each(tasks, |_, (out, code)| {
            let period = code.pattern.period();
            let mut z: Vec<Complex64> = (0..period)
                .map(|j| code.pattern.get(j + period - code.turn))
                .collect();
            match encoder.subring_coefficients(&mut z, code.scale) {
                Ok(coefficients) => *out = coefficients,
                Err(error) => {
                    if let Ok(mut slot) = failure.lock() {
                        *slot = Some(error);
                    }
                }
            }
        });
        match failure.into_inner() {
            Ok(Some(error)) => Err(error),
            _ => Ok(Encoded { codes }),
        }
    }
}

/// Weights as integers: 2D doubles for each, D its period.
pub(super) struct Encoded {
    codes: Vec<Vec<f64>>,
}

impl Encoded {
    /// The weights modulo one prime, 2D values each in Montgomery form.
    pub(super) fn values(&self, encoder: &Encoder, table: &NttTable) -> Vec<Vec<u64>> {
        let modulus = table.modulus();
        // Montgomery form of the Montgomery form of 1.
        let one = modulus.to_mont52(modulus.to_mont52(1));
        self.codes
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

/// Rows that are filled together: a cache line of the matrix.
const LINE: usize = 8;

/// Fills the matrix of one sum, at `from` of every row of `width` words: entry k of row r is value r of the k-th list,
/// lists of shorter periods repeat their values; an empty list counts as zero.
pub(super) fn fill(matrix: &mut [u64], width: usize, from: usize, lists: &[&[u64]]) {
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
            let Some(line) = row.get_mut(from + l * LINE..) else {
                return;
            };
            for (slot, (values, shift)) in line.iter_mut().zip(&sources).take(lists.len()) {
                *slot = values.get(r >> shift).copied().unwrap_or_default();
            }
        }
    }
}
