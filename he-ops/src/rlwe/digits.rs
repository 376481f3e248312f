//! The digits of a polynomial for a hybrid gadget, and their extension to other primes (ModUp).

use super::gadget::Gadget;
use super::params::Params;
use crate::arith::NttTable;
use crate::arith::arena::{self, Buffer};
use crate::arith::rns::{BasisConverter, by_limb};
use crate::par;
use crate::ring::{Eval, Poly, TimesP};
use crate::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// Primes worked on together: the kernel of base conversion shares its loads among this many.
pub(super) const GROUP: usize = 4;

/// The digits of one polynomial as coefficients, ready for conversion to other primes.
pub(super) struct Digits {
    poly: Poly<Eval>,
    level: usize,
    gadget: Gadget,
    converters: Vec<Arc<BasisConverter>>,
    /// The level + 1 limbs, prepared for the converter of their digit.
    coefficients: Buffer,
}

impl Digits {
    /// Cost: level + 1 inverse transforms.
    pub(super) fn new(params: &Params, poly: &Poly<Eval>, level: usize, gadget: &Gadget) -> Result<Self> {
        let q = params.q_tables(level)?;
        let n = params.degree();
        check_limbs(q.len(), poly.limbs())?;
        let mut digits = Self::empty(params, poly.clone(), level, gadget)?;
        let mut coefficients = arena::take(poly.words().len());
        par::for_each(
            coefficients.chunks_mut(n).zip(q).collect(),
            |i, (limb, table): (&mut [u64], &NttTable)| digits.prepare(i, table, poly.limb(i), limb),
        );
        digits.coefficients = coefficients;
        Ok(digits)
    }

    /// The digits of the quotient of a division by P, P of `specials` primes: a division and a decomposition whose
    /// remainders and quotients stay in the cache.
    ///
    /// Cost: specials + 2 (level + 1) transforms. A digit is needed as values modulo its own primes, and as
    /// coefficients for all others: the quotient has to be transformed back, whatever the order.
    pub(super) fn of_quotient(
        params: &Params,
        poly: &Poly<TimesP>,
        level: usize,
        specials: usize,
        gadget: &Gadget,
    ) -> Result<Self> {
        let q = params.q_tables(level)?;
        let p = params.p_tables(specials)?;
        let n = params.degree();
        let wide = poly.limbs() > q.len();
        check_limbs(q.len() + if wide { p.len() } else { 0 }, poly.limbs())?;
        let division = params.mod_down(level, specials)?;
        let converter = division.converter();
        let mut remainder = arena::take(if wide { converter.source_limbs() * n } else { 0 });
        if wide {
            par::for_each(
                remainder.chunks_mut(n).zip(p).collect(),
                |k, (limb, table): (&mut [u64], &NttTable)| {
                    limb.copy_from_slice(poly.limb(q.len() + k));
                    converter.prepare_values(k, table, limb);
                },
            );
            converter.surplus(&mut remainder, n);
        }
        let sources: Vec<&[u64]> = remainder.chunks(n).collect();
        let mut quotient = Poly::<Eval>::scratch(q.len(), n);
        let mut coefficients = arena::take(q.len() * n);
        let mut digits = Self::empty(params, Poly::zero(0, n), level, gadget)?;
        let groups: Vec<_> = q
            .chunks(GROUP)
            .zip(quotient.words_mut().chunks_mut(GROUP * n))
            .zip(coefficients.chunks_mut(GROUP * n))
            .collect();
        par::for_each(groups, |g, ((tables, quotients), coefficients)| {
            let first = g * GROUP;
            if wide {
                let mut limbs: Vec<&mut [u64]> = coefficients.chunks_mut(n).collect();
                converter.convert_some(first, &sources, &mut limbs);
            }
            let limbs = quotients.chunks_mut(n).zip(coefficients.chunks_mut(n));
            for (g, (table, (quotient, limb))) in tables.iter().zip(limbs).enumerate() {
                let i = first + g;
                if wide {
                    table.forward(limb);
                    division.finish(i, quotient, poly.limb(i), limb, table.modulus());
                } else {
                    quotient.copy_from_slice(poly.limb(i));
                }
                digits.prepare(i, table, quotient, limb);
            }
        });
        (digits.poly, digits.coefficients) = (quotient, coefficients);
        Ok(digits)
    }

