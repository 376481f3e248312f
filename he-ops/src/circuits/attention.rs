//! Multi-head attention with powers instead of exponentials.

use super::{Circuit, Reciprocal, TokenLayout, inner_sum, replicate, take, twice_imag_part, twice_real_part};
use crate::ckks::Pattern;
use crate::error::broken;
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// PowerSoftmax attention: o = (mean_m w_m v_m) / (mean_m w_m + epsilon) with w_m = (q.k_m / sqrt(head_dim) + c_h)^p,
/// for every token and head at once (arXiv 2410.09457; mean over the keys m).
///
/// Inputs q, k, v: real, row n = tokens * copy + t of `dim` features holds the query of token t in every copy, and the
/// key and value of token t + shifts * copy, where shifts = tokens / copies ("staircase"). So rows n + b, b = 0 ..
/// shifts - 1, over all copies, run through all keys of query t exactly once, and the rotation that brings row n + b to
/// row n is cyclic: no mask, no garbage. What the copies hold in parts is summed over the copies at the end.
///
/// 1. Products q * rot_{b dim}(k), two of them packed as real and imaginary part; the sum over the features of a head
///    stands in its first slot.
/// 2. A mask keeps that slot, with the scaling of the reciprocal's interval folded in; copies over the head;
///    unpacking by a conjugation; + c_h; the power.
/// 3. Numerator Σ_b w_b rot_{b dim}(v) and denominator Σ_b w_b, summed over the copies.
/// 4. [`Reciprocal`] of the denominator, times the numerator.
///
/// The result is o / [`gain`](Self::gain): fold the gain of each head into the weights that follow.
///
/// **Level:** in -> in - (3 + log2 p + doublings), with v and the numerator free to come late.
/// **Keys:** relinearisation, conjugation, rotations by tokens, within a head, and over copies.
/// **Cost:** for p = 2: 2 (shifts - 1) + shifts log2 head_dim + shifts/2 + 2 log2 copies key switches and
/// shifts * 2.5 + 2 doublings relinearisations.
#[derive(Debug, Clone)]
pub struct PowerSoftmaxAttention {
    layout: TokenLayout,
    heads: usize,
    head_dim: usize,
    power: u32,
    epsilon: f64,
    shift: Vec<f64>,
    reciprocal: Reciprocal,
    ranges: Vec<(f64, f64)>,
}

impl PowerSoftmaxAttention {
    /// `shift` has c_h for each head, `ranges` the interval of its denominator, epsilon included; heads have
    /// `dim / heads` features.
    ///
    /// # Errors
    /// [`Error::Circuit`] unless heads and power are powers of two that fit, the copies divide the tokens, and there
    /// is one shift and one valid range for each head.
    pub fn new(
        layout: TokenLayout,
        power: u32,
        epsilon: f64,
        shift: Vec<f64>,
        ranges: Vec<(f64, f64)>,
        doublings: u32,
    ) -> Result<Self> {
        let refuse = |reason: String| {
            Err(Error::Circuit {
                circuit: "power_softmax_attention",
                reason,
            })
        };
        let heads = ranges.len();
        if !heads.is_power_of_two() || heads > layout.dim || shift.len() != heads {
            return refuse(format!(
                "a power of two of heads up to {} needed, {} shifts and {heads} ranges found",
                layout.dim,
                shift.len()
            ));
        }
        if power < 2 || !power.is_power_of_two() {
            return refuse(format!("a power of 2, 4, 8, .. needed, {power} found"));
        }
        if layout.copies() > layout.tokens {
            return refuse(format!(
                "at most as many copies as tokens needed, {} copies of {} tokens found; use fewer slots or wider tokens",
                layout.copies(),
                layout.tokens
            ));
        }
        if !epsilon.is_finite() || epsilon < 0.0 || shift.iter().any(|c| !c.is_finite()) {
            return refuse(format!(
                "a finite epsilon >= 0 and finite shifts needed, epsilon {epsilon} found"
            ));
        }
        let head_dim = layout.dim / heads;
        let of_slots = ranges
            .iter()
            .flat_map(|range| std::iter::repeat_n(*range, head_dim));
        let reciprocal = Reciprocal::new(layout.slots, of_slots.collect(), doublings)?;
        Ok(PowerSoftmaxAttention {
            layout,
            heads,
            head_dim,
            power,
            epsilon,
            shift,
            reciprocal,
            ranges,
        })
    }

    /// Rows that a query is multiplied with in each copy: tokens / copies.
    pub fn shifts(&self) -> usize {
        self.layout.tokens / self.layout.copies()
    }

    /// Attention heads.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// o = gain(head) * result.
    pub fn gain(&self, head: usize) -> f64 {
        let slot = head * self.head_dim;
        // The numerator carries the factor of the denominator's normalisation, which the reciprocal undid.
        self.reciprocal.gain(slot) / self.reciprocal.input_scale(slot)
    }

