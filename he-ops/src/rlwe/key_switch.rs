//! Hybrid key switching: decompose, multiply by the key, divide by P (ePrint 2019/688, 2012/099).

use super::gadget::Gadget;
use super::key_switch_key::KeySwitchKey;
use super::params::Params;
use crate::arith::NttTable;
use crate::arith::dot::products;
use crate::par;
use crate::ring::{Eval, Poly, arena};
use crate::{Error, Result};

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
    let q = params.q_tables(level)?;
    let p = params.p_tables(gadget.specials)?;
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
    let mut source = arena::take(poly.words().len());
    par::for_each(
        source.chunks_mut(n).zip(q).collect(),
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
    let mut extended = Vec::with_capacity(count);
    for (digit, converter) in converters.iter().enumerate() {
        let range = gadget.digit_range(digit, level);
        let mut out = Poly::<Eval>::scratch(q.len() + p.len() - range.len(), n);
        converter.convert(
            source.get(range.start * n..range.end * n).unwrap_or_default(),
            out.words_mut(),
            n,
        );
        let tables: Vec<&NttTable> = q
            .iter()
            .enumerate()
            .filter(|(i, _)| !range.contains(i))
            .map(|(_, t)| t)
            .chain(p)
            .collect();
        par::limbs(out.words_mut(), n, |i, limb| {
            if let Some(table) = tables.get(i) {
                table.forward(limb);
            }
        });
        extended.push(out);
    }
    Ok(Decomposed {
        poly,
        level,
        gadget: gadget.clone(),
        extended,
    })
}

/// The inner product of digits and key, still over QP: (body, mask).
fn inner_product(
    params: &Params,
    decomposed: &Decomposed<'_>,
    key: &KeySwitchKey,
) -> Result<[Poly<Eval>; 2]> {
    let level = decomposed.level;
    if key.gadget != decomposed.gadget || key.level < level {
        return Err(Error::Level {
            op: "key switch",
            needed: level,
            found: key.level,
        });
    }
    let q = params.q_tables(level)?;
    let p = params.p_tables(key.gadget.specials)?;
    let tables: Vec<&NttTable> = q.iter().chain(p).collect();
    let n = params.degree();
    let mut out = [(); 2].map(|()| Poly::<Eval>::scratch(tables.len(), n));
    let [body, mask] = &mut out;
    let items: Vec<_> = body
        .words_mut()
        .chunks_mut(n)
        .zip(mask.words_mut().chunks_mut(n))
        .collect();
    par::for_each(items, |i, (body, mask)| {
        // The key has more ciphertext primes than the operand when it was made for a higher level.
        let at = if i <= level { i } else { i + key.level - level };
        if let Some(table) = tables.get(i) {
            let bodies: Vec<&[u64]> = key.digits.iter().map(|(b, _)| b.limb(at)).collect();
            let masks: Vec<&[u64]> = key.digits.iter().map(|(_, a)| a.limb(at)).collect();
            products(
                [body, mask],
                &decomposed.limb(i),
                [&bodies, &masks],
                table.modulus(),
            );
        }
    });
    Ok(out)
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
    let [body, mask] = inner_product(params, decomposed, key)?;
    let level = decomposed.level;
    let division = params.mod_down(level, key.gadget.specials)?;
    let keep: Vec<_> = params.q_tables(level)?.iter().collect();
    let drop: Vec<_> = params.p_tables(key.gadget.specials)?.iter().collect();
    let [add_body, add_mask] = add;
    Ok(division.divide(&[(&body, add_body), (&mask, add_mask)], &keep, &drop))
}
