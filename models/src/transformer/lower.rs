//! A polynomial transformer as a graph: [`reference`](super::reference) once more, on packed slots.
//!
//! Scales, norms' gains and offsets, means and biases are folded into the matrices next to them. Values that may be
//! bootstrapped are kept within \[-1, 1\] by the ranges of the fit.

use std::sync::Arc;

use he_ops::circuits::{
    BlockAttention, BlockHead, BlockLayout, ChebyshevSeries, Circuit, Operand, Reciprocal, pack_pairs,
    pack_real_parts, packed_operands, sum_of_squares, unpack_doubled,
};
use he_ops::ckks::Pattern;
use he_ops::graph::{Graph, NodeId};

use super::config::{Activation, Head, Mask, NormKind, Pool, Position, TransformerConfig};
use super::fit::{Fit, LayerFit, NormFit};
use super::fold::{Fold, Folded, Place, bias_pattern};
use super::packing::{Answer, BlockPacking, input, output, padded_len};
use super::weights::{Linear, NormWeights, TransformerLayer, TransformerWeights, Weight};
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// x = gamma (scale * stored) + beta, blocks packed in pairs.
#[derive(Clone)]
struct Stream {
    stored: Vec<NodeId>,
    scale: f64,
    gamma: Vec<f64>,
    beta: Vec<f64>,
}

impl Stream {
    /// Factor of every stored feature.
    fn gains(&self) -> Vec<f64> {
        self.gamma.iter().map(|gamma| gamma * self.scale).collect()
    }
}

/// Lowers a model with a fit to a graph over `slots` slots that takes `sequences` inputs at once; both powers of two.
///
/// # Errors
/// - no fit, or heads that do not fit a block
pub fn lower(
    config: &TransformerConfig,
    weights: &TransformerWeights,
    slots: usize,
    sequences: usize,
) -> Result<(Graph, BlockPacking)> {
    let refuse = |field, needed: &str, found: String| {
        Err(Error::Config {
            field,
            needed: needed.to_owned(),
            found,
        })
    };
    let Some(fit) = &config.fit else {
        return refuse(
            "fit",
            "the ranges of a calibration (Fit::calibrate)",
            "none".to_owned(),
        );
    };
    let layout = BlockLayout::new(slots, padded_len(config.seq_len), sequences)?;
    let padded = config.head_dim().next_power_of_two();
    if padded > layout.dim {
        let needed = format!(
            "heads of at most {} features with {sequences} sequences in {slots} slots",
            layout.dim
        );
        return refuse("num_attention_heads", &needed, config.head_dim().to_string());
    }
    let mut lowering = Lowering {
        config,
        fit,
        layout,
        heads: Place::Heads {
            head_dim: config.head_dim(),
            padded,
        },
        padded,
        tag: 0,
        g: Graph::new(slots),
    };
    let packing = lowering.model(weights)?;
    Ok((lowering.g, packing))
}

struct Lowering<'a> {
    config: &'a TransformerConfig,
    fit: &'a Fit,
    layout: BlockLayout,
    heads: Place,
    /// Features of a head, padded.
    padded: usize,
    tag: u32,
    g: Graph,
}

