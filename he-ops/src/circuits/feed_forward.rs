//! The feed-forward part of a transformer layer with a quadratic activation.

use super::{Circuit, LinearTransform, same_slots, twice_real_part};
use crate::ckks::Pattern;
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// a x^2 + b x + c, a != 0, as a (x + shift)^2 + offset: one square, everything else folds into neighbouring weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quadratic {
    /// Factor of the square: fold it into the weights after the activation.
    pub gain: f64,
    /// Added before squaring: fold it into the bias before the activation.
    pub shift: f64,
    /// Added after: fold it, through the weights after the activation, into their bias.
    pub offset: f64,
}

impl Quadratic {
    /// Completes the square.
    ///
    /// # Errors
    /// [`Error::Value`] when a is zero or a coefficient is not finite.
    pub fn new(a: f64, b: f64, c: f64) -> Result<Self> {
        if a == 0.0 || ![a, b, c].iter().all(|x| x.is_finite()) {
            let reason = format!("finite coefficients with a != 0 needed, {a} x^2 + {b} x + {c} found");
            return Err(Error::Value {
                what: "quadratic activation",
                reason,
            });
        }
        Ok(Quadratic {
            gain: a,
            shift: b / (2.0 * a),
            offset: c - b * b / (4.0 * a),
        })
    }

    /// The activation at x.
    pub fn evaluate(&self, x: f64) -> f64 {
        self.gain * (x + self.shift) * (x + self.shift) + self.offset
    }
}

/// u = (up(inputs) + bias)^2, then optionally down(u): see [`Quadratic`] for what to fold where.
///
/// **Level:** in -> in - 2, or in - 3 with a second matrix. **Keys:** those of the transforms, relinearisation, and
/// conjugation if the real part is taken. **Cost:** the transforms and one square.
#[derive(Debug, Clone)]
pub struct FeedForward {
    up: LinearTransform,
    real_part: bool,
    bias: Pattern,
    down: Option<LinearTransform>,
}

impl FeedForward {
    /// `bias` is added before the square, activation shift included.
    pub fn new(up: LinearTransform, bias: Pattern) -> Self {
        FeedForward {
            up,
            real_part: false,
            bias,
            down: None,
        }
    }

    /// Takes twice the real part of the first transform: for inputs that carry something else in their imaginary part.
    /// Halve the weights.
    #[must_use]
    pub fn with_twice_real_part(self) -> Self {
        FeedForward {
            real_part: true,
            ..self
        }
    }

    /// A second matrix after the activation.
    ///
    /// # Errors
    /// [`Error::Shape`] unless it takes one input.
    pub fn with_down(self, down: LinearTransform) -> Result<Self> {
        match down.arity() {
            1 => Ok(FeedForward {
                down: Some(down),
                ..self
            }),
            found => Err(Error::Shape {
                what: "inputs of the second matrix",
                needed: 1,
                found,
            }),
        }
    }
}

impl Circuit for FeedForward {
    fn name(&self) -> &'static str {
        "feed_forward"
    }

    fn slots(&self) -> usize {
        self.up.slots()
    }

    fn arity(&self) -> usize {
        self.up.arity()
    }

    fn expand(&self, g: &mut Graph, inputs: &[NodeId]) -> Result<NodeId> {
        same_slots(self, g)?;
        let mut pre = self.up.expand(g, inputs)?;
        if self.real_part {
            pre = g.category("repack", |g| twice_real_part(g, pre));
        }
        let u = g.category("activation", |g| {
            let shifted = g.add_plain(pre, self.bias.clone());
            g.square(shifted)
        });
        match &self.down {
            Some(down) => down.expand(g, &[u]),
            None => Ok(u),
        }
    }
}
