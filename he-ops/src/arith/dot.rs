//! The hot kernels besides the transform: sums of products modulo primes of at most 50 bits.
//!
//! Basis conversion, rescaling, weights in a subring and scalar products are all
//! `out_j[i] = (start_j + sum_k x_k[i] * w_jk) mod p_j` ([`dot`]); the inner product of a key switch has vectors in
//! place of the constants ([`products`]; of a packed key, [`key_products`]). Constants and keys are in Montgomery form
//! (times 2^52), sums are kept in two words without any reduction, and one Montgomery step reduces the sum. It is one
//! algorithm (`Sums::strip`); what differs between instruction sets is in `arith::lanes`, what differs between the kernels
//! is where the second factors come from (`Factors`).
#![expect(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "hot loops over registers; lengths are checked once at the entrance"
)]

use super::Modulus;
use super::lanes::Lanes;
use super::packed::PackedBlock;
use super::simd::{Entries, Simd};
use core::array::from_fn;
use core::ops::Range;

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
    dot_at(Simd::current(), outputs, xs);
}

fn dot_at(simd: Simd, outputs: &mut [Output<'_>], xs: &[&[u64]]) {
    let lens = outputs.iter().map(|o| o.out.len());
    let len = lens.chain(xs.iter().map(|x| x.len())).min().unwrap_or(0);
    let terms = outputs.iter().map(|o| o.weights.len()).min().unwrap_or(0);
    let xs = &xs[..terms.min(xs.len())];
    // One run without end.
    let run = 1 << (usize::BITS - 1);
    constants(simd, outputs, xs, len, [run, 0]);
}

/// `outs[j][i] = (sum_k xs[k][i] * weights[r][j][k]) mod p` with r = i / run: weights that are constant on runs of a
/// power of two of words, in Montgomery form, one list for each run. Entries past the weights, or past the shortest
/// slice, stay as they are.
pub fn dot_runs(outs: &mut [&mut [u64]], xs: &[&[u64]], weights: &[u64], run: usize, modulus: &Modulus) {
    dot_runs_at(Simd::current(), outs, xs, weights, run, modulus);
}

fn dot_runs_at(
    simd: Simd,
    outs: &mut [&mut [u64]],
    xs: &[&[u64]],
    weights: &[u64],
    run: usize,
    modulus: &Modulus,
) {
    let columns = outs.len() * xs.len();
    if columns == 0 || !run.is_power_of_two() {
        return;
    }
    let lens = outs.iter().map(|o| o.len()).chain(xs.iter().map(|x| x.len()));
    let len = lens.min().unwrap_or(0).min(weights.len() / columns * run);
    if len == 0 {
        return;
    }
    let output = |(j, out)| Output {
        out,
        weights: &weights[j * xs.len()..],
        start: 0,
        modulus,
    };
    let outputs = &mut outs
        .iter_mut()
        .map(|out| &mut **out)
        .enumerate()
        .map(output)
        .collect::<Vec<_>>();
    constants(simd, outputs, xs, len, [run, columns]);
}

/// limb\[i\] = (start + limb\[i\] * weight) mod p in place; weight and start in Montgomery form.
pub fn scale_in_place(limb: &mut [u64], weight: u64, start: u64, modulus: &Modulus) {
    scale_in_place_at(Simd::current(), limb, weight, start, modulus);
}

fn scale_in_place_at(simd: Simd, limb: &mut [u64], weight: u64, start: u64, modulus: &Modulus) {
    if simd == Simd::Scalar {
        // One constant for all words: its companion makes a product three multiplications.
        let [weight, start] = [weight, start].map(|x| modulus.mul(x, modulus.inv52()));
        let companion = modulus.shoup(weight);
        for word in limb {
            *word = modulus.add(modulus.mul_shoup(*word, weight, companion), start);
        }
        return;
    }
    const BLOCK: usize = 512;
    let mut copy = [0u64; BLOCK];
    for block in limb.chunks_mut(BLOCK) {
        let copy = &mut copy[..block.len()];
        copy.copy_from_slice(block);
        dot_at(
            simd,
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
    products_at(Simd::current(), outs, xs, ys, modulus);
}

fn products_at(simd: Simd, outs: [&mut [u64]; 2], xs: &[&[u64]], ys: [&[&[u64]]; 2], modulus: &Modulus) {
    let terms = ys.iter().map(|y| y.len()).min().unwrap_or(0).min(xs.len());
    let (xs, ys) = (&xs[..terms], ys.map(|y| &y[..terms]));
    let lens = outs
        .iter()
        .map(|o| o.len())
        .chain(xs.iter().chain(ys[0]).chain(ys[1]).map(|v| v.len()));
    let len = lens.min().unwrap_or(0);
    let plus = [&[][..]; 2];
    let ys = Rows(ys);
    simd.run(Pair {
        outs,
        xs,
        ys,
        plus,
        modulus,
        len,
    });
}

/// `outs[j][i] = (sum_k xs[k][i] * key[2 k + j][i] + sum_l plus[j][l][i]) mod p`: the inner product of digits with the
/// bodies and masks of a key. The rows of the key are in Montgomery form, the addends are not.
///
/// Surplus terms or entries are ignored, as in [`dot`].
pub fn key_products(
    outs: [&mut [u64]; 2],
    xs: &[&[u64]],
    key: PackedBlock<'_>,
    plus: [&[&[u64]]; 2],
    modulus: &Modulus,
) {
    key_products_at(Simd::current(), outs, xs, key, plus, modulus);
}

fn key_products_at(
    simd: Simd,
    outs: [&mut [u64]; 2],
    xs: &[&[u64]],
    key: PackedBlock<'_>,
    plus: [&[&[u64]]; 2],
    modulus: &Modulus,
) {
    let xs = &xs[..xs.len().min(key.rows() / 2)];
    let addends = plus.iter().flat_map(|list| list.iter());
    let lens = outs
        .iter()
        .map(|o| o.len())
        .chain(xs.iter().chain(addends).map(|x| x.len()));
    let len = lens.min().unwrap_or(0).min(key.len());
    simd.run(Pair {
        outs,
        xs,
        ys: key,
        plus,
        modulus,
        len,
    });
}

/// Where the second factors of a sum come from.
trait Factors<L: Lanes> {
    /// Factors of term k and output j for the vector at entry i.
    ///
    /// # Safety
    /// There are k terms, j outputs, and a whole vector of entries from i on.
    unsafe fn at(&self, lanes: L, k: usize, j: usize, i: usize) -> L::Factor;
}

/// One constant for each term and output.
struct Weights<'a, const T: usize>([&'a [u64]; T]);

impl<L: Lanes, const T: usize> Factors<L> for Weights<'_, T> {
    #[inline(always)]
    unsafe fn at(&self, lanes: L, k: usize, j: usize, _: usize) -> L::Factor {
        // SAFETY: as promised by the caller.
        lanes.splat(unsafe { *self.0.get_unchecked(j).get_unchecked(k) })
    }
}

