//! The transform with AVX2 and FMA, in doubles, for primes below 2^50.
//!
//! Residues are whole numbers in doubles, of either sign. A butterfly takes eight instructions for four lanes: the product
//! with a twiddle (`lanes/avx2.rs`), a sum, a difference. A pass takes two layers through registers, depth first; the last two layers
//! shuffle the lanes of pairs of vectors.
//!
//! Ranges, in units of q. A product of x and a twiddle is at most 1/2 + e x, e = 2^-52 q + 2^-53 q < 3/8, because the quotient
//! of doubles is rounded. Everything stays exact below 2^53, which is 8 q for 50 bits.
//! - Forward, wide primes: of the first layer of a pass the summands are reduced to 1/2. If inputs are at most k, outputs
//!   are at most 15/8 + 33/64 k, so k = 4 holds for all passes. Primes up to 2^46: e < 3/128, so 17 layers from 1 stay below
//!   16 without any reduction.
//! - Inverse, wide primes: of a pass three of the four sums are reduced, so that outputs are at most 7/8 + 9/16 k: k = 2, and no
//!   factor of a product is above 4. Primes up to 2^46: the sum of sums is reduced, everything else is a product or a
//!   sum of two.

use super::bit_reverse;
use crate::arith::lanes::avx2::Prime;
use crate::arith::modulus::Modulus;
use aligned_vec::{AVec, ConstAlign};
use core::arch::x86_64::*;

/// Smallest size: a pass, a layer, and the last two.
const MIN_LOG_N: u32 = 5;
/// Largest size of the range argument for small primes.
const MAX_LOG_N: u32 = 17;
/// Bits of the primes that need fewer reductions.
const NARROW: u32 = 46;
/// Words of a block that stays in the first cache: from there on layer by layer.
const BLOCK: usize = 2048;

/// Twiddles and constants of one prime.
pub(super) struct Tables {
    log_n: u32,
    modulus: Modulus,
    /// Node k of the tree of factors X^m - w_k^2.
    twiddles: AVec<f64, ConstAlign<64>>,
}

impl Tables {
    /// Tables for the root psi of order 2N; `None` where the size does not fit. The processor must have AVX2 and FMA.
    pub(super) fn new(log_n: u32, modulus: &Modulus, psi: u64) -> Option<Self> {
        if !(MIN_LOG_N..=MAX_LOG_N).contains(&log_n) {
            return None;
        }
        let mut twiddles = AVec::from_iter(64, std::iter::repeat_n(0.0, 1 << log_n));
        let mut power = 1;
        for i in 0..1usize << log_n {
            if let Some(twiddle) = twiddles.get_mut(bit_reverse(i, log_n)) {
                *twiddle = power as f64;
            }
            power = modulus.mul(power, psi);
        }
        Some(Self {
            log_n,
            modulus: *modulus,
            twiddles,
        })
    }

    /// Coefficients to values; entries below q in and out. False, and nothing done, for a limb of another length.
    pub(super) fn forward(&self, limb: &mut [u64]) -> bool {
        if limb.len() != 1 << self.log_n {
            return false;
        }
        // SAFETY: tables are made where the features are; the limb has the words that the tables were made for.
        unsafe {
            if self.modulus.bits() <= NARROW {
                forward::<false>(self, limb.as_mut_ptr());
            } else {
                forward::<true>(self, limb.as_mut_ptr());
            }
        }
        true
    }

    /// Values to start + weight times N times the coefficients; entries below q in and out, `weight` and `start` below
    /// q. False, and nothing done, for a limb of another length.
    pub(super) fn inverse(&self, limb: &mut [u64], weight: u64, start: u64) -> bool {
        if limb.len() != 1 << self.log_n {
            return false;
        }
        // SAFETY: as in `forward`.
        unsafe {
            if self.modulus.bits() <= NARROW {
                inverse::<false>(self, limb.as_mut_ptr(), weight, start);
            } else {
                inverse::<true>(self, limb.as_mut_ptr(), weight, start);
            }
        }
        true
    }
}

/// A prime, its twiddles, and what the inverse ends with.
#[derive(Clone, Copy)]
struct Job {
    prime: Prime,
    twiddles: *const f64,
    weight: __m256d,
    start: __m256d,
}

