//! The feed-forward part of a transformer layer with a quadratic activation.

use super::{Circuit, TokenTransform, same_slots, twice_real_part};
use crate::Result;
use crate::ckks::Pattern;
use crate::graph::{Graph, NodeId};

/// u = (up(inputs) + bias)^2: of a x^2 + b x + c = a (x + b / 2a)^2 + c - b^2 / 4a everything but the square folds into the
/// weights before and after it.
///
/// **Level:** in -> in - 2. **Keys:** those of the transform, relinearisation, and conjugation if the real part is taken.
/// **Cost:** the transform and one square.
#[derive(Debug, Clone)]
pub struct FeedForward {
    up: TokenTransform,
    real_part: bool,
    bias: Pattern,
}

impl FeedForward {
    /// `bias` is added before the square, activation shift included.
    pub fn new(up: TokenTransform, bias: Pattern) -> Self {
        FeedForward {
            up,
            real_part: false,
            bias,
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
        Ok(g.category("activation", |g| {
            let shifted = g.add_plain(pre, self.bias.clone());
            g.square(shifted)
        }))
    }
}
