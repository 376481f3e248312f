//! What crosses a process boundary, as bytes.
//!
//! Everything travels in a [`Frame`]: magic, format version, type, digest of the parameters, length, blake3 digest.
//! Bytes that come in are read in a fixed order, cheapest check first, and no step allocates more than the ones before
//! it have allowed: size limit, header, digest, codec, conformance to [`Params`](crate::rlwe::Params), and each residue
//! against its prime. Nothing here panics on hostile input; the corpus under `tests/wire` holds it to that.

mod codec;
mod error;
mod frame;
mod pack;

pub use error::{Result, WireError};
pub use frame::{Frame, HEADER_LEN, Header, Kind, MAGIC, VERSION, hex, read_frame, write_frame};
pub use pack::packed_len;
