//! Sums of products with AVX2 and FMA, four lanes, in doubles.
//!
//! AVX2 multiplies 32-bit words only, but its doubles have 53 bits and a fused product of two numbers below 2^50 can
//! be cut in two, as IFMA does it, here at bit 51: `high = fma(x, w, 2^103)` is 2^103 plus the product rounded to a
//! multiple of 2^51, `low = fma(x, w, c - high)`, c = 2^103 + 3 2^51, is 3 2^51 plus what is left, a number of at most
//! 2^50 in size. Both are exact. The first words are summed as doubles, 14 of them before their sum is reduced; the second as
//! the bits of doubles of one exponent, that is as integers. Five instructions a product, where four 32-bit products
//! and their sums would take eight.
#![expect(
    clippy::indexing_slicing,
    reason = "hot loops over registers; lengths are promised by the caller"
)]

use super::{Output, PackedBlock};
use crate::arith::lanes::{NEAREST, Prime, load, store};
use crate::arith::modulus::Modulus;
use core::arch::x86_64::*;

/// Most terms of a sum: as many low words stay below 2^62.
pub(super) const MOST: usize = 1 << 11;
/// Terms after which the high words are reduced: 14 of them, and what the reduction before has left, are below 2^104.
const FOLD: usize = 14;

const TWO51: f64 = (1u64 << 51) as f64;
/// Added to a product, it leaves a multiple of 2^51.
const HIGH: f64 = TWO51 * (1u64 << 52) as f64;
/// What is added to every low word, so that all have one exponent.
const MIDDLE: f64 = 3.0 * TWO51;
/// Makes sums of low words positive.
const BIAS: u64 = 1 << 62;

/// A sum of products: 2^51 times the high words, negative, and the low words with [`BIAS`].
#[derive(Clone, Copy)]
struct Sum {
    high: __m256d,
    low: __m256i,
}

impl Sum {
    /// The start of a sum of so many terms; what they add besides the product is taken away here.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn start(start: u64, terms: usize) -> Self {
        let low = start
            .wrapping_add(BIAS)
            .wrapping_sub((terms as u64).wrapping_mul(MIDDLE.to_bits()));
        Sum {
            high: _mm256_set1_pd(-MIDDLE * terms as f64),
            low: _mm256_set1_epi64x(low as i64),
        }
    }

    /// Plus x w, both below 2^50.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn add(&mut self, x: __m256d, w: __m256d) {
        let high = _mm256_fmadd_pd(x, w, _mm256_set1_pd(HIGH));
        let rest = _mm256_sub_pd(_mm256_set1_pd(HIGH + MIDDLE), high);
        let low = _mm256_fmadd_pd(x, w, rest);
        self.high = _mm256_add_pd(self.high, rest);
        self.low = _mm256_add_epi64(self.low, _mm256_castpd_si256(low));
    }

    /// The sum / 2^52 mod p.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn reduce(self, wide: &Wide) -> __m256i {
        // What the low words carry, as a multiple of 2^51.
        let carry = _mm256_or_si256(
            _mm256_srli_epi64::<51>(self.low),
            _mm256_set1_epi64x(HIGH.to_bits() as i64),
        );
        let carry = _mm256_sub_pd(_mm256_castsi256_pd(carry), _mm256_set1_pd(HIGH + BIAS as f64));
        let low = _mm256_and_si256(self.low, _mm256_set1_epi64x((1 << 51) - 1));
        let high = wide.fold(_mm256_sub_pd(carry, self.high));
        // Divided by 2^52 it is a whole number or, plus (p + 1) / 2 - 1/2, congruent to one.
        let half = _mm256_mul_pd(high, _mm256_set1_pd(0.5 / TWO51));
        let whole = _mm256_floor_pd(half);
        let high = _mm256_fmadd_pd(_mm256_sub_pd(half, whole), wide.p_plus_1, whole);
        let low = wide.prime.product(Prime::double(low), wide.inv52);
        wide.prime.canonical(_mm256_add_pd(low, high))
    }
}

/// One prime in every lane, and its multiple by 2^51.
#[derive(Clone, Copy)]
struct Wide {
    prime: Prime,
    p_plus_1: __m256d,
    /// 2^51 p and its inverse.
    multiple: __m256d,
    inverse: __m256d,
    /// 2^-52 mod p.
    inv52: __m256d,
}

