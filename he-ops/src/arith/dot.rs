//! The one hot kernel besides the transform: several sums of (vector x constant) at once, modulo primes of at most
//! 50 bits.
//!
//! Basis conversion, rescaling, weights in a subring and scalar products are all
//! `out_j[i] = (start_j + sum_k x_k[i] * w_jk) mod p_j`. Constants are in Montgomery form (times 2^52), sums are kept
//! as two 52-bit words without any reduction, and one Montgomery step reduces the sum. On x86-64 with AVX-512 IFMA
//! eight lanes run at once and four outputs share every load; elsewhere the same arithmetic runs on u128, with the
//! same results bit for bit.
#![expect(clippy::indexing_slicing, reason = "hot loops; lengths are checked once at the entrance")]

use super::modulus::{MASK52, Modulus, WORD52};

/// Terms summed before the high word is reduced: 8 x 2^(50+50-52) stays below 2^51.
const TERMS_PER_REDUCTION: usize = 8;

/// One output of a dot product.
pub struct Output<'a> {
    /// Where the result goes; entries below the modulus.
    pub out: &'a mut [u64],
    /// One constant per input, in Montgomery form ([`Modulus::to_mont52`]).
    pub weights: &'a [u64],
    /// Start of the sum, in Montgomery form.
    pub start: u64,
    /// The modulus of this output.
    pub modulus: &'a Modulus,
}

