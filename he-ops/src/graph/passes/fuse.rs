//! Relinearisation and rescale in one division.

use crate::graph::op::PerNode;
use crate::graph::{Graph, Op};

/// Makes one [`Op::RelinearizeRescale`] of a relinearisation that is read by nothing but a rescale: a quarter of the
/// transforms fewer, and one rounding instead of two. Negations, powers of i and constants between the two move before
/// them, to three parts.
pub(in crate::graph) fn fuse_relinearize_rescale(graph: &Graph) -> Graph {
    let fused = fused(graph);
    graph.rewritten(|out, id, node, named| {
        Some(match node.op {
            Op::Relinearize(a) if fused[id] => named(a),
            Op::Rescale(a) if fused[id] => out.push_as(Op::RelinearizeRescale(named(a)), node.label),
            ref op => out.push_as(op.map_args(named), node.label),
        })
    })
}

/// For each node, whether it is a relinearisation or a rescale that becomes part of a fused one.
fn fused(graph: &Graph) -> PerNode<bool> {
    let mut readers = PerNode::from(vec![0_usize; graph.nodes().len()]);
    let read = graph.nodes().iter().flat_map(|node| node.op.args());
    for id in read.chain(graph.outputs().iter().map(|(_, value)| *value)) {
        readers[id] += 1;
    }
    let mut fused = PerNode::from(vec![false; graph.nodes().len()]);
    for (id, node) in graph.numbered() {
        let Op::Rescale(mut operand) = node.op else {
            continue;
        };
        while readers[operand] == 1 {
            match graph.node(operand).op {
                Op::Negate(a) | Op::MulI(a, _) | Op::AddPlain(a, _) => operand = a,
                Op::Relinearize(_) => {
                    (fused[operand], fused[id]) = (true, true);
                    break;
                }
                _ => break,
            }
        }
    }
    fused
}

#[cfg(test)]
mod tests {
    use super::super::{insert_relinearize, insert_rescale};
    use super::*;
    use crate::ckks::Pattern;

    fn lowered(g: &Graph) -> String {
        fuse_relinearize_rescale(&insert_relinearize(&insert_rescale(g))).to_string()
    }

    #[test]
    fn constants_move_before_the_division() {
        let mut g = Graph::new(8);
        let (x, y) = (g.input("x"), g.input("y"));
        let product = g.mul(x, y);
        let weighted = g.mul_plain(x, Pattern::constant(0.5).unwrap());
        let sum = g.add(product, weighted);
        let shifted = g.add_plain(sum, Pattern::constant(1.0).unwrap());
        let z = g.add(shifted, y);
        g.output("z", z);
        let text = "\
%0 = input x
%1 = input y
%2 = mul %0 %1
%3 = weighted_sum %0 period 1
%4 = add %2 %3
%5 = add_plain %4 period 1
%6 = relinearize_rescale %5
%7 = add %6 %1
output z = %7
";
        assert_eq!(lowered(&g), text);
    }

    #[test]
    fn a_relinearisation_with_another_reader_stays() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let square = g.push_as(Op::Mul(x, x), 0);
        let two_parts = g.push_as(Op::Relinearize(square), 0);
        let low = g.push_as(Op::Rescale(two_parts), 0);
        let turned = g.push_as(Op::Rotate(two_parts, 1), 0);
        let turned_low = g.push_as(Op::Rescale(turned), 0);
        g.output("low", low);
        g.output("turned", turned_low);
        assert_eq!(fuse_relinearize_rescale(&g).to_string(), g.to_string());
    }
}
