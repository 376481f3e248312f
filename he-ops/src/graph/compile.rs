//! The compiler: every pass in order, each with the reason for its place.

use std::collections::BTreeSet;

use super::builder::{Graph, NodeId, Op};
use super::passes::{
    Keys, Scaled, Span, assign_levels, assign_scales, check_depth, collect_keys, depth,
    fuse_relinearize_rescale, insert_relinearize, insert_rescale, last_uses, place_bootstraps, remove_cuts,
    remove_dead_code, schedule, settle_keys, validate,
};
use super::plan::{Plan, PlannedBootstrap, Port, Step};
use super::prices::Prices;
use crate::ckks::BootstrapLiteral;
use crate::cost::Machine;
use crate::rlwe::params::MAX_CIPHERTEXT_PRIMES;
use crate::rlwe::security::max_log_qp;
use crate::rlwe::{Params, ParamsLiteral};
use crate::{Error, Result};

/// What the compiler may use besides the parameters, and what it compiles for.
#[derive(Debug, Clone, PartialEq)]
pub struct CompileOptions {
    /// How [`Op::Bootstrap`] is done; none for a leveled plan. With it the plan lives between the level of the operand
    /// of a bootstrap and that of its result, and outputs end at the former. It bootstraps as many slots as the graph has.
    pub bootstrap: Option<BootstrapLiteral>,
    /// Where the plan will run: bootstraps are put where they make the time there least.
    pub machine: Machine,
    /// Threads that it may use there.
    pub threads: usize,
}

impl Default for CompileOptions {
    /// A leveled plan; two threads of the built-in machine.
    fn default() -> Self {
        CompileOptions {
            bootstrap: None,
            machine: Machine::default(),
            threads: 2,
        }
    }
}

/// Compiles a graph for the smallest leveled parameters of its slot count that are deep enough, with a scale of
/// 2^`log_scale`, held against the 128-bit table.
///
/// # Errors
/// [`Error::Circuit`] for a malformed graph, [`Error::Insecure`] or [`Error::Params`] when its depth does not fit the
/// ring: use more slots, a smaller scale, or a shallower circuit.
pub fn compile(graph: &Graph, name: &str, log_scale: u32) -> Result<Plan> {
    // slots = N/2, checked to be a power of two below.
    compile_leveled(graph, name, graph.slots().trailing_zeros() + 1, log_scale)
}

/// [`compile`] on a ring of degree 2^`log_n`, which may have more slots than the graph: larger rings are deeper.
///
/// # Errors
/// As [`compile`]; [`Error::Shape`] for more slots than the ring has.
pub fn compile_leveled(graph: &Graph, name: &str, log_n: u32, log_scale: u32) -> Result<Plan> {
    let graph = lower(&remove_cuts(graph))?;
    refuse_bootstraps(&graph)?;
    let depth = depth(&graph);
    let literal = ParamsLiteral::leveled(log_n, depth, log_scale);
    let params = Params::new(&literal).map_err(|error| too_deep(depth, log_n, log_scale).unwrap_or(error))?;
    check_slots(&graph, &params)?;
    finish(&graph, Span::default(), name, &params, None)
}

/// Says how many levels there can be, if that is what is wrong.
fn too_deep(depth: usize, log_n: u32, log_scale: u32) -> Option<Error> {
    let bound = max_log_qp(log_n)?;
    let fits = |depth: &usize| {
        let literal = ParamsLiteral::leveled(log_n, *depth, log_scale);
        let bits: u32 = literal.log_q.iter().chain(&literal.log_p).sum();
        f64::from(bits) < bound && literal.log_q.len() <= MAX_CIPHERTEXT_PRIMES
    };
    if fits(&depth) {
        return None;
    }
    let most = (0..depth).rev().find(fits)?;
    Some(Error::Params {
        reason: format!("{depth} levels of {log_scale} bits needed, {most} are secure with N = 2^{log_n}"),
    })
}

fn check_slots(graph: &Graph, params: &Params) -> Result<()> {
    if graph.slots() <= params.slots() {
        return Ok(());
    }
    Err(Error::Shape {
        what: "slots of the graph (at most)",
        needed: params.slots(),
        found: graph.slots(),
    })
}

/// Compiles a graph for given parameters; inputs enter at the depth of the graph, which may be below the top level.
///
/// # Errors
/// [`Error::Circuit`] for a malformed graph, [`Error::Shape`] for more slots than the parameters have, [`Error::Level`] when they have too few levels.
pub fn compile_for(graph: &Graph, name: &str, params: &Params) -> Result<Plan> {
    compile_with(graph, name, params, &CompileOptions::default())
}