impl Lowering<'_> {
    fn model(&mut self, weights: &TransformerWeights) -> Result<BlockPacking> {
        let config = self.config;
        let dim = config.dim;
        let pre = config.norm_position == Position::Pre;
        let centred = pre && config.norm.kind == NormKind::LayerNorm;
        let input_scale = if pre {
            self.stream_scale()
        } else {
            self.fit.embedding_max
        };
        let ciphertexts = self.layout.blocks(dim).div_ceil(2);
        let mut x = Stream {
            stored: (0..ciphertexts).map(|i| self.g.input(&input(i))).collect(),
            scale: input_scale,
            gamma: vec![1.0; dim],
            beta: vec![0.0; dim],
        };
        for (n, (layer, fit)) in weights.layers.iter().zip(&self.fit.layers).enumerate() {
            x = if pre {
                self.pre_layer(n, layer, fit, &x)?
            } else {
                self.post_layer(n, layer, fit, &x)?
            };
        }
        if let (Some(norm), Some(fit)) = (&weights.final_norm, &self.fit.final_norm) {
            let max = (dim as f64).sqrt();
            (x, _) = self.norm("final_norm", &x.stored, x.scale, norm, fit, max, false)?;
        }
        let answer = self.head(weights.head.as_ref(), &x)?;
        Ok(BlockPacking {
            slots: self.layout.slots(),
            tokens: config.seq_len,
            sequences: self.layout.sequences,
            features: dim,
            input_scale,
            centred,
            answer,
        })
    }

    /// x' = norm2(n + ffn(n)), n = norm1(x + attention(x)).
    fn post_layer(
        &mut self,
        n: usize,
        layer: &TransformerLayer,
        fit: &LayerFit,
        x: &Stream,
    ) -> Result<Stream> {
        let scope = format!("layer{n}.attention");
        let max = fit.residual1_max;
        let (attended, kept) = self.attention(&scope, layer, fit, x, &x.stored, max)?;
        let x = Stream {
            stored: kept,
            ..x.clone()
        };
        let z = self.residual(&scope, &x, &attended, max)?;
        let norm = format!("layer{n}.norm1");
        let (x, _) = self.norm(&norm, &z, max, &layer.norm1, &fit.norm1, fit.normed1_max, false)?;
        let scope = format!("layer{n}.feed_forward");
        let max = fit.residual2_max;
        let fed = self.feed_forward(&scope, layer, fit, &x, max)?;
        let z = self.residual(&scope, &x, &fed, max)?;
        let norm = format!("layer{n}.norm2");
        let (x, _) = self.norm(&norm, &z, max, &layer.norm2, &fit.norm2, fit.normed2_max, false)?;
        Ok(x)
    }

    /// x1 = x + attention(norm1(x)), x' = x1 + ffn(norm2(x1)); the stream keeps one scale.
    fn pre_layer(
        &mut self,
        n: usize,
        layer: &TransformerLayer,
        fit: &LayerFit,
        x: &Stream,
    ) -> Result<Stream> {
        let (scale, norm) = (x.scale, format!("layer{n}.norm1"));
        let (normed, stored) = self.norm(
            &norm,
            &x.stored,
            scale,
            &layer.norm1,
            &fit.norm1,
            fit.normed1_max,
            true,
        )?;
        let scope = format!("layer{n}.attention");
        let (attended, stored) = self.attention(&scope, layer, fit, &normed, &stored, scale)?;
        let stored = self.sum(&scope, &stored, &attended);
        let norm = format!("layer{n}.norm2");
        let (normed, stored) = self.norm(
            &norm,
            &stored,
            scale,
            &layer.norm2,
            &fit.norm2,
            fit.normed2_max,
            true,
        )?;
        let scope = format!("layer{n}.feed_forward");
        let fed = self.feed_forward(&scope, layer, fit, &normed, scale)?;
        let stored = self.sum(&scope, &stored, &fed);
        Ok(Stream { stored, ..x.clone() })
    }

    /// Bound on the residual stream of a model with its norms before the blocks.
    fn stream_scale(&self) -> f64 {
        let layers = self.fit.layers.iter();
        layers
            .map(|layer| layer.residual1_max.max(layer.residual2_max))
            .fold(self.fit.embedding_max, f64::max)
    }

    /// Whether there are tokens that only fill the length up.
    fn pads(&self) -> bool {
        self.layout.tokens > self.config.seq_len
    }

    /// Whether what enters a norm is centred by the weights before it.
    fn centres(&self) -> bool {
        self.config.norm.kind == NormKind::LayerNorm
    }

    fn sum(&mut self, scope: &str, a: &[NodeId], b: &[NodeId]) -> Vec<NodeId> {
        let sums = |g: &mut Graph| a.iter().zip(b).map(|(a, b)| g.add(*a, *b)).collect();
        let sums: Vec<NodeId> = self.g.scope(scope, "residual", sums);
        self.cut(scope, &sums)
    }

    /// The values, as a place for a bootstrap.
    fn cut(&mut self, scope: &str, values: &[NodeId]) -> Vec<NodeId> {
        self.g.scope(scope, "bootstrap", |g| g.cut(values))
    }

    /// (x + block) / max, centred before a layer norm; `block` is that already, and has x's beta in its bias.
    fn residual(&mut self, scope: &str, x: &Stream, block: &[NodeId], max: f64) -> Result<Vec<NodeId>> {
        let dim = self.config.dim;
        let same = |gamma: &f64| (gamma * x.scale / max - 1.0).abs() < 1e-12;
        if !self.centres() && x.gamma.iter().all(same) {
            return Ok(self.sum(scope, &x.stored, block));
        }
        let linear = identity(dim);
        let folded = Fold {
            linear: &linear,
            cols: x.gains(),
            offset: vec![],
            rows: vec![1.0 / max; dim],
            centred: self.centres(),
            from: Place::Dense,
            to: Place::Dense,
        }
        .fold(self.layout, &mut self.tag)?;
        let operands = packed_operands(&x.stored, self.layout.blocks(dim));
        let kept = self.packed(scope, "residual", &folded, &operands)?;
        Ok(self.sum(scope, &kept, block))
    }

    /// A folded layer with its outputs packed in pairs.
    fn packed(
        &mut self,
        scope: &str,
        op: &str,
        folded: &Folded,
        operands: &[Operand],
    ) -> Result<Vec<NodeId>> {
        let layout = self.layout;
        self.g.scope(scope, op, |g| {
            let products = folded.matrix.packed(g, layout, operands)?;
            let mut out = Vec::with_capacity(products.len());
            for (i, product) in products.into_iter().enumerate() {
                let im = Some(2 * i + 1).filter(|block| *block < folded.matrix.out_blocks());
                out.push(g.add_plain(product, bias_pattern(layout, &folded.bias, 2 * i, im)?));
            }
            Ok(out)
        })
    }

    /// A folded layer with one real ciphertext for each block.
    fn real(&mut self, scope: &str, op: &str, folded: &Folded, operands: &[Operand]) -> Result<Vec<NodeId>> {
        let layout = self.layout;
        self.g.scope(scope, op, |g| {
            let products = folded.matrix.real(g, layout, operands)?;
            let mut out = Vec::with_capacity(products.len());
            for (block, product) in products.into_iter().enumerate() {
                out.push(g.add_plain(product, bias_pattern(layout, &folded.bias, block, None)?));
            }
            Ok(out)
        })
    }

    /// z / (max * norm of z) and what makes it the output of the norm; and z, if it is kept for later.
    #[expect(clippy::too_many_arguments, reason = "the parts of one norm")]
    fn norm(
        &mut self,
        scope: &str,
        z: &[NodeId],
        max: f64,
        weights: &NormWeights,
        fit: &NormFit,
        normed_max: f64,
        keep: bool,
    ) -> Result<(Stream, Vec<NodeId>)> {
        let dim = self.config.dim;
        let epsilon = self.config.norm.epsilon;
        let (gamma, beta) = match self.config.norm.kind {
            NormKind::None => (vec![1.0; dim], vec![0.0; dim]),
            NormKind::BatchNorm => weights.affine(epsilon),
            NormKind::LayerNorm | NormKind::RmsNorm => (weights.gamma.clone(), weights.beta.clone()),
        };
        if !self.config.norm.inverts() {
            let stored = z.to_vec();
            let stream = Stream {
                stored,
                scale: max,
                gamma,
                beta,
            };
            return Ok((stream, z.to_vec()));
        }
        let (layout, slots) = (self.layout, self.layout.slots());
        let [lo, hi] = fit.variance;
        let blocks = layout.blocks(dim);
        let t = self.g.scope(scope, "inverse sqrt", |g| {
            let weight = 2.0 * max * max / dim as f64 / (hi - lo);
            let shift = (2.0 * epsilon - lo - hi) / (hi - lo);
            sum_of_squares(g, layout, z, blocks, weight, shift)
        })?;
        let both: Vec<NodeId> = std::iter::once(t).chain(z.iter().copied()).collect();
        let both = self.cut(scope, &both);
        let (t, z) = both.split_first().map_or((t, z), |(t, z)| (*t, z));
        let series = fit.inverse_sqrt(slots)?;
        let series = scaled(slots, &series, max * fit.gain() / normed_max)?;
        let stored: Vec<NodeId> = self.g.scope(scope, "inverse sqrt", |g| {
            let inverse = series.expand(g, &[t])?;
            Ok::<_, Error>(z.iter().map(|z| g.mul(*z, inverse)).collect())
        })?;
        let count = stored.len();
        let kept = if keep { z } else { &[] };
        let all: Vec<NodeId> = stored.iter().chain(kept).copied().collect();
        let all = self.cut(scope, &all);
        let (stored, kept) = all.split_at(count);
        let stream = Stream {
            stored: stored.to_vec(),
            scale: normed_max,
            gamma,
            beta,
        };
        Ok((stream, kept.to_vec()))
    }

    /// (Wo attention(x) + bo) / max, packed; with x's beta if it is added to x. And the values that are kept for later.
    fn attention(
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

    /// (W2 activation(W1 x + b1) + b2) / max, packed; with x's beta if it is added to x.
    fn feed_forward(
        &mut self,
        scope: &str,
        layer: &TransformerLayer,
        fit: &LayerFit,
        x: &Stream,
        max: f64,
    ) -> Result<Vec<NodeId>> {
        let config = self.config;
        let (layout, dim, hidden) = (self.layout, config.dim, config.hidden_dim);
        let slots = layout.slots();
        let range = fit.activation.range;
        // The polynomial takes t = rows * h + shift; each channel's result is gain * it + offset.
        let mut rows = vec![1.0 / range; hidden];
        let mut shift = vec![0.0; hidden];
        let mut gain = vec![1.0; hidden];
        let mut offset = vec![0.0; hidden];
        let series = match &config.activation {
            Activation::Gelu => Some(fit.activation.gelu(slots)?),
            Activation::Polynomial { coefficients } => {
                let f = |x: f64| coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c);
                Some(ChebyshevSeries::interpolate(
                    slots,
                    f,
                    -range,
                    range,
                    coefficients.len() - 1,
                )?)
            }
            Activation::Chebyshev {
                range: [lo, hi],
                coefficients,
            } => {
                rows = vec![2.0 / (hi - lo); hidden];
                shift = vec![-(hi + lo) / (hi - lo); hidden];
                Some(ChebyshevSeries::new(slots, coefficients.clone())?)
            }
            Activation::Quadratic => {
                let missing = || Error::Config {
                    field: "activation",
                    needed: "the tensors of a quadratic activation".to_owned(),
                    found: "none".to_owned(),
                };
                let q = layer.quadratic.as_ref().ok_or_else(missing)?;
                for (i, ((a, b), c)) in q.a.iter().zip(&q.b).zip(&q.c).enumerate() {
                    // a h^2 + b h + c = a range^2 (h / range + b / (2 a range))^2 + c - b^2 / 4a.
                    let set = |values: &mut Vec<f64>, value: f64| {
                        if let Some(slot) = values.get_mut(i) {
                            *slot = value;
                        }
                    };
                    set(&mut shift, b / (2.0 * a * range));
                    set(&mut gain, a * range * range);
                    set(&mut offset, c - b * b / (4.0 * a));
                }
                None
            }
        };
        let mut up = Fold {
            linear: &layer.up,
            cols: x.gains(),
            offset: x.beta.clone(),
            rows,
            centred: false,
            from: Place::Dense,
            to: Place::Dense,
        }
        .fold(layout, &mut self.tag)?;
        for (bias, shift) in up.bias.iter_mut().zip(&shift) {
            *bias += shift;
        }
        let operands = packed_operands(&x.stored, layout.blocks(dim));
        let pre = self.real(scope, "plaintext matmul", &up, &operands)?;
        let blocks = pre.len();
        let active = self.g.scope(scope, "activation", |g| {
            let mut active = Vec::with_capacity(blocks);
            for h in pre {
                active.push(match &series {
                    Some(series) => series.expand(g, &[h])?,
                    None => g.square(h),
                });
            }
            Ok::<_, Error>(pack_pairs(g, &active))
        })?;
        let beta = if config.norm_position == Position::Post {
            x.beta.clone()
        } else {
            vec![]
        };
        let down = Fold {
            linear: &with_bias(&layer.down, &beta),
            cols: gain,
            offset,
            rows: vec![1.0 / max; dim],
            centred: self.centres(),
            from: Place::Dense,
            to: Place::Dense,
        }
        .fold(layout, &mut self.tag)?;
        self.packed(
            scope,
            "plaintext matmul",
            &down,
            &packed_operands(&active, blocks),
        )
    }

    /// The answer of the model.
    fn head(&mut self, head: Option<&Linear>, x: &Stream) -> Result<Answer> {
        let (config, layout) = (self.config, self.layout);
        let scope = "head";
        let dim = config.dim;
        let features = config.outputs();
        let mean = matches!(
            config.head,
            Head::Embedding | Head::Classification { pool: Pool::Mean, .. }
        );
        let own = identity(dim);
        let tokens = if mean { config.seq_len as f64 } else { 1.0 };
        let mut folded = Fold {
            linear: head.unwrap_or(&own),
            cols: x.gains().iter().map(|gain| gain / tokens).collect(),
            offset: x.beta.iter().map(|beta| beta / tokens).collect(),
            rows: vec![],
            centred: false,
            from: Place::Dense,
            to: Place::Dense,
        };
        // The bias is added once, the rest as often as there are tokens.
        let linear;
        if mean && let Some(head) = head {
            linear = Linear {
                weight: head.weight.clone(),
                bias: head.bias.iter().map(|b| b / tokens).collect(),
            };
            folded.linear = &linear;
        }
        let folded = folded.fold(layout, &mut self.tag)?;
        let operands = packed_operands(&x.stored, layout.blocks(dim));
        let mut answer = self.packed(scope, "head", &folded, &operands)?;
        let slots = layout.slots();
        let (pads, seq_len) = (self.pads(), config.seq_len);
        for value in &mut answer {
            *value = self.g.scope(scope, "head", |g| {
                if mean {
                    let own = if pads {
                        // Padding does not count.
                        let seen = |slot: usize| slot < seq_len * layout.stride();
                        let tokens = (0..slots).map(|slot| f32::from(u8::from(seen(slot))));
                        g.mul_plain(*value, Pattern::real(tokens.collect())?)
                    } else {
                        *value
                    };
                    return Ok::<_, Error>(he_ops::circuits::inner_sum(
                        g,
                        own,
                        layout.stride() as i64,
                        layout.tokens,
                    )?);
                }
                if matches!(config.head, Head::Classification { .. }) {
                    // Nothing of the other tokens goes back to the client.
                    let seen = |slot: usize| slot < layout.stride() && slot % layout.dim < features;
                    let first = (0..slots).map(|slot| f32::from(u8::from(seen(slot))));
                    return Ok(g.mul_plain(*value, Pattern::real(first.collect())?));
                }
                Ok(*value)
            })?;
        }
        for (i, value) in answer.iter().enumerate() {
            self.g.output(&output(i), *value);
        }
        Ok(match config.head {
            Head::Classification { pool: Pool::Cls, .. } => Answer::First { features },
            Head::Classification { .. } | Head::Embedding => Answer::Same { features },
            Head::NextToken { .. } => Answer::Each { features },
        })
    }
}

/// y = x.
fn identity(dim: usize) -> Linear {
    Linear {
        weight: Weight::Values(Matrix::from_fn(dim, dim, |i, j| f64::from(u8::from(i == j)))),
        bias: vec![],
    }
}

/// The same polynomial times a factor.
fn scaled(slots: usize, series: &ChebyshevSeries, factor: f64) -> Result<ChebyshevSeries> {
    let coefficients = series.coefficients().iter().map(|c| c * factor).collect();
    Ok(ChebyshevSeries::new(slots, coefficients)?)
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

/// The layer with more added to its outputs.
fn with_bias(linear: &Linear, more: &[f64]) -> Linear {
    let rows = linear.weight.rows();
    let of = |values: &[f64], i: usize| values.get(i).copied().unwrap_or(0.0);
    Linear {
        weight: linear.weight.clone(),
        bias: (0..rows).map(|i| of(&linear.bias, i) + of(more, i)).collect(),
    }
}
