//! The engine: inner sums, prime by prime and block by block, and their giant steps.
#![expect(
    clippy::indexing_slicing,
    reason = "hot loops; columns are numbered by the schedule, blocks divide N"
)]

use super::columns::{Column, PAD, Scratch, block_len};
use super::weights::{Layout, Matrix};
use crate::arith::arena;
use crate::arith::dot::{dot_runs, products};
use crate::arith::{Modulus, NttTable};
use crate::ckks::ciphertext::{Ciphertext, check_level, check_scale};
use crate::par;
use crate::ring::Poly;
use crate::rlwe::Params;
use crate::rlwe::giant_step::{Giant, Undivided, giant_step};
use crate::{Error, Result};
use std::borrow::Borrow;
use std::collections::BTreeSet;

/// The inputs of maps: of one level and scale, at least of a level, relinearized. Gives back the first.
pub(super) fn check<'c>(op: &'static str, inputs: &[&'c Ciphertext], least: usize) -> Result<&'c Ciphertext> {
    let first = *inputs.first().ok_or(Error::Shape {
        what: "inputs of a linear map (at least)",
        needed: 1,
        found: 0,
    })?;
    for input in inputs {
        check_level(op, first.level, input.level)?;
        check_scale(op, first.scale, input.scale)?;
        if input.level < least {
            return Err(Error::Level {
                op,
                needed: least,
                found: input.level,
            });
        }
        if input.parts.len() != 2 {
            return Err(Error::Parts {
                op,
                needed: 2,
                found: input.parts.len(),
            });
        }
    }
    Ok(first)
}

/// Columns, at a level and with some special primes.
pub(super) struct Engine<'a> {
    pub params: &'a Params,
    pub level: usize,
    pub specials: usize,
    pub columns: Vec<Column<'a>>,
}

impl Engine<'_> {
    /// The primes of the inner sums: where no column is rotated, the special primes are left out.
    fn tables(&self) -> Result<Vec<&NttTable>> {
        let plain = self.columns.iter().all(Column::is_plain);
        tables(self.params, self.level, if plain { 0 } else { self.specials })
    }

    /// True unless the column is zero modulo prime i.
    pub(super) fn counts(&self, column: usize, i: usize) -> bool {
        i <= self.level || !self.columns[column].is_plain()
    }

    /// `count` sums of products of columns and weights; `matrices` tells the weights modulo prime i, the sums following
    /// each other.
    ///
    /// For one prime the columns are made block by block, used and forgotten, so they never travel to memory.
    pub(super) fn inner_sums<M: Borrow<[Matrix]>>(
        &self,
        count: usize,
        layout: Layout,
        matrices: impl Fn(usize, &NttTable) -> M + Sync + Send,
    ) -> Result<Vec<Undivided>> {
        let n = self.params.degree();
        let tables = self.tables()?;
        let mut out: Vec<Undivided> = (0..count)
            .map(|_| [(); 2].map(|()| Poly::scratch(tables.len(), n)))
            .collect();
        let mut tasks: Vec<[Vec<&mut [u64]>; 2]> = tables
            .iter()
            .map(|_| [(); 2].map(|()| Vec::with_capacity(count)))
            .collect();
        for (part, poly) in out.iter_mut().flat_map(|sum| sum.iter_mut().enumerate()) {
            for (task, limb) in tasks.iter_mut().zip(poly.words_mut().chunks_mut(n)) {
                task[part].push(limb);
            }
        }
        par::for_each(tasks, |i, sums| {
            self.prime(
                i,
                tables[i].modulus(),
                layout,
                matrices(i, tables[i]).borrow(),
                sums,
            );
        });
        Ok(out)
    }

    /// All sums modulo one prime: bodies, then masks.
    fn prime(
        &self,
        i: usize,
        modulus: &Modulus,
        layout: Layout,
        matrices: &[Matrix],
        mut sums: [Vec<&mut [u64]>; 2],
    ) {
        let used: BTreeSet<usize> = matrices.iter().flat_map(|m| &m.columns).copied().collect();
        let mut place = vec![0; self.columns.len()];
        for (at, &column) in used.iter().enumerate() {
            place[column] = at;
        }
        let limbs: Vec<_> = used
            .iter()
            .map(|&c| self.columns[c].limb(i, self.level))
            .collect();
        let n = self.params.degree();
        let block = block_len(limbs.len(), n);
        let stride = block + PAD;
        let mut made = arena::take(2 * limbs.len() * stride);
        let mut scratch = Scratch::new();
        for at in (0..n).step_by(block) {
            for (limb, pair) in limbs.iter().zip(made.chunks_mut(2 * stride)) {
                let (body, mask) = pair.split_at_mut(stride);
                limb.block(
                    at,
                    [&mut body[..block], &mut mask[..block]],
                    modulus,
                    &mut scratch,
                );
            }
            let mut first = 0;
            for matrix in matrices {
                let xs = [0, 1].map(|part| -> Vec<&[u64]> {
                    let from = |c: &usize| (2 * place[*c] + part) * stride;
                    let columns = matrix.columns.iter().map(from);
                    columns.map(|from| &made[from..from + block]).collect()
                });
                let mut outs = sums.each_mut().map(|part| -> Vec<&mut [u64]> {
                    let rows = &mut part[first..first + matrix.sums];
                    rows.iter_mut().map(|out| &mut out[at..at + block]).collect()
                });
                multiply(matrix, &mut outs, &xs, layout, at, n, modulus);
                first += matrix.sums;
            }
        }
    }
}

