//! Polynomial transformers: their files, the f64 reference, the packing, and the lowering to a homomorphic plan.
//!
//! | Module | What it is |
//! |---|---|
//! | [`dir`] | a model folder, and the one door to what a client may see of it |
//! | [`model`], [`layout`] | a model of either kind with its weights: forward pass, plan, and how its numbers lie in the slots |
//! | [`config`], [`weights`] | `config.json` and `model.safetensors`, checked |
//! | [`bundle`] | text to embeddings, on the side of the client (feature `bundle`) |
//! | [`fold`] | the weights folded into their neighbours, in f64 |
//! | [`packing`] | which slot holds which feature of which token |
//! | [`mod@reference`] | the classifier in f64, in clear: the oracle |
//! | [`manifest`] | what a client must know of a model, read off its plan |
//! | [`split`] | the held-out sentences of a model folder |
//! | [`lower`] | the classifier as a graph, and the compiled plan |
//! | [`transformer`] | transformers of any depth: description, weights, f64 reference, calibration |
//! | [`synthetic`] | seeded models of any shape, for tests and measurements |

#[cfg(feature = "bundle")]
pub mod bundle;
pub mod config;
pub mod dir;
pub mod error;
pub mod fold;
pub mod layout;
pub mod lower;
pub mod manifest;
pub mod matrix;
pub mod model;
pub mod packing;
pub mod reference;
pub mod split;
pub mod synthetic;
pub mod transformer;
pub mod weights;

#[cfg(feature = "bundle")]
pub use bundle::{Bundle, Embedded};
pub use config::{ModelConfig, Padding, PublicConfig};
pub use dir::{ModelDir, PUBLIC_FILES};
pub use error::{Error, Result};
pub use layout::Layout;
pub use manifest::Manifest;
pub use model::{Architecture, Compiled, Model, Task, compile};
pub use packing::Packing;
pub use weights::Weights;
