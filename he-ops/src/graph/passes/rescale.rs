//! Lazy rescaling: a product has the square of the scale until somebody needs the scale itself.

use super::settle_lazily;
use crate::graph::{Graph, Op};

/// Inserts [`Op::Rescale`] where products, weighted sums, rotations, conjugations and outputs need a rescaled operand.
///
/// Rotations come after the rescale: they are cheaper, and their keys smaller, with one prime fewer. A sum of products is
/// rescaled once; the relinearisation that it needs before is the next pass.
pub(in crate::graph) fn insert_rescale(graph: &Graph) -> Graph {
    settle_lazily(
        graph,
        |op| matches!(op, Op::Mul(..) | Op::Rotate(..) | Op::Conjugate(_) | Op::WeightedSum(_)),
        |op| matches!(op, Op::Mul(..) | Op::WeightedSum(_)),
        Op::Rescale,
        false,
    )
}

/// For each node, whether it still owes a rescale: its scale is the square of the canonical one.
pub(super) fn pending(graph: &Graph) -> Vec<bool> {
    let mut pending: Vec<bool> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        pending.push(match &node.op {
            Op::Mul(..) | Op::WeightedSum(_) => true,
            Op::Rescale(_) => false,
            op => op.args().first().and_then(|arg| pending.get(arg.index())).copied().unwrap_or(false),
        });
    }
    pending
}

#[cfg(test)]
mod tests {
    use super::super::insert_relinearize;
    use super::*;
    use crate::ckks::Pattern;

    #[test]
    fn sums_share_one_rescale_after_one_relinearisation() {
        let mut g = Graph::new(8);
        let (x, y) = (g.input("x"), g.input("y"));
        let product = g.mul(x, y);
        let weighted = g.mul_plain(x, Pattern::constant(0.5).unwrap());
        let sum = g.add(product, weighted);
        let sum = g.add_plain(sum, Pattern::constant(1.0).unwrap());
        let sum = g.add(sum, y);
        g.output("out", sum);
        let text = "\
%0 = input x
%1 = input y
%2 = mul %0 %1
%3 = weighted_sum %0 period 1
%4 = add %2 %3
%5 = relinearize %4
%6 = add_plain %5 period 1
%7 = rescale %6
%8 = add %7 %1
output out = %8
";
        assert_eq!(insert_relinearize(&insert_rescale(&g)).to_string(), text);
    }
}
