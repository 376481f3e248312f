//! The hot kernels besides the transform: sums of products modulo primes of at most 50 bits.
//!
//! Basis conversion, rescaling, weights in a subring and scalar products are all
//! `out_j[i] = (start_j + sum_k x_k[i] * w_jk) mod p_j` ([`dot`]); the inner product of a key switch has vectors in
//! place of the constants ([`products`]). Constants and keys are in Montgomery form (times 2^52), sums are kept as two
//! 52-bit words without any reduction, and one Montgomery step reduces the sum. On x86-64 with AVX-512 IFMA
//! eight lanes run at once and four outputs share every load; elsewhere the same arithmetic runs on u128, with the
//! same results bit for bit.
#![expect(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "hot loops; lengths are checked once at the entrance"
)]

use super::modulus::{MASK52, Modulus, WORD52};

/// Terms that may be summed before the high word must be reduced, less one: a term below 2^50 p adds less than
/// p / 4 to it, and it has to stay below 2^51. Eight terms for a prime of 50 bits, 32 for 48 bits, plenty for 35.
fn reduction_mask(modulus: &Modulus) -> usize {
    (1 << (53 - modulus.bits().clamp(3, 50))) - 1
}

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
    let len = outputs
        .iter()
        .map(|o| o.out.len())
        .chain(xs.iter().map(|x| x.len()))
        .min()
        .unwrap_or(0);
    let terms = outputs
        .iter()
        .map(|o| o.weights.len())
        .min()
        .unwrap_or(0)
        .min(xs.len());
    let xs = &xs[..terms];
    #[cfg(target_arch = "x86_64")]
    if len >= 8
        && std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512ifma")
    {
        let body = len / 8 * 8;
        let mut rest = &mut *outputs;
        while !rest.is_empty() {
            let take = match rest.len() {
                // Tiles of even sizes: one alone reads each vector for two products only.
                5 | 6 => 3,
                n => n.min(4),
            };
            let (tile, tail) = rest.split_at_mut(take);
            // SAFETY: the features were detected; `body` is at most the length of every slice of tile and xs, and
            // every weights slice has at least xs.len() entries.
            unsafe {
                match take {
                    4 => ifma::tile::<4, 2>(tile, xs, body),
                    3 => ifma::tile::<3, 2>(tile, xs, body),
                    2 => ifma::tile::<2, 4>(tile, xs, body),
                    _ => ifma::tile::<1, 4>(tile, xs, body),
                }
            }
            rest = tail;
        }
        portable(outputs, xs, body, len);
        return;
    }
    portable(outputs, xs, 0, len);
}

/// `outs[j][i] = (sum_k xs[k][i] * weights[r][j][k]) mod p` with r = i / run: weights that are constant on runs of a
/// power of two of words, in Montgomery form, one list for each run. Entries past the weights, or past the shortest
/// slice, stay as they are.
pub fn dot_runs(outs: &mut [&mut [u64]], xs: &[&[u64]], weights: &[u64], run: usize, modulus: &Modulus) {
    let columns = outs.len() * xs.len();
    if columns == 0 || !run.is_power_of_two() {
        return;
    }
    let lens = outs.iter().map(|o| o.len()).chain(xs.iter().map(|x| x.len()));
    let len = lens.min().unwrap_or(0).min(weights.len() / columns * run);
    #[cfg(target_arch = "x86_64")]
    if run >= 8
        && len.is_multiple_of(run)
        && std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512ifma")
    {
        let mut first = 0;
        while first < outs.len() {
            let take = (outs.len() - first).min(4);
            let tile = &mut outs[first..first + take];
            // SAFETY: the features were detected; `len` is a multiple of the run and at most the length of every
            // slice, and there are `columns` weights for each of its len / run runs.
            unsafe {
                match take {
                    4 => ifma::runs::<4>(tile, xs, weights, [first, columns, run], len, modulus),
                    3 => ifma::runs::<3>(tile, xs, weights, [first, columns, run], len, modulus),
                    2 => ifma::runs::<2>(tile, xs, weights, [first, columns, run], len, modulus),
                    _ => ifma::runs::<1>(tile, xs, weights, [first, columns, run], len, modulus),
                }
            }
            first += take;
        }
        return;
    }
    for (j, out) in outs.iter_mut().enumerate() {
        for i in 0..len {
            let at = i / run * columns + j * xs.len();
            let terms = xs
                .iter()
                .zip(&weights[at..])
                .map(|(x, &w)| u128::from(x[i]) * u128::from(w));
            out[i] = reduce_sum(terms, 0, modulus);
        }
    }
}