impl Wide {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn new(modulus: &Modulus) -> Self {
        let p = modulus.value() as f64;
        Wide {
            prime: Prime::new(modulus),
            p_plus_1: _mm256_set1_pd(p + 1.0),
            multiple: _mm256_set1_pd(p * TWO51),
            inverse: _mm256_set1_pd(1.0 / (p * TWO51)),
            inv52: _mm256_set1_pd(modulus.inv52() as f64),
        }
    }

    /// A multiple of 2^51 below 2^104 modulo 2^51 p, at most about half of it in size.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn fold(&self, high: __m256d) -> __m256d {
        let quotient = _mm256_round_pd::<NEAREST>(_mm256_mul_pd(high, self.inverse));
        _mm256_fnmadd_pd(quotient, self.multiple, high)
    }
}

/// A tile of T outputs over entries 0..len, a multiple of 4.
///
/// # Safety
/// AVX2 and FMA present; every `out` and every x at least `len` long; every `weights` at least xs.len() long; xs.len() at
/// most [`MOST`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn tile<const T: usize>(outputs: &mut [Output<'_>], xs: &[&[u64]], len: usize) {
    let wides: [Wide; T] = core::array::from_fn(|j| Wide::new(outputs[j].modulus));
    let starts: [Sum; T] = core::array::from_fn(|j| Sum::start(outputs[j].start, xs.len()));
    let outs: [*mut u64; T] = core::array::from_fn(|j| outputs[j].out.as_mut_ptr());
    let weights: Vec<[f64; T]> = (0..xs.len())
        .map(|k| core::array::from_fn(|j| outputs[j].weights[k] as f64))
        .collect();
    for i in (0..len).step_by(4) {
        let mut sums = starts;
        let mut left = FOLD;
        for (x, weights) in xs.iter().zip(&weights) {
            if left == 0 {
                left = FOLD;
                for j in 0..T {
                    sums[j].high = wides[j].fold(sums[j].high);
                }
            }
            left -= 1;
            // SAFETY: i + 4 <= len <= x.len().
            let x = Prime::double(unsafe { load(x, i) });
            for j in 0..T {
                sums[j].add(x, _mm256_set1_pd(weights[j]));
            }
        }
        for j in 0..T {
            // SAFETY: i + 4 <= len <= out.len().
            unsafe { store(outs[j], i, sums[j].reduce(&wides[j])) };
        }
    }
}

/// T outputs from output `first` on over entries 0..len, weights constant on runs.
///
/// # Safety
/// AVX2 and FMA present; run a multiple of 4 and a power of two, len a multiple of run; every out and every x at least
/// `len` long; `columns` weights for each run, xs.len() for each output; xs.len() at most [`MOST`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn runs<const T: usize>(
    outs: &mut [&mut [u64]],
    xs: &[&[u64]],
    weights: &[u64],
    [first, columns, run]: [usize; 3],
    len: usize,
    modulus: &Modulus,
) {
    let wide = Wide::new(modulus);
    let start = Sum::start(0, xs.len());
    let outs: [*mut u64; T] = core::array::from_fn(|j| outs[j].as_mut_ptr());
    let mut doubles = vec![[0.0; T]; xs.len()];
    for from in (0..len).step_by(run) {
        let weights = &weights[from / run * columns + first * xs.len()..];
        for j in 0..T {
            for (k, double) in doubles.iter_mut().enumerate() {
                double[j] = weights[j * xs.len() + k] as f64;
            }
        }
        for i in (from..from + run).step_by(4) {
            let mut sums = [start; T];
            let mut left = FOLD;
            for (x, weights) in xs.iter().zip(&doubles) {
                if left == 0 {
                    left = FOLD;
                    for sum in &mut sums {
                        sum.high = wide.fold(sum.high);
                    }
                }
                left -= 1;
                // SAFETY: i + 4 <= len <= x.len().
                let x = Prime::double(unsafe { load(x, i) });
                for j in 0..T {
                    sums[j].add(x, _mm256_set1_pd(weights[j]));
                }
            }
            for j in 0..T {
                // SAFETY: i + 4 <= len <= out.len().
                unsafe { store(outs[j], i, sums[j].reduce(&wide)) };
            }
        }
    }
}

