//! Basis conversion between residue number systems.

use super::dot::{Output, dot, scale_in_place};
use super::{Modulus, NttTable, Simd};
use crate::error::broken;
use crate::{ParamsError, Result, par};

/// Entries of one limb that a thread takes at a time: 16 limbs of this many words stay in L2.
const BLOCK: usize = 2048;

/// Conversion of a polynomial from the basis a_0..a_(n-1) (product A) to other primes.
///
/// Source limbs are y_k = x * (A/a_k)^-1 + a_k/2 mod a_k ([`Self::prepare`]); the target is
/// sum_k (y_k - a_k/2) * (A/a_k) mod b_j, which is x + u A with |u| <= n/2: the centered form keeps the surplus u small
/// and of mean zero (Halevi-Polyakov-Shoup, ePrint 2018/117, without the float correction).
#[derive(Debug)]
pub struct BasisConverter {
    /// Per source prime: (A/a_k)^-1 mod a_k, times N^-1; and a_k/2.
    source: Vec<(u64, u64)>,
    /// Per target prime: A/a_k mod b_j in Montgomery form for every k, and -sum_k (a_k/2)(A/a_k).
    target: Vec<(Vec<u64>, u64)>,
    from: Vec<Modulus>,
    to: Vec<Modulus>,
    /// Per source prime 1/a_k; and what is added to sum_k y_k/a_k before it is rounded.
    centering: Option<(Vec<f64>, f64)>,
}

