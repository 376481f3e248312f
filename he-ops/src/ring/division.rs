//! The quotient of polynomials by their last primes.

use super::{Eval, Poly};
use crate::arith::rns::{Division, by_limb};
use crate::arith::{NttTable, arena};
use crate::par;

impl Division {
    /// round(input / A) over the kept primes, for several polynomials.
    ///
    /// An input holds the kept limbs, then the limbs to divide away. Cost of each: one inverse transform per dropped
    /// limb, one transform per kept limb. Error at most 1/2 per coefficient, of mean zero. Prime by prime, all inputs in
    /// turn: they share the transform's tables while these are in the cache.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "one limb for each prime")]
    pub fn divide(&self, inputs: &[&Poly<Eval>], keep: &[&NttTable], drop: &[&NttTable]) -> Vec<Poly<Eval>> {
        let Some(n) = inputs.first().map(|p| p.degree()) else {
            return Vec::new();
        };
        let converter = self.converter();
        let mut sources: Vec<_> = inputs
            .iter()
            .map(|_| arena::take(converter.source_limbs() * n))
            .collect();
        par::for_each(
            by_limb(sources.iter_mut().map(|s| s.chunks_mut(n).take(drop.len()))),
            |k, limbs| {
                for (limb, input) in limbs.into_iter().zip(inputs) {
                    limb.copy_from_slice(input.limb(keep.len() + k));
                    converter.prepare_values(k, drop[k], limb);
                }
            },
        );
        let mut remainders: Vec<_> = inputs.iter().map(|_| arena::take(keep.len() * n)).collect();
        for (source, remainder) in sources.iter_mut().zip(&mut remainders) {
            converter.surplus(source, n);
            converter.convert(source, remainder, n);
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
