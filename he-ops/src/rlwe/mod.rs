//! Ring-LWE: parameters and their security, keys, key switching.

pub mod params;
pub mod security;

pub use params::{Gadget, Params, ParamsLiteral};
