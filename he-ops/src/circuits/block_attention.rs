//! PowerSoftmax attention in the wide layout: scores gathered densely, so that powers and weights are few ciphertexts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::block_matrix::COPY;
use super::blocks::BlockLayout;
use super::twice_real_part;
use crate::ckks::{MapPart, Pattern, SlotMap};
use crate::error::broken;
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// One head of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockHead {
    /// Added to every score.
    pub shift: f64,
    /// The denominator is taken from this: t = start - Σ_j w_j.
    pub start: f64,
}

/// The heads of one block: Σ_j w_j v_j and start - Σ_j w_j with w_j = mask (q.k_j + shift)^power, for every token at
/// once (arXiv 2410.09457).
///
/// Inputs q, k, v: real, heads of `head_dim` features (a power of two) side by side. With L tokens:
///
/// 1. K = k + i rot(k) by half of the tokens, so a product q * rot_{κ stride}(K) holds the scores of keys κ and κ + L/2.
/// 2. One linear map sums `head_dim` such products over the features of a head and puts the sum of product κ into slot
///    κ of the head: dense scores, 2 L / head_dim real values for each feature.
/// 3. Real and imaginary part apart: the shift, the power, the mask. Together again.
/// 4. One linear map spreads every slot over its head again, and sums all of them: the denominator.
/// 5. Σ_κ w_κ * rot_{κ stride}(v - i rot(v)): its real part is the numerator. Relinearised once.
///
/// **Level:** numerator in -> in - (4 + log2 power), denominator one higher; one lower with a mask.
/// **Keys:** relinearisation, conjugation, rotations by 1 .. 7 and multiples of 8 up to `head_dim`, by one to the left and
/// right, by 1 .. 7 and multiples of 8 tokens.
/// **Cost:** for L tokens and G = L / 2 head_dim: L/2 rotations of K and of v, L/2 relinearisations, 2 L giant steps, and
/// for each of G: a conjugation and 2 head_dim hoisted rotations.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockAttention {
    /// Where the tokens stand.
    pub layout: BlockLayout,
    /// Features of a head, padded to a power of two.
    pub head_dim: usize,
    /// All heads of the block, those of the padding too: dim / head_dim of them.
    pub heads: Vec<BlockHead>,
    /// p, even.
    pub power: u32,
    /// Factor of w for token t and key j, row-major.
    pub mask: Option<Arc<Vec<f32>>>,
}

/// Numerator and denominator of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSums {
    /// Its real part is Σ_j w_j v_j; the imaginary part is of no use.
    pub numerator: NodeId,
    /// start - Σ_j w_j, in all slots of the head; real.
    pub denominator: NodeId,
}

impl BlockAttention {
    fn check(&self) -> Result<()> {
        let BlockLayout { tokens, dim, .. } = self.layout;
        let fits = self.head_dim.is_power_of_two()
            && self.head_dim <= dim
            && self.heads.len() == dim / self.head_dim
            && tokens >= 2
            && self.power >= 2
            && self.power.is_multiple_of(2)
            && self
                .mask
                .as_ref()
                .is_none_or(|mask| mask.len() == tokens * tokens);
        if fits {
            return Ok(());
        }
        Err(Error::Circuit {
            circuit: "block attention",
            reason: format!(
                "at least two tokens, an even power, {dim} / head_dim heads and a mask of tokens^2 needed; {tokens} tokens, \
                 power {}, {} heads of {} found",
                self.power,
                self.heads.len(),
                self.head_dim
            ),
        })
    }

    /// Products that are gathered into one ciphertext.
    fn group(&self) -> usize {
        self.head_dim.min(self.layout.tokens / 2)
    }

