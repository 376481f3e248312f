//! A slot vector that repeats: the form of every weight, mask and constant of a circuit.

use crate::{Error, Result};
use num_complex::Complex64;
use std::sync::Arc;

/// A complex slot vector of period D (a power of two): slot j holds entry j mod D.
///
/// A vector of period D is a polynomial in X^(N/2D), so it costs a transform of size 2D per prime to encode
/// instead of N, and its evaluation form has 2D distinct values. Kept in f32: weights come as f32, and 24 bits are
/// far below the noise.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    re: Arc<[f32]>,
    im: Option<Arc<[f32]>>,
}

impl Pattern {
    /// A real pattern.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the length is a power of two, [`Error::Value`] for an entry that is not finite.
    pub fn real(re: Vec<f32>) -> Result<Self> {
        Self::checked(re, None)
    }

    /// A complex pattern from real and imaginary parts of equal length.
    ///
    /// # Errors
    /// As [`Pattern::real`]; also when the two lengths differ.
    pub fn complex(re: Vec<f32>, im: Vec<f32>) -> Result<Self> {
        if re.len() != im.len() {
            return Err(Error::Shape {
                what: "imaginary part of a pattern",
                needed: re.len(),
                found: im.len(),
            });
        }
        Self::checked(re, Some(im))
    }

    /// The same real number in every slot.
    ///
    /// # Errors
    /// [`Error::Value`] when it is not finite.
    pub fn constant(value: f32) -> Result<Self> {
        Self::real(vec![value])
    }

    fn checked(re: Vec<f32>, im: Option<Vec<f32>>) -> Result<Self> {
        if !re.len().is_power_of_two() {
            return Err(Error::Shape {
                what: "period of a pattern (a power of two)",
                needed: re.len().next_power_of_two(),
                found: re.len(),
            });
        }
        if re.iter().chain(im.iter().flatten()).any(|v| !v.is_finite()) {
            return Err(Error::Value {
                what: "pattern",
                reason: "an entry is not finite".into(),
            });
        }
        let im = im.filter(|im| im.iter().any(|&v| v != 0.0));
        Ok(Self {
            re: re.into(),
            im: im.map(Into::into),
        })
    }

    /// Where the entries lie: equal for clones. Only while the pattern lives.
    pub(crate) fn address(&self) -> *const f32 {
        self.re.as_ptr()
    }

    /// Bytes of the entries.
    pub(crate) fn bytes(&self) -> u64 {
        4 * self.period() as u64 * (1 + u64::from(self.im.is_some()))
    }

    /// The period D.
    #[must_use]
    pub fn period(&self) -> usize {
        self.re.len()
    }

    /// The entry of slot `j`.
    #[must_use]
    pub fn get(&self, j: usize) -> Complex64 {
        let at = |v: &[f32]| v.get(j & (v.len() - 1)).copied().map_or(0.0, f64::from);
        Complex64::new(at(&self.re), self.im.as_deref().map_or(0.0, at))
    }

    /// The D entries.
    #[must_use]
    pub fn values(&self) -> Vec<Complex64> {
        (0..self.period()).map(|j| self.get(j)).collect()
    }

    /// True when every entry is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.im.is_none() && self.re.iter().all(|&v| v == 0.0)
    }

    /// True when no entry has an imaginary part.
    #[must_use]
    pub fn is_real(&self) -> bool {
        self.im.is_none()
    }

    /// Largest absolute value of an entry.
    #[must_use]
    pub fn max_abs(&self) -> f64 {
        (0..self.period()).map(|j| self.get(j).norm()).fold(0.0, f64::max)
    }

    /// Bytes of the canonical form: period, real parts, imaginary parts; for digests and deduplication.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut out = (self.period() as u64).to_le_bytes().to_vec();
        out.push(u8::from(self.im.is_some()));
        for v in self.re.iter().chain(self.im.iter().flat_map(|im| im.iter())) {
            out.extend_from_slice(&v.to_bits().to_le_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_repeat_and_bad_input_is_refused() {
        let p = Pattern::complex(vec![1.0, 2.0], vec![0.0, -1.0]).unwrap();
        assert_eq!(p.get(7), Complex64::new(2.0, -1.0));
        assert!(
            Pattern::complex(vec![1.0, 2.0], vec![0.0, 0.0])
                .unwrap()
                .is_real()
        );
        assert!(Pattern::real(vec![0.0; 3]).is_err());
        assert!(Pattern::real(vec![]).is_err());
        assert!(Pattern::real(vec![f32::NAN]).is_err());
        assert!(Pattern::constant(0.0).unwrap().is_zero());
    }
}