/// Compiles a graph for given parameters, with bootstraps if the options say how. A graph of fewer slots than the
/// parameters have runs on values that repeat, and its bootstraps are sparse.
///
/// # Errors
/// As [`compile_for`]. [`Error::Circuit`] for bootstraps without the option, and for a part of the graph, between two
/// bootstraps or before the first or after the last, that needs more levels than a bootstrap leaves: the text says where
/// to put one. [`Error::Params`] when the bootstrap does not fit the parameters.
pub fn compile_with(graph: &Graph, name: &str, params: &Params, options: &CompileOptions) -> Result<Plan> {
    check_slots(graph, params)?;
    validate(graph)?;
    let Some(literal) = &options.bootstrap else {
        let lowered = lower(&remove_cuts(graph))?;
        refuse_bootstraps(&lowered)?;
        return finish(&lowered, Span::default(), name, params, None);
    };
    // Checked to be a power of two.
    let log_slots = graph.slots().trailing_zeros();
    if literal.log_slots != log_slots {
        return Err(Error::Params {
            reason: format!(
                "a bootstrap of all 2^{log_slots} slots needed in a plan, one of 2^{} found",
                literal.log_slots
            ),
        });
    }
    let span = Span {
        bottom: literal.input_level(),
        top: literal.output_level(params)?,
    };
    let available = span.top - span.bottom;
    let prices = Prices::new(params, literal, options);
    let price = |op: &Op, left: usize| prices.us(op, span.bottom + left);
    let graph = &place_bootstraps(&remove_dead_code(graph), available, &price)?;
    // In the words of the graph as it was given.
    check_depth(graph, available)?;
    let lowered = lower(graph)?;
    finish(&lowered, span, name, params, Some(literal))
}

/// Refuses bootstraps where nothing says how to do them.
fn refuse_bootstraps(graph: &Graph) -> Result<()> {
    let count = bootstraps(graph);
    if count == 0 {
        return Ok(());
    }
    Err(Error::Circuit {
        circuit: "graph",
        reason: format!(
            "{count} bootstraps and no way to do them; compile with CompileOptions::bootstrap and parameters that have \
             its primes"
        ),
    })
}

fn bootstraps(graph: &Graph) -> usize {
    let nodes = graph.nodes().iter();
    nodes.filter(|node| matches!(node.op, Op::Bootstrap(_))).count()
}

/// What a circuit needs, before any parameters are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Levels from input to output; with bootstraps, of the deepest part between them.
    pub depth: usize,
    /// Bootstraps executed; what they need themselves is not counted here.
    pub bootstraps: usize,
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
    let graph = lower(&remove_cuts(graph))?;
    let depth = depth(&graph);
    let levels = assign_levels(
        &graph,
        Span {
            bottom: 0,
            top: depth,
        },
    );
    let keys = collect_keys(&graph, &levels);
    let count = |wanted: fn(&Op) -> usize| graph.nodes().iter().map(|node| wanted(&node.op)).sum();
    Ok(Profile {
        depth,
        bootstraps: bootstraps(&graph),
        rotations: keys.rotations.keys().copied().collect(),
        conjugation: keys.conjugation.is_some(),
        key_switches: count(|op| {
            usize::from(matches!(
                op,
                Op::Rotate(..) | Op::Conjugate(_) | Op::Relinearize(_) | Op::RelinearizeRescale(_)
            ))
        }),
        ciphertext_products: count(|op| usize::from(matches!(op, Op::Mul(..)))),
        plaintext_products: count(|op| match op {
            Op::WeightedSum(terms) => terms.len(),
            Op::LinearMap(_, map) => map.diagonals(),
            _ => 0,
        }),
    })
}

/// The passes that do not depend on the parameters.
fn lower(graph: &Graph) -> Result<Graph> {
    validate(graph)?;
    // Dead code first: it must not count as a user when the next passes ask who needs what.
    let graph = remove_dead_code(graph);
    // Rescales before relinearisations, so that a rescale counts as a user that wants two parts.
    let graph = insert_rescale(&graph);
    let graph = insert_relinearize(&graph);
    // After both, when it is known what is relinearised for a rescale alone.
    Ok(fuse_relinearize_rescale(&graph))
}

/// The passes that need the primes, and the plan.
fn finish(
    graph: &Graph,
    span: Span,
    name: &str,
    params: &Params,
    bootstrap: Option<&BootstrapLiteral>,
) -> Result<Plan> {
    let levels = assign_levels(graph, span);
    let Scaled {
        graph,
        levels,
        scales,
        plain_scales,
    } = assign_scales(graph, &levels, span.bottom, params)?;
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
    let mut plan = Plan {
        name: name.to_owned(),
        params: params.clone(),
        slots: graph.slots(),
        steps,
        inputs,
        outputs,
        relin,
        conjugation,
        rotations,
        bootstrap: None,
    };
    let count = bootstraps(&graph);
    if let Some(literal) = bootstrap.filter(|_| count > 0) {
        let uses = literal.key_uses(params)?;
        let keys = settle_keys(&plan.keys(), &plan.key_uses(), &uses, params)?;
        plan.bootstrap = Some(PlannedBootstrap {
            literal: literal.clone(),
            count,
            output_level: span.top,
            keys,
            key_uses: uses,
        });
    }
    Ok(plan)
}
