//! PowerSoftmax on rows of scores: a power, a sum over the row, and a reciprocal without any approximation interval.

use super::{Circuit, take};
use crate::ckks::Pattern;
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// x^p / sum(x^p) over rows of scores that stand interleaved: slot = score * rows + row.
///
/// The row is cyclic in the slots, so that log2(scores) rotations sum it into every one of its slots, without a mask.
/// With y the sum and e = 1 - y,
///
/// 1/y = (1 + e) (1 + e^2) (1 + e^4) .. (1 + e^(2^(r - 1))) / (1 - e^(2^r)),
///
/// of which the numerator is computed: a relative error of |1 - y|^(2^r). Scale the scores so that their powers sum to
/// about one; sums between 0 and 2 converge.
///
/// **Level:** in -> in - log2(p) - r - 1. **Keys:** relinearisation, rotations rows, 2 rows, .., slots / 2.
/// **Cost:** log2(p) + 2 r - 1 products, log2(scores) rotations. **Reference:** arXiv 2410.09457 (the softmax), ePrint
/// 2019/417 (the reciprocal).
#[derive(Debug, Clone)]
pub struct PowerSoftmax {
    slots: usize,
    scores: usize,
    log_power: u32,
    factors: u32,
}

impl PowerSoftmax {
    /// Rows of `scores`, the even `power` and the number r of `factors` of the reciprocal.
    ///
    /// # Errors
    /// [`Error::Circuit`] unless `scores` and `power` are powers of two from 2, the scores fit the slots, the power is
    /// at most 16, and there are 1 to 10 factors.
    pub fn new(slots: usize, scores: usize, power: u32, factors: u32) -> Result<Self> {
        let refuse = |reason: String| {
            Err(Error::Circuit {
                circuit: "power_softmax",
                reason,
            })
        };
        if !slots.is_power_of_two() || !scores.is_power_of_two() || !(2..=slots).contains(&scores) {
            return refuse(format!(
                "rows of 2 to {slots} scores, a power of two, needed, {scores} found"
            ));
        }
        if !power.is_power_of_two() || !(2..=16).contains(&power) {
            return refuse(format!("a power of 2, 4, 8 or 16 needed, {power} found"));
        }
        if !(1..=10).contains(&factors) {
            return refuse(format!("1 to 10 factors needed, {factors} found"));
        }
        Ok(PowerSoftmax {
            slots,
            scores,
            log_power: power.ilog2(),
            factors,
        })
    }

    /// Rows that stand side by side.
    pub fn rows(&self) -> usize {
        self.slots / self.scores
    }

    /// Largest relative error of the result when all sums are within `reach` of one.
    pub fn error_bound(&self, reach: f64) -> f64 {
        reach.abs().powf(f64::from(self.factors).exp2())
    }
}

impl Circuit for PowerSoftmax {
    fn name(&self) -> &'static str {
        "power_softmax"
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn arity(&self) -> usize {
        1
    }

    fn expand(&self, g: &mut Graph, inputs: &[NodeId]) -> Result<NodeId> {
        let [x] = take(self, g, inputs)?;
        let one = Pattern::constant(1.0)?;
        let powers = g.category("power", |g| (0..self.log_power).fold(x, |x, _| g.square(x)));
        let sum = g.category("row sum", |g| {
            (0..self.scores.ilog2()).fold(powers, |sum, i| {
                let turned = g.rotate(sum, (self.rows() as i64) << i);
                g.add(sum, turned)
            })
        });
        let inverse = g.category("reciprocal", |g| {
            let minus = g.negate(sum);
            let mut e = g.add_plain(minus, one.clone());
            let mut product = g.add_plain(e, one.clone());
            for _ in 1..self.factors {
                e = g.square(e);
                let factor = g.add_plain(e, one.clone());
                product = g.mul(product, factor);
            }
            product
        });
        Ok(g.category("normalise", |g| g.mul(powers, inverse)))
    }
}
