//! The functions of a layer that are not polynomials, as they are or by the polynomials of the fit.

use he_ops::circuits::{ChebyshevSeries, Reciprocal};

use crate::error::Result;
use crate::model::config::{Activation, TransformerConfig};
use crate::model::fit::{LayerFit, NormFit};

/// Slots of the circuits that are only evaluated in clear.
pub(crate) const SLOTS: usize = 1 << 15;

pub(crate) struct Functions {
    reciprocal: Option<Reciprocal>,
    pub(crate) norm1: InverseSqrt,
    pub(crate) norm2: InverseSqrt,
    /// The series and its range; none where the activation is evaluated as it is.
    pub(crate) gelu: Option<(ChebyshevSeries, f64)>,
}

/// x -> 1/sqrt(x).
pub(crate) enum InverseSqrt {
    Exact,
    Series {
        series: ChebyshevSeries,
        range: [f64; 2],
        gain: f64,
    },
}

impl Functions {
    /// By the polynomials of the fit, or exact without one.
    pub(crate) fn new(config: &TransformerConfig, fit: Option<&LayerFit>) -> Result<Self> {
        let gelu = match (fit, &config.activation) {
            (Some(fit), Activation::Gelu) => Some((fit.activation.gelu(SLOTS)?, fit.activation.range)),
            _ => None,
        };
        Ok(Self {
            reciprocal: fit.map(|fit| fit.reciprocal(SLOTS, config.n_heads)).transpose()?,
            norm1: InverseSqrt::new(config, fit.map(|fit| &fit.norm1))?,
            norm2: InverseSqrt::new(config, fit.map(|fit| &fit.norm2))?,
            gelu,
        })
    }

    /// 1/x for the denominators of a head.
    pub(crate) fn reciprocal(&self, head: usize, x: f64) -> f64 {
        match &self.reciprocal {
            None => 1.0 / x,
            Some(reciprocal) => reciprocal.evaluate(head, x),
        }
    }
}

impl InverseSqrt {
    pub(crate) fn new(config: &TransformerConfig, fit: Option<&NormFit>) -> Result<Self> {
        match fit {
            Some(fit) if config.norm.inverts() => Ok(Self::Series {
                series: fit.inverse_sqrt(SLOTS)?,
                range: fit.variance,
                gain: fit.gain(),
            }),
            _ => Ok(Self::Exact),
        }
    }

    pub(crate) fn at(&self, x: f64) -> f64 {
        match self {
            Self::Exact => 1.0 / x.sqrt(),
            Self::Series { series, range, gain } => {
                gain * series.evaluate(ChebyshevSeries::normalize(x, range[0], range[1]))
            }
        }
    }
}
