//! Drops every node that no output needs.

use crate::graph::Graph;
use crate::graph::op::PerNode;

/// For each node, whether some output needs it.
pub(super) fn live(graph: &Graph) -> PerNode<bool> {
    let mut live = PerNode::from(vec![false; graph.nodes().len()]);
    for (_, value) in graph.outputs() {
        live[*value] = true;
    }
    for (id, node) in graph.numbered().rev() {
        if live[id] {
            node.op.args().into_iter().for_each(|arg| live[arg] = true);
        }
    }
    live
}

/// The same graph without values that nobody reads.
pub(in crate::graph) fn remove_dead_code(graph: &Graph) -> Graph {
    let live = live(graph);
    graph.rewritten(|out, id, node, named| live[id].then(|| out.push_as(node.op.map_args(named), node.label)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_values_go() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        g.input("unused");
        g.square(x);
        let y = g.rotate(x, 1);
        g.output("y", y);
        assert_eq!(
            remove_dead_code(&g).to_string(),
            "%0 = input x\n%1 = rotate %0 by 1\noutput y = %1\n"
        );
    }
    #[test]
    fn what_an_output_needs_stays_in_its_order_with_its_label() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let dead = g.bootstrap(x);
        let y = g.scope("layer0", "kept", |g| g.add(x, x));
        g.add(dead, y);
        g.output("y", y);
        g.output("x", x);
        g.output("again", y);
        let before = "\
%0 = input x
%1 = bootstrap %0
%2 = add %0 %0
%3 = add %1 %2
output y = %2
output x = %0
output again = %2
";
        let after = "\
%0 = input x
%1 = add %0 %0
output y = %1
output x = %0
output again = %1
";
        assert_eq!(g.to_string(), before);
        let g = remove_dead_code(&g);
        assert_eq!(g.to_string(), after);
        let labels: Vec<&str> = g
            .nodes()
            .iter()
            .filter_map(|node| Some(g.label(node)?.op.as_str()))
            .collect();
        assert_eq!(labels, ["input", "kept"]);
    }
}
