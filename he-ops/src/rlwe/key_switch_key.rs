//! Key-switch keys: as they are sent, ready for use, and as smaller keys made from them for lower levels.

use super::gadget::{Gadget, SMALLER_KEY_MARGIN};
use super::keys::KeyPurpose;
use super::params::Params;
use crate::arith::dot::scale_in_place;
use crate::arith::packed::{PackedBlock, PackedRows};
use crate::arith::rns::{by_limb, product};
use crate::arith::sample::{Domain, Seed};
use crate::arith::{Modulus, NttTable};
use crate::error::broken;
use crate::par;
use crate::ring::{Division, Eval, Poly};
use crate::{Error, Result};
use std::collections::BTreeSet;

/// A key-switch key as it is sent: the uniform halves are a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct SeededKeySwitchKey {
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Highest level at which it can be used.
    pub level: usize,
    /// Seed of the masks of all digits.
    pub seed: Seed,
    /// One polynomial per digit, over q_0..q_level and the special primes of the level's gadget.
    pub bodies: Vec<Poly<Eval>>,
}

/// A key-switch key ready for use: per digit d a pair (b, a) with b + a s' = P g_d s_in + e modulo QP.
///
/// For a Galois element g, s_in = s and s' = s(X^(1/g)): the switch comes first, the automorphism last, so that a
/// hoisted decomposition needs no permutation.
#[derive(Clone, Debug)]
pub struct KeySwitchKey {
    pub(crate) purpose: KeyPurpose,
    pub(crate) level: usize,
    pub(crate) gadget: Gadget,
    /// For each of q_0..q_level, then the special primes: body and mask of each digit in turn, in Montgomery form
    /// ([`crate::arith::dot`]); modulo a ciphertext prime times 1/P, so that products come as
    /// [`TimesP`](crate::ring::TimesP).
    limbs: Vec<PackedRows>,
}

/// Stream of the mask of one limb: digits and primes never share one.
pub(crate) fn mask_stream(digit: usize, level: usize, limb: usize) -> u64 {
    let prime = if limb <= level {
        limb
    } else {
        0x1000 + limb - level - 1
    };
    (digit as u64) << 32 | prime as u64
}

/// The uniform mask of one digit, over q_0..q_level and the special primes.
pub(crate) fn expand_mask(
    params: &Params,
    seed: &Seed,
    digit: usize,
    level: usize,
    gadget: &Gadget,
) -> Result<Poly<Eval>> {
    let q = params.q_tables(level)?;
    let p = params.p_tables(gadget.specials)?;
    let mut mask = Poly::<Eval>::scratch(q.len() + p.len(), params.degree());
    let limbs = mask
        .words_mut()
        .chunks_mut(params.degree())
        .zip(q.iter().chain(p));
    par::for_each(limbs.collect(), |i, (limb, table): (&mut [u64], &NttTable)| {
        let stream = mask_stream(digit, level, i);
        seed.expand_uniform(Domain::KeySwitchKey, stream, table.modulus(), limb);
    });
    Ok(mask)
}

impl SeededKeySwitchKey {
    /// Expands the masks.
    ///
    /// # Errors
    /// [`Error::Level`] or [`Error::Shape`] when the key does not fit the parameters.
    pub fn expand(self, params: &Params) -> Result<KeySwitchKey> {
        let gadget = params.key_gadget(self.purpose, self.level)?;
        let pairs = self.pairs(params, &gadget)?;
        let tables = key_tables(params, self.level, &gadget)?;
        KeySwitchKey::pack(self.purpose, self.level, gadget, pairs, &tables)
    }

