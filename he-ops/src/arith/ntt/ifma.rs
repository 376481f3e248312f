//! The transform with AVX-512 IFMA, for primes below 2^50.
//!
//! Decimation in place, depth first: a pass takes up to three layers through registers for the whole block, then each
//! of its parts is finished before the next, so that everything below 32 KiB stays in the first cache. The last six
//! layers take 64 words at a time and finish in registers, three of them across the lanes.
//!
//! A product is Shoup's with 52-bit words: x w - floor(x w' / 2^52) q, w' = floor(w 2^52 / q), lies in \[0, 2q) for any
//! x below 2^52. Lanes hold values modulo 2^52 (the multiplier reads no more), so the difference needs no mask until
//! lanes are compared. Two classes of primes:
//! - below 2^45 nothing is reduced on the way forward: 17 layers add less than 2q each to a start below 35 q;
//! - below 2^50 the summand of each butterfly is brought below 2q first, so that no value reaches 4q.
//!
//! The last three layers have as many twiddles as the limb has words. They stand there alone in Montgomery form
//! (w 2^52 mod q): one more multiplication makes the companion, w q^-1 mod 2^52, and half the bytes stream through the
//! caches. The inverse reads the same tables backwards: of the twiddles of one layer, the last is minus the inverse of
//! the first.

#![expect(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "hot loops over registers, and tables filled once"
)]

use super::bit_reverse;
use crate::arith::modulus::{MASK52, Modulus, WORD52};
use aligned_vec::{AVec, ConstAlign};
use core::arch::x86_64::*;

/// Smallest size: the last six layers take 64 words.
const MIN_LOG_N: u32 = 6;
/// Largest size of the range argument for small primes.
const MAX_LOG_N: u32 = 17;
/// Primes below 2^45 are never reduced on the way: 2^52 > 69 q.
const LAZY_BITS: u32 = 45;

type Words = AVec<u64, ConstAlign<64>>;

/// Twiddles and constants of one prime.
pub(super) struct Tables {
    log_n: u32,
    modulus: Modulus,
    /// Node k of the tree of factors X^m - w_k^2: (w_k, floor(w_k 2^52 / q)) for the layers before the last three.
    shoup: AVec<[u64; 2], ConstAlign<64>>,
    /// The third last, second last and last layer in Montgomery form; the last in the order of the lanes.
    mont: [Words; 3],
}

/// Order of the last layer's twiddles in groups of eight.
const LANES: [usize; 8] = [0, 1, 4, 5, 2, 3, 6, 7];

impl Tables {
    /// Tables for the root psi of order 2N; `None` where the processor or the size does not fit.
    pub(super) fn new(log_n: u32, modulus: &Modulus, psi: u64) -> Option<Self> {
        if !std::arch::is_x86_feature_detected!("avx512f")
            || !std::arch::is_x86_feature_detected!("avx512ifma")
            || !(MIN_LOG_N..=MAX_LOG_N).contains(&log_n)
        {
            return None;
        }
        let n = 1usize << log_n;
        // w_k = psi^brv(k).
        let mut powers = vec![0u64; n];
        let mut power = 1;
        for i in 0..n {
            powers[bit_reverse(i, log_n)] = power;
            power = modulus.mul(power, psi);
        }
        let companion = |w: u64| ((u128::from(w) << WORD52) / u128::from(modulus.value())) as u64;
        let shoup = powers[..n / 8].iter().map(|&w| [w, companion(w)]);
        let layer = |from: usize| powers[from..2 * from].iter().map(|&w| modulus.to_mont52(w));
        let last: Vec<u64> = layer(n / 2).collect();
        let last = (0..n / 2).map(|i| last[i / 8 * 8 + LANES[i % 8]]);
        Some(Self {
            log_n,
            modulus: *modulus,
            shoup: AVec::from_iter(64, shoup),
            mont: [
                AVec::from_iter(64, layer(n / 8)),
                AVec::from_iter(64, layer(n / 4)),
                AVec::from_iter(64, last),
            ],
        })
    }

