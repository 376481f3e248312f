//! Everything that can go wrong on the client's side, with the exit code of the command line.

use he_ops::wire::WireError;
use serde::Deserialize;
use std::path::PathBuf;

/// Result of every fallible operation of this crate.
pub type Result<T> = core::result::Result<T, Error>;

/// What the exit codes of the command line mean. Scripts rely on them.
pub const EXIT_CODES: [&str; 8] = [
    "done",
    "failure",
    "wrong usage",
    "the server cannot be reached",
    "the server refused the request",
    "the server is busy or shutting down: try again",
    "damaged bytes, or made under other keys or parameters or by another release",
    "the encrypted answer is less precise than it should be",
];

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A label is asked for where there are none.
    #[error("the model {model} gives no labels; ask for logits (leave out --reply label)")]
    NoLabel {
        /// Id of the model.
        model: String,
    },
    /// A label is asked for of a language model, and the text does not fill it.
    #[error(
        "{needed} tokens needed for a label, {found} found: it is the token that follows the last position; put more text before, or ask \
         for logits"
    )]
    ShortText {
        /// Tokens that the model takes.
        needed: usize,
        /// Tokens of the text.
        found: usize,
    },
    /// A label is asked for, or came, and the keys were made without those of the exact decision.
    #[error(
        "the keys for {model} cannot ask for labels or read them; make keys that can: client keygen --model {model} --reply label"
    )]
    NoLabelKey {
        /// Id of the model.
        model: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is there already.
    #[error("{} exists and is kept; use --force to replace it, or write elsewhere", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is no key folder for this model yet.
    #[error("no keys for model {model} in {}; make them first: client keygen --model {model}", folder.display())]
    NoKeys {
        /// The model.
        model: String,
        /// Where they were looked for.
        folder: PathBuf,
    },
    /// The secret key can be read by others.
    #[error(
        "{} can be read by other users (mode {mode:o}, 600 needed); \
         run: chmod 600 {0}, and make new keys if somebody may have read it",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The server cannot be reached, or the connection broke.
    #[error("{url}: {reason}; is the server running? (server serve)")]
    Network {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server answered with a problem.
    #[error(
        "the server refused ({status} {}): {}{}\n  what to do: {}",
        problem.title, problem.detail, problem.numbers(), problem.hint
    )]
    Refused {
        /// HTTP status.
        status: u16,
        /// What the server said.
        problem: Box<ProblemText>,
    },
    /// The server answered with something that is not of this protocol.
    #[error("{url} answered what this client does not understand: {reason}; is it a server of this release?")]
    Protocol {
        /// What was asked for.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// Bytes that are not what they should be: damaged, of another type, or made under other parameters.
    #[error("{what}: {source}")]
    Mismatch {
        /// What was read.
        what: String,
        /// Why it was refused.
        source: WireError,
    },
    /// Keys, a request, a reply or a manifest of another release.
    #[error("{what}: {source}\n  what to do: {mend}")]
    Release {
        /// What was read.
        what: String,
        /// The versions.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What to do.
        mend: String,
    },
    /// An answer that decrypts to noise.
    #[error(
        "the reply does not decrypt to an answer: its numbers are of the order of {found:.1e}, at most {needed:.1e} \
         expected; it was made under other keys than those of this folder, or the server computed something else: encrypt \
         and infer again with these keys"
    )]
    OtherKeys {
        /// Largest root mean square that a ciphertext of this level can hold.
        needed: f64,
        /// Root mean square found.
        found: f64,
    },
    /// An image of another size, or none.
    #[error("a grey image of {rows} rows of {cols} pixels needed (raw bytes, PGM or IDX), {found} found")]
    Image {
        /// Rows needed.
        rows: usize,
        /// Pixels of a row needed.
        cols: usize,
        /// What was there.
        found: String,
    },
    /// There is no text to classify.
    #[error("a text needed, none found: an empty argument, or a pipe whose first command printed nothing")]
    EmptyText,
    /// Something that must not leave this machine was about to be sent.
    #[error("{what} must never be sent to a server; send a file made by `client encrypt`")]
    Unsafe {
        /// What it is.
        what: String,
    },
    /// The encrypted answer is further from the clear one than it should be.
    #[error("the encrypted answer differs from the clear one by {found:.2e}, at most {needed:.2e} expected")]
    Precision {
        /// Largest difference expected.
        needed: f64,
        /// Largest difference found.
        found: f64,
    },
    /// The model's files or the text were refused.
    #[error(transparent)]
    Model(#[from] models::Error),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] he_ops::Error),
    /// The server in this process failed.
    #[error("the server in this process failed: {reason}")]
    Local {
        /// What it said.
        reason: String,
    },
}

