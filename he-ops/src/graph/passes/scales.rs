//! Exact scales: one canonical scale per level, so that any two values of a level can be added.
//!
//! The canonical scales S_l are those of [`Params::scale`]: S_{l-1} = S_l^2 / q_l, which is what a product of two
//! canonical values has after its rescale. A value made at a higher level than it is used at has a foreign scale:
//! a weighted sum takes the ratio into the scale of its plaintexts, at no cost; anything else gets one [`Op::Align`],
//! shared by all users at that level.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ckks::Pattern;
use crate::graph::facts::{Debt, owing};
use crate::graph::op::PerNode;
use crate::graph::{Graph, NodeId, Op};
use crate::rlwe::Params;
use crate::{Error, Result};

/// A graph in which every operand has the level and the scale that its operation needs.
#[derive(Debug, Clone)]
pub(in crate::graph) struct Scaled {
    pub graph: Graph,
    /// Level of each result.
    pub levels: PerNode<usize>,
    /// Scale of each result.
    pub scales: PerNode<f64>,
    /// Scale at which the plaintext of a weighted sum, of a linear map or of an alignment is encoded; 1 elsewhere.
    pub plain_scales: PerNode<f64>,
}

impl Scaled {
    fn push(&mut self, op: Op, label: usize, level: usize, scale: f64, plain_scale: f64) -> NodeId {
        let id = self.graph.push_as(op, label);
        if id.index() == self.levels.len() {
            self.levels.push(level);
            self.scales.push(scale);
            self.plain_scales.push(plain_scale);
        }
        id
    }

    fn label(&self, id: NodeId) -> usize {
        self.graph.node(id).label
    }

    /// `value` on fewer primes, its scale as it is.
    fn dropped(&mut self, value: NodeId, level: usize) -> NodeId {
        if self.levels[value] == level {
            return value;
        }
        let (label, scale) = (self.label(value), self.scales[value]);
        self.push(Op::DropLevel(value, level), label, level, scale, 1.0)
    }

    /// `value` at exactly this level and scale.
    fn aligned(&mut self, value: NodeId, level: usize, scale: f64, params: &Params) -> Result<NodeId> {
        let (found_level, found_scale) = (self.levels[value], self.scales[value]);
        if found_level == level {
            return Ok(value);
        }
        if found_level < level {
            return Err(Error::Level {
                op: "assign_scales",
                needed: level,
                found: found_level,
            });
        }
        let plain_scale = scale * prime(params, level + 1)? / found_scale;
        let label = self.label(value);
        Ok(self.push(Op::Align(value, level), label, level, scale, plain_scale))
    }

    /// The operands of a linear map at its level, all with one scale: any scale will do, since that of the weights makes
    /// up for it.
    fn operands_of_map(&mut self, inputs: &[NodeId], level: usize, params: &Params) -> Result<Vec<NodeId>> {
        let made_at: BTreeSet<usize> = inputs.iter().map(|id| self.levels[*id]).collect();
        if made_at.len() == 1 {
            return Ok(inputs.iter().map(|id| self.dropped(*id, level)).collect());
        }
        let canonical = params.scale(level)?;
        inputs
            .iter()
            .map(|id| self.aligned(*id, level, canonical, params))
            .collect()
    }

    /// One weighted sum per scale of the inputs, all with the same product scale, and their sum.
    fn weighted_sum(
        &mut self,
        terms: Vec<(NodeId, Pattern)>,
        label: usize,
        level: usize,
        product: f64,
    ) -> Option<NodeId> {
        // Keyed by the level at which the input was made, highest first; equal levels have equal scales.
        let mut groups: BTreeMap<Reverse<usize>, Vec<_>> = BTreeMap::new();
        for (id, pattern) in terms {
            groups
                .entry(Reverse(self.levels[id]))
                .or_default()
                .push((id, pattern));
        }
        let mut sum = None;
        for terms in groups.into_values() {
            let plain_scale = product / self.scales[terms.first()?.0];
            let low = terms
                .into_iter()
                .map(|(id, pattern)| (self.dropped(id, level), pattern));
            let low = low.collect();
            let part = self.push(Op::WeightedSum(low), label, level, product, plain_scale);
            sum = Some(match sum {
                None => part,
                Some(sum) => self.push(Op::Add(sum, part), label, level, product, 1.0),
            });
        }
        sum
    }
}

fn nothing(id: NodeId) -> Error {
    Error::Pass {
        pass: "assign_scales",
        reason: format!("{id} has no operands"),
    }
}

fn prime(params: &Params, level: usize) -> Result<f64> {
    let prime = params.moduli().nth(level).ok_or(Error::Level {
        op: "assign_scales",
        needed: level,
        found: params.max_level(),
    })?;
    Ok(prime.value() as f64)
}