    /// Writes the block into `g`.
    ///
    /// # Errors
    /// [`Error::Circuit`] for sizes that do not fit.
    pub fn expand(&self, g: &mut Graph, q: NodeId, k: NodeId, v: NodeId) -> Result<BlockSums> {
        self.check()?;
        let half = self.layout.tokens / 2;
        let (keys, values) = g.category("ciphertext matmul", |g| {
            (self.with_half(g, k, half, 1), self.with_half(g, v, half, 3))
        });
        let spread = self.spread()?;
        let (mut numerator, mut denominator) = (None, None);
        for start in (0..half).step_by(self.group()) {
            let scores = g.category("ciphertext matmul", |g| self.scores(g, q, keys, start))?;
            let weights = g.category("power softmax", |g| self.weights(g, scores, start))?;
            let weights = g.category("repack", |g| self.copies(g, weights));
            g.category("ciphertext matmul", |g| {
                let sums = spread
                    .iter()
                    .map(|map| g.linear_map(&weights, Arc::clone(map)))
                    .collect::<Vec<_>>();
                for (i, weight) in sums.iter().skip(1).enumerate() {
                    let value = self.token(g, values, start + i);
                    let product = g.mul(*weight, value);
                    add(g, &mut numerator, product);
                }
                if let Some(sum) = sums.first() {
                    add(g, &mut denominator, *sum);
                }
            });
        }
        let missing = || broken("a layout has two tokens or more");
        let denominator = g.category("power softmax", |g| -> Result<NodeId> {
            let sum = twice_real_part(g, denominator.ok_or_else(missing)?);
            let negative = g.negate(sum);
            let start = self.pattern(|head, _| head.start, self.head_dim)?;
            Ok(g.add_plain(negative, start))
        })?;
        Ok(BlockSums {
            numerator: numerator.ok_or_else(missing)?,
            denominator,
        })
    }

    /// a + i^power times a of the other half of the tokens.
    fn with_half(&self, g: &mut Graph, a: NodeId, half: usize, power: u32) -> NodeId {
        let other = g.rotate(a, (half * self.layout.stride()) as i64);
        let other = g.mul_i(other, power);
        g.add(a, other)
    }

    /// The value of the token that is `by` further on: two steps, so that few keys serve all distances.
    fn token(&self, g: &mut Graph, a: NodeId, by: usize) -> NodeId {
        let stride = self.layout.stride() as i64;
        let near = by % COPY;
        let far = g.rotate(a, (by - near) as i64 * stride);
        g.rotate(far, near as i64 * stride)
    }

    /// Half of the scores of the keys `start` .., gathered; the shifts added.
    fn scores(&self, g: &mut Graph, q: NodeId, keys: NodeId, start: usize) -> Result<NodeId> {
        let group = self.group();
        let mut products = Vec::with_capacity(group);
        for i in 0..group {
            let key = self.token(g, keys, start + i);
            products.push(g.mul(q, key));
        }
        let mut parts: Vec<MapPart> = Vec::with_capacity(group);
        for slot in 0..group {
            let here = self.one_hot(slot, 0.5)?;
            let offsets = (0..self.head_dim).map(|f| f as i64 - slot as i64);
            parts.push(offsets.map(|offset| (offset, here.clone())).collect());
        }
        let sum = g.linear_map(&products, Arc::new(SlotMap::new(1, parts)?));
        let shift = (0..self.layout.dim).map(|j| match self.heads.get(j / self.head_dim) {
            Some(head) if j % self.head_dim < group => 0.5 * head.shift as f32,
            _ => 0.0,
        });
        let shift: Vec<f32> = shift.collect();
        Ok(g.add_plain(sum, Pattern::complex(shift.clone(), shift)?))
    }

    /// Powers of the real and of the imaginary part, masked.
    fn weights(&self, g: &mut Graph, scores: NodeId, start: usize) -> Result<NodeId> {
        let conjugate = g.conjugate(scores);
        let first = g.add(scores, conjugate);
        let second = g.sub(scores, conjugate);
        let second = g.mul_i(second, 3);
        let [first, second] = [first, second].map(|s| power(g, s, self.power));
        let Some(mask) = &self.mask else {
            let second = g.mul_i(second, 1);
            return Ok(g.add(first, second));
        };
        let [first_mask, second_mask] =
            [0, self.layout.tokens / 2].map(|half| self.mask_at(mask, start + half));
        let zero = vec![0.0; first_mask.len()];
        Ok(g.weighted_sum([
            (first, Pattern::real(first_mask)?),
            (second, Pattern::complex(zero, second_mask)?),
        ]))
    }

