//! The executor: one loop over the steps, with timing, progress, cancellation, and values freed after their last use.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::backend::{Backend, execute, read};
use crate::graph::Plan;
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
    for group in plan.groups() {
        if progress(done, total).is_break() {
            return Err(Error::Cancelled { done, total });
        }
        let step_start = Instant::now();
        let results = execute(backend, group, inputs, &values)?;
        for (slot, result) in values.iter_mut().skip(done).zip(results) {
            *slot = Some(result);
        }
        // Freeing large ciphertexts takes time too; it belongs to the step that was the last to read them.
        for freed in group.iter().flat_map(|step| &step.frees) {
            if let Some(slot) = values.get_mut(freed.index()) {
                *slot = None;
            }
        }
        let each = step_start.elapsed().div_f64(group.len() as f64);
        group.iter().for_each(|step| tracer.record(step, each));
        done += group.len();
    }
    let mut outputs = Outputs::new();
    for port in &plan.outputs {
        outputs.insert(port.name.clone(), read(&values, port.value)?.clone());
    }
    tracer.record_wall(start.elapsed().max(Duration::from_nanos(1)));
    Ok(outputs)
}
