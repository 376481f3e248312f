//! Hybrid key switching: decompose, multiply by the key, divide by P (ePrint 2019/688, 2012/099).
//!
//! Everything goes group by group of primes, so that what is extended from the digits is used while it is in the
//! cache: `switch_all` converts the digits to the primes of a group, transforms them, multiplies them by the key and
//! divides; only the results and the sums modulo the primes that are divided away go to memory.

pub use super::digits::{Decomposed, decompose};
use super::digits::{Digits, GROUP, Source};
use super::key_switch_key::KeySwitchKey;
use super::params::Params;
use crate::arith::arena::{self, Buffer};
use crate::arith::dot::{Output, dot, key_products};
use crate::arith::gather::{gather, source_block};
use crate::arith::packed::PackedBlock;
use crate::arith::rns::by_limb;
use crate::arith::{Modulus, NttTable};
use crate::error::only;
use crate::par;
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

/// Body and mask.
pub type Pair = [Poly<Eval>; 2];

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
) -> Result<Pair> {
    let target = Target {
        key,
        permutation: None,
    };
    only(switch_source(
        params,
        &Source::Ready(decomposed),
        add,
        &[target],
        DivideBy::Specials,
    )?)
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
) -> Result<Vec<Pair>> {
    let Some(first) = targets.first() else {
        return Ok(Vec::new());
    };
    let source = Source::Fused(Digits::new(params, poly, level, &first.key.gadget)?);
    switch_source(params, &source, add, targets, divide_by)
}

#[expect(clippy::indexing_slicing, reason = "two rows for each target")]
pub(super) fn switch_source(
    params: &Params,
    source: &Source<'_>,
    add: [Option<&Poly<Eval>>; 2],
    targets: &[Target<'_>],
    divide_by: DivideBy,
) -> Result<Vec<Pair>> {
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
                for ([body, mask], target) in row.as_chunks_mut::<2>().0.iter_mut().zip(targets) {
                    // Modulo q_level something may be added, modulo special primes never.
                    let add = add.map(|a| a.filter(|_| i <= level).map(|a| a.limb(i)));
                    let add = add.each_ref().map(Option::as_slice);
                    let key = target.key.limb(level, i);
                    key_products([&mut *body, &mut *mask], digits, key, add, table.modulus());
                    for sum in [body, mask] {
                        converter.prepare_values(first + g, table, sum);
                    }
                }
            }
        });
    });
    for remainder in &mut remainders {
        converter.surplus(remainder, n);
    }

    let pair = || [(); 2].map(|()| Poly::scratch(kept, n));
    let mut out: Vec<Pair> = targets.iter().map(|_| pair()).collect();
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
                    let [body, mask] = &mut row.as_chunks_mut::<2>().0[t];
                    finish(
                        [body, mask],
                        digits,
                        target.key.limb(level, i),
                        [r0, r1],
                        add.map(|a| a.map(|a| a.limb(i))),
                        division.factor(i),
                        table.modulus(),
                        target.permutation.as_ref().map(|t| &t[..]),
                    );
                }
            }
        });
    });
    Ok(out)
}

/// The results modulo one prime: inner products with both halves of the key plus the addends, divided, permuted; block
/// by block.
#[expect(clippy::too_many_arguments, reason = "all that one prime needs")]
#[expect(
    clippy::indexing_slicing,
    reason = "every limb and the permutation have all blocks"
)]
fn finish(
    outs: [&mut [u64]; 2],
    digits: &[&[u64]],
    key: PackedBlock<'_>,
    remainders: [&[u64]; 2],
    add: [Option<&[u64]>; 2],
    factor: Option<u64>,
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
        let key = key.part(from, len);
        let [sum0, sum1] = &mut sums;
        let (sum0, sum1, turned) = (&mut sum0[..len], &mut sum1[..len], &mut turned[..len]);
        let remainders = remainders.map(|r| &r[from..from + len]);
        let ([add0, add1], [remainder0, remainder1]) = (add, remainders);
        let [plus0, plus1] = [(add0, remainder0), (add1, remainder1)].map(|(add, remainder)| {
            let add = add.map(|a| &a[from..from + len]);
            let remainder = factor.is_none().then_some(remainder);
            add.into_iter().chain(remainder).collect::<Vec<_>>()
        });
        let table = permutation.map(|table| &table[at..at + len]);
        let (out0, out1) = outs;
        if factor.is_none() && table.is_none() {
            key_products([out0, out1], &xs, key, [&plus0, &plus1], modulus);
            continue;
        }
        key_products([&mut *sum0, &mut *sum1], &xs, key, [&plus0, &plus1], modulus);
        for ((out, sum), remainder) in [out0, out1].into_iter().zip([sum0, sum1]).zip(remainders) {
            let sum = match factor {
                None => sum,
                Some(factor) => {
                    let output = Output {
                        out: &mut *turned,
                        weights: &[factor, modulus.to_mont52(1)],
                        start: 0,
                        modulus,
                    };
                    dot(&mut [output], &[&*sum, remainder]);
                    &mut *turned
                }
            };
            match table {
                Some(table) => gather(out, sum, table),
                None => out.copy_from_slice(sum),
            }
        }
    }
}

/// Some entries of each limb.
#[expect(clippy::indexing_slicing, reason = "of limbs that have them")]
pub(crate) fn blocks<'a>(limbs: &[&'a [u64]], from: usize, len: usize) -> Vec<&'a [u64]> {
    limbs.iter().map(|limb| &limb[from..from + len]).collect()
}
