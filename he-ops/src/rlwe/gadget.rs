//! The hybrid gadget: into which digits a ciphertext decomposes at each level, and over which special primes.

use crate::arith::NttTable;
use crate::error::broken;
use crate::{ParamsError, Result};
use std::ops::Range;

/// log2 of the factor by which the special primes of a key made from a larger one must exceed its digit.
pub(super) const SMALLER_KEY_MARGIN: f64 = 8.0;

/// How a key-switch key decomposes: hybrid RNS gadget (ePrint 2019/688). Digits are runs of ciphertext primes of about
/// the same size in bits, whatever the number of their primes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gadget {
    /// Special primes in use: the first `specials` of the list.
    pub specials: usize,
    /// One past the last ciphertext prime of each digit, increasing.
    ends: Vec<usize>,
}

impl Gadget {
    /// Everything below `limbs` primes as one digit.
    pub(super) fn one_digit(specials: usize, limbs: usize) -> Self {
        Self {
            specials,
            ends: vec![limbs],
        }
    }

    /// Number of digits.
    #[must_use]
    pub fn digits(&self) -> usize {
        self.ends.len()
    }

    /// The ciphertext primes of one digit, at a level that may be below that of the key; empty past the last digit.
    #[must_use]
    pub fn digit_range(&self, digit: usize, level: usize) -> Range<usize> {
        let end = |d: usize| self.ends.get(d).map_or(level + 1, |&e| e.min(level + 1));
        let start = if digit == 0 { 0 } else { end(digit - 1) };
        start..end(digit)
    }

    /// Digits of a ciphertext at a level that may be below that of the key.
    #[must_use]
    pub fn digits_at(&self, level: usize) -> usize {
        let full = self.ends.iter().take_while(|&&end| end <= level).count();
        (full + 1).min(self.digits())
    }
}

/// log2 of q_0..q_level times the first `specials` special primes.
pub(super) fn log_qp_at(q: &[NttTable], p: &[NttTable], level: usize, specials: usize) -> f64 {
    let sum = |t: &[NttTable], n: usize| t.iter().take(n).map(|t| t.modulus().log2()).sum::<f64>();
    sum(q, level + 1) + sum(p, specials)
}

/// Ends of the fewest runs of at most `cap` bits each; `None` when one prime alone is larger.
fn runs(bits: &[f64], cap: f64) -> Option<Vec<usize>> {
    let mut ends = Vec::new();
    let mut sum = 0.0;
    for (i, &b) in bits.iter().enumerate() {
        if b > cap {
            return None;
        }
        if sum + b > cap {
            ends.push(i);
            sum = 0.0;
        }
        sum += b;
    }
    ends.push(bits.len());
    Some(ends)
}

/// Fewest digits, then fewest specials, such that QP is within the bound and the product of the specials covers every
/// digit (up to one bit: the noise of the switch is proportional to digit / P); then the digits as even as can be. With
/// `as_smaller`, keys of one digit are made like those that come from larger keys ([`super::key_switch_key`]).
pub(super) fn choose_gadget(
    q: &[NttTable],
    p: &[NttTable],
    level: usize,
    bound: Option<f64>,
    as_smaller: bool,
) -> Result<Gadget> {
    let bits: Vec<f64> = q.iter().take(level + 1).map(|t| t.modulus().log2()).collect();
    let mut best: Option<(usize, usize, f64)> = None;
    for specials in 1..=p.len() {
        if bound.is_some_and(|b| log_qp_at(q, p, level, specials) > b) {
            break;
        }
        let cap = log_qp_at(&[], p, 0, specials) + 1.0;
        if let Some(ends) = runs(&bits, cap)
            && best.is_none_or(|(digits, ..)| ends.len() < digits)
        {
            best = Some((ends.len(), specials, cap));
        }
    }
    let Some((digits, specials, mut high)) = best else {
        return Err(ParamsError::NoGadget {
            level,
            log_q: log_qp_at(q, &[], level, 0),
            bound,
        }
        .into());
    };
    // The smallest cap with this number of digits, by bisection to a fraction of a bit.
    let mut low = 0.0;
    for _ in 0..16 {
        let middle = 0.5 * (low + high);
        match runs(&bits, middle) {
            Some(ends) if ends.len() <= digits => high = middle,
            _ => low = middle,
        }
    }
    let ends = runs(&bits, high).ok_or_else(|| broken("digits within a cap that has been met"))?;
    // A key made from a larger one brings a noise that has to be divided away: give it room if there is.
    let fits =
        |specials: usize| specials <= p.len() && bound.is_none_or(|b| log_qp_at(q, p, level, specials) <= b);
    let needed = log_qp_at(q, &[], level, 0) + SMALLER_KEY_MARGIN;
    let short = |specials: usize| log_qp_at(&[], p, 0, specials) < needed;
    let roomy = as_smaller && digits == 1 && short(specials) && fits(specials + 1);
    Ok(Gadget {
        specials: specials + usize::from(roomy),
        ends,
    })
}

#[cfg(test)]
mod tests {
    use crate::rlwe::{Params, ParamsLiteral};

    #[test]
    fn digits_are_even_in_bits_and_cover_every_level() {
        let params = Params::new_INSECURE(&ParamsLiteral {
            log_n: 10,
            log_q: vec![50, 33, 33, 40, 40, 40, 50, 50],
            log_p: vec![48, 48, 48],
            log_scale: 40,
        })
        .unwrap();
        let gadget = params.gadget(7).unwrap();
        assert_eq!((gadget.digits(), gadget.specials), (3, 3));
        for level in 0..8 {
            let digits = gadget.digits_at(level);
            let mut next = 0;
            for d in 0..digits {
                let range = gadget.digit_range(d, level);
                assert_eq!(range.start, next);
                assert!(!range.is_empty());
                let bits: f64 = params
                    .moduli()
                    .skip(range.start)
                    .take(range.len())
                    .map(|m| m.log2())
                    .sum();
                assert!(bits < 145.0);
                next = range.end;
            }
            assert_eq!(next, level + 1);
            assert!(gadget.digit_range(digits, level).is_empty());
        }
    }
}
