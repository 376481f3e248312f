//! The transform with AVX-512 IFMA, for primes below 2^50.
//!
//! Decimation in place, depth first: a pass takes up to three layers through registers for the whole block, then each
//! of its parts is finished before the next, so that everything below 32 KiB stays in the first cache. The last six
//! layers take 64 words at a time and finish in registers, three of them across the lanes.
//!
//! A product is Shoup's with 52-bit words: x w - floor(x w' / 2^52) q, w' = floor(w 2^52 / q), lies in \[0, 2q) for any
//! x below 2^52. Lanes hold values modulo 2^52 (the multiplier reads no more), so the difference needs no mask until
//! lanes are compared. Three classes of primes:
//! - below 2^45 ([`FREE`]) nothing is reduced on the way forward: 17 layers add less than 2q each to a start below 35 q;
//! - below 2^48 ([`ROOMY`]) half of the lanes are reduced once in three layers, because 16 q fit in a word;
//! - below 2^50 ([`TIGHT`]) the summand of each butterfly is brought below 2q first, so that no value reaches 4q.
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
/// Class of the primes below 2^45: 69 q < 2^52.
const FREE: u8 = 0;
/// Class of the primes below 2^48: 16 q < 2^52.
const ROOMY: u8 = 1;
/// Class of the primes below 2^50: 4 q < 2^52.
const TIGHT: u8 = 2;

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
    /// Tables for the root psi of order 2N; `None` where the size does not fit. The processor must have AVX-512 F and IFMA.
    pub(super) fn new(log_n: u32, modulus: &Modulus, psi: u64) -> Option<Self> {
        if !(MIN_LOG_N..=MAX_LOG_N).contains(&log_n) {
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
        // SAFETY: tables are made where the features are; the limb has the 2^log_n words that the tables were made for.
        unsafe {
            match self.modulus.bits() {
                ..=45 => forward::<FREE>(self, limb.as_mut_ptr()),
                46..=48 => forward::<ROOMY>(self, limb.as_mut_ptr()),
                _ => forward::<TIGHT>(self, limb.as_mut_ptr()),
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
            match self.modulus.bits() {
                ..=45 => inverse::<FREE>(self, limb.as_mut_ptr(), weight, start),
                46..=48 => inverse::<ROOMY>(self, limb.as_mut_ptr(), weight, start),
                _ => inverse::<TIGHT>(self, limb.as_mut_ptr(), weight, start),
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

/// Eight words.
///
/// # Safety
/// AVX-512 F and IFMA present; there are eight words at p.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
unsafe fn load(p: *const u64) -> __m512i {
    // SAFETY: the caller has eight words at p.
    unsafe { _mm512_loadu_si512(p.cast()) }
}

/// Writes eight words.
///
/// # Safety
/// AVX-512 F and IFMA present; there is room for eight words at p.
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

/// # Safety
/// AVX-512 F and IFMA present; 2^log_n words at `data`.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn forward<const CLASS: u8>(tables: &Tables, data: *mut u64) {
    let prime = Prime::new(&tables.modulus);
    // SAFETY: the caller's limb has 2^log_n words, the size of the root.
    unsafe { forward_block::<CLASS, true>(tables, prime, data, tables.log_n, 1) };
}

/// The block of node k, 2^log_len words: one pass, then its parts.
///
/// # Safety
/// AVX-512 F and IFMA present; `data` has the 2^log_len words of node k.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn forward_block<const CLASS: u8, const FIRST: bool>(
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
            1 => forward_pass::<1, 2, CLASS, FIRST>(tables, prime, data, stride, k),
            2 => forward_pass::<2, 4, CLASS, FIRST>(tables, prime, data, stride, k),
            3 => forward_pass::<3, 8, CLASS, FIRST>(tables, prime, data, stride, k),
            _ => {}
        }
        for part in 0..1usize << layers {
            let (at, node) = (data.add(part * stride), (k << layers) + part);
            if log_len - layers == MIN_LOG_N {
                forward_last::<CLASS>(tables, prime, at, node);
            } else {
                forward_block::<CLASS, false>(tables, prime, at, log_len - layers, node);
            }
        }
    }
}

/// One pass: LAYERS layers over R = 2^LAYERS parts of `stride` words.
///
/// Lanes in memory between passes are modulo 2^52, below 69 q, 14 q and 4 q in the three classes.
///
/// # Safety
/// AVX-512 F and IFMA present; `data` has the words of node k, R parts of `stride`, a multiple of 64.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
unsafe fn forward_pass<const LAYERS: usize, const R: usize, const CLASS: u8, const FIRST: bool>(
    tables: &Tables,
    prime: Prime,
    data: *mut u64,
    stride: usize,
    k: usize,
) {
    let nodes = tables.shoup.as_ptr();
    // 2q for each of up to 17 layers, so that differences stay positive.
    let bias = set(34 * prime.value);
    // The same for the three layers of a pass.
    let six = set(6 * prime.value);
    for i in (0..stride).step_by(8) {
        let mut v = [prime.zero; R];
        for j in 0..R {
            // SAFETY: j < R and i + 8 <= stride.
            v[j] = unsafe { load(data.add(j * stride + i)) };
        }
        for j in 0..R / 2 {
            v[j] = match CLASS {
                FREE if FIRST => _mm512_add_epi64(v[j], bias),
                ROOMY if FIRST => _mm512_add_epi64(v[j], six),
                ROOMY => _mm512_add_epi64(prime.barrett(v[j]), six),
                TIGHT if !FIRST => prime.lower(prime.masked(v[j]), prime.q2),
                _ => v[j],
            };
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
                let summand = d > 1 && j & (d / 2) == 0;
                (v[j], v[j + d]) = butterfly::<CLASS>(prime, v[j], v[j + d], w, summand);
            }
        }
        for j in 0..R {
            // SAFETY: as for the loads.
            unsafe { store(data.add(j * stride + i), v[j]) };
        }
    }
}