impl Job {
    #[target_feature(enable = "avx2,fma")]
    fn new(tables: &Tables, weight: u64, start: u64) -> Self {
        Job {
            prime: Prime::new(&tables.modulus),
            twiddles: tables.twiddles.as_ptr(),
            weight: _mm256_set1_pd(weight as f64),
            start: _mm256_set1_pd(start as f64),
        }
    }

    /// The twiddle of node k in every lane.
    ///
    /// # Safety
    /// AVX2 and FMA present; node k is in the tree, from 1 on.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn twiddle(&self, k: usize) -> __m256d {
        // SAFETY: the caller's node is in the tree.
        unsafe { _mm256_broadcast_sd(&*self.twiddles.add(k)) }
    }

    /// Minus the inverse of the twiddle of node k, which is that of the mirrored node of the layer.
    ///
    /// # Safety
    /// As of [`Self::twiddle`].
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn mirrored(&self, k: usize) -> __m256d {
        // SAFETY: the mirrored node is of the same layer.
        unsafe { self.twiddle(mirror(k)) }
    }

    /// (a + b w, a - b w).
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn butterfly(&self, a: __m256d, b: __m256d, w: __m256d) -> [__m256d; 2] {
        let product = self.prime.product(b, w);
        [_mm256_add_pd(a, product), _mm256_sub_pd(a, product)]
    }

    /// (a + b, (b - a) w) for w minus the inverse of a twiddle.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn back(&self, a: __m256d, b: __m256d, w: __m256d) -> [__m256d; 2] {
        [_mm256_add_pd(a, b), self.prime.product(_mm256_sub_pd(b, a), w)]
    }
}

/// The node in the place of node k when its layer is read backwards: all bits below the leading one are turned.
fn mirror(k: usize) -> usize {
    k ^ ((1 << k.ilog2()) - 1)
}

/// Words i..i + 4 as doubles, which they are between the passes.
///
/// # Safety
/// AVX2 and FMA present; there are i + 4 words at `words`.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn get(words: *mut u64, i: usize) -> __m256d {
    // SAFETY: the caller's limb has i + 4 words.
    unsafe { _mm256_loadu_pd(words.add(i).cast()) }
}

/// Writes what [`get`] reads.
///
/// # Safety
/// AVX2 and FMA present; there is room for i + 4 words at `words`.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn put(words: *mut u64, i: usize, x: __m256d) {
    // SAFETY: the caller's limb has i + 4 words.
    unsafe { _mm256_storeu_pd(words.add(i).cast(), x) }
}

/// # Safety
/// AVX2 and FMA present; 2^log_n words at `limb`.
#[target_feature(enable = "avx2,fma")]
unsafe fn forward<const WIDE: bool>(tables: &Tables, limb: *mut u64) {
    let job = Job::new(tables, 1, 0);
    // SAFETY: as promised by the caller: blocks and nodes are those of a limb of 2^log_n words.
    unsafe {
        let len = 1 << tables.log_n;
        pass::<WIDE, true>(&job, limb, len, 1);
        for c in 0..4 {
            descend::<WIDE>(&job, limb.add(c * len / 4), len / 4, 4 + c);
        }
    }
}

/// All layers of the block of node k.
///
/// # Safety
/// AVX2 and FMA present; `block` has the `len` words of node k.
#[target_feature(enable = "avx2,fma")]
unsafe fn descend<const WIDE: bool>(job: &Job, block: *mut u64, len: usize, k: usize) {
    // SAFETY: as in `forward`.
    unsafe {
        if len > BLOCK {
            pass::<WIDE, false>(job, block, len, k);
            for c in 0..4 {
                descend::<WIDE>(job, block.add(c * len / 4), len / 4, 4 * k + c);
            }
            return;
        }
        let mut part = len;
        while part >= 16 {
            for g in 0..len / part {
                pass::<WIDE, false>(job, block.add(g * part), part, k * (len / part) + g);
            }
            part /= 4;
        }
        if part == 8 {
            for g in 0..len / 8 {
                let (block, w) = (block.add(8 * g), job.twiddle(k * (len / 8) + g));
                let (mut a, b) = (get(block, 0), get(block, 4));
                if WIDE {
                    a = job.prime.reduce(a);
                }
                let [a, b] = job.butterfly(a, b, w);
                put(block, 0, a);
                put(block, 4, b);
            }
        }
        leaves::<WIDE>(job, block, len, k * (len / 4));
    }
}

