//! Polynomial transformers: their files, the f64 reference, the packing, and the lowering to a homomorphic plan.
//!
//! Each folder uses those above it:
//!
//! | Folder | What it is |
//! |---|---|
//! | [`model`] | what a model is: configuration, weights, and the forward pass in clear |
//! | [`fit`] | which polynomials stand for what is not one, for the ranges that were seen |
//! | [`synthetic`] | seeded models of any shape, for tests and measurements |
//! | [`packing`] | how inputs and answers lie in the slots of ciphertexts |
//! | [`lower`] | the model as a plan that a server runs |
//! | [`bundle`] | texts and images to numbers, on the side of the client |
//! | [`folder`] | a model on disk, its manifest, its exact decision |

#![forbid(unsafe_code)]

pub mod answer;
pub mod bundle;
pub mod error;
pub mod fit;
pub mod folder;
pub mod lower;
pub mod matrix;
pub mod model;
pub mod packing;
pub mod synthetic;

pub use answer::Head;
#[cfg(feature = "bundle")]
pub use bundle::{Bundle, Embedded};
pub use bundle::{Input, Padding, PublicConfig};
pub use error::{Error, Result};
pub use folder::{DecisionConfig, DecisionEntry, Manifest, ModelDir};
pub use lower::{CompiledModel, Model};
pub use packing::Packing;
