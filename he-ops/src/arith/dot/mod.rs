//! The hot kernels besides the transform: sums of products modulo primes of at most 50 bits.
//!
//! Basis conversion, rescaling, weights in a subring and scalar products are all
//! `out_j[i] = (start_j + sum_k x_k[i] * w_jk) mod p_j` ([`dot`]); the inner product of a key switch has vectors in
//! place of the constants ([`products`]; of a packed key, [`key_products`]). Constants and keys are in Montgomery form
//! (times 2^52), sums are kept as two 52-bit words without any reduction, and one Montgomery step reduces the sum. With
//! AVX-512 IFMA eight lanes run at once and four outputs share every load; with AVX2 four lanes, in doubles; elsewhere the
//! sums are u128. The results are the same bit for bit.
#![expect(
    clippy::indexing_slicing,
    reason = "hot loops; lengths are checked once at the entrance"
)]

use super::Simd;
use super::modulus::{MASK52, Modulus, WORD52};
use super::packed::PackedBlock;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod ifma;

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
    let done = match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Ifma => {
            let body = len / 8 * 8;
            let mut rest = &mut *outputs;
            while !rest.is_empty() {
                let (tile, tail) = rest.split_at_mut(tile_size(rest.len()));
                // SAFETY: the features were detected; `body` is at most the length of every slice of tile and xs, and
                // every weights slice has at least xs.len() entries.
                unsafe {
                    match tile.len() {
                        4 => ifma::tile::<4, 2>(tile, xs, body),
                        3 => ifma::tile::<3, 2>(tile, xs, body),
                        2 => ifma::tile::<2, 4>(tile, xs, body),
                        _ => ifma::tile::<1, 4>(tile, xs, body),
                    }
                }
                rest = tail;
            }
            body
        }
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 if xs.len() <= avx2::MOST => {
            let body = len / 4 * 4;
            let mut rest = &mut *outputs;
            while !rest.is_empty() {
                let (tile, tail) = rest.split_at_mut(tile_size(rest.len()));
                // SAFETY: as above, and there are not too many terms.
                unsafe {
                    match tile.len() {
                        4 => avx2::tile::<4>(tile, xs, body),
                        3 => avx2::tile::<3>(tile, xs, body),
                        2 => avx2::tile::<2>(tile, xs, body),
                        _ => avx2::tile::<1>(tile, xs, body),
                    }
                }
                rest = tail;
            }
            body
        }
        _ => 0,
    };
    for o in outputs {
        scalar(o.out, xs, |k, _| o.weights[k], o.start, o.modulus, done..len);
    }
}

/// Outputs of one tile. Tiles of even sizes: one alone reads each vector for two products only.
#[cfg(target_arch = "x86_64")]
fn tile_size(outputs: usize) -> usize {
    match outputs {
        5 | 6 => 3,
        n => n.min(4),
    }
}

/// `outs[j][i] = (sum_k xs[k][i] * weights[r][j][k]) mod p` with r = i / run: weights that are constant on runs of a
/// power of two of words, in Montgomery form, one list for each run. Entries past the weights, or past the shortest
/// slice, stay as they are.
pub fn dot_runs(outs: &mut [&mut [u64]], xs: &[&[u64]], weights: &[u64], run: usize, modulus: &Modulus) {
    dot_runs_at(Simd::current(), outs, xs, weights, run, modulus);
}