/// `out_j[i] = (start_j + sum_k xs[k][i] * weights_j[k]) mod p_j` for all outputs.
///
/// Inputs are below 2^50. Every slice must have the length of the outputs; surplus terms or entries are ignored, so a
/// mistake gives wrong numbers in tests but never touches memory outside the slices.
pub fn dot(outputs: &mut [Output<'_>], xs: &[&[u64]]) {
    let len = outputs.iter().map(|o| o.out.len()).chain(xs.iter().map(|x| x.len())).min().unwrap_or(0);
    let terms = outputs.iter().map(|o| o.weights.len()).min().unwrap_or(0).min(xs.len());
    let xs = &xs[..terms];
    #[cfg(target_arch = "x86_64")]
    if len >= 8
        && std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512ifma")
    {
        let body = len / 8 * 8;
        let mut rest = &mut *outputs;
        while !rest.is_empty() {
            let take = if rest.len() >= 4 { 4 } else { 1 };
            let (tile, tail) = rest.split_at_mut(take);
            // SAFETY: the features were detected; `body` is at most the length of every slice of tile and xs, and
            // every weights slice has at least xs.len() entries.
            unsafe {
                match take {
                    4 => ifma::tile::<4>(tile, xs, body),
                    _ => ifma::tile::<1>(tile, xs, body),
                }
            }
            rest = tail;
        }
        portable(outputs, xs, body, len);
        return;
    }
    portable(outputs, xs, 0, len);
}

/// The same on u128, for entries `from..to`.
fn portable(outputs: &mut [Output<'_>], xs: &[&[u64]], from: usize, to: usize) {
    for o in outputs {
        for i in from..to {
            let mut sum = u128::from(o.start);
            for (k, (x, &w)) in xs.iter().zip(o.weights).enumerate() {
                sum += u128::from(x[i]) * u128::from(w);
                if (k + 1) % TERMS_PER_REDUCTION == 0 {
                    sum = (u128::from(o.modulus.reduce((sum >> WORD52) as u64)) << WORD52) | (sum & u128::from(MASK52));
                }
            }
            // Montgomery: (sum + m p) / 2^52 with m chosen so that the division is exact.
            let m = (sum as u64).wrapping_mul(o.modulus.neg_inv52()) & MASK52;
            let t = (sum + u128::from(m) * u128::from(o.modulus.value())) >> WORD52;
            o.out[i] = o.modulus.reduce_u128(t);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod ifma {
    use super::{MASK52, Output, TERMS_PER_REDUCTION, WORD52};
    use core::arch::x86_64::*;

    /// r mod p for lanes below 2^52, with mu = floor(2^52 / p): the quotient is short by at most two.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn barrett(r: __m512i, p: __m512i, mu: __m512i) -> __m512i {
        let zero = _mm512_setzero_si512();
        let quotient = _mm512_madd52hi_epu64(zero, r, mu);
        // quotient * p is below 2^52, so its low word is the whole product.
        let r = _mm512_sub_epi64(r, _mm512_madd52lo_epu64(zero, quotient, p));
        let r = _mm512_min_epu64(r, _mm512_sub_epi64(r, p));
        _mm512_min_epu64(r, _mm512_sub_epi64(r, p))
    }

    /// A tile of T outputs over entries 0..len (a multiple of 8).
    ///
    /// # Safety
    /// AVX-512 F and IFMA present; every `out` and every x at least `len` long; every `weights` at least xs.len() long.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) unsafe fn tile<const T: usize>(outputs: &mut [Output<'_>], xs: &[&[u64]], len: usize) {
        let mask = _mm512_set1_epi64(MASK52 as i64);
        let p: [__m512i; T] = core::array::from_fn(|j| _mm512_set1_epi64(outputs[j].modulus.value() as i64));
        let mu: [__m512i; T] =
            core::array::from_fn(|j| _mm512_set1_epi64(((1u64 << WORD52) / outputs[j].modulus.value()) as i64));
        let ninv: [__m512i; T] = core::array::from_fn(|j| _mm512_set1_epi64(outputs[j].modulus.neg_inv52() as i64));
        let start: [__m512i; T] = core::array::from_fn(|j| _mm512_set1_epi64(outputs[j].start as i64));
        let zero = _mm512_setzero_si512();
        for i in (0..len).step_by(8) {
            let mut lo = start;
            let mut hi = [zero; T];
            for (k, x) in xs.iter().enumerate() {
                // SAFETY: i + 8 <= len <= x.len().
                let v = unsafe { _mm512_loadu_si512(x.as_ptr().add(i).cast()) };
                for j in 0..T {
                    // SAFETY: k < xs.len() <= weights.len().
                    let w = _mm512_set1_epi64(unsafe { *outputs[j].weights.get_unchecked(k) } as i64);
                    lo[j] = _mm512_madd52lo_epu64(lo[j], v, w);
                    hi[j] = _mm512_madd52hi_epu64(hi[j], v, w);
                }
                if (k + 1) % TERMS_PER_REDUCTION == 0 {
                    for j in 0..T {
                        hi[j] = _mm512_add_epi64(hi[j], _mm512_srli_epi64::<WORD52>(lo[j]));
                        lo[j] = _mm512_and_si512(lo[j], mask);
                        hi[j] = barrett(hi[j], p[j], mu[j]);
                    }
                }
            }
            for j in 0..T {
                let high = _mm512_add_epi64(hi[j], _mm512_srli_epi64::<WORD52>(lo[j]));
                let low = _mm512_and_si512(lo[j], mask);
                let m = _mm512_madd52lo_epu64(zero, low, ninv[j]);
                // low + (m p mod 2^52) is 0 or 2^52: the carry is one unless low is zero.
                let carry = _mm512_min_epu64(low, _mm512_set1_epi64(1));
                let t = _mm512_madd52hi_epu64(_mm512_add_epi64(high, carry), m, p[j]);
                let r = barrett(t, p[j], mu[j]);
                // SAFETY: i + 8 <= len <= out.len().
                unsafe { _mm512_storeu_si512(outputs[j].out.as_mut_ptr().add(i).cast(), r) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::primes::{nearest_ntt_prime, ntt_prime_below};

    /// Against big arithmetic, for more terms than one reduction holds, extreme entries, odd lengths; the portable
    /// path gives the same bits.
    #[test]
    fn sums_agree_with_u128_and_with_the_portable_path() {
        let moduli: Vec<Modulus> = [
            ntt_prime_below(50, 10, &[]).unwrap(),
            nearest_ntt_prime((1u64 << 35) as f64, 10, &[]).unwrap(),
            ntt_prime_below(48, 10, &[]).unwrap(),
            nearest_ntt_prime((1u64 << 20) as f64, 10, &[]).unwrap(),
            65537,
        ]
        .iter()
        .map(|&q| Modulus::new(q).unwrap())
        .collect();
        for terms in [0usize, 1, 2, 8, 9, 16, 31] {
            let len = 37;
            let xs: Vec<Vec<u64>> = (0..terms)
                .map(|k| {
                    (0..len)
                        .map(|i| match i % 5 {
                            0 => 0,
                            1 => (1 << 50) - 1,
                            _ => ((k * len + i) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % (1 << 50),
                        })
                        .collect()
                })
                .collect();
            let plain: Vec<Vec<u64>> = moduli
                .iter()
                .map(|m| (0..terms as u64).map(|k| m.neg(m.reduce(1 + k * k * 12345))).collect())
                .collect();
            let weights: Vec<Vec<u64>> =
                moduli.iter().zip(&plain).map(|(m, w)| w.iter().map(|&w| m.to_mont52(w)).collect()).collect();
            let refs: Vec<&[u64]> = xs.iter().map(Vec::as_slice).collect();
            let run = |portable_only: bool| {
                let mut outs = vec![vec![0u64; len]; moduli.len()];
                let mut outputs: Vec<Output<'_>> = outs
                    .iter_mut()
                    .zip(&weights)
                    .zip(&moduli)
                    .map(|((out, weights), modulus)| Output { out, weights, start: modulus.to_mont52(7), modulus })
                    .collect();
                if portable_only { portable(&mut outputs, &refs, 0, len) } else { dot(&mut outputs, &refs) }
                outs
            };
            let outs = run(false);
            assert_eq!(outs, run(true));
            for ((out, w), m) in outs.iter().zip(&plain).zip(&moduli) {
                for i in 0..len {
                    let want = xs.iter().zip(w).fold(7 % m.value(), |acc, (x, &w)| m.add(acc, m.mul(m.reduce(x[i]), w)));
                    assert_eq!(out[i], want, "{terms} terms, entry {i}");
                }
            }
        }
    }
}
