//! Drops every node that no output needs.

use crate::graph::{Graph, NodeId};

/// For each node, whether some output needs it.
pub(super) fn live(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.nodes().len()];
    let mut work: Vec<NodeId> = graph.outputs().iter().map(|(_, value)| *value).collect();
    while let Some(id) = work.pop() {
        if let (Some(flag), Some(op)) = (live.get_mut(id.index()), graph.op(id))
            && !std::mem::replace(flag, true)
        {
            work.extend(op.args());
        }
    }
    live
}

/// The same graph without values that nobody reads.
pub(in crate::graph) fn remove_dead_code(graph: &Graph) -> Graph {
    let mut out = graph.successor();
    let mut map = vec![NodeId::new(0); graph.nodes().len()];
    let moved = |id: NodeId, map: &[NodeId]| map.get(id.index()).copied().unwrap_or(id);
    for (index, (node, live)) in graph.nodes().iter().zip(live(graph)).enumerate() {
        if live {
            let id = out.push_as(node.op.map_args(|arg| moved(arg, &map)), node.label);
            if let Some(slot) = map.get_mut(index) {
                *slot = id;
            }
        }
    }
    for (name, value) in graph.outputs() {
        out.output(name, moved(*value, &map));
    }
    out
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
