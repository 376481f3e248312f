//! Basis conversion between residue number systems.

use super::dot::{Output, dot, scale_in_place};
use super::{Modulus, NttTable};
use crate::par;
use crate::ring::{Eval, Poly, arena};
use crate::{Error, Result};

/// Entries of one limb that a thread takes at a time: 16 limbs of this many words stay in L2.
const BLOCK: usize = 2048;

/// Conversion of a polynomial from the basis a_0..a_(n-1) (product A) to other primes.
///
/// Source limbs are y_k = x * (A/a_k)^-1 + a_k/2 mod a_k ([`Self::prepare`]); the target is
/// sum_k (y_k - a_k/2) * (A/a_k) mod b_j, which is x + u A with |u| <= n/2: the centered form keeps the surplus u small
/// and of mean zero (Halevi-Polyakov-Shoup, ePrint 2018/117, without the float correction).
#[derive(Debug)]
pub struct BasisConverter {
    /// Per source prime: (A/a_k)^-1 mod a_k, times N^-1, in Montgomery form; and a_k/2 in Montgomery form.
    source: Vec<(u64, u64)>,
    /// Per target prime: A/a_k mod b_j in Montgomery form for every k, and -sum_k (a_k/2)(A/a_k).
    target: Vec<(Vec<u64>, u64)>,
    from: Vec<Modulus>,
    to: Vec<Modulus>,
}

impl BasisConverter {
    /// Precomputes the constants; about n^2 + n m modular products.
    ///
    /// # Errors
    /// [`Error::Params`] when two source primes are equal.
    pub fn new<'a>(
        from: impl IntoIterator<Item = &'a NttTable>,
        to: impl IntoIterator<Item = &'a NttTable>,
    ) -> Result<Self> {
        let from: Vec<&NttTable> = from.into_iter().collect();
        let to: Vec<Modulus> = to.into_iter().map(|t| *t.modulus()).collect();
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
        for (k, table) in from.iter().enumerate() {
            let a = table.modulus();
            let inv = a.inv(hat(k, a)).ok_or_else(|| Error::Params {
                reason: format!("prime {} stands twice in a basis", a.value()),
            })?;
            source.push((a.to_mont52(a.mul(inv, table.n_inv())), a.to_mont52(a.value() / 2)));
        }
        let target = to
            .iter()
            .map(|b| {
                let hats: Vec<u64> = (0..from.len()).map(|k| hat(k, b)).collect();
                let shift = from.iter().zip(&hats).fold(0, |acc, (t, &h)| {
                    b.add(acc, b.mul(b.reduce(t.modulus().value() / 2), h))
                });
                (
                    hats.iter().map(|&h| b.to_mont52(h)).collect(),
                    b.to_mont52(b.neg(shift)),
                )
            })
            .collect();
        Ok(Self {
            source,
            target,
            from: from.iter().map(|t| *t.modulus()).collect(),
            to,
        })
    }

    /// Source limb k (unnormalised inverse transform) to y_k, in place.
    pub fn prepare(&self, k: usize, limb: &mut [u64]) {
        if let (Some(&(factor, half)), Some(modulus)) = (self.source.get(k), self.from.get(k)) {
            scale_in_place(limb, factor, half, modulus);
        }
    }

    /// Prepared source limbs (contiguous, n entries each) to target limbs (contiguous). Threads take blocks of entries.
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
            let xs: Vec<&[u64]> = sources
                .iter()
                .map(|s| s.get(from..(from + BLOCK).min(n)).unwrap_or_default())
                .collect();
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

/// Division of a polynomial in values by the product A of its last primes, with rounding: rescaling (one prime) and
/// ModDown of key switching (all special primes) are both this.
#[derive(Debug)]
pub struct Division {
    converter: BasisConverter,
    /// Per kept prime: A^-1 and -A^-1 and 1, in Montgomery form.
    factors: Vec<[u64; 3]>,
}

impl Division {
    /// For the primes that stay and the primes that are divided away.
    ///
    /// # Errors
    /// [`Error::Params`] when a prime stands twice.
    pub fn new(keep: &[&NttTable], drop: &[&NttTable]) -> Result<Self> {
        let factors = keep
            .iter()
            .map(|t| {
                let m = t.modulus();
                let product = drop
                    .iter()
                    .fold(m.reduce(1), |acc, d| m.mul(acc, m.reduce(d.modulus().value())));
                let inv = m.inv(product).ok_or_else(|| Error::Params {
                    reason: format!("prime {} is both kept and divided away", m.value()),
                })?;
                Ok([m.to_mont52(inv), m.to_mont52(m.neg(inv)), m.to_mont52(1)])
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            converter: BasisConverter::new(drop.iter().copied(), keep.iter().copied())?,
            factors,
        })
    }

    /// round(input / A) plus its `add`, over the kept primes, for several polynomials.
    ///
    /// An input holds the kept limbs, then the limbs to divide away. Cost of each: one inverse transform per dropped
    /// limb, one transform per kept limb. Error at most (dropped limbs)/2 + 1/2 per coefficient, of mean zero. Prime by
    /// prime, all inputs in turn: they share the transform's tables while these are in the cache.
    #[must_use]
    pub fn divide(
        &self,
        inputs: &[(&Poly<Eval>, Option<&Poly<Eval>>)],
        keep: &[&NttTable],
        drop: &[&NttTable],
    ) -> Vec<Poly<Eval>> {
        let n = inputs.first().map_or(1, |(p, _)| p.degree());
        let mut sources: Vec<_> = inputs.iter().map(|_| arena::take(drop.len() * n)).collect();
        par::for_each(
            by_limb(sources.iter_mut().map(|s| s.chunks_mut(n))),
            |k, limbs| {
                for (limb, (input, _)) in limbs.into_iter().zip(inputs) {
                    if let Some(table) = drop.get(k) {
                        limb.copy_from_slice(input.limb(keep.len() + k));
                        table.inverse_unnormalized(limb);
                        self.converter.prepare(k, limb);
                    }
                }
            },
        );
        let mut remainders: Vec<_> = inputs.iter().map(|_| arena::take(keep.len() * n)).collect();
        for (source, remainder) in sources.iter().zip(&mut remainders) {
            self.converter.convert(source, remainder, n);
        }
        let mut outs: Vec<_> = inputs
            .iter()
            .map(|_| Poly::<Eval>::scratch(keep.len(), n))
            .collect();
        let limbs = outs.iter_mut().zip(&mut remainders);
        let limbs = by_limb(limbs.map(|(o, r)| o.words_mut().chunks_mut(n).zip(r.chunks_mut(n))));
        par::for_each(limbs, |i, limbs| {
            for ((out, remainder), (input, add)) in limbs.into_iter().zip(inputs) {
                if let (Some(table), Some(factors)) = (keep.get(i), self.factors.get(i)) {
                    table.forward(remainder);
                    let mut output = [Output {
                        out,
                        weights: factors,
                        start: 0,
                        modulus: table.modulus(),
                    }];
                    match add {
                        Some(add) => dot(&mut output, &[input.limb(i), remainder, add.limb(i)]),
                        None => dot(&mut output, &[input.limb(i), remainder]),
                    }
                }
            }
        });
        outs
    }
}

/// Turns "for each polynomial its limbs" into "for each limb those of all polynomials".
fn by_limb<T>(polys: impl Iterator<Item = impl Iterator<Item = T>>) -> Vec<Vec<T>> {
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
            converter.prepare(k, limb);
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
