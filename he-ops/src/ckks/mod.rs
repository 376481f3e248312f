//! CKKS: encoding, ciphertexts, evaluation.

pub mod bootstrap;
pub mod ciphertext;
pub mod encoder;
#[cfg(feature = "secret")]
pub mod encrypt;
pub mod evaluator;
pub mod linear;
pub mod precision;

pub use bootstrap::{BootstrapLiteral, BootstrapPreset, Bootstrapper};
pub use ciphertext::{Ciphertext, Plaintext, SCALE_TOLERANCE, SeededCiphertext, is_same_scale};
pub use encoder::Encoder;
#[cfg(feature = "secret")]
pub use encrypt::{Decryptor, Encryptor};
pub use evaluator::Evaluator;
pub use linear::{Diagonals, LinearTransform, MapPart, Pattern, SlotMap};
pub use precision::PrecisionStats;