    /// The reciprocal of the denominator, for its error bound.
    pub fn reciprocal(&self) -> &Reciprocal {
        &self.reciprocal
    }

    /// Interval of the denominator of each head.
    pub fn ranges(&self) -> &[(f64, f64)] {
        &self.ranges
    }

    /// (2 / ((hi - lo) tokens))^(1/p): scores times this have powers that sum to the scaled denominator.
    fn score_scale(&self, head: usize) -> f64 {
        let alpha = self.reciprocal.input_scale(head * self.head_dim);
        (alpha / self.layout.tokens as f64).powf(1.0 / f64::from(self.power))
    }

    fn per_slot(&self, f: impl Fn(usize, usize) -> f64) -> Result<Pattern> {
        let value = |slot: usize| f(slot / self.head_dim, slot % self.head_dim) as f32;
        Pattern::real((0..self.layout.dim).map(value).collect())
    }

    /// Scaled scores plus shift, in every slot of their head, for each b.
    fn scores(&self, g: &mut Graph, q: NodeId, k: NodeId) -> Result<Vec<NodeId>> {
        let dim = self.layout.dim as i64;
        let products: Vec<NodeId> = g.category("ciphertext matmul", |g| {
            (0..self.shifts() as i64)
                .map(|b| {
                    let key = g.rotate(k, b * dim);
                    g.mul(q, key)
                })
                .collect()
        });
        #[expect(
            clippy::indexing_slicing,
            reason = "there is a shift for each head: `new` refuses others"
        )]
        let shift = self.per_slot(|head, _| self.shift[head] * self.score_scale(head))?;
        let root = (self.head_dim as f64).sqrt();
        let mut scores = Vec::with_capacity(products.len());
        for pair in products.chunks(2) {
            // A packed pair comes out of its conjugation doubled.
            let half = if pair.len() == 2 { 0.5 } else { 1.0 };
            let mask = self.per_slot(|head, a| {
                if a == 0 {
                    half * self.score_scale(head) / root
                } else {
                    0.0
                }
            })?;
            let packed = g.category("ciphertext matmul", |g| {
                let packed = match pair {
                    [re, im] => {
                        let im = g.mul_i(*im, 1);
                        g.add(*re, im)
                    }
                    [only, ..] => *only,
                    [] => q,
                };
                inner_sum(g, packed, 1, self.head_dim)
            })?;
            let parts = g.category("repack", |g| -> Result<Vec<NodeId>> {
                let first = g.mul_plain(packed, mask);
                let spread = replicate(g, first, 1, self.head_dim)?;
                Ok(match pair.len() {
                    2 => vec![twice_real_part(g, spread), twice_imag_part(g, spread)],
                    _ => vec![spread],
                })
            })?;
            g.category("power softmax", |g| {
                scores.extend(parts.into_iter().map(|part| g.add_plain(part, shift.clone())));
            });
        }
        Ok(scores)
    }
}

impl Circuit for PowerSoftmaxAttention {
    fn name(&self) -> &'static str {
        "power_softmax_attention"
    }

    fn slots(&self) -> usize {
        self.layout.slots
    }

    fn arity(&self) -> usize {
        3
    }

    fn expand(&self, g: &mut Graph, inputs: &[NodeId]) -> Result<NodeId> {
        let [q, k, v] = take(self, g, inputs)?;
        let (sequence, copies) = (self.layout.sequence() as i64, self.layout.copies());
        let scores = self.scores(g, q, k)?;
        let weights: Vec<NodeId> = g.category("power softmax", |g| {
            let power = |mut w: NodeId, g: &mut Graph| {
                (0..self.power.trailing_zeros()).for_each(|_| w = g.square(w));
                w
            };
            scores.into_iter().map(|score| power(score, g)).collect()
        });
        let nothing = || broken("a layout has a token");
        let t = g.category("power softmax", |g| -> Result<NodeId> {
            let sum = weights
                .iter()
                .copied()
                .reduce(|a, b| g.add(a, b))
                .ok_or_else(nothing)?;
            let denominator = inner_sum(g, sum, sequence, copies)?;
            let start = self.per_slot(|head, _| {
                let slot = head * self.head_dim;
                self.reciprocal.input_shift(slot) - self.reciprocal.input_scale(slot) * self.epsilon
            })?;
            let negative = g.negate(denominator);
            Ok(g.add_plain(negative, start))
        })?;
        let numerator = g.category("ciphertext matmul", |g| -> Result<NodeId> {
            let mut sum = None;
            for (b, weight) in (0_i64..).zip(&weights) {
                let value = g.rotate(v, b * self.layout.dim as i64);
                let product = g.mul(*weight, value);
                sum = Some(match sum {
                    None => product,
                    Some(sum) => g.add(sum, product),
                });
            }
            inner_sum(g, sum.ok_or_else(nothing)?, sequence, copies)
        })?;
        let reciprocal = self.reciprocal.expand(g, &[t])?;
        Ok(g.category("power softmax", |g| g.mul(numerator, reciprocal)))
    }
}
