//! The compiler: every pass in order, each with the reason for its place.

use std::collections::BTreeSet;

use super::builder::Graph;
use super::facts::{Counts, KeyUse, counts};
use super::op::{NodeId, Op, PerNode};
use super::passes::{
    Scaled, Scheduled, Span, Stage, after, assign_levels, assign_scales, check_depth, collect_keys, depth,
    fuse_relinearize_rescale, insert_relinearize, insert_rescale, last_uses, maps_together, place_bootstraps,
    remove_cuts, remove_dead_code, schedule, settle_keys, validate, verify, verify_levels, verify_order,
    verify_plan, verify_scales,
};
use super::plan::{Plan, PlannedBootstrap, Port, Step};
use crate::ckks::BootstrapLiteral;
use crate::rlwe::params::MAX_CIPHERTEXT_PRIMES;
use crate::rlwe::security::max_log_qp;
use crate::rlwe::{Params, ParamsLiteral};
use crate::{Error, ParamsError, Result};

/// What operations cost where a plan will run: bootstraps are put where they make the sum least.
/// [`cost::Prices`](crate::cost::Prices) tells microseconds on a machine.
pub trait Price {
    /// The cost of an operation whose result has this level, in any unit.
    fn price(&self, op: &Op, level: usize) -> f64;
}

/// Where nobody knows what operations cost: as few bootstraps as possible.
struct Fewest;

impl Price for Fewest {
    fn price(&self, op: &Op, _: usize) -> f64 {
        f64::from(u8::from(matches!(op, Op::Bootstrap(_))))
    }
}

/// What the compiler may use besides the parameters, and what it compiles for. The default is a leveled plan.
#[derive(Clone, Default)]
pub struct CompileOptions<'a> {
    /// How [`Op::Bootstrap`] is done; none for a leveled plan. With it the plan lives between the level of the operand
    /// of a bootstrap and that of its result, and outputs end at the former. It bootstraps as many slots as the graph has.
    pub bootstrap: Option<BootstrapLiteral>,
    /// What decides among the [cuts](Graph::cut) of the graph; without it as few values as possible are bootstrapped.
    pub price: Option<&'a dyn Price>,
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
    let graph = lower_leveled(graph)?;
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
    Some(Error::Params(ParamsError::TooDeep {
        needed: depth,
        most,
        log_scale,
        log_n,
    }))
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
pub fn compile_with(
    graph: &Graph,
    name: &str,
    params: &Params,
    options: &CompileOptions<'_>,
) -> Result<Plan> {
    check_slots(graph, params)?;
    let Some(literal) = &options.bootstrap else {
        return finish(&lower_leveled(graph)?, Span::default(), name, params, None);
    };
    let graph = checked(graph)?;
    let log_slots = graph.slots().trailing_zeros();
    if literal.log_slots != log_slots {
        return Err(ParamsError::BootstrapSlots {
            needed: log_slots,
            found: literal.log_slots,
        }
        .into());
    }
    let span = Span {
        bottom: literal.input_level(),
        top: literal.output_level(params)?,
    };
    let available = span.top - span.bottom;
    let price = options.price.unwrap_or(&Fewest);
    let price = |op: &Op, left: usize| price.price(op, span.bottom + left);
    let graph = place_bootstraps(&graph, available, &price)?;
    after("place_bootstraps", || verify(&graph, Stage::Placed))?;
    // In the words of the graph as it was given.
    check_depth(&graph, available)?;
    finish(&lower(&graph)?, span, name, params, Some(literal))
}

/// A graph for a plan without bootstraps.
fn lower_leveled(graph: &Graph) -> Result<Graph> {
    let graph = lower_without_cuts(graph)?;
    match bootstraps(&graph) {
        0 => Ok(graph),
        count => Err(Error::Circuit {
            circuit: "graph",
            reason: format!(
                "{count} bootstraps and no way to do them; compile with CompileOptions::bootstrap and parameters that \
                 have its primes"
            ),
        }),
    }
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
    /// Distinct rotations: the Galois keys.
    pub rotations: BTreeSet<i64>,
    /// True when the conjugation key is needed.
    pub conjugation: bool,
    /// What all operations count as; the sharing of rotations outside of linear maps is not looked at.
    pub counts: Counts,
}

