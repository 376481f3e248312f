//! Homomorphic operations of the private-inference service.

pub mod arith;
pub mod ckks;
pub mod error;
pub mod rlwe;
pub mod graph;

pub use error::{Error, Result};
