//! Polynomial transformers of any depth: description, weights, f64 reference and calibration.
//!
//! | Module | What it is |
//! |---|---|
//! | [`config`] | `config.json`, checked |
//! | [`weights`] | the weights, with numbers or as shapes |
//! | [`fit`] | where the values were seen, and the polynomials for these ranges |

mod calibrate;
mod check;
pub mod config;
pub mod fit;
mod special;
mod tensors;
pub mod weights;

pub use config::{Activation, Attention, Head, Mask, Norm, NormKind, Pool, Position, TransformerConfig};
pub use fit::{ActivationFit, Fit, LayerFit, NormFit};
pub use special::gelu;
pub use weights::{Linear, NormWeights, TransformerLayer, TransformerWeights, Weight};