    /// All but the coefficients.
    fn empty(params: &Params, poly: Poly<Eval>, level: usize, gadget: &Gadget) -> Result<Self> {
        let converters = (0..gadget.digits_at(level))
            .map(|d| params.mod_up(level, gadget, d))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            poly,
            level,
            gadget: gadget.clone(),
            converters,
            coefficients: arena::take(0),
        })
    }

    /// Values modulo ciphertext prime i to coefficients, ready for the converter of their digit.
    #[expect(clippy::indexing_slicing, reason = "digits have all primes")]
    fn prepare(&self, i: usize, table: &NttTable, values: &[u64], limb: &mut [u64]) {
        limb.copy_from_slice(values);
        let digit = (0..).take_while(|&digit| self.range(digit).end <= i).count();
        self.converters[digit].prepare_values(i - self.range(digit).start, table, limb);
    }

    fn range(&self, digit: usize) -> Range<usize> {
        self.gadget.digit_range(digit, self.level)
    }

    /// Converts digit `digit` to consecutive primes from prime `first` on, all outside of the digit.
    #[expect(clippy::indexing_slicing, reason = "one of the digits")]
    fn convert(&self, digit: usize, first: usize, targets: &mut [&mut [u64]]) {
        let range = self.range(digit);
        let n = self.poly.degree();
        let target = if first < range.start {
            first
        } else {
            first - range.len().min(first)
        };
        let sources: Vec<&[u64]> = self
            .coefficients
            .chunks(n)
            .skip(range.start)
            .take(range.len())
            .collect();
        self.converters[digit].convert_some(target, &sources, targets);
    }
}

fn check_limbs(needed: usize, found: usize) -> Result<()> {
    if needed == found {
        return Ok(());
    }
    Err(Error::Shape {
        what: "limbs to decompose",
        needed,
        found,
    })
}

/// The digits of one polynomial, extended to all its primes and the special primes: what hoisted rotations share.
pub struct Decomposed<'a> {
    /// The polynomial itself: on its own primes a digit is what it was.
    poly: &'a Poly<Eval>,
    level: usize,
    gadget: Gadget,
    /// Per digit, the limbs outside of it: other ciphertext primes, then special primes.
    extended: Vec<Poly<Eval>>,
}

impl Decomposed<'_> {
    /// The gadget it was made for; keys of another gadget need a decomposition of their own.
    #[must_use]
    pub fn gadget(&self) -> &Gadget {
        &self.gadget
    }

    /// Every digit modulo prime i of q_0..q_level and the special primes.
    pub(crate) fn limb(&self, i: usize) -> Vec<&[u64]> {
        let mut out: Vec<&[u64]> = Vec::with_capacity(self.extended.len());
        for (digit, extended) in self.extended.iter().enumerate() {
            let range = self.gadget.digit_range(digit, self.level);
            out.push(match i {
                i if range.contains(&i) => self.poly.limb(i),
                i if i < range.start => extended.limb(i),
                i => extended.limb(i - range.len()),
            });
        }
        out
    }
}

/// A digit and limbs of it.
type DigitLimbs<'a> = (usize, Vec<&'a mut [u64]>);

/// Decomposes a polynomial over q_0..q_level for keys of a gadget (ModUp).
///
/// Cost: level + 1 inverse transforms, and for each digit a transform for every prime outside it.
///
/// # Errors
/// [`Error::Level`] or [`Error::Shape`] when the polynomial does not fit.
pub fn decompose<'a>(
    params: &Params,
    poly: &'a Poly<Eval>,
    level: usize,
    gadget: &Gadget,
) -> Result<Decomposed<'a>> {
    let digits = Digits::new(params, poly, level, gadget)?;
    let tables: Vec<&NttTable> = params
        .q_tables(level)?
        .iter()
        .chain(params.p_tables(gadget.specials)?)
        .collect();
    let n = params.degree();
    let mut extended: Vec<Poly<Eval>> = (0..digits.converters.len())
        .map(|d| Poly::scratch(tables.len() - gadget.digit_range(d, level).len(), n))
        .collect();
    // Per group of primes, the limbs of each digit.
    let mut groups: Vec<Vec<DigitLimbs<'_>>> =
        (0..tables.len().div_ceil(GROUP)).map(|_| Vec::new()).collect();
    for (d, poly) in extended.iter_mut().enumerate() {
        let range = digits.range(d);
        let mut limbs = poly.words_mut().chunks_mut(n);
        for (g, group) in groups.iter_mut().enumerate() {
            let primes = (g * GROUP..((g + 1) * GROUP).min(tables.len())).filter(|i| !range.contains(i));
            let limbs: Vec<&mut [u64]> = limbs.by_ref().take(primes.count()).collect();
            group.push((d, limbs));
        }
    }
    par::for_each(groups, |g, mut group| {
        let primes = g * GROUP..((g + 1) * GROUP).min(tables.len());
        for (d, limbs) in &mut group {
            let range = gadget.digit_range(*d, level);
            if let Some(first) = primes.clone().find(|i| !range.contains(i)) {
                digits.convert(*d, first, limbs);
            }
        }
        let mut limbs: Vec<_> = group
            .into_iter()
            .map(|(d, limbs)| (gadget.digit_range(d, level), limbs.into_iter()))
            .collect();
        for (i, table) in tables.iter().enumerate().take(primes.end).skip(primes.start) {
            for (range, limbs) in &mut limbs {
                if !range.contains(&i)
                    && let Some(limb) = limbs.next()
                {
                    table.forward(limb);
                }
            }
        }
    });
    Ok(Decomposed {
        poly,
        level,
        gadget: gadget.clone(),
        extended,
    })
}