    /// Expands the masks and adds smaller keys for the lower of the levels at which the key is used.
    ///
    /// The first digit of a key encrypts P s_in modulo P and the primes of that digit, so for levels within it it is
    /// a key of one digit by itself. Dividing it by surplus special primes leaves an encryption of
    /// P' s_in modulo Q_l P' with a noise of about 2^7, which the switch divides by P' / Q_l: a key for level l, from
    /// what the client sent anyway. A switch with it moves (l + 1) + P' primes instead of (l + 1) + P.
    ///
    /// # Errors
    /// As [`Self::expand`].
    pub fn expand_for(self, params: &Params, uses: &BTreeSet<usize>) -> Result<Vec<KeySwitchKey>> {
        let (purpose, level, own) = (
            self.purpose,
            self.level,
            params.key_gadget(self.purpose, self.level)?,
        );
        let tables = key_tables(params, level, &own)?;
        let pairs = self.pairs(params, &own)?;
        let mut out = Vec::new();
        for (level, gadget) in smaller_keys(params, level, uses)? {
            let limbs = level + 1 + gadget.specials;
            let keep: Vec<_> = tables
                .iter()
                .take(level + 1)
                .chain(tables.iter().skip(self.level + 1))
                .copied()
                .collect();
            let (keep, drop) = keep.split_at(limbs.min(keep.len()));
            let division = Division::<Eval>::new(keep, drop)?;
            let (b, a) = pairs.first().ok_or_else(|| broken("a key has a digit"))?;
            let [b, a] = [b, a].map(|poly| poly.without(level + 1, self.level + 1));
            let halves = division.divide(&[&b, &a], keep, drop);
            let [b, a] = <[_; 2]>::try_from(halves).map_err(|_| broken("a quotient for each dividend"))?;
            out.push(KeySwitchKey::pack(purpose, level, gadget, vec![(b, a)], keep)?);
        }
        out.push(KeySwitchKey::pack(purpose, level, own, pairs, &tables)?);
        Ok(out)
    }

    /// (body, mask) of every digit, as sent.
    fn pairs(&self, params: &Params, gadget: &Gadget) -> Result<Vec<(Poly<Eval>, Poly<Eval>)>> {
        if self.bodies.len() != gadget.digits() {
            return Err(Error::Shape {
                what: "digits of a key",
                needed: gadget.digits(),
                found: self.bodies.len(),
            });
        }
        let limbs = self.level + 1 + gadget.specials;
        self.bodies
            .iter()
            .enumerate()
            .map(|(digit, body)| {
                if body.limbs() != limbs || body.degree() != params.degree() {
                    return Err(Error::Shape {
                        what: "limbs of a key",
                        needed: limbs,
                        found: body.limbs(),
                    });
                }
                Ok((
                    body.clone(),
                    expand_mask(params, &self.seed, digit, self.level, gadget)?,
                ))
            })
            .collect()
    }
}

/// The smaller keys that are worth making from a key: (level, gadget), highest first.
pub(super) fn smaller_keys(
    params: &Params,
    own_level: usize,
    uses: &BTreeSet<usize>,
) -> Result<Vec<(usize, Gadget)>> {
    let own = params.gadget(own_level)?;
    // Special primes that a smaller key must save; one that saves digits always pays.
    let worthwhile = if own.digits() > 1 { 0 } else { 2 };
    let mut out = Vec::new();
    let mut specials = own.specials;
    for &level in uses
        .iter()
        .rev()
        .filter(|&&level| own.digits_at(level) == 1 && level < own_level)
    {
        let needed = params.moduli().take(level + 1).map(Modulus::log2).sum::<f64>() + SMALLER_KEY_MARGIN;
        let mut sum = 0.0;
        let enough = params.special_moduli().position(|p| {
            sum += p.log2();
            sum >= needed
        });
        if let Some(last) = enough
            && last + 1 + worthwhile <= specials
        {
            specials = last + 1;
            out.push((level, Gadget::one_digit(specials, level + 1)));
        }
    }
    Ok(out)
}

