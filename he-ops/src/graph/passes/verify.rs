//! What holds after every pass, checked in debug builds: a pass that breaks it is named, not the step that fails much
//! later.

use std::collections::{BTreeMap, BTreeSet};

use super::{Scaled, Scheduled, Span, validate};
use crate::graph::facts::{Debt, Facts, Level, owing};
use crate::graph::op::PerNode;
use crate::graph::{Graph, NodeId, Op, Plan};
use crate::rlwe::Params;
use crate::{Error, Result};

/// What does not hold, in words.
type Check = std::result::Result<(), String>;

/// How far a graph has come; every stage promises what those before it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::graph) enum Stage {
    /// As circuits write it.
    Given,
    /// It is known where it bootstraps.
    Placed,
    /// Who needs a rescaled value reads one.
    Rescaled,
    /// Who needs two parts reads two.
    Relinearized,
    /// Operands have the level and the scale of their operation.
    Scaled,
}

/// Relative difference of scales that is rounding.
const TOLERANCE: f64 = 1e-9;

/// Runs a check of what `pass` left, in debug builds.
///
/// # Errors
/// [`Error::Invariant`] with the name of the pass.
pub(in crate::graph) fn after(pass: &'static str, check: impl FnOnce() -> Check) -> Result<()> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    check().map_err(|reason| Error::Invariant { place: pass, reason })
}

/// The form of a graph: operands before their users, operations that belong to the stage, no debt where none is allowed.
pub(in crate::graph) fn verify(graph: &Graph, stage: Stage) -> Check {
    validate(graph).map_err(|error| error.to_string())?;
    for (id, node) in graph.numbered() {
        let facts = node.op.facts();
        let (from, until) = match (facts, &node.op) {
            (_, Op::Cut(..)) => (Stage::Given, Stage::Given),
            (_, Op::Decide(..)) => return Err(format!("{id} is a decision, which belongs to plans")),
            (
                Facts {
                    level: Level::Dropped(_) | Level::Aligned(_),
                    ..
                },
                _,
            ) => (Stage::Scaled, Stage::Scaled),
            (
                Facts {
                    relinearization: Debt::Pays,
                    ..
                },
                _,
            ) => (Stage::Relinearized, Stage::Scaled),
            (
                Facts {
                    rescale: Debt::Pays, ..
                },
                _,
            ) => (Stage::Rescaled, Stage::Scaled),
            _ => (Stage::Given, Stage::Scaled),
        };
        if !(from..=until).contains(&stage) {
            return Err(format!("{id} is {}, in a graph that is {stage:?}", node.op));
        }
    }
    if stage >= Stage::Rescaled {
        debts(graph, |facts| facts.rescale, "rescale", false)?;
    }
    if stage >= Stage::Relinearized {
        debts(graph, |facts| facts.relinearization, "relinearisation", true)?;
    }
    Ok(())
}

/// Debts are owed where they may be, and paid where they are owed. `mixed`: sums may add what owes and what does not.
fn debts(graph: &Graph, debt: fn(&Facts) -> Debt, what: &str, mixed: bool) -> Check {
    let owes = owing(graph.nodes().iter().map(|node| &node.op), debt);
    for (id, node) in graph.numbered() {
        let (args, own) = (node.op.args(), debt(&node.op.facts()));
        let (owing, settled): (Vec<NodeId>, Vec<NodeId>) = args.into_iter().partition(|arg| owes[*arg]);
        let problem = match own {
            Debt::Refuses | Debt::Makes => owing
                .first()
                .map(|arg| format!("reads {arg}, which owes a {what}")),
            Debt::Pays => settled
                .first()
                .map(|arg| format!("pays a {what} that {arg} does not owe")),
            Debt::Passes | Debt::Defers => match (owing.first(), settled.first()) {
                (Some(a), Some(b)) if !mixed => Some(format!(
                    "reads {a}, which owes a {what}, and {b}, which owes none"
                )),
                _ => None,
            },
        };
        if let Some(problem) = problem {
            return Err(format!("{id} ({}) {problem}", node.op.name()));
        }
    }
    match graph.outputs().iter().find(|(_, value)| owes[*value]) {
        Some((name, value)) => Err(format!("output {name} is {value}, which owes a {what}")),
        None => Ok(()),
    }
}

