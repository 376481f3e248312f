//! Where to bootstrap: the cheapest choice among the cuts that the circuits offer.
//!
//! Cuts stand in the order of the graph. With `best(j)` the least cost of everything up to cut j, its bootstraps
//! included,
//!
//! best(j) = min_i best(i) + work(i, j) + bootstraps(j)
//!
//! over the cuts i from which j can be reached with the levels that a bootstrap leaves. The work between two cuts is
//! priced at the levels at which it would run: as low as possible.

use std::collections::BTreeSet;

use crate::graph::op::PerNode;
use crate::graph::{Graph, NodeId, Op};
use crate::{Error, Result};

/// Cost, in any unit, of an operation whose result has this many levels left above the bottom.
type Price<'a> = &'a dyn Fn(&Op, usize) -> f64;

/// Values of one cut.
struct Cut {
    number: u32,
    /// Positions of the first and of the last of its nodes.
    first: usize,
    last: usize,
    values: usize,
}

/// What a step of the dynamic programme knows of a cut, or of the outputs.
#[derive(Clone, Copy)]
struct Best {
    cost: f64,
    /// The cut before it; none for the inputs.
    before: Option<usize>,
}

/// Turns the cuts of a graph into bootstraps, `available` levels apart at the most, or into nothing. Bootstraps that are
/// in the graph already stay; without cuts there is nothing to choose, and whether they suffice is for
/// [`check_depth`](super::check_depth) to say.
///
/// # Errors
/// [`Error::Circuit`] when two neighbouring cuts are further apart than that, with both numbers and the place.
#[expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "cuts are counted from 0, and a way leads to a cut through cuts before it that are reached"
)]
pub(in crate::graph) fn place_bootstraps(graph: &Graph, available: usize, price: Price<'_>) -> Result<Graph> {
    let cuts = cuts(graph);
    if cuts.is_empty() {
        return Ok(remove_cuts(graph));
    }
    let bootstrap = price(&Op::Bootstrap(NodeId(0)), available);
    // Everything up to and including a cut; the levels missing on the way to it if it cannot be reached.
    let mut best: Vec<std::result::Result<Best, usize>> = Vec::with_capacity(cuts.len() + 1);
    let ends = cuts.iter().map(Some).chain([None]);
    for (target, end) in ends.enumerate() {
        let own = end.map_or(0.0, |cut| cut.values as f64 * bootstrap);
        let (reached, missing) = Stretch::new(graph, end).reach(graph, &cuts[..target], available, price);
        let ways = reached.into_iter().filter_map(|(before, work)| {
            let start = match before {
                None => 0.0,
                Some(cut) => best[cut].ok()?.cost,
            };
            let cost = start + work + own;
            cost.is_finite().then_some(Best { cost, before })
        });
        // The first of the cheapest.
        let found = ways.min_by(|a, b| a.cost.total_cmp(&b.cost));
        best.push(found.ok_or(missing));
    }
    let mut at = match best[cuts.len()] {
        Ok(best) => best,
        Err(missing) => {
            let mut stuck = best
                .iter()
                .zip(&cuts)
                .filter_map(|(best, cut)| Some((Some(cut), best.err()?)));
            let (end, needed) = stuck.next().unwrap_or((None, missing));
            return Err(too_far(graph, end, needed, available));
        }
    };
    let mut chosen = BTreeSet::new();
    while let Some(cut) = at.before {
        chosen.insert(cuts[cut].number);
        at = best[cut].expect("reached");
    }
    Ok(replace_cuts(graph, &chosen))
}

/// The graph without its cuts, for a leveled plan.
pub(in crate::graph) fn remove_cuts(graph: &Graph) -> Graph {
    replace_cuts(graph, &BTreeSet::new())
}

/// The cuts in the order of the graph.
fn cuts(graph: &Graph) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = Vec::new();
    for (id, node) in graph.numbered() {
        let Op::Cut(_, number) = node.op else { continue };
        match cuts.iter_mut().rfind(|cut| cut.number == number) {
            Some(cut) => {
                cut.last = id.index();
                cut.values += 1;
            }
            None => cuts.push(Cut {
                number,
                first: id.index(),
                last: id.index(),
                values: 1,
            }),
        }
    }
    cuts
}

/// The way back from a target: levels that every value must have above it.
struct Stretch {
    /// One more than the position of the last node that may be needed.
    until: usize,
    needs: PerNode<Option<usize>>,
}

impl Stretch {
    /// From a cut, or from the outputs.
    fn new(graph: &Graph, target: Option<&Cut>) -> Self {
        let mut needs = PerNode::from(vec![None; graph.nodes().len()]);
        match target {
            Some(cut) => {
                for node in graph.nodes().iter().take(cut.last + 1).skip(cut.first) {
                    node.op.args().into_iter().for_each(|arg| needs[arg] = Some(0));
                }
            }
            None => graph
                .outputs()
                .iter()
                .for_each(|(_, value)| needs[*value] = Some(0)),
        }
        let until = target.map_or(graph.nodes().len(), |cut| cut.first);
        Stretch { until, needs }
    }

