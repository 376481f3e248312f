//! What a bootstrap is made of, known before any matrix is: its linear maps with their steps, its keys.

use super::BootstrapLiteral;
use crate::ckks::linear::prepared::{BabySteps, Steps};
use crate::rlwe::{KeyPurpose, KeyUses, Params};
use crate::{Error, Result};
use std::collections::BTreeSet;

/// One linear map of a bootstrap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    pub steps: Steps,
    /// Level of the operand.
    pub level: usize,
    /// Level of its keys.
    pub key_level: usize,
    /// Stages of the transform in it.
    pub radix: u32,
    /// Period of its diagonals.
    pub period: usize,
    /// The operand is raised from the lowest modulus.
    pub raised: bool,
}

/// Rotations that double the sum over the slots that repeat, one after the other: the trace to the subring of the slots
/// in use. Maps whose diagonals repeat with these slots commute with it.
pub(crate) fn trace(params: &Params, slots: usize) -> Vec<i64> {
    let doublings = (params.slots() / slots.max(1)).max(1).ilog2();
    (0..doublings).map(|d| (slots as i64) << d).collect()
}

/// Offsets of the diagonals of a few stages on n slots, as [`super::dft`] merges them.
fn offsets(n: i64, lens: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut out = BTreeSet::from([0]);
    for len in lens {
        let half = len / 2;
        let cyclic = len == n || out.iter().any(|k| 2 * k == n);
        let down = if len == n { half } else { -half };
        out = out
            .iter()
            .flat_map(|&l| [0, half, down].map(|k| if cyclic { (k + l).rem_euclid(n) } else { k + l }))
            .collect();
    }
    out.into_iter().collect()
}

impl BootstrapLiteral {
    /// Full bootstraps have the most keys; sparse ones are there to be fast.
    pub(crate) fn baby_steps(&self, params: &Params) -> BabySteps {
        if 1 << self.log_slots == params.slots() {
            BabySteps::DearKeys
        } else {
            BabySteps::Fast
        }
    }

    /// The maps of SlotsToCoeffs, then those of CoeffsToSlots, in order of evaluation.
    pub(crate) fn maps(&self, params: &Params) -> Vec<Map> {
        let n = 1i64 << self.log_slots;
        let input_level = self.input_level();
        let mut out = Vec::new();
        let mut done = 0;
        for (i, &radix) in self.slots_to_coeffs.iter().enumerate() {
            let lens = (done + 1..=done + radix).map(|s| 1i64 << s);
            done += radix;
            out.extend(
                Steps::choose(&offsets(n, lens), self.baby_steps(params)).map(|steps| Map {
                    steps,
                    level: input_level - i,
                    key_level: input_level,
                    radix,
                    period: 1 << done,
                    raised: false,
                }),
            );
        }
        let mut left = self.log_slots;
        for (i, &radix) in self.coeffs_to_slots.iter().enumerate() {
            let lens = (left.saturating_sub(radix) + 1..=left).rev().map(|s| 1i64 << s);
            left = left.saturating_sub(radix);
            let (level, raised) = (params.max_level().saturating_sub(i), i == 0);
            let baby_steps = if raised {
                BabySteps::Raised
            } else {
                self.baby_steps(params)
            };
            out.extend(Steps::choose(&offsets(n, lens), baby_steps).map(|steps| Map {
                steps,
                level,
                key_level: params.max_level(),
                radix,
                period: 1 << (left + radix),
                raised,
            }));
        }
        out
    }

    /// Every level at which a bootstrap uses each key, without preparing it.
    ///
    /// # Errors
    /// As [`super::Bootstrapper::new`].
    pub fn key_uses(&self, params: &Params) -> Result<KeyUses> {
        self.check(params)?;
        params.key_gadget(KeyPurpose::Encapsulate, 0)?;
        if self.maps(params).len() != self.slots_to_coeffs.len() + self.coeffs_to_slots.len() {
            return Err(Error::Shape {
                what: "linear maps of a bootstrap",
                needed: self.slots_to_coeffs.len() + self.coeffs_to_slots.len(),
                found: self.maps(params).len(),
            });
        }
        Ok(self.uses(params))
    }

    /// [`Self::key_uses`] of a literal that fits the parameters.
    pub(super) fn uses(&self, params: &Params) -> KeyUses {
        let mut uses = KeyUses::new();
        let mut need = |purpose, level| {
            uses.entry(purpose).or_default().insert(level);
        };
        for map in self.maps(params) {
            for (purpose, level) in map.steps.keys(params, map.key_level, map.raised).iter() {
                need(purpose, level);
            }
        }
        let top = params.max_level();
        let sine = top - self.coeffs_to_slots.len();
        need(KeyPurpose::Relin, sine);
        let slots = 1usize << self.log_slots;
        let conjugate = KeyPurpose::Galois(params.galois_element_conjugate());
        need(KeyPurpose::Encapsulate, 0);
        if slots == params.slots() {
            need(conjugate, sine);
        } else {
            // Both before a division by special primes: keys like those of the maps. The first one of the trace turns the
            // result by its slots as well; a copy for that level might not fit the gadget here.
            need(conjugate, top);
            for k in trace(params, slots) {
                need(KeyPurpose::Galois(params.galois_element(k)), top);
            }
        }
        uses
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BootstrapPreset, Bootstrapper, dft};
    use super::*;
    use crate::ckks::Encoder;

    #[test]
    fn the_structure_is_that_of_the_matrices() {
        let mut chain = BootstrapPreset::N16.params();
        chain.log_n = 9;
        chain.log_q.drain(6..18);
        let params = Params::new_INSECURE(&chain).unwrap();
        for log_slots in [3, 7, 8] {
            let literal = BootstrapPreset::N16.bootstrap(log_slots);
            let made = Bootstrapper::new(&Encoder::new(&params), &literal).unwrap();
            let transforms = made.slots_to_coeffs.iter().chain(&made.coeffs_to_slots);
            let maps = literal.maps(&params);
            assert_eq!(maps.len(), 6);
            for (map, made) in maps.iter().zip(transforms) {
                assert_eq!(map.steps.keys(&params, map.key_level, map.raised), made.keys());
                assert_eq!(
                    (map.level, map.steps.baby, map.steps.giant - 1),
                    (made.level(), made.rotations().0, made.rotations().1)
                );
            }
            assert_eq!(made.key_uses(), literal.key_uses(&params).unwrap());
        }
    }

    #[test]
    fn offsets_are_those_of_the_matrices() {
        let n = 256;
        for radices in [vec![3, 3, 2], vec![4, 4], vec![2, 6], vec![8], vec![1, 2, 5]] {
            let found = |maps: Vec<crate::ckks::Diagonals>| -> Vec<Vec<i64>> {
                maps.iter()
                    .map(|map| map.iter().map(|(k, _)| k).collect())
                    .collect()
            };
            let mut done = 0;
            let there: Vec<_> = radices
                .iter()
                .map(|&radix| {
                    let lens = (done + 1..=done + radix).map(|s| 1i64 << s);
                    done += radix;
                    offsets(n, lens)
                })
                .collect();
            assert_eq!(there, found(dft::slots_to_coeffs(n as usize, &radices)));
            let mut left = 8;
            let back: Vec<_> = radices
                .iter()
                .map(|&radix| {
                    let lens = (left - radix + 1..=left).rev().map(|s| 1i64 << s);
                    left -= radix;
                    offsets(n, lens)
                })
                .collect();
            assert_eq!(back, found(dft::coeffs_to_slots(n as usize, &radices)));
        }
    }
}
