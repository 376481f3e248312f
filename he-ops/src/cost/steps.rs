//! The work of the steps of a plan: of a step on its own, or of a group that shares some of it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::machine::Kind;
use super::work::{Counter, SumShape, Work};
use crate::ckks::{BootstrapLiteral, SlotMap};
use crate::graph::{NodeId, Op, Plan, Step};
use crate::rlwe::key_switch_key::serving_gadget;
use crate::rlwe::{EvaluationKeyConfig, Gadget, KeyPurpose, KeyUses, Params};
use crate::{Error, Result};

/// Operations counted; those within bootstraps are not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rotations, conjugations, relinearisations; the rotations of linear maps among them.
    pub key_switches: usize,
    /// Rotations among them.
    pub rotations: usize,
    /// Ciphertext-ciphertext products, squares included.
    pub products: usize,
    /// Plaintext-ciphertext products.
    pub plain_products: usize,
    /// Bootstraps.
    pub bootstraps: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.key_switches += other.key_switches;
        self.rotations += other.rotations;
        self.products += other.products;
        self.plain_products += other.plain_products;
        self.bootstraps += other.bootstraps;
    }
}

/// What a group of steps does together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupCost {
    /// Kind of the operation.
    pub kind: Kind,
    /// Its work.
    pub work: Work,
    /// What it counts as.
    pub counts: Counts,
    /// Bytes that it needs besides operands and results.
    pub scratch_bytes: u64,
}

/// The keys of a plan: they decide into how many digits a key switch decomposes.
#[derive(Debug, Clone)]
pub(crate) struct KeyLevels {
    params: Params,
    config: EvaluationKeyConfig,
    uses: KeyUses,
    bootstrap: Option<BootstrapLiteral>,
    known: RefCell<HashMap<(KeyPurpose, usize), Gadget>>,
}

impl KeyLevels {
    pub(crate) fn of(plan: &Plan) -> Self {
        KeyLevels {
            params: plan.params.clone(),
            config: plan.keys(),
            uses: plan.key_uses(),
            bootstrap: plan.bootstrap.as_ref().map(|planned| planned.literal.clone()),
            known: RefCell::default(),
        }
    }

    /// The gadget of the smallest key that serves a level.
    ///
    /// # Errors
    /// [`Error::MissingKey`] when there is none.
    pub(crate) fn gadget(&self, purpose: KeyPurpose, level: usize) -> Result<Gadget> {
        if let Some(known) = self.known.borrow().get(&(purpose, level)) {
            return Ok(known.clone());
        }
        let key_level = match purpose {
            KeyPurpose::Relin => self.config.relin,
            KeyPurpose::Galois(element) => self.config.galois.get(&element).copied(),
            KeyPurpose::Encapsulate | KeyPurpose::Raise(_) => None,
        };
        let Some(key_level) = key_level.filter(|own| *own >= level) else {
            return Err(Error::MissingKey {
                op: "key switch",
                key: purpose.describe(&self.params),
                level,
                found: "the plan has none".to_owned(),
            });
        };
        let gadget = match self.uses.get(&purpose) {
            Some(uses) => serving_gadget(&self.params, key_level, uses, level)?,
            None => self.params.gadget(key_level)?.clone(),
        };
        self.known.borrow_mut().insert((purpose, level), gadget.clone());
        Ok(gadget)
    }

    fn rotation(&self, k: i64, level: usize) -> Result<Gadget> {
        self.gadget(KeyPurpose::Galois(self.params.galois_element(k)), level)
    }
}