/// Two layers of the block of node k.
///
/// # Safety
/// As of [`descend`], for a block of 16 words or more.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn pass<const WIDE: bool, const FIRST: bool>(job: &Job, block: *mut u64, len: usize, k: usize) {
    let quarter = len / 4;
    // SAFETY: as in `forward`.
    unsafe {
        let [w, w0, w1] = [job.twiddle(k), job.twiddle(2 * k), job.twiddle(2 * k + 1)];
        for i in (0..quarter).step_by(4) {
            let at = [i, i + quarter, i + 2 * quarter, i + 3 * quarter];
            let mut x = [_mm256_setzero_pd(); 4];
            for (x, at) in x.iter_mut().zip(at) {
                *x = get(block, at);
                if FIRST {
                    *x = Prime::double(_mm256_castpd_si256(*x));
                }
            }
            let [mut a, mut b, c, d] = x;
            if WIDE && !FIRST {
                a = job.prime.reduce(a);
                b = job.prime.reduce(b);
            }
            let [a, c] = job.butterfly(a, c, w);
            let [b, d] = job.butterfly(b, d, w);
            let [a, b] = job.butterfly(a, b, w0);
            let [c, d] = job.butterfly(c, d, w1);
            for (x, at) in [a, b, c, d].into_iter().zip(at) {
                put(block, at, x);
            }
        }
    }
}

/// The last two layers of a block, eight words at a time; `k` is the node of the first four. Then words below q.
///
/// # Safety
/// As of [`descend`], k being the node of the first four words of the block.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn leaves<const WIDE: bool>(job: &Job, block: *mut u64, len: usize, k: usize) {
    // SAFETY: as in `forward`.
    unsafe {
        for g in 0..len / 8 {
            leaf::<WIDE>(job, block.add(8 * g), k + 2 * g);
        }
    }
}

/// The last two layers of eight words.
///
/// # Safety
/// AVX2 and FMA present; nodes k and k + 1 are those of the eight words at `block`.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn leaf<const WIDE: bool>(job: &Job, block: *mut u64, k: usize) {
    // SAFETY: as in `forward`; nodes k, k + 1 and their four children are in the tree.
    unsafe {
        let (x, y) = (get(block, 0), get(block, 4));
        let mut a = _mm256_permute2f128_pd::<0x20>(x, y);
        let b = _mm256_permute2f128_pd::<0x31>(x, y);
        if WIDE {
            a = job.prime.reduce(a);
        }
        let two = _mm256_castpd128_pd256(_mm_loadu_pd(job.twiddles.add(k)));
        let [a, b] = job.butterfly(a, b, _mm256_permute4x64_pd::<0x50>(two));
        let (x, y) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
        let [x, y] = job.butterfly(x, y, _mm256_loadu_pd(job.twiddles.add(2 * k)));
        let (a, b) = (_mm256_unpacklo_pd(x, y), _mm256_unpackhi_pd(x, y));
        let x = _mm256_permute2f128_pd::<0x20>(a, b);
        let y = _mm256_permute2f128_pd::<0x31>(a, b);
        _mm256_storeu_si256(block.cast(), job.prime.remainder(x));
        _mm256_storeu_si256(block.add(4).cast(), job.prime.remainder(y));
    }
}

/// # Safety
/// AVX2 and FMA present; 2^log_n words at `limb`.
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse<const WIDE: bool>(tables: &Tables, limb: *mut u64, weight: u64, start: u64) {
    let job = Job::new(tables, weight, start);
    // SAFETY: as in `forward`.
    unsafe {
        let len = 1 << tables.log_n;
        for c in 0..4 {
            ascend::<WIDE>(&job, limb.add(c * len / 4), len / 4, 4 + c);
        }
        pass_back::<WIDE, true>(&job, limb, len, 1);
    }
}

