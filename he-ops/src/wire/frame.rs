//! The envelope of everything that leaves a process: what it is, under which parameters, how long, and a digest.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | magic `HEIS` |
//! | 4..6 | format version, u16 little endian |
//! | 6 | type tag |
//! | 7 | reserved, zero |
//! | 8..40 | digest of the parameters |
//! | 40..48 | length of the payload, u64 little endian |
//! | 48..80 | blake3 of bytes 0..48 and the payload |
//! | 80.. | payload |
//!
//! The digest finds damage; it authenticates nothing. Ciphertexts are malleable, so the channel must be authenticated.

use super::error::{Result, WireError};
use super::kind::Kind;
use std::io::Read;

/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"HEIS";
/// Format version that this build writes and reads: 1 was that of release 0.1, 2 is that of 0.2. It changes with a release whose
/// keys, requests or replies those of the one before cannot be mixed with, even where a payload keeps its form.
pub const VERSION: u16 = 2;
/// Bytes before the payload.
pub const HEADER_LEN: usize = 80;
const DIGESTED: usize = 48;

/// The checked fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub kind: Kind,
    /// Digest of the parameters it was made under.
    pub params_digest: [u8; 32],
    /// Bytes of the payload.
    pub payload_len: u64,
    /// blake3 of the header fields and the payload.
    pub digest: [u8; 32],
}

impl Header {
    /// Reads the first [`HEADER_LEN`] bytes; nothing of the payload is looked at.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Magic`], [`WireError::Version`], [`WireError::UnknownKind`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let head: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(WireError::Truncated {
            what: "frame header",
            needed: HEADER_LEN as u64,
            found: bytes.len() as u64,
        })?;
        let magic: [u8; 4] = field(head, 0);
        if magic != MAGIC {
            return Err(WireError::Magic { found: hex(&magic) });
        }
        let version = u16::from_le_bytes(field(head, 4));
        if version != VERSION {
            return Err(WireError::Version {
                needed: VERSION,
                found: version,
            });
        }
        let [tag, reserved] = field(head, 6);
        let kind = Kind::from_tag(tag)
            .filter(|_| reserved == 0)
            .ok_or(WireError::UnknownKind {
                tag: u16::from_le_bytes([tag, reserved]),
            })?;
        Ok(Self {
            kind,
            params_digest: field(head, 8),
            payload_len: u64::from_le_bytes(field(head, 40)),
            digest: field(head, 48),
        })
    }

    fn prefix(&self) -> [u8; DIGESTED] {
        let mut out = [0u8; DIGESTED];
        let parts = MAGIC
            .into_iter()
            .chain(VERSION.to_le_bytes())
            .chain([self.kind.tag(), 0])
            .chain(self.params_digest)
            .chain(self.payload_len.to_le_bytes());
        out.iter_mut().zip(parts).for_each(|(o, p)| *o = p);
        out
    }

    fn digest_with(&self, payload: &[u8]) -> [u8; 32] {
        *blake3::Hasher::new()
            .update(&self.prefix())
            .update(payload)
            .finalize()
            .as_bytes()
    }

    /// Bytes of the whole frame; saturates on a hostile length, which is then refused by every limit.
    #[must_use]
    pub fn frame_len(&self) -> u64 {
        self.payload_len.saturating_add(HEADER_LEN as u64)
    }

    /// Refuses another type than the one needed.
    ///
    /// # Errors
    /// [`WireError::Kind`].
    pub fn expect_kind(&self, needed: Kind) -> Result<()> {
        if self.kind == needed {
            Ok(())
        } else {
            Err(WireError::Kind {
                needed,
                found: self.kind,
            })
        }
    }

    /// Refuses other parameters than the ones needed.
    ///
    /// # Errors
    /// [`WireError::ParamsDigest`].
    pub fn expect_params(&self, needed: &[u8; 32]) -> Result<()> {
        if self.params_digest == *needed {
            return Ok(());
        }
        let short = |d: &[u8; 32]| hex(&d[..8]);
        Err(WireError::ParamsDigest {
            needed: short(needed),
            found: short(&self.params_digest),
        })
    }
}

/// A frame in memory, its digest checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header.
    pub header: Header,
    /// The payload, not yet decoded.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Splits the first frame off `bytes`: size against `limit`, header, then digest. Returns the rest.
    ///
    /// # Errors
    /// As [`Header::parse`], and [`WireError::TooLarge`], [`WireError::Truncated`], [`WireError::Checksum`].
    pub fn split(bytes: &'a [u8], limit: u64) -> Result<(Self, &'a [u8])> {
        let header = Header::parse(bytes)?;
        check_limit(&header, limit)?;
        let (_, rest) = bytes.split_at(HEADER_LEN);
        let truncated = WireError::Truncated {
            what: "frame",
            needed: header.frame_len(),
            found: bytes.len() as u64,
        };
        let len = usize::try_from(header.payload_len).map_err(|_| truncated.clone())?;
        let (payload, rest) = rest.split_at_checked(len).ok_or(truncated)?;
        if header.digest_with(payload) != header.digest {
            return Err(WireError::Checksum);
        }
        Ok((Self { header, payload }, rest))
    }

    /// The one frame that `bytes` must be.
    ///
    /// # Errors
    /// As [`Frame::split`], and [`WireError::Trailing`].
    pub fn parse(bytes: &'a [u8], limit: u64) -> Result<Self> {
        let (frame, rest) = Self::split(bytes, limit)?;
        if rest.is_empty() {
            Ok(frame)
        } else {
            Err(WireError::Trailing {
                what: "frame",
                extra: rest.len() as u64,
            })
        }
    }
}

