//! Where to bootstrap: the cheapest choice among the cuts that the circuits offer.
//!
//! Cuts stand in the order of the graph. With `best(j)` the least cost of everything up to cut j, its bootstraps
//! included,
//!
//! best(j) = min_i best(i) + work(i, j) + bootstraps(j)
//!
//! over the cuts i from which j can be reached with the levels that a bootstrap leaves. The work between two cuts is
//! priced at the levels at which it would run: as low as possible.

use crate::graph::{Graph, NodeId, Op};
use crate::{Error, Result};

/// Milliseconds, or any other unit, of an operation whose result has this many levels left above the bottom.
pub(in crate::graph) type Price<'a> = &'a dyn Fn(&Op, usize) -> f64;

/// Values of one cut.
struct Cut {
    /// Positions of the first and of the last of its nodes.
    first: usize,
    last: usize,
    values: usize,
}

/// What a step of the dynamic programme knows of a cut, of the inputs, or of the outputs.
#[derive(Clone, Copy)]
struct Best {
    cost: f64,
    before: Option<usize>,
}

/// Turns the cuts of a graph into bootstraps, `available` levels apart at the most, or into nothing. Bootstraps that are
/// in the graph already stay; without cuts there is nothing to choose, and whether they suffice is for
/// [`check_depth`](super::check_depth) to say.
///
/// # Errors
/// [`Error::Circuit`] when two neighbouring cuts are further apart than that, with both numbers and the place.
pub(in crate::graph) fn place_bootstraps(graph: &Graph, available: usize, price: Price<'_>) -> Result<Graph> {
    let cuts = cuts(graph);
    if cuts.is_empty() {
        return Ok(rewrite(graph, &[]));
    }
    let end = graph.nodes().len();
    // best[c]: everything up to and including cut c; the last entry is the end of the graph.
    let mut best: Vec<Option<Best>> = Vec::with_capacity(cuts.len() + 1);
    let mut deepest = 0;
    for target in 0..=cuts.len() {
        let mut found: Option<Best> = None;
        let own = match cuts.get(target) {
            Some(cut) => cut.values as f64 * price(&Op::Bootstrap(NodeId::new(0)), available),
            None => 0.0,
        };
        let stretch = Stretch::new(graph, cuts.get(target).map(|cut| (cut.first, cut.last)), end);
        let (reached, missing) = stretch.reach(graph, &cuts, target, available, price);
        for (from, work) in reached {
            let start = match from {
                None => Some(0.0),
                Some(cut) => best.get(cut).copied().flatten().map(|best| best.cost),
            };
            if let Some(start) = start
                && found.map_or(f64::INFINITY, |found| found.cost) > start + work + own
            {
                found = Some(Best {
                    cost: start + work + own,
                    before: from,
                });
            }
        }
        if found.is_none() && deepest == 0 {
            deepest = missing;
        }
        best.push(found);
    }
    let mut chosen = vec![false; cuts.len()];
    let mut at = best.last().copied().flatten();
    if at.is_none() {
        return Err(too_far(graph, &cuts, &best, available, deepest));
    }
    while let Some(cut) = at.and_then(|best| best.before) {
        if let Some(flag) = chosen.get_mut(cut) {
            *flag = true;
        }
        at = best.get(cut).copied().flatten();
    }
    Ok(rewrite(graph, &chosen))
}

/// The graph without its cuts, for a leveled plan.
pub(in crate::graph) fn remove_cuts(graph: &Graph) -> Graph {
    rewrite(graph, &[])
}

fn cuts(graph: &Graph) -> Vec<Cut> {
    let mut cuts: Vec<Option<Cut>> = Vec::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        let Op::Cut(_, number) = node.op else { continue };
        let number = number as usize;
        if cuts.len() <= number {
            cuts.resize_with(number + 1, || None);
        }
        if let Some(slot) = cuts.get_mut(number) {
            let cut = slot.get_or_insert(Cut {
                first: index,
                last: index,
                values: 0,
            });
            cut.last = index;
            cut.values += 1;
        }
    }
    let mut cuts: Vec<Cut> = cuts.into_iter().flatten().collect();
    cuts.sort_by_key(|cut| cut.first);
    cuts
}