/// limb\[i\] = (start + limb\[i\] * weight) mod p in place; weight and start in Montgomery form.
pub fn scale_in_place(limb: &mut [u64], weight: u64, start: u64, modulus: &Modulus) {
    const BLOCK: usize = 512;
    let mut copy = [0u64; BLOCK];
    for block in limb.chunks_mut(BLOCK) {
        let copy = &mut copy[..block.len()];
        copy.copy_from_slice(block);
        dot(
            &mut [Output {
                out: block,
                weights: &[weight],
                start,
                modulus,
            }],
            &[copy],
        );
    }
}

/// `outs[j][i] = (sum_k xs[k][i] * ys[j][k][i]) mod p`: two sums that share the xs. The ys are in Montgomery form.
///
/// Surplus terms or entries are ignored, as in [`dot`].
pub fn products(outs: [&mut [u64]; 2], xs: &[&[u64]], ys: [&[&[u64]]; 2], modulus: &Modulus) {
    let terms = ys.iter().map(|y| y.len()).min().unwrap_or(0).min(xs.len());
    let (xs, ys) = (&xs[..terms], ys.map(|y| &y[..terms]));
    let lens = outs
        .iter()
        .map(|o| o.len())
        .chain(xs.iter().chain(ys[0]).chain(ys[1]).map(|v| v.len()));
    let len = lens.min().unwrap_or(0);
    let mut from = 0;
    let [out0, out1] = outs;
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512ifma") {
        from = len / 8 * 8;
        // SAFETY: the features were detected; `from` is at most the length of every slice, and all lists have `terms`
        // entries.
        unsafe { ifma::products([out0, out1], xs, ys, modulus, from) };
    }
    for (out, ys) in [out0, out1].into_iter().zip(ys) {
        for i in from..len {
            let terms = xs
                .iter()
                .zip(ys)
                .map(|(x, y)| u128::from(x[i]) * u128::from(y[i]));
            out[i] = reduce_sum(terms, 0, modulus);
        }
    }
}

/// A sum of products below 2^100 each, divided by 2^52, modulo p.
fn reduce_sum(terms: impl Iterator<Item = u128>, start: u64, modulus: &Modulus) -> u64 {
    let mut sum = u128::from(start);
    let mask = reduction_mask(modulus);
    for (k, term) in terms.enumerate() {
        sum += term;
        if (k + 1) & mask == 0 {
            sum = (u128::from(modulus.reduce((sum >> WORD52) as u64)) << WORD52) | (sum & u128::from(MASK52));
        }
    }
    // Montgomery: (sum + m p) / 2^52 with m chosen so that the division is exact.
    let m = (sum as u64).wrapping_mul(modulus.neg_inv52()) & MASK52;
    modulus.reduce_u128((sum + u128::from(m) * u128::from(modulus.value())) >> WORD52)
}

