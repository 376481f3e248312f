//! The feed-forward block.

use he_ops::circuits::{ChebyshevSeries, Circuit, pack_pairs, packed_operands};
use he_ops::graph::NodeId;

use super::{Lowering, Stream, with_bias};
use crate::error::{Error, Result};
use crate::lower::blocks::fold::{Fold, Place};
use crate::model::config::{Activation, Position};
use crate::model::fit::LayerFit;
use crate::model::weights::TransformerLayer;

impl Lowering<'_> {
    /// (W2 activation(W1 x + b1) + b2) / max, packed; with x's beta if it is added to x.
    pub(super) fn feed_forward(
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
}