/// The last six layers of the 64 words of node k.
///
/// # Safety
/// AVX-512 F and IFMA present; `data` has the 64 words of node k.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
unsafe fn forward_last<const CLASS: u8>(tables: &Tables, prime: Prime, data: *mut u64, k: usize) {
    let nodes = tables.shoup.as_ptr();
    let first = tables.log_n == MIN_LOG_N;
    let mut v = [prime.zero; 8];
    for j in 0..8 {
        // SAFETY: 64 words.
        v[j] = unsafe { load(data.add(8 * j)) };
    }
    let six = set(6 * prime.value);
    for j in 0..4 {
        v[j] = match CLASS {
            FREE if first => _mm512_add_epi64(v[j], set(34 * prime.value)),
            FREE => v[j],
            ROOMY => _mm512_add_epi64(prime.barrett(v[j]), six),
            _ => prime.lower(prime.masked(v[j]), prime.q2),
        };
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
            let summand = d > 1 && j & (d / 2) == 0;
            (v[j], v[j + d]) = butterfly::<CLASS>(prime, v[j], v[j + d], w, summand);
        }
    }
    // Eight neighbouring nodes of the third last layer, counted from its first. Four pairs at a time hide the latency
    // of the multiplier.
    let node = 8 * (k - (1 << (tables.log_n - MIN_LOG_N)));
    let three = set(3 * prime.value);
    let (mut x, mut y) = ([prime.zero; 4], [prime.zero; 4]);
    for j in 0..4 {
        let (a, b) = (v[2 * j], v[2 * j + 1]);
        x[j] = _mm512_shuffle_i64x2::<0x44>(a, b);
        y[j] = _mm512_shuffle_i64x2::<0xee>(a, b);
        x[j] = match CLASS {
            FREE => x[j],
            // Products are at least -q here.
            ROOMY => _mm512_add_epi64(prime.barrett(x[j]), three),
            _ => prime.lower(prime.masked(x[j]), prime.q2),
        };
    }
    for j in 0..4 {
        // SAFETY: node + 7 < n / 8, the length of the table.
        let w = unsafe { _mm_loadu_si128(tables.mont[0].as_ptr().add(node + 2 * j).cast()) };
        let lanes = _mm512_set_epi64(1, 1, 1, 1, 0, 0, 0, 0);
        let w = _mm512_permutexvar_epi64(lanes, _mm512_castsi128_si512(w));
        let (s, d) = cross::<CLASS>(prime, x[j], y[j], w);
        x[j] = _mm512_shuffle_i64x2::<0x88>(s, d);
        y[j] = _mm512_shuffle_i64x2::<0xdd>(s, d);
        if CLASS == TIGHT {
            x[j] = prime.lower(x[j], prime.q2);
        }
    }
    for j in 0..4 {
        // SAFETY: 2 node + 15 < n / 4, the length of the table.
        let w = unsafe { _mm256_loadu_si256(tables.mont[1].as_ptr().add(2 * node + 4 * j).cast()) };
        let lanes = _mm512_set_epi64(3, 3, 1, 1, 2, 2, 0, 0);
        let w = _mm512_permutexvar_epi64(lanes, _mm512_castsi256_si512(w));
        let (s, d) = cross::<CLASS>(prime, x[j], y[j], w);
        x[j] = _mm512_unpacklo_epi64(s, d);
        y[j] = _mm512_unpackhi_epi64(s, d);
        if CLASS == TIGHT {
            x[j] = prime.lower(x[j], prime.q2);
        }
    }
    for j in 0..4 {
        // SAFETY: 4 node + 31 < n / 2, the length of the table.
        let w = unsafe { load(tables.mont[2].as_ptr().add(4 * node + 8 * j)) };
        let (s, d) = cross::<CLASS>(prime, x[j], y[j], w);
        let (s, d) = if CLASS == TIGHT {
            (prime.lower(s, prime.q2), prime.lower(d, prime.q2))
        } else {
            (prime.masked(prime.barrett(s)), prime.masked(prime.barrett(d)))
        };
        let (s, d) = (prime.lower(s, prime.q), prime.lower(d, prime.q));
        // SAFETY: 64 words.
        unsafe {
            let a = _mm512_permutex2var_epi64(s, _mm512_set_epi64(13, 5, 12, 4, 9, 1, 8, 0), d);
            store(data.add(16 * j), a);
            let b = _mm512_permutex2var_epi64(s, _mm512_set_epi64(15, 7, 14, 6, 11, 3, 10, 2), d);
            store(data.add(16 * j + 8), b);
        }
    }
}

