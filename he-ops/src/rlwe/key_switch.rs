//! Hybrid key switching: decompose, multiply by the key, divide by P (ePrint 2019/688, 2012/099).
//!
//! Everything goes group by group of primes, so that what is extended from the digits is used while it is in the
//! cache: [`switch_all`] converts the digits to the primes of a group, transforms them, multiplies them by the key and
//! divides; only the results and the sums modulo the primes that are divided away go to memory.

pub use super::digits::{Decomposed, decompose};
use super::digits::{Digits, GROUP, Source};
use super::key_switch_key::KeySwitchKey;
use super::params::Params;
use crate::arith::dot::{Output, dot, key_products};
use crate::arith::packed::PackedBlock;
use crate::arith::rns::{Division, by_limb};
use crate::arith::{Modulus, NttTable};
use crate::par;
use crate::ring::arena::{self, Buffer};
use crate::ring::automorphism::{gather, source_block};
use crate::ring::{Eval, Poly};
use crate::{Error, Result};
use std::sync::Arc;

/// Entries of a limb from the inner product to the result at a time: they stay in L2, and the key is read in runs long
/// enough for the prefetcher (1024 entries cost 9 % more for hoisted rotations).
const BLOCK: usize = 4096;

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
    let mut results = switch_source(
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
    switch_source(params, &source, add, targets, divide_by)
}

pub(super) fn switch_source(
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
        source.with_group(kept + first, tables, |digits| {
            for (g, ((row, table), digits)) in rows.iter_mut().zip(tables).zip(digits).enumerate() {
                let i = kept + first + g;
                for (sums, target) in row.chunks_mut(2).zip(targets) {
                    if let [body, mask] = sums {
                        key_products([body, mask], digits, target.key.limb(level, i), table.modulus());
                    }
                    for (sum, add) in sums.iter_mut().zip(add) {
                        if let (true, Some(add)) = (i <= level, add) {
                            add_times_specials(sum, add.limb(i), p, table.modulus());
                        }
                        converter.prepare_values(first + g, table, sum);
                    }
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
        source.with_group(first, tables, |digits| {
            // Target by target, so that what is divided stays in the cache.
            let mut scratch = arena::take(2 * GROUP * n);
            for (t, (target, remainders)) in targets.iter().zip(remainders.chunks(2)).enumerate() {
                for (limbs, remainder) in scratch.chunks_mut(GROUP * n).zip(remainders) {
                    let sources: Vec<&[u64]> = remainder.chunks(n).collect();
                    let mut limbs: Vec<&mut [u64]> = limbs.chunks_mut(n).take(tables.len()).collect();
                    converter.convert_some(first, &sources, &mut limbs);
                }
                let (r0, r1) = scratch.split_at_mut(GROUP * n);
                let remainders = r0.chunks_mut(n).zip(r1.chunks_mut(n));
                for (g, (((row, table), digits), (r0, r1))) in rows
                    .iter_mut()
                    .zip(tables)
                    .zip(digits)
                    .zip(remainders)
                    .enumerate()
                {
                    let i = first + g;
                    table.forward(r0);
                    table.forward(r1);
                    if let Some([body, mask]) = row.get_mut(2 * t..2 * t + 2) {
                        finish(
                            [body, mask],
                            digits,
                            target.key.limb(level, i),
                            [r0, r1],
                            add.map(|a| a.map(|a| a.limb(i))),
                            &factors(&division, i, divide_by, table.modulus(), p),
                            table.modulus(),
                            target.permutation.as_ref().map(|t| &t[..]),
                        );
                    }
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
    key: PackedBlock<'_>,
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
        let [sum0, sum1] = &mut sums;
        let (Some(sum0), Some(sum1), Some(turned)) =
            (sum0.get_mut(..len), sum1.get_mut(..len), turned.get_mut(..len))
        else {
            return;
        };
        key_products([&mut *sum0, &mut *sum1], &xs, key.part(from, len), modulus);
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

/// Some entries of each limb.
pub(crate) fn blocks<'a>(limbs: &[&'a [u64]], from: usize, len: usize) -> Vec<&'a [u64]> {
    limbs
        .iter()
        .map(|limb| limb.get(from..from + len).unwrap_or_default())
        .collect()
}
