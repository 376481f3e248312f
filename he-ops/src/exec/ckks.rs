//! The encrypted backend: every step is one call of the evaluator, and every result is held against the plan.

use super::Backend;
use crate::ckks::ciphertext::{check_level, check_same_scale};
use crate::ckks::{Bootstrapper, Ciphertext, Evaluator, Pattern, SlotMap};
use crate::decision::{Decision, DecisionKey, EncryptedLabel, decide};
use crate::graph::Step;
use crate::{Error, Result};
use std::sync::Arc;

/// Runs a plan on ciphertexts with one client's evaluation keys.
#[derive(Clone)]
pub struct Ckks<'a> {
    evaluator: &'a Evaluator,
    bootstrapper: Option<Arc<Bootstrapper>>,
    decision_key: Option<Arc<DecisionKey>>,
    label: Option<EncryptedLabel>,
}

impl<'a> Ckks<'a> {
    /// A backend on this evaluator, whose parameters must be those of the plan.
    #[must_use]
    pub fn new(evaluator: &'a Evaluator) -> Self {
        Ckks {
            evaluator,
            bootstrapper: None,
            decision_key: None,
            label: None,
        }
    }

    /// The same for plans with bootstraps: with what [`Plan::bootstrapper`](crate::graph::Plan::bootstrapper) made, which
    /// any number of clients share.
    #[must_use]
    pub fn with_bootstrapper(evaluator: &'a Evaluator, bootstrapper: Option<Arc<Bootstrapper>>) -> Self {
        Ckks {
            evaluator,
            bootstrapper,
            decision_key: None,
            label: None,
        }
    }

    /// The same for plans that end with a decision: with the client's key of the exact decision.
    #[must_use]
    pub fn with_decision_key(self, decision_key: Option<Arc<DecisionKey>>) -> Self {
        Ckks { decision_key, ..self }
    }

    /// What was decided, after a run.
    #[must_use]
    pub fn label(&self) -> Option<&EncryptedLabel> {
        self.label.as_ref()
    }
}

/// The result, if it has the level and scale that the plan computed: a plan for other parameters, or an input of
/// another scale, is found out at its first step.
fn checked(value: Ciphertext, step: &Step) -> Result<Ciphertext> {
    let op = step.op.name();
    check_level(op, step.level, value.level)?;
    check_same_scale(op, step.scale, value.scale)?;
    Ok(value)
}

fn all_checked(values: Vec<Ciphertext>, steps: &[Step]) -> Result<Vec<Ciphertext>> {
    let pairs = values.into_iter().zip(steps);
    pairs.map(|(value, step)| checked(value, step)).collect()
}

