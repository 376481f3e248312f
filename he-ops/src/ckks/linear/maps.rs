//! Several linear maps of several ciphertexts at once, their weights encoded on the fly: every matrix of a plan.
//!
//! Baby steps with double hoisting, prime by prime and block by block, shared by all maps; giant steps by Horner's rule
//! with two keys, one for each direction (ePrint 2018/244, 2020/1203 section 4):
//!
//! y = sum_g rot_(n g)(Y_g),  Y_g = sum_(i, b) rot_(-n g)(d_(i, n g + b)) (.) rot_b(x_i).
//!
//! All Y_g are modulo QP and times P, P of the special primes that most keys have. A key that was made with others is
//! taken as it is: a baby step with it is divided by its own special primes and then goes on like an input that is not
//! rotated, a giant step likewise. So no plan need mind of which level a key is.

use super::super::ciphertext::{Ciphertext, check_level, check_scale};
use super::super::encoder::Encoder;
use super::super::evaluator::Evaluator;
use super::columns::{Column, Limb, PAD, Rotation, Scratch, block_len};
use super::slot_map::SlotMap;
use super::weights::{Codes, Encoded};
use crate::arith::NttTable;
use crate::arith::arena;
use crate::arith::dot::dot_runs;
use crate::par;
use crate::ring::{Eval, Poly};
use crate::rlwe::giant_step::{Giant, Wide, giant_step};
use crate::rlwe::key_switch::{Decomposed, decompose};
use crate::rlwe::{Gadget, KeyPurpose, KeySwitchKey, Params};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of sums that wait for their giant step: the baby steps are made again when there are more.
const SUM_BYTES: usize = 384 << 20;
/// Sums that share the loads of their columns.
pub(crate) const TILE: usize = 4;

const OP: &str = "linear maps";

/// Y_g of one map, as terms (column, weight).
struct Sum {
    output: usize,
    giant: i64,
    terms: Vec<(usize, usize)>,
}

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
        let Some(((first_map, _), first)) = maps.first().zip(inputs.first()) else {
            return match maps {
                [] => Ok(Vec::new()),
                _ => Err(shape("inputs of linear maps (at least)", 1, 0)),
            };
        };
        check(inputs, maps)?;
        let level = first.level;
        let work = Work::new(self, inputs, maps)?;
        let rotated = work.rotated(inputs)?;
        let decomposed = work.decompositions(inputs)?;
        let columns = work.columns(inputs, &rotated, &decomposed)?;
        let mut codes = Codes::default();
        let mut sums = work.sums(maps, &mut codes);
        let slots = self.params().slots();
        if codes.period() > slots {
            return Err(shape(
                "period of a pattern (at most the slots)",
                slots,
                codes.period(),
            ));
        }
        let encoded = codes.encode(self.encoder())?;
        let n = first_map.baby_steps() as i64;
        let giants = [work.giant(n, 1, &sums)?, work.giant(-n, -1, &sums)?];
        let run = Run {
            encoder: self.encoder(),
            params: self.params(),
            level,
            specials: work.specials,
            columns,
            encoded,
            period: codes.period(),
        };
        let wide = 2 * 8 * run.limbs() * self.params().degree();
        let reach = sums.iter().map(|s| s.giant.unsigned_abs()).max().unwrap_or(0);
        let (batch, steps) = at_a_time(wide, maps.len(), reach);
        // The highest giant steps first, as they are needed.
        sums.sort_by_key(|s| {
            (
                s.output / batch,
                std::cmp::Reverse(s.giant.unsigned_abs()),
                s.output,
            )
        });
        let mut out = Vec::with_capacity(maps.len());
        for (b, maps) in maps.chunks(batch).enumerate() {
            let mut chains: Vec<Chains> = maps.iter().map(|_| Chains::default()).collect();
            let mut high = reach as i64;
            while high >= 0 {
                let low = (high - steps as i64 + 1).max(0);
                let range = low.unsigned_abs()..=high.unsigned_abs();
                let mine = |s: &&Sum| s.output / batch == b && range.contains(&s.giant.unsigned_abs());
                let now: Vec<&Sum> = sums.iter().filter(mine).collect();
                let mut values: BTreeMap<(usize, i64), Wide> = now
                    .iter()
                    .map(|s| (s.output, s.giant))
                    .zip(run.values(&now)?)
                    .collect();
                for t in (low..=high).rev() {
                    for (o, chains) in chains.iter_mut().enumerate() {
                        for (sign, giant) in [1, -1].into_iter().zip(&giants) {
                            let next = values.remove(&(b * batch + o, sign * t));
                            chains.step(&run, giant.as_ref(), t, sign, next)?;
                        }
                    }
                }
                high = low - 1;
            }
            for (chains, (_, plain_scale)) in chains.into_iter().zip(maps) {
                out.push(run.finish(chains.result, first.scale * plain_scale)?);
            }
        }
        Ok(out)
    }
}

