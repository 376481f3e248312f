//! The evaluation keys that a plan needs, each at the highest level where it is used.

use std::collections::BTreeMap;

use crate::graph::op::PerNode;
use crate::graph::{Graph, KeyUse};
use crate::rlwe::key_switch_key::serving_gadget;
use crate::rlwe::{EvaluationKeyConfig, KeyPurpose, KeyUses, Params};
use crate::{ParamsError, Result};

/// The keys of a graph, each with the highest level of its uses.
pub(in crate::graph) type Keys = BTreeMap<KeyUse, usize>;

/// Collects the keys of a graph whose nodes have these levels. A key serves the level of the operand.
pub(in crate::graph) fn collect_keys(graph: &Graph, levels: &PerNode<usize>) -> Keys {
    let mut keys = Keys::new();
    for (id, node) in graph.numbered() {
        for key in node.op.keys() {
            let level = node.op.operand_level(levels[id]);
            let highest = keys.entry(key).or_insert(level);
            *highest = level.max(*highest);
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
        let Some(&highest) = levels.last() else {
            continue;
        };
        let rotation =
            matches!(purpose, KeyPurpose::Galois(element) if element != params.galois_element_conjugate());
        if !rotation {
            // Any key of a sufficient level will do.
            keys.require(purpose, highest);
            continue;
        }
        let mut uses = levels.clone();
        uses.extend(own_uses.get(&purpose).into_iter().flatten());
        let start = uses.last().map_or(highest, |last| highest.max(*last));
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
        let level = found.ok_or_else(|| ParamsError::NoSharedKey {
            key: purpose.describe(params),
            level: start,
            bootstrap: highest,
        })?;
        keys.require(purpose, level);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::super::{annotated, map_of_ones};
    use super::*;
    use crate::graph::Op;
    use crate::rlwe::ParamsLiteral;

    #[test]
    fn each_key_has_its_highest_level() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let a = g.rotate(x, 1);
        let b = g.rotate(a, 1);
        let c = g.conjugate(b);
        let d = g.rotate(c, -2);
        g.output("d", d);
        let keys = collect_keys(&g, &vec![5, 4, 3, 2, 1].into());
        let (back, once) = (KeyUse::Rotation(-2), KeyUse::Rotation(1));
        assert_eq!(keys, [(KeyUse::Conjugation, 2), (back, 1), (once, 4)].into());
    }
    #[test]
    fn linear_maps_need_their_rotations_at_the_level_of_their_operands() {
        let mut g = Graph::new(16);
        let x = g.input("x");
        // Baby steps 1 and 3, one giant step by 4 to the right and two to the left.
        let y = g.linear_map(&[x], map_of_ones(4, &[&[-4, 0, 1, 9, 11]]));
        let turned = g.rotate(y, 3);
        let square = g.square(turned);
        let square = g.push_as(Op::Relinearize(square), 0);
        g.output("y", square);
        let levels = [3, 2, 2, 2, 2];
        let text = "\
3: %0 = input x
2: %1 = linear_map %0 5 diagonals, n 4
2: %2 = rotate %1 by 3
2: %3 = square %2
2: %4 = relinearize %3
";
        assert_eq!(annotated(&g, levels), text);
        let mut expected: Keys = [-4, 1, 3, 4].map(|k| (KeyUse::Rotation(k), 3)).into();
        expected.insert(KeyUse::Relinearization, 2);
        assert_eq!(collect_keys(&g, &levels.to_vec().into()), expected);
    }

    /// Each key with its level, as text.
    fn text(params: &Params, keys: &EvaluationKeyConfig) -> String {
        let line =
            |(purpose, level): (KeyPurpose, usize)| format!("{} level {level}\n", purpose.describe(params));
        keys.iter().map(line).collect()
    }

    fn params(special_bits: u32) -> Params {
        Params::new_INSECURE(&ParamsLiteral {
            log_n: 9,
            log_q: vec![50, 40, 40, 40, 40, 40],
            log_p: vec![special_bits; 3],
            log_scale: 40,
        })
        .unwrap()
    }

    #[test]
    fn keys_of_the_plan_and_of_its_bootstraps_are_settled_together() {
        let params = params(47);
        let rotation = |k| KeyPurpose::Galois(params.galois_element(k));
        let uses = |list: &[(KeyPurpose, &[usize])]| -> KeyUses {
            list.iter()
                .map(|(purpose, levels)| (*purpose, levels.iter().copied().collect()))
                .collect()
        };
        let own_uses = uses(&[
            (KeyPurpose::Relin, &[1, 2]),
            (rotation(1), &[4]),
            (rotation(2), &[1]),
        ]);
        let mut own = EvaluationKeyConfig::default();
        for (purpose, levels) in &own_uses {
            own.require(*purpose, *levels.last().unwrap());
        }
        let before = "\
relinearization level 2
rotation by 1 level 4
rotation by 2 level 1
";
        assert_eq!(text(&params, &own), before);
        let bootstrap = uses(&[
            (KeyPurpose::Relin, &[5]),
            (KeyPurpose::Galois(params.galois_element_conjugate()), &[3]),
            (rotation(1), &[2]),
            (rotation(2), &[3]),
            (rotation(4), &[5]),
        ]);
        let settled = settle_keys(&own, &own_uses, &bootstrap, &params).unwrap();
        // Level 4 falls into digits of two and three primes; the matrices of the bootstrap want one digit of three, which
        // is the first of level 5.
        let after = "\
relinearization level 5
rotation by 1 level 5
rotation by 2 level 3
rotation by 4 level 5
conjugation level 3
";
        assert_eq!(text(&params, &settled), after);
    }

    #[test]
    fn a_key_that_cannot_serve_both_is_refused() {
        // Three special primes hold the digit, but not the noise of a copy.
        let params = params(45);
        let turned = KeyPurpose::Galois(params.galois_element(1));
        let mut own = EvaluationKeyConfig::default();
        own.require(turned, 4);
        let own_uses = KeyUses::from([(turned, [4].into())]);
        let bootstrap = KeyUses::from([(turned, [2].into())]);
        let error = settle_keys(&own, &own_uses, &bootstrap, &params).unwrap_err();
        let expected = "no key for rotation by 1 serves both level 4 and the bootstrap at level 2; use more special primes";
        assert!(error.to_string().contains(expected), "{error}");
    }
}
