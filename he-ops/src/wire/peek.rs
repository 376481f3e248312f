//! What a frame says of itself without the parameters: for listings, never for a decision on trust.

use super::ciphertext::{FullWire, SeededWire};
use super::codec;
use super::error::Result;
use super::frame::Frame;
use super::keys::KeyWire;
use super::kind::Kind;

/// The fields of a payload, as claimed; residues are not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Peek {
    /// Level of a ciphertext or key.
    pub level: Option<usize>,
    /// Scale of a ciphertext.
    pub scale: Option<f64>,
    /// Parts of a full ciphertext.
    pub parts: Option<usize>,
    /// [`KeyPurpose::code`](crate::rlwe::KeyPurpose::code) of a key.
    pub key_code: Option<u64>,
}

/// Reads the fields of a frame whose digest is checked.
///
/// # Errors
/// [`WireError::Codec`](super::WireError::Codec).
pub fn peek(frame: &Frame<'_>) -> Result<Peek> {
    Ok(match frame.header.kind {
        Kind::Ciphertext => {
            let wire: FullWire<'_> = codec::decode("ciphertext", frame.payload)?;
            let (level, parts) = (Some(wire.level as usize), Some(wire.parts as usize));
            Peek {
                level,
                parts,
                scale: Some(wire.scale),
                key_code: None,
            }
        }
        Kind::SeededCiphertext => {
            let wire: SeededWire<'_> = codec::decode("seeded ciphertext", frame.payload)?;
            Peek {
                level: Some(wire.level as usize),
                scale: Some(wire.scale),
                ..Peek::default()
            }
        }
        Kind::KeySwitchKey => {
            let wire: KeyWire<'_> = codec::decode("key-switch key", frame.payload)?;
            Peek {
                level: Some(wire.level as usize),
                key_code: Some(wire.element),
                ..Peek::default()
            }
        }
        Kind::PublicKey
        | Kind::SecretKey
        | Kind::Report
        | Kind::DecisionKey
        | Kind::DecisionSecret
        | Kind::Label => Peek::default(),
    })
}