impl BasisConverter {
    /// Precomputes the constants; about n^2 + n m modular products.
    ///
    /// # Errors
    /// [`Error::Params`](crate::Error::Params) when two source primes are equal.
    pub fn new<'a>(
        from: impl IntoIterator<Item = &'a NttTable>,
        to: impl IntoIterator<Item = &'a NttTable>,
    ) -> Result<Self> {
        Self::build(from, to, None)
    }

    /// The same without the surplus u: the result is x itself, -A/2 <= x <= A/2 (up to 2^-45 A). Needs the limb of
    /// [`Self::surplus`] after the source limbs. A source limb is multiplied by a factor before, a target after.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn centered<'a>(
        from: impl IntoIterator<Item = &'a NttTable>,
        to: impl IntoIterator<Item = &'a NttTable>,
        factors: [&[u64]; 2],
    ) -> Result<Self> {
        Self::build(from, to, Some(factors))
    }

    fn build<'a>(
        from: impl IntoIterator<Item = &'a NttTable>,
        to: impl IntoIterator<Item = &'a NttTable>,
        centered: Option<[&[u64]; 2]>,
    ) -> Result<Self> {
        let from: Vec<&NttTable> = from.into_iter().collect();
        let to: Vec<Modulus> = to.into_iter().map(|t| *t.modulus()).collect();
        let ones = [vec![1; from.len()], vec![1; to.len()]];
        let [before, after] = centered.unwrap_or([&ones[0], &ones[1]]);
        if (before.len(), after.len()) != (from.len(), to.len()) {
            return Err(broken("a factor for each prime of a conversion"));
        }
        // prod_{i != k} a_i mod m.
        let hat = |k: usize, m: &Modulus| {
            from.iter()
                .enumerate()
                .filter(|(i, _)| *i != k)
                .fold(m.reduce(1), |acc, (_, t)| {
                    m.mul(acc, m.reduce(t.modulus().value()))
                })
        };
        let mut source = Vec::with_capacity(from.len());
        for (k, (table, &before)) in from.iter().zip(before).enumerate() {
            let a = table.modulus();
            let inv = a
                .inv(hat(k, a))
                .ok_or(ParamsError::RepeatedPrime { prime: a.value() })?;
            let inv = a.mul(inv, before);
            source.push((a.mul(inv, table.n_inv()), a.value() / 2));
        }
        // The rounded surplus is at least -(n/2 + 1); this much more makes it an unsigned word.
        let bias = from.len() as u64;
        let target = to
            .iter()
            .zip(after)
            .map(|(b, &after)| {
                let mut hats: Vec<u64> = (0..from.len()).map(|k| hat(k, b)).collect();
                let mut shift = from.iter().zip(&hats).fold(0, |acc, (t, &h)| {
                    b.add(acc, b.mul(b.reduce(t.modulus().value() / 2), h))
                });
                if centered.is_some() {
                    let product = product(&from, b);
                    shift = b.sub(shift, b.mul(b.reduce(bias), product));
                    hats.push(b.neg(product));
                }
                let times = |x: u64| b.to_mont52(b.mul(x, after));
                (hats.iter().map(|&h| times(h)).collect(), times(b.neg(shift)))
            })
            .collect();
        let centering = centered.map(|_| {
            let values = from.iter().map(|t| t.modulus().value());
            let halves: f64 = values.clone().map(|a| (a / 2) as f64 / a as f64).sum();
            (values.map(|a| 1.0 / a as f64).collect(), bias as f64 - halves)
        });
        Ok(Self {
            source,
            target,
            from: from.iter().map(|t| *t.modulus()).collect(),
            to,
            centering,
        })
    }

    /// Limbs of a source: one per prime, and that of the surplus.
    pub(crate) fn source_limbs(&self) -> usize {
        self.from.len() + usize::from(self.centering.is_some())
    }

    /// Fills the last source limb from the prepared others, where there is such a limb.
    #[expect(clippy::indexing_slicing, reason = "all limbs have as many blocks")]
    pub(crate) fn surplus(&self, source: &mut [u64], n: usize) {
        let Some((inverses, offset)) = &self.centering else {
            return;
        };
        let (limbs, out) = source.split_at_mut(self.from.len() * n);
        par::for_each(out.chunks_mut(BLOCK).collect(), |b, out| {
            let mut sum = [*offset; BLOCK];
            for (limb, inverse) in limbs.chunks(n).zip(inverses) {
                add_fractions(&mut sum, &limb[b * BLOCK..], *inverse);
            }
            for (out, sum) in out.iter_mut().zip(sum) {
                *out = (sum + TWO52).to_bits() & ((1 << 52) - 1);
            }
        });
    }

    /// Targets `first`, `first + 1`, .. of prepared source limbs, on this thread.
    #[expect(clippy::indexing_slicing, reason = "blocks end at the length of a limb")]
    pub(crate) fn convert_some(&self, first: usize, sources: &[&[u64]], targets: &mut [&mut [u64]]) {
        let n = targets.iter().map(|t| t.len()).min().unwrap_or(0);
        for from in (0..n).step_by(BLOCK) {
            let block = from..(from + BLOCK).min(n);
            let xs: Vec<&[u64]> = sources.iter().map(|s| &s[block.clone()]).collect();
            let constants = self.target.iter().zip(&self.to).skip(first);
            let mut outputs: Vec<Output<'_>> = targets
                .iter_mut()
                .zip(constants)
                .map(|(out, ((weights, start), modulus))| Output {
                    out: &mut out[block.clone()],
                    weights,
                    start: *start,
                    modulus,
                })
                .collect();
            dot(&mut outputs, &xs);
        }
    }

    /// Source limb k (unnormalised inverse transform) to y_k, in place.
    ///
    /// # Panics
    /// Past the last source prime.
    #[expect(clippy::indexing_slicing, reason = "one of the source primes")]
    pub fn prepare(&self, k: usize, limb: &mut [u64]) {
        let ((factor, half), modulus) = (self.source[k], &self.from[k]);
        scale_in_place(limb, modulus.to_mont52(factor), modulus.to_mont52(half), modulus);
    }

    /// The values of source limb k to y_k, in place: the inverse transform with [`Self::prepare`] in its last pass.
    #[expect(clippy::indexing_slicing, reason = "one of the source primes")]
    pub(crate) fn prepare_values(&self, k: usize, table: &NttTable, limb: &mut [u64]) {
        let (factor, half) = self.source[k];
        table.inverse_scaled(limb, factor, half);
    }

    /// Prepared source limbs (contiguous, n entries each) to target limbs (contiguous). Threads take blocks of entries.
    #[expect(clippy::indexing_slicing, reason = "all limbs have as many blocks")]
    pub fn convert(&self, source: &[u64], target: &mut [u64], n: usize) {
        let sources: Vec<&[u64]> = source.chunks(n).collect();
        let mut blocks: Vec<Vec<&mut [u64]>> = (0..n.div_ceil(BLOCK))
            .map(|_| Vec::with_capacity(self.to.len()))
            .collect();
        for limb in target.chunks_mut(n) {
            for (block, part) in blocks.iter_mut().zip(limb.chunks_mut(BLOCK)) {
                block.push(part);
            }
        }
        par::for_each(blocks, |b, parts| {
            let from = b * BLOCK;
            let xs: Vec<&[u64]> = sources.iter().map(|s| &s[from..(from + BLOCK).min(n)]).collect();
            let mut outputs: Vec<Output<'_>> = parts
                .into_iter()
                .zip(&self.target)
                .zip(&self.to)
                .map(|((out, (weights, start)), modulus)| Output {
                    out,
                    weights,
                    start: *start,
                    modulus,
                })
                .collect();
            dot(&mut outputs, &xs);
        });
    }
}

/// 2^52: adding it rounds a small number to an integer, which then is the low bits of the sum.
const TWO52: f64 = (1u64 << 52) as f64;

/// sum\[i\] += block\[i\] * inverse, for words below 2^52.
fn add_fractions(sum: &mut [f64; BLOCK], block: &[u64], inverse: f64) {
    add_fractions_at(Simd::current(), sum, block, inverse);
}

