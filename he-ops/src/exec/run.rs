//! The executor: one loop over the steps, with timing, progress, cancellation, and values freed after their last use.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::{Backend, SumRow};
use crate::graph::{NodeId, Op, Plan, Step};
use crate::trace::Tracer;
use crate::{Error, Result};

/// Results by name.
pub type Outputs<V> = BTreeMap<String, V>;

/// Runs every step of a plan.
///
/// `inputs` are given by name. `progress(done, total)` is called before each step; [`ControlFlow::Break`] cancels.
/// Times go to `tracer`: steps of one group share the time of their common call equally.
///
/// # Errors
/// [`Error::Circuit`] for a missing input, [`Error::Cancelled`] when `progress` says so, and whatever an operation of
/// the backend refuses.
pub fn run<B: Backend>(
    plan: &Plan,
    backend: &mut B,
    inputs: &BTreeMap<String, B::Value>,
    tracer: &mut Tracer,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Outputs<B::Value>> {
    let start = Instant::now();
    let total = plan.steps.len();
    let mut values: Vec<Option<B::Value>> = vec![None; total];
    let mut done = 0;
    let mut rest = plan.steps.as_slice();
    while let Some((first, tail)) = rest.split_first() {
        if progress(done, total).is_break() {
            return Err(Error::Cancelled { done, total });
        }
        let size = match first.group {
            None => 1,
            Some(_) => 1 + tail.iter().take_while(|step| step.group == first.group).count(),
        };
        let (group, tail) = rest.split_at(size);
        let step_start = Instant::now();
        let results = execute(backend, group, first, inputs, &values)?;
        for (slot, result) in values.iter_mut().skip(done).zip(results) {
            *slot = Some(result);
        }
        // Freeing large ciphertexts takes time too; it belongs to the step that was the last to read them.
        for freed in group.iter().flat_map(|step| &step.frees) {
            if let Some(slot) = values.get_mut(freed.index()) {
                *slot = None;
            }
        }
        let each = step_start.elapsed().div_f64(size as f64);
        group.iter().for_each(|step| tracer.record(step, each));
        done += size;
        rest = tail;
    }
    let mut outputs = Outputs::new();
    for port in &plan.outputs {
        outputs.insert(port.name.clone(), read(&values, port.value)?.clone());
    }
    tracer.record_wall(start.elapsed().max(Duration::from_nanos(1)));
    Ok(outputs)
}

fn read<V>(values: &[Option<V>], id: NodeId) -> Result<&V> {
    values
        .get(id.index())
        .and_then(Option::as_ref)
        .ok_or_else(|| Error::Circuit {
            circuit: "run",
            reason: format!("{id} is read but not there; compile the plan again"),
        })
}

/// One step, or one group that shares its work: rotations of one value, weighted sums over the same inputs.
fn execute<B: Backend>(
    backend: &mut B,
    group: &[Step],
    step: &Step,
    inputs: &BTreeMap<String, B::Value>,
    values: &[Option<B::Value>],
) -> Result<Vec<B::Value>> {
    let value = |id: &NodeId| read(values, *id);
    let result = match &step.op {
        Op::Input { name } => {
            let given = inputs.get(name).ok_or_else(|| Error::Circuit {
                circuit: "run",
                reason: format!("input {name} needed, {} given", inputs.len()),
            })?;
            backend.input(given, step)
        }
        Op::Add(a, b) => backend.add(value(a)?, value(b)?, step),
        Op::Sub(a, b) => backend.sub(value(a)?, value(b)?, step),
        Op::Negate(a) => backend.negate(value(a)?, step),
        Op::MulI(a, power) => backend.mul_i(value(a)?, *power, step),
        Op::AddPlain(a, pattern) => backend.add_plain(value(a)?, pattern, step),
        Op::WeightedSum(_) => return weighted_sums(backend, group, values),
        Op::LinearMap(args, _) => {
            let inputs = args.iter().map(value).collect::<Result<Vec<_>>>()?;
            return backend.linear_maps(&inputs, group);
        }
        Op::Cut(..) => Err(Error::Circuit {
            circuit: "run",
            reason: "a place for a bootstrap is left over; compile the graph".to_owned(),
        }),
        Op::Mul(a, b) if a == b => backend.square(value(a)?, step),
        Op::Mul(a, b) => backend.mul(value(a)?, value(b)?, step),
        Op::Rotate(a, _) => return backend.rotate(value(a)?, group),
        Op::Conjugate(a) => backend.conjugate(value(a)?, step),
        Op::Bootstrap(a) => backend.bootstrap(value(a)?, step),
        Op::Relinearize(a) => backend.relinearize(value(a)?, step),
        Op::Rescale(a) => backend.rescale(value(a)?, step),
        Op::RelinearizeRescale(a) => backend.relinearize_rescale(value(a)?, step),
        Op::DropLevel(a, _) => backend.drop_level(value(a)?, step),
        Op::Align(a, _) => backend.align(value(a)?, step),
        Op::Decide(args, decision) => {
            let values = args.iter().map(value).collect::<Result<Vec<_>>>()?;
            backend.decide(&values, decision, step)?;
            // The last step: nothing is left to read.
            return Ok(Vec::new());
        }
    };
    Ok(vec![result?])
}

/// The weighted sums of a group over the union of their inputs.
fn weighted_sums<B: Backend>(
    backend: &mut B,
    group: &[Step],
    values: &[Option<B::Value>],
) -> Result<Vec<B::Value>> {
    let mut ids: Vec<NodeId> = group.iter().flat_map(|step| step.op.args()).collect();
    ids.sort_unstable();
    ids.dedup();
    let inputs = ids
        .iter()
        .map(|id| read(values, *id))
        .collect::<Result<Vec<_>>>()?;
    let rows: Vec<SumRow<'_>> = group
        .iter()
        .map(|step| {
            let mut weights = vec![None; ids.len()];
            if let Op::WeightedSum(terms) = &step.op {
                for (id, pattern) in terms {
                    if let Some(slot) = ids.binary_search(id).ok().and_then(|at| weights.get_mut(at)) {
                        *slot = Some(pattern);
                    }
                }
            }
            SumRow { weights, step }
        })
        .collect();
    backend.weighted_sums(&inputs, &rows)
}
