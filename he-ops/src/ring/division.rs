//! Division of polynomials in values by some of their primes.

use super::poly::{Eval, Poly, Representation, TimesP};
use crate::arith::dot::{Output, dot};
use crate::arith::rns::{BasisConverter, by_limb, product};
use crate::arith::{Modulus, NttTable, arena, sums};
use crate::par;
use crate::{ParamsError, Result};
use std::marker::PhantomData;

/// Division by the product A of the last primes of a polynomial, with rounding: of its values when rescaling
/// (`Division<Eval>`, A one ciphertext prime), of [`TimesP`] in key switching (A the special primes, ModDown, or those and
/// a ciphertext prime: ModDown and rescale at once).
#[derive(Debug)]
pub struct Division<R: Representation> {
    /// To remainders times -1/A.
    converter: BasisConverter,
    /// Per kept prime what a limb is multiplied by, in Montgomery form: 1/A, or P/A where limbs lack P; none where A is
    /// P.
    factors: Option<Vec<u64>>,
    dividend: PhantomData<R>,
}

impl Division<Eval> {
    /// For the primes that stay and the primes that are divided away.
    ///
    /// # Errors
    /// [`Error::Params`](crate::Error::Params) when a prime stands twice.
    pub fn new(keep: &[&NttTable], drop: &[&NttTable]) -> Result<Self> {
        Self::build(keep, drop, &[])
    }
}

impl Division<TimesP> {
    /// For the primes that stay, ciphertext primes that are divided away, and `specials`, the primes of P.
    ///
    /// # Errors
    /// [`Error::Params`](crate::Error::Params) when a prime stands twice.
    pub fn new(keep: &[&NttTable], drop: &[&NttTable], specials: &[&NttTable]) -> Result<Self> {
        Self::build(keep, drop, specials)
    }
}

impl<R: Representation> Division<R> {
    fn build(keep: &[&NttTable], others: &[&NttTable], specials: &[&NttTable]) -> Result<Self> {
        let drop: Vec<&NttTable> = others.iter().chain(specials).copied().collect();
        let inverse = |m: &Modulus, primes: &[&NttTable]| {
            m.inv(product(primes, m))
                .ok_or(ParamsError::RepeatedPrime { prime: m.value() })
        };
        let before: Vec<u64> = others
            .iter()
            .map(|t| product(specials, t.modulus()))
            .chain(specials.iter().map(|_| 1))
            .collect();
        let moduli = keep.iter().map(|t| t.modulus());
        let after = moduli
            .clone()
            .map(|m| Ok(m.neg(inverse(m, &drop)?)))
            .collect::<Result<Vec<u64>>>()?;
        let factors = moduli
            .map(|m| Ok(m.to_mont52(inverse(m, others)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            converter: BasisConverter::centered(
                drop.iter().copied(),
                keep.iter().copied(),
                [&before, &after],
            )?,
            factors: (!others.is_empty()).then_some(factors),
            dividend: PhantomData,
        })
    }

    /// What brings the remainder to the kept primes, times -1/A.
    pub(crate) fn converter(&self) -> &BasisConverter {
        &self.converter
    }

    /// What a limb of the dividend modulo kept prime i is multiplied by, in Montgomery form; `None` for 1.
    #[expect(clippy::indexing_slicing, reason = "one of the kept primes")]
    pub(crate) fn factor(&self, i: usize) -> Option<u64> {
        self.factors.as_ref().map(|factors| factors[i])
    }

    /// The quotient modulo kept prime i, of a limb of the dividend and the converted remainder.
    pub(crate) fn finish(
        &self,
        i: usize,
        out: &mut [u64],
        limb: &[u64],
        remainder: &[u64],
        modulus: &Modulus,
    ) {
        let Some(factor) = self.factor(i) else {
            return sums::add(out, limb, remainder, modulus);
        };
        let output = Output {
            out,
            weights: &[factor, modulus.to_mont52(1)],
            start: 0,
            modulus,
        };
        dot(&mut [output], &[limb, remainder]);
    }

    /// round(input / A) over the kept primes, for several polynomials.
    ///
    /// An input holds the kept limbs, then the limbs to divide away; what is missing at the end counts as zero. Cost of
    /// each: one inverse transform per dropped limb, one transform per kept limb. Error at most 1/2 per coefficient, of
    /// mean zero. Prime by prime, all inputs in turn: they share the transform's tables while these are in the cache.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "one limb for each prime")]
    pub fn divide(&self, inputs: &[&Poly<R>], keep: &[&NttTable], drop: &[&NttTable]) -> Vec<Poly<Eval>> {
        let Some(n) = inputs.first().map(|p| p.degree()) else {
            return Vec::new();
        };
        let mut sources: Vec<_> = inputs
            .iter()
            .map(|_| arena::take(self.converter.source_limbs() * n))
            .collect();
        par::for_each(
            by_limb(sources.iter_mut().map(|s| s.chunks_mut(n).take(drop.len()))),
            |k, limbs| {
                for (limb, input) in limbs.into_iter().zip(inputs) {
                    match input.limb(keep.len() + k) {
                        [] => limb.fill(0),
                        values => limb.copy_from_slice(values),
                    }
                    self.converter.prepare_values(k, drop[k], limb);
                }
            },
        );
        let mut remainders: Vec<_> = inputs.iter().map(|_| arena::take(keep.len() * n)).collect();
        for (source, remainder) in sources.iter_mut().zip(&mut remainders) {
            self.converter.surplus(source, n);
            self.converter.convert(source, remainder, n);
        }
        let mut outs: Vec<_> = inputs
            .iter()
            .map(|_| Poly::<Eval>::scratch(keep.len(), n))
            .collect();
        let limbs = outs.iter_mut().zip(&mut remainders);
        let limbs = by_limb(limbs.map(|(o, r)| o.words_mut().chunks_mut(n).zip(r.chunks_mut(n))));
        par::for_each(limbs, |i, limbs| {
            for ((out, remainder), input) in limbs.into_iter().zip(inputs) {
                keep[i].forward(remainder);
                self.finish(i, out, input.limb(i), remainder, keep[i].modulus());
            }
        });
        outs
    }
}
