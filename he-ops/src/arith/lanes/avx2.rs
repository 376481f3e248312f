//! Four residues at a time as doubles, with AVX2 and FMA.
//!
//! A product of two numbers below 2^52 is the sum of two doubles, h = x y rounded and fma(x, y, -h); taking a multiple of
//! the prime from h is exact (van der Hoeven, Lecerf, Quintin, arXiv 1407.3383, section 3).
//!
//! Sums of products: AVX2 multiplies 32-bit words only, but its doubles have 53 bits and a fused product of two numbers
//! below 2^50 can be cut in two, as IFMA does it, here at bit 51: `high = fma(x, w, 2^103)` is 2^103 plus the product
//! rounded to a multiple of 2^51, `low = fma(x, w, c - high)`, c = 2^103 + 3 2^51, is 3 2^51 plus what is left, a number of
//! at most 2^50 in size. Both are exact. The first words are summed as doubles, 14 of them before their sum is reduced; the
//! second as the bits of doubles of one exponent, that is as integers. Five instructions a product, where four 32-bit
//! products and their sums would take eight.

use super::Lanes;
use crate::arith::modulus::Modulus;
use crate::arith::simd::Kernel;
use core::arch::x86_64::*;

const TWO52: f64 = (1u64 << 52) as f64;
const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

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

/// Terms after which the high words are reduced: 14 of them, and what the reduction before has left, are below 2^104.
const FOLD: usize = 14;

const TWO51: f64 = (1u64 << 51) as f64;
/// Added to a product, it leaves a multiple of 2^51.
const HIGH: f64 = TWO51 * TWO52;
/// What is added to every low word, so that all have one exponent.
const MIDDLE: f64 = 3.0 * TWO51;
/// Makes sums of low words positive.
const BIAS: u64 = 1 << 62;

/// Proof of AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Runs a kernel with these instructions.
///
/// # Safety
/// AVX2 and FMA present.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn run(kernel: impl Kernel) {
    kernel.run(Avx2(()));
}

/// A sum of products: 2^51 times the high words, negative, and the low words with [`BIAS`].
#[derive(Clone, Copy)]
pub(crate) struct Sum {
    high: __m256d,
    low: __m256i,
}

/// One prime in every lane, and its multiple by 2^51.
#[derive(Clone, Copy)]
pub(crate) struct Wide {
    prime: Prime,
    p_plus_1: __m256d,
    /// 2^51 p and its inverse.
    multiple: __m256d,
    inverse: __m256d,
    /// 2^-52 mod p.
    inv52: __m256d,
    p: __m256i,
}

/// How four packed residues, the first or the second half of eight, come apart: 16 bytes hold two of them.
#[derive(Clone, Copy)]
pub(crate) struct Half {
    /// Where the two pairs begin.
    starts: [usize; 2],
    bytes: __m256i,
    shifts: __m256i,
    mask: __m256i,
}

impl Wide {
    /// A multiple of 2^51 below 2^104 modulo 2^51 p, at most about half of it in size.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn fold(&self, high: __m256d) -> __m256d {
        let quotient = _mm256_round_pd::<NEAREST>(_mm256_mul_pd(high, self.inverse));
        _mm256_fnmadd_pd(quotient, self.multiple, high)
    }
}

impl Half {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn new(bits: usize, half: usize) -> Self {
        let bit = |k: usize| (4 * half + k) * bits;
        let starts = [bit(0) / 8, bit(2) / 8];
        let byte = |i: usize| (bit(i / 8) / 8 - if i < 16 { starts[0] } else { starts[1] } + i % 8) as u8;
        let bytes: [u8; 32] = core::array::from_fn(byte);
        let shifts: [u64; 4] = core::array::from_fn(|k| (bit(k) % 8) as u64);
        Self {
            starts,
            // SAFETY: both arrays have 32 bytes.
            bytes: unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) },
            // SAFETY: as above.
            shifts: unsafe { _mm256_loadu_si256(shifts.as_ptr().cast()) },
            mask: _mm256_set1_epi64x((1i64 << bits) - 1),
        }
    }
}

// In all blocks below `self` is the proof of the instructions.
impl Lanes for Avx2 {
    const WIDTH: usize = 4;
    const TILE: usize = 4;
    const WIDE: bool = false;
    /// As many low words stay below 2^62.
    const MAX_TERMS: usize = 1 << 11;
    const CONVERTED: bool = true;

    type Words = __m256i;
    type Factor = __m256d;
    type Sum = Sum;
    type Prime = Wide;
    type Unpacking = [Half; 2];

    #[inline(always)]
    fn prime(self, modulus: &Modulus) -> Wide {
        let p = modulus.value() as f64;
        // SAFETY: `self`.
        unsafe {
            Wide {
                prime: Prime::new(modulus),
                p_plus_1: _mm256_set1_pd(p + 1.0),
                multiple: _mm256_set1_pd(p * TWO51),
                inverse: _mm256_set1_pd(1.0 / (p * TWO51)),
                inv52: _mm256_set1_pd(modulus.inv52() as f64),
                p: _mm256_set1_epi64x(modulus.value() as i64),
            }
        }
    }

    #[inline(always)]
    fn fold_after(_: usize, _: &Modulus) -> Option<usize> {
        Some(FOLD)
    }

