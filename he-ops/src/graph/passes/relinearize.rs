//! Lazy relinearisation: a product has three parts until somebody needs two.

use super::settle::settle_lazily;
use crate::graph::op::PerNode;
use crate::graph::{Graph, Op};

/// Inserts [`Op::Relinearize`] where operations, rescales among them, and outputs need two parts.
///
/// A sum of products is relinearised once, unless its terms are needed with two parts anyway: then their sum is free.
pub(in crate::graph) fn insert_relinearize(graph: &Graph) -> Graph {
    let never = PerNode::from(vec![false; graph.nodes().len()]);
    settle_lazily(
        graph,
        |facts| facts.relinearization,
        Op::Relinearize,
        true,
        &never,
    )
}

#[cfg(test)]
mod tests {
    use super::super::map_of_ones;
    use super::*;
    use crate::ckks::Pattern;

    #[test]
    fn a_sum_of_products_is_relinearised_once() {
        let mut g = Graph::new(8);
        let (x, y) = (g.input("x"), g.input("y"));
        let (xx, xy) = (g.square(x), g.mul(x, y));
        let i_xy = g.mul_i(xy, 1);
        let sum = g.add(xx, i_xy);
        let turned = g.rotate(sum, 2);
        g.output("out", turned);
        let text = "\
%0 = input x
%1 = input y
%2 = square %0
%3 = mul %0 %1
%4 = mul_i %3 power 1
%5 = add %2 %4
%6 = relinearize %5
%7 = rotate %6 by 2
output out = %7
";
        assert_eq!(insert_relinearize(&g).to_string(), text);
    }

    #[test]
    fn a_sum_of_products_that_are_needed_anyway_costs_nothing() {
        let mut g = Graph::new(8);
        let (x, y) = (g.input("x"), g.input("y"));
        let (xx, yy) = (g.square(x), g.square(y));
        let both = g.mul(xx, yy);
        let sum = g.add(xx, yy);
        g.output("product", both);
        g.output("sum", sum);
        let text = "\
%0 = input x
%1 = input y
%2 = square %0
%3 = square %1
%4 = relinearize %2
%5 = relinearize %3
%6 = mul %4 %5
%7 = add %4 %5
%8 = relinearize %6
output product = %8
output sum = %7
";
        assert_eq!(insert_relinearize(&g).to_string(), text);
    }
    #[test]
    fn three_parts_pass_through_sums_and_not_through_key_switches_or_weights() {
        let mut g = Graph::new(8);
        let (x, y) = (g.input("x"), g.input("y"));
        let xy = g.mul(x, y);
        let mixed = g.sub(xy, x);
        let shifted = g.add_plain(mixed, Pattern::constant(1.0).unwrap());
        let weighted = g.mul_plain(shifted, Pattern::constant(0.5).unwrap());
        let yy = g.square(y);
        let mapped = g.linear_map(&[yy], map_of_ones(2, &[&[1]]));
        let conjugate = g.conjugate(yy);
        let sum = g.add(weighted, mapped);
        let sum = g.add(sum, conjugate);
        g.output("out", sum);
        let text = "\
%0 = input x
%1 = input y
%2 = mul %0 %1
%3 = sub %2 %0
%4 = relinearize %3
%5 = add_plain %4 period 1
%6 = weighted_sum %5 period 1
%7 = square %1
%8 = relinearize %7
%9 = linear_map %8 1 diagonals, n 2
%10 = conjugate %8
%11 = add %6 %9
%12 = add %11 %10
output out = %12
";
        assert_eq!(insert_relinearize(&g).to_string(), text);
    }
}
