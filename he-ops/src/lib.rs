//! Homomorphic operations of the private-inference service.

pub mod error;

pub use error::{Error, Result};
