//! The error type of the crate: every message says what was needed, what was there, and what to do.

use std::path::PathBuf;

/// Result of every fallible operation of this crate.
pub type Result<T> = core::result::Result<T, Error>;

/// Why a model was refused, or why it cannot be lowered. Nothing in this crate panics on a bad file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the model folder cannot be read.
    #[error("cannot read {}: {source}; a model folder holds config.json, model.safetensors, embeddings.safetensors and, for texts, tokenizer.json", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read but is not what it should be.
    #[error("{file}: {reason}")]
    Format {
        /// The file.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A manifest of another release: its keys, plans and packings are not those of this one.
    #[error(
        "manifest made by {}: version {found} found, {needed} needed; use a client and a server of the same release",
        if found < needed { "release 0.1" } else { "a later release" }
    )]
    Version {
        /// Version that this release reads.
        needed: u32,
        /// Version found.
        found: u32,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{file}: tensor {tensor} has shape {found:?}, {needed:?} needed by config.json")]
    TensorShape {
        /// The file.
        file: &'static str,
        /// Name of the tensor.
        tensor: String,
        /// Shape needed.
        needed: Vec<usize>,
        /// Shape found.
        found: Vec<usize>,
    },
    /// A field of the configuration has a value that this version cannot evaluate.
    #[error("config.json: {field} is {found}, {needed} needed")]
    Config {
        /// The field.
        field: &'static str,
        /// What can be evaluated.
        needed: String,
        /// What was found.
        found: String,
    },
    /// No parameters are secure, deep and precise enough.
    #[error("{model}: no plan is secure, deep and precise enough:\n  {}", tried.join("\n  "))]
    NoPlan {
        /// The model.
        model: String,
        /// Every candidate, with the reason against it.
        tried: Vec<String>,
    },
    /// A vector has another length than the model or the packing takes.
    #[error("{what}: {needed} values needed, {found} found")]
    Length {
        /// What was looked at.
        what: &'static str,
        /// Length needed.
        needed: usize,
        /// Length found.
        found: usize,
    },
    /// A file that is not part of the public bundle was asked for.
    #[error("{name} is not part of the public bundle; it holds {files}")]
    NotPublic {
        /// The name asked for.
        name: String,
        /// What is part of it.
        files: String,
    },
    /// The tokenizer refused a text.
    #[error("the tokenizer refused the text: {reason}")]
    Tokenizer {
        /// What it said.
        reason: String,
    },
    /// Building or compiling the circuit failed.
    #[error(transparent)]
    HeOps(#[from] he_ops::Error),
}
