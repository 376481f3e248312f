//! From a model to the plan that a server runs, by one of two lowerings.
//!
//! | Module | What it is |
//! |---|---|
//! | [`blocks`] | any model: features in blocks over many ciphertexts, with bootstraps where they are needed |
//! | [`staircase`] | a small model of one layer: all of its attention in one ciphertext |

pub mod blocks;
pub(crate) mod compile;
pub mod staircase;

pub use compile::{Candidate, Choice, CompiledModel, Lowering, Model, Target, compile, plan_shape};
