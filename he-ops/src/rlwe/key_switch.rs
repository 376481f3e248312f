//! Hybrid key switching: decompose, multiply by the key, divide by P (ePrint 2019/688, 2012/099).
//!
//! Everything goes group by group of primes, so that what is extended from the digits is used while it is in the
//! cache: [`switch_all`] converts the digits to the primes of a group, transforms them, multiplies them by the key and
//! divides; only the results and the sums modulo the primes that are divided away go to memory.

use super::gadget::Gadget;
use super::key_switch_key::KeySwitchKey;
use super::params::Params;
use crate::arith::dot::{Output, dot, products};
use crate::arith::rns::{BasisConverter, Division, by_limb};
use crate::arith::{Modulus, NttTable};
use crate::par;
use crate::ring::arena::{self, Buffer};
use crate::ring::automorphism::{gather, source_block};
use crate::ring::{Eval, Poly};
use crate::{Error, Result};
use std::sync::Arc;

/// Primes worked on together: the kernel of base conversion shares its loads among this many.
const GROUP: usize = 4;

/// Entries of a limb from the inner product to the result at a time: they stay in L2, and the key is read in runs long
/// enough for the prefetcher (1024 entries cost 9 % more for hoisted rotations).
const BLOCK: usize = 4096;

/// The digits of one polynomial as coefficients, ready for conversion to other primes.
struct Digits<'a> {
    poly: &'a Poly<Eval>,
    level: usize,
    gadget: &'a Gadget,
    converters: Vec<Arc<BasisConverter>>,
    /// The level + 1 limbs, prepared for the converter of their digit.
    coefficients: Buffer,
}

impl<'a> Digits<'a> {
    /// Cost: level + 1 inverse transforms.
    fn new(params: &Params, poly: &'a Poly<Eval>, level: usize, gadget: &'a Gadget) -> Result<Self> {
        let q = params.q_tables(level)?;
        let n = params.degree();
        if poly.limbs() != q.len() {
            return Err(Error::Shape {
                what: "limbs to decompose",
                needed: q.len(),
                found: poly.limbs(),
            });
        }
        let count = gadget.digits_at(level);
        let converters = (0..count)
            .map(|d| params.mod_up(level, gadget, d))
            .collect::<Result<Vec<_>>>()?;
        let mut coefficients = arena::take(poly.words().len());
        par::for_each(
            coefficients.chunks_mut(n).zip(q).collect(),
            |i, (limb, table): (&mut [u64], &NttTable)| {
                limb.copy_from_slice(poly.limb(i));
                table.inverse_unnormalized(limb);
                let digit = (0..count)
                    .find(|&d| gadget.digit_range(d, level).contains(&i))
                    .unwrap_or(0);
                if let Some(converter) = converters.get(digit) {
                    converter.prepare(i - gadget.digit_range(digit, level).start, limb);
                }
            },
        );
        Ok(Self {
            poly,
            level,
            gadget,
            converters,
            coefficients,
        })
    }

    /// Converts digit `digit` to consecutive primes from prime `first` on, all outside of the digit.
    fn convert(&self, digit: usize, first: usize, targets: &mut [&mut [u64]]) {
        let range = self.gadget.digit_range(digit, self.level);
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
        if let Some(converter) = self.converters.get(digit) {
            converter.convert_some(target, &sources, targets);
        }
    }
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
        let range = gadget.digit_range(d, level);
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
        for i in primes {
            for (range, limbs) in &mut limbs {
                if !range.contains(&i)
                    && let (Some(limb), Some(table)) = (limbs.next(), tables.get(i))
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

/// One result of a switch: to which key, and the automorphism that follows.
pub(crate) struct Target<'a> {
    pub key: &'a KeySwitchKey,
    /// A permutation of the values, applied last.
    pub permutation: Option<Arc<Vec<u32>>>,
}

/// By what the sums are divided.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DivideBy {
    /// The special primes.
    Specials,
    /// The special primes and q_level: a rescale as well, for no transform more.
    SpecialsAndLast,
}

/// Where the digits come from.
enum Source<'a> {
    Fused(Digits<'a>),
    Ready(&'a Decomposed<'a>),
}

impl Source<'_> {
    fn level(&self) -> usize {
        match self {
            Source::Fused(digits) => digits.level,
            Source::Ready(decomposed) => decomposed.level,
        }
    }

