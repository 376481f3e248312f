//! What evaluation keys are for and at which levels they are needed; the public encryption key.

use super::params::Params;
use crate::arith::sample::{Domain, Seed};
use crate::par;
use crate::ring::{Eval, Poly};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a key-switch key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyPurpose {
    /// From s^2 to s: after a product of two ciphertexts.
    Relin,
    /// For the automorphism X -> X^g with this g: a rotation or the conjugation of the slots.
    Galois(u64),
}

impl KeyPurpose {
    /// In words, for errors and listings: "relinearization", "rotation by 64", "conjugation".
    #[must_use]
    pub fn describe(&self, params: &Params) -> String {
        match self {
            Self::Relin => "relinearization".into(),
            Self::Galois(g) if *g == params.galois_element_conjugate() => "conjugation".into(),
            Self::Galois(g) => match params.rotation_of(*g) {
                Some(k) => format!("rotation by {k}"),
                None => format!("Galois element {g}"),
            },
        }
    }
}

/// Which evaluation keys a plan needs, each with the highest level at which it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationKeyConfig {
    /// Level of the relinearization key, if one is needed.
    pub relin: Option<usize>,
    /// Level of the key of each Galois element.
    pub galois: BTreeMap<u64, usize>,
}

impl EvaluationKeyConfig {
    /// Every key with its level, relinearization first.
    pub fn iter(&self) -> impl Iterator<Item = (KeyPurpose, usize)> + '_ {
        let relin = self.relin.map(|level| (KeyPurpose::Relin, level));
        relin.into_iter().chain(
            self.galois
                .iter()
                .map(|(&g, &level)| (KeyPurpose::Galois(g), level)),
        )
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.galois.len() + usize::from(self.relin.is_some())
    }

    /// True when no key is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room for a use of a key at a level.
    pub fn require(&mut self, purpose: KeyPurpose, level: usize) {
        match purpose {
            KeyPurpose::Relin => self.relin = Some(self.relin.map_or(level, |l| l.max(level))),
            KeyPurpose::Galois(g) => {
                let entry = self.galois.entry(g).or_insert(level);
                *entry = (*entry).max(level);
            }
        }
    }

    /// What serves both configurations.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        for (purpose, level) in other.iter() {
            out.require(purpose, level);
        }
        out
    }

    /// Bits of all these keys on the wire, seeded and packed.
    ///
    /// # Errors
    /// [`Error::Level`] when a level is above the parameters' highest.
    pub fn wire_bits(&self, params: &Params) -> Result<usize> {
        self.iter()
            .map(|(_, level)| params.key_switch_key_bits(level))
            .sum()
    }
}

/// At which levels each key is used.
pub type KeyUses = BTreeMap<KeyPurpose, BTreeSet<usize>>;

/// The encryption key that anybody may have: (b, a) with b + a s = e modulo Q at the highest level.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicKey {
    /// Seed of the mask a.
    pub seed: Seed,
    /// The body b.
    pub body: Poly<Eval>,
}

impl PublicKey {
    /// The mask a.
    ///
    /// # Errors
    /// [`Error::Shape`] when the body does not fit the parameters.
    pub fn mask(&self, params: &Params) -> Result<Poly<Eval>> {
        let limbs = params.max_level() + 1;
        if self.body.limbs() != limbs || self.body.degree() != params.degree() {
            return Err(Error::Shape {
                what: "limbs of the public key",
                needed: limbs,
                found: self.body.limbs(),
            });
        }
        expand_body_mask(params, &self.seed, Domain::PublicKey, params.max_level())
    }
}

/// A uniform mask over q_0..q_level.
pub(crate) fn expand_body_mask(
    params: &Params,
    seed: &Seed,
    domain: Domain,
    level: usize,
) -> Result<Poly<Eval>> {
    let q = params.q_tables(level)?;
    let mut mask = Poly::<Eval>::scratch(q.len(), params.degree());
    par::limbs(mask.words_mut(), params.degree(), |i, limb| {
        if let Some(table) = q.get(i) {
            seed.expand_uniform(domain, i as u64, table.modulus(), limb);
        }
    });
    Ok(mask)
}
