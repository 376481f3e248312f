//! Arithmetic modulo word-size primes: reduction, prime search, transforms, basis conversion, sampling.

pub mod dot;
pub mod modulus;
pub mod ntt;
pub mod primes;
pub mod rns;
pub mod sample;

pub use modulus::Modulus;
pub use ntt::NttTable;
pub use sample::Seed;
