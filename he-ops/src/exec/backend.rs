//! What runs the operations of a plan, and the one place where an operation is handed to it.

use std::collections::{BTreeMap, BTreeSet};

use crate::ckks::{Pattern, SlotMap};
use crate::decision::Decision;
use crate::graph::{NodeId, Op, Step};
use crate::{Error, Result};

/// Everything that a plan asks of an evaluator, one method per operation, which gets what the operation takes.
///
/// The plan guarantees levels, scales and parts; a backend checks them anyway and refuses with both numbers. `step`
/// tells the level and scale that the result must have, and the scale of plaintexts; what is done, the method says.
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
    /// a + a.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn double(&mut self, a: &Self::Value, step: &Step) -> Result<Self::Value> {
        self.add(a, a, step)
    }
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
    /// Σ weight_i * input_i for each row of weights, one row for each step; rows share the loads of their inputs. There is
    /// a weight for each input; none counts as zero.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn weighted_sums(
        &mut self,
        inputs: &[&Self::Value],
        rows: &[&[Option<&Pattern>]],
        steps: &[Step],
    ) -> Result<Vec<Self::Value>>;
    /// Σ M_i input_i for each map, rescaled, one map for each step; the maps share the rotations of the inputs.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    fn linear_maps(
        &mut self,
        inputs: &[&Self::Value],
        maps: &[&SlotMap],
        steps: &[Step],
    ) -> Result<Vec<Self::Value>>;
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
    /// All rotations of one value, sharing its decomposition: by so many slots for each step.
    ///
    /// # Errors
    /// As [`add`](Self::add); a missing key.
    fn rotate(&mut self, a: &Self::Value, by: &[i64], steps: &[Step]) -> Result<Vec<Self::Value>>;
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

/// One step, or one group that shares its work.
pub(super) fn execute<B: Backend>(
    backend: &mut B,
    steps: &[Step],
    inputs: &BTreeMap<String, B::Value>,
    values: &[Option<B::Value>],
) -> Result<Vec<B::Value>> {
    let value = |id: &NodeId| read(values, *id);
    let all = |ids: &[NodeId]| ids.iter().map(value).collect::<Result<Vec<_>>>();
    let one = match steps {
        [step] => Ok(step),
        _ => Err(mixed(steps)),
    };
    let first = steps.first().ok_or_else(|| mixed(steps))?;
    let result = match &first.op {
        // Those of which several share their work.
        Op::Rotate(a, _) => {
            let by = steps.iter().map(|step| match step.op {
                Op::Rotate(_, k) => Ok(k),
                _ => Err(mixed(steps)),
            });
            return backend.rotate(value(a)?, &by.collect::<Result<Vec<_>>>()?, steps);
        }
        Op::WeightedSum(_) => return weighted_sums(backend, steps, values),
        Op::LinearMap(args, _) => {
            let maps = steps.iter().map(|step| match &step.op {
                Op::LinearMap(_, map) => Ok(map.as_ref()),
                _ => Err(mixed(steps)),
            });
            return backend.linear_maps(&all(args)?, &maps.collect::<Result<Vec<_>>>()?, steps);
        }
        Op::Decide(args, decision) => {
            backend.decide(&all(args)?, decision, one?)?;
            // The last step: nothing is left to read.
            return Ok(Vec::new());
        }
        Op::Input { name } => {
            let given = inputs.get(name).ok_or_else(|| Error::Circuit {
                circuit: "run",
                reason: format!("input {name} needed, {} given", inputs.len()),
            })?;
            backend.input(given, one?)
        }
        Op::Add(a, b) if a == b => backend.double(value(a)?, one?),
        Op::Add(a, b) => backend.add(value(a)?, value(b)?, one?),
        Op::Sub(a, b) => backend.sub(value(a)?, value(b)?, one?),
        Op::Negate(a) => backend.negate(value(a)?, one?),
        Op::MulI(a, power) => backend.mul_i(value(a)?, *power, one?),
        Op::AddPlain(a, pattern) => backend.add_plain(value(a)?, pattern, one?),
        Op::Mul(a, b) if a == b => backend.square(value(a)?, one?),
        Op::Mul(a, b) => backend.mul(value(a)?, value(b)?, one?),
        Op::Conjugate(a) => backend.conjugate(value(a)?, one?),
        Op::Bootstrap(a) => backend.bootstrap(value(a)?, one?),
        Op::Relinearize(a) => backend.relinearize(value(a)?, one?),
        Op::Rescale(a) => backend.rescale(value(a)?, one?),
        Op::RelinearizeRescale(a) => backend.relinearize_rescale(value(a)?, one?),
        Op::DropLevel(a, _) => backend.drop_level(value(a)?, one?),
        Op::Align(a, _) => backend.align(value(a)?, one?),
        Op::Cut(..) => Err(Error::Circuit {
            circuit: "run",
            reason: "a place for a bootstrap is left over; compile the graph".to_owned(),
        }),
    };
    Ok(vec![result?])
}

/// The weighted sums of a group over the union of their inputs.
fn weighted_sums<B: Backend>(
    backend: &mut B,
    steps: &[Step],
    values: &[Option<B::Value>],
) -> Result<Vec<B::Value>> {
    let ids: BTreeSet<NodeId> = steps.iter().flat_map(|step| step.op.args()).collect();
    let inputs = ids
        .iter()
        .map(|id| read(values, *id))
        .collect::<Result<Vec<_>>>()?;
    let rows = steps.iter().map(|step| match &step.op {
        Op::WeightedSum(terms) => {
            let weights: BTreeMap<NodeId, &Pattern> =
                terms.iter().map(|(id, pattern)| (*id, pattern)).collect();
            Ok(ids.iter().map(|id| weights.get(id).copied()).collect())
        }
        _ => Err(mixed(steps)),
    });
    let rows: Vec<Vec<Option<&Pattern>>> = rows.collect::<Result<_>>()?;
    let rows: Vec<&[Option<&Pattern>]> = rows.iter().map(Vec::as_slice).collect();
    backend.weighted_sums(&inputs, &rows, steps)
}

pub(super) fn read<V>(values: &[Option<V>], id: NodeId) -> Result<&V> {
    let there = values.get(id.index()).and_then(Option::as_ref);
    there.ok_or_else(|| Error::Circuit {
        circuit: "run",
        reason: format!("{id} is read but not there; compile the plan again"),
    })
}

fn mixed(steps: &[Step]) -> Error {
    let ops: Vec<&str> = steps.iter().map(|step| step.op.name()).collect();
    Error::Circuit {
        circuit: "run",
        reason: format!(
            "operations of one kind that share their work needed in a group, {} found",
            ops.join(", ")
        ),
    }
}
