//! A matrix times a value in blocks, for every token at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::blocks::{BlockLayout, Operand};
use crate::ckks::{MapPart, Pattern, SlotMap};
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// Baby steps of one copy of an operand: the operand is rotated by multiples of it first, so that few keys serve many
/// rotations.
pub(super) const COPY: usize = 8;

/// A dense matrix between values in blocks, (out blocks * dim) x (in blocks * dim), real. Without its numbers it still has
/// a cost: a plan for it cannot be run, but priced.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockMatrix {
    dim: usize,
    out_blocks: usize,
    in_blocks: usize,
    entries: Entries,
}

#[derive(Debug, Clone, PartialEq)]
enum Entries {
    /// Row-major.
    Known(Vec<f32>),
    /// Stands for every entry; different for different matrices.
    Unknown(f32),
}

impl BlockMatrix {
    /// A matrix of these entries, row-major (out, in).
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of entries.
    pub fn new(dim: usize, out_blocks: usize, in_blocks: usize, entries: Vec<f32>) -> Result<Self> {
        let needed = dim * dim * out_blocks * in_blocks;
        if entries.len() != needed {
            return Err(Error::Shape {
                what: "entries of a block matrix",
                needed,
                found: entries.len(),
            });
        }
        Ok(BlockMatrix {
            dim,
            out_blocks,
            in_blocks,
            entries: Entries::Known(entries),
        })
    }

    /// A matrix of this shape with numbers that are not known; `tag` tells it from others.
    #[must_use]
    pub fn unknown(dim: usize, out_blocks: usize, in_blocks: usize, tag: u32) -> Self {
        BlockMatrix {
            dim,
            out_blocks,
            in_blocks,
            // 2^-24 steps: every tag below 2^24 is another number.
            entries: Entries::Unknown((f64::from(tag % (1 << 24) + 1) / f64::from(1 << 24)) as f32),
        }
    }

    /// Blocks of the result.
    #[must_use]
    pub fn out_blocks(&self) -> usize {
        self.out_blocks
    }