/// The gadget of the smallest key that serves a level: the key's own, or that of a smaller one made from it.
///
/// # Errors
/// [`Error::Level`] when a level is above the parameters' highest.
pub(crate) fn serving_gadget(
    params: &Params,
    own: usize,
    uses: &BTreeSet<usize>,
    level: usize,
) -> Result<Gadget> {
    let smaller = smaller_keys(params, own, uses)?
        .into_iter()
        .rev()
        .find(|(at, _)| *at >= level);
    smaller.map_or_else(|| params.gadget(own).cloned(), |(_, gadget)| Ok(gadget))
}

fn key_tables<'p>(params: &'p Params, level: usize, gadget: &Gadget) -> Result<Vec<&'p NttTable>> {
    Ok(params
        .q_tables(level)?
        .iter()
        .chain(params.p_tables(gadget.specials)?)
        .collect())
}

impl KeySwitchKey {
    /// What it is for.
    #[must_use]
    pub fn purpose(&self) -> KeyPurpose {
        self.purpose
    }

    /// Highest level at which it can be used.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// Its decomposition.
    #[must_use]
    pub fn gadget(&self) -> &Gadget {
        &self.gadget
    }

    /// A key from (body, mask) of each digit over the primes of `tables`, ciphertext primes first.
    fn pack(
        purpose: KeyPurpose,
        level: usize,
        gadget: Gadget,
        mut pairs: Vec<(Poly<Eval>, Poly<Eval>)>,
        tables: &[&NttTable],
    ) -> Result<Self> {
        let (q, specials) = tables.split_at(tables.len().saturating_sub(gadget.specials));
        // 1/P modulo the ciphertext primes.
        let mut factors = vec![1; tables.len()];
        for (factor, table) in factors.iter_mut().zip(q) {
            let m = table.modulus();
            *factor = m
                .inv(product(specials, m))
                .ok_or_else(|| broken("no ciphertext prime is a special prime"))?;
        }
        let halves = pairs.iter_mut().flat_map(|(b, a)| [b, a]);
        let rows = by_limb(halves.map(|poly| {
            let n = poly.degree();
            poly.words_mut().chunks_mut(n)
        }));
        let mut limbs: Vec<Option<PackedRows>> = tables.iter().map(|_| None).collect();
        let work = rows.into_iter().zip(tables).zip(factors).zip(&mut limbs);
        par::for_each(work.collect(), |_, (((mut rows, table), factor), out)| {
            let m = table.modulus();
            for row in &mut rows {
                scale_in_place(row, m.to_mont52(m.to_mont52(factor)), 0, m);
            }
            let rows: Vec<&[u64]> = rows.into_iter().map(|row| &*row).collect();
            *out = Some(PackedRows::new(&rows, m));
        });
        let limbs: Option<Vec<_>> = limbs.into_iter().collect();
        Ok(Self {
            purpose,
            level,
            gadget,
            limbs: limbs.ok_or_else(|| broken("a key has a limb for each prime"))?,
        })
    }

    /// Body and mask of each digit in turn, modulo prime i of q_0..q_level and the special primes, for an operand of
    /// this level or below the key's.
    #[expect(clippy::indexing_slicing, reason = "a key has a limb for each prime")]
    pub(crate) fn limb(&self, level: usize, i: usize) -> PackedBlock<'_> {
        // The key has more ciphertext primes than the operand when it was made for a higher level.
        let at = if i <= level { i } else { i + self.level - level };
        self.limbs[at].all()
    }

    /// Bytes in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.limbs.iter().map(PackedRows::memory_bytes).sum()
    }

    /// Bytes in memory that a key of a level will take.
    ///
    /// # Errors
    /// [`Error::Level`] when the level is above the parameters' highest.
    pub(super) fn expected_bytes(params: &Params, level: usize, gadget: &Gadget) -> Result<usize> {
        let rows = 2 * gadget.digits();
        let tables = key_tables(params, level, gadget)?;
        let bytes = |table: &&NttTable| PackedRows::expected_bytes(rows, params.degree(), table.modulus());
        Ok(tables.iter().map(bytes).sum())
    }
}
