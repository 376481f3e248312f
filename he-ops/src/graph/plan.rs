//! The compiled plan: steps in order with exact levels and scales, and everything that follows from them.

use std::collections::BTreeMap;

use super::builder::{Label, NodeId, Op};
use super::summary::PlanSummary;
use std::sync::Arc;

use crate::ckks::{BootstrapLiteral, Bootstrapper, Encoder};
use crate::decision::{Decision, check_params};
use crate::rlwe::{EvaluationKeyConfig, KeyPurpose, KeyUses, Params};
use crate::{Error, Result};

/// One step; its operands are named by the steps that computed them.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is done.
    pub op: Op,
    /// Level of the operands (the highest, for an operation that lowers it); the own level for an input.
    pub level_in: usize,
    /// Level of the result.
    pub level: usize,
    /// Scale of the result.
    pub scale: f64,
    /// Scale at which the weights of a weighted sum, or the one of an alignment, are encoded; 1 elsewhere.
    pub plain_scale: f64,
    /// Steps that share work follow one another and have the same number here: rotations of one value share its
    /// decomposition, weighted sums over the same inputs share the loads.
    pub group: Option<usize>,
    /// Layer and category for the latency table.
    pub label: Label,
    /// Values that nobody reads after this step.
    pub frees: Vec<NodeId>,
}

impl Step {
    /// True for the operations that need an evaluation key.
    pub fn is_key_switch(&self) -> bool {
        matches!(
            self.op,
            Op::Rotate(..) | Op::Conjugate(_) | Op::Relinearize(_) | Op::RelinearizeRescale(_)
        )
    }
}

/// An input or an output of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Name given in the circuit.
    pub name: String,
    /// The step that provides the value.
    pub value: NodeId,
    /// Level at which it enters or leaves.
    pub level: usize,
    /// Scale at which it enters or leaves.
    pub scale: f64,
}

/// How the bootstraps of a plan are done.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedBootstrap {
    /// What it is made of.
    pub literal: BootstrapLiteral,
    /// Bootstraps in the plan.
    pub count: usize,
    /// Level of the results; that of the operands is the literal's.
    pub output_level: usize,
    /// The keys of the whole plan, the bootstrap's included.
    pub keys: EvaluationKeyConfig,
    /// Every level at which a bootstrap uses each key.
    pub key_uses: KeyUses,
}

/// A circuit made ready to run: made by [`compile`](super::compile), run by [`exec::run`](crate::exec::run), printed by
/// `Display` as deterministic text.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Name of the model or circuit.
    pub name: String,
    /// The parameters that it is compiled for.
    pub params: Params,
    /// Complex slots of a value, a power of two. A ring with more of them repeats them: the client encodes with
    /// [`Encoder::encode_repeated`], and bootstraps are sparse.
    pub slots: usize,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// What the client sends; all at one level.
    pub inputs: Vec<Port>,
    /// What the client gets; all at level 0, or, in a plan with bootstraps, at the level of their operands.
    pub outputs: Vec<Port>,
    /// Highest level of a relinearisation, if there is one; here and below, those within bootstraps are not counted.
    pub relin: Option<usize>,
    /// Highest level of a conjugation, if there is one.
    pub conjugation: Option<usize>,
    /// Rotations with the highest level of each.
    pub rotations: BTreeMap<i64, usize>,
    /// How its bootstraps are done, if it has any.
    pub bootstrap: Option<PlannedBootstrap>,
}

impl Plan {
    /// Levels from input to output; with bootstraps, those from an input or a bootstrap to the next one or to an output
    /// at the most.
    pub fn depth(&self) -> usize {
        let moves = |op: &Op| matches!(op, Op::DropLevel(..) | Op::Align(..));
        let work = self.steps.iter().filter(|step| !moves(&step.op));
        let levels = work.map(|step| step.level_in);
        let inputs = self.inputs.iter().map(|port| port.level);
        let bottom = self.outputs.iter().map(|port| port.level).min().unwrap_or(0);
        levels.chain(inputs).max().unwrap_or(0).saturating_sub(bottom)
    }

