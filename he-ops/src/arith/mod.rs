//! Arithmetic modulo word-size primes: reduction, prime search, transforms, basis conversion, sampling.


pub mod modulus;

pub mod primes;



pub use modulus::Modulus;

