//! Maps whose weights are encoded on the fly: every matrix of a plan, and every weighted sum, which is a map without
//! rotations.
//!
//! Weights come as f32 and are forgotten after use: a plan of many layers could not keep them as residues.

use super::columns::{Column, Digits};
use super::engine::{Chain, Engine, check, finish};
use super::pattern::Pattern;
use super::schedule::{InnerSum, Schedule, Weight, Weights, batches, tiles};
use super::slot_map::SlotMap;
use super::weights::{Encoded, Layout, Matrix};
use crate::ckks::evaluator::two_parts;
use crate::ckks::{Ciphertext, Encoder, Evaluator};
use crate::error::broken;
use crate::rlwe::giant_step::{Giant, Undivided};
use crate::rlwe::key_switch::{Decomposed, decompose};
use crate::rlwe::{KeyPurpose, KeySwitchKey};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

const OP: &str = "linear maps";

impl Evaluator {
    /// y_o = maps\[o\](inputs) for all maps, the weights of each encoded at its plain scale.
    ///
    /// **Level:** that of all inputs, at least 1; one less after. **Scale:** that of all inputs, times the plain scale of
    /// the map, divided by the last prime. **Keys:** the rotations of [`SlotMap::rotations`], of the level or above, in any
    /// mixture of gadgets. **Cost:** a decomposition of each input, for each baby step of an input an inner product, for
    /// each giant step of a map 2/3 to 4/5 of a rotation by its transforms, one division for each map; a transform of 2D for
    /// each diagonal and prime. **Memory:** 384 MiB of sums at a time, the results, 8 (2D) bytes for each diagonal.
    ///
    /// # Errors
    /// - [`Error::Shape`] when there is no input, maps differ in their baby steps, or a map has another number of parts
    ///   than there are inputs
    /// - [`Error::Level`], [`Error::Scale`] when inputs disagree, or at level 0; [`Error::Parts`] for an input that is
    ///   not relinearized
    /// - [`Error::MissingKey`] naming the rotation
    pub fn linear_maps(&self, inputs: &[&Ciphertext], maps: &[(&SlotMap, f64)]) -> Result<Vec<Ciphertext>> {
        let Some((first_map, _)) = maps.first() else {
            return Ok(Vec::new());
        };
        let first = check(OP, inputs, 1)?;
        for (map, _) in maps {
            let pairs = [
                ("parts of a linear map", inputs.len(), map.parts().len()),
                (
                    "baby steps of maps in a group",
                    first_map.baby_steps(),
                    map.baby_steps(),
                ),
            ];
            if let Some((what, needed, found)) = pairs.into_iter().find(|(_, needed, found)| needed != found)
            {
                return Err(Error::Shape { what, needed, found });
            }
        }
        let (params, level) = (self.params(), first.level);
        let gadget = |k: i64| Ok(self.rotation_key(k, level)?.gadget.clone());
        let schedule = Schedule::new(params, maps.iter().map(|(map, _)| *map), &gadget)?;
        let (mut up, mut down) = (None, None);
        for step in schedule.giants.iter().filter(|step| step.gadget.is_some()) {
            let giant = if step.rotation < 0 { &mut down } else { &mut up };
            *giant = Some(Giant {
                key: self.rotation_key(step.rotation, level)?,
                permutation: params.permutation(params.galois_element(step.rotation))?,
            });
        }
        let engine = Engine {
            params,
            level,
            specials: schedule.specials,
            columns: self.columns(&schedule, inputs)?,
        };
        let bytes = 2 * 8 * schedule.limbs(level) * params.degree();
        let (sums, weights) = schedule.sums(maps, bytes)?;
        let fly = OnTheFly::new(self.encoder(), &weights)?;
        let mut out = Vec::with_capacity(maps.len());
        for batch in batches(&sums) {
            let mut chains: BTreeMap<usize, [Chain<'_>; 2]> = BTreeMap::new();
            for pass in batch {
                for (sum, value) in pass.iter().zip(fly.inner_sums(&engine, pass)?) {
                    let [rising, falling] = chains
                        .entry(sum.output)
                        .or_insert_with(|| [&up, &down].map(|giant| Chain::new(giant.as_ref())));
                    let chain = if sum.giant < 0 { falling } else { rising };
                    chain.add(&engine, sum.giant.unsigned_abs(), Some(value))?;
                }
            }
            for ([mut rising, mut falling], (_, plain_scale)) in
                chains.into_values().zip(maps.iter().skip(out.len()))
            {
                rising.add(&engine, 0, None)?;
                falling.add(&engine, 0, rising.sum)?;
                let sum = falling.sum.ok_or(Error::Shape {
                    what: "diagonals of a linear map",
                    needed: 1,
                    found: 0,
                })?;
                out.push(finish(
                    params,
                    level,
                    schedule.specials,
                    &sum,
                    first.scale * plain_scale,
                )?);
            }
        }
        Ok(out)
    }

    /// sum_i weights\[i\] (.) inputs\[i\] for every row of weights, each encoded at the plain scale of its row; `None`
    /// counts as zero.
    ///
    /// **Level:** unchanged. **Scale:** that of the inputs times the row's. **Keys:** none. **Cost:** a transform of 2D for
    /// each different weight and prime; 2 (level + 1) N multiply-adds per weight.
    ///
    /// # Errors
    /// - [`Error::Shape`] when a row has another number of weights than there are inputs, or there are none
    /// - [`Error::Level`], [`Error::Scale`] when inputs disagree; [`Error::Parts`] for an input that is not relinearized
    pub fn weighted_sums(
        &self,
        inputs: &[&Ciphertext],
        rows: &[(&[Option<&Pattern>], f64)],
    ) -> Result<Vec<Ciphertext>> {
        let first = check("weighted sum", inputs, 0)?;
        if let Some((row, _)) = rows.iter().find(|(row, _)| row.len() != inputs.len()) {
            return Err(Error::Shape {
                what: "weights of a row",
                needed: inputs.len(),
                found: row.len(),
            });
        }
        let engine = Engine {
            params: self.params(),
            level: first.level,
            specials: 0,
            columns: inputs.iter().map(|input| column(input)).collect::<Result<_>>()?,
        };
        let mut weights = Weights::default();
        let mut sums = Vec::with_capacity(rows.len());
        for (output, (row, scale)) in rows.iter().enumerate() {
            let there = row
                .iter()
                .enumerate()
                .filter_map(|(i, weight)| Some((i, (*weight)?)));
            let terms = there.map(|(i, weight)| (i, weights.number(weight, 0, *scale, true)));
            sums.push(InnerSum::new(output, 0, terms.collect()));
        }
        let values = OnTheFly::new(self.encoder(), &weights)?.inner_sums(&engine, &sums)?;
        let limbs = first.level + 1;
        let result = |(value, (_, plain_scale)): (Undivided, &(_, f64))| {
            let [body, mask] = value;
            Ok(Ciphertext {
                parts: vec![body.quotient(limbs)?, mask.quotient(limbs)?],
                level: first.level,
                scale: first.scale * plain_scale,
            })
        };
        values.into_iter().zip(rows).map(result).collect()
    }

    fn rotation_key(&self, rotation: i64, level: usize) -> Result<&KeySwitchKey> {
        let element = self.params().galois_element(rotation);
        self.keys().get(OP, KeyPurpose::Galois(element), level)
    }

    /// The columns of a schedule. Masks are decomposed once for each gadget of their keys.
    fn columns<'c>(&'c self, schedule: &Schedule, inputs: &[&'c Ciphertext]) -> Result<Vec<Column<'c>>> {
        let params = self.params();
        let mut out = Vec::with_capacity(schedule.babies.len());
        for (i, input) in inputs.iter().enumerate() {
            let babies = || schedule.babies.iter().filter(|baby| baby.input == i);
            let divided = babies().filter(|baby| schedule.undivided(baby).is_none());
            let rotations: Vec<i64> = divided.map(|baby| baby.rotation).collect();
            let mut divided = self.rotate_hoisted(input, &rotations)?.into_iter();
            let mut decomposed: Vec<Arc<Decomposed<'c>>> = Vec::new();
            for baby in babies() {
                let Some(gadget) = schedule.undivided(baby) else {
                    let rotated = divided.next();
                    let rotated = rotated.ok_or_else(|| broken("a rotated value for each rotation"))?;
                    out.push(column(&rotated)?);
                    continue;
                };
                let (body, mask) = two_parts(OP, input)?;
                let digits = match decomposed.iter().find(|found| found.gadget() == gadget) {
                    Some(found) => found.clone(),
                    None => {
                        let made = Arc::new(decompose(params, mask, input.level, gadget)?);
                        decomposed.push(made.clone());
                        made
                    }
                };
                out.push(Column::Rotated {
                    body,
                    digits: Digits::Decomposed(digits),
                    key: self.rotation_key(baby.rotation, input.level)?,
                    permutation: Some(params.permutation(params.galois_element(baby.rotation))?),
                });
            }
        }
        Ok(out)
    }
}

/// An input as it is.
fn column(input: &Ciphertext) -> Result<Column<'static>> {
    two_parts(OP, input).map(|(body, mask)| Column::plain(body, mask))
}

/// Weights that are laid out for every pass anew.
struct OnTheFly<'e> {
    encoder: &'e Encoder,
    encoded: Encoded,
    layout: Layout,
}

impl<'e> OnTheFly<'e> {
    fn new(encoder: &'e Encoder, weights: &Weights<'_>) -> Result<Self> {
        let (period, slots) = (weights.period(), encoder.params().slots());
        if period > slots {
            return Err(Error::Shape {
                what: "period of a pattern (at most the slots)",
                needed: slots,
                found: period,
            });
        }
        Ok(Self {
            encoder,
            encoded: Encoded::new(encoder, weights.list.iter().collect(), Weight::values)?,
            layout: Layout::Runs(slots / period),
        })
    }

    fn inner_sums(&self, engine: &Engine<'_>, pass: &[InnerSum]) -> Result<Vec<Undivided>> {
        let n = self.encoder.params().degree();
        let tiles: Vec<(&[InnerSum], Vec<usize>)> = tiles(pass).collect();
        engine.inner_sums(pass.len(), self.layout, |i, table| {
            let values = self.encoded.values(self.encoder, table);
            let matrix = |(sums, columns): &(&[InnerSum], Vec<usize>)| {
                let columns = columns.iter().copied().filter(|c| engine.counts(*c, i));
                Matrix::new(sums, columns.collect(), &values, self.layout, n)
            };
            tiles.iter().map(matrix).collect::<Vec<_>>()
        })
    }
}
