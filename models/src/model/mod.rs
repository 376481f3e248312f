//! What a model is and what it computes, in clear.
//!
//! | Module | What it is |
//! |---|---|
//! | [`config`], [`shapes`] | `config.json`, and the configurations of known shapes by name |
//! | [`weights`] | the weights, with numbers or as shapes; the names of their tensors in `model.safetensors` |
//! | [`mod@fit`] | where the values were seen, and the polynomials for these ranges |
//! | [`mod@reference`], [`trace`] | the forward pass in f64, exact or by the polynomials, and what it saw |

pub(crate) mod check;
pub mod config;
pub mod fit;
pub(crate) mod functions;
pub mod reference;
pub mod shapes;
pub(crate) mod special;
pub(crate) mod tensors;
pub mod trace;
pub mod weights;

pub use config::{Activation, Attention, Head, Mask, Norm, NormKind, Pool, Position, TransformerConfig};
pub use fit::{ActivationFit, Fit, LayerFit, NormFit};
pub use reference::{Mode, forward};
pub use shapes::shape;
pub use special::gelu;
pub use trace::{LayerTrace, NormTrace, Ranges, Trace};
pub use weights::{Linear, NormWeights, Quadratic, TransformerLayer, TransformerWeights, Weight};
