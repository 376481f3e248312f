//! Levels, as low as possible: every value lives at the lowest level that its users allow.
//!
//! Evaluation keys shrink quadratically with the level at which they are used, and so does the time of a key switch;
//! so work that can wait until the level is low, waits.

use crate::graph::op::PerNode;
use crate::graph::{Graph, Op};

/// The levels of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::graph) struct Span {
    /// Of outputs and of the operands of bootstraps: no value lives below.
    pub bottom: usize,
    /// Of the results of bootstraps.
    pub top: usize,
}

/// For each node, the level of its result: outputs and operands of bootstraps at the bottom, a rescale or a linear map one
/// level below its operands, bootstraps at the top of the span, inputs all at the level that the first of them needs.
pub(in crate::graph) fn assign_levels(graph: &Graph, span: Span) -> PerNode<usize> {
    let mut levels = PerNode::from(vec![span.bottom; graph.nodes().len()]);
    for (id, node) in graph.numbered().rev() {
        let needed = if node.op.is_fresh() {
            levels[id] = span.top;
            span.bottom
        } else {
            node.op.operand_level(levels[id])
        };
        for arg in node.op.args() {
            levels[arg] = needed.max(levels[arg]);
        }
    }
    let inputs = || {
        graph
            .numbered()
            .filter(|(_, node)| matches!(node.op, Op::Input { .. }))
    };
    if let Some(top) = inputs().map(|(id, _)| levels[id]).max() {
        inputs().for_each(|(id, _)| levels[id] = top);
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::super::{annotated, insert_rescale, map_of_ones};
    use super::*;

    #[test]
    fn work_waits_until_the_level_is_low() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let turned = g.rotate(x, 1);
        let mut power = x;
        for _ in 0..3 {
            power = g.square(power);
        }
        let sum = g.add(power, turned);
        g.output("out", sum);
        let g = insert_rescale(&g);
        let levels = assign_levels(&g, Span::default());
        let expected = "\
3: %0 = input x
0: %1 = rotate %0 by 1
3: %2 = square %0
2: %3 = rescale %2
2: %4 = square %3
1: %5 = rescale %4
1: %6 = square %5
0: %7 = rescale %6
0: %8 = add %7 %1
";
        assert_eq!(annotated(&g, levels.iter()), expected);
    }

    #[test]
    fn parts_between_bootstraps_have_their_own_levels() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let y = g.square(x);
        let fresh = g.bootstrap(y);
        let turned = g.rotate(fresh, 1);
        let z = g.square(fresh);
        let z = g.square(z);
        let sum = g.add(z, turned);
        g.output("out", sum);
        let g = insert_rescale(&g);
        let levels = assign_levels(&g, Span { bottom: 2, top: 7 });
        let expected = "\
3: %0 = input x
3: %1 = square %0
2: %2 = rescale %1
7: %3 = bootstrap %2
2: %4 = rotate %3 by 1
4: %5 = square %3
3: %6 = rescale %5
3: %7 = square %6
2: %8 = rescale %7
2: %9 = add %8 %4
";
        assert_eq!(annotated(&g, levels.iter()), expected);
    }
    #[test]
    fn a_linear_map_is_one_level_below_its_operands_and_all_inputs_enter_together() {
        let mut g = Graph::new(8);
        let (x, y) = (g.input("x"), g.input("y"));
        let map = map_of_ones(2, &[&[1]]);
        let once = g.linear_map(&[x], map.clone());
        let twice = g.linear_map(&[once], map);
        let sum = g.add(twice, y);
        g.output("out", sum);
        let levels = assign_levels(&g, Span { bottom: 1, top: 5 });
        let expected = "\
3: %0 = input x
3: %1 = input y
2: %2 = linear_map %0 1 diagonals, n 2
1: %3 = linear_map %2 1 diagonals, n 2
1: %4 = add %3 %1
";
        assert_eq!(annotated(&g, levels.iter()), expected);
    }
}