/// An RFC 9457 problem document, as far as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ProblemText {
    /// Kind of problem in words.
    pub title: String,
    /// What happened.
    pub detail: String,
    /// What was needed.
    pub needed: Option<String>,
    /// What was found.
    pub found: Option<String>,
    /// What to do.
    pub hint: String,
}

impl ProblemText {
    fn numbers(&self) -> String {
        match (&self.needed, &self.found) {
            (Some(needed), Some(found)) => format!("\n  needed: {needed}\n  found:  {found}"),
            _ => String::new(),
        }
    }
}

impl Error {
    /// Exit code of the command line; [`EXIT_CODES`] says what it means.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { .. }
            | Self::Exists { .. }
            | Self::NoKeys { .. }
            | Self::Exposed { .. }
            | Self::Protocol { .. }
            | Self::Model(_)
            | Self::Engine(_)
            | Self::Local { .. } => 1,
            Self::EmptyText
            | Self::ShortText { .. }
            | Self::Image { .. }
            | Self::NoLabel { .. }
            | Self::NoLabelKey { .. } => 2,
            Self::Network { .. } => 3,
            Self::Refused {
                status: 429 | 503, ..
            } => 5,
            Self::Refused {
                status: 400..=499, ..
            } => 4,
            Self::Refused { .. } => 1,
            Self::Mismatch { .. } | Self::Release { .. } | Self::Unsafe { .. } | Self::OtherKeys { .. } => 6,
            Self::Precision { .. } => 7,
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// Of a manifest; `what` holds it, `mend` is what to do about one of another release.
    pub(crate) fn manifest(what: String, mend: String) -> impl FnOnce(models::Error) -> Self {
        move |error| match error {
            models::Error::Version { .. } => Self::Release {
                what,
                source: error.into(),
                mend,
            },
            other => Self::Model(other),
        }
    }

    pub(crate) fn wire(what: impl Into<String>) -> impl FnOnce(WireError) -> Self {
        let what = what.into();
        move |source| {
            match source {
            WireError::Version { .. } => Self::Release {
                what,
                source: source.into(),
                mend: "make it again with this release, with keys of this release: client keygen, encrypt, infer".into(),
            },
            source => Self::Mismatch { what, source },
        }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every error by name, with its exit code: scripts tell them apart by it.
    #[test]
    fn exit_codes_are_golden() {
        let text = || "x".to_owned();
        let io = || std::io::Error::other("x");
        let refused = |status| Error::Refused {
            status,
            problem: Box::default(),
        };
        let network = || Error::Network {
            url: text(),
            reason: text(),
        };
        let model = models::Error::Version { needed: 4, found: 3 };
        let engine = he_ops::Error::Cancelled { done: 0, total: 1 };
        let codes = [
            (
                1,
                Error::Io {
                    path: "x".into(),
                    source: io(),
                },
            ),
            (1, Error::Exists { path: "x".into() }),
            (
                1,
                Error::NoKeys {
                    model: text(),
                    folder: "x".into(),
                },
            ),
            (
                1,
                Error::Exposed {
                    path: "x".into(),
                    mode: 0o644,
                },
            ),
            (
                1,
                Error::Protocol {
                    url: text(),
                    reason: text(),
                },
            ),
            (1, Error::Model(model)),
            (1, Error::Engine(engine)),
            (1, Error::Local { reason: text() }),
            (1, refused(500)),
            (1, refused(507)),
            (2, Error::EmptyText),
            (2, Error::ShortText { needed: 2, found: 1 }),
            (
                2,
                Error::Image {
                    rows: 1,
                    cols: 1,
                    found: text(),
                },
            ),
            (2, Error::NoLabel { model: text() }),
            (2, Error::NoLabelKey { model: text() }),
            (3, network()),
            (4, refused(400)),
            (4, refused(404)),
            (4, refused(409)),
            (4, refused(422)),
            (5, refused(429)),
            (5, refused(503)),
            (6, Error::wire("x")(WireError::Checksum)),
            (6, Error::wire("x")(WireError::Version { needed: 2, found: 1 })),
            (6, Error::Unsafe { what: text() }),
            (
                6,
                Error::OtherKeys {
                    needed: 1.0,
                    found: 2.0,
                },
            ),
            (
                7,
                Error::Precision {
                    needed: 1.0,
                    found: 2.0,
                },
            ),
        ];
        for (code, error) in codes {
            assert_eq!(error.exit_code(), code, "{error:?}");
            assert!(usize::from(code) < EXIT_CODES.len());
        }
    }
}