impl Backend for Ckks<'_> {
    type Value = Ciphertext;

    fn input(&mut self, value: &Ciphertext, step: &Step) -> Result<Ciphertext> {
        if value.parts.len() != 2 {
            return Err(Error::Parts {
                op: "input",
                needed: 2,
                found: value.parts.len(),
            });
        }
        if let Some(part) = value.parts.iter().find(|part| part.limbs() != step.level + 1) {
            return Err(Error::Shape {
                what: "limbs of an input",
                needed: step.level + 1,
                found: part.limbs(),
            });
        }
        let degree = self.evaluator.params().degree();
        if let Some(part) = value.parts.iter().find(|part| part.degree() != degree) {
            return Err(Error::Shape {
                what: "ring degree of an input",
                needed: degree,
                found: part.degree(),
            });
        }
        checked(value.clone(), step)
    }

    fn add(&mut self, a: &Ciphertext, b: &Ciphertext, step: &Step) -> Result<Ciphertext> {
        checked(self.evaluator.add(a, b)?, step)
    }

    fn sub(&mut self, a: &Ciphertext, b: &Ciphertext, step: &Step) -> Result<Ciphertext> {
        checked(self.evaluator.sub(a, b)?, step)
    }

    fn negate(&mut self, a: &Ciphertext, step: &Step) -> Result<Ciphertext> {
        checked(self.evaluator.negate(a)?, step)
    }

    fn mul_i(&mut self, a: &Ciphertext, power: u32, step: &Step) -> Result<Ciphertext> {
        checked(self.evaluator.mul_i(a, power)?, step)
    }

    fn add_plain(&mut self, a: &Ciphertext, pattern: &Pattern, step: &Step) -> Result<Ciphertext> {
        checked(self.evaluator.add_pattern(a, pattern)?, step)
    }

    fn weighted_sums(
        &mut self,
        inputs: &[&Ciphertext],
        rows: &[&[Option<&Pattern>]],
        steps: &[Step],
    ) -> Result<Vec<Ciphertext>> {
        let scales = steps.iter().map(|step| step.plain_scale);
        let rows: Vec<_> = rows.iter().copied().zip(scales).collect();
        all_checked(self.evaluator.weighted_sums(inputs, &rows)?, steps)
    }

    fn linear_maps(
        &mut self,
        inputs: &[&Ciphertext],
        maps: &[&SlotMap],
        steps: &[Step],
    ) -> Result<Vec<Ciphertext>> {
        let scales = steps.iter().map(|step| step.plain_scale);
        let maps: Vec<(&SlotMap, f64)> = maps.iter().copied().zip(scales).collect();
        all_checked(self.evaluator.linear_maps(inputs, &maps)?, steps)
    }

    fn mul(&mut self, a: &Ciphertext, b: &Ciphertext, step: &Step) -> Result<Ciphertext> {
        checked(self.evaluator.mul(a, b)?, step)
    }

    fn square(&mut self, a: &Ciphertext, step: &Step) -> Result<Ciphertext> {
        checked(self.evaluator.square(a)?, step)
    }

    fn rotate(&mut self, a: &Ciphertext, by: &[i64], steps: &[Step]) -> Result<Vec<Ciphertext>> {
        all_checked(self.evaluator.rotate_hoisted(a, by)?, steps)
    }

    fn conjugate(&mut self, a: &Ciphertext, step: &Step) -> Result<Ciphertext> {
        checked(self.evaluator.conjugate(a)?, step)
    }

    fn bootstrap(&mut self, a: &Ciphertext, step: &Step) -> Result<Ciphertext> {
        let bootstrapper = self.bootstrapper.as_ref().ok_or_else(|| Error::Circuit {
            circuit: "run",
            reason: "a bootstrapper needed, none given; make one with Plan::bootstrapper and pass it to \
                     Ckks::with_bootstrapper"
                .to_owned(),
        })?;
        checked(bootstrapper.bootstrap(self.evaluator, a)?, step)
    }

    fn relinearize(&mut self, a: &Ciphertext, step: &Step) -> Result<Ciphertext> {
        checked(self.evaluator.relinearize(a)?, step)
    }

    fn rescale(&mut self, a: &Ciphertext, step: &Step) -> Result<Ciphertext> {
        checked(self.evaluator.rescale(a)?, step)
    }

    fn relinearize_rescale(&mut self, a: &Ciphertext, step: &Step) -> Result<Ciphertext> {
        checked(self.evaluator.relinearize_rescale(a)?, step)
    }

    fn drop_level(&mut self, a: &Ciphertext, step: &Step) -> Result<Ciphertext> {
        checked(self.evaluator.drop_level(a, step.level)?, step)
    }

    fn align(&mut self, a: &Ciphertext, step: &Step) -> Result<Ciphertext> {
        let low = self.evaluator.drop_level(a, step.level + 1)?;
        let scaled = self.evaluator.mul_scalar(&low, 1.0, step.plain_scale)?;
        checked(self.evaluator.rescale(&scaled)?, step)
    }

    fn decide(&mut self, values: &[&Ciphertext], decision: &Decision, _: &Step) -> Result<()> {
        let key = self.decision_key.as_ref().ok_or_else(|| Error::MissingKey {
            op: "decide",
            key: "the exact decision".to_owned(),
            level: 0,
            found: "none was given".to_owned(),
        })?;
        self.label = Some(decide(self.evaluator, key, values, decision)?);
        Ok(())
    }
}
