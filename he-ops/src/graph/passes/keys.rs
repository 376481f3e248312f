//! The evaluation keys that a plan needs, each at the highest level where it is used.

use std::collections::BTreeMap;

use crate::graph::{Graph, Op};
use crate::rlwe::key_switch_key::serving_gadget;
use crate::rlwe::{EvaluationKeyConfig, KeyPurpose, KeyUses, Params};
use crate::{Error, Result};

/// Key switches of a graph by kind, with the highest level of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::graph) struct Keys {
    pub relin: Option<usize>,
    pub conjugation: Option<usize>,
    pub rotations: BTreeMap<i64, usize>,
}

impl Keys {
    fn rotate(&mut self, k: i64, level: usize) {
        let highest = self.rotations.entry(k).or_insert(level);
        *highest = level.max(*highest);
    }
}

/// Collects the key switches of a graph whose nodes have these levels.
pub(in crate::graph) fn collect_keys(graph: &Graph, levels: &[usize]) -> Keys {
    let mut keys = Keys::default();
    for (node, &level) in graph.nodes().iter().zip(levels) {
        match node.op {
            Op::Relinearize(_) => keys.relin = keys.relin.max(Some(level)),
            Op::Conjugate(_) => keys.conjugation = keys.conjugation.max(Some(level)),
            Op::Rotate(_, k) => keys.rotate(k, level),
            // The rotations are of the operands.
            Op::LinearMap(_, ref map) => map
                .rotations()
                .into_iter()
                .for_each(|k| keys.rotate(k, level + 1)),
            _ => {}
        }
    }
    keys
}

/// The keys of a plan together with those of its bootstraps.
///
/// The matrices of a bootstrap are prepared for the gadget of the level at which a key is used. Where the plan uses the
/// same key at a higher level, that key is sent for a level high enough that a copy with this gadget can be made of it.
///
/// # Errors
/// [`Error::Params`] when there is no such level; [`Error::Level`] for uses above the highest.
pub(in crate::graph) fn settle_keys(
    own: &EvaluationKeyConfig,
    own_uses: &KeyUses,
    bootstrap: &KeyUses,
    params: &Params,
) -> Result<EvaluationKeyConfig> {
    let mut keys = own.clone();
    for (&purpose, levels) in bootstrap {
        let highest = levels.last().copied().unwrap_or(0);
        let rotation =
            matches!(purpose, KeyPurpose::Galois(element) if element != params.galois_element_conjugate());
        if !rotation {
            // Any key of a sufficient level will do.
            keys.require(purpose, highest);
            continue;
        }
        let mut uses = levels.clone();
        uses.extend(own_uses.get(&purpose).into_iter().flatten());
        let start = uses.last().copied().unwrap_or(0);
        let fits = |level: usize| -> Result<bool> {
            for &used in levels {
                if serving_gadget(params, level, &uses, used)? != *params.gadget(used)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let mut found = None;
        for level in start..=params.max_level() {
            if fits(level)? {
                found = Some(level);
                break;
            }
        }
        let level = found.ok_or_else(|| Error::Params {
            reason: format!(
                "no key for {} serves both level {start} and the bootstrap at level {highest}; use more special primes",
                purpose.describe(params)
            ),
        })?;
        keys.require(purpose, level);
    }
    Ok(keys)
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
