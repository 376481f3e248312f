//! Debts of products: how relinearisations and rescales wait until somebody needs them.

use crate::graph::facts::{Debt, Facts};
use crate::graph::op::PerNode;
use crate::graph::{Graph, NodeId, Op};

/// True where the product of a pass would be owed by more than one user anyway: some user, directly or through
/// operations that pass the debt on, needs settled operands.
fn forced(graph: &Graph, debt: fn(&Facts) -> Debt, lazy: &PerNode<bool>) -> PerNode<bool> {
    let mut forced = PerNode::from(vec![false; graph.nodes().len()]);
    graph
        .outputs()
        .iter()
        .for_each(|(_, value)| forced[*value] = true);
    for (id, node) in graph.numbered().rev() {
        let (args, own) = (node.op.args(), debt(&node.op.facts()));
        let passes_on = own == Debt::Passes && args.len() == 1 && forced[id];
        if passes_on || (own.needs_settled() && !lazy[id]) {
            args.into_iter().for_each(|arg| forced[arg] = true);
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

/// The engine of [`insert_relinearize`](super::insert_relinearize) and [`insert_rescale`](super::insert_rescale): products
/// owe something, some operations need operands that owe nothing, sums pass debts on, so that a sum of products settles
/// once. `debt` is what the facts of an operation say of the one that is to be settled.
///
/// A sum settles its operands first only when that is free: both are needed settled elsewhere.
/// `mixed_sums` says whether a value that owes and one that does not may be added as they are; `lazy` marks nodes that
/// pass debts on although their operation would need settled operands.
pub(super) fn settle_lazily(
    graph: &Graph,
    debt: fn(&Facts) -> Debt,
    pays: fn(NodeId) -> Op,
    mixed_sums: bool,
    lazy: &PerNode<bool>,
) -> Graph {
    let forced = forced(graph, debt, lazy);
    let mut out = graph.successor();
    let mut values: PerNode<Value> = PerNode::new();
    let settle = |value: Value, out: &mut Graph| {
        if value.owes {
            let label = out.node(value.raw).label;
            out.push_as(pays(value.raw), label)
        } else {
            value.raw
        }
    };
    for (id, node) in graph.numbered() {
        let args: Vec<Value> = node.op.args().into_iter().map(|arg| values[arg]).collect();
        let own = debt(&node.op.facts());
        let settle_args = if own.needs_settled() {
            !lazy[id]
        } else if args.len() > 1 {
            args.iter().all(|arg| !arg.owes || arg.forced)
                || (!mixed_sums && args.iter().any(|arg| !arg.owes))
        } else {
            // Operations on one operand: settle before if the settled form is there anyway.
            args.iter().all(|arg| arg.forced)
        };
        let op = node.op.map_args(|arg| {
            if settle_args {
                settle(values[arg], &mut out)
            } else {
                values[arg].raw
            }
        });
        let owes = own == Debt::Makes || (!settle_args && args.iter().any(|arg| arg.owes));
        let raw = out.push_as(op, node.label);
        let forced = forced[id];
        values.push(Value { raw, owes, forced });
    }
    for (name, value) in graph.outputs() {
        let id = settle(values[*value], &mut out);
        out.output(name, id);
    }
    out
}
