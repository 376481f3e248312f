//! The evaluation keys that a plan needs, each at the highest level where it is used.

use std::collections::BTreeMap;

use crate::graph::{Graph, Op};

/// Key switches of a graph by kind, with the highest level of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::graph) struct Keys {
    pub relin: Option<usize>,
    pub conjugation: Option<usize>,
    pub rotations: BTreeMap<i64, usize>,
}

/// Collects the key switches of a graph whose nodes have these levels.
pub(in crate::graph) fn collect_keys(graph: &Graph, levels: &[usize]) -> Keys {
    let mut keys = Keys::default();
    for (node, &level) in graph.nodes().iter().zip(levels) {
        match node.op {
            Op::Relinearize(_) => keys.relin = keys.relin.max(Some(level)),
            Op::Conjugate(_) => keys.conjugation = keys.conjugation.max(Some(level)),
            Op::Rotate(_, k) => {
                let highest = keys.rotations.entry(k).or_insert(level);
                *highest = level.max(*highest);
            }
            _ => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_highest_level() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let a = g.rotate(x, 1);
        let b = g.rotate(a, 1);
        let c = g.conjugate(b);
        let d = g.rotate(c, -2);
        g.output("d", d);
        let keys = collect_keys(&g, &[5, 4, 3, 2, 1]);
        assert_eq!(
            keys,
            Keys {
                relin: None,
                conjugation: Some(2),
                rotations: [(1, 4), (-2, 1)].into()
            }
        );
    }
}
