//! Ring-LWE: parameters and their security, keys, key switching.

pub mod key_switch;
#[cfg(feature = "secret")]
pub mod keygen;
pub mod keys;
pub mod params;
#[cfg(feature = "secret")]
pub mod secret;
pub mod security;

#[cfg(feature = "secret")]
pub use keygen::KeyGenerator;
pub use keys::{
    EvaluationKeyConfig, EvaluationKeys, KeyPurpose, KeySwitchKey, KeyUses, PublicKey, SeededKeySwitchKey,
};
pub use params::{Gadget, Params, ParamsLiteral};
#[cfg(feature = "secret")]
pub use secret::SecretKey;
