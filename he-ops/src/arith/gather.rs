//! Permutations of the values of a limb, whole or block by block.

use super::Simd;

/// limb\[i\] = source\[table\[i\]\], modulo the length of the source.
///
/// So a block can be permuted by itself: `source` is then the aligned block that [`source_block`] tells, `table` the part
/// of the permutation for the block of the result.
pub(crate) fn gather(limb: &mut [u64], source: &[u64], table: &[u32]) {
    gather_at(Simd::current(), limb, source, table);
}

#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_variables, reason = "there is one level")
)]
fn gather_at(simd: Simd, limb: &mut [u64], source: &[u64], table: &[u32]) {
    // The gather instruction of AVX2 is slower than loads one by one (note 012).
    #[cfg(target_arch = "x86_64")]
    if simd == Simd::Ifma && limb.len() >= 8 {
        // SAFETY: levels in use are not above the processor's.
        return unsafe { gather_lines(limb, source, table) };
    }
    let mask = source.len().wrapping_sub(1);
    for (word, &from) in limb.iter_mut().zip(table) {
        *word = source.get(from as usize & mask).copied().unwrap_or_default();
    }
}

/// Where the aligned block of `len` values begins that a permutation maps onto the block at `at`; `len` is a power of two.
pub(crate) fn source_block(table: &[u32], at: usize, len: usize) -> usize {
    table.get(at).map_or(at, |&from| from as usize & !(len - 1))
}

/// The same, eight words at a time: in bit-reversed order an automorphism maps every aligned block of 2^b values onto
/// an aligned block of 2^b values, so a cache line of the result is a permuted cache line of the source.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn gather_lines(limb: &mut [u64], source: &[u64], table: &[u32]) {
    use core::arch::x86_64::*;
    let (lines, _) = source.as_chunks::<8>();
    let mask = lines.len().wrapping_sub(1);
    for (out, index) in limb
        .as_chunks_mut::<8>()
        .0
        .iter_mut()
        .zip(table.as_chunks::<8>().0)
    {
        if let Some(line) = lines.get((index[0] as usize / 8) & mask) {
            // SAFETY: each has eight entries.
            unsafe {
                let index = _mm512_cvtepu32_epi64(_mm256_loadu_si256(index.as_ptr().cast()));
                // Only the low three bits of an index count.
                let moved = _mm512_permutexvar_epi64(index, _mm512_loadu_si512(line.as_ptr().cast()));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), moved);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::ntt::bit_reverse;

    #[test]
    fn every_level_moves_the_same_words() {
        // X -> X^77.
        let from = |i| bit_reverse((2 * bit_reverse(i, 9) + 1) * 77 % 1024 / 2, 9) as u32;
        let table: Vec<u32> = (0..512).map(from).collect();
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
}