fn add_fractions_at(simd: Simd, sum: &mut [f64; BLOCK], block: &[u64], inverse: f64) {
    // The word as the low bits of a number in 2^52..2^53: exact, and no conversion instruction. The compiler does not
    // fuse products and sums, so the bits are the same at every level.
    simd.each(sum.iter_mut().zip(block), |(sum, &word)| {
        *sum += (f64::from_bits(word | TWO52.to_bits()) - TWO52) * inverse;
    });
}

/// The product of primes modulo another.
pub(crate) fn product<'a>(primes: impl IntoIterator<Item = &'a &'a NttTable>, modulus: &Modulus) -> u64 {
    primes.into_iter().fold(modulus.reduce(1), |acc, t| {
        modulus.mul(acc, modulus.reduce(t.modulus().value()))
    })
}

/// Turns "for each polynomial its limbs" into "for each limb those of all polynomials".
pub(crate) fn by_limb<T>(polys: impl Iterator<Item = impl Iterator<Item = T>>) -> Vec<Vec<T>> {
    let mut out: Vec<Vec<T>> = Vec::new();
    for limbs in polys {
        for (i, limb) in limbs.enumerate() {
            match out.get_mut(i) {
                Some(row) => row.push(limb),
                None => out.push(vec![limb]),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::primes::ntt_prime_below;
    use num_bigint::BigInt;

    #[test]
    fn fractions_are_the_same_bits_at_every_level() {
        let block: Vec<u64> = (0..BLOCK as u64)
            .map(|i| (i * i * 0x9e37_79b9) % (1 << 50))
            .collect();
        let sums = |simd| {
            let mut sum = [0.5; BLOCK];
            (0..3).for_each(|k| {
                add_fractions_at(simd, &mut sum, &block[k..], 1.0 / (1_u64 << 50) as f64 / 3.0)
            });
            sum.map(f64::to_bits)
        };
        for simd in Simd::available() {
            assert!(sums(simd) == sums(Simd::Scalar), "{simd:?}");
        }
    }

    /// Every target residue is x + u A for one u of at most n/2 in size, x centered.
    #[test]
    fn conversion_is_exact_up_to_a_small_multiple_of_the_source_modulus() {
        let log_n = 12;
        let n = 1 << log_n;
        let mut taken = vec![];
        let mut tables = |bits: &[u32]| -> Vec<NttTable> {
            bits.iter()
                .map(|&b| {
                    let q = ntt_prime_below(b, log_n, &taken).unwrap();
                    taken.push(q);
                    NttTable::new(log_n, Modulus::new(q).unwrap()).unwrap()
                })
                .collect()
        };
        let (from, to) = (tables(&[35, 47, 50, 35, 36]), tables(&[48, 35, 50, 50, 47, 30]));
        let converter = BasisConverter::new(&from, &to).unwrap();
        let big_a: BigInt = from.iter().map(|t| BigInt::from(t.modulus().value())).product();
        let mut source: Vec<u64> = Vec::new();
        for (k, t) in from.iter().enumerate() {
            source.extend((0..n as u64).map(|i| {
                t.modulus()
                    .reduce(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (k as u64) << 60)
            }));
        }
        let original = source.clone();
        for (k, limb) in source.chunks_mut(n).enumerate() {
            // The converter expects the unnormalised inverse transform: N times the coefficients.
            let m = from[k].modulus();
            limb.iter_mut().for_each(|v| *v = m.mul(*v, n as u64));
            let mut values = limb.to_vec();
            converter.prepare(k, limb);
            // The same from the values: N x is the unnormalised inverse transform of the transform of x.
            values.iter_mut().for_each(|v| *v = m.mul(*v, from[k].n_inv()));
            from[k].forward(&mut values);
            converter.prepare_values(k, &from[k], &mut values);
            assert_eq!(values, limb);
        }
        let mut target = vec![0; n * to.len()];
        converter.convert(&source, &mut target, n);
        for i in (0..n).step_by(97) {
            let mut x = BigInt::from(0);
            for (k, t) in from.iter().enumerate() {
                let a = BigInt::from(t.modulus().value());
                let hat = &big_a / &a;
                let inv = t.modulus().inv((&hat % &a).try_into().unwrap()).unwrap();
                x += &hat * ((BigInt::from(original[k * n + i]) * inv) % &a);
            }
            x %= &big_a;
            let ok = (-4..=4).any(|u| {
                let value = &x + &big_a * u;
                to.iter().enumerate().all(|(j, t)| {
                    let b = BigInt::from(t.modulus().value());
                    let r: BigInt = ((&value % &b) + &b) % &b;
                    r == BigInt::from(target[j * n + i])
                })
            });
            assert!(ok, "entry {i}");
        }
    }
}
