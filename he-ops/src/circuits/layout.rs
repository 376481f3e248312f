//! Where a token's features stand in the slots.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// slot(copy, token, feature) = (copy * tokens + token) * dim + feature: tokens high, features low, the whole repeated
/// as often as fits. All sizes are powers of two.
///
/// So a token shift is a rotation by a multiple of `dim`, cyclic over all rows of all copies, and a weight that is the
/// same for every token has period `dim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenLayout {
    /// Complex slots.
    pub slots: usize,
    /// Tokens of one sequence.
    pub tokens: usize,
    /// Features of one token.
    pub dim: usize,
}

impl TokenLayout {
    /// A layout whose sizes fit.
    ///
    /// # Errors
    /// [`Error::Circuit`] unless all sizes are powers of two and `tokens * dim` fits the slots.
    pub fn new(slots: usize, tokens: usize, dim: usize) -> Result<Self> {
        let powers = slots.is_power_of_two() && tokens.is_power_of_two() && dim.is_power_of_two();
        if powers && tokens.checked_mul(dim).is_some_and(|size| size <= slots) {
            return Ok(TokenLayout { slots, tokens, dim });
        }
        Err(Error::Circuit {
            circuit: "token layout",
            reason: format!(
                "powers of two with tokens * dim <= slots needed, {tokens} * {dim} in {slots} found"
            ),
        })
    }

    /// Times that the sequence fits into the slots.
    pub fn copies(&self) -> usize {
        self.slots / (self.tokens * self.dim).max(1)
    }

    /// Slots of one sequence.
    pub fn sequence(&self) -> usize {
        self.tokens * self.dim
    }

    /// Slot of a feature of a token in a copy.
    pub fn slot(&self, copy: usize, token: usize, feature: usize) -> usize {
        (copy * self.tokens + token) * self.dim + feature
    }
}
