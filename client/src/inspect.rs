//! What a file is, and whether it is safe to send.

use crate::error::{Error, Result};
use he_ops::wire::{Frame, Kind, hex, peek, read_frame};
use serde::Serialize;
use std::fmt;
use std::io::Read;

/// One frame of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FrameInfo {
    /// What it holds.
    pub kind: String,
    /// Bytes, header included.
    pub bytes: u64,
    /// Digest of the parameters it was made under.
    pub params_digest: String,
    /// Level of a ciphertext or key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<usize>,
    /// log2 of the scale of a ciphertext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_scale: Option<f64>,
    /// Code of the purpose of an evaluation key: 0 relinearisation, odd a Galois element, even bootstrapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_code: Option<u64>,
}

/// A whole file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileInfo {
    /// Its size.
    pub bytes: u64,
    /// blake3 of the file; for evaluation keys this is the key id.
    pub blake3: String,
    /// No frame in it is a secret key.
    pub safe_to_send: bool,
    /// The frames, in order.
    pub frames: Vec<FrameInfo>,
}

/// Most bytes of a frame: far more than any key has, and few enough for memory.
const FRAME_LIMIT: u64 = 1 << 32;

/// Looks at every frame of a file, one at a time in memory; digests are checked.
///
/// # Errors
/// [`Error::Mismatch`] for the first frame that is damaged or no frame at all.
pub fn inspect(name: &str, file: &mut impl Read) -> Result<FileInfo> {
    let mut info = FileInfo {
        bytes: 0,
        blake3: String::new(),
        safe_to_send: true,
        frames: Vec::new(),
    };
    let mut hasher = blake3::Hasher::new();
    loop {
        let wire = || Error::wire(format!("{name}, frame {}", info.frames.len() + 1));
        let bytes = read_frame(file, FRAME_LIMIT).map_err(wire())?;
        if bytes.is_none() && !info.frames.is_empty() {
            break;
        }
        // An empty file is refused as a frame that is cut.
        let bytes = bytes.unwrap_or_default();
        let frame = Frame::parse(&bytes, FRAME_LIMIT).map_err(wire())?;
        let peek = peek(&frame).map_err(wire())?;
        hasher.update(&bytes);
        info.bytes += bytes.len() as u64;
        info.safe_to_send &= frame.header.kind.is_safe_to_send();
        info.frames.push(FrameInfo {
            kind: match (frame.header.kind, peek.key_code) {
                (Kind::KeySwitchKey, Some(0)) => "relinearisation key".to_owned(),
                (Kind::KeySwitchKey, Some(code)) if code % 2 == 1 => "rotation key".to_owned(),
                (Kind::KeySwitchKey, _) => "bootstrapping key".to_owned(),
                (kind, _) => kind.to_string(),
            },
            bytes: bytes.len() as u64,
            params_digest: hex(&frame.header.params_digest),
            level: peek.level,
            log_scale: peek.scale.map(f64::log2),
            key_code: peek.key_code,
        });
    }
    info.blake3 = hasher.finalize().to_hex().to_string();
    Ok(info)
}

impl FileInfo {
    /// Kinds with the number of frames of each, in order of first appearance.
    fn kinds(&self) -> Vec<(&str, usize)> {
        let mut kinds: Vec<(&str, usize)> = Vec::new();
        for frame in &self.frames {
            match kinds.iter_mut().find(|(kind, _)| *kind == frame.kind) {
                Some((_, count)) => *count += 1,
                None => kinds.push((&frame.kind, 1)),
            }
        }
        kinds
    }
}

impl fmt::Display for FileInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.kinds();
        let words: Vec<String> = kinds
            .iter()
            .map(|(kind, count)| {
                if *count == 1 {
                    format!("1 {kind}")
                } else {
                    format!("{count} {kind}s")
                }
            })
            .collect();
        writeln!(f, "holds         {}", words.join(", "))?;
        writeln!(f, "size          {} bytes", self.bytes)?;
        let mut digests: Vec<&str> = self
            .frames
            .iter()
            .map(|frame| frame.params_digest.as_str())
            .collect();
        digests.dedup();
        for digest in digests {
            writeln!(f, "parameters    {digest}")?;
        }
        let levels: Vec<usize> = self.frames.iter().filter_map(|frame| frame.level).collect();
        if let (Some(low), Some(high)) = (levels.iter().min(), levels.iter().max()) {
            let range = if low == high {
                low.to_string()
            } else {
                format!("{low} to {high}")
            };
            writeln!(f, "level         {range}")?;
        }
        let scales = self.frames.iter().filter_map(|frame| frame.log_scale);
        let mut scales: Vec<String> = scales.map(|scale| format!("2^{scale:.4}")).collect();
        scales.dedup();
        for scale in scales {
            writeln!(f, "scale         {scale}")?;
        }
        writeln!(f, "blake3        {}", self.blake3)?;
        writeln!(
            f,
            "checksums     {} of {} right",
            self.frames.len(),
            self.frames.len()
        )?;
        if self.safe_to_send {
            writeln!(f, "safe to send  yes")
        } else {
            writeln!(
                f,
                "safe to send  NO: this is a SECRET key. Whoever has it reads everything encrypted under it."
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use he_ops::wire::write_frame;

    #[test]
    fn a_secret_key_is_called_unsafe_wherever_it_hides() {
        let mut bytes = write_frame(Kind::Report, [1; 32], b"{}");
        assert!(inspect("f", &mut bytes.as_slice()).unwrap().safe_to_send);
        bytes.extend(write_frame(Kind::SecretKey, [1; 32], b"secret"));
        let info = inspect("f", &mut bytes.as_slice()).unwrap();
        assert!(!info.safe_to_send && info.to_string().contains("NO"));
        assert_eq!(info.frames.len(), 2);
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let error = inspect("notes.txt", &mut [b'x'; 100].as_slice()).unwrap_err();
        assert!(
            error.to_string().starts_with("notes.txt, frame 1: not a frame"),
            "{error}"
        );
        assert_eq!(error.exit_code(), 6);
        assert!(inspect("empty", &mut b"".as_slice()).is_err());
    }
}
