//! First pass: refuses what no later pass could make sense of, so that the others need not look again.

use std::collections::BTreeSet;

use crate::graph::{Graph, Op};
use crate::{Error, Result};

/// Checks sizes, operands and names.
///
/// # Errors
/// [`Error::Circuit`] for a slot count that is not a power of two, an operand of another graph, a weighted sum
/// that is empty or names an input twice, a pattern longer than the slots, no output, or two outputs of one name.
pub(in crate::graph) fn validate(graph: &Graph) -> Result<()> {
    let refuse = |reason: String| {
        Err(Error::Circuit {
            circuit: "graph",
            reason,
        })
    };
    if !graph.slots().is_power_of_two() {
        return refuse(format!("a power of two of slots needed, {} found", graph.slots()));
    }
    for (index, node) in graph.nodes().iter().enumerate() {
        if let Some(arg) = node.op.args().into_iter().find(|arg| arg.index() >= index) {
            return refuse(format!(
                "%{index} ({}) uses {arg}, which belongs to another graph",
                node.op.name()
            ));
        }
        if matches!(&node.op, Op::WeightedSum(terms) if terms.is_empty()) {
            return refuse(format!(
                "%{index} is a weighted sum of nothing; give it at least one term"
            ));
        }
        if let Op::WeightedSum(terms) = &node.op {
            let mut inputs = BTreeSet::new();
            if let Some((twice, _)) = terms.iter().find(|(input, _)| !inputs.insert(*input)) {
                return refuse(format!(
                    "%{index} is a weighted sum with two weights for {twice}; add the weights"
                ));
            }
        }
        if let Op::LinearMap(inputs, map) = &node.op
            && (inputs.len() != map.parts().len() || map.period() > graph.slots())
        {
            return refuse(format!(
                "%{index} is a linear map of {} inputs and period {} over {} values of {} slots",
                map.parts().len(),
                map.period(),
                inputs.len(),
                graph.slots()
            ));
        }
        if let Op::LinearMap(_, map) = &node.op
            && map
                .rotations()
                .iter()
                .any(|k| k.rem_euclid(graph.slots() as i64) == 0)
        {
            return refuse(format!(
                "%{index} is a linear map with {} baby steps on {} slots, and one of its rotations changes nothing",
                map.baby_steps(),
                graph.slots()
            ));
        }
        for pattern in node.op.patterns() {
            if pattern.period() > graph.slots() {
                return refuse(format!(
                    "%{index} ({}) has a pattern of period {}, the graph has {} slots",
                    node.op.name(),
                    pattern.period(),
                    graph.slots()
                ));
            }
        }
    }
    if graph.outputs().is_empty() {
        return refuse("no output; name at least one value with Graph::output".to_owned());
    }
    let mut names = BTreeSet::new();
    for (name, value) in graph.outputs() {
        if !names.insert(name) {
            return refuse(format!("two outputs are called {name}"));
        }
        if graph.op(*value).is_none() {
            return refuse(format!(
                "output {name} is {value}, which belongs to another graph"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::map_of_ones;
    use super::*;
    use crate::ckks::Pattern;
    use crate::graph::NodeId;

    #[test]
    fn bad_graphs_are_named() {
        let mut g = Graph::new(8);
        assert!(validate(&g).unwrap_err().to_string().contains("no output"));
        let x = g.input("x");
        let long = g.mul_plain(x, Pattern::real(vec![1.0; 16]).unwrap());
        g.output("y", long);
        assert!(validate(&g).unwrap_err().to_string().contains("period 16"));

        let mut other = Graph::new(8);
        let y = other.input("y");
        other.output("sum", y);
        other.output("sum", y);
        assert!(validate(&other).unwrap_err().to_string().contains("two outputs"));
        other.add(y, long);
        let text = validate(&other).unwrap_err().to_string();
        assert!(text.contains("another graph"), "{text}");
    }
    /// What is said of a graph with the input %0 and what `body` adds; %1, if it adds something, is an output.
    fn refused(slots: usize, body: impl FnOnce(&mut Graph, NodeId)) -> String {
        let mut g = Graph::new(slots);
        let x = g.input("x");
        body(&mut g, x);
        g.output("y", NodeId(g.nodes().len() - 1));
        validate(&g).map_or_else(|error| error.to_string(), |()| "accepted".to_owned())
    }

    #[test]
    fn every_refusal_says_what_is_wrong() {
        let weight = Pattern::constant(0.5).unwrap();
        let long = Pattern::real(vec![1.0; 16]).unwrap();
        assert_eq!(refused(8, |_, _| ()), "accepted");
        assert_eq!(
            refused(12, |_, _| ()),
            "graph: a power of two of slots needed, 12 found"
        );
        assert_eq!(
            refused(8, |g, _| {
                g.weighted_sum([]);
            }),
            "graph: %1 is a weighted sum of nothing; give it at least one term"
        );
        assert_eq!(
            refused(8, |g, x| {
                g.weighted_sum([(x, weight.clone()), (x, weight.clone())]);
            }),
            "graph: %1 is a weighted sum with two weights for %0; add the weights"
        );
        assert_eq!(
            refused(8, |g, x| {
                g.add_plain(x, long.clone());
            }),
            "graph: %1 (add_plain) has a pattern of period 16, the graph has 8 slots"
        );
        assert_eq!(
            refused(8, |g, x| {
                g.linear_map(&[x], map_of_ones(2, &[&[0], &[1]]));
            }),
            "graph: %1 is a linear map of 2 inputs and period 1 over 1 values of 8 slots"
        );
        assert_eq!(
            refused(8, |g, x| {
                g.add(x, NodeId(7));
            }),
            "graph: %1 (add) uses %7, which belongs to another graph"
        );
        assert_eq!(
            refused(8, |g, _| g.output("z", NodeId(7))),
            "graph: output z is %7, which belongs to another graph"
        );
    }
}