/// All layers of the block of node k, backwards.
///
/// # Safety
/// As of [`descend`].
#[target_feature(enable = "avx2,fma")]
unsafe fn ascend<const WIDE: bool>(job: &Job, block: *mut u64, len: usize, k: usize) {
    // SAFETY: as in `forward`.
    unsafe {
        if len > BLOCK {
            for c in 0..4 {
                ascend::<WIDE>(job, block.add(c * len / 4), len / 4, 4 * k + c);
            }
            pass_back::<WIDE, false>(job, block, len, k);
            return;
        }
        leaves_back(job, block, len, k * (len / 4));
        let mut part = 4;
        if len.ilog2() % 2 == 1 {
            part = 8;
            for g in 0..len / 8 {
                let (block, w) = (block.add(8 * g), job.mirrored(k * (len / 8) + g));
                let [a, b] = job.back(get(block, 0), get(block, 4), w);
                put(block, 0, job.prime.reduce(a));
                put(block, 4, b);
            }
        }
        while part < len {
            part *= 4;
            for g in 0..len / part {
                pass_back::<WIDE, false>(job, block.add(g * part), part, k * (len / part) + g);
            }
        }
    }
}

/// Two layers of the block of node k, backwards.
///
/// # Safety
/// As of [`pass`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn pass_back<const WIDE: bool, const LAST: bool>(job: &Job, block: *mut u64, len: usize, k: usize) {
    let quarter = len / 4;
    // SAFETY: as in `forward`.
    unsafe {
        let [w, w0, w1] = [job.mirrored(k), job.mirrored(2 * k), job.mirrored(2 * k + 1)];
        for i in (0..quarter).step_by(4) {
            let at = [i, i + quarter, i + 2 * quarter, i + 3 * quarter];
            let [mut a, b] = job.back(get(block, at[0]), get(block, at[1]), w0);
            let [mut c, d] = job.back(get(block, at[2]), get(block, at[3]), w1);
            if WIDE {
                a = job.prime.reduce(a);
                c = job.prime.reduce(c);
            }
            let [mut a, c] = job.back(a, c, w);
            let [mut b, d] = job.back(b, d, w);
            if WIDE {
                b = job.prime.reduce(b);
            } else {
                a = job.prime.reduce(a);
            }
            for (x, at) in [a, b, c, d].into_iter().zip(at) {
                if LAST {
                    let scaled = _mm256_add_pd(job.prime.product(x, job.weight), job.start);
                    _mm256_storeu_si256(block.add(at).cast(), job.prime.remainder(scaled));
                } else {
                    put(block, at, x);
                }
            }
        }
    }
}

/// The first two layers backwards, from words below q.
///
/// # Safety
/// As of [`leaves`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn leaves_back(job: &Job, block: *mut u64, len: usize, k: usize) {
    // SAFETY: as in `forward`.
    unsafe {
        for g in 0..len / 8 {
            leaf_back(job, block.add(8 * g), k + 2 * g);
        }
    }
}

/// The first two layers backwards of eight words.
///
/// # Safety
/// As of [`leaf`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn leaf_back(job: &Job, block: *mut u64, k: usize) {
    // SAFETY: as in `forward`; nodes k, k + 1 and their four children are in the tree, and so are the mirrored ones.
    unsafe {
        let double = |i: usize| Prime::double(_mm256_loadu_si256(block.add(i).cast()));
        let (x, y) = (double(0), double(4));
        let a = _mm256_permute2f128_pd::<0x20>(x, y);
        let b = _mm256_permute2f128_pd::<0x31>(x, y);
        let (x, y) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
        // Mirrored, the four nodes stand in reverse order from the last on.
        let four = _mm256_loadu_pd(job.twiddles.add(mirror(2 * k + 3)));
        let [x, y] = job.back(x, y, _mm256_permute4x64_pd::<0x1b>(four));
        let (a, b) = (_mm256_unpacklo_pd(x, y), _mm256_unpackhi_pd(x, y));
        let two = _mm256_castpd128_pd256(_mm_loadu_pd(job.twiddles.add(mirror(k + 1))));
        let [a, b] = job.back(a, b, _mm256_permute4x64_pd::<0x05>(two));
        let a = job.prime.reduce(a);
        put(block, 0, _mm256_permute2f128_pd::<0x20>(a, b));
        put(block, 4, _mm256_permute2f128_pd::<0x31>(a, b));
    }
}
