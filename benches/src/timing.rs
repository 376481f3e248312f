//! A plan on ciphertexts with the time of every step.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use he_ops::Result;
use he_ops::ckks::{Bootstrapper, Ciphertext, Evaluator};
use he_ops::exec::{Ckks, Outputs, run};
use he_ops::graph::Plan;
use he_ops::trace::Tracer;

/// Results, where the time went, and the time of every step: that of a group is with its first.
pub struct Timed {
    /// Results by name.
    pub outputs: Outputs<Ciphertext>,
    /// Per layer and per primitive.
    pub tracer: Tracer,
    /// Of every step of the plan.
    pub steps: Vec<Duration>,
}

/// Runs a plan; `progress(done, total, since the start)` before each step.
///
/// # Errors
/// - an operation is refused
pub fn run_timed(
    plan: &Plan,
    evaluator: &Evaluator,
    bootstrapper: Option<Arc<Bootstrapper>>,
    inputs: &BTreeMap<String, Ciphertext>,
    progress: &mut dyn FnMut(usize, usize, Duration),
) -> Result<Timed> {
    let mut tracer = Tracer::new();
    let mut backend = Ckks::with_bootstrapper(evaluator, bootstrapper);
    let mut steps = vec![Duration::ZERO; plan.steps.len()];
    let start = Instant::now();
    let (mut before, mut running) = (start, 0);
    let outputs = run(plan, &mut backend, inputs, &mut tracer, &mut |done, total| {
        let now = Instant::now();
        if let Some(step) = steps.get_mut(running).filter(|_| done > 0) {
            *step = now - before;
        }
        (before, running) = (now, done);
        progress(done, total, now - start);
        ControlFlow::Continue(())
    })?;
    if let Some(step) = steps.get_mut(running) {
        *step = before.elapsed();
    }
    Ok(Timed {
        outputs,
        tracer,
        steps,
    })
}
