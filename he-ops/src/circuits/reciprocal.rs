//! 1/x on an interval, by doubling the degree of a Chebyshev polynomial.

use super::{Circuit, take};
use crate::ckks::Pattern;
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// 1/x for x in \[lo, hi\], with an interval of its own for each slot of a period.
///
/// With t = (hi + lo - 2x) / (hi - lo) in \[-1, 1\] and t0 = (hi + lo) / (hi - lo), 1/x = 2 / ((hi - lo) (t0 - t)), and
/// from T_{2n}(a) - T_{2n}(b) = 2 (T_n(a) - T_n(b)) (T_n(a) + T_n(b)), with D doublings,
///
/// 1/x = C (1 + δ) Π_{j < D} (T_{2^j}(t0) + T_{2^j}(t)), C = 2^{D+1} / ((hi - lo) T_{2^D}(t0)), |δ| <= about
/// 1 / T_{2^D}(t0):
///
/// the best relative error that any polynomial of degree 2^D - 1 can have, at depth D.
///
/// The circuit takes t and gives the product without C: fold [`input_scale`](Self::input_scale),
/// [`input_shift`](Self::input_shift) and [`gain`](Self::gain) into the neighbouring weights.
///
/// **Level:** in -> in - D. **Keys:** relinearisation. **Cost:** D - 1 squares and D - 1 products.
#[derive(Debug, Clone)]
pub struct Reciprocal {
    slots: usize,
    doublings: u32,
    ranges: Vec<(f64, f64)>,
}

/// T_n(x) for any real x.
fn chebyshev(n: f64, x: f64) -> f64 {
    if x.abs() <= 1.0 {
        (n * x.acos()).cos()
    } else {
        (n * x.abs().acosh()).cosh() * if x < 0.0 && n % 2.0 != 0.0 { -1.0 } else { 1.0 }
    }
}

impl Reciprocal {
    /// Interval (lo, hi) of each slot of a period (a power of two of them), and the number of doublings.
    ///
    /// # Errors
    /// [`Error::Circuit`] unless 0 < lo < hi in every slot, the period is a power of two, and there are 1 to 8
    /// doublings.
    pub fn new(slots: usize, ranges: Vec<(f64, f64)>, doublings: u32) -> Result<Self> {
        let refuse = |reason: String| {
            Err(Error::Circuit {
                circuit: "reciprocal",
                reason,
            })
        };
        if !ranges.len().is_power_of_two() || ranges.len() > slots {
            return refuse(format!(
                "a period that is a power of two needed, {} found",
                ranges.len()
            ));
        }
        if !(1..=8).contains(&doublings) {
            return refuse(format!("1 to 8 doublings needed, {doublings} found"));
        }
        if let Some((lo, hi)) = ranges
            .iter()
            .find(|(lo, hi)| !(*lo > 0.0 && lo < hi && hi.is_finite()))
        {
            return refuse(format!("0 < lo < hi needed, [{lo}, {hi}] found"));
        }
        Ok(Reciprocal {
            slots,
            doublings,
            ranges,
        })
    }

    /// K: the degree is 2^K - 1, the depth K.
    pub fn doublings(&self) -> u32 {
        self.doublings
    }

    /// The interval of a slot.
    pub fn range(&self, slot: usize) -> (f64, f64) {
        self.ranges
            .get(slot % self.ranges.len().max(1))
            .copied()
            .unwrap_or((1.0, 2.0))
    }

    /// Slots after which the intervals repeat.
    pub fn period(&self) -> usize {
        self.ranges.len()
    }

    /// -dt/dx = 2 / (hi - lo): t = input_shift - input_scale * x.
    pub fn input_scale(&self, slot: usize) -> f64 {
        let (lo, hi) = self.range(slot);
        2.0 / (hi - lo)
    }

    /// t0 = (hi + lo) / (hi - lo): t = input_shift - input_scale * x.
    pub fn input_shift(&self, slot: usize) -> f64 {
        let (lo, hi) = self.range(slot);
        (hi + lo) / (hi - lo)
    }

    /// C: 1/x is about C times the result of the circuit.
    pub fn gain(&self, slot: usize) -> f64 {
        let degree = f64::from(self.doublings).exp2();
        degree * self.input_scale(slot) / chebyshev(degree, self.input_shift(slot))
    }

    /// Largest |x p(x) - 1| over all slots and over x in the interval of each: 1 / T_{2^D}(t0).
    pub fn error_bound(&self) -> f64 {
        let degree = f64::from(self.doublings).exp2();
        (0..self.ranges.len())
            .map(|j| 1.0 / chebyshev(degree, self.input_shift(j)))
            .fold(0.0, f64::max)
    }

    /// p(x) for the interval of a slot, in f64, gain included.
    pub fn evaluate(&self, slot: usize, x: f64) -> f64 {
        let t0 = self.input_shift(slot);
        let t = t0 - self.input_scale(slot) * x;
        let factor = |j: u32| {
            let n = f64::from(j).exp2();
            chebyshev(n, t0) + chebyshev(n, t)
        };
        self.gain(slot) * (0..self.doublings).map(factor).product::<f64>()
    }

    /// The circuit on x itself, gain included: two levels more, for callers that have no weight to fold into.
    ///
    /// # Errors
    /// As [`Circuit::expand`].
    pub fn expand_unfolded(&self, g: &mut Graph, x: NodeId) -> Result<NodeId> {
        let pattern =
            |f: &dyn Fn(usize) -> f64| Pattern::real((0..self.period()).map(|j| f(j) as f32).collect());
        let scaled = g.mul_plain(x, pattern(&|j| -self.input_scale(j))?);
        let t = g.add_plain(scaled, pattern(&|j| self.input_shift(j))?);
        let product = self.expand(g, &[t])?;
        Ok(g.mul_plain(product, pattern(&|j| self.gain(j))?))
    }
}

impl Circuit for Reciprocal {
    fn name(&self) -> &'static str {
        "reciprocal"
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn arity(&self) -> usize {
        1
    }

    fn expand(&self, g: &mut Graph, inputs: &[NodeId]) -> Result<NodeId> {
        let [t] = take(self, g, inputs)?;
        let minus_one = Pattern::constant(-1.0)?;
        g.category("reciprocal", |g| {
            let mut power = t;
            let mut product = None;
            for j in 0..self.doublings {
                if j > 0 {
                    // T_{2n} = 2 T_n^2 - 1.
                    let square = g.square(power);
                    let twice = g.double(square);
                    power = g.add_plain(twice, minus_one.clone());
                }
                let n = f64::from(j).exp2();
                let at_zero = (0..self.period())
                    .map(|slot| chebyshev(n, self.input_shift(slot)) as f32)
                    .collect();
                let factor = g.add_plain(power, Pattern::real(at_zero)?);
                product = Some(match product {
                    None => factor,
                    Some(product) => g.mul(product, factor),
                });
            }
            product.ok_or(Error::Circuit {
                circuit: "reciprocal",
                reason: "no doubling".to_owned(),
            })
        })
    }
}