#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_variables, reason = "there is one level")
)]
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
    #[cfg(target_arch = "x86_64")]
    let lanes = match simd {
        Simd::Ifma => true,
        Simd::Avx2 => xs.len() <= avx2::MOST,
        Simd::Scalar => false,
    };
    #[cfg(target_arch = "x86_64")]
    if lanes && run >= 8 && len.is_multiple_of(run) {
        let mut first = 0;
        while first < outs.len() {
            let take = (outs.len() - first).min(4);
            let tile = &mut outs[first..first + take];
            let shape = [first, columns, run];
            // SAFETY: the features were detected; `len` is a multiple of the run and at most the length of every
            // slice, and there are `columns` weights for each of its len / run runs.
            unsafe {
                match (simd, take) {
                    (Simd::Ifma, 4) => ifma::runs::<4>(tile, xs, weights, shape, len, modulus),
                    (Simd::Ifma, 3) => ifma::runs::<3>(tile, xs, weights, shape, len, modulus),
                    (Simd::Ifma, 2) => ifma::runs::<2>(tile, xs, weights, shape, len, modulus),
                    (Simd::Ifma, _) => ifma::runs::<1>(tile, xs, weights, shape, len, modulus),
                    (_, 4) => avx2::runs::<4>(tile, xs, weights, shape, len, modulus),
                    (_, 3) => avx2::runs::<3>(tile, xs, weights, shape, len, modulus),
                    (_, 2) => avx2::runs::<2>(tile, xs, weights, shape, len, modulus),
                    (_, _) => avx2::runs::<1>(tile, xs, weights, shape, len, modulus),
                }
            }
            first += take;
        }
        return;
    }
    for (j, out) in outs.iter_mut().enumerate() {
        for from in (0..len).step_by(run) {
            let weights = &weights[from / run * columns + j * xs.len()..];
            scalar(
                out,
                xs,
                |k, _| weights[k],
                0,
                modulus,
                from..(from + run).min(len),
            );
        }
    }
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
    let [out0, out1] = outs;
    let done = match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Ifma => {
            let body = len / 8 * 8;
            // SAFETY: the features were detected; `body` is at most the length of every slice, and all lists have
            // `terms` entries.
            unsafe { ifma::products([out0, out1], xs, ys, modulus, body) };
            body
        }
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 if terms <= avx2::MOST => {
            let body = len / 4 * 4;
            // SAFETY: as above, and there are not too many terms.
            unsafe { avx2::products([out0, out1], xs, ys, modulus, body) };
            body
        }
        _ => 0,
    };
    for (out, ys) in [out0, out1].into_iter().zip(ys) {
        scalar(out, xs, |k, i| ys[k][i], 0, modulus, done..len);
    }
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
    let [out0, out1] = outs;
    let done = match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Ifma => {
            let body = len / 8 * 8;
            // SAFETY: the features were detected; `body` is at most the length of every slice and of the key, which
            // has two rows for each of the xs.
            unsafe { ifma::key_products([out0, out1], xs, key, plus, modulus, body) };
            body
        }
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 if xs.len() <= avx2::MOST => {
            let body = len / 8 * 8;
            // SAFETY: as above, and there are not too many terms.
            unsafe { avx2::key_products([out0, out1], xs, key, plus, modulus, body) };
            body
        }
        _ => 0,
    };
    for (j, (out, plus)) in [out0, out1].into_iter().zip(plus).enumerate() {
        scalar(out, xs, |k, i| key.get(2 * k + j, i), 0, modulus, done..len);
        for addend in plus {
            for (out, &x) in out[done..len].iter_mut().zip(&addend[done..len]) {
                *out = modulus.add(*out, x);
            }
        }
    }
}

/// Entries that are summed at a time: their sums stay in registers.
const CHUNK: usize = 4;

/// out\[i\] = (start + sum_k xs\[k\]\[i\] * weight(k, i)) / 2^52 mod p on u128, for a range of entries. A product is below
/// 2^100, so 2^28 of them fit.
#[inline]
fn scalar(
    out: &mut [u64],
    xs: &[&[u64]],
    weight: impl Fn(usize, usize) -> u64,
    start: u64,
    modulus: &Modulus,
    range: std::ops::Range<usize>,
) {
    let whole = range.start + range.len() / CHUNK * CHUNK;
    for i in (range.start..whole).step_by(CHUNK) {
        let mut sums = [u128::from(start); CHUNK];
        for (k, x) in xs.iter().enumerate() {
            let x = &x[i..i + CHUNK];
            for c in 0..CHUNK {
                sums[c] += u128::from(x[c]) * u128::from(weight(k, i + c));
            }
        }
        for (out, sum) in out[i..i + CHUNK].iter_mut().zip(sums) {
            *out = montgomery(sum, modulus);
        }
    }
    for i in whole..range.end {
        let terms = xs
            .iter()
            .enumerate()
            .map(|(k, x)| u128::from(x[i]) * u128::from(weight(k, i)));
        out[i] = montgomery(u128::from(start) + terms.sum::<u128>(), modulus);
    }
}

/// sum / 2^52 modulo p.
#[inline]
fn montgomery(sum: u128, modulus: &Modulus) -> u64 {
    // (sum + m p) / 2^52 with m chosen so that the division is exact.
    let m = (sum as u64).wrapping_mul(modulus.neg_inv52()) & MASK52;
    let quotient = (sum + u128::from(m) * u128::from(modulus.value())) >> WORD52;
    // One word unless there are thousands of terms.
    match u64::try_from(quotient) {
        Ok(word) => modulus.reduce(word),
        Err(_) => modulus.reduce_u128(quotient),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
