//! Polynomial transformers of any depth: description, weights, f64 reference and calibration.
//!
//! | Module | What it is |
//! |---|---|
//! | [`config`] | `config.json`, checked |
//! | [`weights`] | the weights, with numbers or as shapes |
//! | [`fit`], [`report`] | where the values were seen, the polynomials for these ranges, and how good they are |
//! | [`mod@reference`], [`trace`] | the forward pass in f64, exact or by the polynomials, and what it saw |
//! | [`shapes`] | known shapes by name |
//! | [`synthetic`] | seeded weights with the statistics of trained ones |

mod calibrate;
mod check;
pub mod compile;
pub mod config;
pub mod fit;
mod fold;
mod functions;
pub mod lower;
mod margin;
pub mod packing;
pub mod reference;
pub mod report;
mod scores;
pub mod shapes;
mod special;
pub mod synthetic;
mod tensors;
pub mod trace;
pub mod weights;

pub use config::{Activation, Attention, Head, Mask, Norm, NormKind, Pool, Position, TransformerConfig};
pub use fit::{ActivationFit, Fit, LayerFit, NormFit};
pub use reference::{Mode, forward};
pub use report::{Approximation, Report};
pub use shapes::shape;
pub use special::gelu;
pub use trace::{LayerTrace, NormTrace, Ranges, Trace};
pub use weights::{Linear, NormWeights, TransformerLayer, TransformerWeights, Weight};