    /// The mask in the slots of the scores whose first key is `start` tokens further on.
    #[expect(
        clippy::indexing_slicing,
        reason = "`check` refuses a mask that is not of tokens^2"
    )]
    fn mask_at(&self, mask: &[f32], start: usize) -> Vec<f32> {
        let (tokens, stride) = (self.layout.tokens, self.layout.stride());
        let of = |slot: usize| {
            let (token, within) = (slot / stride, slot % self.head_dim);
            let key = (token + start + within) % tokens;
            if within < self.group() {
                mask[token * tokens + key]
            } else {
                0.0
            }
        };
        (0..tokens * stride).map(of).collect()
    }

    /// Rotations by multiples of [`COPY`], from -head_dim to head_dim.
    fn copies(&self, g: &mut Graph, a: NodeId) -> Vec<NodeId> {
        let reach = self.head_dim as i64;
        (-reach..reach)
            .step_by(self.copy())
            .map(|k| g.rotate(a, k))
            .collect()
    }

    fn copy(&self) -> usize {
        self.head_dim.min(COPY)
    }

    /// Maps over [`copies`](Self::copies): the sum of the gathered slots of a head, in all its slots, for the real part plus
    /// the imaginary part; then every gathered slot, in all slots of its head.
    fn spread(&self) -> Result<Vec<Arc<SlotMap>>> {
        let (size, group) = (self.head_dim, self.group());
        let (copy, reach) = (self.copy(), self.head_dim as i64);
        let parts = || vec![BTreeMap::new(); 2 * size / copy];
        let put = |parts: &mut Vec<MapPart>, offset: i64, pattern: Pattern| {
            let at = (offset + reach) as usize;
            if let Some(part) = parts.get_mut(at / copy) {
                part.insert((at % copy) as i64, pattern);
            }
        };
        let mut sum = parts();
        for offset in 1 - reach..group as i64 {
            let inside = |f: usize| (0..group as i64).contains(&(f as i64 + offset));
            let re: Vec<f32> = (0..size).map(|f| if inside(f) { 0.5 } else { 0.0 }).collect();
            let im = re.iter().map(|w| -w).collect();
            put(&mut sum, offset, Pattern::complex(re, im)?);
        }
        let mut maps = vec![Arc::new(SlotMap::new(copy, sum)?)];
        let one_hot = (0..size)
            .map(|f| self.one_hot(f, 1.0))
            .collect::<Result<Vec<_>>>()?;
        for slot in 0..group {
            let mut each = parts();
            for (f, here) in one_hot.iter().enumerate() {
                put(&mut each, slot as i64 - f as i64, here.clone());
            }
            maps.push(Arc::new(SlotMap::new(copy, each)?));
        }
        Ok(maps)
    }

    fn one_hot(&self, at: usize, value: f32) -> Result<Pattern> {
        let mut entries = vec![0.0; self.head_dim];
        if let Some(entry) = entries.get_mut(at) {
            *entry = value;
        }
        Pattern::real(entries)
    }

    fn pattern(&self, f: impl Fn(&BlockHead, usize) -> f64, head_dim: usize) -> Result<Pattern> {
        let value = |j: usize| self.heads.get(j / head_dim).map_or(0.0, |head| f(head, j) as f32);
        Pattern::real((0..self.layout.dim).map(value).collect())
    }
}

fn add(g: &mut Graph, sum: &mut Option<NodeId>, term: NodeId) {
    *sum = Some(match *sum {
        None => term,
        Some(sum) => g.add(sum, term),
    });
}

/// x^p at depth ceil(log2 p).
fn power(g: &mut Graph, x: NodeId, p: u32) -> NodeId {
    if p < 2 {
        return x;
    }
    if p.is_multiple_of(2) {
        let root = power(g, x, p / 2);
        return g.square(root);
    }
    let rest = power(g, x, p - 1);
    g.mul(rest, x)
}
