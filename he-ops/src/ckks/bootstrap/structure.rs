//! What a bootstrap is made of, known before any matrix is: its linear maps with their steps, its keys.

use super::{BootstrapLiteral, dft};
use crate::Result;
use crate::ckks::linear::schedule::{BabySteps, Steps};
use crate::error::broken;
use crate::rlwe::{KeyPurpose, KeyUses, Params};

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

impl BootstrapLiteral {
    /// Full bootstraps have the most keys; sparse ones are there to be fast.
    pub(crate) fn baby_steps(&self, params: &Params) -> BabySteps {
        if 1 << self.log_slots == params.slots() {
            BabySteps::FewKeys
        } else {
            BabySteps::Fast
        }
    }

    /// The maps of SlotsToCoeffs, then those of CoeffsToSlots, in order of evaluation.
    pub(crate) fn maps(&self, params: &Params) -> Result<Vec<Map>> {
        let n = 1usize << self.log_slots;
        let (input_level, top) = (self.input_level(), params.max_level());
        let map = |lens: &[usize], level: usize, key_level: usize, baby_steps: BabySteps| {
            let steps = Steps::choose(&dft::offsets(n, lens), baby_steps);
            let period = lens.iter().copied().max();
            let (steps, period) = steps.zip(period).ok_or_else(|| broken("every map has a stage"))?;
            Ok(Map {
                steps,
                level,
                key_level,
                radix: lens.len() as u32,
                period,
                raised: matches!(baby_steps, BabySteps::Raised),
            })
        };
        let own = self.baby_steps(params);
        let down = dft::blocks(&self.slots_to_coeffs, false).into_iter().enumerate();
        let down = down.map(|(i, lens)| map(&lens, input_level.saturating_sub(i), input_level, own));
        let up = dft::blocks(&self.coeffs_to_slots, true).into_iter().enumerate();
        let up = up.map(|(i, lens)| {
            let baby_steps = if i == 0 { BabySteps::Raised } else { own };
            map(&lens, top.saturating_sub(i), top, baby_steps)
        });
        down.chain(up).collect()
    }

    /// Every level at which a bootstrap uses each key, without preparing it.
    ///
    /// # Errors
    /// As [`super::Bootstrapper::new`].
    pub fn key_uses(&self, params: &Params) -> Result<KeyUses> {
        self.check(params)?;
        params.key_gadget(KeyPurpose::Encapsulate, 0)?;
        let mut uses = KeyUses::new();
        let mut need = |purpose, level| {
            uses.entry(purpose).or_default().insert(level);
        };
        for map in self.maps(params)? {
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
            // result by its slots as well; a smaller key for that level might not fit the gadget here.
            need(conjugate, top);
            for k in trace(params, slots) {
                need(KeyPurpose::Galois(params.galois_element(k)), top);
            }
        }
        Ok(uses)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BootstrapPreset, Bootstrapper};
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
            let maps = literal.maps(&params).unwrap();
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
}
