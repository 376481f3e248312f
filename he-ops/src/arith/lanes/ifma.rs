//! Eight residues at a time with AVX-512 F, IFMA and VBMI.
//!
//! The multiplier adds the low or the high 52 bits of a product to a word, so a sum of products is two words that need no
//! carry on the way; one Montgomery step divides it by 2^52.

use super::Lanes;
use crate::arith::modulus::{MASK52, Modulus, WORD52};
use crate::arith::simd::Kernel;
use core::arch::x86_64::*;

/// Terms whose sum needs no reduction on the way and two subtractions at the end: a term is below 2^50 p, so its
/// high word is at most p / 4. With p at the start, 11 terms and their carries stay below 4 p.
const FEW: usize = 11;

/// Bytes of a key that are asked for ahead of their use.
const AHEAD: usize = 512;

/// Proof of AVX-512 F, IFMA and VBMI.
#[derive(Clone, Copy)]
pub(crate) struct Ifma(());

/// Runs a kernel with these instructions.
///
/// # Safety
/// AVX-512 F, IFMA and VBMI present.
#[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
pub(crate) unsafe fn run(kernel: impl Kernel) {
    kernel.run(Ifma(()));
}

/// A sum of products: low and high words of 52 bits.
#[derive(Clone, Copy)]
pub(crate) struct Sum {
    lo: __m512i,
    hi: __m512i,
}

/// One modulus in every lane.
#[derive(Clone, Copy)]
pub(crate) struct Prime {
    p: __m512i,
    /// floor(2^52 / p).
    mu: __m512i,
    /// p^-1 mod 2^52.
    inv: __m512i,
}

/// How eight packed residues come apart: which bytes each begins with, and at which bit of them.
#[derive(Clone, Copy)]
pub(crate) struct Unpacking {
    bytes: __m512i,
    shifts: __m512i,
    mask: __m512i,
}

impl Prime {
    /// r mod p for lanes below 2^52: r (1/p - mu / 2^52) < 1, so the quotient from mu is short by at most one.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn barrett(&self, r: __m512i) -> __m512i {
        let zero = _mm512_setzero_si512();
        let quotient = _mm512_madd52hi_epu64(zero, r, self.mu);
        // quotient * p is below 2^52, so its low word is the whole product.
        let r = _mm512_sub_epi64(r, _mm512_madd52lo_epu64(zero, quotient, self.p));
        _mm512_min_epu64(r, _mm512_sub_epi64(r, self.p))
    }

    /// (lo + 2^52 hi) / 2^52 mod p: one Montgomery step, above -p, and below `hi` and its carry.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn montgomery(&self, sum: Sum) -> __m512i {
        let zero = _mm512_setzero_si512();
        let high = _mm512_add_epi64(sum.hi, _mm512_srli_epi64::<WORD52>(sum.lo));
        // The multiplier takes the low 52 bits of its operands only.
        let m = _mm512_madd52lo_epu64(zero, sum.lo, self.inv);
        // The low words of the sum and of m p are equal; the high word of m p is below p.
        _mm512_sub_epi64(high, _mm512_madd52hi_epu64(zero, m, self.p))
    }

    /// The same mod p for a sum of at most two products of numbers below p: the high word is below p.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn short(&self, sum: Sum) -> __m512i {
        let r = self.montgomery(sum);
        // Below zero is above everything when unsigned.
        _mm512_min_epu64(r, _mm512_add_epi64(r, self.p))
    }
}

impl Sum {
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn add(self, x: __m512i, w: __m512i) -> Sum {
        Sum {
            lo: _mm512_madd52lo_epu64(self.lo, x, w),
            hi: _mm512_madd52hi_epu64(self.hi, x, w),
        }
    }
}

// In all blocks below `self` is the proof of the instructions.
impl Lanes for Ifma {
    const WIDTH: usize = 8;
    const TILE: usize = 4;
    const WIDE: bool = true;
    const MAX_TERMS: usize = usize::MAX;
    const CONVERTED: bool = false;

    type Words = __m512i;
    type Factor = __m512i;
    type Sum = Sum;
    type Prime = Prime;
    type Unpacking = Unpacking;

    #[inline(always)]
    fn prime(self, modulus: &Modulus) -> Prime {
        // SAFETY: `self`.
        unsafe {
            Prime {
                p: _mm512_set1_epi64(modulus.value() as i64),
                mu: _mm512_set1_epi64(((1u64 << WORD52) / modulus.value()) as i64),
                inv: _mm512_set1_epi64(((1u64 << WORD52) - modulus.neg_inv52()) as i64),
            }
        }
    }

