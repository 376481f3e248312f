//! Homomorphic operations of the private-inference service.

pub mod arith;
pub mod ckks;
pub mod error;
mod par;
pub mod ring;
pub mod rlwe;
pub mod graph;
pub mod wire;

pub use error::{Error, Result};
