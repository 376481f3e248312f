//! The only file that names `bincode`: fixed-width little-endian integers, a mandatory byte limit, no bytes left over.
//!
//! `bincode` is pinned to 1.3.3, the last release that its authors call complete; the golden bytes under `tests/wire`
//! make a change of codec a change of this one file. Bulk residues pass through as one borrowed byte string, so the
//! codec only does framing and allocates nothing.

use super::error::{Result, WireError};
use bincode::Options;
use serde::{Deserialize, Serialize, Serializer, de};

/// A byte string that is written in one piece and read without a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> core::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Bytes)
    }
}

fn options(limit: u64) -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_little_endian()
        .reject_trailing_bytes()
        .with_limit(limit)
}

/// Bytes of a value.
///
/// # Errors
/// [`WireError::Codec`] when the value has no representation, which the types of this module rule out.
pub(super) fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>> {
    options(u64::MAX).serialize(value).map_err(|e| WireError::Codec {
        what,
        reason: e.to_string(),
    })
}

/// Value of exactly these bytes. The limit is the length of the slice: no length field can ask for more than is there.
///
/// # Errors
/// [`WireError::Codec`] for anything that [`encode`] does not write.
pub(super) fn decode<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T> {
    options(bytes.len() as u64)
        .deserialize(bytes)
        .map_err(|e| WireError::Codec {
            what,
            reason: e.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_slice_is_refused_without_allocation() {
        let mut bytes = encode("test", &Bytes(b"abc")).unwrap();
        assert_eq!(bytes, [3, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c']);
        assert_eq!(decode::<Bytes<'_>>("test", &bytes).unwrap().0, b"abc");
        bytes[7] = 0xff;
        assert!(decode::<Bytes<'_>>("test", &bytes).is_err());
        assert!(decode::<Bytes<'_>>("test", &[4, 0, 0, 0, 0, 0, 0, 0, 1]).is_err());
        assert!(decode::<u16>("test", &[1, 2, 3]).is_err());
    }
}
