//! Four residues at a time as doubles, with AVX2 and FMA.
//!
//! A product of two numbers below 2^52 is the sum of two doubles, h = x y rounded and fma(x, y, -h); taking a multiple of
//! the prime from h is exact (van der Hoeven, Lecerf, Quintin, arXiv 1407.3383, section 3).

use super::modulus::Modulus;
use core::arch::x86_64::*;

const TWO52: f64 = (1u64 << 52) as f64;
pub(super) const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// A prime below 2^50 in every lane.
#[derive(Clone, Copy)]
pub(crate) struct Prime {
    p: __m256d,
    /// 1 / p.
    inverse: __m256d,
    /// 1 / 2p.
    half: __m256d,
}

impl Prime {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(crate) fn new(modulus: &Modulus) -> Self {
        let p = modulus.value() as f64;
        Prime {
            p: _mm256_set1_pd(p),
            inverse: _mm256_set1_pd(1.0 / p),
            half: _mm256_set1_pd(0.5 / p),
        }
    }

    /// Words below 2^52 as doubles.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(crate) fn double(words: __m256i) -> __m256d {
        let two52 = _mm256_set1_pd(TWO52);
        let bits = _mm256_or_si256(words, _mm256_castpd_si256(two52));
        _mm256_sub_pd(_mm256_castsi256_pd(bits), two52)
    }

    /// x y modulo p for a whole number x below 2^53 in size and y below p: a whole number of size at most p / 2 +
    /// (2^-52 + 2^-53) x p, since the quotient comes of two rounded doubles and the second word counts as well.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(crate) fn product(&self, x: __m256d, y: __m256d) -> __m256d {
        let high = _mm256_mul_pd(x, y);
        let low = _mm256_fmsub_pd(x, y, high);
        let quotient = _mm256_round_pd::<NEAREST>(_mm256_mul_pd(high, self.inverse));
        _mm256_add_pd(_mm256_fnmadd_pd(quotient, self.p, high), low)
    }

    /// x modulo p, of at most about p / 2 in size, for whole numbers below 2^53.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(crate) fn reduce(&self, x: __m256d) -> __m256d {
        let quotient = _mm256_round_pd::<NEAREST>(_mm256_mul_pd(x, self.inverse));
        _mm256_fnmadd_pd(quotient, self.p, x)
    }

    /// Whole numbers above -2 p and below 9/4 p as words below p. Half a unit more than x is at least 1 / 2p > 2^-51 from any
    /// multiple of p, in units of p, and the rounding errors of the quotient are smaller.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(crate) fn canonical(&self, x: __m256d) -> __m256i {
        let quotient = _mm256_floor_pd(_mm256_fmadd_pd(x, self.inverse, self.half));
        let rest = _mm256_fnmadd_pd(quotient, self.p, x);
        Self::word(rest)
    }

    /// The same modulo p for any whole numbers below 2^53 in size.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(crate) fn remainder(&self, x: __m256d) -> __m256i {
        let rest = self.reduce(x);
        // By the sign: a difference of equals is +0.
        Self::word(_mm256_blendv_pd(rest, _mm256_add_pd(rest, self.p), rest))
    }

    /// Whole numbers from 0 to 2^52 as words.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn word(x: __m256d) -> __m256i {
        let two52 = _mm256_set1_pd(TWO52);
        let bits = _mm256_castpd_si256(_mm256_add_pd(x, two52));
        _mm256_xor_si256(bits, _mm256_castpd_si256(two52))
    }
}

/// Words i..i + 4.
///
/// # Safety
/// AVX2 present; i + 4 <= words.len().
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) unsafe fn load(words: &[u64], i: usize) -> __m256i {
    // SAFETY: as promised by the caller.
    unsafe { _mm256_loadu_si256(words.as_ptr().add(i).cast()) }
}

/// Writes words i..i + 4.
///
/// # Safety
/// AVX2 present; there are i + 4 words at `words`.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) unsafe fn store(words: *mut u64, i: usize, values: __m256i) {
    // SAFETY: as promised by the caller.
    unsafe { _mm256_storeu_si256(words.add(i).cast(), values) }
}
