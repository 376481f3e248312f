//! CKKS: encoding, ciphertexts, evaluation.

pub mod pattern;

pub use pattern::Pattern;