/// Work and counts of one step, or of all steps of one group. `parts` are those of the first operand.
///
/// # Errors
/// [`Error::MissingKey`] when the plan lacks a key; nothing for a plan made by the compiler.
pub(crate) fn group_cost(keys: &KeyLevels, group: &[&Step], parts: usize) -> Result<GroupCost> {
    let counter = Counter::new(&keys.params);
    let mut counts = Counts::default();
    let mut scratch_bytes = 0;
    let Some(step) = group.first() else {
        return Ok(GroupCost {
            kind: Kind::Other,
            work: Work::default(),
            counts,
            scratch_bytes,
        });
    };
    let (level_in, level) = (step.level_in, step.level);
    let (kind, work) = match &step.op {
        Op::Input { .. } | Op::DropLevel(..) | Op::Cut(..) => (Kind::Other, counter.drop_level()),
        Op::Add(..) | Op::Sub(..) => (Kind::Other, counter.add(level, parts)),
        Op::Negate(_) | Op::MulI(..) => (Kind::Other, counter.scale(level, parts)),
        Op::AddPlain(_, pattern) => (Kind::Other, counter.add_pattern(level, pattern.period())),
        Op::WeightedSum(_) => {
            let shape = sum_shape(group);
            counts.plain_products = shape.weights;
            (Kind::WeightedSum, counter.weighted_sums(level_in, shape))
        }
        Op::LinearMap(..) => {
            let maps: Vec<&SlotMap> = group
                .iter()
                .filter_map(|step| match &step.op {
                    Op::LinearMap(_, map) => Some(map.as_ref()),
                    _ => None,
                })
                .collect();
            let cost = counter.linear_maps(level_in, &maps, &|k| keys.rotation(k, level_in))?;
            counts.rotations = cost.rotations;
            counts.key_switches = cost.rotations;
            counts.plain_products = cost.diagonals;
            scratch_bytes = cost.scratch_bytes;
            (Kind::LinearMap, cost.work)
        }
        Op::Mul(a, b) => {
            counts.products = 1;
            let work = if a == b {
                counter.square(level)
            } else {
                counter.multiply(level)
            };
            (Kind::Product, work)
        }
        Op::Rotate(..) => {
            counts.rotations = group.len();
            counts.key_switches = group.len();
            let kind = if group.len() > 1 {
                Kind::Hoisted
            } else {
                Kind::KeySwitch
            };
            (kind, rotations(keys, group)?)
        }
        Op::Conjugate(_) => {
            counts.key_switches = 1;
            let purpose = KeyPurpose::Galois(keys.params.galois_element_conjugate());
            (
                Kind::KeySwitch,
                counter.key_switch(&keys.gadget(purpose, level)?, level),
            )
        }
        Op::Relinearize(_) => {
            counts.key_switches = 1;
            let gadget = keys.gadget(KeyPurpose::Relin, level)?;
            (Kind::KeySwitch, counter.key_switch(&gadget, level))
        }
        Op::RelinearizeRescale(_) => {
            counts.key_switches = 1;
            let gadget = keys.gadget(KeyPurpose::Relin, level_in)?;
            (Kind::KeySwitch, counter.relinearize_rescale(&gadget, level_in))
        }
        Op::Rescale(_) => (Kind::Rescale, counter.rescale(level_in, parts)),
        Op::Align(..) => (Kind::Rescale, counter.align(level + 1, parts)),
        Op::Decide(values, decision) => (Kind::Decision, counter.decide(level_in, values.len(), decision)),
        Op::Bootstrap(_) => {
            counts.bootstraps = 1;
            let literal = keys.bootstrap.as_ref().ok_or_else(|| Error::Circuit {
                circuit: "cost",
                reason: "a plan that says how to bootstrap needed; compile it again".to_owned(),
            })?;
            let gadget = |purpose, level| keys.gadget(purpose, level);
            (Kind::Bootstrap, counter.bootstrap(literal, &gadget)?)
        }
    };
    Ok(GroupCost {
        kind,
        work,
        counts,
        scratch_bytes,
    })
}

/// Rotations of one value: those whose keys have one gadget share a decomposition.
fn rotations(keys: &KeyLevels, group: &[&Step]) -> Result<Work> {
    let counter = Counter::new(&keys.params);
    let mut work = Work::default();
    let mut decomposed: Vec<Gadget> = Vec::new();
    for step in group {
        let Op::Rotate(_, k) = step.op else { continue };
        let gadget = keys.rotation(k, step.level)?;
        if !decomposed.contains(&gadget) {
            work += counter.decompose(&gadget, step.level);
            decomposed.push(gadget.clone());
        }
        work += counter.switch(&gadget, step.level);
    }
    Ok(work)
}

fn sum_shape(group: &[&Step]) -> SumShape {
    let mut inputs: BTreeSet<NodeId> = BTreeSet::new();
    let (mut weights, mut period) = (0, 1);
    for step in group {
        if let Op::WeightedSum(terms) = &step.op {
            weights += terms.len();
            inputs.extend(terms.iter().map(|(input, _)| *input));
            let own = terms.iter().map(|(_, pattern)| pattern.period()).max();
            period = period.max(own.unwrap_or(1));
        }
    }
    SumShape {
        inputs: inputs.len(),
        rows: group.len(),
        weights,
        period,
    }
}
