//! X -> X^g on values: a permutation of the evaluation points.

use super::poly::{Eval, Poly};
use crate::arith::Simd;
use crate::arith::ntt::bit_reverse;
use crate::par;

/// Where each value comes from: entry i of the result is entry `table[i]` of the input.
///
/// Entry i of a polynomial is its value at psi^(2 brv(i) + 1); after X -> X^g it is the value of the old polynomial at
/// that point to the g-th power. `element` is odd and below 2N.
#[must_use]
pub fn permutation(element: u64, log_n: u32) -> Vec<u32> {
    let mask = (2u64 << log_n) - 1;
    (0..1usize << log_n)
        .map(|i| {
            let exponent = (2 * bit_reverse(i, log_n) as u64 + 1).wrapping_mul(element) & mask;
            bit_reverse((exponent >> 1) as usize, log_n) as u32
        })
        .collect()
}

/// Applies a [`permutation`] to every limb.
#[must_use]
pub fn permute(input: &Poly<Eval>, table: &[u32]) -> Poly<Eval> {
    let n = input.degree();
    let mut out = Poly::<Eval>::scratch(input.limbs(), n);
    par::limbs(out.words_mut(), n, |i, limb| gather(limb, input.limb(i), table));
    out
}

/// limb\[i\] = source\[table\[i\]\], modulo the length of the source.
///
/// So a block can be permuted by itself: `source` is then the aligned block that [`source_block`] tells, `table` the part
/// of the permutation for the block of the result.
pub(crate) fn gather(limb: &mut [u64], source: &[u64], table: &[u32]) {
    gather_at(Simd::current(), limb, source, table);
}

#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_variables, reason = "there is one instruction set")
)]
#[expect(clippy::indexing_slicing, reason = "below the length, a power of two")]
fn gather_at(simd: Simd, limb: &mut [u64], source: &[u64], table: &[u32]) {
    // The gather instruction of AVX2 is slower than loads one by one (note 012).
    #[cfg(target_arch = "x86_64")]
    if simd == Simd::Ifma && limb.len() >= 8 {
        gather_lines(limb, source, table);
        return;
    }
    let mask = source.len().wrapping_sub(1);
    for (word, &from) in limb.iter_mut().zip(table) {
        *word = source[from as usize & mask];
    }
}

/// Where the aligned block of `len` values begins that a permutation maps onto the block at `at`; `len` is a power of two.
#[expect(clippy::indexing_slicing, reason = "an entry of the permutation")]
pub(crate) fn source_block(table: &[u32], at: usize, len: usize) -> usize {
    table[at] as usize & !(len - 1)
}

/// The same, eight words at a time: in bit-reversed order an automorphism maps every aligned block of 2^b values onto
/// an aligned block of 2^b values, so a cache line of the result is a permuted cache line of the source.
#[cfg(target_arch = "x86_64")]
fn gather_lines(limb: &mut [u64], source: &[u64], table: &[u32]) {
    use core::arch::x86_64::{__m512i, _mm256_loadu_si256, _mm512_cvtepu32_epi64, _mm512_permutexvar_epi64};

    #[target_feature(enable = "avx512f")]
    fn permute_line(line: &[u64; 8], index: &[u32; 8]) -> [u64; 8] {
        // SAFETY: plain loads and a transmute between types of the same 64 bytes.
        unsafe {
            let index = _mm512_cvtepu32_epi64(_mm256_loadu_si256(index.as_ptr().cast()));
            let line = core::mem::transmute::<[u64; 8], __m512i>(*line);
            // Only the low three bits of an index count.
            core::mem::transmute::<__m512i, [u64; 8]>(_mm512_permutexvar_epi64(index, line))
        }
    }

    #[target_feature(enable = "avx512f")]
    #[expect(
        clippy::indexing_slicing,
        reason = "below the number of lines, a power of two"
    )]
    fn all(limb: &mut [u64], source: &[u64], table: &[u32]) {
        let mask = (source.len() / 8).wrapping_sub(1);
        for (out, index) in limb
            .as_chunks_mut::<8>()
            .0
            .iter_mut()
            .zip(table.as_chunks::<8>().0)
        {
            let line = &source.as_chunks::<8>().0[(index[0] as usize / 8) & mask];
            *out = permute_line(line, index);
        }
    }

    // SAFETY: the caller detected AVX-512 F.
    unsafe { all(limb, source, table) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::primes::nearest_ntt_prime;
    use crate::arith::{Modulus, NttTable};
    use crate::ring::Coeff;

    #[test]
    fn every_level_moves_the_same_words() {
        let table = permutation(77, 9);
        let source: Vec<u64> = (0..512).map(|i| i * i).collect();
        // A whole limb, and a block of it.
        for (at, len) in [(0, 512), (64, 64), (8, 4)] {
            let from = source_block(&table, at, len);
            let (part, moved) = (&table[at..at + len], &source[from..from + len]);
            let want: Vec<u64> = part.iter().map(|&from| source[from as usize]).collect();
            for simd in Simd::available() {
                let mut out = vec![0; len];
                gather_at(simd, &mut out, moved, part);
                assert_eq!(out, want, "{simd:?}");
            }
        }
    }

    #[test]
    fn permuting_values_is_substituting_x_to_the_g() {
        let log_n = 7;
        let n = 1usize << log_n;
        let q = Modulus::new(nearest_ntt_prime((1u64 << 35) as f64, log_n, &[]).unwrap()).unwrap();
        let tables = [NttTable::new(log_n, q).unwrap()];
        let coefficients: Vec<i64> = (0..n as i64).map(|i| i * i - 50 * i + 3).collect();
        for g in [5u64, 25, 2 * n as u64 - 1, 77, 3] {
            let mut moved = vec![0i64; n];
            for (i, &c) in coefficients.iter().enumerate() {
                let e = (i as u64 * g) as usize % (2 * n);
                moved[e % n] = if e < n { c } else { -c };
            }
            let input = Poly::<Coeff>::from_signed(&coefficients, &tables).into_eval(&tables);
            let want = Poly::<Coeff>::from_signed(&moved, &tables).into_eval(&tables);
            assert_eq!(permute(&input, &permutation(g, log_n)), want);
        }
    }
}