/// A butterfly: x + y w and x - y w. For tight primes x is below 2q, y below 4q modulo 2^52, and the results are below
/// 2q where they are the summands of the next layer, below 4q modulo 2^52 otherwise. For the others both results are
/// within 2q of x.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn butterfly<const CLASS: u8>(
    prime: Prime,
    x: __m512i,
    y: __m512i,
    w: Twiddle,
    summand: bool,
) -> (__m512i, __m512i) {
    let sum = prime.shoup(x, y, w);
    let double = _mm512_add_epi64(x, x);
    if CLASS != TIGHT {
        (sum, _mm512_sub_epi64(double, sum))
    } else if summand {
        let sum = prime.masked(sum);
        let difference = prime.lift(_mm512_sub_epi64(double, sum));
        (prime.lower(sum, prime.q2), difference)
    } else {
        (sum, _mm512_sub_epi64(_mm512_add_epi64(double, prime.q2), sum))
    }
}

/// A butterfly of the last three layers. For tight primes x is below 2q and both results below 4q; for the others both
/// results are within q of x.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn cross<const CLASS: u8>(prime: Prime, x: __m512i, y: __m512i, w: __m512i) -> (__m512i, __m512i) {
    let w = prime.with_companion(w);
    if CLASS == TIGHT {
        let t = prime.mont(prime.q, y, w);
        (
            _mm512_add_epi64(x, t),
            _mm512_sub_epi64(_mm512_add_epi64(x, prime.q2), t),
        )
    } else {
        let t = prime.mont(prime.zero, y, w);
        (_mm512_add_epi64(x, t), _mm512_sub_epi64(x, t))
    }
}

