//! Giant steps: rotations of sums that are not yet divided by the special primes.

use super::Wide;
use crate::arith::NttTable;
use crate::arith::dot::{Output, dot, products, scale_in_place};
use crate::par;
use crate::ring::automorphism::gather;
use crate::ring::{Eval, Poly, arena};
use crate::rlwe::key_switch::{decompose, key_limbs, product, switch};
use crate::rlwe::{KeySwitchKey, Params};
use crate::{Error, Result};
use std::sync::Arc;

/// The rotation of a giant step.
pub(super) struct Giant<'a> {
    pub key: &'a KeySwitchKey,
    pub permutation: Arc<Vec<u32>>,
}

/// rot(acc) + next, both modulo QP and times P, P the product of `specials` primes.
pub(super) fn step(
    params: &Params,
    level: usize,
    specials: usize,
    giant: &Giant<'_>,
    acc: &Wide,
    next: Option<Wide>,
) -> Result<Wide> {
    let q = params.q_tables(level)?;
    let p = params.p_tables(specials)?;
    let tables: Vec<&NttTable> = q.iter().chain(p).collect();
    let n = params.degree();
    let [acc_body, acc_mask] = acc;
    let small = divided(params, acc_mask, level, specials)?;
    let decomposed = decompose(params, &small, level, &giant.key.gadget)?;
    // A key over other special primes is divided by its own.
    let other = (giant.key.gadget.specials != specials)
        .then(|| switch(params, &decomposed, giant.key, [None, None]))
        .transpose()?;
    let mut out: Wide = [(); 2].map(|()| Poly::scratch(tables.len(), n));
    let [out_body, out_mask] = &mut out;
    let items: Vec<_> = out_body
        .words_mut()
        .chunks_mut(n)
        .zip(out_mask.words_mut().chunks_mut(n))
        .zip(&tables)
        .collect();
    par::for_each(items, |i, ((body, mask), table)| {
        let modulus = table.modulus();
        let mut scratch = arena::take(2 * n);
        let (first, second) = scratch.split_at_mut(n);
        match &other {
            None => {
                let [bodies, masks] = key_limbs(giant.key, level, i);
                products(
                    [&mut *first, &mut *second],
                    &decomposed.limb(i),
                    [&bodies, &masks],
                    modulus,
                );
            }
            Some(parts) => {
                let factor = modulus.to_mont52(product(p, modulus));
                for (out, part) in [&mut *first, &mut *second].into_iter().zip(parts) {
                    match part.limb(i) {
                        [] => out.fill(0),
                        limb => {
                            out.copy_from_slice(limb);
                            scale_in_place(out, factor, 0, modulus);
                        }
                    }
                }
            }
        }
        let one = modulus.to_mont52(1);
        let sum = |out: &mut [u64], x: &[u64], y: &[u64]| {
            if y.is_empty() {
                out.copy_from_slice(x);
                return;
            }
            let weights = &[one, one];
            let output = Output {
                out,
                weights,
                start: 0,
                modulus,
            };
            dot(&mut [output], &[x, y]);
        };
        let next = next
            .as_ref()
            .map_or([&[][..]; 2], |next| next.each_ref().map(|part| part.limb(i)));
        sum(mask, first, acc_body.limb(i));
        gather(first, mask, &giant.permutation);
        sum(body, first, next[0]);
        gather(first, second, &giant.permutation);
        sum(mask, first, next[1]);
    });
    Ok(out)
}

/// A polynomial modulo QP, or one modulo Q whose other residues are zero, divided by P.
fn divided(params: &Params, poly: &Poly<Eval>, level: usize, specials: usize) -> Result<Poly<Eval>> {
    let q: Vec<&NttTable> = params.q_tables(level)?.iter().collect();
    let p: Vec<&NttTable> = params.p_tables(specials)?.iter().collect();
    let division = params.mod_down(level, specials)?;
    if poly.limbs() > q.len() {
        let shape = Error::Shape {
            what: "parts of a division",
            needed: 1,
            found: 0,
        };
        return division.divide(&[(poly, None)], &q, &p).pop().ok_or(shape);
    }
    let mut out = poly.clone();
    let n = params.degree();
    par::limbs(out.words_mut(), n, |i, limb| {
        if let Some(table) = q.get(i) {
            let [inverse, ..] = division.factors(i);
            scale_in_place(limb, inverse, 0, table.modulus());
        }
    });
    Ok(out)
}
