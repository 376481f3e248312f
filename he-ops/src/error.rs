//! The one error type of the crate: every message says what was needed, what was there, and what to do.

mod params;

use crate::wire::WireError;
use core::panic::Location;
pub use params::ParamsError;
use std::borrow::Cow;

/// Result of every fallible operation of this crate.
pub type Result<T> = core::result::Result<T, Error>;

/// Why an operation was refused. Nothing in this crate panics on bad input.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter literal does not describe a usable or a secure set.
    #[error("parameters refused: {0}")]
    Params(#[from] ParamsError),
    /// log2(QP) is above the 128-bit bound of the security table.
    #[error(
        "parameters refused: log2(QP) = {found:.1} at level {level}, the 128-bit bound for N = 2^{log_n} is {bound}; \
         drop levels, use smaller primes or a larger ring"
    )]
    Insecure {
        /// log2 of the ring degree.
        log_n: u32,
        /// Level whose key-switch keys are over the bound.
        level: usize,
        /// log2(QP) found.
        found: f64,
        /// Largest log2(QP) allowed.
        bound: f64,
    },
    /// Two operands, or an operand and an operation, disagree on the level.
    #[error("{op}: level {needed} needed, level {found} found; use drop_level or compile the circuit again")]
    Level {
        /// The operation.
        op: &'static str,
        /// Level needed.
        needed: usize,
        /// Level found.
        found: usize,
    },
    /// Two operands disagree on the scale.
    #[error("{op}: scale 2^{:.4} needed, scale 2^{:.4} found; rescale or align first", needed.log2(), found.log2())]
    Scale {
        /// The operation.
        op: &'static str,
        /// Scale needed.
        needed: f64,
        /// Scale found.
        found: f64,
    },
    /// A ciphertext has another number of parts than the operation takes.
    #[error("{op}: {needed} ciphertext parts needed, {found} found; relinearize first")]
    Parts {
        /// The operation.
        op: &'static str,
        /// Parts needed.
        needed: usize,
        /// Parts found.
        found: usize,
    },
    /// An evaluation key is absent, or was generated for a lower level than the one it is used at.
    #[error(
        "{op}: evaluation key for {key} at level {level} needed, {found}; generate the keys that the manifest lists"
    )]
    MissingKey {
        /// The operation.
        op: &'static str,
        /// The key, in words.
        key: String,
        /// Level needed.
        level: usize,
        /// What was there.
        found: String,
    },
    /// A value has another length or shape than the parameters say.
    #[error("{what}: {needed} needed, {found} found")]
    Shape {
        /// What was looked at.
        what: &'static str,
        /// Size needed.
        needed: usize,
        /// Size found.
        found: usize,
    },
    /// A value cannot be represented: not finite, or too large for the modulus at its scale.
    #[error("{what}: {reason}")]
    Value {
        /// What was looked at.
        what: &'static str,
        /// Why it cannot be used.
        reason: String,
    },
    /// Bytes from a file or from the network were refused.
    #[error("refused frame: {0}")]
    Wire(Box<WireError>),
    /// A circuit or graph cannot be built or compiled.
    #[error("{circuit}: {reason}")]
    Circuit {
        /// The circuit or the pass.
        circuit: &'static str,
        /// Why, with the numbers.
        reason: String,
    },
    /// A pass of the compiler left what it must not: a bug, and nothing that the caller did.
    #[error("a bug of he-ops, please report it: after {pass}, {reason}")]
    Pass {
        /// The pass.
        pass: &'static str,
        /// What does not hold.
        reason: String,
    },
    /// The run was cancelled between two steps.
    #[error("cancelled after step {done} of {total}")]
    Cancelled {
        /// Steps done.
        done: usize,
        /// Steps of the plan.
        total: usize,
    },
    /// Something that this crate guarantees itself does not hold: a bug, and nothing that the caller did.
    #[error("a bug of he-ops, please report it: {what} ({place})")]
    Broken {
        /// What was to hold.
        what: Cow<'static, str>,
        /// Where it did not.
        place: &'static Location<'static>,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {reason}")]
    Entropy {
        /// What the system said.
        reason: String,
    },
}

/// The error for an invariant of this crate that does not hold, with the place that found it.
#[track_caller]
pub(crate) fn broken(what: impl Into<Cow<'static, str>>) -> Error {
    Error::Broken {
        what: what.into(),
        place: Location::caller(),
    }
}

/// The only element of a list that has one for each operand, of which there was one.
///
/// # Errors
/// [`Error::Broken`] for another number of elements.
#[track_caller]
pub(crate) fn only<T>(list: Vec<T>) -> Result<T> {
    match <[T; 1]>::try_from(list) {
        Ok([one]) => Ok(one),
        Err(_) => Err(broken("one result for one operand")),
    }
}
