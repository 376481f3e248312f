//! The exact decision: from approximate logits to one encrypted class, with programmable bootstraps of `tfhe`.
//!
//! CKKS returns numbers that are right to some digits, and all of them. A decision is one of a few values, exact, and the
//! only thing that the client learns:
//!
//! | step | what becomes of a logit |
//! |---|---|
//! | read | a product with a plaintext brings the logit to coefficient 0 of a polynomial modulo the bottom prime q0; no level |
//! | extract | coefficient 0 is an LWE sample of dimension N under the CKKS secret |
//! | switch ring | [`RingSwitchKey`]: an LWE sample of dimension 2048 under the secret of `tfhe`, then from q0 to 2^64 |
//! | compare | [`DecisionKey`]: the sign of every difference of two logits, one bootstrap each |
//! | gather | beyond 20 classes: whether a class won all comparisons of a group, one bootstrap for each group of 19 |
//! | decide | the class that won all its comparisons, one bootstrap for each class; their sum is its number |
//! | send | a key switch to the small dimension, the top half of every word: 3.7 kB for each digit of the number |
//!
//! Everything is linear up to the signs. Only the difference of two logits is ever decided upon, so that a common error of
//! both does not count; [`Decision::resolution`] says how far apart two of them must be.
//!
//! Extraction and switches between the schemes: CHIMERA (ePrint 2018/758), PEGASUS (ePrint 2020/1606). Sign as a negacyclic
//! bootstrap: ePrint 2018/421.

mod arg_max;
mod decide;
mod keys;
mod label;
mod lwe;
mod noise;
mod params;
mod ring_switch;
mod rule;
#[cfg(feature = "secret")]
mod secret;

pub use decide::decide;
pub use keys::{DecisionKey, SeededDecisionKey};
pub use label::EncryptedLabel;
pub(crate) use label::{ID_BYTES, label_bytes};
pub use params::{
    DecisionSecurity, KeyNoise, TFHE_PARAMETERS, TFHE_PARAMETERS_NAME, check_params, decision_key_bytes,
    decision_memory_bytes,
};
pub(crate) use params::{ring_switch_transforms, tfhe_words};
pub(crate) use ring_switch::ring_switch_residues;
pub use ring_switch::{RingSwitchKey, SeededRingSwitchKey};
pub use rule::{Decision, Reading, Rule};
#[cfg(feature = "secret")]
pub use secret::DecisionSecret;
