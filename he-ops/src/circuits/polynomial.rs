//! Polynomials of one ciphertext in the Chebyshev basis, at the smallest depth.

use std::collections::BTreeMap;

use super::{Circuit, take};
use crate::arith::chebyshev::{self, split};
use crate::ckks::Pattern;
use crate::error::broken;
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// p(x) = Σ_k c_k T_k(x) for x in \[-1, 1\], by the method of Paterson and Stockmeyer.
///
/// p is split at powers of two, p = q T_M + r, down to leaves of degree below m, which are weighted sums of T_1 ..
/// T_{m-1}; m is the power of two with the fewest products. On the critical path the splitting goes on to degree one,
/// so that the depth is ceil(log2(degree + 1)). Coefficients that are zero cost nothing: even and odd polynomials
/// need about half the products.
///
/// **Level:** in -> in - [`depth`](Circuit::depth). **Keys:** relinearisation.
/// **Cost:** about sqrt(2 degree) + log2(degree) products. **Reference:** ePrint 2020/1203, section 5.
#[derive(Debug, Clone)]
pub struct ChebyshevSeries {
    slots: usize,
    coefficients: Vec<f64>,
    leaf: usize,
}

impl ChebyshevSeries {
    /// The series with these coefficients of T_0, T_1, ..
    ///
    /// # Errors
    /// [`Error::Circuit`] when the degree is 0 or above 1023; [`Error::Value`] for a coefficient that is not finite.
    pub fn new(slots: usize, mut coefficients: Vec<f64>) -> Result<Self> {
        if coefficients
            .iter()
            .any(|c| !c.is_finite() || c.abs() > f64::from(f32::MAX))
        {
            return Err(Error::Value {
                what: "chebyshev_series",
                reason: "a coefficient is not finite".to_owned(),
            });
        }
        while coefficients.last() == Some(&0.0) {
            coefficients.pop();
        }
        if !(2..=1024).contains(&coefficients.len()) {
            let degree = coefficients.len().saturating_sub(1);
            let reason = format!("degree 1 to 1023 needed, {degree} found");
            return Err(Error::Circuit {
                circuit: "chebyshev_series",
                reason,
            });
        }
        let mut series = ChebyshevSeries {
            slots,
            coefficients,
            leaf: 2,
        };
        let mut best = (usize::MAX, usize::MAX);
        for log_leaf in 1..=series.optimal_depth() {
            let candidate = ChebyshevSeries {
                leaf: 1 << log_leaf,
                ..series.clone()
            };
            let found = candidate.profile()?;
            let cost = (found.counts.products, found.counts.plain_products);
            if cost < best {
                best = cost;
                series = candidate;
            }
        }
        Ok(series)
    }

    /// The interpolation of `f` on \[lo, hi\] in the Chebyshev nodes, which is close to the best polynomial.
    ///
    /// The circuit then takes t = [`normalize`](Self::normalize)(x) in \[-1, 1\]; fold that map into the weights before
    /// it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn interpolate(
        slots: usize,
        f: impl Fn(f64) -> f64,
        lo: f64,
        hi: f64,
        degree: usize,
    ) -> Result<Self> {
        let on_interval = |t: f64| f(0.5 * (hi + lo) + 0.5 * (hi - lo) * t);
        Self::new(
            slots,
            chebyshev::interpolate(on_interval, degree + 1, 0..degree + 1),
        )
    }

    /// x in \[lo, hi\] -> t in \[-1, 1\].
    pub fn normalize(x: f64, lo: f64, hi: f64) -> f64 {
        (2.0 * x - lo - hi) / (hi - lo)
    }

    /// The series at t, in f64.
    pub fn evaluate(&self, t: f64) -> f64 {
        chebyshev::evaluate(&self.coefficients, t)
    }

    /// Of T_0, T_1, ..
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// Highest power.
    pub fn degree(&self) -> usize {
        self.coefficients.len() - 1
    }

    fn optimal_depth(&self) -> usize {
        ceil_log2(self.degree() + 1)
    }
}