/// Second factors that are vectors, which every instruction set takes in its own way.
trait Vectors: Copy {
    type On<L: Lanes>: Factors<L>;

    fn on<L: Lanes>(self, lanes: L) -> Self::On<L>;
}

/// One vector for each term and output.
#[derive(Clone, Copy)]
struct Rows<'a>([&'a [&'a [u64]]; 2]);

impl Vectors for Rows<'_> {
    type On<L: Lanes> = Self;

    #[inline(always)]
    fn on<L: Lanes>(self, _: L) -> Self {
        self
    }
}

impl<L: Lanes> Factors<L> for Rows<'_> {
    #[inline(always)]
    unsafe fn at(&self, lanes: L, k: usize, j: usize, i: usize) -> L::Factor {
        // SAFETY: as promised by the caller.
        lanes.factor(unsafe { lanes.load(self.0.get_unchecked(j).get_unchecked(k).as_ptr().add(i)) })
    }
}

/// One packed row for each term and output.
struct Packed<'a, L: Lanes>(PackedBlock<'a>, L::Unpacking);

impl<'a> Vectors for PackedBlock<'a> {
    type On<L: Lanes> = Packed<'a, L>;

    #[inline(always)]
    fn on<L: Lanes>(self, lanes: L) -> Packed<'a, L> {
        Packed(self, lanes.unpacking(self.bits()))
    }
}

impl<L: Lanes> Factors<L> for Packed<'_, L> {
    #[inline(always)]
    unsafe fn at(&self, lanes: L, k: usize, j: usize, i: usize) -> L::Factor {
        // SAFETY: eight entries are there, as promised by the caller, and room between rows after them.
        unsafe { lanes.unpack(&self.1, self.0.at(2 * k + j, i), i % 8) }
    }
}

/// T sums of products that share the xs.
struct Sums<'a, L: Lanes, const T: usize> {
    lanes: L,
    outs: [*mut u64; T],
    xs: &'a [&'a [u64]],
    primes: [L::Prime; T],
    starts: [L::Sum; T],
    /// After how many terms the sums are folded, if at all.
    fold_after: Option<usize>,
}

