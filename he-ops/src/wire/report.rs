//! Reports travel as JSON inside a frame, so that one reply carries the report and the ciphertext.

use super::error::{Result, WireError};
use super::frame::{Frame, write_frame};
use super::kind::Kind;
use serde::{Serialize, de::DeserializeOwned};

/// Frame of a report.
///
/// # Errors
/// [`WireError::Codec`] when the value has no JSON form.
pub fn encode_report<T: Serialize>(params_digest: [u8; 32], report: &T) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(report).map_err(|e| WireError::Codec {
        what: "latency report",
        reason: e.to_string(),
    })?;
    Ok(write_frame(Kind::Report, params_digest, &json))
}

/// Report of a frame that is already split off and digest-checked.
///
/// # Errors
/// [`WireError::Kind`], [`WireError::Codec`].
pub fn decode_report<T: DeserializeOwned>(frame: &Frame<'_>) -> Result<T> {
    frame.header.expect_kind(Kind::Report)?;
    serde_json::from_slice(frame.payload).map_err(|e| WireError::Codec {
        what: "latency report",
        reason: e.to_string(),
    })
}
