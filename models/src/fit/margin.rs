//! Ranges that were seen, with room for inputs that were not.

use crate::model::config::TransformerConfig;
use crate::model::fit::{ActivationFit, LayerFit, NormFit};
use crate::model::trace::{LayerTrace, NormTrace};

/// Ranges widened by the margin.
pub(crate) struct Margin(pub(crate) f64);

impl Margin {
    pub(crate) fn max(&self, value: f64) -> f64 {
        // a value that is always zero still needs a scale
        (value * self.0).max(1e-6)
    }

    /// Not below `epsilon`: it was added to what is a mean of even powers, so no input comes below.
    fn range(&self, [lo, hi]: [f64; 2], epsilon: f64) -> [f64; 2] {
        [(lo / self.0).max(epsilon), hi * self.0]
    }

    pub(crate) fn norm(&self, config: &TransformerConfig, seen: &NormTrace) -> NormFit {
        if config.norm.inverts() {
            NormFit {
                variance: self.range(seen.variance, config.norm.epsilon),
                degree: 1,
            }
        } else {
            NormFit::UNUSED
        }
    }

    pub(crate) fn layer(&self, config: &TransformerConfig, seen: &LayerTrace) -> LayerFit {
        let epsilon = config.attention.epsilon;
        LayerFit {
            score_max: seen.score_max.iter().map(|max| self.max(*max)).collect(),
            denominator: (seen.denominator.iter())
                .map(|range| self.range(*range, epsilon))
                .collect(),
            reciprocal_doublings: 1,
            value_max: self.max(seen.value_max),
            norm1: self.norm(config, &seen.norm1),
            norm2: self.norm(config, &seen.norm2),
            activation: ActivationFit {
                range: self.max(seen.up_max),
                degree: 1,
            },
            attention_max: self.max(seen.attention_max),
            residual1_max: self.max(seen.residual1_max),
            residual2_max: self.max(seen.residual2_max),
            normed1_max: self.max(seen.norm1.normed_max),
            normed2_max: self.max(seen.norm2.normed_max),
            up_max: self.max(seen.up_max),
        }
    }
}