/// Maps, and giant steps of each, whose sums of `wide` bytes are made in one pass over the baby steps; `reach` is the
/// largest giant step.
pub(crate) fn at_a_time(wide: usize, maps: usize, reach: u64) -> (usize, u64) {
    let capacity = (SUM_BYTES / wide.max(1)).max(1);
    let batch = if reach == 0 { capacity } else { capacity / 8 }.max(1);
    let steps = (capacity / (2 * batch.min(maps.max(1)))).max(1) as u64;
    (batch, steps)
}

/// The two Horner chains of a map.
#[derive(Default)]
struct Chains {
    up: Option<Wide>,
    down: Option<Wide>,
    result: Option<Wide>,
}

impl Chains {
    /// Takes Y_(sign t) in; all chains end at t = 0.
    fn step(
        &mut self,
        run: &Run<'_>,
        giant: Option<&Giant<'_>>,
        t: i64,
        sign: i64,
        next: Option<Wide>,
    ) -> Result<()> {
        let acc = if sign > 0 { &mut self.up } else { &mut self.down };
        let next = if t == 0 { next.or(self.result.take()) } else { next };
        let moved = match (acc.take(), giant) {
            (Some(acc), Some(giant)) => Some(giant_step(
                run.params,
                run.level,
                run.specials,
                giant,
                &acc,
                next,
            )?),
            (Some(acc), None) => Some(run.add(acc, next)),
            (None, _) => next,
        };
        if t == 0 {
            self.result = moved;
        } else {
            *acc = moved;
        }
        Ok(())
    }
}

fn shape(what: &'static str, needed: usize, found: usize) -> Error {
    Error::Shape { what, needed, found }
}

fn check(inputs: &[&Ciphertext], maps: &[(&SlotMap, f64)]) -> Result<()> {
    for input in inputs {
        if let Some(first) = inputs.first() {
            check_level(OP, first.level, input.level)?;
            check_scale(OP, first.scale, input.scale)?;
        }
        if input.level == 0 {
            return Err(Error::Level {
                op: OP,
                needed: 1,
                found: 0,
            });
        }
        if input.parts.len() != 2 {
            return Err(Error::Parts {
                op: OP,
                needed: 2,
                found: input.parts.len(),
            });
        }
    }
    let steps = maps.first().map_or(1, |(map, _)| map.baby_steps());
    for (map, _) in maps {
        if map.parts().len() != inputs.len() {
            return Err(shape("parts of a linear map", inputs.len(), map.parts().len()));
        }
        if map.baby_steps() != steps {
            return Err(shape("baby steps of maps in a group", steps, map.baby_steps()));
        }
    }
    Ok(())
}

/// What is rotated with which keys.
struct Work<'e> {
    evaluator: &'e Evaluator,
    level: usize,
    /// Special primes of the sums.
    specials: usize,
    /// (input, baby step) of every column, and its key where one is needed.
    babies: Vec<(usize, usize, Option<&'e KeySwitchKey>)>,
}

impl<'e> Work<'e> {
    fn new(evaluator: &'e Evaluator, inputs: &[&Ciphertext], maps: &[(&SlotMap, f64)]) -> Result<Self> {
        let level = inputs.first().map_or(0, |x| x.level);
        let used: BTreeSet<(usize, usize)> = maps
            .iter()
            .flat_map(|(map, _)| {
                (0..inputs.len()).flat_map(|i| map.babies(i).into_iter().map(move |b| (i, b)))
            })
            .collect();
        let mut work = Self {
            evaluator,
            level,
            specials: 0,
            babies: Vec::new(),
        };
        for (input, b) in used {
            work.babies.push((input, b, work.key(b as i64)?));
        }
        // The special primes that serve most of the keys' uses.
        let mut uses: BTreeMap<usize, usize> = BTreeMap::new();
        for (.., key) in &work.babies {
            if let Some(key) = key {
                *uses.entry(key.gadget.specials).or_default() += 1;
            }
        }
        for (map, _) in maps {
            let (n, giants) = (map.baby_steps() as i64, map.giants());
            for (rotation, steps) in [(n, *giants.end()), (-n, -giants.start())] {
                if steps > 0
                    && let Some(key) = work.key(rotation)?
                {
                    *uses.entry(key.gadget.specials).or_default() += steps.unsigned_abs() as usize;
                }
            }
        }
        let most = uses.into_iter().max_by_key(|(_, count)| *count);
        work.specials = most.map_or(0, |(specials, _)| specials);
        Ok(work)
    }

