//! Levels, as low as possible: every value lives at the lowest level that its users allow.
//!
//! Evaluation keys shrink quadratically with the level at which they are used, and so does the time of a key switch;
//! so work that can wait until the level is low, waits.

use crate::graph::{Graph, Op};

/// For each node, the level of its result: outputs at 0, a rescale one level below its operand, inputs all at the top.
pub(in crate::graph) fn assign_levels(graph: &Graph) -> Vec<usize> {
    let mut levels = vec![0_usize; graph.nodes().len()];
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        let own = levels.get(index).copied().unwrap_or(0);
        let needed = match node.op {
            Op::Rescale(_) => own + 1,
            _ => own,
        };
        for arg in node.op.args() {
            if let Some(level) = levels.get_mut(arg.index()) {
                *level = needed.max(*level);
            }
        }
    }
    let is_input = |op: &Op| matches!(op, Op::Input { .. });
    let tops = graph
        .nodes()
        .iter()
        .zip(&levels)
        .filter(|(node, _)| is_input(&node.op));
    let top = tops.map(|(_, level)| *level).max().unwrap_or(0);
    for (node, level) in graph.nodes().iter().zip(&mut levels) {
        if is_input(&node.op) {
            *level = top;
        }
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::super::insert_rescale;
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
        let levels = assign_levels(&g);
        let text: String = g
            .to_string()
            .lines()
            .zip(&levels)
            .map(|(line, level)| format!("{level}: {line}\n"))
            .collect();
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
        assert_eq!(text, expected);
    }
}
