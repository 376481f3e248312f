//! Norms with 1/sqrt by a polynomial.

use he_ops::circuits::{ChebyshevSeries, Circuit, sum_of_squares};
use he_ops::graph::NodeId;

use super::{Lowering, Stream};
use crate::error::{Error, Result};
use crate::model::config::NormKind;
use crate::model::fit::NormFit;
use crate::model::weights::NormWeights;

impl Lowering<'_> {
    /// z / (max * norm of z) and what makes it the output of the norm; and z, if it is kept for later.
    #[expect(clippy::too_many_arguments, reason = "the parts of one norm")]
    pub(super) fn norm(
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
}

/// The same polynomial times a factor.
fn scaled(slots: usize, series: &ChebyshevSeries, factor: f64) -> Result<ChebyshevSeries> {
    let coefficients = series.coefficients().iter().map(|c| c * factor).collect();
    Ok(ChebyshevSeries::new(slots, coefficients)?)
}