/// [`dot`] on u128, for entries `from..to`.
fn portable(outputs: &mut [Output<'_>], xs: &[&[u64]], from: usize, to: usize) {
    for o in outputs {
        for i in from..to {
            let terms = xs
                .iter()
                .zip(o.weights)
                .map(|(x, &w)| u128::from(x[i]) * u128::from(w));
            o.out[i] = reduce_sum(terms, o.start, o.modulus);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod ifma {
    use super::{MASK52, Modulus, Output, WORD52};
    use core::arch::x86_64::*;

    /// Terms whose sum needs no reduction on the way and two subtractions at the end: a term is below 2^50 p, so its
    /// high word is at most p / 4. With p at the start, 11 terms and their carries stay below 4 p.
    const FEW: usize = 11;

    /// More terms are folded after every so many: 2 p and as many high words and carries stay below 2^52.
    fn fold_after(modulus: &Modulus) -> u64 {
        let p = modulus.value();
        ((1 << WORD52) - 2 * p - 1) / (p / 4 + 2)
    }

    /// One modulus in every lane.
    #[derive(Clone, Copy)]
    struct Prime {
        p: __m512i,
        /// floor(2^52 / p).
        mu: __m512i,
        /// p^-1 mod 2^52.
        inv: __m512i,
    }

    impl Prime {
        #[target_feature(enable = "avx512f,avx512ifma")]
        #[inline]
        fn new(modulus: &Modulus) -> Self {
            Self {
                p: _mm512_set1_epi64(modulus.value() as i64),
                mu: _mm512_set1_epi64(((1u64 << WORD52) / modulus.value()) as i64),
                inv: _mm512_set1_epi64(((1u64 << WORD52) - modulus.neg_inv52()) as i64),
            }
        }

        /// r mod p for lanes below 2^52: r (1/p - mu / 2^52) < 1, so the quotient from mu is short by at most one.
        #[target_feature(enable = "avx512f,avx512ifma")]
        #[inline]
        fn barrett(self, r: __m512i) -> __m512i {
            let zero = _mm512_setzero_si512();
            let quotient = _mm512_madd52hi_epu64(zero, r, self.mu);
            // quotient * p is below 2^52, so its low word is the whole product.
            let r = _mm512_sub_epi64(r, _mm512_madd52lo_epu64(zero, quotient, self.p));
            _mm512_min_epu64(r, _mm512_sub_epi64(r, self.p))
        }

        /// The same sum with a low word below 2^52 and a high word of p to 2 p.
        #[target_feature(enable = "avx512f,avx512ifma")]
        #[inline]
        fn fold(self, lo: __m512i, hi: __m512i) -> (__m512i, __m512i) {
            let high = _mm512_add_epi64(hi, _mm512_srli_epi64::<WORD52>(lo));
            (
                _mm512_and_si512(lo, _mm512_set1_epi64(MASK52 as i64)),
                _mm512_add_epi64(self.barrett(high), self.p),
            )
        }

        /// (lo + 2^52 hi) / 2^52 mod p for a high word of at least p: one Montgomery step.
        #[target_feature(enable = "avx512f,avx512ifma")]
        #[inline]
        fn reduce<const FEW: bool>(self, lo: __m512i, hi: __m512i) -> __m512i {
            let zero = _mm512_setzero_si512();
            let high = _mm512_add_epi64(hi, _mm512_srli_epi64::<WORD52>(lo));
            let m = _mm512_madd52lo_epu64(zero, lo, self.inv);
            // The low words of the sum and of m p are equal; the high word of m p is below p.
            let r = _mm512_sub_epi64(high, _mm512_madd52hi_epu64(zero, m, self.p));
            if FEW {
                let p2 = _mm512_add_epi64(self.p, self.p);
                let r = _mm512_min_epu64(r, _mm512_sub_epi64(r, p2));
                _mm512_min_epu64(r, _mm512_sub_epi64(r, self.p))
            } else {
                self.barrett(r)
            }
        }
    }

    /// A tile of T outputs over entries 0..len (a multiple of 8), V vectors at a time where they last.
    ///
    /// # Safety
    /// AVX-512 F and IFMA present; every `out` and every x at least `len` long; every `weights` at least xs.len() long.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) unsafe fn tile<const T: usize, const V: usize>(
        outputs: &mut [Output<'_>],
        xs: &[&[u64]],
        len: usize,
    ) {
        let body = len / (8 * V) * (8 * V);
        // The bound on the carries needs a prime of more than six bits.
        let few = xs.len() <= FEW && outputs.iter().all(|o| o.modulus.bits() > 6);
        // SAFETY: as promised by the caller.
        unsafe {
            if few {
                strip::<T, V, true>(outputs, xs, 0, body);
                strip::<T, 1, true>(outputs, xs, body, len);
            } else {
                strip::<T, V, false>(outputs, xs, 0, body);
                strip::<T, 1, false>(outputs, xs, body, len);
            }
        }
    }

    /// T outputs from output `first` on over entries 0..len, weights constant on runs.
    ///
    /// # Safety
    /// AVX-512 F and IFMA present; run a multiple of 8, len a multiple of run; every out and every x at least `len`
    /// long; `columns` weights for each run, xs.len() for each output.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) unsafe fn runs<const T: usize>(
        outs: &mut [&mut [u64]],
        xs: &[&[u64]],
        weights: &[u64],
        [first, columns, run]: [usize; 3],
        len: usize,
        modulus: &Modulus,
    ) {
        // SAFETY: as promised by the caller.
        unsafe {
            match (xs.len() <= FEW && modulus.bits() > 6, run.is_multiple_of(16)) {
                (true, true) => {
                    run_strips::<T, 2, true>(outs, xs, weights, [first, columns, run], len, modulus)
                }
                (true, false) => {
                    run_strips::<T, 1, true>(outs, xs, weights, [first, columns, run], len, modulus)
                }
                (false, true) => {
                    run_strips::<T, 2, false>(outs, xs, weights, [first, columns, run], len, modulus)
                }
                (false, false) => {
                    run_strips::<T, 1, false>(outs, xs, weights, [first, columns, run], len, modulus)
                }
            }
        }
    }

    /// [`runs`], V vectors at a time; run a multiple of 8 V.
    #[target_feature(enable = "avx512f,avx512ifma")]
    unsafe fn run_strips<const T: usize, const V: usize, const FEW: bool>(
        outs: &mut [&mut [u64]],
        xs: &[&[u64]],
        weights: &[u64],
        [first, columns, run]: [usize; 3],
        len: usize,
        modulus: &Modulus,
    ) {
        let prime = Prime::new(modulus);
        let outs: [*mut u64; T] = core::array::from_fn(|j| outs[j].as_mut_ptr());
        let interval = fold_after(modulus);
        let log_run = run.trailing_zeros();
        for i in (0..len).step_by(8 * V) {
            // SAFETY: i / run is below len / run, and output first + T - 1 is below columns / xs.len().
            let w = unsafe { weights.as_ptr().add((i >> log_run) * columns + first * xs.len()) };
            let mut lo = [[_mm512_setzero_si512(); V]; T];
            let mut hi = [[prime.p; V]; T];
            let mut left = interval;
            for (k, x) in xs.iter().enumerate() {
                if !FEW {
                    if left == 0 {
                        left = interval;
                        for j in 0..T {
                            for v in 0..V {
                                (lo[j][v], hi[j][v]) = prime.fold(lo[j][v], hi[j][v]);
                            }
                        }
                    }
                    left -= 1;
                }
                let mut lanes = [_mm512_setzero_si512(); V];
                for v in 0..V {
                    // SAFETY: i + 8 V <= len <= x.len().
                    lanes[v] = unsafe { _mm512_loadu_si512(x.as_ptr().add(i + 8 * v).cast()) };
                }
                for j in 0..T {
                    // SAFETY: j xs.len() + k is below T xs.len().
                    let w = _mm512_set1_epi64(unsafe { *w.add(j * xs.len() + k) } as i64);
                    for v in 0..V {
                        lo[j][v] = _mm512_madd52lo_epu64(lo[j][v], lanes[v], w);
                        hi[j][v] = _mm512_madd52hi_epu64(hi[j][v], lanes[v], w);
                    }
                }
            }
            for j in 0..T {
                for v in 0..V {
                    let r = prime.reduce::<FEW>(lo[j][v], hi[j][v]);
                    // SAFETY: i + 8 V <= len <= out.len().
                    unsafe { _mm512_storeu_si512(outs[j].add(i + 8 * v).cast(), r) };
                }
            }
        }
    }

    /// Entries from..to of a tile, a multiple of 8 V of them.
    #[target_feature(enable = "avx512f,avx512ifma")]
    unsafe fn strip<const T: usize, const V: usize, const FEW: bool>(
        outputs: &mut [Output<'_>],
        xs: &[&[u64]],
        from: usize,
        to: usize,
    ) {
        let primes: [Prime; T] = core::array::from_fn(|j| Prime::new(outputs[j].modulus));
        let weights: [*const u64; T] = core::array::from_fn(|j| outputs[j].weights.as_ptr());
        let outs: [*mut u64; T] = core::array::from_fn(|j| outputs[j].out.as_mut_ptr());
        let starts: [u64; T] = core::array::from_fn(|j| outputs[j].start);
        let interval = outputs.iter().map(|o| fold_after(o.modulus)).min().unwrap_or(1);
        for i in (from..to).step_by(8 * V) {
            let mut lo = [[_mm512_setzero_si512(); V]; T];
            let mut hi = [[_mm512_setzero_si512(); V]; T];
            for j in 0..T {
                lo[j] = [_mm512_set1_epi64(starts[j] as i64); V];
                hi[j] = [primes[j].p; V];
            }
            let mut left = interval;
            for (k, x) in xs.iter().enumerate() {
                if !FEW {
                    if left == 0 {
                        left = interval;
                        for j in 0..T {
                            for v in 0..V {
                                (lo[j][v], hi[j][v]) = primes[j].fold(lo[j][v], hi[j][v]);
                            }
                        }
                    }
                    left -= 1;
                }
                let mut lanes = [_mm512_setzero_si512(); V];
                for v in 0..V {
                    // SAFETY: i + 8 V <= to <= x.len().
                    lanes[v] = unsafe { _mm512_loadu_si512(x.as_ptr().add(i + 8 * v).cast()) };
                }
                for j in 0..T {
                    // SAFETY: k < xs.len() <= weights.len().
                    let w = _mm512_set1_epi64(unsafe { *weights[j].add(k) } as i64);
                    for v in 0..V {
                        lo[j][v] = _mm512_madd52lo_epu64(lo[j][v], lanes[v], w);
                        hi[j][v] = _mm512_madd52hi_epu64(hi[j][v], lanes[v], w);
                    }
                }
            }
            for j in 0..T {
                for v in 0..V {
                    let r = primes[j].reduce::<FEW>(lo[j][v], hi[j][v]);
                    // SAFETY: i + 8 V <= to <= out.len().
                    unsafe { _mm512_storeu_si512(outs[j].add(i + 8 * v).cast(), r) };
                }
            }
        }
    }

    /// Two sums of products over entries 0..len (a multiple of 8).
    ///
    /// # Safety
    /// AVX-512 F and IFMA present; every slice at least `len` long; both lists of ys as long as xs.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) unsafe fn products(
        outs: [&mut [u64]; 2],
        xs: &[&[u64]],
        ys: [&[&[u64]]; 2],
        modulus: &Modulus,
        len: usize,
    ) {
        // SAFETY: as promised by the caller.
        unsafe {
            if xs.len() <= FEW && modulus.bits() > 6 {
                product_sums::<true>(outs, xs, ys, modulus, len);
            } else {
                product_sums::<false>(outs, xs, ys, modulus, len);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    unsafe fn product_sums<const FEW: bool>(
        outs: [&mut [u64]; 2],
        xs: &[&[u64]],
        ys: [&[&[u64]]; 2],
        modulus: &Modulus,
        len: usize,
    ) {
        let prime = Prime::new(modulus);
        let interval = fold_after(modulus);
        let zero = _mm512_setzero_si512();
        for i in (0..len).step_by(8) {
            let mut lo = [zero; 2];
            let mut hi = [prime.p; 2];
            let mut left = interval;
            for (k, x) in xs.iter().enumerate() {
                if !FEW {
                    if left == 0 {
                        left = interval;
                        for j in 0..2 {
                            (lo[j], hi[j]) = prime.fold(lo[j], hi[j]);
                        }
                    }
                    left -= 1;
                }
                // SAFETY: i + 8 <= len <= x.len().
                let x = unsafe { _mm512_loadu_si512(x.as_ptr().add(i).cast()) };
                for j in 0..2 {
                    // SAFETY: k < xs.len() = ys[j].len(), and i + 8 <= len <= ys[j][k].len().
                    let y = unsafe { _mm512_loadu_si512(ys[j].get_unchecked(k).as_ptr().add(i).cast()) };
                    lo[j] = _mm512_madd52lo_epu64(lo[j], x, y);
                    hi[j] = _mm512_madd52hi_epu64(hi[j], x, y);
                }
            }
            for j in 0..2 {
                // SAFETY: i + 8 <= len <= outs[j].len().
                unsafe {
                    _mm512_storeu_si512(
                        outs[j].as_mut_ptr().add(i).cast(),
                        prime.reduce::<FEW>(lo[j], hi[j]),
                    )
                };
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
        for terms in [0usize, 1, 2, 8, 9, 11, 12, 16, 31] {
            let len = 85;
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
                .map(|m| {
                    (0..terms as u64)
                        .map(|k| m.neg(m.reduce(1 + k * k * 12345)))
                        .collect()
                })
                .collect();
            let weights: Vec<Vec<u64>> = moduli
                .iter()
                .zip(&plain)
                .map(|(m, w)| w.iter().map(|&w| m.to_mont52(w)).collect())
                .collect();
            let refs: Vec<&[u64]> = xs.iter().map(Vec::as_slice).collect();
            let run = |portable_only: bool| {
                let mut outs = vec![vec![0u64; len]; moduli.len()];
                let mut outputs: Vec<Output<'_>> = outs
                    .iter_mut()
                    .zip(&weights)
                    .zip(&moduli)
                    .map(|((out, weights), modulus)| Output {
                        out,
                        weights,
                        start: modulus.to_mont52(7),
                        modulus,
                    })
                    .collect();
                if portable_only {
                    portable(&mut outputs, &refs, 0, len)
                } else {
                    dot(&mut outputs, &refs)
                }
                outs
            };
            let outs = run(false);
            assert_eq!(outs, run(true));
            for ((out, w), m) in outs.iter().zip(&plain).zip(&moduli) {
                for i in 0..len {
                    let want = xs
                        .iter()
                        .zip(w)
                        .fold(7 % m.value(), |acc, (x, &w)| m.add(acc, m.mul(m.reduce(x[i]), w)));
                    assert_eq!(out[i], want, "{terms} terms, entry {i}");
                }
            }
        }
    }

    #[test]
    fn weights_on_runs_agree_with_a_dot_product_of_each_run() {
        for (bits, terms, count, run) in [
            (50, 3, 1, 8),
            (50, 17, 5, 16),
            (48, 32, 6, 32),
            (35, 8, 7, 4),
            (50, 12, 3, 8),
        ] {
            let m = Modulus::new(ntt_prime_below(bits, 10, &[]).unwrap()).unwrap();
            let (len, mut state) = (64usize, 7u64);
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if state >> 61 == 0 {
                    m.value() - 1
                } else {
                    m.reduce(state)
                }
            };
            let xs: Vec<Vec<u64>> = (0..terms).map(|_| (0..len).map(|_| next()).collect()).collect();
            let weights: Vec<u64> = (0..len / run * count * terms).map(|_| next()).collect();
            let refs: Vec<&[u64]> = xs.iter().map(Vec::as_slice).collect();
            let mut outs = vec![vec![0u64; len]; count];
            let mut slices: Vec<&mut [u64]> = outs.iter_mut().map(Vec::as_mut_slice).collect();
            dot_runs(&mut slices, &refs, &weights, run, &m);
            for (j, out) in outs.iter().enumerate() {
                for i in 0..len {
                    let w = &weights[(i / run * count + j) * terms..];
                    let products = refs.iter().zip(w).map(|(x, &w)| u128::from(x[i]) * u128::from(w));
                    assert_eq!(out[i], reduce_sum(products, 0, &m));
                }
            }
        }
    }

    #[test]
    fn products_of_vectors_agree_with_u128() {
        let m = Modulus::new(ntt_prime_below(50, 10, &[]).unwrap()).unwrap();
        for terms in [0usize, 1, 3, 11, 12, 17] {
            let len = 29;
            let vector = |seed: u64| -> Vec<u64> {
                (0..len)
                    .map(|i| {
                        if i == 3 {
                            m.value() - 1
                        } else {
                            m.reduce((seed + i).wrapping_mul(0x9e37_79b9_7f4a_7c15))
                        }
                    })
                    .collect()
            };
            let xs: Vec<Vec<u64>> = (0..terms as u64).map(|k| vector(k * 100)).collect();
            let ys: Vec<Vec<u64>> = (0..2 * terms as u64).map(|k| vector(k * 77 + 5)).collect();
            let mont: Vec<Vec<u64>> = ys
                .iter()
                .map(|y| y.iter().map(|&v| m.to_mont52(v)).collect())
                .collect();
            let x_refs: Vec<&[u64]> = xs.iter().map(Vec::as_slice).collect();
            let y_refs: Vec<&[u64]> = mont.iter().map(Vec::as_slice).collect();
            let (mut a, mut b) = (vec![0; len as usize], vec![0; len as usize]);
            products(
                [&mut a, &mut b],
                &x_refs,
                [&y_refs[..terms], &y_refs[terms..]],
                &m,
            );
            for (out, ys) in [(&a, &ys[..terms]), (&b, &ys[terms..])] {
                for i in 0..len as usize {
                    let want = xs
                        .iter()
                        .zip(ys)
                        .fold(0, |acc, (x, y)| m.add(acc, m.mul(x[i], y[i])));
                    assert_eq!(out[i], want);
                }
            }
        }
    }

    #[test]
    fn scaling_in_place_is_a_dot_product_of_one_term() {
        let m = Modulus::new(ntt_prime_below(48, 10, &[]).unwrap()).unwrap();
        let mut limb: Vec<u64> = (0..1500).map(|i| m.reduce(i * i * 987_654_321)).collect();
        let want: Vec<u64> = limb.iter().map(|&v| m.add(m.mul(v, 12345), 7)).collect();
        scale_in_place(&mut limb, m.to_mont52(12345), m.to_mont52(7), &m);
        assert_eq!(limb, want);
    }
}