    #[inline(always)]
    unsafe fn load(self, at: *const u64) -> __m256i {
        // SAFETY: `self`, and as promised by the caller.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut u64, words: __m256i) {
        // SAFETY: `self`, and as promised by the caller.
        unsafe { _mm256_storeu_si256(at.cast(), words) }
    }

    #[inline(always)]
    fn factor(self, words: __m256i) -> __m256d {
        // SAFETY: `self`.
        unsafe { Prime::double(words) }
    }

    #[inline(always)]
    fn unpacking(self, bits: usize) -> [Half; 2] {
        // SAFETY: `self`.
        unsafe { [Half::new(bits, 0), Half::new(bits, 1)] }
    }

    #[inline(always)]
    unsafe fn unpack(self, halves: &[Half; 2], at: *const u8, lane: usize) -> __m256d {
        let half = if lane == 0 { &halves[0] } else { &halves[1] };
        // SAFETY: `self`; the second pair of the second half begins at byte 6 * 50 / 8 = 37 at most.
        unsafe {
            let low = _mm_loadu_si128(at.add(half.starts[0]).cast());
            let high = _mm_loadu_si128(at.add(half.starts[1]).cast());
            let words = _mm256_shuffle_epi8(_mm256_set_m128i(high, low), half.bytes);
            Prime::double(_mm256_and_si256(_mm256_srlv_epi64(words, half.shifts), half.mask))
        }
    }

    #[inline(always)]
    fn weight(word: u64) -> u64 {
        (word as f64).to_bits()
    }

    #[inline(always)]
    fn splat(self, weight: u64) -> __m256d {
        // SAFETY: `self`.
        unsafe { _mm256_set1_pd(f64::from_bits(weight)) }
    }

    #[inline(always)]
    fn start(self, _: &Wide, start: u64, terms: usize) -> Sum {
        // What the terms add besides the products is taken away here.
        let low = start
            .wrapping_add(BIAS)
            .wrapping_sub((terms as u64).wrapping_mul(MIDDLE.to_bits()));
        // SAFETY: `self`.
        unsafe {
            Sum {
                high: _mm256_set1_pd(-MIDDLE * terms as f64),
                low: _mm256_set1_epi64x(low as i64),
            }
        }
    }

    #[inline(always)]
    fn mul_add(self, sum: Sum, x: __m256d, w: __m256d) -> Sum {
        // SAFETY: `self`.
        unsafe {
            let high = _mm256_fmadd_pd(x, w, _mm256_set1_pd(HIGH));
            let rest = _mm256_sub_pd(_mm256_set1_pd(HIGH + MIDDLE), high);
            let low = _mm256_fmadd_pd(x, w, rest);
            Sum {
                high: _mm256_add_pd(sum.high, rest),
                low: _mm256_add_epi64(sum.low, _mm256_castpd_si256(low)),
            }
        }
    }

    #[inline(always)]
    fn fold(self, wide: &Wide, sum: Sum) -> Sum {
        // SAFETY: `self`.
        let high = unsafe { wide.fold(sum.high) };
        Sum { high, ..sum }
    }

    #[inline(always)]
    fn reduce<const FEW: bool>(self, wide: &Wide, sum: Sum) -> __m256i {
        // SAFETY: `self`.
        unsafe {
            // What the low words carry, as a multiple of 2^51.
            let carry = _mm256_or_si256(
                _mm256_srli_epi64::<51>(sum.low),
                _mm256_set1_epi64x(HIGH.to_bits() as i64),
            );
            let carry = _mm256_sub_pd(_mm256_castsi256_pd(carry), _mm256_set1_pd(HIGH + BIAS as f64));
            let low = _mm256_and_si256(sum.low, _mm256_set1_epi64x((1 << 51) - 1));
            let high = wide.fold(_mm256_sub_pd(carry, sum.high));
            // Divided by 2^52 it is a whole number or, plus (p + 1) / 2 - 1/2, congruent to one.
            let half = _mm256_mul_pd(high, _mm256_set1_pd(0.5 / TWO51));
            let whole = _mm256_floor_pd(half);
            let high = _mm256_fmadd_pd(_mm256_sub_pd(half, whole), wide.p_plus_1, whole);
            let low = wide.prime.product(Prime::double(low), wide.inv52);
            wide.prime.canonical(_mm256_add_pd(low, high))
        }
    }

    #[inline(always)]
    fn add(self, wide: &Wide, x: __m256i, y: __m256i) -> __m256i {
        // SAFETY: `self`.
        unsafe {
            // There is no minimum of 64-bit words.
            let sum = _mm256_add_epi64(x, y);
            let below = _mm256_cmpgt_epi64(wide.p, sum);
            _mm256_sub_epi64(sum, _mm256_andnot_si256(below, wide.p))
        }
    }

    #[inline(always)]
    fn tensor(self, wide: &Wide, _: __m256d, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 3] {
        let prime = &wide.prime;
        // SAFETY: `self`.
        unsafe {
            let (a0, a1) = (Prime::double(a[0]), Prime::double(a[1]));
            let (b0, b1) = (Prime::double(b[0]), Prime::double(b[1]));
            // A product is below 7/8 p in size.
            let middle = _mm256_add_pd(prime.product(a0, b1), prime.product(a1, b0));
            [
                prime.canonical(prime.product(a0, b0)),
                prime.canonical(middle),
                prime.canonical(prime.product(a1, b1)),
            ]
        }
    }
}
