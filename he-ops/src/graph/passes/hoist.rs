//! Order of the steps: as the circuits wrote them, but work that can be shared is brought together: rotations of one
//! value share its decomposition (hoisting), weighted sums over the same inputs share the loads of the inputs, linear maps
//! over the same inputs share their rotations.

use std::collections::BTreeMap;

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
    done: Vec<bool>,
    order: Vec<Scheduled>,
    groups: usize,
}

/// Puts every node in an order in which operands come first and groups follow one another. `levels` and `scales` are those of
/// the results; the inputs of the weighted sums of a group agree in both.
pub(in crate::graph) fn schedule(graph: &Graph, levels: &[usize], scales: &[f64]) -> Vec<Scheduled> {
    let count = graph.nodes().len();
    let mut rotations: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    // Level and bits of the scale of the inputs.
    let mut sums: BTreeMap<(usize, u64), Vec<NodeId>> = BTreeMap::new();
    let of = |inputs: &[NodeId]| {
        let first = inputs.first()?.index();
        Some((*levels.get(first)?, scales.get(first)?.to_bits()))
    };
    for (index, node) in graph.nodes().iter().enumerate() {
        let id = NodeId::new(index);
        match &node.op {
            Op::Rotate(source, _) => rotations.entry(*source).or_default().push(id),
            Op::WeightedSum(_) => {
                if let Some(key) = of(&node.op.args()) {
                    sums.entry(key).or_default().push(id);
                }
            }
            _ => {}
        }
    }
    let mut maps: BTreeMap<(Vec<NodeId>, usize), Vec<NodeId>> = BTreeMap::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        if let Op::LinearMap(inputs, map) = &node.op {
            let key = (inputs.clone(), map.baby_steps());
            maps.entry(key).or_default().push(NodeId::new(index));
        }
    }
    let mut scheduler = Scheduler {
        graph,
        done: vec![false; count],
        order: Vec::with_capacity(count),
        groups: 0,
    };
    for (index, node) in graph.nodes().iter().enumerate() {
        let id = NodeId::new(index);
        if scheduler.is_done(id) {
            continue;
        }
        match &node.op {
            Op::Rotate(source, _) => {
                let members = rotations.remove(source).unwrap_or_default();
                scheduler.emit_group(&members);
            }
            Op::WeightedSum(_) => {
                let same = of(&node.op.args())
                    .and_then(|key| sums.get(&key))
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                let members = scheduler.sums_with(id, same);
                scheduler.emit_group(&members);
            }
            // They wait for the same values, so they are ready together.
            Op::LinearMap(inputs, map) => {
                let members = maps.remove(&(inputs.clone(), map.baby_steps()));
                scheduler.emit_group(&members.unwrap_or_default());
            }
            _ => scheduler.emit_group(&[id]),
        }
    }
    scheduler.order
}

impl Scheduler<'_> {
    fn is_done(&self, id: NodeId) -> bool {
        self.done.get(id.index()).copied().unwrap_or(true)
    }

    fn emit(&mut self, node: NodeId, group: Option<usize>) {
        if let Some(done) = self.done.get_mut(node.index()) {
            *done = true;
        }
        self.order.push(Scheduled { node, group });
    }

    fn emit_group(&mut self, members: &[NodeId]) {
        let group = (members.len() > 1).then_some(self.groups);
        self.groups += usize::from(group.is_some());
        members.iter().for_each(|id| self.emit(*id, group));
    }

    /// The weighted sum `first` and those of `same` that are ready and share at least half of their inputs with it.
    fn sums_with(&mut self, first: NodeId, same: &[NodeId]) -> Vec<NodeId> {
        let args = |id: NodeId| self.graph.op(id).map(Op::args).unwrap_or_default();
        let mut inputs = args(first);
        let mut members = vec![first];
        let mut drops = Vec::new();
        for &id in same {
            let own = args(id);
            let shared = own.iter().filter(|arg| inputs.contains(arg)).count();
            if id == first || self.is_done(id) || 2 * shared < own.len() {
                continue;
            }
            // A drop costs nothing to bring forward.
            let waiting: Vec<NodeId> = own.iter().copied().filter(|arg| !self.is_done(*arg)).collect();
            let ready =
                |arg: &NodeId| matches!(self.graph.op(*arg), Some(Op::DropLevel(a, _)) if self.is_done(*a));
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
        let order: Vec<_> = schedule(&g, &[0; 6], &[1.0; 6])
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
        let order: Vec<_> = schedule(&g, &[1; 7], &[1.0; 7])
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
        assert_eq!(text(&g, &schedule(&g, &[1; 8], &[1.0; 8])), expected);
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
        let mut levels = [1; 11];
        levels[x.index()] = 2;
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
        assert_eq!(text(&g, &schedule(&g, &levels, &[1.0; 11])), expected);
    }
}
