//! The order in which linear maps are evaluated, made once: the engine runs it, the cost model counts it, the simulation
//! takes its noise from it.

use super::pattern::Pattern;
use super::slot_map::SlotMap;
use crate::rlwe::{EvaluationKeyConfig, Gadget, KeyPurpose, Params};
use crate::{Error, Result};
use num_complex::Complex64;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Bytes of inner sums that wait for their giant step: the baby steps are made again when there are more.
const SUM_BYTES: usize = 384 << 20;
/// Inner sums that share the loads of their columns.
const TILE: usize = 4;

/// A column: one input, rotated.
#[derive(Debug)]
pub(crate) struct BabyStep {
    pub input: usize,
    pub rotation: i64,
    /// That of the key; none for a rotation that changes nothing.
    pub gadget: Option<Gadget>,
}

/// The rotation of one of the two Horner chains.
#[derive(Debug)]
pub(crate) struct GiantStep {
    pub rotation: i64,
    /// That of the key; none for a rotation that changes nothing.
    pub gadget: Option<Gadget>,
    /// Steps of all maps.
    pub count: usize,
}

/// Y_g of one map: the products of columns and weights that are summed before a giant step.
#[derive(Debug)]
pub(crate) struct InnerSum {
    pub output: usize,
    pub giant: i64,
    /// (column, weight).
    pub terms: Vec<(usize, usize)>,
    /// Sums of one pass are made together, those of one batch are of the maps that are finished together.
    batch: usize,
    pass: u64,
}

impl InnerSum {
    pub(crate) fn new(output: usize, giant: i64, mut terms: Vec<(usize, usize)>) -> Self {
        terms.sort_unstable();
        Self {
            output,
            giant,
            terms,
            batch: 0,
            pass: 0,
        }
    }
}

/// Inner sums by batch and pass, the highest giant steps first, as Horner's rule needs them.
pub(crate) fn batches(sums: &[InnerSum]) -> impl Iterator<Item = impl Iterator<Item = &[InnerSum]>> {
    sums.chunk_by(|a, b| a.batch == b.batch)
        .map(|batch| batch.chunk_by(|a, b| a.pass == b.pass))
}

/// Sums that share the loads of their columns, and these columns.
pub(crate) fn tiles(pass: &[InnerSum]) -> impl Iterator<Item = (&[InnerSum], Vec<usize>)> {
    pass.chunks(TILE).map(|sums| {
        let columns: BTreeSet<usize> = sums.iter().flat_map(|sum| &sum.terms).map(|(c, _)| *c).collect();
        (sums, columns.into_iter().collect())
    })
}

/// What the linear maps of a group do together.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// The columns, by input and rotation.
    pub babies: Vec<BabyStep>,
    /// Downwards, then upwards; what no map needs is not there.
    pub giants: Vec<GiantStep>,
    /// Special primes of the sums: those that serve most of the keys' uses. A key that was made with others is taken as it
    /// is: its rotation is divided by its own special primes.
    pub specials: usize,
}

