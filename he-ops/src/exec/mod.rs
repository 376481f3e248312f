//! Runs a compiled plan on a backend: the same steps on plain numbers, on a noise model, or on ciphertexts.

mod ckks;
mod plain;
mod predict;
mod run;
mod sim;

pub use ckks::Ckks;
pub use plain::Plain;
pub use predict::{Prediction, predict};
pub use run::{Outputs, run};
pub use sim::{Sim, SimValue};

use crate::Result;
use crate::ckks::Pattern;
use crate::decision::Decision;
use crate::graph::Step;

/// One of several weighted sums over the same inputs.
#[derive(Debug, Clone)]
pub struct SumRow<'a> {
    /// A weight for each input; none counts as zero.
    pub weights: Vec<Option<&'a Pattern>>,
    /// The step that it belongs to: `plain_scale` is the scale of the weights.
    pub step: &'a Step,
}

/// Everything that a plan asks of an evaluator, one method per operation.
///
/// The plan guarantees levels, scales and parts; a backend checks them anyway and refuses with both numbers. `step`
/// tells the level and scale that the result must have.
pub trait Backend {
    /// A ciphertext, or what stands for it.
    type Value: Clone;

    /// Checks an input against the level and scale at which the plan takes it.
    ///
    /// # Errors
    /// What is needed and what was found.
    fn input(&mut self, value: &Self::Value, step: &Step) -> Result<Self::Value>;
    /// a + b.
    ///
    /// # Errors
    /// Levels or scales that differ; so for every method below.
    fn add(&mut self, a: &Self::Value, b: &Self::Value, step: &Step) -> Result<Self::Value>;
    /// a - b.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn sub(&mut self, a: &Self::Value, b: &Self::Value, step: &Step) -> Result<Self::Value>;
    /// -a.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn negate(&mut self, a: &Self::Value, step: &Step) -> Result<Self::Value>;
    /// i^power * a.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn mul_i(&mut self, a: &Self::Value, power: u32, step: &Step) -> Result<Self::Value>;
    /// a + pattern, encoded at the scale of a.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn add_plain(&mut self, a: &Self::Value, pattern: &Pattern, step: &Step) -> Result<Self::Value>;
    /// Σ weight_i * input_i for each row; rows share the loads of their inputs.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn weighted_sums(&mut self, inputs: &[&Self::Value], rows: &[SumRow<'_>]) -> Result<Vec<Self::Value>>;
    /// Σ M_i input_i for the map of every step, rescaled; the steps share the rotations of the inputs.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    fn linear_maps(&mut self, inputs: &[&Self::Value], steps: &[Step]) -> Result<Vec<Self::Value>>;
    /// a * b with three parts, not rescaled; a and b may be the same value.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn mul(&mut self, a: &Self::Value, b: &Self::Value, step: &Step) -> Result<Self::Value>;
    /// a * a with three parts, not rescaled.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn square(&mut self, a: &Self::Value, step: &Step) -> Result<Self::Value>;
    /// All rotations of one value, sharing its decomposition; every step is a rotation of `a`.
    ///
    /// # Errors
    /// As [`add`](Self::add); a missing key.
    fn rotate(&mut self, a: &Self::Value, steps: &[Step]) -> Result<Vec<Self::Value>>;
    /// Complex conjugate.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    fn conjugate(&mut self, a: &Self::Value, step: &Step) -> Result<Self::Value>;
    /// The same slots at `step.level`, the level that a bootstrap leaves.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate); a backend that was not given what a bootstrap needs.
    fn bootstrap(&mut self, a: &Self::Value, step: &Step) -> Result<Self::Value>;
    /// Three parts to two.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    fn relinearize(&mut self, a: &Self::Value, step: &Step) -> Result<Self::Value>;
    /// Divide by the last prime and drop it.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn rescale(&mut self, a: &Self::Value, step: &Step) -> Result<Self::Value>;
    /// Three parts to two, and divide by the last prime.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    fn relinearize_rescale(&mut self, a: &Self::Value, step: &Step) -> Result<Self::Value>;
    /// Forget primes down to `step.level`.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn drop_level(&mut self, a: &Self::Value, step: &Step) -> Result<Self::Value>;
    /// Drop to `step.level + 1`, multiply by one encoded at `step.plain_scale`, rescale.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn align(&mut self, a: &Self::Value, step: &Step) -> Result<Self::Value>;
    /// One class from the logits in these values. No step reads it: the backend keeps it.
    ///
    /// # Errors
    /// As [`decide`](crate::decision::decide); a backend without the key of the exact decision.
    fn decide(&mut self, values: &[&Self::Value], decision: &Decision, step: &Step) -> Result<()>;
}
