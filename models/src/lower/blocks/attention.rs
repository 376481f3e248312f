//! The attention block.

use std::sync::Arc;

use he_ops::circuits::{
    BlockAttention, BlockHead, BlockLayout, Operand, Reciprocal, pack_real_parts, packed_operands,
    unpack_doubled,
};
use he_ops::graph::NodeId;

use super::{Lowering, Stream, with_bias};
use crate::error::{Error, Result};
use crate::lower::blocks::fold::{Fold, Place};
use crate::model::config::{Mask, Position};
use crate::model::fit::LayerFit;
use crate::model::weights::TransformerLayer;

impl Lowering<'_> {
    /// (Wo attention(x) + bo) / max, packed; with x's beta if it is added to x. And the values that are kept for later.
    pub(super) fn attention(
        &mut self,
        scope: &str,
        layer: &TransformerLayer,
        fit: &LayerFit,
        x: &Stream,
        keep: &[NodeId],
        max: f64,
    ) -> Result<(Vec<NodeId>, Vec<NodeId>)> {
        let config = self.config;
        let (layout, dim, n_heads) = (self.layout, config.dim, config.n_heads);
        let reciprocal = fit.reciprocal(layout.slots(), n_heads)?;
        let power = f64::from(config.attention.power);
        let scales: Vec<f64> = (0..n_heads).map(|h| reciprocal.input_scale(h)).collect();
        let seq_len = config.seq_len as f64;
        // w' = scale / seq_len * w, so that the sum of all w' is scale * D.
        let gains: Vec<f64> = scales.iter().map(|s| (s / seq_len).powf(1.0 / power)).collect();
        let score = config.attention.score_scale / (config.head_dim() as f64).sqrt();
        let by_head = |values: &dyn Fn(usize) -> f64| (0..dim).map(|f| values(config.head_of(f))).collect();
        // |Σ w' v| is at most scale * D times the largest |o|.
        let bound: Vec<f64> = (scales.iter().zip(&fit.denominator))
            .map(|(scale, [_, hi])| scale * hi * fit.attention_max)
            .collect();
        let operands = packed_operands(&x.stored, layout.blocks(dim));
        let fold = |linear, rows: Vec<f64>| Fold {
            linear,
            cols: x.gains(),
            offset: x.beta.clone(),
            rows,
            centred: false,
            from: Place::Dense,
            to: self.heads,
        };
        let (heads, mut tag) = (self.heads, self.tag);
        let query = fold(
            &layer.query,
            by_head(&|h| gains.get(h).copied().unwrap_or(1.0) * score),
        )
        .fold(layout, &mut tag)?;
        let key = fold(&layer.key, vec![1.0; dim]).fold(layout, &mut tag)?;
        let value = by_head(&|h| 0.5 / bound.get(h).copied().unwrap_or(1.0));
        let value = fold(&layer.value, value).fold(layout, &mut tag)?;
        self.tag = tag;
        let q = self.real(scope, "plaintext matmul", &query, &operands)?;
        let k = self.real(scope, "plaintext matmul", &key, &operands)?;
        let v = self.real(scope, "plaintext matmul", &value, &operands)?;

        let circuits = self.block_attention(layer, &reciprocal, &gains, q.len());
        let (mut numerators, mut denominators) = (Vec::new(), Vec::new());
        for (circuit, ((q, k), v)) in circuits.iter().zip(q.iter().zip(&k).zip(&v)) {
            let sums = self
                .g
                .scope(scope, "power softmax", |g| circuit.expand(g, *q, *k, *v))?;
            numerators.push(sums.numerator);
            denominators.push(sums.denominator);
        }
        let blocks = numerators.len();
        let numerators = numerators.into_iter().map(|value| (value, false));
        let denominators = denominators.into_iter().map(|value| (value, true));
        let sums: Vec<(NodeId, bool)> = numerators.chain(denominators).collect();
        let packed = self.g.scope(scope, "repack", |g| pack_real_parts(g, &sums));
        let count = packed.len();
        let packed: Vec<NodeId> = packed.into_iter().chain(keep.iter().copied()).collect();
        let cut = self.cut(scope, &packed);
        let (packed, kept) = cut.split_at(count);
        let sums = self.g.scope(scope, "repack", |g| unpack_doubled(g, packed));
        let (numerators, denominators) = sums.split_at(blocks);
        let padded = self.padded;
        let mut attended = Vec::with_capacity(blocks);
        for (block, (numerator, twice)) in numerators.iter().zip(denominators).enumerate() {
            let inverse = block_reciprocal(&reciprocal, layout, padded, n_heads, block)?;
            let value = self.g.scope(scope, "reciprocal", |g| {
                let inverse = inverse.expand_doubled(g, *twice)?;
                Ok::<_, Error>(g.mul(*numerator, inverse))
            })?;
            attended.push(Operand {
                value,
                re: block,
                im: None,
                real: true,
            });
        }
        // o = gain / scale * (Σ w' v) * (the product that the circuit gives); the numerator is 4 * 0.5 / bound * Σ w' v.
        let back = by_head(&|h| {
            let of = |values: &[f64]| values.get(h).copied().unwrap_or(1.0);
            0.5 * of(&bound) * reciprocal.gain(h) / of(&scales)
        });
        let offset = if config.norm_position == Position::Post {
            x.beta.clone()
        } else {
            vec![]
        };
        let output = Fold {
            linear: &with_bias(&layer.output, &offset),
            cols: back,
            offset: vec![],
            rows: vec![1.0 / max; dim],
            centred: self.centres(),
            from: heads,
            to: Place::Dense,
        }
        .fold(layout, &mut self.tag)?;
        let output = self.packed(scope, "plaintext matmul", &output, &attended)?;
        Ok((output, kept.to_vec()))
    }

    /// The attention of every block of heads.
    fn block_attention(
        &self,
        layer: &TransformerLayer,
        reciprocal: &Reciprocal,
        gains: &[f64],
        blocks: usize,
    ) -> Vec<BlockAttention> {
        let config = self.config;
        let (tokens, seq_len) = (self.layout.tokens, config.seq_len);
        let masked = config.attention.mask != Mask::None || self.pads();
        let mask = masked.then(|| {
            let at = |i: usize| match (i / tokens, i % tokens) {
                (_, key) if key >= seq_len => 0.0,
                // Padding repeats the last token.
                (token, key) => config.attention.mask_at(token.min(seq_len - 1), key, seq_len) as f32,
            };
            Arc::new((0..tokens * tokens).map(at).collect::<Vec<f32>>())
        });
        let per_block = self.layout.dim / self.padded;
        let power = f64::from(config.attention.power);
        let head = |h: usize| match gains.get(h) {
            Some(gain) => BlockHead {
                shift: layer.shift.get(h).copied().unwrap_or(0.0) * gain,
                start: reciprocal.input_shift(h) - reciprocal.input_scale(h) * config.attention.epsilon,
            },
            // Nobody reads these heads, but their denominators must not run away: t = 0 for rows that see all tokens.
            None => BlockHead {
                shift: (reciprocal.input_shift(0) / seq_len as f64).powf(1.0 / power),
                start: reciprocal.input_shift(0),
            },
        };
        (0..blocks)
            .map(|block| BlockAttention {
                layout: self.layout,
                head_dim: self.padded,
                heads: (0..per_block).map(|h| head(block * per_block + h)).collect(),
                power: config.attention.power,
                mask: mask.clone(),
            })
            .collect()
    }
}

/// The reciprocal with the intervals of the heads of one block, slot by slot.
fn block_reciprocal(
    reciprocal: &Reciprocal,
    layout: BlockLayout,
    padded: usize,
    n_heads: usize,
    block: usize,
) -> Result<Reciprocal> {
    let per_block = layout.dim / padded;
    let range = |slot: usize| {
        let head = block * per_block + slot / padded;
        reciprocal.range(if head < n_heads { head } else { 0 })
    };
    let ranges = (0..layout.dim).map(range).collect();
    Ok(Reciprocal::new(layout.slots(), ranges, reciprocal.doublings())?)
}