/// The bytes of the first frame, header included, and the rest; its digest is checked when it is decoded.
///
/// # Errors
/// As [`Header::parse`], and [`WireError::TooLarge`], [`WireError::Truncated`].
pub fn first_frame(bytes: &[u8], limit: u64) -> Result<(&[u8], &[u8])> {
    let header = Header::parse(bytes)?;
    check_limit(&header, limit)?;
    let len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
    bytes.split_at_checked(len).ok_or(WireError::Truncated {
        what: "frame",
        needed: header.frame_len(),
        found: bytes.len() as u64,
    })
}

/// Reads one whole frame, header included, from a stream; `None` at a clean end. The length is held against `limit`
/// before the buffer is made, and the digest is checked by [`Frame::parse`] when the frame is decoded.
///
/// # Errors
/// As [`Header::parse`], and [`WireError::TooLarge`], [`WireError::Truncated`], [`WireError::Io`].
pub fn read_frame(reader: &mut impl Read, limit: u64) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    read_up_to(reader, HEADER_LEN as u64, &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let header = Header::parse(&bytes)?;
    check_limit(&header, limit)?;
    let room = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
    bytes.try_reserve_exact(room).map_err(|e| WireError::Io {
        reason: e.to_string(),
    })?;
    read_up_to(reader, header.payload_len, &mut bytes)?;
    if (bytes.len() as u64) < header.frame_len() {
        return Err(WireError::Truncated {
            what: "frame",
            needed: header.frame_len(),
            found: bytes.len() as u64,
        });
    }
    Ok(Some(bytes))
}

fn read_up_to(reader: &mut impl Read, count: u64, out: &mut Vec<u8>) -> Result<()> {
    match reader.by_ref().take(count).read_to_end(out) {
        Ok(_) => Ok(()),
        Err(e) => Err(WireError::Io {
            reason: e.to_string(),
        }),
    }
}

/// Wraps a payload.
#[must_use]
pub fn write_frame(kind: Kind, params_digest: [u8; 32], payload: &[u8]) -> Vec<u8> {
    let mut header = Header {
        kind,
        params_digest,
        payload_len: payload.len() as u64,
        digest: [0; 32],
    };
    header.digest = header.digest_with(payload);
    let mut out = Vec::with_capacity(HEADER_LEN + payload.len());
    out.extend_from_slice(&header.prefix());
    out.extend_from_slice(&header.digest);
    out.extend_from_slice(payload);
    out
}

fn check_limit(header: &Header, limit: u64) -> Result<()> {
    if header.frame_len() > limit {
        return Err(WireError::TooLarge {
            what: "frame",
            limit,
            found: header.frame_len(),
        });
    }
    Ok(())
}

/// `K` bytes from `at`.
#[expect(clippy::indexing_slicing, reason = "constants inside the header")]
fn field<const K: usize>(head: &[u8; HEADER_LEN], at: usize) -> [u8; K] {
    let mut out = [0; K];
    out.copy_from_slice(&head[at..at + K]);
    out
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
            // Writing to a String cannot fail.
            let _ = write!(s, "{b:02x}");
            s
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_round_and_split() {
        let mut bytes = write_frame(Kind::Report, [7; 32], b"{}");
        let second = write_frame(Kind::Ciphertext, [7; 32], b"xyz");
        bytes.extend_from_slice(&second);
        let (frame, rest) = Frame::split(&bytes, 1000).unwrap();
        assert_eq!((frame.header.kind, frame.payload), (Kind::Report, &b"{}"[..]));
        assert_eq!(rest, second);
        assert!(matches!(
            Frame::parse(&bytes, 1000),
            Err(WireError::Trailing { extra: 83, .. })
        ));
        let mut reader = &bytes[..];
        assert_eq!(read_frame(&mut reader, 1000).unwrap().unwrap().len(), 82);
        assert_eq!(read_frame(&mut reader, 1000).unwrap().unwrap(), second);
        assert_eq!(read_frame(&mut reader, 1000).unwrap(), None);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        let bytes = write_frame(Kind::SeededCiphertext, [9; 32], b"some payload");
        for cut in 0..bytes.len() {
            assert!(Frame::parse(&bytes[..cut], 1000).is_err());
            let mut reader = &bytes[..cut];
            assert_eq!(read_frame(&mut reader, 1000).is_ok(), cut == 0);
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::parse(&damaged, 1000).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_announced_length_is_held_against_the_limit_before_allocation() {
        let mut bytes = write_frame(Kind::Ciphertext, [0; 32], b"x");
        bytes[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(
            Frame::parse(&bytes, 1 << 20),
            Err(WireError::TooLarge { limit: 0x10_0000, .. })
        ));
        assert!(matches!(
            read_frame(&mut &bytes[..], 1 << 20),
            Err(WireError::TooLarge { .. })
        ));
        assert!(matches!(
            Frame::parse(&bytes, u64::MAX),
            Err(WireError::Truncated { .. })
        ));
    }
}
