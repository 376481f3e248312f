//! The work of linear maps: the engine's own schedule, counted.

use std::collections::HashSet;

use super::work::{Counter, Work};
use crate::Result;
use crate::ckks::SlotMap;
use crate::ckks::linear::schedule::{Schedule, batches, tiles};
use crate::rlwe::Gadget;

/// Linear maps of a group, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MapsCost {
    /// Work of all of them.
    pub work: Work,
    /// Rotations: of the inputs, and giant steps.
    pub rotations: usize,
    /// Plaintext products.
    pub diagonals: usize,
    /// Bytes needed besides operands and results.
    pub scratch_bytes: u64,
}

impl Counter<'_> {
    /// Linear maps over common inputs at a level, rescaled: a decomposition for each input, an inner product for each
    /// baby step, 2 w products for each place of a tile, the weights, a division, a decomposition and an inner product
    /// for each giant step, one division of each result. `gadget` tells which one the key of a rotation has.
    ///
    /// # Errors
    /// Whatever `gadget` refuses.
    pub fn linear_maps(
        &self,
        level: usize,
        maps: &[&SlotMap],
        gadget: &dyn Fn(i64) -> Result<Gadget>,
    ) -> Result<MapsCost> {
        let schedule = Schedule::new(self.params, maps.iter().copied(), gadget)?;
        let specials = schedule.specials;
        let mut cost = MapsCost::default();
        let mut decomposed: HashSet<(usize, &Gadget)> = HashSet::new();
        let mut digits = 0;
        // The columns of one pass: an inner product, permutations and the body for each that is modulo QP, a copy else.
        let (own, wide) = (level + 1, level + 1 + specials);
        let mut columns = Work::default();
        for baby in &schedule.babies {
            columns += match schedule.undivided(baby) {
                None => self.limbs(0, 2 * own, 0),
                Some(key) => {
                    self.inner_product(key.digits_at(level), wide) + self.limbs(0, 2 * own + 2 * wide, 0)
                }
            };
            let Some(key) = &baby.gadget else { continue };
            cost.rotations += 1;
            if decomposed.insert((baby.input, key)) {
                cost.work += self.decompose(key, level);
                digits += key.digits_at(level) * (own + key.specials);
            }
            if schedule.undivided(baby).is_none() {
                cost.work += self.switch(key, level);
            }
        }
        let limbs = schedule.limbs(level);
        let sum_bytes = 2 * 8 * limbs * self.degree();
        // Maps that are evaluated together have one plain scale.
        let scaled: Vec<(&SlotMap, f64)> = maps.iter().map(|map| (*map, 1.0)).collect();
        let (sums, weights) = schedule.sums(&scaled, sum_bytes)?;
        let (count, period) = (weights.list.len(), weights.period());
        cost.diagonals = maps.iter().map(|map| map.diagonals()).sum();
        cost.work += self.coefficients(count, period);
        let mut waiting = 0;
        for pass in batches(&sums).flatten() {
            cost.work += columns;
            cost.work += self.values(count, period, limbs);
            for (sums, columns) in tiles(pass) {
                cost.work += self.tile(sums.len(), columns.len(), period, limbs);
            }
            waiting = waiting.max(pass.len());
        }
        for step in &schedule.giants {
            if let Some(key) = &step.gadget {
                cost.rotations += step.count;
                cost.work += self.giant_step(key, level) * step.count;
            }
        }
        cost.work += self.divide(specials + 1, level, 2) * maps.len();
        cost.scratch_bytes = (8 * digits * self.degree() + waiting * sum_bytes) as u64;
        Ok(cost)
    }

    /// Sums of a tile from their columns, their weights filled in.
    fn tile(&self, sums: usize, columns: usize, period: usize, limbs: usize) -> Work {
        let cells = sums * columns;
        let mut work = self.limbs(0, 2 * cells * limbs, 2 * sums * limbs);
        work.scalars += (2 * period * cells * limbs) as u64;
        work
    }

    /// Division of one part, decomposition, inner product, sums and permutations.
    pub(super) fn giant_step(&self, gadget: &Gadget, level: usize) -> Work {
        let (limbs, wide) = (level + 1, level + 1 + gadget.specials);
        let digits = gadget.digits_at(level);
        self.divide(gadget.specials, limbs, 1)
            + self.decompose(gadget, level)
            + self.inner_product(digits, wide)
            + self.limbs(0, 4 * wide, 6 * wide)
    }
}