/// Two sums of products over entries 0..len, a multiple of 4.
///
/// # Safety
/// AVX2 and FMA present; every slice at least `len` long; both lists of ys as long as xs, at most [`MOST`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn products(
    outs: [&mut [u64]; 2],
    xs: &[&[u64]],
    ys: [&[&[u64]]; 2],
    modulus: &Modulus,
    len: usize,
) {
    let wide = Wide::new(modulus);
    let start = Sum::start(0, xs.len());
    let outs = outs.map(|out| out.as_mut_ptr());
    for i in (0..len).step_by(4) {
        let mut sums = [start; 2];
        let mut left = FOLD;
        for (k, x) in xs.iter().enumerate() {
            if left == 0 {
                left = FOLD;
                for sum in &mut sums {
                    sum.high = wide.fold(sum.high);
                }
            }
            left -= 1;
            // SAFETY: i + 4 <= len, which is at most the length of every slice.
            unsafe {
                let x = Prime::double(load(x, i));
                for j in 0..2 {
                    sums[j].add(x, Prime::double(load(ys[j][k], i)));
                }
            }
        }
        for j in 0..2 {
            // SAFETY: i + 4 <= len <= out.len().
            unsafe { store(outs[j], i, sums[j].reduce(&wide)) };
        }
    }
}

/// How four packed residues, the first or the second half of eight, come apart: 16 bytes hold two of them.
#[derive(Clone, Copy)]
struct Unpacking {
    /// Where the two pairs begin.
    starts: [usize; 2],
    bytes: __m256i,
    shifts: __m256i,
    mask: __m256i,
}

impl Unpacking {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn new(bits: usize, half: usize) -> Self {
        let bit = |k: usize| (4 * half + k) * bits;
        let starts = [bit(0) / 8, bit(2) / 8];
        let mut bytes = [0u8; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = (bit(i / 8) / 8 - starts[i / 16] + i % 8) as u8;
        }
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

    /// # Safety
    /// 64 bytes may be read at `at`.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn load(&self, at: *const u8) -> __m256i {
        // SAFETY: the second pair of the second half begins at byte 6 * 50 / 8 = 37 at most.
        let [low, high] = self
            .starts
            .map(|start| unsafe { _mm_loadu_si128(at.wrapping_add(start).cast()) });
        let words = _mm256_shuffle_epi8(_mm256_set_m128i(high, low), self.bytes);
        _mm256_and_si256(_mm256_srlv_epi64(words, self.shifts), self.mask)
    }
}

/// Two sums of products with the rows of a key, and of addends, over entries 0..len, a multiple of 8.
///
/// # Safety
/// AVX2 and FMA present; every slice and the key at least `len` long; two rows of the key for each of the xs, at most
/// [`MOST`] of them.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn key_products(
    outs: [&mut [u64]; 2],
    xs: &[&[u64]],
    key: PackedBlock<'_>,
    plus: [&[&[u64]]; 2],
    modulus: &Modulus,
    len: usize,
) {
    let wide = Wide::new(modulus);
    let start = Sum::start(0, xs.len());
    let halves = [0, 1].map(|half| Unpacking::new(key.bits(), half));
    let outs = outs.map(|out| out.as_mut_ptr());
    let p = modulus.value() as i64;
    let (last, p) = (_mm256_set1_epi64x(p - 1), _mm256_set1_epi64x(p));
    for i in (0..len).step_by(4) {
        let unpacking = &halves[i / 4 % 2];
        let mut sums = [start; 2];
        let mut left = FOLD;
        for (k, x) in xs.iter().enumerate() {
            if left == 0 {
                left = FOLD;
                for sum in &mut sums {
                    sum.high = wide.fold(sum.high);
                }
            }
            left -= 1;
            // SAFETY: i + 4 <= len, which is at most the length of every slice and of the key.
            unsafe {
                let x = Prime::double(load(x, i));
                for (j, sum) in sums.iter_mut().enumerate() {
                    sum.add(x, Prime::double(unpacking.load(key.at(2 * k + j, i))));
                }
            }
        }
        for j in 0..2 {
            let mut sum = sums[j].reduce(&wide);
            for addend in plus[j] {
                // SAFETY: i + 4 <= len <= addend.len().
                sum = _mm256_add_epi64(sum, unsafe { load(addend, i) });
                let above = _mm256_cmpgt_epi64(sum, last);
                sum = _mm256_sub_epi64(sum, _mm256_and_si256(above, p));
            }
            // SAFETY: i + 4 <= len <= out.len().
            unsafe { store(outs[j], i, sum) };
        }
    }
}