impl<'a, L: Lanes, const T: usize> Sums<'a, L, T> {
    #[inline(always)]
    fn new(
        lanes: L,
        outs: [*mut u64; T],
        xs: &'a [&'a [u64]],
        moduli: [&Modulus; T],
        starts: [u64; T],
    ) -> Self {
        let primes = moduli.map(|m| lanes.prime(m));
        Self {
            lanes,
            outs,
            xs,
            primes,
            starts: from_fn(|j| lanes.start(&primes[j], starts[j], xs.len())),
            fold_after: moduli.iter().filter_map(|m| L::fold_after(xs.len(), m)).min(),
        }
    }

    /// Entries from..to in strips of V vectors, as many as there are whole ones; where they end. Of the factors, outputs
    /// `first`, `first` + 1, ..
    ///
    /// # Safety
    /// All slices reach to `to`, and the factors have the entries for as many terms as there are xs.
    #[inline(always)]
    unsafe fn strips<const V: usize>(
        &self,
        factors: &impl Factors<L>,
        first: usize,
        plus: [&[&[u64]]; T],
        from: usize,
        to: usize,
    ) -> usize {
        let end = from + (to - from) / (V * L::WIDTH) * (V * L::WIDTH);
        let each = (from..end).step_by(V * L::WIDTH);
        if let Some(interval) = self.fold_after {
            for i in each {
                // SAFETY: as promised by the caller, i + V WIDTH being at most `end`.
                unsafe { self.strip::<V, false>(factors, first, plus, interval, i) };
            }
        } else {
            for i in each {
                // SAFETY: as above.
                unsafe { self.strip::<V, true>(factors, first, plus, 0, i) };
            }
        }
        end
    }

    /// V vectors of every output, at entry i.
    ///
    /// # Safety
    /// As of [`Self::strips`], for entries up to i + V WIDTH.
    #[inline(always)]
    unsafe fn strip<const V: usize, const FEW: bool>(
        &self,
        factors: &impl Factors<L>,
        first: usize,
        plus: [&[&[u64]]; T],
        interval: usize,
        i: usize,
    ) {
        let lanes = self.lanes;
        let at = |v: usize| i + v * L::WIDTH;
        let mut sums = self.starts.map(|start| [start; V]);
        let term = |sums: &mut [[L::Sum; V]; T], k: usize, x: &[u64]| {
            // SAFETY: i + V WIDTH <= x.len().
            let x: [L::Factor; V] = from_fn(|v| lanes.factor(unsafe { lanes.load(x.as_ptr().add(at(v))) }));
            for j in 0..T {
                for v in 0..V {
                    // SAFETY: as promised by the caller.
                    let w = unsafe { factors.at(lanes, k, first + j, at(v)) };
                    sums[j][v] = lanes.mul_add(sums[j][v], x[v], w);
                }
            }
        };
        if FEW {
            for (k, x) in self.xs.iter().enumerate() {
                term(&mut sums, k, x);
            }
        } else {
            let (mut rest, mut k) = (self.xs, 0);
            loop {
                let (now, later) = rest.split_at(rest.len().min(interval));
                for x in now {
                    term(&mut sums, k, x);
                    k += 1;
                }
                if later.is_empty() {
                    break;
                }
                rest = later;
                for j in 0..T {
                    for v in 0..V {
                        sums[j][v] = lanes.fold(&self.primes[j], sums[j][v]);
                    }
                }
            }
        }
        for j in 0..T {
            for v in 0..V {
                let mut sum = lanes.reduce::<FEW>(&self.primes[j], sums[j][v]);
                for addend in plus[j] {
                    // SAFETY: i + V WIDTH <= addend.len().
                    sum = lanes.add(&self.primes[j], sum, unsafe {
                        lanes.load(addend.as_ptr().add(at(v)))
                    });
                }
                // SAFETY: i + V WIDTH is at most the length of every output.
                unsafe { lanes.store(self.outs[j].add(at(v)), sum) };
            }
        }
    }
}