fn ceil_log2(x: usize) -> usize {
    x.next_power_of_two().trailing_zeros() as usize
}

/// T_1, T_2, .. of one value, each made when first asked for, at depth ceil(log2 k).
struct PowerBasis {
    powers: BTreeMap<usize, NodeId>,
    minus_one: Pattern,
}

impl PowerBasis {
    fn get(&mut self, g: &mut Graph, k: usize) -> Result<NodeId> {
        if let Some(known) = self.powers.get(&k) {
            return Ok(*known);
        }
        if k < 2 {
            return Err(broken("powers are made from T_1 up"));
        }
        // T_{a+b} = 2 T_a T_b - T_{a-b} with a - b = 0 or 1.
        let (a, b) = (k.div_ceil(2), k / 2);
        let (x, y) = (self.get(g, a)?, self.get(g, b)?);
        let product = g.mul(x, y);
        let twice = g.double(product);
        let power = if a == b {
            g.add_plain(twice, self.minus_one.clone())
        } else {
            let first = self.get(g, 1)?;
            g.sub(twice, first)
        };
        self.powers.insert(k, power);
        Ok(power)
    }
}

fn degree(p: &[f64]) -> usize {
    p.iter().rposition(|c| *c != 0.0).unwrap_or(0)
}

/// What is known of a part of the polynomial: its encrypted terms, if any, and its constant, added once at the end.
struct Part {
    terms: Option<NodeId>,
    constant: f64,
}

fn add(g: &mut Graph, a: Option<NodeId>, b: Option<NodeId>) -> Option<NodeId> {
    match (a, b) {
        (Some(a), Some(b)) => Some(g.add(a, b)),
        (a, b) => a.or(b),
    }
}

impl ChebyshevSeries {
    /// Part of degree below 2^budget, its value (once rescaled) at depth `budget` or less.
    fn part(&self, g: &mut Graph, basis: &mut PowerBasis, p: &[f64], budget: usize) -> Result<Part> {
        let degree = degree(p);
        let constant = p.first().copied().unwrap_or(0.0);
        if degree == 0 {
            return Ok(Part {
                terms: None,
                constant,
            });
        }
        if degree < self.leaf && ceil_log2(degree) < budget {
            let mut terms = Vec::new();
            for (k, c) in p.iter().enumerate().skip(1).filter(|(_, c)| **c != 0.0) {
                terms.push((basis.get(g, k)?, Pattern::constant(*c as f32)?));
            }
            return Ok(Part {
                terms: Some(g.weighted_sum(terms)),
                constant,
            });
        }
        let at = 1_usize << degree.ilog2();
        let (q, r) = split(p, at);
        let giant = basis.get(g, at)?;
        let rest = self.part(g, basis, &r, budget)?;
        let quotient = self.part(g, basis, &q, budget.saturating_sub(1))?;
        let product = match quotient.terms {
            Some(terms) => {
                let full = g.add_plain(terms, Pattern::constant(quotient.constant as f32)?);
                g.mul(full, giant)
            }
            None => g.mul_plain(giant, Pattern::constant(quotient.constant as f32)?),
        };
        Ok(Part {
            terms: add(g, Some(product), rest.terms),
            constant: rest.constant,
        })
    }
}

impl Circuit for ChebyshevSeries {
    fn name(&self) -> &'static str {
        "chebyshev_series"
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn arity(&self) -> usize {
        1
    }

    fn expand(&self, g: &mut Graph, inputs: &[NodeId]) -> Result<NodeId> {
        let [x] = take(self, g, inputs)?;
        let mut basis = PowerBasis {
            powers: [(1, x)].into(),
            minus_one: Pattern::constant(-1.0)?,
        };
        let part = self.part(g, &mut basis, &self.coefficients, self.optimal_depth())?;
        let missing = || broken("a series has a term above its constant");
        Ok(g.add_plain(
            part.terms.ok_or_else(missing)?,
            Pattern::constant(part.constant as f32)?,
        ))
    }
}
