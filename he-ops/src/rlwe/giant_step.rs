//! Giant steps of linear maps: rotations of sums that are not yet divided by the special primes (double hoisting, ePrint
//! 2020/1203).
//!
//! Only the part that must be decomposed is divided, and that group by group on the way to its digits; the digits are
//! extended, multiplied by the key and added group by group as well. Sum and result stay modulo QP.

use super::digits::{Digits, GROUP, Source};
use super::key_switch::{DivideBy, Target, blocks, switch_source};
use super::key_switch_key::KeySwitchKey;
use super::params::Params;
use crate::Result;
use crate::arith::dot::key_products;
use crate::arith::gather::{gather, source_block};
use crate::arith::{Modulus, NttTable, sums};
use crate::error::only;
use crate::par;
use crate::ring::{Poly, TimesP};
use std::sync::Arc;

/// Entries from the inner product to the result at a time.
const BLOCK: usize = 4096;

/// Body and mask before the division by P.
pub(crate) type Undivided = [Poly<TimesP>; 2];

/// The rotation of a giant step.
pub(crate) struct Giant<'a> {
    pub key: &'a KeySwitchKey,
    pub permutation: Arc<Vec<u32>>,
}

/// rot(acc) + next, P the product of `specials` primes. A key over other special primes is divided by its own.
///
/// Cost: specials + 2 (level + 1) transforms and those of the digits; an inner product.
pub(crate) fn giant_step(
    params: &Params,
    level: usize,
    specials: usize,
    giant: &Giant<'_>,
    acc: &Undivided,
    next: Option<Undivided>,
) -> Result<Undivided> {
    let q = params.q_tables(level)?;
    let p = params.p_tables(specials)?;
    let tables: Vec<&NttTable> = q.iter().chain(p).collect();
    let n = params.degree();
    let [body, mask] = acc;
    let source = Source::Fused(Digits::of_quotient(
        params,
        mask,
        level,
        specials,
        &giant.key.gadget,
    )?);
    let other = if giant.key.gadget.specials == specials {
        None
    } else {
        let target = Target {
            key: giant.key,
            permutation: None,
        };
        let switched = switch_source(params, &source, [None, None], &[target], DivideBy::Specials)?;
        Some(only(switched)?)
    };
    let mut out: Undivided = [(); 2].map(|()| Poly::scratch(tables.len(), n));
    let [bodies, masks] = out.each_mut().map(|o| o.words_mut().chunks_mut(GROUP * n));
    let groups: Vec<_> = tables.chunks(GROUP).zip(bodies.zip(masks)).collect();
    par::for_each(groups, |g, (tables, (bodies, masks))| {
        let first = g * GROUP;
        let rows = bodies
            .chunks_mut(n)
            .zip(masks.chunks_mut(n))
            .map(|(body, mask)| [body, mask]);
        let rows = rows.zip(tables);
        let limb = |i: usize| -> Addends<'_> {
            Addends {
                body: body.limb(i),
                next: next
                    .as_ref()
                    .map_or([&[][..]; 2], |next| next.each_ref().map(|part| part.limb(i))),
                permutation: &giant.permutation,
            }
        };
        match &other {
            None => source.with_group(first, tables, |digits| {
                for (g, ((row, table), digits)) in rows.zip(digits).enumerate() {
                    let i = first + g;
                    let key = giant.key.limb(level, i);
                    limb(i).add(row, table.modulus(), |from, outs, body| {
                        let len = outs[0].len();
                        let xs = blocks(digits, from, len);
                        let plus = [body.as_slice(), &[]];
                        key_products(outs, &xs, key.part(from, len), plus, table.modulus());
                    });
                }
            }),
            Some(parts) => {
                for (g, (row, table)) in rows.enumerate() {
                    let i = first + g;
                    limb(i).add(row, table.modulus(), |from, outs, body| {
                        let addends = [body, None];
                        for ((out, part), add) in outs.into_iter().zip(parts).zip(addends) {
                            let block = part.limb(i).get(from..from + out.len());
                            match (block, add) {
                                (Some(x), Some(y)) => sums::add(out, x, y, table.modulus()),
                                (Some(x), None) | (None, Some(x)) => out.copy_from_slice(x),
                                // Zero modulo the special primes.
                                (None, None) => out.fill(0),
                            }
                        }
                    });
                }
            }
        }
    });
    Ok(out)
}

/// What comes to the switched mask modulo one prime: the body before the rotation, the next sums after it. Empty for
/// zero.
struct Addends<'a> {
    body: &'a [u64],
    next: [&'a [u64]; 2],
    permutation: &'a [u32],
}

impl Addends<'_> {
    /// Block by block: `inner` makes the switched mask from an entry on, with the body added to it.
    #[expect(clippy::indexing_slicing, reason = "the permutation has all blocks")]
    fn add(
        &self,
        [body, mask]: [&mut [u64]; 2],
        modulus: &Modulus,
        inner: impl Fn(usize, [&mut [u64]; 2], Option<&[u64]>),
    ) {
        let len = BLOCK.min(body.len());
        let mut sums = [[0; BLOCK]; 2];
        let mut turned = [0; BLOCK];
        for (b, (body, mask)) in body.chunks_mut(len).zip(mask.chunks_mut(len)).enumerate() {
            let at = b * len;
            let from = source_block(self.permutation, at, len);
            let [sum0, sum1] = &mut sums;
            let (sum0, sum1, turned) = (&mut sum0[..len], &mut sum1[..len], &mut turned[..len]);
            let table = &self.permutation[at..at + len];
            inner(from, [&mut *sum0, &mut *sum1], self.body.get(from..from + len));
            for ((out, sum), next) in [body, mask].into_iter().zip([sum0, sum1]).zip(self.next) {
                match next.get(at..at + len) {
                    None => gather(out, sum, table),
                    Some(next) => {
                        gather(turned, sum, table);
                        sums::add(out, turned, next, modulus);
                    }
                }
            }
        }
    }
}
