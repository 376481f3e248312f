//! Homomorphic operations of the private-inference service.

pub mod arith;
pub mod circuits;
pub mod ckks;
pub mod error;
pub mod exec;
pub mod graph;
mod par;
pub mod ring;
pub mod rlwe;
pub mod trace;
pub mod wire;

pub use error::{Error, Result};
