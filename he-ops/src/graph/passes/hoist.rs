//! Order of the steps: as the circuits wrote them, but work that can be shared is brought together: rotations of one
//! value share its decomposition (hoisting), weighted sums over the same inputs share the loads of the inputs, linear maps
//! over the same inputs share their rotations.

use std::collections::BTreeMap;

use crate::graph::op::PerNode;
use crate::graph::{Graph, NodeId, Op};

/// One node in its place, with the group that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::graph) struct Scheduled {
    pub node: NodeId,
    /// Groups are numbered from 0; the members of a group follow one another. None for a step on its own.
    pub group: Option<usize>,
}

struct Scheduler<'a> {
    graph: &'a Graph,
    done: PerNode<bool>,
    order: Vec<Scheduled>,
    groups: usize,
}

/// Linear maps that share the rotations of their inputs, in the order of the graph: those of the same inputs, the same
/// number of baby steps, and the same level. They wait for the same values, so they are ready together.
pub(in crate::graph) fn maps_together(graph: &Graph, levels: &PerNode<usize>) -> PerNode<Vec<NodeId>> {
    let mut first: BTreeMap<(&[NodeId], usize, usize), NodeId> = BTreeMap::new();
    let mut together = PerNode::from(vec![Vec::new(); graph.nodes().len()]);
    for (id, node) in graph.numbered() {
        if let Op::LinearMap(inputs, map) = &node.op {
            let key = (inputs.as_slice(), map.baby_steps(), levels[id]);
            together[*first.entry(key).or_insert(id)].push(id);
        }
    }
    together
}

/// Puts every node in an order in which operands come first and groups follow one another. `levels` and `scales` are those of
/// the results; the inputs of the weighted sums of a group agree in both.
pub(in crate::graph) fn schedule(
    graph: &Graph,
    levels: &PerNode<usize>,
    scales: &PerNode<f64>,
) -> Vec<Scheduled> {
    let mut rotations: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    // By level and bits of the scale of the inputs, of which there is at least one.
    let mut sums: BTreeMap<Option<(usize, u64)>, Vec<NodeId>> = BTreeMap::new();
    let of_inputs = |op: &Op| {
        op.args()
            .first()
            .map(|first| (levels[*first], scales[*first].to_bits()))
    };
    for (id, node) in graph.numbered() {
        match &node.op {
            Op::Rotate(source, _) => rotations.entry(*source).or_default().push(id),
            Op::WeightedSum(_) => sums.entry(of_inputs(&node.op)).or_default().push(id),
            _ => {}
        }
    }
    let maps = maps_together(graph, levels);
    let mut scheduler = Scheduler {
        graph,
        done: PerNode::from(vec![false; graph.nodes().len()]),
        order: Vec::with_capacity(graph.nodes().len()),
        groups: 0,
    };
    for (id, node) in graph.numbered() {
        if scheduler.done[id] {
            continue;
        }
        let of_sum;
        let members = match &node.op {
            Op::Rotate(source, _) => rotations.get(source),
            Op::WeightedSum(_) => {
                of_sum = sums
                    .get(&of_inputs(&node.op))
                    .map(|same| scheduler.sums_with(id, same));
                of_sum.as_ref()
            }
            Op::LinearMap(..) => Some(&maps[id]),
            _ => None,
        };
        scheduler.emit_group(members.map_or(&[id], Vec::as_slice));
    }
    scheduler.order
}

impl Scheduler<'_> {
    fn emit(&mut self, node: NodeId, group: Option<usize>) {
        self.done[node] = true;
        self.order.push(Scheduled { node, group });
    }

    fn emit_group(&mut self, members: &[NodeId]) {
        let group = (members.len() > 1).then_some(self.groups);
        self.groups += usize::from(group.is_some());
        members.iter().for_each(|id| self.emit(*id, group));
    }

    /// The weighted sum `first` and those of `same` that are ready and share at least half of their inputs with it.
    fn sums_with(&mut self, first: NodeId, same: &[NodeId]) -> Vec<NodeId> {
        let args = |id: NodeId| self.graph.node(id).op.args();
        let mut inputs = args(first);
        let mut members = vec![first];
        let mut drops = Vec::new();
        for &id in same {
            let own = args(id);
            let shared = own.iter().filter(|arg| inputs.contains(arg)).count();
            if id == first || self.done[id] || 2 * shared < own.len() {
                continue;
            }
            // A drop costs nothing to bring forward.
            let waiting: Vec<NodeId> = own.iter().copied().filter(|arg| !self.done[*arg]).collect();
            let ready =
                |arg: &NodeId| matches!(self.graph.node(*arg).op, Op::DropLevel(a, _) if self.done[a]);
            if waiting.iter().all(ready) {
                drops.extend(waiting);
                inputs.extend(own);
                members.push(id);
            }
        }
        drops.sort_unstable();
        drops.dedup();
        drops.into_iter().for_each(|id| self.emit(id, None));
        members
    }
}

#[cfg(test)]
mod tests {
    use super::super::map_of_ones;
    use super::*;
    use crate::ckks::Pattern;

