//! What a run will give and cost, before it runs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{Sim, run};
use crate::Result;
use crate::cost::{Machine, Work, plan_costs};
use crate::graph::Plan;
use crate::trace::Tracer;

/// Expected precision and counted work of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// For each output, the bits to which every slot is expected to be right.
    pub precision_bits: BTreeMap<String, f64>,
    /// The same for the result of every step, in the order of the plan.
    pub steps: Vec<f64>,
    /// Work of the whole run.
    pub work: Work,
}

/// A dry run of the plan on the noise model, from fresh secret-key encryptions; `magnitudes` as for [`Sim::new`].
///
/// # Errors
/// Whatever the noise model refuses; nothing for a plan made by the compiler.
pub fn predict(plan: &Plan, magnitudes: &[f64]) -> Result<Prediction> {
    let mut sim = Sim::new(plan, magnitudes);
    let mut inputs = BTreeMap::new();
    for port in &plan.inputs {
        inputs.insert(port.name.clone(), sim.fresh(port));
    }
    let outputs = run(plan, &mut sim, &inputs, &mut Tracer::new(), &mut |_, _| {
        ControlFlow::Continue(())
    })?;
    let slots = plan.params.slots();
    let precision_bits = outputs
        .into_iter()
        .map(|(name, value)| (name, value.precision_bits(slots)))
        .collect();
    Ok(Prediction {
        precision_bits,
        steps: sim
            .steps()
            .iter()
            .map(|step| step.precision_bits(slots))
            .collect(),
        work: plan_costs(plan, &Machine::default(), 1)?.work,
    })
}