/// Where the digits come from.
pub(super) enum Source<'a> {
    Fused(Digits),
    Ready(&'a Decomposed<'a>),
}

impl Source<'_> {
    pub(super) fn level(&self) -> usize {
        match self {
            Source::Fused(digits) => digits.level,
            Source::Ready(decomposed) => decomposed.level,
        }
    }

    pub(super) fn gadget(&self) -> &Gadget {
        match self {
            Source::Fused(digits) => &digits.gadget,
            Source::Ready(decomposed) => &decomposed.gadget,
        }
    }

    /// Gives every digit modulo each of the primes `tables`, the first of index `first`, to `f`.
    pub(super) fn with_group(&self, first: usize, tables: &[&NttTable], f: impl FnOnce(&[Vec<&[u64]>])) {
        let digits = match self {
            Source::Ready(decomposed) => {
                let limbs: Vec<_> = (0..tables.len()).map(|g| decomposed.limb(first + g)).collect();
                return f(&limbs);
            }
            Source::Fused(digits) => digits,
        };
        let n = digits.poly.degree();
        let count = digits.converters.len();
        let mut scratch = arena::take(count * GROUP * n);
        for (d, limbs) in scratch.chunks_mut(GROUP * n).enumerate() {
            let range = digits.range(d);
            let outside = |g: &usize| !range.contains(&(first + g));
            let mut limbs: Vec<&mut [u64]> = limbs
                .chunks_mut(n)
                .zip(0..tables.len())
                .filter(|(_, g)| outside(g))
                .map(|(limb, _)| limb)
                .collect();
            if let Some(g) = (0..tables.len()).find(outside) {
                digits.convert(d, first + g, &mut limbs);
            }
        }
        let mut limbs: Vec<Vec<&[u64]>> = tables.iter().map(|_| Vec::with_capacity(count)).collect();
        let mut rows = by_limb(scratch.chunks_mut(GROUP * n).map(|digit| digit.chunks_mut(n)));
        for (g, ((table, xs), row)) in tables.iter().zip(&mut limbs).zip(rows.drain(..)).enumerate() {
            for (d, limb) in row.into_iter().enumerate() {
                if digits.range(d).contains(&(first + g)) {
                    xs.push(digits.poly.limb(first + g));
                } else {
                    table.forward(limb);
                    xs.push(limb);
                }
            }
        }
        f(&limbs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rlwe::ParamsLiteral;

    /// Bit for bit, modulo QP and modulo Q alone.
    #[test]
    fn digits_of_a_quotient_are_those_of_the_divided_polynomial() {
        let params = Params::new_INSECURE(&ParamsLiteral {
            log_n: 8,
            log_q: vec![47, 35, 35, 35, 35, 35],
            log_p: vec![48, 48],
            log_scale: 35,
        })
        .unwrap();
        let (level, n) = (params.max_level(), params.degree());
        let gadget = params.gadget(level).unwrap();
        let keep: Vec<&NttTable> = params.q_tables(level).unwrap().iter().collect();
        let drop: Vec<&NttTable> = params.p_tables(gadget.specials).unwrap().iter().collect();
        let division = params.mod_down(level, gadget.specials).unwrap();
        let mut wide = Poly::<TimesP>::zero(keep.len() + drop.len(), n);
        for (limb, table) in wide.words_mut().chunks_mut(n).zip(keep.iter().chain(&drop)) {
            for (i, word) in limb.iter_mut().enumerate() {
                *word = table
                    .modulus()
                    .reduce((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            }
        }
        let mut narrow = wide.clone();
        for limb in narrow.words_mut().chunks_mut(n).skip(keep.len()) {
            limb.fill(0);
        }
        for (zeros, input) in [(&wide, wide.clone()), (&narrow, narrow.truncated(keep.len()))] {
            let small = division.divide(&[zeros], &keep, &drop).pop().unwrap();
            assert_eq!(
                division.divide(&[&input], &keep, &drop).as_slice(),
                std::slice::from_ref(&small)
            );
            let want = Digits::new(&params, &small, level, gadget).unwrap();
            let found = Digits::of_quotient(&params, &input, level, gadget.specials, gadget).unwrap();
            assert_eq!(found.poly, want.poly);
            assert_eq!(&found.coefficients[..], &want.coefficients[..]);
        }
        assert!(Digits::of_quotient(&params, &wide.truncated(2), level, gadget.specials, gadget).is_err());
    }
}