    /// The key of a rotation, `None` for the rotation that changes nothing.
    fn key(&self, rotation: i64) -> Result<Option<&'e KeySwitchKey>> {
        let element = self.evaluator.params().galois_element(rotation);
        (element != 1)
            .then(|| {
                self.evaluator
                    .keys()
                    .get(OP, KeyPurpose::Galois(element), self.level)
            })
            .transpose()
    }

    /// The giant step by `rotation`, if some sum of this sign needs it and it changes anything.
    fn giant(&self, rotation: i64, sign: i64, sums: &[Sum]) -> Result<Option<Giant<'e>>> {
        if sums.iter().all(|s| s.giant * sign <= 0) {
            return Ok(None);
        }
        let params = self.evaluator.params();
        let permutation = params.permutation(params.galois_element(rotation))?;
        Ok(self.key(rotation)?.map(|key| Giant { key, permutation }))
    }

    /// Whether a column is a rotation modulo QP.
    fn is_wide(&self, key: &KeySwitchKey) -> bool {
        key.gadget.specials == self.specials
    }

    /// Rotations with keys over other special primes, by column.
    fn rotated(&self, inputs: &[&Ciphertext]) -> Result<BTreeMap<usize, Ciphertext>> {
        let mut out = BTreeMap::new();
        for (i, input) in inputs.iter().enumerate() {
            let mine: Vec<(usize, i64)> = self
                .babies
                .iter()
                .enumerate()
                .filter(|(_, (at, _, key))| *at == i && key.is_some_and(|key| !self.is_wide(key)))
                .map(|(column, (_, b, _))| (column, *b as i64))
                .collect();
            let steps: Vec<i64> = mine.iter().map(|(_, b)| *b).collect();
            let rotated = self.evaluator.rotate_hoisted(input, &steps)?;
            out.extend(mine.into_iter().map(|(column, _)| column).zip(rotated));
        }
        Ok(out)
    }

    /// The inputs' masks, decomposed once for each gadget of their keys.
    fn decompositions<'c>(&self, inputs: &[&'c Ciphertext]) -> Result<Vec<(usize, Decomposed<'c>)>> {
        let mut out: Vec<(usize, Decomposed<'c>)> = Vec::new();
        for (input, _, key) in &self.babies {
            let Some(key) = key.filter(|key| self.is_wide(key)) else {
                continue;
            };
            if find(&out, *input, &key.gadget).is_some() {
                continue;
            }
            if let Some([_, mask]) = inputs.get(*input).map(|x| &x.parts[..]) {
                let params = self.evaluator.params();
                out.push((*input, decompose(params, mask, self.level, &key.gadget)?));
            }
        }
        Ok(out)
    }

    fn columns<'c>(
        &self,
        inputs: &[&'c Ciphertext],
        rotated: &'c BTreeMap<usize, Ciphertext>,
        decomposed: &'c [(usize, Decomposed<'c>)],
    ) -> Result<Vec<Column<'c>>>
    where
        'e: 'c,
    {
        let params = self.evaluator.params();
        let column = |(c, (input, b, key)): (usize, &(usize, usize, Option<&'e KeySwitchKey>))| {
            let source = rotated.get(&c).or(inputs.get(*input).copied());
            let Some([body, mask]) = source.map(|x| &x.parts[..]) else {
                return Err(shape("inputs of linear maps", input + 1, inputs.len()));
            };
            let found = key.and_then(|key| Some((key, find(decomposed, *input, &key.gadget)?)));
            Ok(match found.filter(|_| !rotated.contains_key(&c)) {
                None => Column::Plain([body, mask]),
                Some((key, decomposed)) => Column::Switched(Rotation {
                    body,
                    decomposed,
                    key,
                    permutation: params.permutation(params.galois_element(*b as i64))?,
                }),
            })
        };
        self.babies.iter().enumerate().map(column).collect()
    }

    /// The sums of all maps, and their different weights.
    fn sums<'m>(&self, maps: &[(&'m SlotMap, f64)], codes: &mut Codes<'m>) -> Vec<Sum> {
        let places: BTreeMap<(usize, usize), usize> = self
            .babies
            .iter()
            .enumerate()
            .map(|(c, (input, b, _))| ((*input, *b), c))
            .collect();
        let mut out = Vec::new();
        for (output, (map, scale)) in maps.iter().enumerate() {
            let mut by_giant: BTreeMap<i64, Vec<(usize, usize)>> = BTreeMap::new();
            for (input, part) in map.parts().iter().enumerate() {
                for (offset, pattern) in part {
                    let (giant, b) = map.steps(*offset);
                    let Some(&at) = places.get(&(input, b)) else {
                        continue;
                    };
                    let shift = giant * map.baby_steps() as i64;
                    let code = codes.number(pattern, shift, *scale);
                    by_giant.entry(giant).or_default().push((at, code));
                }
            }
            out.extend(by_giant.into_iter().map(|(giant, mut terms)| {
                terms.sort_unstable();
                Sum { output, giant, terms }
            }));
        }
        out
    }
}