/// # Safety
/// AVX-512 F and IFMA present; 2^log_n words at `data`.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn inverse<const CLASS: u8>(tables: &Tables, data: *mut u64, weight: u64, start: u64) {
    let prime = Prime::new(&tables.modulus);
    let companion = (u128::from(weight) << WORD52) / u128::from(prime.value);
    let scale = Scale {
        weight: [set(weight), set(companion as u64)],
        start: set(start),
    };
    // SAFETY: the caller's limb has 2^log_n words, the size of the root.
    unsafe { inverse_block::<CLASS, true>(tables, prime, scale, data, tables.log_n, 1) };
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
///
/// # Safety
/// As of [`forward_block`], k counted as said.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn inverse_block<const CLASS: u8, const LAST: bool>(
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
                inverse_last::<CLASS>(tables, prime, at, node);
                if LAST && layers == 0 {
                    for j in 0..8 {
                        store(at.add(8 * j), scale.apply(prime, load(at.add(8 * j))));
                    }
                }
            } else {
                inverse_block::<CLASS, false>(tables, prime, scale, at, log_len - layers, node);
            }
        }
        match layers {
            1 => inverse_pass::<1, 2, CLASS, LAST>(tables, prime, scale, data, stride, k),
            2 => inverse_pass::<2, 4, CLASS, LAST>(tables, prime, scale, data, stride, k),
            3 => inverse_pass::<3, 8, CLASS, LAST>(tables, prime, scale, data, stride, k),
            _ => {}
        }
    }
}

/// One butterfly of the inverse, x and y below `bound`: (x + y, (y - x) w). For tight primes the bound is 2q and both
/// results keep to it; for the others the sum is below twice the bound, the product below 2q.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn back<const CLASS: u8>(
    prime: Prime,
    bound: __m512i,
    x: __m512i,
    y: __m512i,
    w: Twiddle,
) -> (__m512i, __m512i) {
    let sum = _mm512_add_epi64(x, y);
    let difference = _mm512_sub_epi64(_mm512_add_epi64(y, bound), x);
    let product = prime.shoup(prime.zero, difference, w);
    if CLASS == TIGHT {
        (prime.lower(sum, prime.q2), prime.masked(product))
    } else {
        (sum, product)
    }
}

/// One pass of the inverse. Lanes in memory between passes are below 2q, modulo 2^52 except for tight primes.
///
/// # Safety
/// As of [`forward_pass`], k counted from the end.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
unsafe fn inverse_pass<const LAYERS: usize, const R: usize, const CLASS: u8, const LAST: bool>(
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
            let bound = if CLASS == TIGHT {
                prime.q2
            } else {
                set((2 * prime.value) << (LAYERS - 1 - s))
            };
            for j in 0..R {
                if j & d != 0 {
                    continue;
                }
                // SAFETY: the node is in the table, see forward_block.
                let [w, companion] = unsafe { *nodes.add((k << s) + (1 << s) - 1 - (j >> (LAYERS - s))) };
                (v[j], v[j + d]) = back::<CLASS>(prime, bound, v[j], v[j + d], [set(w), set(companion)]);
            }
        }
        for j in 0..R {
            if LAST {
                v[j] = scale.apply(prime, v[j]);
            } else if CLASS != TIGHT && j < R / 2 {
                v[j] = prime.barrett(v[j]);
            }
            // SAFETY: as for the loads.
            unsafe { store(data.add(j * stride + i), v[j]) };
        }
    }
}