    /// diag_k(j) = W\[j, j + k\] of one block, zero outside; nothing if the operand has no such block.
    #[expect(
        clippy::indexing_slicing,
        reason = "`out` and `input` are blocks of the matrix, which `check` saw to, and `new` checked its size"
    )]
    fn diagonal(&self, out: usize, input: Option<usize>, k: i64) -> Vec<f32> {
        let mut diagonal = vec![0.0; self.dim];
        let (Some(input), Entries::Known(entries)) = (input, &self.entries) else {
            return diagonal;
        };
        let cols = self.in_blocks * self.dim;
        for (j, entry) in diagonal.iter_mut().enumerate() {
            let Ok(col) = usize::try_from(j as i64 + k) else {
                continue;
            };
            if col < self.dim {
                let at = (out * self.dim + j) * cols + input * self.dim + col;
                *entry = entries[at];
            }
        }
        diagonal
    }

    fn check(&self, operands: &[Operand]) -> Result<()> {
        let blocks = operands.iter().flat_map(|operand| [Some(operand.re), operand.im]);
        match blocks.flatten().find(|block| *block >= self.in_blocks) {
            None => Ok(()),
            Some(block) => Err(Error::Shape {
                what: "blocks of a matrix that operands are for (at least)",
                needed: block + 1,
                found: self.in_blocks,
            }),
        }
    }

    /// Real outputs, one ciphertext for each block.
    ///
    /// **Level:** in -> in - 1. **Keys:** those of [`SlotMap`], rotations by multiples of 8 below n, conjugation if an
    /// operand is not real. **Cost:** for each operand n - 1 rotations, mostly hoisted; for each output 2 dim / n giant
    /// steps and, unless all operands are real, a conjugation.
    ///
    /// # Errors
    /// [`Error::Circuit`] for no operand or a matrix of zeros; [`Error::Shape`] for an operand beyond the matrix.
    pub fn real(&self, g: &mut Graph, layout: BlockLayout, operands: &[Operand]) -> Result<Vec<NodeId>> {
        self.check(operands)?;
        let real = operands.iter().all(|operand| operand.real);
        let inputs = copies(g, layout, operands);
        let mut outputs = Vec::with_capacity(self.out_blocks);
        for out in 0..self.out_blocks {
            let map = self.map(layout, operands, 2 * out, real, |operand, k| {
                if real {
                    return (self.diagonal(out, Some(operand.re), k), vec![]);
                }
                let half = |v: Vec<f32>, sign: f32| v.into_iter().map(|w| sign * 0.5 * w).collect();
                (
                    half(self.diagonal(out, Some(operand.re), k), 1.0),
                    half(self.diagonal(out, operand.im, k), -1.0),
                )
            })?;
            let product = self.emit(g, &inputs, map)?;
            outputs.push(if real {
                product
            } else {
                g.category("repack", |g| super::twice_real_part(g, product))
            });
        }
        Ok(outputs)
    }

    /// Outputs packed in pairs.
    ///
    /// **Level:** in -> in - 1. **Keys**, **cost:** as [`real`](Self::real), with one conjugation for each pair.
    ///
    /// # Errors
    /// As [`real`](Self::real).
    pub fn packed(&self, g: &mut Graph, layout: BlockLayout, operands: &[Operand]) -> Result<Vec<NodeId>> {
        self.check(operands)?;
        let real = operands.iter().all(|operand| operand.real);
        let inputs = copies(g, layout, operands);
        let mut outputs = Vec::with_capacity(self.out_blocks.div_ceil(2));
        for out in (0..self.out_blocks).step_by(2) {
            let second = (out + 1 < self.out_blocks).then_some(out + 1);
            // With A_o = (W_o,re - i W_o,im) / 2, y = (A_0 + i A_1) z + conj((A_0 - i A_1) z).
            let weights = |operand: &Operand, k: i64, sign: f32| {
                let of = |out: Option<usize>, input: Option<usize>| match out {
                    Some(out) => self.diagonal(out, input, k),
                    None => vec![0.0; self.dim],
                };
                let (a, b) = (of(Some(out), Some(operand.re)), of(second, Some(operand.re)));
                if real {
                    return (a, b);
                }
                let (c, d) = (of(Some(out), operand.im), of(second, operand.im));
                let re = a.iter().zip(&d).map(|(a, d)| 0.5 * (a + sign * d)).collect();
                let im = b.iter().zip(&c).map(|(b, c)| 0.5 * (sign * b - c)).collect();
                (re, im)
            };
            let plus = self.map(layout, operands, 2 * out, false, |operand, k| {
                weights(operand, k, 1.0)
            })?;
            let minus = match real {
                true => None,
                false => Some(self.map(layout, operands, 2 * out + 1, false, |operand, k| {
                    weights(operand, k, -1.0)
                })?),
            };
            // A multiple of the identity takes packed values to packed values as they are; its like, to conjugates.
            outputs.push(match minus.filter(|minus| !is_zero(minus)) {
                None => self.emit(g, &inputs, plus)?,
                Some(minus) => {
                    let plus = (!is_zero(&plus))
                        .then(|| self.emit(g, &inputs, plus))
                        .transpose()?;
                    let minus = self.emit(g, &inputs, minus)?;
                    g.category("repack", |g| {
                        let conjugate = g.conjugate(minus);
                        plus.map_or(conjugate, |plus| g.add(plus, conjugate))
                    })
                }
            });
        }
        Ok(outputs)
    }

    /// Baby steps and diagonals of one output, over the copies of all operands. Where the numbers are not known, `which`
    /// tells the maps of one matrix from each other, and `real` whether their weights are.
    fn map(
        &self,
        layout: BlockLayout,
        operands: &[Operand],
        which: usize,
        real: bool,
        weights: impl Fn(&Operand, i64) -> (Vec<f32>, Vec<f32>),
    ) -> Result<(usize, Vec<MapPart>)> {
        let n = baby_steps(layout.dim);
        let copy = n.min(COPY);
        let dim = layout.dim as i64;
        let mut parts: Vec<MapPart> = vec![BTreeMap::new(); operands.len() * (n / copy)];
        let unknown = match self.entries {
            Entries::Unknown(w) => {
                let mut values = vec![w; layout.dim];
                if let Some(first) = values.first_mut() {
                    *first = 1.0 + which as f32;
                }
                Some(match real {
                    true => Pattern::real(values)?,
                    false => Pattern::complex(values.clone(), values)?,
                })
            }
            Entries::Known(_) => None,
        };
        for (i, operand) in operands.iter().enumerate() {
            for k in 1 - dim..dim {
                let b = k.rem_euclid(n as i64) as usize;
                let pattern = match &unknown {
                    Some(pattern) => pattern.clone(),
                    None => match weights(operand, k) {
                        (re, im) if im.is_empty() => Pattern::real(re)?,
                        (re, im) => Pattern::complex(re, im)?,
                    },
                };
                let c = b / copy;
                if let Some(part) = parts.get_mut(i * (n / copy) + c) {
                    part.insert(k - (c * copy) as i64, pattern);
                }
            }
        }
        Ok((n, parts))
    }

    /// The map over those inputs that have a diagonal that is not zero.
    fn emit(&self, g: &mut Graph, inputs: &[NodeId], (n, parts): (usize, Vec<MapPart>)) -> Result<NodeId> {
        let used = |part: &MapPart| part.values().any(|pattern| !pattern.is_zero());
        let kept = inputs.iter().zip(parts).filter(|(_, part)| used(part));
        let (inputs, parts): (Vec<NodeId>, Vec<MapPart>) = kept.map(|(input, part)| (*input, part)).unzip();
        let map = match self.entries {
            Entries::Known(_) => SlotMap::new(n, parts)?,
            Entries::Unknown(_) => SlotMap::unknown(n, parts)?,
        };
        Ok(g.linear_map(&inputs, Arc::new(map)))
    }
}

/// Whether no diagonal has an entry that is not zero.
fn is_zero((_, parts): &(usize, Vec<MapPart>)) -> bool {
    parts.iter().flat_map(BTreeMap::values).all(Pattern::is_zero)
}

/// Baby steps for a dense block: the power of two next above sqrt(2 dim).
fn baby_steps(dim: usize) -> usize {
    1 << (dim.trailing_zeros() + 2).div_ceil(2).min(dim.trailing_zeros())
}

/// Every operand and its rotations by multiples of [`COPY`] below n, operand by operand.
fn copies(g: &mut Graph, layout: BlockLayout, operands: &[Operand]) -> Vec<NodeId> {
    let n = baby_steps(layout.dim);
    let mut inputs = Vec::new();
    for operand in operands {
        for shift in (0..n).step_by(n.min(COPY)) {
            inputs.push(g.rotate(operand.value, shift as i64));
        }
    }
    inputs
}
