//! `N` words one after the other, on any processor, with sums in 128 bits.

use super::Lanes;
use crate::arith::modulus::{MASK52, Modulus, WORD52};
use core::array::from_fn;

/// Words at a time: so many sums stay in registers.
pub(crate) const CHUNK: usize = 4;

/// `N` words, which needs no special instruction.
#[derive(Clone, Copy)]
pub(crate) struct Words<const N: usize>;

impl<const N: usize> Lanes for Words<N> {
    const WIDTH: usize = N;
    const TILE: usize = 1;
    const WIDE: bool = false;
    /// A product is below 2^100.
    const MAX_TERMS: usize = 1 << 28;
    const CONVERTED: bool = false;

    type Words = [u64; N];
    type Factor = [u64; N];
    type Sum = [u128; N];
    type Prime = Modulus;
    type Unpacking = usize;

    #[inline(always)]
    fn prime(self, modulus: &Modulus) -> Modulus {
        *modulus
    }

    #[inline(always)]
    fn fold_after(_: usize, _: &Modulus) -> Option<usize> {
        None
    }

    #[inline(always)]
    unsafe fn load(self, at: *const u64) -> [u64; N] {
        // SAFETY: as promised by the caller.
        unsafe { at.cast::<[u64; N]>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut u64, words: [u64; N]) {
        // SAFETY: as promised by the caller.
        unsafe { at.cast::<[u64; N]>().write(words) }
    }

    #[inline(always)]
    fn factor(self, words: [u64; N]) -> [u64; N] {
        words
    }

    #[inline(always)]
    fn unpacking(self, bits: usize) -> usize {
        bits
    }

    #[inline(always)]
    unsafe fn unpack(self, &bits: &usize, at: *const u8, lane: usize) -> [u64; N] {
        from_fn(|c| {
            let bit = (lane + c) * bits;
            // SAFETY: the last of eight residues begins at byte 7 * 50 / 8 at most.
            let word = unsafe { at.add(bit / 8).cast::<u64>().read_unaligned() };
            u64::from_le(word) >> (bit % 8) & ((1 << bits) - 1)
        })
    }

    #[inline(always)]
    fn weight(word: u64) -> u64 {
        word
    }

    #[inline(always)]
    fn splat(self, weight: u64) -> [u64; N] {
        [weight; N]
    }

    #[inline(always)]
    fn start(self, _: &Modulus, start: u64, _: usize) -> [u128; N] {
        [u128::from(start); N]
    }

    #[inline(always)]
    fn mul_add(self, sum: [u128; N], x: [u64; N], w: [u64; N]) -> [u128; N] {
        let mut out = sum;
        for ((sum, x), w) in out.iter_mut().zip(x).zip(w) {
            *sum += u128::from(x) * u128::from(w);
        }
        out
    }

    #[inline(always)]
    fn fold(self, _: &Modulus, sum: [u128; N]) -> [u128; N] {
        sum
    }

    #[inline(always)]
    fn reduce<const FEW: bool>(self, modulus: &Modulus, sum: [u128; N]) -> [u64; N] {
        let mut out = [0; N];
        for (out, sum) in out.iter_mut().zip(sum) {
            *out = montgomery(sum, modulus);
        }
        out
    }

    #[inline(always)]
    fn add(self, modulus: &Modulus, x: [u64; N], y: [u64; N]) -> [u64; N] {
        let mut out = x;
        for (x, y) in out.iter_mut().zip(y) {
            *x = modulus.add(*x, y);
        }
        out
    }

    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "arrays of N")]
    fn tensor(self, modulus: &Modulus, _: [u64; N], a: [[u64; N]; 2], b: [[u64; N]; 2]) -> [[u64; N]; 3] {
        let product = |x: u64, y: u64| u128::from(x) * u128::from(y);
        let mut out = [[0; N]; 3];
        for c in 0..N {
            out[0][c] = modulus.reduce_u128(product(a[0][c], b[0][c]));
            out[1][c] = modulus.reduce_u128(product(a[0][c], b[1][c]) + product(a[1][c], b[0][c]));
            out[2][c] = modulus.reduce_u128(product(a[1][c], b[1][c]));
        }
        out
    }
}

/// sum / 2^52 modulo p.
#[inline]
pub(crate) fn montgomery(sum: u128, modulus: &Modulus) -> u64 {
    // (sum + m p) / 2^52 with m chosen so that the division is exact.
    let m = (sum as u64).wrapping_mul(modulus.neg_inv52()) & MASK52;
    let quotient = (sum + u128::from(m) * u128::from(modulus.value())) >> WORD52;
    // One word unless there are thousands of terms.
    match u64::try_from(quotient) {
        Ok(word) => modulus.reduce(word),
        Err(_) => modulus.reduce_u128(quotient),
    }
}
