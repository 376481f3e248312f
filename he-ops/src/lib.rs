//! Homomorphic operations of the private-inference service.

pub mod arith;
pub mod ckks;
pub mod error;
mod par;
pub mod ring;
pub mod rlwe;
pub mod circuits;
pub mod exec;
pub mod trace;
pub mod graph;
pub mod wire;

pub use error::{Error, Result};
