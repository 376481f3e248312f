//! A polynomial transformer as a graph: [`reference`](crate::model::reference) once more, on packed slots.
//!
//! Scales, norms' gains and offsets, means and biases are folded into the matrices next to them. Values that may be
//! bootstrapped are kept within \[-1, 1\] by the ranges of the fit.

mod attention;
mod feed_forward;
mod fold;
mod head;
mod norm;

use he_ops::circuits::{BlockLayout, Operand, packed_operands};
use he_ops::graph::{Graph, NodeId};

use crate::error::{Error, Result};
use crate::lower::blocks::fold::{Fold, Folded, Place, bias_pattern};
use crate::matrix::Matrix;
use crate::model::config::{NormKind, Position, TransformerConfig};
use crate::model::fit::{Fit, LayerFit};
use crate::model::weights::{Linear, TransformerLayer, TransformerWeights, Weight};
use crate::packing::blocks::{BlockPacking, input, padded_len};

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
}

/// y = x.
fn identity(dim: usize) -> Linear {
    Linear {
        weight: Weight::Values(Matrix::from_fn(dim, dim, |i, j| f64::from(u8::from(i == j)))),
        bias: vec![],
    }
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