/// Sums of products with constants, on runs of `run` entries each (a power of two). The constants of a run stand `columns`
/// words after those of the run before.
fn constants(simd: Simd, outputs: &mut [Output<'_>], xs: &[&[u64]], len: usize, shape: [usize; 2]) {
    let mut rest = outputs;
    while !rest.is_empty() {
        // Tiles of even sizes: one alone reads each vector for two products only.
        let size = match rest.len() {
            _ if simd == Simd::Scalar => 1,
            5 | 6 => 3,
            n => n.min(4),
        };
        let (tile, more) = rest.split_at_mut(size);
        match size {
            4 => simd.run(Tile::<4> { tile, xs, len, shape }),
            3 => simd.run(Tile::<3> { tile, xs, len, shape }),
            2 => simd.run(Tile::<2> { tile, xs, len, shape }),
            _ => simd.run(Tile::<1> { tile, xs, len, shape }),
        }
        rest = more;
    }
}

/// T outputs that share the loads of the xs.
struct Tile<'a, 'b, const T: usize> {
    tile: &'a mut [Output<'b>],
    xs: &'a [&'a [u64]],
    len: usize,
    /// Run and columns.
    shape: [usize; 2],
}

impl<const T: usize> Entries for Tile<'_, '_, T> {
    fn len(&self) -> usize {
        self.len
    }

    fn fit<L: Lanes>(&self) -> bool {
        self.xs.len() <= L::MAX_TERMS && self.shape[0].is_multiple_of(L::WIDTH)
    }

    #[inline(always)]
    fn part<L: Lanes>(&mut self, lanes: L, range: Range<usize>) {
        let (tile, xs, [run, columns]) = (&mut *self.tile, self.xs, self.shape);
        let outs = from_fn(|j| tile[j].out.as_mut_ptr());
        let sums = Sums::<L, T>::new(
            lanes,
            outs,
            xs,
            from_fn(|j| tile[j].modulus),
            from_fn(|j| tile[j].start),
        );
        let terms = xs.len();
        let mut room = vec![0; if L::CONVERTED { T * terms } else { 0 }];
        let (mut from, mut r) = (range.start, range.start / run);
        while from < range.end {
            let to = ((from | (run - 1)) + 1).min(range.end);
            let words: [&[u64]; T] = from_fn(|j| &tile[j].weights[r * columns..][..terms]);
            if L::CONVERTED {
                for j in 0..T {
                    let room = room[j * terms..][..terms].iter_mut();
                    room.zip(words[j])
                        .for_each(|(weight, &word)| *weight = L::weight(word));
                }
            }
            let factors = Weights::<T>(from_fn(|j| {
                if L::CONVERTED {
                    &room[j * terms..][..terms]
                } else {
                    words[j]
                }
            }));
            let mut at = from;
            // SAFETY: the range is within every slice, and every list of weights is as long as the xs.
            unsafe {
                if L::WIDE && T <= 2 {
                    at = sums.strips::<4>(&factors, 0, [&[]; T], at, to);
                }
                if L::WIDE {
                    at = sums.strips::<2>(&factors, 0, [&[]; T], at, to);
                }
                sums.strips::<1>(&factors, 0, [&[]; T], at, to);
            }
            (from, r) = (to, r + 1);
        }
    }
}

/// Two sums of products with vectors, and of addends.
struct Pair<'a, Y> {
    outs: [&'a mut [u64]; 2],
    xs: &'a [&'a [u64]],
    ys: Y,
    plus: [&'a [&'a [u64]]; 2],
    modulus: &'a Modulus,
    len: usize,
}