impl Schedule {
    /// For maps with as many inputs and baby steps each; `gadget` tells that of the key of a rotation.
    ///
    /// # Errors
    /// Whatever `gadget` refuses.
    pub(crate) fn new<'m>(
        params: &Params,
        maps: impl Iterator<Item = &'m SlotMap> + Clone,
        gadget: &dyn Fn(i64) -> Result<Gadget>,
    ) -> Result<Self> {
        let gadget = |k: i64| (params.galois_element(k) != 1).then(|| gadget(k)).transpose();
        let mut used: BTreeSet<(usize, i64)> = BTreeSet::new();
        for map in maps.clone() {
            for (input, part) in map.parts().iter().enumerate() {
                used.extend(part.keys().map(|k| (input, map.steps(*k).1 as i64)));
            }
        }
        let mut babies = Vec::with_capacity(used.len());
        for (input, rotation) in used {
            babies.push(BabyStep {
                input,
                rotation,
                gadget: gadget(rotation)?,
            });
        }
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        for map in maps {
            let (n, giants) = (map.baby_steps() as i64, map.giants());
            *counts.entry(-n).or_default() += giants.start().unsigned_abs() as usize;
            *counts.entry(n).or_default() += giants.end().unsigned_abs() as usize;
        }
        let mut giants = Vec::with_capacity(2);
        for (rotation, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            giants.push(GiantStep {
                rotation,
                gadget: gadget(rotation)?,
                count,
            });
        }
        let mut uses: BTreeMap<usize, usize> = BTreeMap::new();
        let steps = babies.iter().map(|baby| (&baby.gadget, 1));
        for (gadget, count) in steps.chain(giants.iter().map(|giant| (&giant.gadget, giant.count))) {
            if let Some(gadget) = gadget {
                *uses.entry(gadget.specials).or_default() += count;
            }
        }
        let most = uses.into_iter().max_by_key(|(_, count)| *count);
        Ok(Self {
            babies,
            giants,
            // Without any key there is nothing to divide by.
            specials: most.map_or(0, |(specials, _)| specials),
        })
    }

    /// The gadget of a column that stays modulo QP; none for an input as it is, or one divided after its rotation.
    pub(crate) fn undivided<'b>(&self, baby: &'b BabyStep) -> Option<&'b Gadget> {
        baby.gadget
            .as_ref()
            .filter(|gadget| gadget.specials == self.specials)
    }

    /// Limbs of the inner sums: modulo the special primes they are zero where no column is modulo QP.
    pub(crate) fn limbs(&self, level: usize) -> usize {
        let any = self.babies.iter().any(|baby| self.undivided(baby).is_some());
        level + 1 + if any { self.specials } else { 0 }
    }

    /// The inner sums of the maps, as they follow each other in [`batches`], `bytes` each; and their different weights.
    /// The maps are those that the schedule was made for, with the scales of their weights.
    ///
    /// # Errors
    /// [`Error::Shape`] for other maps.
    pub(crate) fn sums<'m>(
        &self,
        maps: &[(&'m SlotMap, f64)],
        bytes: usize,
    ) -> Result<(Vec<InnerSum>, Weights<'m>)> {
        let mut weights = Weights::default();
        let mut sums = Vec::new();
        for (output, (map, scale)) in maps.iter().enumerate() {
            let mut by_giant: BTreeMap<i64, Vec<(usize, usize)>> = BTreeMap::new();
            for (input, part) in map.parts().iter().enumerate() {
                for (offset, pattern) in part {
                    let (giant, b) = map.steps(*offset);
                    let column = self
                        .babies
                        .binary_search_by_key(&(input, b as i64), |baby| (baby.input, baby.rotation))
                        .map_err(|_| Error::Shape {
                            what: "maps of a schedule: baby steps of an input",
                            needed: b,
                            found: self.babies.len(),
                        })?;
                    let shift = giant * map.baby_steps() as i64;
                    let weight = weights.number(pattern, shift, *scale, map.is_known());
                    by_giant.entry(giant).or_default().push((column, weight));
                }
            }
            sums.extend(
                by_giant
                    .into_iter()
                    .map(|(giant, terms)| InnerSum::new(output, giant, terms)),
            );
        }
        let reach = sums.iter().map(|sum| sum.giant.unsigned_abs()).fold(0, u64::max);
        let capacity = (SUM_BYTES / bytes.max(1)).max(1);
        let maps_at_once = if reach == 0 { capacity } else { capacity / 8 }.max(1);
        let steps_at_once = (capacity / (2 * maps_at_once.min(maps.len().max(1)))).max(1) as u64;
        for sum in &mut sums {
            sum.batch = sum.output / maps_at_once;
            sum.pass = (reach - sum.giant.unsigned_abs()) / steps_at_once;
        }
        sums.sort_by_key(|sum| (sum.batch, Reverse(sum.giant.unsigned_abs()), sum.output));
        Ok((sums, weights))
    }
}

/// The different weights of a group of maps, numbered: masks repeat a lot, each is encoded once.
#[derive(Default)]
pub(crate) struct Weights<'m> {
    pub list: Vec<Weight<'m>>,
    numbers: HashMap<(blake3::Hash, usize, u64), usize>,
    /// A pattern that is used twice is hashed once.
    hashes: HashMap<*const f32, blake3::Hash>,
}

/// w\[j\] = pattern\[j - turn\] at a scale.
pub(crate) struct Weight<'m> {
    pattern: &'m Pattern,
    turn: usize,
    scale: f64,
}

