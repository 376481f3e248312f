//! Order of the steps: as the circuits wrote them, but all rotations of one value together, so that they share one
//! decomposition (hoisting).

use std::collections::BTreeMap;

use crate::graph::{Graph, NodeId, Op};

/// One node in its place, with the hoisted group that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::graph) struct Scheduled {
    pub node: NodeId,
    /// Groups are numbered from 0; the members of a group follow one another. None for a rotation on its own.
    pub group: Option<usize>,
}

/// Puts every node in an order in which operands come first and rotations of one source follow one another.
pub(in crate::graph) fn schedule(graph: &Graph) -> Vec<Scheduled> {
    let mut siblings: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        if let Op::Rotate(source, _) = node.op {
            siblings.entry(source).or_default().push(NodeId::new(index));
        }
    }
    let mut order = Vec::with_capacity(graph.nodes().len());
    let mut groups = 0;
    for (index, node) in graph.nodes().iter().enumerate() {
        match node.op {
            // Taken out at the first of them; the others find nothing.
            Op::Rotate(source, _) => {
                let members = siblings.remove(&source).unwrap_or_default();
                let group = (members.len() > 1).then_some(groups);
                groups += usize::from(group.is_some());
                order.extend(members.into_iter().map(|node| Scheduled { node, group }));
            }
            _ => order.push(Scheduled { node: NodeId::new(index), group: None }),
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotations_of_one_source_come_together() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let a = g.rotate(x, 1);
        let b = g.add(a, x);
        let c = g.rotate(b, 2);
        let d = g.rotate(x, 2);
        let e = g.add(c, d);
        g.output("e", e);
        let order: Vec<_> = schedule(&g).iter().map(|step| (step.node.to_string(), step.group)).collect();
        let expected =
            [("%0", None), ("%1", Some(0)), ("%4", Some(0)), ("%2", None), ("%3", None), ("%5", None)];
        assert_eq!(order, expected.map(|(id, group)| (id.to_owned(), group)));
    }
}