impl<Y: Vectors> Entries for Pair<'_, Y> {
    fn len(&self) -> usize {
        self.len
    }

    fn fit<L: Lanes>(&self) -> bool {
        self.xs.len() <= L::MAX_TERMS
    }

    #[inline(always)]
    fn part<L: Lanes>(&mut self, lanes: L, Range { start, end }: Range<usize>) {
        let factors = self.ys.on(lanes);
        let outs = self.outs.each_mut().map(|out| out.as_mut_ptr());
        // SAFETY: the range is within every slice and the key, which have as many terms as there are xs.
        unsafe {
            if L::TILE == 1 {
                for j in 0..2 {
                    let sums = Sums::new(lanes, [outs[j]], self.xs, [self.modulus], [0]);
                    sums.strips::<1>(&factors, j, [self.plus[j]], start, end);
                }
            } else {
                let sums = Sums::new(lanes, outs, self.xs, [self.modulus; 2], [0; 2]);
                sums.strips::<1>(&factors, 0, self.plus, start, end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::lanes::scalar::montgomery;
    use crate::arith::primes::{nearest_ntt_prime, ntt_prime_below};

    /// Against big arithmetic, for more terms than one reduction holds, extreme entries, odd lengths, at every level.
    #[test]
    fn sums_agree_with_u128_at_every_level() {
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
        for terms in [0usize, 1, 2, 8, 9, 11, 12, 14, 15, 16, 31, 2050] {
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
            let run = |simd: Simd| {
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
                dot_at(simd, &mut outputs, &refs);
                outs
            };
            let outs = run(Simd::Scalar);
            for simd in Simd::available() {
                assert!(outs == run(simd), "{terms} terms, {simd:?}");
            }
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
            for simd in Simd::available() {
                let mut outs = vec![vec![0u64; len]; count];
                let mut slices: Vec<&mut [u64]> = outs.iter_mut().map(Vec::as_mut_slice).collect();
                dot_runs_at(simd, &mut slices, &refs, &weights, run, &m);
                for (j, out) in outs.iter().enumerate() {
                    for i in 0..len {
                        let w = &weights[(i / run * count + j) * terms..];
                        let products = refs.iter().zip(w).map(|(x, &w)| u128::from(x[i]) * u128::from(w));
                        assert_eq!(out[i], montgomery(products.sum(), &m), "{simd:?}");
                    }
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
            for simd in Simd::available() {
                let (mut a, mut b) = (vec![0; len as usize], vec![0; len as usize]);
                let ys_of = [&y_refs[..terms], &y_refs[terms..]];
                products_at(simd, [&mut a, &mut b], &x_refs, ys_of, &m);
                for (out, ys) in [(&a, &ys[..terms]), (&b, &ys[terms..])] {
                    for i in 0..len as usize {
                        let want = xs
                            .iter()
                            .zip(ys)
                            .fold(0, |acc, (x, y)| m.add(acc, m.mul(x[i], y[i])));
                        assert_eq!(out[i], want, "{simd:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn products_with_a_key_agree_with_those_of_its_rows() {
        for (bits, terms) in [
            (50, 0usize),
            (50, 1),
            (48, 3),
            (50, 11),
            (50, 12),
            (33, 4),
            (20, 5),
        ] {
            let m = Modulus::new(ntt_prime_below(bits, 10, &[]).unwrap()).unwrap();
            let len = 83;
            let vector = |seed: u64| -> Vec<u64> {
                (0..88)
                    .map(|i| match i {
                        3 => m.value() - 1,
                        _ => m.reduce((seed + i).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                    })
                    .collect()
            };
            let xs: Vec<Vec<u64>> = (0..terms as u64).map(|k| vector(k * 100)).collect();
            let ys: Vec<Vec<u64>> = (0..2 * terms as u64).map(|k| vector(k * 77 + 5)).collect();
            let y_refs: Vec<&[u64]> = ys.iter().map(Vec::as_slice).collect();
            let key = super::super::PackedRows::new(&y_refs, &m);
            for from in [0usize, 16] {
                let xs: Vec<&[u64]> = xs.iter().map(|x| &x[from..]).collect();
                let rows =
                    |j: usize| -> Vec<&[u64]> { ys[j..].iter().step_by(2).map(|y| &y[from..]).collect() };
                let (bodies, masks) = match terms {
                    0 => (vec![], vec![]),
                    _ => (rows(0), rows(1)),
                };
                let mut want = [(); 2].map(|()| vec![0; len - from]);
                let [a, b] = &mut want;
                products_at(Simd::Scalar, [a, b], &xs, [&bodies, &masks], &m);
                let addends = [vector(3), vector(9)];
                for addend in &addends {
                    want[1]
                        .iter_mut()
                        .zip(addend)
                        .for_each(|(a, &b)| *a = m.add(*a, b));
                }
                let addends = addends.each_ref().map(|a| &a[..]);
                for simd in Simd::available() {
                    let mut outs = [(); 2].map(|()| vec![0; len - from]);
                    let [a, b] = &mut outs;
                    key_products_at(simd, [a, b], &xs, key.all().part(from, 83), [&[], &addends], &m);
                    if terms > 0 {
                        assert_eq!(outs, want, "{simd:?}, {bits} bits, {terms} terms from {from}");
                    }
                }
            }
        }
    }

    #[test]
    fn scaling_in_place_is_a_dot_product_of_one_term() {
        let m = Modulus::new(ntt_prime_below(48, 10, &[]).unwrap()).unwrap();
        for simd in Simd::available() {
            let mut limb: Vec<u64> = (0..1500).map(|i| m.reduce(i * i * 987_654_321)).collect();
            let want: Vec<u64> = limb.iter().map(|&v| m.add(m.mul(v, 12345), 7)).collect();
            scale_in_place_at(simd, &mut limb, m.to_mont52(12345), m.to_mont52(7), &m);
            assert_eq!(limb, want, "{simd:?}");
        }
    }
}