impl<'m> Weights<'m> {
    /// The number of the weight w\[j\] = pattern\[j - shift\]; one that nobody knows is like no other.
    pub(crate) fn number(&mut self, pattern: &'m Pattern, shift: i64, scale: f64, known: bool) -> usize {
        let turn = shift.rem_euclid(pattern.period() as i64) as usize;
        let list = &mut self.list;
        let mut add = || {
            list.push(Weight { pattern, turn, scale });
            list.len() - 1
        };
        if !known {
            return add();
        }
        let hash = self.hashes.entry(pattern.address());
        let hash = *hash.or_insert_with(|| blake3::hash(&pattern.canonical_bytes()));
        *self
            .numbers
            .entry((hash, turn, scale.to_bits()))
            .or_insert_with(add)
    }

    /// Largest period.
    pub(crate) fn period(&self) -> usize {
        self.list
            .iter()
            .map(|weight| weight.pattern.period())
            .fold(1, usize::max)
    }
}

impl Weight<'_> {
    /// One period, and the scale.
    pub(crate) fn values(&self) -> (Vec<Complex64>, f64) {
        let period = self.pattern.period();
        let slot = |j| self.pattern.get(j + period - self.turn);
        ((0..period).map(slot).collect(), self.scale)
    }
}

/// What a baby step and its key cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BabySteps {
    /// Keys are a minor matter.
    Fast,
    /// Keys are of the highest level, many, and the client has to send them.
    FewKeys,
    /// On a raised operand: a third of the digits, in the key and in the product.
    Raised,
}

impl BabySteps {
    /// In inner products with a key of all digits.
    fn cost(self) -> f64 {
        match self {
            Self::Fast => 1.3,
            Self::FewKeys => 1.9,
            Self::Raised => 1.1,
        }
    }
}

/// Cost of a giant step in baby steps: a decomposition and a division against one inner product.
const GIANT_COST: f64 = 3.2;

/// The schedule of one map that is prepared: offset k = first + unit (baby g + b), columns rotated by first + unit b, giant
/// steps by unit baby, all upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    first: i64,
    unit: i64,
    pub baby: usize,
    pub giant: usize,
}

impl Steps {
    /// For diagonals at these offsets, lowest first.
    pub(crate) fn choose(offsets: &[i64], baby_steps: BabySteps) -> Option<Self> {
        let (first, last) = (*offsets.first()?, *offsets.last()?);
        let unit = offsets.iter().fold(0, |unit, k| gcd(unit, k - first)).max(1);
        let count = ((last - first) / unit) as usize + 1;
        let cost =
            |baby: usize| baby as f64 * baby_steps.cost() + (count.div_ceil(baby) - 1) as f64 * GIANT_COST;
        let baby = (0..=count.next_power_of_two().trailing_zeros())
            .map(|b| 1usize << b)
            .min_by(|a, b| cost(*a).total_cmp(&cost(*b)))?;
        Some(Self {
            first,
            unit,
            baby: baby.min(count),
            giant: count.div_ceil(baby),
        })
    }

    /// Giant step and baby step of an offset.
    pub(crate) fn of(&self, offset: i64) -> (usize, usize) {
        let place = ((offset - self.first) / self.unit) as usize;
        (place / self.baby, place % self.baby)
    }

    pub(crate) fn baby_rotation(&self, b: usize) -> i64 {
        self.first + self.unit * b as i64
    }

    pub(crate) fn giant_rotation(&self) -> i64 {
        self.unit * self.baby as i64
    }

    /// The keys of these steps, at one level.
    pub(crate) fn keys(&self, params: &Params, level: usize, raised: bool) -> EvaluationKeyConfig {
        let mut config = EvaluationKeyConfig::default();
        for b in 0..self.baby {
            let element = params.galois_element(self.baby_rotation(b));
            if raised {
                config.require(KeyPurpose::Raise(element), level);
            } else if element != 1 {
                config.require(KeyPurpose::Galois(element), level);
            }
        }
        if self.giant > 1 {
            let element = params.galois_element(self.giant_rotation());
            config.require(KeyPurpose::Galois(element), level);
        }
        config
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
