//! Lazy rescaling: a product has the square of the scale until somebody needs the scale itself.

use super::settle_lazily;
use crate::graph::{Graph, NodeId, Op};

/// Inserts [`Op::Rescale`] where products, weighted sums, rotations, conjugations, bootstraps and outputs need a
/// rescaled operand.
///
/// A sum of products is rescaled once; the relinearisation that it needs before is the next pass. Rotations come after
/// the rescale: they are cheaper, and their keys smaller, with one prime fewer. The exception are Horner chains,
/// rot(a) + b with products a and b: there one more prime costs less than one more rescale.
pub(in crate::graph) fn insert_rescale(graph: &Graph) -> Graph {
    settle_lazily(
        graph,
        |op| {
            matches!(
                op,
                Op::Mul(..)
                    | Op::Rotate(..)
                    | Op::Conjugate(_)
                    | Op::Bootstrap(_)
                    | Op::WeightedSum(_)
                    | Op::LinearMap(..)
            )
        },
        |op| matches!(op, Op::Mul(..) | Op::WeightedSum(_)),
        Op::Rescale,
        false,
        &deferred(graph),
    )
}

/// Rotations of a product that nobody else reads, into sums with other products.
fn deferred(graph: &Graph) -> Vec<bool> {
    let count = graph.nodes().len();
    let mut users: Vec<Vec<&Op>> = vec![Vec::new(); count];
    for node in graph.nodes() {
        for arg in node.op.args() {
            if let Some(list) = users.get_mut(arg.index()) {
                list.push(&node.op);
            }
        }
    }
    for (_, value) in graph.outputs() {
        // An output needs a rescaled value, as a product does.
        if let (Some(list), Some(op)) = (users.get_mut(value.index()), graph.op(*value)) {
            list.push(op);
        }
    }
    // Optimistic: what could owe a rescale if every rotation were deferred. A wrong guess costs a rescale, no more.
    let mut could_owe: Vec<bool> = Vec::with_capacity(count);
    for node in graph.nodes() {
        let all_owe = node
            .op
            .args()
            .iter()
            .all(|arg| could_owe.get(arg.index()).copied().unwrap_or(false));
        could_owe.push(match node.op {
            Op::Mul(..) | Op::WeightedSum(_) => true,
            Op::Input { .. } | Op::Conjugate(_) | Op::Bootstrap(_) | Op::LinearMap(..) => false,
            _ => all_owe,
        });
    }
    let owes = |id: &NodeId| could_owe.get(id.index()).copied().unwrap_or(false);
    let into_sums = |index: usize| {
        let sums = users.get(index).map(Vec::as_slice).unwrap_or_default();
        !sums.is_empty()
            && sums
                .iter()
                .all(|op| matches!(op, Op::Add(a, b) | Op::Sub(a, b) if a != b && owes(a) && owes(b)))
    };
    let read_once = |id: &NodeId| users.get(id.index()).is_some_and(|list| list.len() == 1);
    let nodes = graph.nodes().iter().enumerate();
    nodes.map(|(index, node)| matches!(&node.op, Op::Rotate(a, _) if owes(a) && read_once(a) && into_sums(index))).collect()
}

/// For each node, whether it still owes a rescale: its scale is the square of the canonical one.
pub(super) fn pending(graph: &Graph) -> Vec<bool> {
    let mut pending: Vec<bool> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        pending.push(match &node.op {
            Op::Mul(..) | Op::WeightedSum(_) => true,
            Op::Rescale(_) | Op::RelinearizeRescale(_) | Op::Bootstrap(_) | Op::LinearMap(..) => false,
            op => op
                .args()
                .first()
                .and_then(|arg| pending.get(arg.index()))
                .copied()
                .unwrap_or(false),
        });
    }
    pending
}

#[cfg(test)]
mod tests {
    use super::super::{insert_relinearize, map_of_ones};
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
        let owes: Vec<usize> = (0..out.nodes().len()).filter(|i| pending(&out)[*i]).collect();
        assert_eq!(owes, [2, 8]);
    }
}
