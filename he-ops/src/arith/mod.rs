//! Arithmetic modulo word-size primes: reduction, prime search, transforms, basis conversion, sampling.

pub mod arena;
pub(crate) mod chebyshev;
pub mod dot;
pub(crate) mod gather;
pub(crate) mod lanes;
pub mod modulus;
pub mod ntt;
pub mod packed;
pub mod primes;
pub mod rns;
pub mod sample;
pub mod simd;
pub(crate) mod sums;
pub mod tensor;

pub use modulus::Modulus;
pub use ntt::NttTable;
pub use packed::PackedRows;
pub use sample::Seed;
pub use simd::Simd;