    fn gadget(&self) -> &Gadget {
        match self {
            Source::Fused(digits) => digits.gadget,
            Source::Ready(decomposed) => &decomposed.gadget,
        }
    }

    /// Calls `f(g, digits)` for the primes `tables[g]`, of index `first + g`.
    fn for_group(&self, first: usize, tables: &[&NttTable], mut f: impl FnMut(usize, &[&[u64]])) {
        let digits = match self {
            Source::Ready(decomposed) => {
                (0..tables.len()).for_each(|g| f(g, &decomposed.limb(first + g)));
                return;
            }
            Source::Fused(digits) => digits,
        };
        let n = digits.poly.degree();
        let count = digits.converters.len();
        let mut scratch = arena::take(count * GROUP * n);
        for (d, limbs) in scratch.chunks_mut(GROUP * n).enumerate() {
            let range = digits.gadget.digit_range(d, digits.level);
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
        for (g, table) in tables.iter().enumerate() {
            let mut xs: Vec<&[u64]> = Vec::with_capacity(count);
            for (d, limbs) in scratch.chunks_mut(GROUP * n).enumerate() {
                if digits.gadget.digit_range(d, digits.level).contains(&(first + g)) {
                    xs.push(digits.poly.limb(first + g));
                } else if let Some(limb) = limbs.get_mut(g * n..(g + 1) * n) {
                    table.forward(limb);
                    xs.push(limb);
                }
            }
            f(g, &xs);
        }
    }
}

/// Switches a decomposed polynomial to the key's target: (body, mask) over q_0..q_level, each plus its `add`.
///
/// **Cost:** 2 (level + 1 + specials) transforms and 2 digits inner products per prime.
///
/// # Errors
/// [`Error::Level`] when the key was made for a lower level or another gadget.
pub fn switch(
    params: &Params,
    decomposed: &Decomposed<'_>,
    key: &KeySwitchKey,
    add: [Option<&Poly<Eval>>; 2],
) -> Result<Vec<Poly<Eval>>> {
    let target = Target {
        key,
        permutation: None,
    };
    let mut results = run(
        params,
        &Source::Ready(decomposed),
        add,
        &[target],
        DivideBy::Specials,
    )?;
    Ok(results.pop().unwrap_or_default())
}

/// Decomposes a polynomial over q_0..q_level once and switches it to every target: (body, mask) each, plus its `add`,
/// permuted. All keys have one gadget. The extended digits are never in memory as a whole.
///
/// **Cost:** that of [`decompose`] once, that of [`switch`] for each target.
///
/// # Errors
/// [`Error::Level`] when a key was made for a lower level or another gadget.
pub(crate) fn switch_all(
    params: &Params,
    poly: &Poly<Eval>,
    level: usize,
    add: [Option<&Poly<Eval>>; 2],
    targets: &[Target<'_>],
    divide_by: DivideBy,
) -> Result<Vec<Vec<Poly<Eval>>>> {
    let Some(first) = targets.first() else {
        return Ok(Vec::new());
    };
    let source = Source::Fused(Digits::new(params, poly, level, &first.key.gadget)?);
    run(params, &source, add, targets, divide_by)
}

/// Bodies and masks of a key modulo prime i of an operand of some level.
pub(crate) fn key_limbs(key: &KeySwitchKey, level: usize, i: usize) -> [Vec<&[u64]>; 2] {
    // The key has more ciphertext primes than the operand when it was made for a higher level.
    let at = if i <= level { i } else { i + key.level - level };
    [
        key.digits.iter().map(|(b, _)| b.limb(at)).collect(),
        key.digits.iter().map(|(_, a)| a.limb(at)).collect(),
    ]
}

fn run(
    params: &Params,
    source: &Source<'_>,
    add: [Option<&Poly<Eval>>; 2],
    targets: &[Target<'_>],
    divide_by: DivideBy,
) -> Result<Vec<Vec<Poly<Eval>>>> {
    let (level, gadget) = (source.level(), source.gadget());
    for Target { key, .. } in targets {
        if key.gadget != *gadget || key.level < level {
            return Err(Error::Level {
                op: "key switch",
                needed: level,
                found: key.level,
            });
        }
    }
    let q = params.q_tables(level)?;
    let p = params.p_tables(gadget.specials)?;
    let tables: Vec<&NttTable> = q.iter().chain(p).collect();
    let (division, kept) = match divide_by {
        DivideBy::Specials => (params.mod_down(level, gadget.specials)?, level + 1),
        DivideBy::SpecialsAndLast => (params.mod_down_rescale(level, gadget.specials)?, level),
    };
    let (keep, drop) = tables.split_at(kept);
    let n = params.degree();

    // Modulo the primes that are divided away: the sums as coefficients. Two for each target.
    let converter = division.converter();
    let limbs = converter.source_limbs();
    let mut remainders: Vec<Buffer> = (0..2 * targets.len()).map(|_| arena::take(limbs * n)).collect();
    let mut rows = by_limb(remainders.iter_mut().map(|r| r.chunks_mut(n).take(drop.len()))).into_iter();
    let groups: Vec<_> = drop
        .chunks(GROUP)
        .map(|tables| (tables, rows.by_ref().take(tables.len()).collect::<Vec<_>>()))
        .collect();
    par::for_each(groups, |g, (tables, mut rows)| {
        let first = g * GROUP;
        source.for_group(kept + first, tables, |g, digits| {
            let (Some(row), Some(table)) = (rows.get_mut(g), tables.get(g)) else {
                return;
            };
            let i = kept + first + g;
            for (sums, target) in row.chunks_mut(2).zip(targets) {
                if let [body, mask] = sums {
                    let [bodies, masks] = key_limbs(target.key, level, i);
                    products([body, mask], digits, [&bodies, &masks], table.modulus());
                }
                for (sum, add) in sums.iter_mut().zip(add) {
                    if let (true, Some(add)) = (i <= level, add) {
                        add_times_specials(sum, add.limb(i), p, table.modulus());
                    }
                    table.inverse_unnormalized(sum);
                    converter.prepare(first + g, sum);
                }
            }
        });
    });
    for remainder in &mut remainders {
        converter.surplus(remainder, n);
    }

    let mut out: Vec<Vec<Poly<Eval>>> = targets
        .iter()
        .map(|_| (0..2).map(|_| Poly::scratch(kept, n)).collect())
        .collect();
    let mut rows = by_limb(out.iter_mut().flatten().map(|o| o.words_mut().chunks_mut(n))).into_iter();
    let groups: Vec<_> = keep
        .chunks(GROUP)
        .map(|tables| (tables, rows.by_ref().take(tables.len()).collect::<Vec<_>>()))
        .collect();
    par::for_each(groups, |g, (tables, mut rows)| {
        let first = g * GROUP;
        let mut scratch = arena::take(2 * targets.len() * GROUP * n);
        for (limbs, remainder) in scratch.chunks_mut(GROUP * n).zip(&remainders) {
            let sources: Vec<&[u64]> = remainder.chunks(n).collect();
            let mut limbs: Vec<&mut [u64]> = limbs.chunks_mut(n).take(tables.len()).collect();
            converter.convert_some(first, &sources, &mut limbs);
        }
        source.for_group(first, tables, |g, digits| {
            let (Some(row), Some(table)) = (rows.get_mut(g), tables.get(g)) else {
                return;
            };
            let i = first + g;
            let factors = factors(&division, i, divide_by, table.modulus(), p);
            let sums = scratch.chunks_mut(2 * GROUP * n);
            for ((out, target), remainders) in row.chunks_mut(2).zip(targets).zip(sums) {
                let mut remainders = remainders.chunks_mut(GROUP * n);
                let mut next = || {
                    let limb = remainders.next()?.get_mut(g * n..(g + 1) * n)?;
                    table.forward(limb);
                    Some(&*limb)
                };
                if let ([body, mask], Some(r0), Some(r1)) = (out, next(), next()) {
                    finish(
                        [body, mask],
                        digits,
                        &key_limbs(target.key, level, i),
                        [r0, r1],
                        add.map(|a| a.map(|a| a.limb(i))),
                        &factors,
                        table.modulus(),
                        target.permutation.as_ref().map(|t| &t[..]),
                    );
                }
            }
        });
    });
    Ok(out)
}

/// sum += P * add.
fn add_times_specials(sum: &mut [u64], add: &[u64], p: &[NttTable], modulus: &Modulus) {
    let weights = [modulus.to_mont52(1), modulus.to_mont52(product(p, modulus))];
    let mut copy = [0; BLOCK];
    for (sum, add) in sum.chunks_mut(BLOCK).zip(add.chunks(BLOCK)) {
        if let Some(copy) = copy.get_mut(..sum.len()) {
            copy.copy_from_slice(sum);
            let output = Output {
                out: sum,
                weights: &weights,
                start: 0,
                modulus,
            };
            dot(&mut [output], &[copy, add]);
        }
    }
}

/// The product of primes.
pub(crate) fn product(primes: &[NttTable], modulus: &Modulus) -> u64 {
    primes.iter().fold(modulus.reduce(1), |acc, t| {
        modulus.mul(acc, modulus.reduce(t.modulus().value()))
    })
}

/// What the sum, its remainder and the addend are multiplied by: 1/A, -1/A, and P/A for a division by A.
fn factors(
    division: &Division,
    i: usize,
    divide_by: DivideBy,
    modulus: &Modulus,
    p: &[NttTable],
) -> [u64; 3] {
    let [inverse, minus, one] = division.factors(i);
    match divide_by {
        DivideBy::Specials => [inverse, minus, one],
        // Montgomery form times a plain number: Montgomery form.
        DivideBy::SpecialsAndLast => [inverse, minus, modulus.mul(inverse, product(p, modulus))],
    }
}

/// The results modulo one prime: inner products with both halves of the key, less the remainders, divided, plus the
/// addends, permuted; block by block.
#[expect(clippy::too_many_arguments, reason = "all that one prime needs")]
fn finish(
    outs: [&mut [u64]; 2],
    digits: &[&[u64]],
    key: &[Vec<&[u64]>; 2],
    remainders: [&[u64]; 2],
    add: [Option<&[u64]>; 2],
    factors: &[u64; 3],
    modulus: &Modulus,
    permutation: Option<&[u32]>,
) {
    let [out0, out1] = outs;
    let len = BLOCK.min(out0.len());
    let mut sums = [[0; BLOCK]; 2];
    let mut turned = [0; BLOCK];
    for (b, outs) in out0.chunks_mut(len).zip(out1.chunks_mut(len)).enumerate() {
        let at = b * len;
        let from = permutation.map_or(at, |table| source_block(table, at, len));
        let xs = blocks(digits, from, len);
        let ys = key.each_ref().map(|k| blocks(k, from, len));
        let [sum0, sum1] = &mut sums;
        let (Some(sum0), Some(sum1), Some(turned)) =
            (sum0.get_mut(..len), sum1.get_mut(..len), turned.get_mut(..len))
        else {
            return;
        };
        products([&mut *sum0, &mut *sum1], &xs, [&ys[0], &ys[1]], modulus);
        for (((out, sum), remainder), add) in [outs.0, outs.1]
            .into_iter()
            .zip([sum0, sum1])
            .zip(remainders)
            .zip(add)
        {
            let terms: Vec<&[u64]> = [
                Some(&*sum),
                remainder.get(from..from + len),
                add.and_then(|a| a.get(from..from + len)),
            ]
            .into_iter()
            .flatten()
            .collect();
            let output = |out: &mut [u64]| {
                let output = Output {
                    out,
                    weights: factors,
                    start: 0,
                    modulus,
                };
                dot(&mut [output], &terms);
            };
            match permutation.and_then(|table| table.get(at..at + len)) {
                None => output(out),
                Some(table) => {
                    output(turned);
                    gather(out, turned, table);
                }
            }
        }
    }
}

fn blocks<'a>(limbs: &[&'a [u64]], from: usize, len: usize) -> Vec<&'a [u64]> {
    limbs
        .iter()
        .map(|limb| limb.get(from..from + len).unwrap_or_default())
        .collect()
}
