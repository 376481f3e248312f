//! The compiler: every pass in order, each with the reason for its place.

use std::collections::BTreeSet;

use super::builder::{Graph, NodeId, Op};
use super::passes::{
    Keys, Scaled, assign_levels, assign_scales, collect_keys, insert_relinearize, insert_rescale, last_uses,
    remove_dead_code, schedule, validate,
};
use super::plan::{Plan, Port, Step};
use crate::rlwe::{Params, ParamsLiteral};
use crate::{Error, Result};

/// Compiles a graph for the smallest leveled parameters of its slot count that are deep enough, with a scale of
/// 2^`log_scale`, held against the 128-bit table.
///
/// # Errors
/// [`Error::Circuit`] for a malformed graph, [`Error::Insecure`] or [`Error::Params`] when its depth does not fit the
/// ring: use more slots, a smaller scale, or a shallower circuit.
pub fn compile(graph: &Graph, name: &str, log_scale: u32) -> Result<Plan> {
    let (graph, levels) = lower(graph)?;
    let depth = levels.iter().copied().max().unwrap_or(0);
    // slots = N/2, checked to be a power of two.
    let log_n = graph.slots().trailing_zeros() + 1;
    let params = Params::new(&ParamsLiteral::leveled(log_n, depth, log_scale))?;
    finish(&graph, &levels, name, &params)
}

/// Compiles a graph for given parameters; inputs enter at the depth of the graph, which may be below the top level.
///
/// # Errors
/// [`Error::Circuit`] for a malformed graph, [`Error::Shape`] for another slot count than the parameters have,
/// [`Error::Level`] when they have too few levels.
pub fn compile_for(graph: &Graph, name: &str, params: &Params) -> Result<Plan> {
    if graph.slots() != params.slots() {
        return Err(Error::Shape {
            what: "slots of the graph",
            needed: params.slots(),
            found: graph.slots(),
        });
    }
    let (graph, levels) = lower(graph)?;
    finish(&graph, &levels, name, params)
}

/// What a circuit needs, before any parameters are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Levels from input to output.
    pub depth: usize,
    /// Distinct rotations: the Galois keys.
    pub rotations: BTreeSet<i64>,
    /// True when the conjugation key is needed.
    pub conjugation: bool,
    /// Rotations, conjugations and relinearisations executed.
    pub key_switches: usize,
    /// Ciphertext-ciphertext products, squares included.
    pub ciphertext_products: usize,
    /// Plaintext-ciphertext products.
    pub plaintext_products: usize,
}

/// Depth, keys and counts of a graph on its own.
///
/// # Errors
/// [`Error::Circuit`] for a malformed graph.
pub fn profile(graph: &Graph) -> Result<Profile> {
    let (graph, levels) = lower(graph)?;
    let keys = collect_keys(&graph, &levels);
    let count = |wanted: fn(&Op) -> usize| graph.nodes().iter().map(|node| wanted(&node.op)).sum();
    Ok(Profile {
        depth: levels.iter().copied().max().unwrap_or(0),
        rotations: keys.rotations.keys().copied().collect(),
        conjugation: keys.conjugation.is_some(),
        key_switches: count(|op| {
            usize::from(matches!(
                op,
                Op::Rotate(..) | Op::Conjugate(_) | Op::Relinearize(_)
            ))
        }),
        ciphertext_products: count(|op| usize::from(matches!(op, Op::Mul(..)))),
        plaintext_products: count(|op| match op {
            Op::WeightedSum(terms) => terms.len(),
            _ => 0,
        }),
    })
}

/// The passes that do not depend on the parameters.
fn lower(graph: &Graph) -> Result<(Graph, Vec<usize>)> {
    validate(graph)?;
    // Dead code first: it must not count as a user when the next passes ask who needs what.
    let graph = remove_dead_code(graph);
    // Rescales before relinearisations, so that a rescale counts as a user that wants two parts.
    let graph = insert_rescale(&graph);
    let graph = insert_relinearize(&graph);
    let levels = assign_levels(&graph);
    Ok((graph, levels))
}

/// The passes that need the primes, and the plan.
fn finish(graph: &Graph, levels: &[usize], name: &str, params: &Params) -> Result<Plan> {
    let Scaled {
        graph,
        levels,
        scales,
        plain_scales,
    } = assign_scales(graph, levels, params)?;
    let Keys {
        relin,
        conjugation,
        rotations,
    } = collect_keys(&graph, &levels);
    let order = schedule(&graph, &levels, &scales);

    // Values are renamed to the steps that compute them.
    let mut renamed = vec![NodeId::new(0); order.len()];
    for (step, scheduled) in order.iter().enumerate() {
        if let Some(slot) = renamed.get_mut(scheduled.node.index()) {
            *slot = NodeId::new(step);
        }
    }
    let rename = |id: NodeId| renamed.get(id.index()).copied().unwrap_or(id);
    let mut steps = Vec::with_capacity(order.len());
    for scheduled in &order {
        let index = scheduled.node.index();
        let missing = || Error::Circuit {
            circuit: "schedule",
            reason: format!("{} is lost", scheduled.node),
        };
        let node = graph.nodes().get(index).ok_or_else(missing)?;
        let level = levels.get(index).copied().ok_or_else(missing)?;
        let level_in = node
            .op
            .args()
            .iter()
            .filter_map(|arg| levels.get(arg.index()))
            .copied()
            .max();
        steps.push(Step {
            op: node.op.map_args(rename),
            level_in: level_in.unwrap_or(level),
            level,
            scale: scales.get(index).copied().ok_or_else(missing)?,
            plain_scale: plain_scales.get(index).copied().ok_or_else(missing)?,
            group: scheduled.group,
            label: graph.label(node).cloned().ok_or_else(missing)?,
            frees: Vec::new(),
        });
    }
    let port = |name: &str, value: NodeId| match steps.get(value.index()) {
        Some(step) => Ok(Port {
            name: name.to_owned(),
            value,
            level: step.level,
            scale: step.scale,
        }),
        None => Err(Error::Circuit {
            circuit: "schedule",
            reason: format!("{value} is lost"),
        }),
    };
    let outputs = graph
        .outputs()
        .iter()
        .map(|(name, value)| port(name, rename(*value)))
        .collect::<Result<Vec<_>>>()?;
    let mut inputs = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        if let Op::Input { name } = &step.op {
            inputs.push(port(name, NodeId::new(index))?);
        }
    }
    let kept: Vec<NodeId> = outputs.iter().map(|port| port.value).collect();
    let ops: Vec<&Op> = steps.iter().map(|step| &step.op).collect();
    let frees = last_uses(&ops, &kept);
    for (step, frees) in steps.iter_mut().zip(frees) {
        step.frees = frees;
    }
    Ok(Plan {
        name: name.to_owned(),
        params: params.clone(),
        steps,
        inputs,
        outputs,
        relin,
        conjugation,
        rotations,
    })
}
