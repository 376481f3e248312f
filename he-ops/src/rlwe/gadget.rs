//! The hybrid gadget: into how many digits a ciphertext decomposes at each level, and over which special primes.

use crate::arith::NttTable;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How a key-switch key of one level decomposes: hybrid RNS gadget (ePrint 2019/688).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gadget {
    /// Special primes in use: the first `specials` of the list.
    pub specials: usize,
    /// Ciphertext primes in one digit.
    pub digit_limbs: usize,
    /// Digits of a ciphertext at this level.
    pub digits: usize,
}

impl Gadget {
    /// The ciphertext primes of one digit, at a level that may be below that of the key.
    #[must_use]
    pub fn digit_range(&self, digit: usize, level: usize) -> Range<usize> {
        (digit * self.digit_limbs).min(level + 1)..((digit + 1) * self.digit_limbs).min(level + 1)
    }

    /// Digits of a ciphertext at a level that may be below that of the key.
    #[must_use]
    pub fn digits_at(&self, level: usize) -> usize {
        (level + 1).div_ceil(self.digit_limbs)
    }
}

/// log2 of q_0..q_level times the first `specials` special primes.
pub(super) fn log_qp_at(q: &[NttTable], p: &[NttTable], level: usize, specials: usize) -> f64 {
    let sum = |t: &[NttTable], n: usize| t.iter().take(n).map(|t| t.modulus().log2()).sum::<f64>();
    sum(q, level + 1) + sum(p, specials)
}

/// Fewest digits, then fewest specials, such that QP is within the bound and the product of the specials covers every
/// digit (up to one bit: the noise of the switch is proportional to digit / P).
pub(super) fn choose_gadget(
    q: &[NttTable],
    p: &[NttTable],
    level: usize,
    bound: Option<f64>,
) -> Result<Gadget> {
    let limbs = level + 1;
    for digits in 1..=limbs {
        let digit_limbs = limbs.div_ceil(digits);
        if limbs.div_ceil(digit_limbs) != digits {
            continue;
        }
        let log_digit = q
            .get(..limbs)
            .unwrap_or_default()
            .chunks(digit_limbs)
            .map(|c| c.iter().map(|t| t.modulus().log2()).sum::<f64>())
            .fold(0.0, f64::max);
        for specials in 1..=p.len() {
            let log_p = log_qp_at(&[], p, 0, specials);
            let fits = bound.is_none_or(|b| log_qp_at(q, p, level, specials) <= b);
            if log_p + 1.0 >= log_digit && fits {
                return Ok(Gadget {
                    specials,
                    digit_limbs,
                    digits,
                });
            }
        }
    }
    Err(Error::Params {
        reason: format!(
            "no key-switch gadget fits at level {level}: {:.0} bits of Q leave no room for special primes under the bound {}",
            log_qp_at(q, &[], level, 0),
            bound.map_or("(none)".into(), |b| format!("{b:.0}"))
        ),
    })
}
