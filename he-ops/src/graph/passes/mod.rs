//! The passes of the compiler, in the order in which they run; each rewrites or annotates a whole graph.

mod dead_code;
mod depth;
mod fuse;
mod hoist;
mod keys;
mod levels;
mod liveness;
mod place;
mod relinearize;
mod rescale;
mod scales;
mod validate;

pub(super) use dead_code::remove_dead_code;
pub(super) use depth::{check_depth, depth};
pub(super) use fuse::fuse_relinearize_rescale;
pub(super) use hoist::schedule;
pub(super) use keys::{Keys, collect_keys, settle_keys};
pub(super) use levels::{Span, assign_levels};
pub(super) use liveness::last_uses;
pub(super) use place::{place_bootstraps, remove_cuts};
pub(super) use relinearize::insert_relinearize;
pub(super) use rescale::insert_rescale;
pub(super) use scales::{Scaled, assign_scales};
pub(super) use validate::validate;

use super::{Graph, NodeId, Op};

/// True where the product of a pass would be owed by more than one user anyway: some user, directly or through
/// operations that pass the debt on, needs `settled(op)` operands.
fn forced(graph: &Graph, needs_settled: impl Fn(&Op) -> bool, lazy: &[bool]) -> Vec<bool> {
    let mut forced = vec![false; graph.nodes().len()];
    let mark = |id: NodeId, forced: &mut Vec<bool>| {
        if let Some(flag) = forced.get_mut(id.index()) {
            *flag = true;
        }
    };
    for (_, value) in graph.outputs() {
        mark(*value, &mut forced);
    }
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        let passes_on = matches!(node.op, Op::Negate(_) | Op::MulI(..) | Op::AddPlain(..))
            && forced.get(index).copied().unwrap_or(false);
        let needs = needs_settled(&node.op) && !lazy.get(index).copied().unwrap_or(false);
        if passes_on || needs {
            for arg in node.op.args() {
                mark(arg, &mut forced);
            }
        }
    }
    forced
}

/// What a debt-settling pass knows of a node of the old graph.
#[derive(Debug, Clone, Copy)]
struct Value {
    /// The node in the new graph, as it was computed.
    raw: NodeId,
    /// It owes a relinearisation or a rescale.
    owes: bool,
    /// Some user needs it settled, so the settled form exists anyway.
    forced: bool,
}

/// The engine of [`insert_relinearize`] and [`insert_rescale`]: products owe something (`makes_debt`), some operations
/// need operands that owe nothing (`needs_settled`), sums pass debts on, so that a sum of products settles once.
///
/// A sum settles its operands first only when that is free: both are needed settled elsewhere.
/// `mixed_sums` says whether a value that owes and one that does not may be added as they are; `lazy` marks nodes that
/// pass debts on although their operation would need settled operands.
fn settle_lazily(
    graph: &Graph,
    needs_settled: impl Fn(&Op) -> bool,
    makes_debt: impl Fn(&Op) -> bool,
    pays: impl Fn(NodeId) -> Op,
    mixed_sums: bool,
    lazy: &[bool],
) -> Graph {
    let forced = forced(graph, &needs_settled, lazy);
    let mut out = graph.successor();
    let mut values: Vec<Value> = Vec::with_capacity(graph.nodes().len());
    for (index, (node, forced)) in graph.nodes().iter().zip(forced).enumerate() {
        let known = |id: NodeId, values: &[Value]| values.get(id.index()).copied();
        let args: Vec<Value> = node
            .op
            .args()
            .into_iter()
            .filter_map(|id| known(id, &values))
            .collect();
        let settle = |value: &Value, out: &mut Graph| {
            if value.owes {
                let label = out
                    .nodes()
                    .get(value.raw.index())
                    .map_or(node.label, |made| made.label);
                out.push_as(pays(value.raw), label)
            } else {
                value.raw
            }
        };
        let is_sum = matches!(node.op, Op::Add(..) | Op::Sub(..));
        let settle_args = if needs_settled(&node.op) {
            !lazy.get(index).copied().unwrap_or(false)
        } else if is_sum {
            args.iter().all(|arg| !arg.owes || arg.forced)
                || (!mixed_sums && args.iter().any(|arg| !arg.owes))
        } else {
            // Operations on one operand: settle before if the settled form is there anyway.
            args.iter().all(|arg| arg.forced)
        };
        let mut operands = args.iter().map(|arg| {
            if settle_args {
                settle(arg, &mut out)
            } else {
                arg.raw
            }
        });
        let operands: Vec<NodeId> = operands.by_ref().collect();
        let mut next = operands.into_iter();
        let op = node.op.map_args(|old| next.next().unwrap_or(old));
        let owes = makes_debt(&op) || (!settle_args && args.iter().any(|arg| arg.owes));
        let raw = out.push_as(op, node.label);
        values.push(Value { raw, owes, forced });
    }
    for (name, value) in graph.outputs() {
        if let Some(value) = values.get(value.index()) {
            let id = if value.owes {
                out.push_as(pays(value.raw), label_of(&out, value.raw))
            } else {
                value.raw
            };
            out.output(name, id);
        }
    }
    out
}

fn label_of(graph: &Graph, id: NodeId) -> usize {
    graph.nodes().get(id.index()).map_or(0, |node| node.label)
}

/// The text of a graph with a note before the line of each node, for the tests of the passes.
#[cfg(test)]
fn annotated<T: std::fmt::Display>(graph: &Graph, notes: impl IntoIterator<Item = T>) -> String {
    let text = graph.to_string();
    let lines = text.lines().zip(notes);
    lines.map(|(line, note)| format!("{note}: {line}\n")).collect()
}

/// A map with diagonals of ones at these offsets, one list for each input.
#[cfg(test)]
fn map_of_ones(baby_steps: usize, offsets: &[&[i64]]) -> std::sync::Arc<crate::ckks::SlotMap> {
    use crate::ckks::{Pattern, SlotMap};
    let one = Pattern::constant(1.0).unwrap();
    let part = |offsets: &&[i64]| offsets.iter().map(|k| (*k, one.clone())).collect();
    std::sync::Arc::new(SlotMap::new(baby_steps, offsets.iter().map(part).collect()).unwrap())
}
