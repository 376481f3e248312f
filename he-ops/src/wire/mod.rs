//! What crosses a process boundary, as bytes.
//!
//! Everything travels in a [`Frame`]: magic, format version, type, digest of the parameters, length, blake3 digest.
//! Bytes that come in are read in a fixed order, cheapest check first, and no step allocates more than the ones before
//! it have allowed: size limit, header, digest, codec, conformance to [`Params`](crate::rlwe::Params), and each residue
//! against its prime. Nothing here panics on hostile input; the corpus under `tests/wire` holds it to that.
//!
//! The type, the parameters and the length come before the digest, so that a wrong file is told by what it is.

mod body;
mod ciphertext;
mod codec;
mod decision;
mod error;
mod frame;
mod keys;
mod kind;
mod pack;
mod peek;
mod report;
#[cfg(feature = "secret")]
mod secret;

pub use ciphertext::{
    ciphertext_frame_limit, decode_ciphertext, decode_seeded_ciphertext, encode_ciphertext,
    encode_seeded_ciphertext, expect_level_and_scale,
};
pub use decision::{
    decision_key_frame_limit, decode_decision_key, decode_label, encode_decision_key, encode_label,
    label_frame_len,
};
pub use error::{Result, WireError};
pub use frame::{Frame, HEADER_LEN, Header, MAGIC, VERSION, first_frame, hex, read_frame, write_frame};
pub use keys::{decode_key, decode_public_key, encode_key, encode_public_key, key_frame_limit};
pub use kind::Kind;
pub use pack::packed_len;
pub use peek::{Peek, peek};
pub use report::{decode_report, encode_report};
#[cfg(feature = "secret")]
pub use secret::{decode_decision_secret, decode_secret_key, encode_decision_secret, encode_secret_key};
