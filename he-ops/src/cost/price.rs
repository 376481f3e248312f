//! The price of one operation of a graph that has no plan yet: what the placement of bootstraps minimises.

use super::machine::{Kind, Machine};
use super::work::{Counter, SumShape, Work};
use crate::Result;
use crate::ckks::BootstrapLiteral;
use crate::graph::Op;
use crate::rlwe::key_switch_key::serving_gadget;
use crate::rlwe::{Gadget, KeyPurpose, Params};

/// Microseconds of one operation, from what is known before a plan exists: its operands at the level above the result
/// where it takes one, keys of the highest level that the plan will have with copies for lower ones, nothing shared with
/// other operations. A product counts its relinearisation and its rescale; the rescale of a weighted sum counts as well.
///
/// With a bootstrap the plan lives at and below the level of its result; a bootstrap costs the same at any level. What
/// cannot be done at all (a level above the highest) costs infinitely much.
#[must_use]
pub fn price_us(
    machine: &Machine,
    params: &Params,
    bootstrap: Option<&BootstrapLiteral>,
    op: &Op,
    level_of_result: usize,
    threads: usize,
) -> f64 {
    let parts = parts(params, bootstrap, op, level_of_result);
    let us = |(kind, work): &(Kind, Work)| machine.predict_us(*kind, work, threads);
    parts.map_or(f64::INFINITY, |parts| parts.iter().map(us).sum())
}

fn parts(
    params: &Params,
    bootstrap: Option<&BootstrapLiteral>,
    op: &Op,
    level: usize,
) -> Result<Vec<(Kind, Work)>> {
    let counter = Counter::new(params);
    let highest = match bootstrap {
        Some(literal) => literal.output_level(params)?,
        None => params.max_level(),
    };
    let gadget = |own: usize, level: usize| serving_gadget(params, own.max(level), &[level].into(), level);
    // The key for products is that of EvalMod.
    let relin = |level: usize| match bootstrap {
        Some(literal) => gadget(
            params.max_level().saturating_sub(literal.coeffs_to_slots.len()),
            level,
        ),
        None => gadget(highest, level),
    };
    let above = level + 1;
    Ok(match op {
        Op::Input { .. } | Op::Cut(..) | Op::DropLevel(..) => Vec::new(),
        Op::Add(..) | Op::Sub(..) => vec![(Kind::Other, counter.add(level, 2))],
        Op::Negate(_) | Op::MulI(..) => vec![(Kind::Other, counter.scale(level, 2))],
        Op::AddPlain(_, pattern) => vec![(Kind::Other, counter.add_pattern(level, pattern.period()))],
        Op::WeightedSum(terms) => {
            let period = terms.iter().map(|(_, pattern)| pattern.period()).max();
            let shape = SumShape {
                inputs: terms.len(),
                rows: 1,
                weights: terms.len(),
                period: period.unwrap_or(1),
            };
            vec![
                (Kind::WeightedSum, counter.weighted_sums(above, shape)),
                (Kind::Rescale, counter.rescale(above, 2)),
            ]
        }
        Op::LinearMap(_, map) => {
            let cost = counter.linear_maps(above, &[map.as_ref()], &|_| gadget(highest, above))?;
            vec![(Kind::LinearMap, cost.work)]
        }
        Op::Mul(a, b) => {
            let product = if a == b {
                counter.square(above)
            } else {
                counter.multiply(above)
            };
            vec![
                (Kind::Product, product),
                (
                    Kind::KeySwitch,
                    counter.relinearize_rescale(&relin(above)?, above),
                ),
            ]
        }
        Op::Rotate(..) | Op::Conjugate(_) => {
            vec![(
                Kind::KeySwitch,
                counter.key_switch(&gadget(highest, level)?, level),
            )]
        }
        Op::Relinearize(_) => vec![(Kind::KeySwitch, counter.key_switch(&relin(level)?, level))],
        Op::Rescale(_) => vec![(Kind::Rescale, counter.rescale(above, 2))],
        Op::RelinearizeRescale(_) => vec![(
            Kind::KeySwitch,
            counter.relinearize_rescale(&relin(above)?, above),
        )],
        Op::Align(..) => vec![(Kind::Rescale, counter.align(above, 2))],
        Op::Decide(values, decision) => vec![(Kind::Decision, counter.decide(level, values.len(), decision))],
        Op::Bootstrap(_) => match bootstrap {
            None => return Ok(vec![(Kind::Bootstrap, Work::default())]),
            Some(literal) => {
                let key = |_: KeyPurpose, level: usize| -> Result<Gadget> {
                    gadget(
                        params.max_level().saturating_sub(literal.coeffs_to_slots.len()),
                        level,
                    )
                };
                vec![(Kind::Bootstrap, counter.bootstrap(literal, &key)?)]
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ckks::{BootstrapPreset, Pattern};
    use crate::graph::Graph;

    #[test]
    fn prices_rise_with_the_level_and_a_bootstrap_is_dear() {
        let params = Params::new(&BootstrapPreset::N15.params()).unwrap();
        let literal = BootstrapPreset::N15.bootstrap(14);
        let mut g = Graph::new(params.slots());
        let x = g.input("x");
        let (y, z) = (g.rotate(x, 1), g.square(x));
        let sum = g.mul_plain(x, Pattern::constant(0.5).unwrap());
        let raised = g.bootstrap(x);
        let price = |id, level| {
            let op = g.op(id).unwrap();
            price_us(&Machine::default(), &params, Some(&literal), op, level, 1)
        };
        for op in [y, z, sum] {
            let low = price(op, 2);
            assert!(low > 0.0 && price(op, 4) > low);
        }
        assert!(price(z, 3) > price(y, 3) && price(y, 3) > price(sum, 3));
        assert_eq!(price(raised, 2), price(raised, 4));
        assert!(price(raised, 4) > 20.0 * price(z, 4));
        assert!(price(z, params.max_level()).is_infinite());
        assert_eq!(price(x, 3), 0.0);
    }
}
