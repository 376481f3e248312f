//! The classification head: weighted sums over all features of all tokens.

use super::{Circuit, TokenLayout, inner_sum, same_slots};
use crate::ckks::Pattern;
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// logits = Σ_inputs Σ_{token, feature} weights * x + bias, in every slot: label 0 in the real part, label 1 in the
/// imaginary part, so that two labels cost one sum. For the mean over tokens divide the weights by their number.
///
/// **Level:** in -> in - 1, the sums one level below. **Keys:** rotations 1, 2, .., tokens * dim / 2.
/// **Cost:** one plaintext product for each input, log2(tokens * dim) rotations.
#[derive(Debug, Clone)]
pub struct Head {
    layout: TokenLayout,
    weights: Vec<Pattern>,
    bias: Pattern,
}

impl Head {
    /// One weight pattern for each input (period up to tokens * dim), and the bias. [`Head::pair`] makes them of rows.
    ///
    /// # Errors
    /// [`Error::Circuit`] for no input, [`Error::Shape`] for a pattern that does not repeat with the sequence.
    pub fn new(layout: TokenLayout, weights: Vec<Pattern>, bias: Pattern) -> Result<Self> {
        if weights.is_empty() {
            let reason = "weights of at least one input needed".to_owned();
            return Err(Error::Circuit {
                circuit: "head",
                reason,
            });
        }
        if let Some(long) = weights
            .iter()
            .chain([&bias])
            .find(|w| w.period() > layout.sequence())
        {
            return Err(Error::Shape {
                what: "period of a head",
                needed: layout.sequence(),
                found: long.period(),
            });
        }
        Ok(Head {
            layout,
            weights,
            bias,
        })
    }

    /// The rows of two labels as one complex pattern.
    ///
    /// # Errors
    /// As [`Pattern::complex`].
    pub fn pair(label0: Vec<f32>, label1: Vec<f32>) -> Result<Pattern> {
        Pattern::complex(label0, label1)
    }
}

impl Circuit for Head {
    fn name(&self) -> &'static str {
        "head"
    }

    fn slots(&self) -> usize {
        self.layout.slots
    }

    fn arity(&self) -> usize {
        self.weights.len()
    }

    fn expand(&self, g: &mut Graph, inputs: &[NodeId]) -> Result<NodeId> {
        same_slots(self, g)?;
        if inputs.len() != self.arity() {
            return Err(Error::Shape {
                what: "inputs of a circuit",
                needed: self.arity(),
                found: inputs.len(),
            });
        }
        g.category("head", |g| {
            let weighted = g.weighted_sum(inputs.iter().copied().zip(self.weights.iter().cloned()));
            let sum = inner_sum(g, weighted, 1, self.layout.sequence())?;
            Ok(g.add_plain(sum, self.bias.clone()))
        })
    }
}
