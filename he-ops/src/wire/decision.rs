//! The exact decision on the wire: its evaluation key, and the label that comes back.

use super::ciphertext::checked_frame;
use super::codec::{self, Bytes};
use super::error::{Result, WireError};
use super::frame::{HEADER_LEN, write_frame};
use super::kind::Kind;
use super::pack::{packed_len, unpack_limb};
use crate::arith::packed::pack_limb;
use crate::arith::sample::Seed;
use crate::decision::{
    EncryptedLabel, ID_BYTES, SeededDecisionKey, SeededRingSwitchKey, TFHE_PARAMETERS_NAME,
    decision_key_bytes, label_bytes, ring_switch_residues, tfhe_words,
};
use crate::rlwe::Params;
use serde::{Deserialize, Serialize};

/// Fields of a key besides its bodies: name, seeds and lengths, rounded up.
const FIELDS: u64 = 256;

#[derive(Serialize, Deserialize)]
struct DecisionKeyWire<'a> {
    /// Parameter set of the crate `tfhe`: a key of another one is refused by name.
    #[serde(borrow)]
    tfhe: &'a str,
    id: [u8; 16],
    seeds: [Seed; 3],
    #[serde(borrow)]
    ring_switch: Bytes<'a>,
    #[serde(borrow)]
    bootstrap: Bytes<'a>,
    #[serde(borrow)]
    switch: Bytes<'a>,
}

/// Limit for the frame of a key of the exact decision: its exact size, and a few bytes for the fields.
#[must_use]
pub fn decision_key_frame_limit(params: &Params) -> u64 {
    HEADER_LEN as u64 + FIELDS + decision_key_bytes(params)
}

fn word_bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn read_words(what: &'static str, bytes: &[u8], needed: usize) -> Result<Vec<u64>> {
    let (words, rest) = bytes.as_chunks::<8>();
    if words.len() == needed && rest.is_empty() {
        return Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect());
    }
    Err(WireError::Field {
        what,
        needed: format!("{} bytes", 8 * needed),
        found: format!("{} bytes", bytes.len()),
    })
}

/// Frame of the evaluation key of the exact decision.
///
/// # Errors
/// [`WireError::Codec`]; none for a key of these parameters.
pub fn encode_decision_key(params: &Params, key: &SeededDecisionKey) -> Result<Vec<u8>> {
    let mut ring_switch = Vec::new();
    pack_limb(
        &key.ring_switch.bodies,
        params.bottom_modulus().bits(),
        &mut ring_switch,
    );
    let (bootstrap, switch) = (word_bytes(&key.bootstrap), word_bytes(&key.switch));
    let wire = DecisionKeyWire {
        tfhe: TFHE_PARAMETERS_NAME,
        id: key.id,
        seeds: [key.ring_switch.seed, key.bootstrap_seed, key.switch_seed],
        ring_switch: Bytes(&ring_switch),
        bootstrap: Bytes(&bootstrap),
        switch: Bytes(&switch),
    };
    Ok(write_frame(
        Kind::DecisionKey,
        params.digest(),
        &codec::encode("key of the exact decision", &wire)?,
    ))
}

/// Key of exactly one frame; every size is checked before it is read, every residue while.
///
/// # Errors
/// Any variant of [`WireError`], the first that applies in the order of the module's text.
pub fn decode_decision_key(params: &Params, bytes: &[u8]) -> Result<SeededDecisionKey> {
    let frame = checked_frame(params, bytes, decision_key_frame_limit(params), Kind::DecisionKey)?;
    let wire: DecisionKeyWire<'_> = codec::decode("key of the exact decision", frame.payload)?;
    if wire.tfhe != TFHE_PARAMETERS_NAME {
        return Err(WireError::Field {
            what: "parameters of tfhe",
            needed: TFHE_PARAMETERS_NAME.to_owned(),
            found: wire.tfhe.chars().take(80).collect(),
        });
    }
    let modulus = *params.bottom_modulus();
    let count = ring_switch_residues(params);
    if wire.ring_switch.0.len() != packed_len(count, modulus.bits()) {
        return Err(WireError::Field {
            what: "packed residues of a ring-switch key",
            needed: format!("{} bytes", packed_len(count, modulus.bits())),
            found: format!("{} bytes", wire.ring_switch.0.len()),
        });
    }
    let mut bodies = vec![0; count];
    unpack_limb(
        wire.ring_switch.0,
        modulus.value(),
        modulus.bits(),
        0,
        &mut bodies,
    )?;
    let [bootstrap, switch] = tfhe_words();
    let [ring_seed, bootstrap_seed, switch_seed] = wire.seeds;
    Ok(SeededDecisionKey {
        id: wire.id,
        ring_switch: SeededRingSwitchKey {
            seed: ring_seed,
            bodies,
        },
        bootstrap_seed,
        bootstrap: read_words("bootstrap key of tfhe", wire.bootstrap.0, bootstrap)?,
        switch_seed,
        switch: read_words("key-switch key of tfhe", wire.switch.0, switch)?,
    })
}

/// Bytes of the frame of a label between so many classes: always the same.
#[must_use]
pub fn label_frame_len(classes: usize) -> u64 {
    HEADER_LEN as u64 + label_bytes(classes)
}

/// Frame of an encrypted label: the number of the keys and its words, nothing else.
#[must_use]
pub fn encode_label(params: &Params, label: &EncryptedLabel) -> Vec<u8> {
    let words = label.words().iter().flat_map(|word| word.to_le_bytes());
    let bytes: Vec<u8> = label.id().into_iter().chain(words).collect();
    write_frame(Kind::Label, params.digest(), &bytes)
}

/// Label between so many classes of exactly one frame.
///
/// # Errors
/// Any variant of [`WireError`], the first that applies in the order of the module's text.
pub fn decode_label(params: &Params, classes: usize, bytes: &[u8]) -> Result<EncryptedLabel> {
    let frame = checked_frame(params, bytes, label_frame_len(classes), Kind::Label)?;
    let Some((id, words)) = frame.payload.split_first_chunk::<ID_BYTES>() else {
        return Err(WireError::Truncated {
            what: "encrypted label",
            needed: ID_BYTES as u64,
            found: frame.payload.len() as u64,
        });
    };
    let (words, rest) = words.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(WireError::Trailing {
            what: "encrypted label",
            extra: rest.len() as u64,
        });
    }
    let words = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    Ok(EncryptedLabel::new(classes, *id, words)?)
}