    #[test]
    fn rotations_of_one_source_come_together() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let a = g.rotate(x, 1);
        let b = g.add(a, x);
        let c = g.rotate(b, 2);
        let d = g.rotate(x, 2);
        let e = g.add(c, d);
        g.output("e", e);
        let order: Vec<_> = schedule(&g, &vec![0; 6].into(), &vec![1.0; 6].into())
            .iter()
            .map(|step| (step.node.to_string(), step.group))
            .collect();
        let expected = [
            ("%0", None),
            ("%1", Some(0)),
            ("%4", Some(0)),
            ("%2", None),
            ("%3", None),
            ("%5", None),
        ];
        assert_eq!(order, expected.map(|(id, group)| (id.to_owned(), group)));
    }

    #[test]
    fn weighted_sums_over_the_same_inputs_come_together() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let y = g.rotate(x, 1);
        let weight = |w| Pattern::constant(w).unwrap();
        let a = g.weighted_sum([(x, weight(1.0)), (y, weight(2.0))]);
        let b = g.rotate(a, 2);
        let c = g.weighted_sum([(x, weight(3.0)), (y, weight(4.0))]);
        let d = g.mul_plain(b, weight(5.0));
        let sum = g.add(c, d);
        g.output("sum", sum);
        let order: Vec<_> = schedule(&g, &vec![1; 7].into(), &vec![1.0; 7].into())
            .iter()
            .map(|step| (step.node.index(), step.group))
            .collect();
        let expected = [
            (0, None),
            (1, None),
            (2, Some(0)),
            (4, Some(0)),
            (3, None),
            (5, None),
            (6, None),
        ];
        assert_eq!(order, expected);
    }
    /// One line for each step, with its group.
    fn text(g: &Graph, order: &[Scheduled]) -> String {
        let graph = g.to_string();
        let lines: Vec<&str> = graph.lines().collect();
        let line = |step: &Scheduled| {
            let group = step.group.map_or("-".to_owned(), |group| group.to_string());
            format!("{group} {}\n", lines[step.node.index()])
        };
        order.iter().map(line).collect()
    }

    #[test]
    fn linear_maps_over_the_same_inputs_with_the_same_baby_steps_come_together() {
        let mut g = Graph::new(8);
        let (x, y) = (g.input("x"), g.input("y"));
        let q = g.linear_map(&[x, y], map_of_ones(2, &[&[0], &[1]]));
        let square = g.square(q);
        let k = g.linear_map(&[x, y], map_of_ones(2, &[&[2], &[3]]));
        let other_steps = g.linear_map(&[x, y], map_of_ones(4, &[&[2], &[3]]));
        let other_inputs = g.linear_map(&[y, x], map_of_ones(2, &[&[2], &[3]]));
        let v = g.linear_map(&[x, y], map_of_ones(2, &[&[5], &[6]]));
        for (i, value) in [square, k, other_steps, other_inputs, v].into_iter().enumerate() {
            g.output(&format!("y{i}"), value);
        }
        let expected = "\
- %0 = input x
- %1 = input y
0 %2 = linear_map %0 %1 2 diagonals, n 2
0 %4 = linear_map %0 %1 2 diagonals, n 2
0 %7 = linear_map %0 %1 2 diagonals, n 2
- %3 = square %2
- %5 = linear_map %0 %1 2 diagonals, n 4
- %6 = linear_map %1 %0 2 diagonals, n 2
";
        assert_eq!(
            text(&g, &schedule(&g, &vec![1; 8].into(), &vec![1.0; 8].into())),
            expected
        );
    }

    #[test]
    fn sums_of_other_levels_or_with_few_inputs_in_common_stay_apart_and_drops_come_forward() {
        let weight = Pattern::constant(0.5).unwrap();
        let mut g = Graph::new(8);
        let (x, y, z) = (g.input("x"), g.input("y"), g.input("z"));
        let sum = |g: &mut Graph, ids: &[NodeId]| g.weighted_sum(ids.iter().map(|id| (*id, weight.clone())));
        let dropped = g.push_as(Op::DropLevel(x, 1), 0);
        let first = sum(&mut g, &[dropped, y]);
        let turned = g.rotate(first, 1);
        let late = g.push_as(Op::DropLevel(z, 1), 0);
        let shares_half = sum(&mut g, &[dropped, late]);
        let shares_with_the_second = sum(&mut g, &[late]);
        let higher = sum(&mut g, &[x]);
        let waits = sum(&mut g, &[turned, y]);
        for (i, value) in [shares_half, shares_with_the_second, higher, waits]
            .into_iter()
            .enumerate()
        {
            g.output(&format!("y{i}"), value);
        }
        // The input of `higher` is of level 2, those of all other sums of level 1.
        let mut levels = PerNode::from(vec![1; 11]);
        levels[x] = 2;
        let expected = "\
- %0 = input x
- %1 = input y
- %2 = input z
- %3 = drop_level %0 to 1
- %6 = drop_level %2 to 1
0 %4 = weighted_sum %3 %1 period 1
0 %7 = weighted_sum %3 %6 period 1
0 %8 = weighted_sum %6 period 1
- %5 = rotate %4 by 1
- %9 = weighted_sum %0 period 1
- %10 = weighted_sum %5 %1 period 1
";
        assert_eq!(text(&g, &schedule(&g, &levels, &vec![1.0; 11].into())), expected);
    }
}
