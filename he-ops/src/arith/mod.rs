//! Arithmetic modulo word-size primes: reduction, prime search, transforms, basis conversion, sampling.


pub mod modulus;
pub mod ntt;

pub mod primes;



pub use modulus::Modulus;
pub use ntt::NttTable;

