//! Exact scales: one canonical scale per level, so that any two values of a level can be added.
//!
//! The canonical scales S_l are those of [`Params::scale`]: S_{l-1} = S_l^2 / q_l, which is what a product of two
//! canonical values has after its rescale. A value made at a higher level than it is used at has a foreign scale:
//! a weighted sum takes the ratio into the scale of its plaintexts, at no cost; anything else gets one [`Op::Align`],
//! shared by all users at that level.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::rescale::pending;
use crate::graph::{Graph, NodeId, Op};
use crate::rlwe::Params;
use crate::{Error, Result};

/// A graph in which every operand has the level and the scale that its operation needs.
#[derive(Debug, Clone)]
pub(in crate::graph) struct Scaled {
    pub graph: Graph,
    /// Level of each result.
    pub levels: Vec<usize>,
    /// Scale of each result.
    pub scales: Vec<f64>,
    /// Scale at which the plaintext of a weighted sum or of an alignment is encoded; 1 elsewhere.
    pub plain_scales: Vec<f64>,
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

    fn at(&self, id: NodeId) -> Result<(usize, f64, usize)> {
        match (
            self.levels.get(id.index()),
            self.scales.get(id.index()),
            self.graph.nodes().get(id.index()),
        ) {
            (Some(level), Some(scale), Some(node)) => Ok((*level, *scale, node.label)),
            _ => Err(Error::Circuit {
                circuit: "assign_scales",
                reason: format!("{id} is not computed yet"),
            }),
        }
    }
}

/// Inserts drops and alignments (outputs and operands of bootstraps end at level `bottom`), splits weighted sums by the scale of their inputs, and computes every scale.
///
/// # Errors
/// [`Error::Level`] when the parameters have fewer levels than the graph needs.
pub(in crate::graph) fn assign_scales(
    graph: &Graph,
    levels: &[usize],
    bottom: usize,
    params: &Params,
) -> Result<Scaled> {
    let top = levels.iter().copied().max().unwrap_or(0);
    if top > params.max_level() {
        return Err(Error::Level {
            op: "compile",
            needed: top,
            found: params.max_level(),
        });
    }
    let pending = pending(graph);
    let mut out = Scaled {
        graph: graph.successor(),
        levels: vec![],
        scales: vec![],
        plain_scales: vec![],
    };
    let mut map: Vec<NodeId> = Vec::with_capacity(levels.len());
    for ((node, &level), &owes) in graph.nodes().iter().zip(levels).zip(&pending) {
        let canonical = params.scale(level)?;
        let product = canonical * canonical;
        let moved = |id: NodeId| map.get(id.index()).copied().unwrap_or(id);
        let id = match &node.op {
            Op::WeightedSum(terms) => weighted_sum(&mut out, terms, moved, node.label, level, product)?,
            op @ (Op::Rescale(a) | Op::RelinearizeRescale(a)) => {
                let above = params.scale(level + 1)?;
                let operand = align(&mut out, moved(*a), level + 1, above * above, params)?;
                out.push(op.map_args(|_| operand), node.label, level, canonical, 1.0)
            }
            Op::LinearMap(inputs, map) => {
                let inputs: Vec<NodeId> = inputs.iter().map(|arg| moved(*arg)).collect();
                let (operands, scale) = operands_of_map(&mut out, &inputs, level + 1, params)?;
                let prime = params.moduli().nth(level + 1).map_or(1.0, |q| q.value() as f64);
                let op = Op::LinearMap(operands, Arc::clone(map));
                out.push(op, node.label, level, canonical, canonical * prime / scale)
            }
            Op::Bootstrap(a) => {
                let operand = align(&mut out, moved(*a), bottom, params.scale(bottom)?, params)?;
                out.push(Op::Bootstrap(operand), node.label, level, canonical, 1.0)
            }
            op => {
                // A product has canonical operands; everything else has operands of its own scale.
                let scale = if owes { product } else { canonical };
                let needed = if matches!(op, Op::Mul(..)) {
                    canonical
                } else {
                    scale
                };
                let mut operands = Vec::new();
                for arg in op.args() {
                    operands.push(align(&mut out, moved(arg), level, needed, params)?);
                }
                let mut next = operands.into_iter();
                let op = op.map_args(|arg| next.next().unwrap_or(arg));
                out.push(op, node.label, level, scale, 1.0)
            }
        };
        map.push(id);
    }
    for (name, value) in graph.outputs() {
        let value = map.get(value.index()).copied().unwrap_or(*value);
        let (level, _, _) = out.at(value)?;
        let value = if level == bottom {
            value
        } else {
            align(&mut out, value, bottom, params.scale(bottom)?, params)?
        };
        out.graph.output(name, value);
    }
    Ok(out)
}

