//! Polynomials modulo X^N + 1 in residue form.

pub mod automorphism;
pub mod poly;

pub use poly::{Coeff, Eval, Poly, Representation};
