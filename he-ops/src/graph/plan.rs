//! The compiled plan: steps in order with exact levels and scales, and everything that follows from them.

use std::collections::BTreeMap;

use super::facts::{Counts, KeyUse, Level, counts};
use super::op::{Label, NodeId, Op};
use std::sync::Arc;

use crate::ckks::{BootstrapLiteral, Bootstrapper, Encoder};
use crate::decision::{Decision, check_params};
use crate::rlwe::{EvaluationKeyConfig, KeyUses, Params};
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
    /// The keys of its steps, each with the highest level of its uses; those of bootstraps are not among them.
    pub step_keys: BTreeMap<KeyUse, usize>,
    /// How its bootstraps are done, if it has any.
    pub bootstrap: Option<PlannedBootstrap>,
}

impl Plan {
    /// Levels from input to output; with bootstraps, those from an input or a bootstrap to the next one or to an output
    /// at the most.
    pub fn depth(&self) -> usize {
        // Where a value is only moved, it is not needed yet.
        let moves = |op: &Op| matches!(op.facts().level, Level::Dropped(_) | Level::Aligned(_));
        let work = self.steps.iter().filter(|step| !moves(&step.op));
        let levels = work.map(|step| step.level_in);
        let inputs = self.inputs.iter().map(|port| port.level);
        let bottom = match (self.decision(), self.steps.last()) {
            (Some(_), Some(decide)) => Some(decide.level_in),
            _ => self.outputs.iter().map(|port| port.level).min(),
        };
        match (levels.chain(inputs).max(), bottom) {
            (Some(top), Some(bottom)) => top.saturating_sub(bottom),
            _ => 0,
        }
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
        let top = self.outputs.iter().map(|port| port.level).max();
        let (Some(level_in), Some(scale)) = (top, self.outputs.first().map(|port| port.scale)) else {
            return Err(Error::Circuit {
                circuit: "decide",
                reason: "a plan with outputs needed, one without found; has it a decision already?"
                    .to_owned(),
            });
        };
        if let Some(needed) = read.filter(|read| *read > self.outputs.len()) {
            return Err(Error::Shape {
                what: "outputs of a plan that a decision reads",
                needed,
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
            level_in,
            level: 0,
            scale,
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
        let mut keys = EvaluationKeyConfig::default();
        for (key, level) in &self.step_keys {
            keys.require(key.purpose(&self.params), *level);
        }
        keys
    }

    /// Every level at which each key is used.
    pub fn key_uses(&self) -> KeyUses {
        let mut uses = match &self.bootstrap {
            Some(planned) => planned.key_uses.clone(),
            None => KeyUses::new(),
        };
        for step in &self.steps {
            for key in step.op.keys() {
                // A key serves the level of the operand.
                uses.entry(key.purpose(&self.params))
                    .or_default()
                    .insert(step.level_in);
            }
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

    /// The steps in the portions in which they are executed: groups, and steps on their own.
    pub fn groups(&self) -> impl Iterator<Item = &[Step]> {
        let same = |a: &Step, b: &Step| a.group.is_some() && a.group == b.group;
        self.steps.chunk_by(same)
    }

    /// What every step counts as. What the steps of a group share is counted with the first that needs it.
    #[must_use]
    pub fn counts(&self) -> Vec<Counts> {
        let groups = self
            .groups()
            .map(|group| group.iter().map(|step| &step.op).collect::<Vec<_>>());
        groups.flat_map(|group| counts(&group)).collect()
    }

    /// blake3 of the parameters, of every step with its weights, and of what enters, leaves and bootstraps: two plans of
    /// one digest compute the same, whatever they and their parts are called.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let mut number = |n: usize| _ = hasher.update(&(n as u64).to_le_bytes());
        number(self.slots);
        number(self.steps.len());
        for step in &self.steps {
            number(step.level_in);
            number(step.level);
        }
        for port in self.inputs.iter().chain(&self.outputs) {
            number(port.value.index());
            number(port.name.len());
        }
        hasher.update(&self.params.digest());
        for step in &self.steps {
            hasher.update(&step.op.digest());
            hasher.update(&step.scale.to_le_bytes());
            hasher.update(&step.plain_scale.to_le_bytes());
        }
        for port in self.inputs.iter().chain(&self.outputs) {
            hasher.update(port.name.as_bytes());
        }
        if let Some(planned) = &self.bootstrap {
            hasher.update(format!("{:?}", planned.literal).as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}
