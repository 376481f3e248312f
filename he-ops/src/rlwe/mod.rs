//! Ring-LWE: parameters and their security, keys, key switching.

mod cache;
mod digits;
pub mod evaluation_keys;
pub mod gadget;
pub(crate) mod giant_step;
pub mod key_switch;
pub mod key_switch_key;
#[cfg(feature = "secret")]
pub mod keygen;
pub mod keys;
pub(crate) mod noise;
pub mod params;
#[cfg(feature = "secret")]
pub mod secret;
pub mod security;

pub use evaluation_keys::EvaluationKeys;
pub use gadget::Gadget;
pub use key_switch_key::{KeySwitchKey, SeededKeySwitchKey};
#[cfg(feature = "secret")]
pub use keygen::KeyGenerator;
pub use keys::{EvaluationKeyConfig, KeyPurpose, KeyUses, PublicKey};
pub use params::{Params, ParamsLiteral};
#[cfg(feature = "secret")]
pub use secret::SecretKey;
