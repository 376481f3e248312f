//! Why bytes from a file or from the network were refused. Each reason has its own variant, so that the service can
//! answer with its own status and the caller can tell a cut transfer from a wrong key.

use super::kind::Kind;

/// Result of reading and writing frames.
pub type Result<T> = core::result::Result<T, WireError>;

/// Why a frame was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Fewer bytes than the header or the length field promises.
    #[error("truncated {what}: {needed} bytes needed, {found} found; send or copy the file again")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes found.
        found: u64,
    },
    /// More bytes than the reader allows; checked before anything is allocated.
    #[error("{what} too large: at most {limit} bytes allowed, {found} announced")]
    TooLarge {
        /// What was being read.
        what: &'static str,
        /// Most bytes allowed.
        limit: u64,
        /// Bytes announced or found.
        found: u64,
    },
    /// Bytes left over behind a complete value.
    #[error("{extra} bytes left over after the {what}; exactly one was needed")]
    Trailing {
        /// What was read.
        what: &'static str,
        /// Bytes left over.
        extra: u64,
    },
    /// The first four bytes are not `HEIS`.
    #[error("not a frame of this service: the magic bytes 48454953 (HEIS) needed, {found} found")]
    Magic {
        /// The first bytes, in hexadecimal.
        found: String,
    },
    /// A format version that this build does not read.
    #[error(
        "made by {}: frame format version {found} found, {needed} needed; keys, requests and replies of two releases do not mix",
        release(*found, *needed)
    )]
    Version {
        /// Version of this build.
        needed: u16,
        /// Version found.
        found: u16,
    },
    /// A type tag that this build does not know, or a reserved byte that is not zero.
    #[error("unknown frame type {tag:#06x}; the file is damaged or made by a newer release")]
    UnknownKind {
        /// Type tag and reserved byte.
        tag: u16,
    },
    /// A known frame, but of another type than the one needed.
    #[error("{needed} needed, {found} found")]
    Kind {
        /// Type needed.
        needed: Kind,
        /// Type found.
        found: Kind,
    },
    /// Made under other parameters.
    #[error(
        "parameters {needed} needed, parameters {found} found; \
         make keys and ciphertexts from the manifest of this model"
    )]
    ParamsDigest {
        /// First bytes of the digest needed, in hexadecimal.
        needed: String,
        /// First bytes of the digest found, in hexadecimal.
        found: String,
    },
    /// The bytes are not the ones that were written.
    #[error("checksum mismatch: the bytes were damaged on the way; send or copy the file again")]
    Checksum,
    /// The payload does not follow the codec.
    #[error("malformed {what}: {reason}")]
    Codec {
        /// What was being read.
        what: &'static str,
        /// What the codec said.
        reason: String,
    },
    /// A field has a size or a value that these parameters do not allow.
    #[error("{what}: {needed} needed, {found} found")]
    Field {
        /// The field.
        what: &'static str,
        /// What is allowed.
        needed: String,
        /// What was found.
        found: String,
    },
    /// A residue is not below its prime.
    #[error("residue {index} of limb {limb} is {found}, but must be below the prime {prime}")]
    Residue {
        /// Limb, counted over the whole body.
        limb: usize,
        /// Position in the limb.
        index: usize,
        /// The prime.
        prime: u64,
        /// The residue.
        found: u64,
    },
    /// Well formed, but at another level than the plan takes.
    #[error("{what}: level {needed} needed, level {found} found; encrypt with the manifest of this model")]
    Level {
        /// What was looked at.
        what: &'static str,
        /// Level needed.
        needed: usize,
        /// Level found.
        found: usize,
    },
    /// Well formed, but at another scale than the plan takes.
    #[error(
        "{what}: scale 2^{:.6} needed, scale 2^{:.6} found; encrypt with the manifest of this model",
        needed.log2(),
        found.log2()
    )]
    Scale {
        /// What was looked at.
        what: &'static str,
        /// Scale needed.
        needed: f64,
        /// Scale found.
        found: f64,
    },
    /// Reading or writing failed below this layer.
    #[error("input or output failed: {reason}")]
    Io {
        /// What the system said.
        reason: String,
    },
    /// The engine refused a value that the wire format allows.
    #[error(transparent)]
    Engine(crate::Error),
}

/// Which release wrote a frame of another version.
fn release(found: u16, needed: u16) -> &'static str {
    match found {
        1 => "release 0.1",
        later if later > needed => "a later release",
        _ => "an unknown release",
    }
}

impl From<crate::Error> for WireError {
    fn from(error: crate::Error) -> Self {
        match error {
            crate::Error::Wire(inner) => *inner,
            other => Self::Engine(other),
        }
    }
}

impl From<WireError> for crate::Error {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Engine(inner) => inner,
            other => Self::Wire(Box::new(other)),
        }
    }
}
