//! CKKS: encoding, ciphertexts, evaluation.

pub mod ciphertext;
pub mod encoder;
#[cfg(feature = "secret")]
pub mod encrypt;
pub mod evaluator;
pub mod pattern;
pub mod precision;
pub mod weighted_sum;

pub use ciphertext::{Ciphertext, Plaintext, SeededCiphertext};
pub use encoder::Encoder;
#[cfg(feature = "secret")]
pub use encrypt::{Decryptor, Encryptor};
pub use evaluator::Evaluator;
pub use pattern::Pattern;
pub use precision::PrecisionStats;