/// Inserts drops and alignments (outputs and operands of bootstraps end at level `bottom`), splits weighted sums by the scale of their inputs, and computes every scale.
///
/// # Errors
/// [`Error::Level`] when the parameters have fewer levels than the graph needs.
pub(in crate::graph) fn assign_scales(
    graph: &Graph,
    levels: &PerNode<usize>,
    bottom: usize,
    params: &Params,
) -> Result<Scaled> {
    if let Some(top) = levels
        .iter()
        .copied()
        .max()
        .filter(|top| *top > params.max_level())
    {
        return Err(Error::Level {
            op: "compile",
            needed: top,
            found: params.max_level(),
        });
    }
    let pending = owing(graph.nodes().iter().map(|node| &node.op), |facts| facts.rescale);
    let mut out = Scaled {
        graph: graph.successor(),
        levels: PerNode::new(),
        scales: PerNode::new(),
        plain_scales: PerNode::new(),
    };
    let mut named: PerNode<NodeId> = PerNode::new();
    for (id, node) in graph.numbered() {
        let level = levels[id];
        let canonical = params.scale(level)?;
        let product = canonical * canonical;
        let id = match &node.op {
            Op::WeightedSum(terms) => {
                let terms = terms.iter().map(|(id, pattern)| (named[*id], pattern.clone()));
                let sum = out.weighted_sum(terms.collect(), node.label, level, product);
                sum.ok_or_else(|| nothing(id))?
            }
            op @ (Op::Rescale(a) | Op::RelinearizeRescale(a)) => {
                let above = params.scale(level + 1)?;
                let operand = out.aligned(named[*a], level + 1, above * above, params)?;
                out.push(op.map_args(|_| operand), node.label, level, canonical, 1.0)
            }
            Op::LinearMap(inputs, map) => {
                let inputs: Vec<NodeId> = inputs.iter().map(|arg| named[*arg]).collect();
                let operands = out.operands_of_map(&inputs, level + 1, params)?;
                let first = *operands.first().ok_or_else(|| nothing(id))?;
                let plain_scale = canonical * prime(params, level + 1)? / out.scales[first];
                let op = Op::LinearMap(operands, Arc::clone(map));
                out.push(op, node.label, level, canonical, plain_scale)
            }
            Op::Bootstrap(a) => {
                let operand = out.aligned(named[*a], bottom, params.scale(bottom)?, params)?;
                out.push(Op::Bootstrap(operand), node.label, level, canonical, 1.0)
            }
            op => {
                // A product has canonical operands; everything else has operands of its own scale.
                let scale = if pending[id] { product } else { canonical };
                let makes = op.facts().rescale == Debt::Makes;
                let needed = if makes { canonical } else { scale };
                let mut refused = Ok(());
                let op = op.map_args(|arg| match out.aligned(named[arg], level, needed, params) {
                    Ok(operand) => operand,
                    Err(error) => {
                        refused = Err(error);
                        arg
                    }
                });
                refused?;
                out.push(op, node.label, level, scale, 1.0)
            }
        };
        named.push(id);
    }
    for (name, value) in graph.outputs() {
        let value = out.aligned(named[*value], bottom, params.scale(bottom)?, params)?;
        out.graph.output(name, value);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::{Span, annotated, assign_levels, insert_relinearize, insert_rescale, map_of_ones};
    use super::*;
    use crate::ckks::Pattern;
    use crate::rlwe::ParamsLiteral;

    fn params() -> Params {
        Params::new_INSECURE(&ParamsLiteral {
            log_n: 9,
            log_q: vec![45, 35, 35, 35, 35],
            log_p: vec![45, 45],
            log_scale: 35,
        })
        .unwrap()
    }

    /// The scale of a value by name: S2 is the canonical one of level 2.
    fn name(scale: f64, params: &Params) -> String {
        let same = |other: f64| (scale / other - 1.0).abs() < 1e-12;
        (0..=params.max_level())
            .find_map(|l| {
                let own = params.scale(l).unwrap();
                (same(own).then(|| format!("S{l}  "))).or_else(|| same(own * own).then(|| format!("S{l}^2")))
            })
            .unwrap_or_else(|| format!("2^{:.3}", scale.log2()))
    }

    /// The pass on a graph as it comes from the passes before it, with the level and the scale of each value. What the
    /// scale of the plaintexts does is checked as well.
    fn scaled(g: &Graph, span: Span) -> (String, Scaled) {
        let params = params();
        let g = insert_relinearize(&insert_rescale(g));
        let out = assign_scales(&g, &assign_levels(&g, span), span.bottom, &params).unwrap();
        let nodes = out
            .graph
            .nodes()
            .iter()
            .zip(out.scales.iter())
            .zip(out.plain_scales.iter());
        for ((node, scale), plain_scale) in nodes {
            let of = |id: &NodeId| (out.levels[*id], out.scales[*id]);
            let prime = |level: usize| params.moduli().nth(level).unwrap().value() as f64;
            for arg in node.op.args() {
                let (level, own) = of(&arg);
                let found = match &node.op {
                    Op::WeightedSum(_) => own * plain_scale,
                    Op::LinearMap(..) => own * plain_scale / prime(level),
                    Op::Align(_, to) => own * plain_scale / prime(to + 1),
                    _ => continue,
                };
                assert!((found / scale - 1.0).abs() < 1e-12, "{:?}", node.op);
            }
        }
        let notes = out.levels.iter().zip(out.scales.iter());
        let notes = notes.map(|(level, scale)| format!("{level} {}", name(*scale, &params)));
        (annotated(&out.graph, notes), out)
    }

    #[test]
    fn weights_take_a_foreign_scale_and_everything_else_is_aligned_once() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let square = g.square(x);
        let fourth = g.square(square);
        let half = g.mul_plain(x, Pattern::constant(0.5).unwrap());
        let sum = g.add(fourth, half);
        let sum = g.add(sum, x);
        let twice = g.sub(sum, x);
        g.output("y", twice);
        let (text, _) = scaled(&g, Span::default());
        let expected = "\
2 S2  : %0 = input x
2 S2^2: %1 = square %0
2 S2^2: %2 = relinearize %1
1 S1  : %3 = rescale %2
1 S1^2: %4 = square %3
1 S2  : %5 = drop_level %0 to 1
1 S1^2: %6 = weighted_sum %5 period 1
1 S1^2: %7 = add %4 %6
1 S1^2: %8 = relinearize %7
0 S0  : %9 = rescale %8
0 S0  : %10 = align %0 to 0
0 S0  : %11 = add %9 %10
0 S0  : %12 = sub %11 %10
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_weighted_sum_of_inputs_of_two_scales_is_two_sums() {
        let weight = Pattern::constant(0.5).unwrap();
        let mut g = Graph::new(8);
        let (x, y) = (g.input("x"), g.input("y"));
        let square = g.square(x);
        let sum = g.weighted_sum([(x, weight.clone()), (square, weight.clone()), (y, weight)]);
        g.output("sum", sum);
        let (text, _) = scaled(&g, Span::default());
        let expected = "\
2 S2  : %0 = input x
2 S2  : %1 = input y
2 S2^2: %2 = square %0
2 S2^2: %3 = relinearize %2
1 S1  : %4 = rescale %3
1 S2  : %5 = drop_level %0 to 1
1 S2  : %6 = drop_level %1 to 1
1 S1^2: %7 = weighted_sum %5 %6 period 1
1 S1^2: %8 = weighted_sum %4 period 1
1 S1^2: %9 = add %7 %8
0 S0  : %10 = rescale %9
";
        assert_eq!(text, expected);
    }

    #[test]
    fn linear_maps_take_any_one_scale() {
        let map = |count: usize| map_of_ones(2, &vec![[0, 1].as_slice(); count]);
        let mut g = Graph::new(8);
        let x = g.input("x");
        let square = g.square(x);
        let once = g.linear_map(&[square], map(1));
        let low = g.linear_map(&[x], map(1));
        let both = g.linear_map(&[x, once], map(2));
        g.output("low", low);
        g.output("both", both);
        let (text, _) = scaled(&g, Span::default());
        let expected = "\
3 S3  : %0 = input x
3 S3^2: %1 = square %0
3 S3^2: %2 = relinearize %1
2 S2  : %3 = rescale %2
1 S1  : %4 = linear_map %3 2 diagonals, n 2
1 S3  : %5 = drop_level %0 to 1
0 S0  : %6 = linear_map %5 2 diagonals, n 2
1 S1  : %7 = align %0 to 1
0 S0  : %8 = linear_map %7 %4 4 diagonals, n 2
";
        assert_eq!(text, expected);
    }

    #[test]
    fn operands_of_bootstraps_and_outputs_are_canonical_at_the_bottom() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let square = g.square(x);
        let fresh = g.bootstrap(x);
        let product = g.mul(fresh, square);
        g.output("product", product);
        g.output("x", x);
        let (text, out) = scaled(&g, Span { bottom: 1, top: 3 });
        let expected = "\
3 S3  : %0 = input x
3 S3^2: %1 = square %0
1 S1  : %2 = align %0 to 1
3 S3  : %3 = bootstrap %2
3 S3^2: %4 = relinearize %1
2 S2  : %5 = rescale %4
2 S2  : %6 = align %3 to 2
2 S2^2: %7 = mul %6 %5
2 S2^2: %8 = relinearize %7
1 S1  : %9 = rescale %8
";
        assert_eq!(text, expected);
        // The operand of the bootstrap serves as the output as well.
        let ends: Vec<String> = out
            .graph
            .outputs()
            .iter()
            .map(|(_, value)| value.to_string())
            .collect();
        assert_eq!(ends, ["%9", "%2"]);
    }

    #[test]
    fn too_few_levels_are_named() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        g.output("x", x);
        let error = assign_scales(&g, &vec![5].into(), 0, &params())
            .unwrap_err()
            .to_string();
        assert!(error.contains("level 5 needed, level 4 found"), "{error}");
    }
}