    /// This plan with an exact decision over its outputs in their place: the same steps and keys, and one step more, which
    /// the key of the [exact decision](crate::decision) serves.
    ///
    /// # Errors
    /// [`Error::Insecure`](crate::Error::Insecure) for parameters under which that key would be weaker than the others,
    /// [`Error::Shape`](crate::Error::Shape) for a decision that reads more outputs than there are.
    pub fn decided(&self, decision: Arc<Decision>) -> Result<Plan> {
        check_params(&self.params)?;
        let read = decision.readings().iter().map(|reading| reading.value + 1).max();
        if read > Some(self.outputs.len()) {
            return Err(Error::Shape {
                what: "outputs of a plan that a decision reads",
                needed: read.unwrap_or(0),
                found: self.outputs.len(),
            });
        }
        let mut plan = self.clone();
        let outputs = std::mem::take(&mut plan.outputs);
        let values: Vec<NodeId> = outputs.iter().map(|port| port.value).collect();
        let mut frees = values.clone();
        frees.sort_unstable();
        frees.dedup();
        plan.steps.push(Step {
            op: Op::Decide(values, decision),
            level_in: outputs.iter().map(|port| port.level).max().unwrap_or(0),
            level: 0,
            scale: outputs.first().map_or(1.0, |port| port.scale),
            plain_scale: 1.0,
            group: None,
            label: Label {
                layer: "exact decision".to_owned(),
                op: "decide".to_owned(),
            },
            frees,
        });
        Ok(plan)
    }

    /// The decision that this plan ends with, if it does.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        match self.steps.last().map(|step| &step.op) {
            Some(Op::Decide(_, decision)) => Some(decision),
            _ => None,
        }
    }

    /// The bootstrap of this plan with its matrices, to be made once and shared; `None` for a plan without one.
    ///
    /// # Errors
    /// As [`Bootstrapper::new`]; nothing for a plan made by the compiler and an encoder of its parameters.
    pub fn bootstrapper(&self, encoder: &Encoder) -> Result<Option<Arc<Bootstrapper>>> {
        let planned = self.bootstrap.as_ref();
        planned
            .map(|planned| Bootstrapper::new(encoder, &planned.literal).map(Arc::new))
            .transpose()
    }

    /// The evaluation keys that a client must provide, each at the level where it is used.
    pub fn keys(&self) -> EvaluationKeyConfig {
        if let Some(planned) = &self.bootstrap {
            return planned.keys.clone();
        }
        let rotations = self
            .rotations
            .iter()
            .map(|(k, level)| (self.params.galois_element(*k), *level));
        let conjugation = self
            .conjugation
            .map(|level| (self.params.galois_element_conjugate(), level));
        EvaluationKeyConfig {
            raise: BTreeMap::new(),
            relin: self.relin,
            galois: rotations.chain(conjugation).collect(),
        }
    }

    /// Every level at which each key is used.
    pub fn key_uses(&self) -> KeyUses {
        let mut uses = self
            .bootstrap
            .as_ref()
            .map_or_else(KeyUses::new, |planned| planned.key_uses.clone());
        for step in &self.steps {
            let purpose = match step.op {
                Op::Rotate(_, k) => KeyPurpose::Galois(self.params.galois_element(k)),
                Op::Conjugate(_) => KeyPurpose::Galois(self.params.galois_element_conjugate()),
                Op::Relinearize(_) | Op::RelinearizeRescale(_) => KeyPurpose::Relin,
                Op::LinearMap(_, ref map) => {
                    for k in map.rotations() {
                        let purpose = KeyPurpose::Galois(self.params.galois_element(k));
                        uses.entry(purpose).or_default().insert(step.level_in);
                    }
                    continue;
                }
                _ => continue,
            };
            // A key serves the level of the operand.
            uses.entry(purpose).or_default().insert(step.level_in);
        }
        uses
    }

    /// Bytes on the wire of the seeded evaluation keys, frame headers not counted.
    ///
    /// # Errors
    /// None for a plan made by the compiler.
    pub fn key_bytes(&self) -> Result<u64> {
        let keys = self.keys();
        keys.iter()
            .map(|(purpose, level)| Ok(self.params.key_switch_key_bits(purpose, level)? as u64 / 8))
            .sum()
    }

    /// Counts, sizes and parameters of the plan, for manifests and for people.
    ///
    /// # Errors
    /// None for a plan made by the compiler.
    pub fn summary(&self) -> Result<PlanSummary> {
        PlanSummary::of(self)
    }

    /// blake3 of the parameters, of the printed plan and of every weight: two plans of one digest compute the same.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.params.digest());
        hasher.update(self.to_string().as_bytes());
        for step in &self.steps {
            hasher.update(&step.plain_scale.to_le_bytes());
            for pattern in step.op.patterns() {
                hasher.update(&pattern.canonical_bytes());
            }
            match &step.op {
                Op::LinearMap(_, map) => _ = hasher.update(map.digest()),
                Op::Decide(_, decision) => _ = hasher.update(&decision.canonical_bytes()),
                _ => {}
            }
        }
        *hasher.finalize().as_bytes()
    }
}
