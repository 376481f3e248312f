//! Homomorphic operations of the private-inference service: RNS-CKKS with bootstrapping on `concrete-ntt`, an exact
//! decision with `tfhe`, circuits, and a compiler and executor of plans. No network, no files, no async, no knowledge of any model.
//!
//! | module | what | builds on |
//! |---|---|---|
//! | [`arith`] | primes, transforms, the dot-product kernel, basis conversion, sampling | |
//! | [`ring`] | polynomials in residue form, automorphisms, recycled buffers | `arith` |
//! | [`rlwe`] | parameters held against the security table, keys, key switching | `ring` |
//! | [`ckks`] | encoder, ciphertexts, encryption, evaluator, linear maps, bootstrapping | `rlwe` |
//! | [`decision`] | one exact class out of encrypted logits, by a second scheme | `ckks` |
//! | [`graph`] | circuits as graphs of primitive operations, the passes, the [`graph::Plan`] | `ckks`, `decision` |
//! | [`circuits`] | building blocks of models: they write graph nodes | `graph` |
//! | [`cost`] | counted work of operations and plans, and the machine that turns it into time | `graph`, `ckks` |
//! | [`exec`] | runs a plan on plain numbers, on a noise model, or on ciphertexts | `graph`, `cost`, `ckks`, `decision` |
//! | [`trace`] | where the time went | |
//! | [`wire`] | frames, bit-packed residues, refusal of everything malformed | `ckks`, `decision` |
//!
//! Secret keys exist only with the feature `secret`; the server is built without it.
//!
//! ```
//! # #[cfg(feature = "secret")]
//! # fn main() -> he_ops::Result<()> {
//! use he_ops::ckks::{Decryptor, Encoder, Encryptor, Evaluator};
//! use he_ops::rlwe::{EvaluationKeys, Params, ParamsLiteral, SecretKey};
//! use num_complex::Complex64;
//! use std::sync::Arc;
//!
//! // Client: N = 2^13, two levels, 128-bit secure or refused.
//! let params = Params::new(&ParamsLiteral::leveled(13, 2, 35))?;
//! let secret = SecretKey::generate(&params)?;
//! let encoder = Encoder::new(&params);
//! let level = params.max_level();
//! let plain = encoder.encode(&[Complex64::new(1.5, -0.25)], level, params.scale(level)?)?;
//! let sent = Encryptor::new(&params, &secret)?.encrypt(&plain)?;
//!
//! // Server: adds without seeing; no key is needed for that.
//! let evaluator = Evaluator::new(&encoder, Arc::new(EvaluationKeys::new(&params)));
//! let ciphertext = sent.expand(&params)?;
//! let sum = evaluator.add(&ciphertext, &ciphertext)?;
//!
//! // Client again.
//! let answer = encoder.decode(&Decryptor::new(&params, &secret)?.decrypt(&sum)?)?;
//! assert!((answer[0] - Complex64::new(3.0, -0.5)).norm() < 1e-6);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "secret"))]
//! # fn main() {}
//! ```

#[allow(
    unsafe_code,
    reason = "kernels with the instructions that the processor was found to have"
)]
pub mod arith;
pub mod circuits;
pub mod ckks;
pub mod cost;
pub mod decision;
pub mod error;
pub mod exec;
pub mod graph;
mod par;
pub mod ring;
pub mod rlwe;
pub mod trace;
pub mod wire;

pub use error::{Error, ParamsError, Result};
