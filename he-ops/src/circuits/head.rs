//! The classification head: weighted sums over all features of all tokens.

use super::{Circuit, Matrix, TokenLayout, check_inputs, inner_sum};
use crate::ckks::Pattern;
use crate::error::broken;
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// logits = Σ_inputs Σ_tokens W_input x + bias: logit 2r in the real part and logit 2r + 1 in the imaginary part of every
/// slot j = r modulo R, R the number of such pairs rounded up to a power of two. For the mean over tokens divide the
/// weights by their number.
///
/// Two labels, R = 1, are one sum over all slots of a sequence. For more, slot j adds up for its own pair r = j mod R:
/// with w_k(j) = W\[r, j mod dim\] x(j) for r = j - k mod R, the value Σ_{k < R} w_k(j + k) counts R neighbours, and the
/// slots of one residue modulo R have together counted every slot of the sequence once. So R sums are rotated into
/// each other by single steps after they were weighted, one level down, and then log2(tokens * dim / R) times.
///
/// **Level:** in -> in - 1, the sums one level below. **Keys:** rotations 1, and R, 2R, .., tokens * dim / 2.
/// **Cost:** R plaintext products for each input, R - 1 + log2(tokens * dim / R) rotations.
#[derive(Debug, Clone)]
pub struct Head {
    layout: TokenLayout,
    weights: Vec<Matrix>,
    bias: Vec<f32>,
}

impl Head {
    /// One matrix (labels, features) for each input, and the bias of each label.
    ///
    /// # Errors
    /// [`Error::Circuit`] for no input or more pairs of labels than features, [`Error::Shape`] for a matrix of another
    /// number of rows than labels, or of more columns than features.
    pub fn new(layout: TokenLayout, weights: Vec<Matrix>, bias: Vec<f32>) -> Result<Self> {
        let head = Head {
            layout,
            weights,
            bias,
        };
        if head.weights.is_empty() || head.bias.is_empty() || head.period() > layout.dim {
            let reason = format!(
                "an input and 1 to {} labels needed, {} inputs and {} labels found",
                2 * layout.dim,
                head.weights.len(),
                head.bias.len()
            );
            return Err(Error::Circuit {
                circuit: "head",
                reason,
            });
        }
        for matrix in &head.weights {
            for (what, needed, found) in [
                ("rows of a head", head.bias.len(), matrix.rows()),
                ("columns of a head", layout.dim.min(matrix.cols()), matrix.cols()),
            ] {
                if needed != found {
                    return Err(Error::Shape { what, needed, found });
                }
            }
        }
        Ok(head)
    }

    /// R: slots after which the answer repeats.
    pub fn period(&self) -> usize {
        self.bias.len().div_ceil(2).next_power_of_two()
    }

    /// w_k of an input.
    fn weights(&self, matrix: &Matrix, k: usize) -> Result<Pattern> {
        let period = self.period();
        let part = |odd: usize| {
            let at = |j: usize| matrix.entry(2 * ((j + period - k) % period) + odd, j).0;
            (0..self.layout.dim).map(at).collect()
        };
        Pattern::complex(part(0), part(1))
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
        check_inputs(self, g, inputs)?;
        let period = self.period();
        g.category("head", |g| {
            let mut sum: Option<NodeId> = None;
            for k in (0..period).rev() {
                let terms = (inputs.iter().zip(&self.weights))
                    .map(|(input, matrix)| Ok((*input, self.weights(matrix, k)?)))
                    .collect::<Result<Vec<_>>>()?;
                let weighted = g.weighted_sum(terms);
                sum = Some(match sum {
                    Some(sum) => {
                        let turned = g.rotate(sum, 1);
                        g.add(weighted, turned)
                    }
                    None => weighted,
                });
            }
            let nothing = || broken("a head has a label");
            let sum = sum.ok_or_else(nothing)?;
            let sum = inner_sum(g, sum, period as i64, self.layout.sequence() / period)?;
            let part = |odd: usize| {
                let at = |r: usize| self.bias.get(2 * r + odd).copied().unwrap_or(0.0);
                (0..period).map(at).collect()
            };
            Ok(g.add_plain(sum, Pattern::complex(part(0), part(1))?))
        })
    }
}