/// `value` at exactly this level and scale.
fn align(out: &mut Scaled, value: NodeId, level: usize, scale: f64, params: &Params) -> Result<NodeId> {
    let (found_level, found_scale, label) = out.at(value)?;
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
    let above = params.moduli().nth(level + 1).map_or(1.0, |q| q.value() as f64);
    Ok(out.push(
        Op::Align(value, level),
        label,
        level,
        scale,
        scale * above / found_scale,
    ))
}

/// The operands of a linear map at its level, all with one scale: any scale will do, since that of the weights makes up
/// for it.
fn operands_of_map(
    out: &mut Scaled,
    inputs: &[NodeId],
    level: usize,
    params: &Params,
) -> Result<(Vec<NodeId>, f64)> {
    let mut made_at = BTreeSet::new();
    for id in inputs {
        made_at.insert(out.at(*id)?.0);
    }
    let mut operands = Vec::with_capacity(inputs.len());
    let canonical = params.scale(level)?;
    if made_at.len() > 1 {
        for id in inputs {
            operands.push(align(out, *id, level, canonical, params)?);
        }
        return Ok((operands, canonical));
    }
    let mut scale = canonical;
    for id in inputs {
        let (made_at, own, label) = out.at(*id)?;
        scale = own;
        operands.push(match made_at {
            same if same == level => *id,
            _ => out.push(Op::DropLevel(*id, level), label, level, own, 1.0),
        });
    }
    Ok((operands, scale))
}

/// One weighted sum per scale of the inputs, all with the same product scale, and their sum.
fn weighted_sum(
    out: &mut Scaled,
    terms: &[(NodeId, crate::ckks::Pattern)],
    moved: impl Fn(NodeId) -> NodeId,
    label: usize,
    level: usize,
    product: f64,
) -> Result<NodeId> {
    // Keyed by the level at which the input was made, highest first; equal levels have equal scales.
    let mut groups: BTreeMap<std::cmp::Reverse<usize>, Vec<_>> = BTreeMap::new();
    for (id, pattern) in terms {
        let id = moved(*id);
        let (made_at, _, _) = out.at(id)?;
        groups
            .entry(std::cmp::Reverse(made_at))
            .or_default()
            .push((id, pattern.clone()));
    }
    let mut sum = None;
    for terms in groups.into_values() {
        let mut dropped = Vec::with_capacity(terms.len());
        let mut plain_scale = 1.0;
        for (id, pattern) in terms {
            let (made_at, scale, made_label) = out.at(id)?;
            plain_scale = product / scale;
            let low = match made_at {
                same if same == level => id,
                _ => out.push(Op::DropLevel(id, level), made_label, level, scale, 1.0),
            };
            dropped.push((low, pattern));
        }
        let part = out.push(Op::WeightedSum(dropped), label, level, product, plain_scale);
        sum = Some(match sum {
            None => part,
            Some(sum) => out.push(Op::Add(sum, part), label, level, product, 1.0),
        });
    }
    sum.ok_or(Error::Circuit {
        circuit: "assign_scales",
        reason: "a weighted sum of nothing".to_owned(),
    })
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
        let nodes = out.graph.nodes().iter().zip(&out.scales).zip(&out.plain_scales);
        for ((node, scale), plain_scale) in nodes {
            let of = |id: &NodeId| (out.levels[id.index()], out.scales[id.index()]);
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
        let notes = out.levels.iter().zip(&out.scales);
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
        let error = assign_scales(&g, &[5], 0, &params()).unwrap_err().to_string();
        assert!(error.contains("level 5 needed, level 4 found"), "{error}");
    }
}