/// Depth, keys and counts of a graph on its own.
///
/// # Errors
/// [`Error::Circuit`] for a malformed graph.
pub fn profile(graph: &Graph) -> Result<Profile> {
    let graph = lower_without_cuts(graph)?;
    let depth = depth(&graph);
    let levels = assign_levels(
        &graph,
        Span {
            bottom: 0,
            top: depth,
        },
    );
    let keys = collect_keys(&graph, &levels);
    let maps = maps_together(&graph, &levels);
    let counts = graph.numbered().flat_map(|(id, node)| match node.op {
        Op::LinearMap(..) => counts(&maps[id].iter().map(|id| &graph.node(*id).op).collect::<Vec<_>>()),
        ref op => counts(&[op]),
    });
    Ok(Profile {
        depth,
        rotations: keys
            .keys()
            .filter_map(|key| match key {
                KeyUse::Rotation(k) => Some(*k),
                KeyUse::Conjugation | KeyUse::Relinearization => None,
            })
            .collect(),
        conjugation: keys.contains_key(&KeyUse::Conjugation),
        counts: counts.sum(),
    })
}

/// The graph that was given, found good, without what no output needs: that must not count as a user when the next passes
/// ask who needs what.
fn checked(graph: &Graph) -> Result<Graph> {
    validate(graph)?;
    let graph = remove_dead_code(graph);
    after("remove_dead_code", || verify(&graph, Stage::Given))?;
    Ok(graph)
}

/// The passes that do not depend on the parameters, for a graph in which nothing is to be bootstrapped.
fn lower_without_cuts(graph: &Graph) -> Result<Graph> {
    let graph = remove_cuts(&checked(graph)?);
    after("remove_cuts", || verify(&graph, Stage::Placed))?;
    lower(&graph)
}

/// The passes that do not depend on the parameters.
fn lower(graph: &Graph) -> Result<Graph> {
    // Rescales before relinearisations, so that a rescale counts as a user that wants two parts.
    let graph = insert_rescale(graph);
    after("insert_rescale", || verify(&graph, Stage::Rescaled))?;
    let graph = insert_relinearize(&graph);
    after("insert_relinearize", || verify(&graph, Stage::Relinearized))?;
    // After both, when it is known what is relinearised for a rescale alone.
    let graph = fuse_relinearize_rescale(&graph);
    after("fuse_relinearize_rescale", || verify(&graph, Stage::Relinearized))?;
    Ok(graph)
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
    after("assign_levels", || verify_levels(graph, &levels, span, false))?;
    let scaled = assign_scales(graph, &levels, span.bottom, params)?;
    after("assign_scales", || {
        verify(&scaled.graph, Stage::Scaled)?;
        verify_levels(&scaled.graph, &scaled.levels, span, true)?;
        verify_scales(&scaled, params)
    })?;
    let Scaled { graph, levels, .. } = &scaled;
    let order = schedule(graph, levels, &scaled.scales);
    after("schedule", || verify_order(graph, &order))?;

    // Values are renamed to the steps that compute them.
    let mut named = PerNode::from(vec![NodeId(0); order.len()]);
    for (step, scheduled) in order.iter().enumerate() {
        named[scheduled.node] = NodeId(step);
    }
    let mut steps: PerNode<Step> = PerNode::new();
    for Scheduled { node: id, group } in order {
        let node = graph.node(id);
        let operands = node.op.args().into_iter().map(|arg| levels[arg]);
        steps.push(Step {
            op: node.op.map_args(|arg| named[arg]),
            // An input has no operands.
            level_in: operands.max().unwrap_or(levels[id]),
            level: levels[id],
            scale: scaled.scales[id],
            plain_scale: scaled.plain_scales[id],
            group,
            label: graph.label_of(node).clone(),
            frees: Vec::new(),
        });
    }
    let port = |name: &str, value: NodeId| Port {
        name: name.to_owned(),
        value,
        level: steps[value].level,
        scale: steps[value].scale,
    };
    let outputs = graph.outputs().iter();
    let outputs: Vec<Port> = outputs.map(|(name, value)| port(name, named[*value])).collect();
    let inputs = steps
        .iter()
        .enumerate()
        .filter_map(|(index, step)| match &step.op {
            Op::Input { name } => Some(port(name, NodeId(index))),
            _ => None,
        });
    let inputs = inputs.collect();
    let kept: Vec<NodeId> = outputs.iter().map(|port| port.value).collect();
    let ops: Vec<&Op> = steps.iter().map(|step| &step.op).collect();
    let frees = last_uses(&ops, &kept);
    let mut steps = steps.into_vec();
    for (step, frees) in steps.iter_mut().zip(frees.into_vec()) {
        step.frees = frees;
    }
    let mut plan = Plan {
        name: name.to_owned(),
        params: params.clone(),
        slots: graph.slots(),
        steps,
        inputs,
        outputs,
        step_keys: collect_keys(graph, levels),
        bootstrap: None,
    };
    let count = bootstraps(graph);
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
    after("finish", || verify_plan(&plan))?;
    Ok(plan)
}