    /// Coefficients to values; entries below q in and out. False, and nothing done, for a limb of another length.
    pub(super) fn forward(&self, limb: &mut [u64]) -> bool {
        if limb.len() != 1 << self.log_n {
            return false;
        }
        // SAFETY: `new` found the features; the limb has the 2^log_n words that the tables were made for.
        unsafe {
            if self.modulus.bits() <= LAZY_BITS {
                forward::<true>(self, limb.as_mut_ptr());
            } else {
                forward::<false>(self, limb.as_mut_ptr());
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
            if self.modulus.bits() <= LAZY_BITS {
                inverse::<true>(self, limb.as_mut_ptr(), weight, start);
            } else {
                inverse::<false>(self, limb.as_mut_ptr(), weight, start);
            }
        }
        true
    }
}

/// One prime in every lane.
#[derive(Clone, Copy)]
struct Prime {
    q: __m512i,
    /// 2q.
    q2: __m512i,
    /// 2^52 - q.
    neg_q: __m512i,
    /// q^-1 mod 2^52.
    inv: __m512i,
    /// floor(2^52 / q).
    mu: __m512i,
    mask: __m512i,
    zero: __m512i,
    value: u64,
}

/// All lanes alike.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn set(x: u64) -> __m512i {
    _mm512_set1_epi64(x as i64)
}

/// A twiddle and its companion in every lane.
type Twiddle = [__m512i; 2];

impl Prime {
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn new(modulus: &Modulus) -> Self {
        let q = modulus.value();
        Self {
            q: set(q),
            q2: set(2 * q),
            neg_q: set((1 << WORD52) - q),
            inv: set((1 << WORD52) - modulus.neg_inv52()),
            mu: set((1 << WORD52) / q),
            mask: set(MASK52),
            zero: _mm512_setzero_si512(),
            value: q,
        }
    }

