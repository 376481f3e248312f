//! Polynomials modulo X^N + 1 in residue form.

#[allow(
    unsafe_code,
    reason = "a kernel with the instructions that the processor was found to have"
)]
pub mod automorphism;
pub mod division;
pub mod poly;

pub use division::Division;
pub use poly::{Coeff, Eval, Poly, Representation, TimesP};
