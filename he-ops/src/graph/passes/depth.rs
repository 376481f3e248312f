//! The depth of the parts into which bootstraps cut a graph, and where the levels of a part run out.

use super::dead_code::live;
use crate::graph::op::PerNode;
use crate::graph::{Graph, NodeId, Op};
use crate::{Error, Result};

/// For each node, the levels taken since the inputs and the bootstraps before it: every product takes one, at the latest
/// when its result is needed rescaled.
fn depths(graph: &Graph) -> PerNode<usize> {
    let mut depths: PerNode<usize> = PerNode::new();
    for node in graph.nodes() {
        let before = node.op.args().into_iter().map(|arg| depths[arg]).max();
        depths.push(match before {
            Some(before) if !node.op.is_fresh() => before + node.op.levels(),
            _ => 0,
        });
    }
    depths
}

/// The deepest end of a part, in words, with its value: an output or the operand of a bootstrap that is not dead.
fn deepest(graph: &Graph, depths: &PerNode<usize>) -> Option<(String, NodeId)> {
    let live = live(graph);
    let bootstraps = graph.numbered().filter_map(|(id, node)| match node.op {
        Op::Bootstrap(a) if live[id] => Some((format!("bootstrap {id}"), a)),
        _ => None,
    });
    let outputs = graph.outputs().iter();
    let outputs = outputs.map(|(name, value)| (format!("output {name}"), *value));
    // The first of the deepest.
    bootstraps
        .chain(outputs)
        .rev()
        .max_by_key(|(_, value)| depths[*value])
}

/// Levels that the deepest part takes: from an input or a bootstrap to a bootstrap or an output.
pub(in crate::graph) fn depth(graph: &Graph) -> usize {
    let depths = depths(graph);
    // A graph without outputs takes none.
    deepest(graph, &depths).map_or(0, |(_, value)| depths[value])
}

/// Refuses a graph with a part deeper than the levels that there are, and says where a bootstrap is missing.
///
/// # Errors
/// [`Error::Circuit`] with both depths and with the last value of the deepest path that can be bootstrapped.
pub(in crate::graph) fn check_depth(graph: &Graph, available: usize) -> Result<()> {
    let depths = depths(graph);
    let Some((end, value)) = deepest(graph, &depths).filter(|(_, value)| depths[*value] > available) else {
        return Ok(());
    };
    // Back along the deepest path, to where the levels are just used up.
    let mut last = value;
    while depths[last] > available {
        let args = graph.node(last).op.args();
        match args.into_iter().max_by_key(|arg| depths[*arg]) {
            Some(arg) => last = arg,
            None => break,
        }
    }
    let node = graph.node(last);
    let label = graph.label_of(node);
    Err(Error::Circuit {
        circuit: "graph",
        reason: format!(
            "{} levels needed on the way to {end}, {available} available; put a bootstrap on {last} ({}; {} | {}), where \
             the levels run out, or before it",
            depths[value],
            node.op.name(),
            label.layer,
            label.op
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{annotated, map_of_ones};
    use super::*;
    use crate::ckks::Pattern;

    /// x^(2^count).
    fn powers(g: &mut Graph, x: NodeId, count: usize) -> NodeId {
        (0..count).fold(x, |x, _| g.square(x))
    }

    #[test]
    fn a_bootstrap_starts_a_new_part() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let y = powers(&mut g, x, 3);
        let fresh = g.bootstrap(y);
        let z = powers(&mut g, fresh, 2);
        g.output("z", z);
        let dead = powers(&mut g, z, 5);
        g.bootstrap(dead);
        assert_eq!(depth(&g), 3);
        assert_eq!(check_depth(&g, 3), Ok(()));
        // A value from before the bootstrap that is read after it takes the levels of both parts.
        let sum = g.scope("layer1", "residual", |g| {
            let sum = g.add(y, z);
            powers(g, sum, 2)
        });
        g.output("sum", sum);
        assert_eq!(depth(&g), 5);
    }

    #[test]
    fn the_missing_bootstrap_has_a_place() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let y = g.scope("layer0", "activation", |g| powers(g, x, 2));
        let z = g.scope("layer1", "activation", |g| powers(g, y, 3));
        let turned = g.rotate(z, 1);
        g.output("z", turned);
        let text = check_depth(&g, 3).unwrap_err().to_string();
        let expected = "graph: 5 levels needed on the way to output z, 3 available; put a bootstrap on %3 (square; \
                        layer1 | activation), where the levels run out, or before it";
        assert_eq!(text, expected);
        let fresh = g.bootstrap(turned);
        g.output("fresh", fresh);
        let text = check_depth(&g, 3).unwrap_err().to_string();
        assert!(text.contains("on the way to bootstrap %7"), "{text}");
    }
    #[test]
    fn only_products_take_levels() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let turned = g.rotate(x, 1);
        let conjugate = g.conjugate(turned);
        let sum = g.add(conjugate, x);
        let mapped = g.linear_map(&[sum, x], map_of_ones(2, &[&[0, 1], &[3]]));
        let product = g.mul(mapped, x);
        let weighted = g.mul_plain(product, Pattern::constant(0.5).unwrap());
        let y = g.negate(weighted);
        g.output("y", y);
        let text = "\
0: %0 = input x
0: %1 = rotate %0 by 1
0: %2 = conjugate %1
0: %3 = add %2 %0
1: %4 = linear_map %3 %0 3 diagonals, n 2
2: %5 = mul %4 %0
3: %6 = weighted_sum %5 period 1
3: %7 = negate %6
";
        assert_eq!(annotated(&g, depths(&g).iter()), text);
        assert_eq!(depth(&g), 3);
    }
}