fn find<'d, 'c>(
    decomposed: &'d [(usize, Decomposed<'c>)],
    input: usize,
    gadget: &Gadget,
) -> Option<&'d Decomposed<'c>> {
    let found = decomposed
        .iter()
        .find(|(i, d)| *i == input && d.gadget() == gadget);
    found.map(|(_, d)| d)
}

/// Columns and weights at work.
struct Run<'a> {
    encoder: &'a Encoder,
    params: &'a Params,
    level: usize,
    specials: usize,
    columns: Vec<Column<'a>>,
    encoded: Encoded,
    period: usize,
}

/// Some sums and the columns that one of them has.
struct Tile<'s> {
    sums: Vec<(usize, &'s Sum)>,
    columns: Vec<usize>,
}

impl Run<'_> {
    /// Limbs of a sum: where no column is rotated, the special primes are left out.
    fn limbs(&self) -> usize {
        let plain = self.columns.iter().all(Column::is_plain);
        self.level + 1 + if plain { 0 } else { self.specials }
    }

    fn tables(&self, limbs: usize) -> Result<Vec<&NttTable>> {
        let tables = self.params.q_tables(self.level)?.iter();
        Ok(tables
            .chain(self.params.p_tables(self.specials)?)
            .take(limbs)
            .collect())
    }

    /// The sums, in their order.
    fn values(&self, sums: &[&Sum]) -> Result<Vec<Wide>> {
        let n = self.params.degree();
        let limbs = self.limbs();
        let tables = self.tables(limbs)?;
        let mut out: Vec<Wide> = sums
            .iter()
            .map(|_| [(); 2].map(|()| Poly::scratch(limbs, n)))
            .collect();
        let mut tasks: Vec<[Vec<&mut [u64]>; 2]> =
            tables.iter().map(|_| [(); 2].map(|()| Vec::new())).collect();
        for sum in &mut out {
            for (part, poly) in sum.iter_mut().enumerate() {
                for (task, limb) in tasks.iter_mut().zip(poly.words_mut().chunks_mut(n)) {
                    if let Some(list) = task.get_mut(part) {
                        list.push(limb);
                    }
                }
            }
        }
        let tiles = tiles(sums);
        par::for_each(tasks, |i, parts| {
            if let Some(table) = tables.get(i) {
                self.prime(i, table, &tiles, parts);
            }
        });
        Ok(out)
    }

    /// All sums modulo one prime.
    fn prime(&self, i: usize, table: &NttTable, tiles: &[Tile<'_>], mut parts: [Vec<&mut [u64]>; 2]) {
        let n = self.params.degree();
        let modulus = table.modulus();
        let live: Vec<usize> = (0..self.columns.len())
            .filter(|&c| i <= self.level || self.columns.get(c).is_some_and(|c| !c.is_plain()))
            .collect();
        let limbs: Vec<Limb<'_>> = live
            .iter()
            .filter_map(|&c| Some(self.columns.get(c)?.limb(i, self.level)))
            .collect();
        // Where a column is among those that count.
        let mut place: Vec<Option<usize>> = vec![None; self.columns.len()];
        for (at, &c) in live.iter().enumerate() {
            if let Some(slot) = place.get_mut(c) {
                *slot = Some(at);
            }
        }
        let values = self.encoded.values(self.encoder, table);
        let run = n / (2 * self.period);
        let matrices: Vec<Matrix> = tiles
            .iter()
            .map(|tile| self.matrix(tile, &place, &values))
            .collect();
        let block = block_len(live.len(), n);
        let stride = block + PAD;
        let mut turned = arena::take(2 * live.len() * stride);
        let mut scratch = Scratch::new();
        let run_here = run.min(block);
        for at in (0..n).step_by(block) {
            for (limb, pair) in limbs.iter().zip(turned.chunks_mut(2 * stride)) {
                let (body, mask) = pair.split_at_mut(stride);
                if let (Some(body), Some(mask)) = (body.get_mut(..block), mask.get_mut(..block)) {
                    limb.block(at, [body, mask], modulus, &mut scratch);
                }
            }
            for (part, outs) in parts.iter_mut().enumerate() {
                for matrix in &matrices {
                    let xs: Vec<&[u64]> = matrix
                        .columns
                        .iter()
                        .map(|&c| {
                            let from = (2 * c + part) * stride;
                            turned.get(from..from + block).unwrap_or_default()
                        })
                        .collect();
                    let mut tile: Vec<&mut [u64]> = Vec::with_capacity(TILE);
                    // Sums of a tile follow each other.
                    let rows = outs.iter_mut().skip(matrix.first).take(matrix.count);
                    tile.extend(rows.filter_map(|out| out.get_mut(at..at + block)));
                    if xs.is_empty() {
                        tile.iter_mut().for_each(|out| out.fill(0));
                        continue;
                    }
                    let width = matrix.count * xs.len();
                    let from = at / run * width;
                    let weights = matrix.weights.get(from..from + block / run_here * width);
                    dot_runs(&mut tile, &xs, weights.unwrap_or_default(), run_here, modulus);
                }
            }
        }
    }

    /// The weights of a tile modulo one prime: by run, sum, column.
    fn matrix(&self, tile: &Tile<'_>, place: &[Option<usize>], values: &[Vec<u64>]) -> Matrix {
        let columns: Vec<(usize, usize)> = tile
            .columns
            .iter()
            .filter_map(|&c| Some((c, place.get(c).copied().flatten()?)))
            .collect();
        let width = tile.sums.len() * columns.len();
        let mut weights = vec![0; 2 * self.period * width];
        for (j, (_, sum)) in tile.sums.iter().enumerate() {
            let mut lists: Vec<&[u64]> = vec![&[]; columns.len()];
            for (column, code) in &sum.terms {
                if let Ok(k) = columns.binary_search_by_key(column, |(c, _)| *c)
                    && let (Some(list), Some(values)) = (lists.get_mut(k), values.get(*code))
                {
                    *list = values;
                }
            }
            super::weights::fill(&mut weights, width, j * columns.len(), &lists);
        }
        Matrix {
            first: tile.sums.first().map_or(0, |(at, _)| *at),
            count: tile.sums.len(),
            columns: columns.into_iter().map(|(_, at)| at).collect(),
            weights,
        }
    }

    /// acc + next.
    fn add(&self, acc: Wide, next: Option<Wide>) -> Wide {
        let Some(next) = next else { return acc };
        let Ok(tables) = self.tables(acc[0].limbs()) else {
            return acc;
        };
        let [acc_body, acc_mask] = &acc;
        let [body, mask] = &next;
        [(acc_body, body), (acc_mask, mask)].map(|(a, b)| Poly::sum(a, b, false, tables.iter().copied()))
    }

    /// Division by P and the last prime.
    fn finish(&self, result: Option<Wide>, scale: f64) -> Result<Ciphertext> {
        let [body, mask] = result.ok_or_else(|| shape("diagonals of a linear map", 1, 0))?;
        let tables = self.tables(self.level + 1 + self.specials)?;
        let n = self.params.degree();
        let full = |poly: Poly<Eval>| {
            if poly.limbs() == tables.len() {
                return poly;
            }
            let mut out = Poly::zero(tables.len(), n);
            let words = poly.words();
            if let Some(head) = out.words_mut().get_mut(..words.len()) {
                head.copy_from_slice(words);
            }
            out
        };
        let (body, mask) = (full(body), full(mask));
        let (keep, drop) = tables.split_at(self.level);
        let division = self.params.mod_down_rescale(self.level, self.specials)?;
        let parts = division.divide(&[&body, &mask], keep, drop);
        let prime = drop.first().map_or(1.0, |t| t.modulus().value() as f64);
        Ok(Ciphertext {
            parts,
            level: self.level - 1,
            scale: scale / prime,
        })
    }
}

/// Weights of a tile modulo one prime.
struct Matrix {
    first: usize,
    count: usize,
    /// Places of the columns among those that count for this prime.
    columns: Vec<usize>,
    weights: Vec<u64>,
}

/// Sums that follow each other, with all their columns.
fn tiles<'s>(sums: &[&'s Sum]) -> Vec<Tile<'s>> {
    let numbered: Vec<(usize, &Sum)> = sums.iter().copied().enumerate().collect();
    numbered
        .chunks(TILE)
        .map(|sums| {
            let columns: BTreeSet<usize> = sums
                .iter()
                .flat_map(|(_, s)| s.terms.iter().map(|(c, _)| *c))
                .collect();
            Tile {
                sums: sums.to_vec(),
                columns: columns.into_iter().collect(),
            }
        })
        .collect()
}
