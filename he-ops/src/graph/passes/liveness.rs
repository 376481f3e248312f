//! When a value may be freed: after the last step that reads it.

use crate::graph::op::PerNode;
use crate::graph::{NodeId, Op};

/// For each step, the values that no later step and no output reads. `ops` are the steps in order, with operands
/// named by step.
pub(in crate::graph) fn last_uses(ops: &[&Op], outputs: &[NodeId]) -> PerNode<Vec<NodeId>> {
    let mut last: PerNode<Option<NodeId>> = PerNode::from(vec![None; ops.len()]);
    for (step, op) in ops.iter().enumerate() {
        for arg in op.args() {
            last[arg] = Some(NodeId(step));
        }
    }
    let mut frees = PerNode::from(vec![Vec::new(); ops.len()]);
    for (value, step) in last.iter().enumerate() {
        let value = NodeId(value);
        if let Some(step) = *step
            && !outputs.contains(&value)
        {
            frees[step].push(value);
        }
    }
    frees
}

#[cfg(test)]
mod tests {
    use super::super::annotated;
    use super::*;
    use crate::graph::Graph;

    #[test]
    fn values_go_after_their_last_reader_and_outputs_stay() {
        let id = NodeId;
        let ops = [
            Op::Input { name: "x".to_owned() },
            Op::Rotate(id(0), 1),
            Op::Add(id(0), id(1)),
            Op::Negate(id(2)),
        ];
        let ops: Vec<&Op> = ops.iter().collect();
        assert_eq!(
            last_uses(&ops, &[id(2), id(3)]),
            vec![vec![], vec![], vec![id(0), id(1)], vec![]].into()
        );
    }
    #[test]
    fn what_nobody_reads_is_not_freed_and_what_is_read_twice_is_freed_once() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let square = g.square(x);
        g.input("unread");
        let turned = g.rotate(square, 1);
        let sum = g.add(turned, square);
        let sum = g.add(sum, x);
        g.output("sum", sum);
        let ops: Vec<&Op> = g.nodes().iter().map(|node| &node.op).collect();
        let frees = last_uses(&ops, &[sum]);
        let names = |ids: &Vec<NodeId>| ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ");
        let text = "\
frees []: %0 = input x
frees []: %1 = square %0
frees []: %2 = input unread
frees []: %3 = rotate %1 by 1
frees [%1 %3]: %4 = add %3 %1
frees [%0 %4]: %5 = add %4 %0
";
        let notes = frees.iter().map(|ids| format!("frees [{}]", names(ids)));
        assert_eq!(annotated(&g, notes), text);
    }
}
