//! The work of linear maps: the engine's own order of things, with counters in the place of ciphertexts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::work::{Counter, Work};
use crate::Result;
use crate::ckks::linear::maps::{TILE, at_a_time};
use crate::ckks::{Pattern, SlotMap};
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

/// A sum of columns that waits for its giant step.
struct Sum {
    output: usize,
    giant: i64,
    columns: Vec<usize>,
}

/// A rotated input; none for one that is not rotated, or not modulo QP.
struct Column {
    input: usize,
    baby: usize,
    wide: Option<Gadget>,
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
        let mut cost = MapsCost::default();
        let n = maps.first().map_or(1, |map| map.baby_steps()) as i64;
        let babies: BTreeSet<(usize, usize)> = maps
            .iter()
            .flat_map(|map| {
                (0..map.parts().len()).flat_map(|i| map.babies(i).into_iter().map(move |b| (i, b)))
            })
            .collect();
        // Giant steps of each direction, of all maps.
        let reach = |map: &SlotMap, sign: i64| {
            let giants = map.giants();
            (if sign > 0 { *giants.end() } else { -*giants.start() }).max(0)
        };
        let steps = [1, -1].map(|sign| maps.iter().map(|map| reach(map, sign)).sum::<i64>() as usize);
        let mut uses: BTreeMap<usize, usize> = BTreeMap::new();
        let mut keys = Vec::with_capacity(babies.len());
        for &(_, b) in &babies {
            let key = if b > 0 { Some(gadget(b as i64)?) } else { None };
            if let Some(key) = &key {
                *uses.entry(key.specials).or_default() += 1;
            }
            keys.push(key);
        }
        let mut giants = Vec::new();
        for (rotation, steps) in [n, -n].into_iter().zip(steps).filter(|(_, steps)| *steps > 0) {
            let key = gadget(rotation)?;
            *uses.entry(key.specials).or_default() += steps;
            giants.push((key, steps));
        }
        let most = uses.into_iter().max_by_key(|(_, count)| *count);
        let specials = most.map_or(0, |(specials, _)| specials);
        // Decompositions, and rotations with keys over other special primes on their own.
        let mut decomposed: HashSet<(usize, Gadget)> = HashSet::new();
        let mut columns = Vec::with_capacity(babies.len());
        let mut digits = 0;
        for (&(input, baby), key) in babies.iter().zip(keys) {
            let mut wide = None;
            if let Some(key) = key {
                if decomposed.insert((input, key.clone())) {
                    cost.work += self.decompose(&key, level);
                    digits += key.digits_at(level) * (level + 1 + key.specials);
                }
                if key.specials == specials {
                    wide = Some(key);
                } else {
                    cost.work += self.switch(&key, level);
                }
                cost.rotations += 1;
            }
            columns.push(Column { input, baby, wide });
        }
        let any_wide = columns.iter().any(|column| column.wide.is_some());
        let limbs = level + 1 + if any_wide { specials } else { 0 };
        let (mut sums, codes) = self.sums(maps, &columns);
        cost.diagonals = maps.iter().map(|map| map.diagonals()).sum();
        let period = maps.iter().map(|map| map.period()).max().unwrap_or(1);
        cost.work += self.coefficients(codes, period);
        let reach = sums.iter().map(|sum| sum.giant.unsigned_abs()).max().unwrap_or(0);
        let sum_bytes = 2 * 8 * limbs * self.degree();
        let (batch, at_once) = at_a_time(sum_bytes, maps.len(), reach);
        sums.sort_by_key(|sum| (sum.output / batch, Reverse(sum.giant.unsigned_abs()), sum.output));
        let mut waiting = 0;
        for pass in sums.chunk_by(|a, b| {
            let of = |sum: &Sum| (sum.output / batch, (reach - sum.giant.unsigned_abs()) / at_once);
            of(a) == of(b)
        }) {
            cost.work += self.columns(&columns, level, specials);
            cost.work += self.values(codes, period, limbs);
            for tile in pass.chunks(TILE) {
                let used: HashSet<usize> = tile.iter().flat_map(|sum| &sum.columns).copied().collect();
                cost.work += self.tile(tile.len(), used.len(), period, limbs);
            }
            waiting = waiting.max(pass.len());
        }
        for (key, steps) in giants {
            cost.rotations += steps;
            cost.work += self.giant_step(&key, level) * steps;
        }
        cost.work += self.divide(specials + 1, level, 2) * maps.len();
        cost.scratch_bytes = (8 * digits * self.degree() + waiting * sum_bytes) as u64;
        Ok(cost)
    }

    /// The sums of all maps, and how many different weights they have.
    fn sums(&self, maps: &[&SlotMap], columns: &[Column]) -> (Vec<Sum>, usize) {
        let places: HashMap<(usize, usize), usize> = columns
            .iter()
            .enumerate()
            .map(|(at, column)| ((column.input, column.baby), at))
            .collect();
        let mut known: HashMap<*const f32, Option<[u8; 32]>> = HashMap::new();
        let mut different: HashSet<([u8; 32], usize, bool)> = HashSet::new();
        let mut unknown = 0;
        let mut sums = Vec::new();
        for (output, map) in maps.iter().enumerate() {
            let mut by_giant: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
            for (input, part) in map.parts().iter().enumerate() {
                for (offset, pattern) in part {
                    let (giant, b) = map.steps(*offset);
                    let at = places.get(&(input, b)).copied().unwrap_or_default();
                    by_giant.entry(giant).or_default().push(at);
                    match known.entry(pattern.address()).or_insert_with(|| digest(pattern)) {
                        None => unknown += 1,
                        Some(digest) => {
                            let shift = giant * map.baby_steps() as i64;
                            let turn = shift.rem_euclid(pattern.period().max(1) as i64) as usize;
                            let plain = columns.get(at).is_none_or(|column| column.wide.is_none());
                            different.insert((*digest, turn, plain));
                        }
                    }
                }
            }
            sums.extend(by_giant.into_iter().map(|(giant, columns)| Sum {
                output,
                giant,
                columns,
            }));
        }
        (sums, different.len() + unknown)
    }

    /// The columns of one pass: an inner product, permutations and the body for each rotated one, a copy else.
    fn columns(&self, columns: &[Column], level: usize, specials: usize) -> Work {
        let (limbs, wide) = (level + 1, level + 1 + specials);
        let each = columns.iter().map(|column| match &column.wide {
            None => self.limbs(0, 2 * limbs, 0),
            Some(key) => {
                self.inner_product(key.digits_at(level), wide) + self.limbs(0, 2 * limbs + 2 * wide, 0)
            }
        });
        each.sum()
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

/// None for weights that nobody knows, which are all the same in a plan from a configuration alone.
fn digest(pattern: &Pattern) -> Option<[u8; 32]> {
    let first = pattern.get(0);
    if pattern.period() > 1 && (1..pattern.period()).all(|j| pattern.get(j) == first) {
        return None;
    }
    Some(*blake3::hash(&pattern.canonical_bytes()).as_bytes())
}