/// Levels of results against those of operands. Before alignments are inserted operands may be above the level at which
/// they are needed; `exact` says that none is.
pub(in crate::graph) fn verify_levels(
    graph: &Graph,
    levels: &PerNode<usize>,
    span: Span,
    exact: bool,
) -> Check {
    if levels.len() != graph.nodes().len() {
        return Err(format!(
            "{} levels of {} values",
            levels.len(),
            graph.nodes().len()
        ));
    }
    let at = |id: NodeId, needed: usize, user: &str| {
        if levels[id] == needed || (!exact && levels[id] > needed) {
            Ok(())
        } else {
            Err(format!(
                "{user} needs {id} at level {needed}, where it has level {}",
                levels[id]
            ))
        }
    };
    let mut inputs = BTreeSet::new();
    for (id, node) in graph.numbered() {
        let (own, user) = (levels[id], format!("{id} ({})", node.op.name()));
        let right = match node.op.facts().level {
            Level::Same | Level::Below => own >= span.bottom,
            Level::Fresh => own == span.top,
            Level::Dropped(to) | Level::Aligned(to) => {
                own == to && node.op.args().iter().all(|arg| levels[*arg] > to)
            }
        };
        if !right {
            return Err(format!(
                "{user} has level {own} between {} and {}",
                span.bottom, span.top
            ));
        }
        match node.op.facts().level {
            Level::Dropped(_) | Level::Aligned(_) => {}
            Level::Fresh => node
                .op
                .args()
                .into_iter()
                .try_for_each(|arg| at(arg, span.bottom, &user))?,
            Level::Same | Level::Below => {
                let needed = node.op.operand_level(own);
                node.op
                    .args()
                    .into_iter()
                    .try_for_each(|arg| at(arg, needed, &user))?;
            }
        }
        if matches!(node.op, Op::Input { .. }) {
            inputs.insert(own);
        }
    }
    if inputs.len() > 1 {
        return Err(format!("inputs enter at levels {inputs:?}"));
    }
    let mut outputs = graph.outputs().iter();
    outputs.try_for_each(|(name, value)| at(*value, span.bottom, &format!("output {name}")))
}

/// Every scale against those of the operands.
pub(in crate::graph) fn verify_scales(scaled: &Scaled, params: &Params) -> Check {
    let Scaled {
        graph,
        levels,
        scales,
        plain_scales,
    } = scaled;
    let same = |a: f64, b: f64| (a / b - 1.0).abs() < TOLERANCE;
    for (id, node) in graph.numbered() {
        let (facts, args) = (node.op.facts(), node.op.args());
        let operands: Vec<f64> = args.iter().map(|arg| scales[*arg]).collect();
        if let Some(at) = operands
            .windows(2)
            .position(|pair| !matches!(pair, [a, b] if same(*a, *b)))
        {
            return Err(format!(
                "{id} ({}) has operands of different scales at place {at}",
                node.op.name()
            ));
        }
        let canonical = params.scale(levels[id]).map_err(|error| error.to_string())?;
        let expected = match operands.first() {
            Some(scale) if !node.op.is_fresh() => {
                let square = if facts.relinearization == Debt::Makes {
                    *scale
                } else {
                    1.0
                };
                let divided = match facts.level {
                    Level::Below | Level::Aligned(_) => params.moduli().nth(levels[id] + 1),
                    _ => None,
                };
                scale * square * plain_scales[id] / divided.map_or(1.0, |prime| prime.value() as f64)
            }
            _ => canonical,
        };
        if !same(scales[id], expected) {
            return Err(format!(
                "{id} ({}) has scale 2^{:.6}, its operands make 2^{:.6}",
                node.op.name(),
                scales[id].log2(),
                expected.log2()
            ));
        }
    }
    Ok(())
}

/// Every node once, after its operands; groups in one piece.
pub(in crate::graph) fn verify_order(graph: &Graph, order: &[Scheduled]) -> Check {
    let mut done = PerNode::from(vec![false; graph.nodes().len()]);
    let mut groups = BTreeSet::new();
    let mut last = None;
    for Scheduled { node: id, group } in order {
        if std::mem::replace(&mut done[*id], true) {
            return Err(format!("{id} is done twice"));
        }
        if let Some(arg) = graph.node(*id).op.args().into_iter().find(|arg| !done[*arg]) {
            return Err(format!("{id} comes before {arg}, which it reads"));
        }
        if let Some(group) = group.filter(|_| *group != last)
            && !groups.insert(group)
        {
            return Err(format!("group {group} is in two pieces, the second at {id}"));
        }
        last = *group;
    }
    match done.iter().position(|done| !done) {
        Some(lost) => Err(format!("{} is never done", NodeId(lost))),
        None => Ok(()),
    }
}

/// Every value is there when it is read and freed once; every key is there at the level of its uses.
pub(in crate::graph) fn verify_plan(plan: &Plan) -> Check {
    let mut alive = PerNode::from(vec![false; plan.steps.len()]);
    for (index, step) in plan.steps.iter().enumerate() {
        let id = NodeId(index);
        if let Some(arg) = step
            .op
            .args()
            .into_iter()
            .find(|arg| arg.index() >= index || !alive[*arg])
        {
            return Err(format!(
                "{id} ({}) reads {arg}, which is not there",
                step.op.name()
            ));
        }
        alive[id] = true;
        if let Some(freed) = step
            .frees
            .iter()
            .find(|freed| !std::mem::replace(&mut alive[**freed], false))
        {
            return Err(format!(
                "{id} ({}) frees {freed}, which is not there",
                step.op.name()
            ));
        }
    }
    if let Some(port) = plan.outputs.iter().find(|port| !alive[port.value]) {
        return Err(format!("output {} is {}, which is freed", port.name, port.value));
    }
    let keys: BTreeMap<_, _> = plan.keys().iter().collect();
    for (purpose, levels) in plan.key_uses() {
        let (needed, found) = (levels.last(), keys.get(&purpose));
        if needed > found {
            let name = purpose.describe(&plan.params);
            return Err(format!(
                "the key for {name} is used at level {needed:?}, there is one of level {found:?}"
            ));
        }
    }
    Ok(())
}
