//! CKKS: encoding, ciphertexts, evaluation.

pub mod bootstrap;
pub mod ciphertext;
pub mod diagonals;
pub mod encoder;
#[cfg(feature = "secret")]
pub mod encrypt;
pub mod evaluator;
pub mod linear_maps;
pub mod linear_transform;
pub mod pattern;
pub mod precision;
pub mod slot_map;
pub mod weighted_sum;

pub use bootstrap::{BootstrapLiteral, BootstrapPreset, Bootstrapper};
pub use ciphertext::{Ciphertext, Plaintext, SeededCiphertext};
pub use diagonals::Diagonals;
pub use encoder::Encoder;
#[cfg(feature = "secret")]
pub use encrypt::{Decryptor, Encryptor};
pub use evaluator::Evaluator;
pub use linear_transform::LinearTransform;
pub use pattern::Pattern;
pub use precision::PrecisionStats;
pub use slot_map::{MapPart, SlotMap};
