//! Polynomials modulo X^N + 1 in residue form.

pub mod arena;
pub mod automorphism;
pub mod poly;
pub mod tensor;

pub use poly::{Coeff, Eval, Poly, Representation};