    /// acc + (x w mod q, in \[0, 2q)) modulo 2^52, with surplus bits above. The low 52 bits of x count.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn shoup(self, acc: __m512i, x: __m512i, w: Twiddle) -> __m512i {
        let quotient = _mm512_madd52hi_epu64(self.zero, x, w[1]);
        let acc = _mm512_madd52lo_epu64(acc, x, w[0]);
        _mm512_madd52lo_epu64(acc, quotient, self.neg_q)
    }

    /// x w / 2^52 mod q plus `bias`, exact: the residue lies in (-q, q). The low 52 bits of x count.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn mont(self, bias: __m512i, x: __m512i, w: Twiddle) -> __m512i {
        let m = _mm512_madd52lo_epu64(self.zero, x, w[1]);
        let high = _mm512_madd52hi_epu64(bias, x, w[0]);
        // The low words of x w and m q are equal, so the difference of the high words is the quotient.
        _mm512_sub_epi64(high, _mm512_madd52hi_epu64(self.zero, m, self.q))
    }

    /// The companion of a twiddle in Montgomery form.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn with_companion(self, w: __m512i) -> Twiddle {
        [w, _mm512_madd52lo_epu64(self.zero, w, self.inv)]
    }

    /// Below `bound` from below twice that, or from \[-bound, bound) with `bound` negated in effect: the lower of x
    /// and x - bound as unsigned numbers.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn lower(self, x: __m512i, bound: __m512i) -> __m512i {
        _mm512_min_epu64(x, _mm512_sub_epi64(x, bound))
    }

    /// \[0, 2q) from \[-2q, 2q).
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn lift(self, x: __m512i) -> __m512i {
        _mm512_min_epu64(x, _mm512_add_epi64(x, self.q2))
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn masked(self, x: __m512i) -> __m512i {
        _mm512_and_si512(x, self.mask)
    }

    /// \[0, 2q) modulo 2^52 from anything below 2^52, with surplus bits above.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn barrett(self, x: __m512i) -> __m512i {
        _mm512_madd52lo_epu64(x, _mm512_madd52hi_epu64(self.zero, x, self.mu), self.neg_q)
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
unsafe fn load(p: *const u64) -> __m512i {
    // SAFETY: the caller has eight words at p.
    unsafe { _mm512_loadu_si512(p.cast()) }
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
unsafe fn store(p: *mut u64, x: __m512i) {
    // SAFETY: the caller has eight words at p.
    unsafe { _mm512_storeu_si512(p.cast(), x) }
}

/// Layers that the pass over a block with `left` layers before the last six takes: threes, and twos at the end. Four
/// need more registers than there are.
fn pass_layers(left: u32) -> u32 {
    match left {
        0..=3 => left,
        4 => 2,
        _ => 3,
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn forward<const LAZY: bool>(tables: &Tables, data: *mut u64) {
    let prime = Prime::new(&tables.modulus);
    // SAFETY: the caller's limb has 2^log_n words, the size of the root.
    unsafe { forward_block::<LAZY, true>(tables, prime, data, tables.log_n, 1) };
}

/// The block of node k, 2^log_len words: one pass, then its parts.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn forward_block<const LAZY: bool, const FIRST: bool>(
    tables: &Tables,
    prime: Prime,
    data: *mut u64,
    log_len: u32,
    k: usize,
) {
    let layers = pass_layers(log_len - MIN_LOG_N);
    let stride = 1usize << (log_len - layers);
    // SAFETY: the block has 2^layers parts of `stride` words, a multiple of 64; node (k << s) + b of sub-layer s
    // < layers is below 2^(log_n - 6), and the table has 2^(log_n - 3) nodes.
    unsafe {
        match layers {
            1 => forward_pass::<1, 2, LAZY, FIRST>(tables, prime, data, stride, k),
            2 => forward_pass::<2, 4, LAZY, FIRST>(tables, prime, data, stride, k),
            3 => forward_pass::<3, 8, LAZY, FIRST>(tables, prime, data, stride, k),
            4 => forward_pass::<4, 16, LAZY, FIRST>(tables, prime, data, stride, k),
            _ => {}
        }
        for part in 0..1usize << layers {
            let (at, node) = (data.add(part * stride), (k << layers) + part);
            if log_len - layers == MIN_LOG_N {
                forward_last::<LAZY>(tables, prime, at, node);
            } else {
                forward_block::<LAZY, false>(tables, prime, at, log_len - layers, node);
            }
        }
    }
}

/// One pass: LAYERS layers over R = 2^LAYERS parts of `stride` words.
///
/// Lanes in memory between passes: for small primes values modulo 2^52 below 69 q; for others modulo 2^52 below 4q.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
unsafe fn forward_pass<const LAYERS: usize, const R: usize, const LAZY: bool, const FIRST: bool>(
    tables: &Tables,
    prime: Prime,
    data: *mut u64,
    stride: usize,
    k: usize,
) {
    let nodes = tables.shoup.as_ptr();
    // 2q for each of up to 17 layers, so that differences stay positive.
    let bias = set(34 * prime.value);
    for i in (0..stride).step_by(8) {
        let mut v = [prime.zero; R];
        for j in 0..R {
            // SAFETY: j < R and i + 8 <= stride.
            v[j] = unsafe { load(data.add(j * stride + i)) };
        }
        for j in 0..R / 2 {
            if LAZY && FIRST {
                v[j] = _mm512_add_epi64(v[j], bias);
            } else if !LAZY && !FIRST {
                v[j] = prime.lower(prime.masked(v[j]), prime.q2);
            }
        }
        for s in 0..LAYERS {
            let d = R >> (s + 1);
            for j in 0..R {
                if j & d != 0 {
                    continue;
                }
                // SAFETY: the node is in the table, see forward_block.
                let [w, companion] = unsafe { *nodes.add((k << s) + (j >> (LAYERS - s))) };
                let w = [set(w), set(companion)];
                let x = v[j];
                let sum = prime.shoup(x, v[j + d], w);
                let double = _mm512_add_epi64(x, x);
                if LAZY {
                    v[j] = sum;
                    v[j + d] = _mm512_sub_epi64(double, sum);
                } else if d > 1 && j & (d / 2) == 0 {
                    // Summands of the next layer: below 2q.
                    let sum = prime.masked(sum);
                    v[j] = prime.lower(sum, prime.q2);
                    v[j + d] = prime.lift(_mm512_sub_epi64(double, sum));
                } else {
                    // Factors of the next layer: below 4q modulo 2^52.
                    v[j] = sum;
                    v[j + d] = _mm512_sub_epi64(_mm512_add_epi64(double, prime.q2), sum);
                }
            }
        }
        for j in 0..R {
            // SAFETY: as for the loads.
            unsafe { store(data.add(j * stride + i), v[j]) };
        }
    }
}

/// The last six layers of the 64 words of node k.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
unsafe fn forward_last<const LAZY: bool>(tables: &Tables, prime: Prime, data: *mut u64, k: usize) {
    let nodes = tables.shoup.as_ptr();
    let first = tables.log_n == MIN_LOG_N;
    let mut v = [prime.zero; 8];
    for j in 0..8 {
        // SAFETY: 64 words.
        v[j] = unsafe { load(data.add(8 * j)) };
    }
    if LAZY && first {
        let bias = set(34 * prime.value);
        for j in 0..8 {
            v[j] = _mm512_add_epi64(v[j], bias);
        }
    }
    if !LAZY {
        for j in 0..4 {
            v[j] = prime.lower(prime.masked(v[j]), prime.q2);
        }
    }
    for s in 0..3 {
        let d = 4 >> s;
        for j in 0..8 {
            if j & d != 0 {
                continue;
            }
            // SAFETY: k < 2^(log_n - 5), so the node is below 2^(log_n - 3).
            let [w, companion] = unsafe { *nodes.add((k << s) + (j >> (3 - s))) };
            let w = [set(w), set(companion)];
            let x = v[j];
            let sum = prime.shoup(x, v[j + d], w);
            let double = _mm512_add_epi64(x, x);
            if LAZY {
                v[j] = sum;
                v[j + d] = _mm512_sub_epi64(double, sum);
            } else if d > 1 && j & (d / 2) == 0 {
                let sum = prime.masked(sum);
                v[j] = prime.lower(sum, prime.q2);
                v[j + d] = prime.lift(_mm512_sub_epi64(double, sum));
            } else {
                v[j] = sum;
                v[j + d] = _mm512_sub_epi64(_mm512_add_epi64(double, prime.q2), sum);
            }
        }
    }
    // Eight neighbouring nodes of the third last layer, counted from its first.
    let node = 8 * (k - (1 << (tables.log_n - MIN_LOG_N)));
    for j in (0..8).step_by(2) {
        let m = node + j;
        // SAFETY: m + 1 < n / 8; the layers have n / 8, n / 4 and n / 2 twiddles.
        let twiddles = unsafe {
            [
                _mm512_permutexvar_epi64(
                    _mm512_set_epi64(1, 1, 1, 1, 0, 0, 0, 0),
                    _mm512_castsi128_si512(_mm_loadu_si128(tables.mont[0].as_ptr().add(m).cast())),
                ),
                _mm512_permutexvar_epi64(
                    _mm512_set_epi64(3, 3, 1, 1, 2, 2, 0, 0),
                    _mm512_castsi256_si512(_mm256_loadu_si256(tables.mont[1].as_ptr().add(2 * m).cast())),
                ),
                load(tables.mont[2].as_ptr().add(4 * m)),
            ]
        };
        let (a, b) = (v[j], v[j + 1]);
        let mut x = _mm512_shuffle_i64x2::<0x44>(a, b);
        let mut y = _mm512_shuffle_i64x2::<0xee>(a, b);
        if !LAZY {
            x = prime.lower(prime.masked(x), prime.q2);
        }
        (x, y) = cross::<LAZY>(prime, x, y, twiddles[0]);
        (x, y) = (
            _mm512_shuffle_i64x2::<0x88>(x, y),
            _mm512_shuffle_i64x2::<0xdd>(x, y),
        );
        if !LAZY {
            x = prime.lower(x, prime.q2);
        }
        (x, y) = cross::<LAZY>(prime, x, y, twiddles[1]);
        (x, y) = (_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
        if !LAZY {
            x = prime.lower(x, prime.q2);
        }
        (x, y) = cross::<LAZY>(prime, x, y, twiddles[2]);
        if LAZY {
            x = prime.masked(prime.barrett(x));
            y = prime.masked(prime.barrett(y));
        } else {
            x = prime.lower(x, prime.q2);
            y = prime.lower(y, prime.q2);
        }
        x = prime.lower(x, prime.q);
        y = prime.lower(y, prime.q);
        // SAFETY: 64 words.
        unsafe {
            store(
                data.add(8 * j),
                _mm512_permutex2var_epi64(x, _mm512_set_epi64(13, 5, 12, 4, 9, 1, 8, 0), y),
            );
            store(
                data.add(8 * j + 8),
                _mm512_permutex2var_epi64(x, _mm512_set_epi64(15, 7, 14, 6, 11, 3, 10, 2), y),
            );
        }
    }
}

/// A butterfly of the last three layers. For large primes x below 2q, both results below 4q.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn cross<const LAZY: bool>(prime: Prime, x: __m512i, y: __m512i, w: __m512i) -> (__m512i, __m512i) {
    let w = prime.with_companion(w);
    if LAZY {
        let t = prime.mont(prime.zero, y, w);
        (_mm512_add_epi64(x, t), _mm512_sub_epi64(x, t))
    } else {
        let t = prime.mont(prime.q, y, w);
        (
            _mm512_add_epi64(x, t),
            _mm512_sub_epi64(_mm512_add_epi64(x, prime.q2), t),
        )
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn inverse<const LAZY: bool>(tables: &Tables, data: *mut u64, weight: u64, start: u64) {
    let prime = Prime::new(&tables.modulus);
    let companion = (u128::from(weight) << WORD52) / u128::from(prime.value);
    let scale = Scale {
        weight: [set(weight), set(companion as u64)],
        start: set(start),
    };
    // SAFETY: the caller's limb has 2^log_n words, the size of the root.
    unsafe { inverse_block::<LAZY, true>(tables, prime, scale, data, tables.log_n, 1) };
}

/// What the last pass of the inverse multiplies with, and adds.
#[derive(Clone, Copy)]
struct Scale {
    weight: Twiddle,
    start: __m512i,
}

impl Scale {
    /// x weight + start mod q.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn apply(self, prime: Prime, x: __m512i) -> __m512i {
        // Below 3q.
        let x = prime.masked(prime.shoup(self.start, x, self.weight));
        prime.lower(prime.lower(x, prime.q2), prime.q)
    }
}

/// The block of node k, 2^log_len words: its parts, then one pass.
///
/// `k` counts from the end of its layer: what the forward transform has at node 3 2^l - 1 - k.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn inverse_block<const LAZY: bool, const LAST: bool>(
    tables: &Tables,
    prime: Prime,
    scale: Scale,
    data: *mut u64,
    log_len: u32,
    k: usize,
) {
    let layers = pass_layers(log_len - MIN_LOG_N);
    let stride = 1usize << (log_len - layers);
    // SAFETY: as in forward_block; the mirror of a node is a node of the same layer.
    unsafe {
        for part in 0..1usize << layers {
            let (at, node) = (data.add(part * stride), (k << layers) + (1 << layers) - 1 - part);
            if log_len - layers == MIN_LOG_N {
                inverse_last::<LAZY>(tables, prime, at, node);
                if LAST && layers == 0 {
                    for j in 0..8 {
                        store(at.add(8 * j), scale.apply(prime, load(at.add(8 * j))));
                    }
                }
            } else {
                inverse_block::<LAZY, false>(tables, prime, scale, at, log_len - layers, node);
            }
        }
        match layers {
            1 => inverse_pass::<1, 2, LAZY, LAST>(tables, prime, scale, data, stride, k),
            2 => inverse_pass::<2, 4, LAZY, LAST>(tables, prime, scale, data, stride, k),
            3 => inverse_pass::<3, 8, LAZY, LAST>(tables, prime, scale, data, stride, k),
            4 => inverse_pass::<4, 16, LAZY, LAST>(tables, prime, scale, data, stride, k),
            _ => {}
        }
    }
}

/// One butterfly of the inverse, x and y below 2^`log_bound` q: (x + y, (y - x) w). For large primes the bound is 2q
/// and both results keep to it; for small ones the sum is below twice the bound, the product below 2q.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn back<const LAZY: bool>(
    prime: Prime,
    bound: __m512i,
    x: __m512i,
    y: __m512i,
    w: Twiddle,
) -> (__m512i, __m512i) {
    let sum = _mm512_add_epi64(x, y);
    let difference = _mm512_sub_epi64(_mm512_add_epi64(y, bound), x);
    let product = prime.shoup(prime.zero, difference, w);
    if LAZY {
        (sum, product)
    } else {
        (prime.lower(sum, prime.q2), prime.masked(product))
    }
}

/// One pass of the inverse. Lanes in memory between passes are below 2q, modulo 2^52 for small primes.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
unsafe fn inverse_pass<const LAYERS: usize, const R: usize, const LAZY: bool, const LAST: bool>(
    tables: &Tables,
    prime: Prime,
    scale: Scale,
    data: *mut u64,
    stride: usize,
    k: usize,
) {
    let nodes = tables.shoup.as_ptr();
    for i in (0..stride).step_by(8) {
        let mut v = [prime.zero; R];
        for j in 0..R {
            // SAFETY: j < R and i + 8 <= stride.
            v[j] = unsafe { load(data.add(j * stride + i)) };
        }
        for s in (0..LAYERS).rev() {
            let d = R >> (s + 1);
            let bound = if LAZY {
                set((2 * prime.value) << (LAYERS - 1 - s))
            } else {
                prime.q2
            };
            for j in 0..R {
                if j & d != 0 {
                    continue;
                }
                // SAFETY: the node is in the table, see forward_block.
                let [w, companion] = unsafe { *nodes.add((k << s) + (1 << s) - 1 - (j >> (LAYERS - s))) };
                (v[j], v[j + d]) = back::<LAZY>(prime, bound, v[j], v[j + d], [set(w), set(companion)]);
            }
        }
        for j in 0..R {
            if LAST {
                v[j] = scale.apply(prime, v[j]);
            } else if LAZY && j < R / 2 {
                v[j] = prime.barrett(v[j]);
            }
            // SAFETY: as for the loads.
            unsafe { store(data.add(j * stride + i), v[j]) };
        }
    }
}

/// The first six layers of the inverse for the 64 words of node k, counted from the end.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
unsafe fn inverse_last<const LAZY: bool>(tables: &Tables, prime: Prime, data: *mut u64, k: usize) {
    let nodes = tables.shoup.as_ptr();
    let mut v = [prime.zero; 8];
    let node = 8 * (k - (1 << (tables.log_n - MIN_LOG_N)));
    for j in (0..8).step_by(2) {
        // The pair of the parts j and j + 1, counted from the end.
        let m = node + 6 - j;
        // SAFETY: as in forward_last.
        let twiddles = unsafe {
            [
                _mm512_permutexvar_epi64(
                    _mm512_set_epi64(0, 0, 0, 0, 1, 1, 1, 1),
                    _mm512_castsi128_si512(_mm_loadu_si128(tables.mont[0].as_ptr().add(m).cast())),
                ),
                _mm512_permutexvar_epi64(
                    _mm512_set_epi64(0, 0, 2, 2, 1, 1, 3, 3),
                    _mm512_castsi256_si512(_mm256_loadu_si256(tables.mont[1].as_ptr().add(2 * m).cast())),
                ),
                _mm512_permutexvar_epi64(
                    _mm512_set_epi64(0, 1, 2, 3, 4, 5, 6, 7),
                    load(tables.mont[2].as_ptr().add(4 * m)),
                ),
            ]
        };
        // SAFETY: 64 words.
        let (a, b) = unsafe { (load(data.add(8 * j)), load(data.add(8 * j + 8))) };
        let mut x = _mm512_permutex2var_epi64(a, _mm512_set_epi64(14, 12, 6, 4, 10, 8, 2, 0), b);
        let mut y = _mm512_permutex2var_epi64(a, _mm512_set_epi64(15, 13, 7, 5, 11, 9, 3, 1), b);
        (x, y) = cross_back::<LAZY>(prime, prime.q2, x, y, twiddles[2]);
        (x, y) = (_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
        (x, y) = cross_back::<LAZY>(prime, prime.q2, x, y, twiddles[1]);
        (x, y) = (
            _mm512_permutex2var_epi64(x, _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0), y),
            _mm512_permutex2var_epi64(x, _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4), y),
        );
        let bound = if LAZY { set(4 * prime.value) } else { prime.q2 };
        (x, y) = cross_back::<LAZY>(prime, bound, x, y, twiddles[0]);
        v[j] = _mm512_shuffle_i64x2::<0x44>(x, y);
        v[j + 1] = _mm512_shuffle_i64x2::<0xee>(x, y);
    }
    for s in (0..3).rev() {
        let d = 4 >> s;
        let bound = if LAZY {
            set((8 * prime.value) << (2 - s))
        } else {
            prime.q2
        };
        for j in 0..8 {
            if j & d != 0 {
                continue;
            }
            // SAFETY: as in forward_last.
            let [w, companion] = unsafe { *nodes.add((k << s) + (1 << s) - 1 - (j >> (3 - s))) };
            (v[j], v[j + d]) = back::<LAZY>(prime, bound, v[j], v[j + d], [set(w), set(companion)]);
        }
    }
    for j in 0..8 {
        if LAZY && j < 4 {
            v[j] = prime.barrett(v[j]);
        }
        // SAFETY: 64 words.
        unsafe { store(data.add(8 * j), v[j]) };
    }
}

/// [`back`] across the lanes.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn cross_back<const LAZY: bool>(
    prime: Prime,
    bound: __m512i,
    x: __m512i,
    y: __m512i,
    w: __m512i,
) -> (__m512i, __m512i) {
    let w = prime.with_companion(w);
    let sum = _mm512_add_epi64(x, y);
    let difference = _mm512_sub_epi64(_mm512_add_epi64(y, bound), x);
    let product = prime.mont(prime.q, difference, w);
    if LAZY {
        (sum, product)
    } else {
        (prime.lower(sum, prime.q2), product)
    }
}
