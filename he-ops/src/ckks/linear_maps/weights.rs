//! The weights of linear maps, encoded on the fly.

use crate::Result;
use crate::arith::NttTable;
use crate::ckks::encoder::Encoder;
use crate::ckks::pattern::Pattern;
use crate::par;
use num_complex::Complex64;
use std::collections::HashMap;
use std::sync::Mutex;

/// What a weight is encoded from: the digest of a pattern, by how much it is turned, the bits of its scale.
type CodeKey = ([u8; 32], usize, u64);

/// The different weights of a group of maps: masks repeat a lot, each is encoded once.
#[derive(Default)]
pub(super) struct Codes<'a> {
    known: HashMap<CodeKey, usize>,
    /// Pattern, turn, scale.
    list: Vec<(&'a Pattern, usize, f64)>,
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
                list.push((pattern, turn, scale));
                list.len() - 1
            })
    }

    /// Largest period.
    pub(super) fn period(&self) -> usize {
        let periods = self.list.iter().map(|(pattern, ..)| pattern.period());
        periods.max().unwrap_or(1)
    }

    /// Integers for all primes.
    pub(super) fn encode(&self, encoder: &Encoder) -> Result<Encoded> {
        let mut coefficients: Vec<Vec<f64>> = vec![Vec::new(); self.list.len()];
        let failure = Mutex::new(None);
        let tasks: Vec<_> = coefficients.iter_mut().zip(&self.list).collect();
        par::for_each(tasks, |_, (out, (pattern, turn, scale))| {
            let period = pattern.period();
            let mut z: Vec<Complex64> = (0..period).map(|j| pattern.get(j + period - turn)).collect();
            match encoder.subring_coefficients(&mut z, *scale) {
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
            _ => Ok(Encoded { coefficients }),
        }
    }
}

/// Weights as integers: 2D doubles for each, D its period.
pub(super) struct Encoded {
    coefficients: Vec<Vec<f64>>,
}

impl Encoded {
    /// All weights modulo one prime: 2D values each.
    pub(super) fn values(&self, encoder: &Encoder, table: &NttTable) -> Vec<Vec<u64>> {
        self.coefficients
            .iter()
            .map(|coefficients| {
                let mut values = vec![0; coefficients.len()];
                encoder.subring_values(coefficients, table, &mut values);
                values
            })
            .collect()
    }
}
