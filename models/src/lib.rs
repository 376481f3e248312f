//! Polynomial transformers: their files, the f64 reference, the packing, and the lowering to a homomorphic plan.
//!
//! | Module | What it is |
//! |---|---|
//! | [`dir`] | a model folder of either kind, and the one door to what a client may see of it |
//! | [`model`] | a model with its weights: what it computes in clear, and the plan that computes it encrypted |
//! | [`public`], [`embeddings`], [`bundle`] | texts and images to numbers, on the side of the client (feature `bundle`) |
//! | [`packing`] | how inputs and answers lie in the slots, of either kind |
//! | [`manifest`] | what a client must know of a model, read off its plan |
//! | [`split`] | the held-out sentences of a model folder |
//! | [`transformer`] | transformers of any depth: description, weights, f64 reference, calibration, packing, plans |
//! | [`config`], [`weights`] | of one-layer classifiers: `config.json` and `model.safetensors`, checked |
//! | [`fold`] | the weights folded into their neighbours, in f64 |
//! | [`staircase`] | which slot holds which feature of which token |
//! | [`mod@reference`] | the classifier in f64, in clear: the oracle |
//! | [`lower`] | the classifier as a graph, and the compiled plan |
//! | [`synthetic`] | seeded models of any shape, for tests and measurements |

#![forbid(unsafe_code)]

#[cfg(feature = "bundle")]
pub mod bundle;
pub mod config;
pub mod decision;
pub mod dir;
pub mod embeddings;
pub mod error;
pub mod fields;
pub mod fold;
pub mod lower;
pub mod manifest;
pub mod matrix;
pub mod model;
pub mod packing;
pub mod public;
pub mod reference;
pub mod split;
pub mod staircase;
pub mod synthetic;
pub mod transformer;
pub mod weights;

#[cfg(feature = "bundle")]
pub use bundle::{Bundle, Embedded};
pub use config::ModelConfig;
pub use decision::{DecisionConfig, DecisionEntry};
pub use dir::ModelDir;
pub use error::{Error, Result};
pub use manifest::{Head, Manifest};
pub use model::{CompiledModel, Model, compile};
pub use packing::Packing;
pub use public::{Input, Padding, PublicConfig};
pub use weights::Weights;
