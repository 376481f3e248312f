//! 1/x on an interval, by doubling the degree of a Chebyshev polynomial.

use super::{Circuit, take};
use crate::ckks::Pattern;
use crate::error::broken;
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// 1/x for x in \[lo, hi\], with an interval of its own for each slot of a period.
///
/// With t = (hi + lo - 2x) / (hi - lo) in \[-1, 1\] and t0 = (hi + lo) / (hi - lo) = cosh u, 1/x = 2 / ((hi - lo) (t0 - t)).
/// From T_{2n}(a) - T_{2n}(b) = 2 (T_n(a) - T_n(b)) (T_n(a) + T_n(b)), with D doublings,
///
/// 1/x = C (1 + δ) Π_{j < D} (T_{2^j}(t0) + T_{2^j}(t)), |δ| <= about 1 / T_{2^D}(t0):
///
/// the best relative error that any polynomial of degree 2^D - 1 can have, at depth D. T_n(t0) grows as e^{nu}/2, without
/// bounds on a narrow interval. So all of it is scaled by powers of a_j = e^{-2^j u}: with r_j = 2 a_j T_{2^j}(t),
///
/// r_{j+1} = r_j^2 - 2 a_{j+1}, and the factors are r_j + 1 + a_j^2, between 0 and (1 + a_j)^2.
///
/// Their product is at most 1 / (1 - a_0)^2, and that only for the smallest x.
///
/// The circuit takes a_0 t and gives the product without its constant: fold [`input_scale`](Self::input_scale),
/// [`input_shift`](Self::input_shift) and [`gain`](Self::gain) into the neighbouring weights.
///
/// **Level:** in -> in - D. **Keys:** relinearisation. **Cost:** D - 1 squares and D - 1 products.
#[derive(Debug, Clone)]
pub struct Reciprocal {
    slots: usize,
    doublings: u32,
    ranges: Vec<(f64, f64)>,
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
    #[expect(clippy::indexing_slicing, reason = "there is an interval: `new` refuses none")]
    pub fn range(&self, slot: usize) -> (f64, f64) {
        self.ranges[slot % self.ranges.len()]
    }

    /// Slots after which the intervals repeat.
    pub fn period(&self) -> usize {
        self.ranges.len()
    }

    /// u: t0 = cosh u.
    fn width(&self, slot: usize) -> f64 {
        let (lo, hi) = self.range(slot);
        ((hi + lo) / (hi - lo)).acosh()
    }

    /// 2 a_0 / (hi - lo): the circuit takes input_shift - input_scale * x.
    pub fn input_scale(&self, slot: usize) -> f64 {
        let (lo, hi) = self.range(slot);
        2.0 / (hi - lo) * (-self.width(slot)).exp()
    }

    /// a_0 t0: the circuit takes input_shift - input_scale * x, between -a_0 and a_0.
    pub fn input_shift(&self, slot: usize) -> f64 {
        let (lo, hi) = self.range(slot);
        (hi + lo) / (hi - lo) * (-self.width(slot)).exp()
    }

    /// 1/x is about this times the result of the circuit.
    pub fn gain(&self, slot: usize) -> f64 {
        let degree = f64::from(self.doublings).exp2();
        2.0 * self.input_scale(slot) / (1.0 + (-2.0 * degree * self.width(slot)).exp())
    }

    /// Largest |x p(x) - 1| over all slots and over x in the interval of each: 1 / T_{2^D}(t0).
    pub fn error_bound(&self) -> f64 {
        let degree = f64::from(self.doublings).exp2();
        (0..self.ranges.len())
            .map(|j| 1.0 / (degree * self.width(j)).cosh())
            .fold(0.0, f64::max)
    }

    /// p(x) for the interval of a slot, in f64, gain included.
    pub fn evaluate(&self, slot: usize, x: f64) -> f64 {
        let start = self.input_shift(slot) - self.input_scale(slot) * x;
        let (mut r, mut product) = (2.0 * start, 1.0);
        for j in 0..self.doublings {
            let a = self.decay(slot, j);
            if j > 0 {
                r = r * r - 2.0 * a;
            }
            product *= r + 1.0 + a * a;
        }
        self.gain(slot) * product
    }

    /// a_j = e^{-2^j u}.
    fn decay(&self, slot: usize, j: u32) -> f64 {
        (-f64::from(j).exp2() * self.width(slot)).exp()
    }

    /// The circuit on twice its operand, for callers that have that.
    ///
    /// # Errors
    /// As [`Circuit::expand`].
    pub fn expand_doubled(&self, g: &mut Graph, twice: NodeId) -> Result<NodeId> {
        let pattern =
            |f: &dyn Fn(usize) -> f64| Pattern::real((0..self.period()).map(|slot| f(slot) as f32).collect());
        g.category("reciprocal", |g| {
            let mut r = twice;
            let mut product = None;
            for j in 0..self.doublings {
                let factor = if j == 0 {
                    g.add_plain(r, pattern(&|slot| 1.0 + self.decay(slot, 0).powi(2))?)
                } else {
                    let square = g.square(r);
                    r = g.add_plain(square, pattern(&|slot| -2.0 * self.decay(slot, j))?);
                    // r + 1 + a^2.
                    g.add_plain(square, pattern(&|slot| (1.0 - self.decay(slot, j)).powi(2))?)
                };
                product = Some(match product {
                    None => factor,
                    Some(product) => g.mul(product, factor),
                });
            }
            product.ok_or_else(|| broken("a reciprocal has a doubling"))
        })
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
        let [start] = take(self, g, inputs)?;
        let twice = g.category("reciprocal", |g| g.double(start));
        self.expand_doubled(g, twice)
    }
}