/// The way back from a target: levels that every value must have above it.
struct Stretch {
    /// One more than the position of the last node that may be needed.
    until: usize,
    needs: Vec<Option<usize>>,
}

impl Stretch {
    fn new(graph: &Graph, target: Option<(usize, usize)>, end: usize) -> Self {
        let mut needs = vec![None; end];
        let mut need = |id: NodeId| {
            if let Some(slot) = needs.get_mut(id.index()) {
                *slot = Some(0);
            }
        };
        match target {
            Some((first, last)) => {
                for node in graph.nodes().iter().take(last + 1).skip(first) {
                    node.op.args().into_iter().for_each(&mut need);
                }
                Stretch { until: first, needs }
            }
            None => {
                graph.outputs().iter().for_each(|(_, value)| need(*value));
                Stretch { until: end, needs }
            }
        }
    }

    /// Cuts (`None`: the inputs) from which the target can be reached, with the cost of the way; and the levels that
    /// the nearest one would have needed.
    fn reach(
        mut self,
        graph: &Graph,
        cuts: &[Cut],
        target: usize,
        available: usize,
        price: Price<'_>,
    ) -> (Vec<(Option<usize>, f64)>, usize) {
        let mut reached = Vec::new();
        let mut missing = 0;
        let mut work = 0.0;
        let mut position = self.until;
        let earlier = cuts.get(..target).unwrap_or_default();
        for (number, cut) in earlier.iter().enumerate().rev() {
            work += self.back_to(graph, cut.last + 1, &mut position, available, price);
            let needs = self.needs.get(cut.first..=cut.last).unwrap_or_default();
            let deepest = needs.iter().flatten().max().copied().unwrap_or(0);
            if missing == 0 {
                missing = deepest;
            }
            if deepest > available {
                return (reached, missing);
            }
            reached.push((Some(number), work));
        }
        work += self.back_to(graph, 0, &mut position, available, price);
        let deepest = self
            .needs
            .iter()
            .take(self.until)
            .flatten()
            .max()
            .copied()
            .unwrap_or(0);
        if deepest <= available {
            reached.push((None, work));
        }
        (reached, if missing == 0 { deepest } else { missing })
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
            let (Some(node), Some(Some(own))) = (graph.nodes().get(*position), self.needs.get(*position))
            else {
                continue;
            };
            let own = *own;
            work += price(&node.op, own);
            let operands = match node.op {
                Op::Bootstrap(_) => {
                    if own > available {
                        work = f64::INFINITY;
                    }
                    0
                }
                Op::Mul(..) | Op::WeightedSum(_) | Op::LinearMap(..) => own + 1,
                _ => own,
            };
            for arg in node.op.args() {
                if let Some(slot) = self.needs.get_mut(arg.index()) {
                    *slot = (*slot).max(Some(operands));
                }
            }
        }
        work
    }
}

fn too_far(graph: &Graph, cuts: &[Cut], best: &[Option<Best>], available: usize, needed: usize) -> Error {
    let stuck = best.iter().position(Option::is_none).unwrap_or(0);
    let place = cuts
        .get(stuck)
        .and_then(|cut| graph.nodes().get(cut.first))
        .and_then(|node| graph.label(node))
        .map_or("the outputs".to_owned(), |label| {
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

/// Chosen cuts become bootstraps, the others their operands.
fn rewrite(graph: &Graph, chosen: &[bool]) -> Graph {
    let order = cuts(graph);
    let number = |index: usize| {
        order
            .iter()
            .position(|cut| (cut.first..=cut.last).contains(&index))
    };
    let mut out = graph.successor();
    let mut map: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    for (index, node) in graph.nodes().iter().enumerate() {
        let moved = |id: NodeId| map.get(id.index()).copied().unwrap_or(id);
        let id = match &node.op {
            Op::Cut(a, _) => {
                let bootstrap = number(index)
                    .and_then(|at| chosen.get(at))
                    .copied()
                    .unwrap_or(false);
                if bootstrap {
                    out.push_as(Op::Bootstrap(moved(*a)), node.label)
                } else {
                    moved(*a)
                }
            }
            op => out.push_as(op.map_args(moved), node.label),
        };
        map.push(id);
    }
    for (name, value) in graph.outputs() {
        let value = map.get(value.index()).copied().unwrap_or(*value);
        out.output(name, value);
    }
    out
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
