//! Prices of operations before there is a plan, each computed once.

use std::cell::RefCell;
use std::collections::HashMap;

use super::builder::Op;
use super::compile::CompileOptions;
use crate::ckks::BootstrapLiteral;
use crate::cost::price_us;
use crate::rlwe::Params;

/// What the price of an operation depends on, besides its level.
#[derive(PartialEq, Eq, Hash)]
enum Like {
    Free,
    Sum,
    Scale,
    AddPlain(usize),
    WeightedSum(usize, usize),
    LinearMap([u8; 32]),
    Mul,
    Square,
    Rotate,
    Relinearize,
    Rescale,
    RelinearizeRescale,
    Align,
    Bootstrap,
    Decide(usize),
}

impl Like {
    fn new(op: &Op) -> Self {
        match op {
            Op::Input { .. } | Op::Cut(..) | Op::DropLevel(..) => Self::Free,
            Op::Add(..) | Op::Sub(..) => Self::Sum,
            Op::Negate(_) | Op::MulI(..) => Self::Scale,
            Op::AddPlain(_, pattern) => Self::AddPlain(pattern.period()),
            Op::WeightedSum(terms) => {
                let period = terms.iter().map(|(_, pattern)| pattern.period()).max();
                Self::WeightedSum(terms.len(), period.unwrap_or(1))
            }
            Op::LinearMap(_, map) => Self::LinearMap(*map.digest()),
            Op::Mul(a, b) if a == b => Self::Square,
            Op::Mul(..) => Self::Mul,
            Op::Rotate(..) | Op::Conjugate(_) => Self::Rotate,
            Op::Relinearize(_) => Self::Relinearize,
            Op::Rescale(_) => Self::Rescale,
            Op::RelinearizeRescale(_) => Self::RelinearizeRescale,
            Op::Align(..) => Self::Align,
            Op::Bootstrap(_) => Self::Bootstrap,
            Op::Decide(_, decision) => Self::Decide(decision.classes()),
        }
    }
}

/// [`price_us`] of one plan to be. The placement of bootstraps asks for every operation once for each place from which
/// it may be reached.
pub(super) struct Prices<'a> {
    params: &'a Params,
    bootstrap: &'a BootstrapLiteral,
    options: &'a CompileOptions,
    known: RefCell<HashMap<(Like, usize), f64>>,
}

impl<'a> Prices<'a> {
    pub(super) fn new(
        params: &'a Params,
        bootstrap: &'a BootstrapLiteral,
        options: &'a CompileOptions,
    ) -> Self {
        Prices {
            params,
            bootstrap,
            options,
            known: RefCell::default(),
        }
    }

    /// Microseconds of an operation whose result has this level.
    pub(super) fn us(&self, op: &Op, level: usize) -> f64 {
        let key = (Like::new(op), level);
        if let Some(us) = self.known.borrow().get(&key) {
            return *us;
        }
        let CompileOptions { machine, threads, .. } = self.options;
        let us = price_us(machine, self.params, Some(self.bootstrap), op, level, *threads);
        self.known.borrow_mut().insert(key, us);
        us
    }
}
