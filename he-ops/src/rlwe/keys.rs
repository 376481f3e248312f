//! What evaluation keys are for and at which levels they are needed; the public encryption key.

use super::gadget::{Gadget, log_qp_at};
use super::params::Params;
use super::security::max_log_qp_ephemeral;
use crate::arith::NttTable;
use crate::arith::sample::{Domain, Seed};
use crate::par;
use crate::ring::{Eval, Poly};
use crate::{Error, ParamsError, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a key-switch key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyPurpose {
    /// From s^2 to s: after a product of two ciphertexts.
    Relin,
    /// For the automorphism X -> X^g with this g: a rotation or the conjugation of the slots.
    Galois(u64),
    /// From the secret to the ephemeral sparse secret of bootstrapping, at level 0 only.
    Encapsulate,
    /// From the ephemeral secret back, for operands below q_0 raised to any level, together with the automorphism
    /// X -> X^g; g = 1 is the plain switch.
    Raise(u64),
}

impl KeyPurpose {
    /// In words, for errors and listings: "relinearization", "rotation by 64", "conjugation".
    #[must_use]
    pub fn describe(&self, params: &Params) -> String {
        match self {
            Self::Relin => "relinearization".into(),
            Self::Encapsulate => "switch to the ephemeral secret".into(),
            Self::Raise(1) => "switch from the ephemeral secret".into(),
            Self::Raise(g) => format!(
                "switch from the ephemeral secret with {}",
                Self::Galois(*g).describe(params)
            ),
            Self::Galois(g) if *g == params.galois_element_conjugate() => "conjugation".into(),
            Self::Galois(g) => match params.rotation_of(*g) {
                Some(k) => format!("rotation by {k}"),
                None => format!("Galois element {g}"),
            },
        }
    }
}

impl KeyPurpose {
    /// One number for each purpose, in files and on the wire: 0 relinearization, odd a Galois element, 4 the switch to
    /// the ephemeral secret, 4g + 2 the switch from it with Galois element g.
    #[must_use]
    pub fn code(&self) -> u64 {
        match self {
            Self::Relin => 0,
            Self::Galois(g) => *g,
            Self::Encapsulate => 4,
            Self::Raise(g) => 4 * g + 2,
        }
    }

    /// The purpose of a [`Self::code`]; `None` for a number that is none for this ring degree.
    #[must_use]
    pub fn from_code(code: u64, degree: usize) -> Option<Self> {
        let element = |g: u64| (g % 2 == 1 && g < 2 * degree as u64).then_some(g);
        match code {
            0 => Some(Self::Relin),
            4 => Some(Self::Encapsulate),
            odd if odd % 2 == 1 => element(odd).map(Self::Galois),
            raise if raise % 4 == 2 => element(raise / 4).map(Self::Raise),
            _ => None,
        }
    }
}

impl Params {
    /// How the key of a purpose decomposes at its level.
    ///
    /// Keys to the ephemeral secret exist at level 0 only, whatever is asked: at a higher modulus a secret of so few
    /// non-zero coefficients is not secure (ePrint 2022/024). Keys from it meet operands below q_0, so that one digit
    /// is enough at every level.
    ///
    /// # Errors
    /// [`Error::Level`] above the highest level that the purpose has; [`Error::Insecure`] when the lowest modulus is
    /// too wide for an ephemeral secret.
    pub fn key_gadget(&self, purpose: KeyPurpose, level: usize) -> Result<Gadget> {
        match purpose {
            KeyPurpose::Relin | KeyPurpose::Galois(_) => self.gadget(level).cloned(),
            KeyPurpose::Encapsulate => {
                if level != 0 {
                    return Err(Error::Level {
                        op: "key to the ephemeral secret",
                        needed: 0,
                        found: level,
                    });
                }
                let found = log_qp_at(self.q_tables(0)?, self.p_tables(1)?, 0, 1);
                match max_log_qp_ephemeral(self.log_n()) {
                    Some(bound) if self.is_secure() && found > bound => Err(Error::Insecure {
                        log_n: self.log_n(),
                        level,
                        found,
                        bound,
                    }),
                    None if self.is_secure() => {
                        Err(ParamsError::NoEphemeralSecret { log_n: self.log_n() }.into())
                    }
                    _ => Ok(Gadget::one_digit(1, 1)),
                }
            }
            KeyPurpose::Raise(_) => Ok(Gadget::one_digit(self.gadget(level)?.specials, 1)),
        }
    }

    /// Bits on the wire of one seeded key-switch key: digits x N x log2(Q_l P), prime by prime.
    ///
    /// # Errors
    /// As [`Self::key_gadget`].
    pub fn key_switch_key_bits(&self, purpose: KeyPurpose, level: usize) -> Result<usize> {
        let gadget = self.key_gadget(purpose, level)?;
        let q = self.q_tables(level)?;
        let p = self.p_tables(gadget.specials)?;
        let bits: usize = q.iter().chain(p).map(|t| t.modulus().bits() as usize).sum();
        Ok(gadget.digits() * self.degree() * bits)
    }
}

/// Which evaluation keys a plan needs, each with the highest level at which it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationKeyConfig {
    /// Level of the relinearization key, if one is needed.
    pub relin: Option<usize>,
    /// Level of the key of each Galois element.
    pub galois: BTreeMap<u64, usize>,
    /// Level of the switch from the ephemeral secret with each Galois element; if there is any, the switch to it is
    /// needed as well.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub raise: BTreeMap<u64, usize>,
}

impl EvaluationKeyConfig {
    /// Every key with its level, relinearization first.
    pub fn iter(&self) -> impl Iterator<Item = (KeyPurpose, usize)> + '_ {
        let relin = self.relin.map(|level| (KeyPurpose::Relin, level));
        let galois = self
            .galois
            .iter()
            .map(|(&g, &level)| (KeyPurpose::Galois(g), level));
        let encapsulate = (!self.raise.is_empty()).then_some((KeyPurpose::Encapsulate, 0));
        let raise = self
            .raise
            .iter()
            .map(|(&g, &level)| (KeyPurpose::Raise(g), level));
        relin.into_iter().chain(galois).chain(encapsulate).chain(raise)
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// True when no key is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room for a use of a key at a level.
    pub fn require(&mut self, purpose: KeyPurpose, level: usize) {
        let raise_to = |map: &mut BTreeMap<u64, usize>, g: u64| {
            let entry = map.entry(g).or_insert(level);
            *entry = (*entry).max(level);
        };
        match purpose {
            KeyPurpose::Relin => self.relin = Some(self.relin.map_or(level, |l| l.max(level))),
            KeyPurpose::Galois(g) => raise_to(&mut self.galois, g),
            KeyPurpose::Raise(g) => raise_to(&mut self.raise, g),
            // Follows from the keys back.
            KeyPurpose::Encapsulate => {}
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
            .map(|(purpose, level)| params.key_switch_key_bits(purpose, level))
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
    let limbs = mask.words_mut().chunks_mut(params.degree()).zip(q);
    par::for_each(limbs.collect(), |i, (limb, table): (&mut [u64], &NttTable)| {
        seed.expand_uniform(domain, i as u64, table.modulus(), limb);
    });
    Ok(mask)
}
