//! The staircase packing of small models: which slot holds which feature of which token.
//!
//! `slot(c, t, f) = (c * seq_len + t) * dim + f` for copy c, token t, feature f. The real part repeats
//! the input in every copy. The imaginary part is a staircase: copy c holds the tokens shifted by
//! `c * tokens_per_copy`, so that with `tokens_per_copy - 1` shifts of the whole ciphertext every copy of a
//! query has met its own share of the keys, and all copies together have met every key exactly once:
//! the scores need neither masks nor one rotation per key.

#![expect(
    clippy::indexing_slicing,
    reason = "all indices are taken modulo the checked lengths"
)]

use num_complex::Complex64;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::packing::blocks::LogitSlot;

/// Name of the plan's input.
pub const INPUT: &str = "x";
/// Name of the plan's output.
pub const OUTPUT: &str = "logits";

/// The layout of the input and of the answer in the slots of one ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staircase {
    /// Slots of a ciphertext: `copies * seq_len * dim`.
    pub slots: usize,
    /// Copies of the input.
    pub copies: usize,
    /// Tokens of the input.
    pub seq_len: usize,
    /// Features of a token.
    pub dim: usize,
    /// Numbers of the answer.
    #[serde(default = "two", skip_serializing_if = "is_two")]
    pub labels: usize,
}

fn two() -> usize {
    2
}

fn is_two(labels: &usize) -> bool {
    *labels == 2
}

impl Staircase {
    /// The packing of `seq_len` tokens of `dim` features into `slots` slots, for answers of `labels` numbers.
    ///
    /// # Errors
    /// - the first three are not powers of two, the input does not fit, or there would be more copies than tokens
    /// - no label, or more than two for each feature
    pub fn new(seq_len: usize, dim: usize, slots: usize, labels: usize) -> Result<Self> {
        let packing = Self {
            slots,
            copies: slots / (seq_len * dim).max(1),
            seq_len,
            dim,
            labels,
        };
        packing.check()?;
        Ok(packing)
    }

    /// Refuses a packing (from a manifest, say) that contradicts itself.
    ///
    /// # Errors
    /// - as for [`Staircase::new`]
    pub fn check(&self) -> Result<()> {
        let Self {
            slots,
            copies,
            seq_len,
            dim,
            labels,
        } = *self;
        // At most 2^16 each, so that no product overflows.
        let powers = [slots, copies, seq_len, dim]
            .iter()
            .all(|n| n.is_power_of_two() && *n <= 1 << 16);
        let fits = copies * seq_len * dim == slots && copies <= seq_len;
        if !powers || !fits || !(1..=2 * dim).contains(&labels) {
            return Err(Error::Config {
                field: "packing",
                needed: "powers of two, slots = copies * seq_len * dim, at most as many copies as tokens, and 1 to 2 dim \
                         labels"
                    .to_owned(),
                found: format!("{self:?}"),
            });
        }
        Ok(())
    }

    /// Keys that one copy of a query meets: `seq_len / copies`.
    pub fn tokens_per_copy(&self) -> usize {
        self.seq_len / self.copies
    }

    /// The slot of feature `f` of token `t` in copy `c`.
    pub fn slot(&self, c: usize, t: usize, f: usize) -> usize {
        (c * self.seq_len + t) * self.dim + f
    }

    /// Input `x` (row-major, `x[t * dim + f]`) to slots: copies in the real part, staircase in the imaginary.
    ///
    /// # Errors
    /// - `x` has another length than `seq_len * dim`
    pub fn pack(&self, x: &[f64]) -> Result<Vec<Complex64>> {
        let needed = self.seq_len * self.dim;
        if x.len() != needed {
            return Err(Error::Length {
                what: "embedded input",
                needed,
                found: x.len(),
            });
        }
        let shift = self.tokens_per_copy() * self.dim;
        Ok((0..self.slots)
            .map(|slot| {
                let (c, within) = (slot / needed, slot % needed);
                Complex64::new(x[within], x[(within + c * shift) % needed])
            })
            .collect())
    }