/// The first six layers of the inverse for the 64 words of node k, counted from the end.
///
/// # Safety
/// As of [`forward_last`], k counted from the end.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
unsafe fn inverse_last<const CLASS: u8>(tables: &Tables, prime: Prime, data: *mut u64, k: usize) {
    let nodes = tables.shoup.as_ptr();
    let mut v = [prime.zero; 8];
    let node = 8 * (k - (1 << (tables.log_n - MIN_LOG_N)));
    // Entries are below q at the start, so the third layer has sums below 4q, and below 8q after it.
    let four = if CLASS == TIGHT {
        prime.q2
    } else {
        set(4 * prime.value)
    };
    for j in 0..4 {
        // The parts 2j and 2j + 1 are the pair 3 - j from the end; a layer's twiddles run backwards.
        let m = 4 * node + 8 * (3 - j);
        // SAFETY: 64 words; the tables as in forward_last.
        let (a, b, w) = unsafe {
            (
                load(data.add(16 * j)),
                load(data.add(16 * j + 8)),
                load(tables.mont[2].as_ptr().add(m)),
            )
        };
        let w = _mm512_permutexvar_epi64(_mm512_set_epi64(0, 1, 2, 3, 4, 5, 6, 7), w);
        let even = _mm512_permutex2var_epi64(a, _mm512_set_epi64(14, 12, 6, 4, 10, 8, 2, 0), b);
        let odd = _mm512_permutex2var_epi64(a, _mm512_set_epi64(15, 13, 7, 5, 11, 9, 3, 1), b);
        let (s, d) = cross_back::<CLASS>(prime, prime.q2, even, odd, w);
        let x = _mm512_unpacklo_epi64(s, d);
        let y = _mm512_unpackhi_epi64(s, d);
        let m = 2 * node + 4 * (3 - j);
        // SAFETY: as in forward_last.
        let w = unsafe { _mm256_loadu_si256(tables.mont[1].as_ptr().add(m).cast()) };
        let lanes = _mm512_set_epi64(0, 0, 2, 2, 1, 1, 3, 3);
        let w = _mm512_permutexvar_epi64(lanes, _mm512_castsi256_si512(w));
        let (s, d) = cross_back::<CLASS>(prime, prime.q2, x, y, w);
        let x = _mm512_permutex2var_epi64(s, _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0), d);
        let y = _mm512_permutex2var_epi64(s, _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4), d);
        let m = node + 2 * (3 - j);
        // SAFETY: as in forward_last.
        let w = unsafe { _mm_loadu_si128(tables.mont[0].as_ptr().add(m).cast()) };
        let lanes = _mm512_set_epi64(0, 0, 0, 0, 1, 1, 1, 1);
        let w = _mm512_permutexvar_epi64(lanes, _mm512_castsi128_si512(w));
        let (mut s, d) = cross_back::<CLASS>(prime, four, x, y, w);
        if CLASS == ROOMY {
            s = prime.barrett(s);
        }
        v[2 * j] = _mm512_shuffle_i64x2::<0x44>(s, d);
        v[2 * j + 1] = _mm512_shuffle_i64x2::<0xee>(s, d);
    }
    let low = if CLASS == FREE {
        8 * prime.value
    } else {
        2 * prime.value
    };
    for s in (0..3).rev() {
        let d = 4 >> s;
        let bound = if CLASS == TIGHT {
            prime.q2
        } else {
            set(low << (2 - s))
        };
        for j in 0..8 {
            if j & d != 0 {
                continue;
            }
            // SAFETY: as in forward_last.
            let [w, companion] = unsafe { *nodes.add((k << s) + (1 << s) - 1 - (j >> (3 - s))) };
            (v[j], v[j + d]) = back::<CLASS>(prime, bound, v[j], v[j + d], [set(w), set(companion)]);
        }
    }
    for j in 0..8 {
        if CLASS != TIGHT && j < 4 {
            v[j] = prime.barrett(v[j]);
        }
        // SAFETY: 64 words.
        unsafe { store(data.add(8 * j), v[j]) };
    }
}

/// [`back`] across the lanes.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn cross_back<const CLASS: u8>(
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
    if CLASS == TIGHT {
        (prime.lower(sum, prime.q2), product)
    } else {
        (sum, product)
    }
}
