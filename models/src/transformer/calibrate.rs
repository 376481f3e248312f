//! The smallest polynomials that are good enough on the ranges where a model was seen.

use super::config::{Position, TransformerConfig};
use super::fit::{ActivationFit, Fit, LayerFit, NormFit, exact_degree};
use crate::error::Result;

/// See [`Fit::assumed`].
pub(super) fn assumed(config: &TransformerConfig) -> Result<Fit> {
    let norm = if config.norm.inverts() {
        NormFit {
            variance: [1.0 / 20_f64.sqrt(), 20_f64.sqrt()],
            degree: 15,
        }
    } else {
        NormFit::UNUSED
    };
    let layer = LayerFit {
        score_max: vec![4.0; config.n_heads],
        denominator: vec![[1.0 / 30_f64.sqrt(), 30_f64.sqrt()]; config.n_heads],
        reciprocal_doublings: 5,
        value_max: 6.0,
        norm1: norm.clone(),
        norm2: norm.clone(),
        activation: ActivationFit {
            range: 6.0,
            degree: exact_degree(&config.activation).unwrap_or(15),
        },
        attention_max: 6.0,
        residual1_max: 8.0,
        residual2_max: 8.0,
        normed1_max: 6.0,
        normed2_max: 6.0,
        up_max: 6.0,
    };
    Ok(Fit {
        layers: vec![layer; config.n_layers],
        embedding_max: 6.0,
        final_norm: (config.norm_position == Position::Pre).then_some(norm),
    })
}