    /// Pairs of logits, filled up to a power of two: pair r stands in every slot r modulo this.
    fn period(&self) -> usize {
        self.labels.div_ceil(2).next_power_of_two()
    }

    /// Where the logits lie.
    pub(crate) fn logit_slots(&self) -> Vec<LogitSlot> {
        let place = |label: usize| LogitSlot {
            output: 0,
            slot: label / 2,
            period: self.period(),
            imaginary: label % 2 == 1,
        };
        (0..self.labels).map(place).collect()
    }

    /// Answer slots to the logits, in pairs of a real and an imaginary part.
    ///
    /// A logit stands in many slots, so the mean over them has less noise than any one.
    ///
    /// # Errors
    /// - fewer slots than `self.slots`
    pub fn unpack(&self, answer: &[Complex64]) -> Result<Vec<f64>> {
        if answer.len() < self.slots {
            return Err(Error::Length {
                what: "answer",
                needed: self.slots,
                found: answer.len(),
            });
        }
        let period = self.period();
        let mean = |label: usize| {
            let own = answer.iter().skip(label / 2).step_by(period);
            let sum: Complex64 = own.sum();
            let count = (answer.len() / period) as f64;
            if label.is_multiple_of(2) {
                sum.re / count
            } else {
                sum.im / count
            }
        };
        Ok((0..self.labels).map(mean).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_meet_every_key_once() {
        let packing = Staircase::new(32, 64, 16384, 2).unwrap();
        assert_eq!((packing.copies, packing.tokens_per_copy()), (8, 4));
        let x: Vec<f64> = (0..32 * 64).map(|i| i as f64).collect();
        let z = packing.pack(&x).unwrap();
        for query in 0..32 {
            let mut met = [false; 32];
            for c in 0..8 {
                assert_eq!(z[packing.slot(c, query, 5)].re, x[query * 64 + 5]);
                for b in 0..4 {
                    // a rotation left by b token rows, cyclic over all slots
                    let value = z[(packing.slot(c, query, 5) + b * 64) % 16384].im;
                    let token = (value as usize - 5) / 64;
                    assert!(!met[token]);
                    met[token] = true;
                }
            }
            assert!(met.iter().all(|met| *met));
        }
    }

    #[test]
    fn logits_are_the_mean_over_slots() {
        let packing = Staircase::new(4, 4, 16, 2).unwrap();
        let answer: Vec<Complex64> = (0..16).map(|i| Complex64::new(i as f64, -1.0)).collect();
        assert_eq!(packing.unpack(&answer).unwrap(), vec![7.5, -1.0]);
        // Three labels are two pairs: the even and the odd slots.
        let three = Staircase::new(4, 4, 16, 3).unwrap();
        assert_eq!(three.unpack(&answer).unwrap(), vec![7.0, -1.0, 8.0]);
        let places: Vec<_> = three
            .logit_slots()
            .iter()
            .map(|at| (at.slot, at.imaginary))
            .collect();
        assert_eq!(places, [(0, false), (0, true), (1, false)]);
        assert!(matches!(
            packing.unpack(&answer[1..]),
            Err(Error::Length {
                needed: 16,
                found: 15,
                ..
            })
        ));
        assert!(matches!(
            packing.pack(&[0.0; 3]),
            Err(Error::Length {
                needed: 16,
                found: 3,
                ..
            })
        ));
    }

    #[test]
    fn impossible_packings_are_refused() {
        for (seq_len, dim, slots) in [(32, 64, 1024), (32, 48, 16384), (4, 4, 256), (0, 4, 16)] {
            assert!(
                Staircase::new(seq_len, dim, slots, 2).is_err(),
                "{seq_len} {dim} {slots}"
            );
        }
        for labels in [0, 129] {
            assert!(Staircase::new(32, 64, 16384, labels).is_err(), "{labels} labels");
        }
    }
}
