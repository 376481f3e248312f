//! Sums of products with AVX-512 IFMA.
#![expect(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "hot loops over registers; lengths are promised by the caller"
)]

use super::{MASK52, Modulus, Output, PackedBlock, WORD52};
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
            (true, true) => run_strips::<T, 2, true>(outs, xs, weights, [first, columns, run], len, modulus),
            (true, false) => run_strips::<T, 1, true>(outs, xs, weights, [first, columns, run], len, modulus),
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

/// How eight packed residues come apart: which bytes each begins with, and at which bit of them.
#[derive(Clone, Copy)]
struct Unpacking {
    bytes: __m512i,
    shifts: __m512i,
    mask: __m512i,
}

impl Unpacking {
    #[target_feature(enable = "avx512f,avx512vbmi")]
    #[inline]
    fn new(bits: usize) -> Self {
        let mut bytes = [0u8; 64];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = (i / 8 * bits / 8 + i % 8) as u8;
        }
        let shifts: [u64; 8] = core::array::from_fn(|k| (k * bits % 8) as u64);
        Self {
            // SAFETY: both arrays have 64 bytes.
            bytes: unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) },
            // SAFETY: as above.
            shifts: unsafe { _mm512_loadu_si512(shifts.as_ptr().cast()) },
            mask: _mm512_set1_epi64((1i64 << bits) - 1),
        }
    }

    /// # Safety
    /// 64 bytes may be read at `at`.
    #[target_feature(enable = "avx512f,avx512vbmi")]
    #[inline]
    unsafe fn load(self, at: *const u8) -> __m512i {
        // SAFETY: as promised by the caller.
        let packed = unsafe { _mm512_loadu_si512(at.cast()) };
        let words = _mm512_permutexvar_epi8(self.bytes, packed);
        _mm512_and_si512(_mm512_srlv_epi64(words, self.shifts), self.mask)
    }
}

/// Bytes of a key that are asked for ahead of their use.
const AHEAD: usize = 512;

/// Two sums of products with the rows of a key, and of addends, over entries 0..len (a multiple of 8).
///
/// # Safety
/// AVX-512 F, IFMA and VBMI present; every slice and the key at least `len` long; two rows of the key for each of the xs.
#[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
pub(super) unsafe fn key_products(
    outs: [&mut [u64]; 2],
    xs: &[&[u64]],
    key: PackedBlock<'_>,
    plus: [&[&[u64]]; 2],
    modulus: &Modulus,
    len: usize,
) {
    // SAFETY: as promised by the caller.
    unsafe {
        if xs.len() <= FEW && modulus.bits() > 6 {
            key_sums::<true>(outs, xs, key, plus, modulus, len);
        } else {
            key_sums::<false>(outs, xs, key, plus, modulus, len);
        }
    }
}

#[target_feature(enable = "avx512f,avx512ifma,avx512vbmi")]
unsafe fn key_sums<const FEW: bool>(
    outs: [&mut [u64]; 2],
    xs: &[&[u64]],
    key: PackedBlock<'_>,
    plus: [&[&[u64]]; 2],
    modulus: &Modulus,
    len: usize,
) {
    let prime = Prime::new(modulus);
    let unpacking = Unpacking::new(key.bits());
    let interval = fold_after(modulus);
    let zero = _mm512_setzero_si512();
    for i in (0..len).step_by(8) {
        let mut at = key.at(0, i);
        let mut lo = [zero; 2];
        let mut hi = [prime.p; 2];
        let mut left = interval;
        for x in xs {
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
                // SAFETY: entries i..i + 8 of rows 2 k and 2 k + 1 are there, and room between rows after them.
                let y = unsafe { unpacking.load(at) };
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                at = at.wrapping_add(key.stride());
                lo[j] = _mm512_madd52lo_epu64(lo[j], x, y);
                hi[j] = _mm512_madd52hi_epu64(hi[j], x, y);
            }
        }
        for j in 0..2 {
            let mut sum = prime.reduce::<FEW>(lo[j], hi[j]);
            for addend in plus[j] {
                // SAFETY: i + 8 <= len <= addend.len().
                let x = unsafe { _mm512_loadu_si512(addend.as_ptr().add(i).cast()) };
                sum = _mm512_add_epi64(sum, x);
                sum = _mm512_min_epu64(sum, _mm512_sub_epi64(sum, prime.p));
            }
            // SAFETY: i + 8 <= len <= outs[j].len().
            unsafe { _mm512_storeu_si512(outs[j].as_mut_ptr().add(i).cast(), sum) };
        }
    }
}