    #[inline(always)]
    fn fold_after(terms: usize, modulus: &Modulus) -> Option<usize> {
        let p = modulus.value();
        // The bound on the carries of few needs a prime of more than six bits. With more, 2 p and as many high words and
        // carries stay below 2^52.
        let few = terms <= FEW && modulus.bits() > 6;
        (!few).then_some((((1 << WORD52) - 2 * p - 1) / (p / 4 + 2)) as usize)
    }

    #[inline(always)]
    unsafe fn load(self, at: *const u64) -> __m512i {
        // SAFETY: `self`, and as promised by the caller.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut u64, words: __m512i) {
        // SAFETY: `self`, and as promised by the caller.
        unsafe { _mm512_storeu_si512(at.cast(), words) }
    }

    #[inline(always)]
    fn factor(self, words: __m512i) -> __m512i {
        words
    }

    #[inline(always)]
    fn unpacking(self, bits: usize) -> Unpacking {
        let bytes: [u8; 64] = core::array::from_fn(|i| (i / 8 * bits / 8 + i % 8) as u8);
        let shifts: [u64; 8] = core::array::from_fn(|k| (k * bits % 8) as u64);
        // SAFETY: `self`; both arrays have 64 bytes.
        unsafe {
            Unpacking {
                bytes: _mm512_loadu_si512(bytes.as_ptr().cast()),
                shifts: _mm512_loadu_si512(shifts.as_ptr().cast()),
                mask: _mm512_set1_epi64((1i64 << bits) - 1),
            }
        }
    }

    #[inline(always)]
    unsafe fn unpack(self, unpacking: &Unpacking, at: *const u8, _: usize) -> __m512i {
        // SAFETY: `self`, and as promised by the caller; a prefetch reads nothing.
        unsafe {
            let words = _mm512_permutexvar_epi8(unpacking.bytes, _mm512_loadu_si512(at.cast()));
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
            _mm512_and_si512(_mm512_srlv_epi64(words, unpacking.shifts), unpacking.mask)
        }
    }

    #[inline(always)]
    fn weight(word: u64) -> u64 {
        word
    }

    #[inline(always)]
    fn splat(self, weight: u64) -> __m512i {
        // SAFETY: `self`.
        unsafe { _mm512_set1_epi64(weight as i64) }
    }

    #[inline(always)]
    fn start(self, prime: &Prime, start: u64, _: usize) -> Sum {
        Sum {
            lo: self.splat(start),
            // So that the last Montgomery step is a subtraction without a borrow.
            hi: prime.p,
        }
    }

    #[inline(always)]
    fn mul_add(self, sum: Sum, x: __m512i, w: __m512i) -> Sum {
        // SAFETY: `self`.
        unsafe { sum.add(x, w) }
    }

    #[inline(always)]
    fn fold(self, prime: &Prime, sum: Sum) -> Sum {
        // SAFETY: `self`.
        unsafe {
            let high = _mm512_add_epi64(sum.hi, _mm512_srli_epi64::<WORD52>(sum.lo));
            Sum {
                lo: _mm512_and_si512(sum.lo, _mm512_set1_epi64(MASK52 as i64)),
                // From p to 2 p.
                hi: _mm512_add_epi64(prime.barrett(high), prime.p),
            }
        }
    }

    #[inline(always)]
    fn reduce<const FEW: bool>(self, prime: &Prime, sum: Sum) -> __m512i {
        // SAFETY: `self`.
        unsafe {
            let r = prime.montgomery(sum);
            if !FEW {
                return prime.barrett(r);
            }
            let p2 = _mm512_add_epi64(prime.p, prime.p);
            let r = _mm512_min_epu64(r, _mm512_sub_epi64(r, p2));
            _mm512_min_epu64(r, _mm512_sub_epi64(r, prime.p))
        }
    }

    #[inline(always)]
    fn add(self, prime: &Prime, x: __m512i, y: __m512i) -> __m512i {
        // SAFETY: `self`.
        unsafe {
            let sum = _mm512_add_epi64(x, y);
            _mm512_min_epu64(sum, _mm512_sub_epi64(sum, prime.p))
        }
    }

    #[inline(always)]
    fn tensor(self, prime: &Prime, r104: __m512i, a: [__m512i; 2], b: [__m512i; 2]) -> [__m512i; 3] {
        // SAFETY: `self`.
        unsafe {
            let none = Sum {
                lo: _mm512_setzero_si512(),
                hi: _mm512_setzero_si512(),
            };
            // A product with 2^104, divided by 2^52, is in Montgomery form.
            let b0 = prime.short(none.add(b[0], r104));
            let b1 = prime.short(none.add(b[1], r104));
            [
                prime.short(none.add(a[0], b0)),
                prime.short(none.add(a[0], b1).add(a[1], b0)),
                prime.short(none.add(a[1], b1)),
            ]
        }
    }
}
