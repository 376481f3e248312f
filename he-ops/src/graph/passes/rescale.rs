//! Lazy rescaling: a product has the square of the scale until somebody needs the scale itself.

use super::settle::settle_lazily;
use crate::graph::facts::Debt;
use crate::graph::op::PerNode;
use crate::graph::{Graph, Node, NodeId, Op};

/// Inserts [`Op::Rescale`] where operations and outputs need a rescaled operand.
///
/// A sum of products is rescaled once; the relinearisation that it needs before is the next pass. Rotations come after
/// the rescale: they are cheaper, and their keys smaller, with one prime fewer. The exception are Horner chains,
/// rot(a) + b with products a and b: there one more prime costs less than one more rescale.
pub(in crate::graph) fn insert_rescale(graph: &Graph) -> Graph {
    settle_lazily(graph, |facts| facts.rescale, Op::Rescale, false, &deferred(graph))
}

/// Rotations of a product that nobody else reads, into sums with other products.
fn deferred(graph: &Graph) -> PerNode<bool> {
    // The operations that read a value; none for an output, which needs a rescaled value as a product does.
    let mut users: PerNode<Vec<Option<&Op>>> = PerNode::from(vec![Vec::new(); graph.nodes().len()]);
    for node in graph.nodes() {
        node.op
            .args()
            .into_iter()
            .for_each(|arg| users[arg].push(Some(&node.op)));
    }
    graph
        .outputs()
        .iter()
        .for_each(|(_, value)| users[*value].push(None));
    // Optimistic: what could owe a rescale if every rotation were deferred. A wrong guess costs a rescale, no more.
    let mut could_owe: PerNode<bool> = PerNode::new();
    for node in graph.nodes() {
        let args = node.op.args();
        could_owe.push(match node.op.facts().rescale {
            Debt::Makes => true,
            Debt::Refuses | Debt::Pays => false,
            Debt::Passes | Debt::Defers => !args.is_empty() && args.iter().all(|arg| could_owe[*arg]),
        });
    }
    let into_sums = |id: NodeId| {
        let owing_sum = |op: &Option<&Op>| matches!(op, Some(Op::Add(a, b) | Op::Sub(a, b)) if a != b && could_owe[*a] && could_owe[*b]);
        !users[id].is_empty() && users[id].iter().all(owing_sum)
    };
    let defers = |(id, node): (NodeId, &Node)| {
        node.op.facts().rescale == Debt::Defers
            && node
                .op
                .args()
                .iter()
                .all(|arg| could_owe[*arg] && users[*arg].len() == 1)
            && into_sums(id)
    };
    graph.numbered().map(defers).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{insert_relinearize, map_of_ones};
    use super::*;
    use crate::ckks::Pattern;
    use crate::graph::facts::owing;

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

    #[test]
    fn a_horner_chain_is_rescaled_once_and_an_inner_sum_before_it_starts() {
        let weight = |w| Pattern::constant(w).unwrap();
        let mut g = Graph::new(8);
        let x = g.input("x");
        let [a, b] = [0.5, 0.25].map(|w| g.mul_plain(x, weight(w)));
        let turned = g.rotate(a, 2);
        let sum = g.add(turned, b);
        let again = g.rotate(sum, 1);
        let sum = g.add(sum, again);
        g.output("out", sum);
        let text = "\
%0 = input x
%1 = weighted_sum %0 period 1
%2 = weighted_sum %0 period 1
%3 = rotate %1 by 2
%4 = add %3 %2
%5 = rescale %4
%6 = rotate %5 by 1
%7 = add %5 %6
output out = %7
";
        assert_eq!(insert_rescale(&g).to_string(), text);
    }
    #[test]
    fn a_product_that_is_needed_rescaled_is_rescaled_once_for_all_users() {
        let mut g = Graph::new(8);
        let (x, y) = (g.input("x"), g.input("y"));
        let xy = g.mul(x, y);
        let turned = g.rotate(xy, 1);
        let mapped = g.linear_map(&[xy], map_of_ones(2, &[&[1]]));
        // Nothing is owed by a linear map or a bootstrap.
        let sum = g.add(turned, mapped);
        let fresh = g.bootstrap(sum);
        let half = g.mul_plain(xy, Pattern::constant(0.5).unwrap());
        let half = g.mul_i(half, 1);
        g.output("fresh", fresh);
        g.output("half", half);
        let text = "\
%0 = input x
%1 = input y
%2 = mul %0 %1
%3 = rescale %2
%4 = rotate %3 by 1
%5 = linear_map %3 1 diagonals, n 2
%6 = add %4 %5
%7 = bootstrap %6
%8 = weighted_sum %3 period 1
%9 = rescale %8
%10 = mul_i %9 power 1
output fresh = %7
output half = %10
";
        let out = insert_rescale(&g);
        assert_eq!(out.to_string(), text);
        let pending = owing(out.nodes().iter().map(|node| &node.op), |facts| facts.rescale);
        let owes: Vec<usize> = (0..out.nodes().len()).filter(|i| pending[NodeId(*i)]).collect();
        assert_eq!(owes, [2, 8]);
    }
}
