//! The price of one operation of a graph that has no plan yet: what the placement of bootstraps minimises.

use std::cell::RefCell;
use std::collections::HashMap;

use super::machine::Machine;
use super::steps::{Means, group_cost};
use crate::Result;
use crate::ckks::BootstrapLiteral;
use crate::graph::{Class, Op, Price};
use crate::rlwe::key_switch_key::serving_gadget;
use crate::rlwe::{KeyPurpose, Params};

/// Microseconds of operations on a machine, from what is known before a plan exists: keys of the highest level that the
/// plan will have with copies for lower ones, nothing shared with other operations. A product counts its relinearisation
/// and its rescale; the rescale of a weighted sum counts as well.
///
/// The plan lives at and below the level of the result of a bootstrap, which costs the same at any level. What cannot be
/// done at all (a level above the highest) costs infinitely much.
#[derive(Debug)]
pub struct Prices<'a> {
    params: &'a Params,
    bootstrap: &'a BootstrapLiteral,
    machine: &'a Machine,
    threads: usize,
    /// The placement asks for every operation once for each place from which it may be reached.
    known: RefCell<HashMap<(Class, usize), f64>>,
}

impl<'a> Prices<'a> {
    /// Prices of a plan with these parameters that bootstraps like this, on so many threads of a machine.
    #[must_use]
    pub fn new(
        params: &'a Params,
        bootstrap: &'a BootstrapLiteral,
        machine: &'a Machine,
        threads: usize,
    ) -> Self {
        Prices {
            params,
            bootstrap,
            machine,
            threads,
            known: RefCell::default(),
        }
    }

    fn us(&self, op: &Op, level: usize) -> Result<f64> {
        let Prices {
            params, bootstrap, ..
        } = *self;
        // The key for products is that of EvalMod, where a bootstrap has all of its keys.
        let eval_mod = params.max_level().saturating_sub(bootstrap.coeffs_to_slots.len());
        let output = bootstrap.output_level(params)?;
        let inside = op.class() == Class::Bootstrap;
        let key = |purpose: KeyPurpose, level: usize| {
            let own = if inside || purpose == KeyPurpose::Relin {
                eval_mod
            } else {
                output
            };
            serving_gadget(params, own.max(level), &[level].into(), level)
        };
        let means = Means {
            params,
            bootstrap: Some(bootstrap),
            key: &key,
        };
        let level_in = op.level_before(level);
        let own = group_cost(&means, &[op], level_in, 2)?;
        let mut us = self.machine.predict_us(own.kind, &own.work, self.threads);
        if let Some(settlement) = op.settlement() {
            let paid = group_cost(&means, &[&settlement], level_in, 2)?;
            us += self.machine.predict_us(paid.kind, &paid.work, self.threads);
        }
        Ok(us)
    }
}

impl Price for Prices<'_> {
    fn price(&self, op: &Op, level: usize) -> f64 {
        let key = (op.class(), level);
        if let Some(us) = self.known.borrow().get(&key) {
            return *us;
        }
        let us = self.us(op, level).unwrap_or(f64::INFINITY);
        self.known.borrow_mut().insert(key, us);
        us
    }
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
        let machine = Machine::default();
        let prices = Prices::new(&params, &literal, &machine, 1);
        let price = |id, level| prices.price(g.op(id).unwrap(), level);
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
