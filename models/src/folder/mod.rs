//! A model on disk, and what a server says of it.

pub mod decision;
pub mod dir;
pub mod fields;
pub mod manifest;

pub use decision::{DecisionConfig, DecisionEntry};
pub use dir::ModelDir;
pub use manifest::Manifest;