    /// Cuts (`None`: the inputs) from which the target can be reached, with the cost of the way; and the levels that
    /// the nearest one would have needed.
    fn reach(
        mut self,
        graph: &Graph,
        earlier: &[Cut],
        available: usize,
        price: Price<'_>,
    ) -> (Vec<(Option<usize>, f64)>, usize) {
        let mut reached = Vec::new();
        let mut nearest = None;
        let mut work = 0.0;
        let mut position = self.until;
        for (number, cut) in earlier.iter().enumerate().rev() {
            work += self.back_to(graph, cut.last + 1, &mut position, available, price);
            let deepest = self.deepest(cut.first, cut.last + 1);
            let nearest = *nearest.get_or_insert(deepest);
            if deepest > available {
                return (reached, nearest);
            }
            reached.push((Some(number), work));
        }
        work += self.back_to(graph, 0, &mut position, available, price);
        let deepest = self.deepest(0, self.until);
        if deepest <= available {
            reached.push((None, work));
        }
        (reached, nearest.unwrap_or(deepest))
    }

    /// The most levels that a value between two positions must have, none if none is needed.
    fn deepest(&self, from: usize, to: usize) -> usize {
        let needs = self.needs.iter().take(to).skip(from).flatten();
        needs.fold(0, |deepest, own| deepest.max(*own))
    }

    /// Passes the needs of all values from `position` down to `stop` on to their operands; the cost of what is passed,
    /// infinite where a bootstrap of the graph leaves too few levels.
    fn back_to(
        &mut self,
        graph: &Graph,
        stop: usize,
        position: &mut usize,
        available: usize,
        price: Price<'_>,
    ) -> f64 {
        let mut work = 0.0;
        while *position > stop {
            *position -= 1;
            let id = NodeId(*position);
            let Some(own) = self.needs[id] else {
                continue;
            };
            let op = &graph.node(id).op;
            work += price(op, own);
            let operands = if !op.is_fresh() {
                own + op.levels()
            } else if own <= available {
                0
            } else {
                work = f64::INFINITY;
                0
            };
            for arg in op.args() {
                self.needs[arg] = self.needs[arg].max(Some(operands));
            }
        }
        work
    }
}

/// `end` is the first cut that cannot be reached, or the outputs; `needed` levels lead to it from the nearest.
fn too_far(graph: &Graph, end: Option<&Cut>, needed: usize, available: usize) -> Error {
    let place = end.map_or("the outputs".to_owned(), |cut| {
        let label = graph.label_of(graph.node(NodeId(cut.first)));
        format!("{} | {}", label.layer, label.op)
    });
    Error::Circuit {
        circuit: "graph",
        reason: format!(
            "{needed} levels needed between two places for a bootstrap, on the way to {place}; {available} available: \
             offer another place (Graph::cut), or use polynomials of lower degree"
        ),
    }
}

/// The cuts of these numbers become bootstraps, the others their operands.
fn replace_cuts(graph: &Graph, chosen: &BTreeSet<u32>) -> Graph {
    graph.rewritten(|out, _, node, named| {
        Some(match node.op {
            Op::Cut(a, number) if chosen.contains(&number) => {
                out.push_as(Op::Bootstrap(named(a)), node.label)
            }
            Op::Cut(a, _) => named(a),
            ref op => out.push_as(op.map_args(named), node.label),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(op: &Op, _: usize) -> f64 {
        match op {
            Op::Bootstrap(_) => 100.0,
            Op::Mul(..) => 1.0,
            _ => 0.0,
        }
    }

    fn powers(g: &mut Graph, x: NodeId, count: usize) -> NodeId {
        (0..count).fold(x, |x, _| g.square(x))
    }

    #[test]
    fn the_narrow_cut_is_taken() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let y = powers(&mut g, x, 2);
        let turned = g.rotate(y, 1);
        let wide = g.cut(&[y, turned]);
        let z = g.mul(wide[0], wide[1]);
        let narrow = g.cut(&[z]);
        let z = powers(&mut g, narrow[0], 2);
        g.output("z", z);
        let text = "\
%0 = input x
%1 = square %0
%2 = square %1
%3 = rotate %2 by 1
%4 = mul %2 %3
%5 = bootstrap %4
%6 = square %5
%7 = square %6
output z = %7
";
        assert_eq!(place_bootstraps(&g, 3, &price).unwrap().to_string(), text);
        // With two levels the wide cut is needed; with one there is no way.
        let placed = place_bootstraps(&g, 2, &price).unwrap().to_string();
        assert_eq!(placed.matches("bootstrap").count(), 3, "{placed}");
        let text = place_bootstraps(&g, 1, &price).unwrap_err().to_string();
        assert!(text.contains("2 levels needed"), "{text}");
        // With all five levels there is nothing to do.
        assert_eq!(
            place_bootstraps(&g, 5, &price).unwrap().to_string(),
            remove_cuts(&g).to_string()
        );
    }

    #[test]
    fn a_bootstrap_that_is_there_already_counts() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let y = powers(&mut g, x, 3);
        let fresh = g.bootstrap(y);
        let z = powers(&mut g, fresh, 2);
        let cut = g.cut(&[z]);
        let z = powers(&mut g, cut[0], 1);
        g.output("z", z);
        let placed = place_bootstraps(&g, 3, &price).unwrap().to_string();
        assert_eq!(placed, remove_cuts(&g).to_string());
        let placed = place_bootstraps(&g, 2, &price);
        assert!(placed.is_err(), "{placed:?}");
    }
}
