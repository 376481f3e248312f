//! The work of the steps of a plan: of a step on its own, or of a group that shares some of it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use super::machine::Kind;
use super::work::{Counter, SumShape, Work};
use crate::ckks::{BootstrapLiteral, SlotMap};
use crate::error::broken;
use crate::graph::{Class, KeyUse, NodeId, Op, Plan};
use crate::rlwe::key_switch_key::serving_gadget;
use crate::rlwe::{EvaluationKeyConfig, Gadget, KeyPurpose, KeyUses, Params};
use crate::{Error, Result};

/// What a group of steps does together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupCost {
    /// Kind of the operation.
    pub kind: Kind,
    /// Its work.
    pub work: Work,
    /// Bytes that it needs besides operands and results.
    pub scratch_bytes: u64,
}

/// The keys of a plan: they decide into how many digits a key switch decomposes.
#[derive(Debug, Clone)]
pub(crate) struct KeyLevels {
    params: Params,
    config: EvaluationKeyConfig,
    uses: KeyUses,
    known: RefCell<HashMap<(KeyPurpose, usize), Gadget>>,
}

impl KeyLevels {
    pub(crate) fn of(plan: &Plan) -> Self {
        KeyLevels {
            params: plan.params.clone(),
            config: plan.keys(),
            uses: plan.key_uses(),
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
}

/// What operations are done with.
pub(super) struct Means<'a> {
    /// The parameters.
    pub params: &'a Params,
    /// How a bootstrap is done.
    pub bootstrap: Option<&'a BootstrapLiteral>,
    /// The gadget of the key that serves a purpose at a level.
    pub key: &'a dyn Fn(KeyPurpose, usize) -> Result<Gadget>,
}

/// Work of operations that are executed together on operands of this level; of one operation if `group` is one. `parts`
/// are those of the first operand.
///
/// # Errors
/// Whatever the keys refuse; [`Error::Broken`] for a group of different operations, or for a bootstrap where none is
/// planned.
pub(super) fn group_cost(
    means: &Means<'_>,
    group: &[&Op],
    level_in: usize,
    parts: usize,
) -> Result<GroupCost> {
    let op = group.first().ok_or_else(|| broken("a group has operations"))?;
    let counter = Counter::new(means.params);
    let level = op.level_of_work(level_in);
    let key_of = |op: &Op| -> Result<Gadget> {
        match op.keys().as_slice() {
            [key] => (means.key)(key.purpose(means.params), level),
            _ => Err(broken("an operation with one key")),
        }
    };
    let mut scratch_bytes = 0;
    let (kind, work) = match op.class() {
        Class::Free => (Kind::Other, Work::default()),
        Class::Sum => (Kind::Other, counter.add(level, parts)),
        Class::Scaling => (Kind::Other, counter.scale(level, parts)),
        Class::Constant { period } => (Kind::Other, counter.add_pattern(level, period)),
        Class::WeightedSum { .. } => (Kind::WeightedSum, counter.weighted_sums(level, sum_shape(group))),
        Class::LinearMap { .. } => {
            let maps = group.iter().map(|op| match op {
                Op::LinearMap(_, map) => Ok(map.as_ref()),
                _ => Err(broken("a group of linear maps alone")),
            });
            let maps: Vec<&SlotMap> = maps.collect::<Result<_>>()?;
            let key = |k| (means.key)(KeyUse::Rotation(k).purpose(means.params), level);
            let cost = counter.linear_maps(level, &maps, &key)?;
            scratch_bytes = cost.scratch_bytes;
            (Kind::LinearMap, cost.work)
        }
        Class::Product => (Kind::Product, counter.multiply(level)),
        Class::Square => (Kind::Product, counter.square(level)),
        Class::Rotation => {
            // Rotations of one value: those whose keys have one gadget share a decomposition.
            let mut work = Work::default();
            let mut decomposed: Vec<Gadget> = Vec::new();
            for op in group {
                let gadget = key_of(op)?;
                if !decomposed.contains(&gadget) {
                    work += counter.decompose(&gadget, level);
                    decomposed.push(gadget.clone());
                }
                work += counter.switch(&gadget, level);
            }
            let alone = group.len() == 1;
            (if alone { Kind::KeySwitch } else { Kind::Hoisted }, work)
        }
        Class::Conjugation | Class::Relinearization => {
            (Kind::KeySwitch, counter.key_switch(&key_of(op)?, level))
        }
        Class::RelinearizeRescale => (Kind::KeySwitch, counter.relinearize_rescale(&key_of(op)?, level)),
        Class::Rescale => (Kind::Rescale, counter.rescale(level, parts)),
        Class::Alignment => (Kind::Rescale, counter.align(level, parts)),
        Class::Decision { classes, bootstraps } => (
            Kind::Decision,
            counter.decide(level, op.args().len(), classes, bootstraps),
        ),
        Class::Bootstrap => {
            let literal = means
                .bootstrap
                .ok_or_else(|| broken("a plan with bootstraps says how they are done"))?;
            (Kind::Bootstrap, counter.bootstrap(literal, means.key)?)
        }
    };
    Ok(GroupCost {
        kind,
        work,
        scratch_bytes,
    })
}

fn sum_shape(group: &[&Op]) -> SumShape {
    let mut shape = SumShape {
        inputs: 0,
        rows: group.len(),
        weights: 0,
        period: 1,
    };
    let mut inputs: BTreeSet<NodeId> = BTreeSet::new();
    for op in group {
        inputs.extend(op.args());
        if let Class::WeightedSum { terms, period } = op.class() {
            shape.weights += terms;
            shape.period = shape.period.max(period);
        }
    }
    shape.inputs = inputs.len();
    shape
}