/// Sums of products of a matrix with a block of its columns, body and mask.
fn multiply(
    matrix: &Matrix,
    outs: &mut [Vec<&mut [u64]>; 2],
    xs: &[Vec<&[u64]>; 2],
    layout: Layout,
    at: usize,
    n: usize,
    modulus: &Modulus,
) {
    let block = outs[0].first().map_or(0, |out| out.len());
    let columns = matrix.columns.len();
    match layout {
        _ if columns == 0 => outs.iter_mut().flatten().for_each(|out| out.fill(0)),
        Layout::Runs(run) => {
            let width = matrix.sums * columns;
            let from = at / run * width;
            let run = run.min(block);
            let weights = &matrix.weights[from..from + block / run * width];
            for (outs, xs) in outs.iter_mut().zip(xs) {
                dot_runs(outs, xs, weights, run, modulus);
            }
        }
        Layout::Words => {
            let [bodies, masks] = outs;
            let rows = matrix.weights.chunks(n * columns);
            for ((body, mask), row) in bodies.iter_mut().zip(masks).zip(rows) {
                let weights: Vec<&[u64]> = row.chunks(n).map(|w| &w[at..at + block]).collect();
                products([body, mask], &weights, [&xs[0], &xs[1]], modulus);
            }
        }
    }
}

fn tables(params: &Params, level: usize, specials: usize) -> Result<Vec<&NttTable>> {
    Ok(params
        .q_tables(level)?
        .iter()
        .chain(params.p_tables(specials)?)
        .collect())
}

/// One of the two chains of a map: sum_g rot_g(Y_g) by Horner's rule, from the outermost giant step inwards.
pub(super) struct Chain<'g> {
    /// The rotation by one giant step; none where it changes nothing.
    pub giant: Option<&'g Giant<'g>>,
    pub sum: Option<Undivided>,
    /// Giant steps that the sum still has to take.
    at: u64,
}

impl<'g> Chain<'g> {
    pub(super) fn new(giant: Option<&'g Giant<'g>>) -> Self {
        Self {
            giant,
            sum: None,
            at: 0,
        }
    }

    /// Takes Y of giant step t in, at most that of the one before.
    pub(super) fn add(&mut self, engine: &Engine<'_>, t: u64, mut next: Option<Undivided>) -> Result<()> {
        let (params, level, specials) = (engine.params, engine.level, engine.specials);
        let mut sum = self.sum.take();
        if let (Some(sum), Some(giant)) = (&mut sum, self.giant) {
            for step in (t..self.at).rev() {
                let next = if step == t { next.take() } else { None };
                *sum = giant_step(params, level, specials, giant, sum, next)?;
            }
        }
        self.at = t;
        self.sum = match (sum, next) {
            (Some([a, b]), Some([c, d])) => {
                let tables = tables(params, level, specials)?;
                let sum = |a, b| Poly::sum(a, b, false, tables.iter().copied());
                Some([sum(&a, &c), sum(&b, &d)])
            }
            (sum, next) => sum.or(next),
        };
        Ok(())
    }
}

/// Division by P and the last prime.
pub(super) fn finish(
    params: &Params,
    level: usize,
    specials: usize,
    [body, mask]: &Undivided,
    scale: f64,
) -> Result<Ciphertext> {
    let below = level.checked_sub(1).ok_or(Error::Level {
        op: "linear map",
        needed: 1,
        found: level,
    })?;
    let tables = tables(params, level, specials)?;
    let (keep, drop) = tables.split_at(level);
    let division = params.mod_down_rescale(level, specials)?;
    Ok(Ciphertext {
        parts: division.divide(&[body, mask], keep, drop),
        level: below,
        scale: scale / drop[0].modulus().value() as f64,
    })
}
