//! Which slot holds which feature of which token of an input, and of an answer.

use std::collections::BTreeMap;

use he_ops::circuits::BlockLayout;
use num_complex::Complex64;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Slots of one ciphertext each, by name.
pub type Slots = BTreeMap<String, Vec<Complex64>>;

/// What the client must know to make the inputs of a plan and to read its outputs.
///
/// slot(token, feature of a block) = token * dim + feature; block 2i of the features is the real part of ciphertext i,
/// block 2i + 1 its imaginary part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockPacking {
    /// Complex slots of a ciphertext: tokens * dim.
    pub slots: usize,
    /// Tokens of an input.
    pub tokens: usize,
    /// Features of a token.
    pub features: usize,
    /// Numbers are divided by this before they are encrypted.
    pub input_scale: f64,
    /// The mean over the features of a token is taken off: the norms do not see it.
    pub centred: bool,
    /// How the answer lies in the slots.
    pub answer: Answer,
}

/// How an answer lies in the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Answer {
    /// `features` numbers for the first token; every other slot is zero.
    First {
        /// Numbers.
        features: usize,
    },
    /// `features` numbers, the same for every token.
    Same {
        /// Numbers.
        features: usize,
    },
    /// `features` numbers for every token.
    Each {
        /// Numbers.
        features: usize,
    },
}

impl Answer {
    /// Numbers of a token.
    #[must_use]
    pub fn features(&self) -> usize {
        match self {
            Answer::First { features } | Answer::Same { features } | Answer::Each { features } => *features,
        }
    }
}

/// Name of input i.
pub(super) fn input(i: usize) -> String {
    format!("x{i}")
}

/// Name of output i.
pub(super) fn output(i: usize) -> String {
    format!("y{i}")
}

impl BlockPacking {
    /// Refuses a packing (from a manifest, say) that contradicts itself.
    ///
    /// # Errors
    /// - sizes that are not powers of two or too large, or a scale that is not a number above 0
    pub fn layout(&self) -> Result<BlockLayout> {
        let sizes = self.slots <= 1 << 16 && self.features > 0 && self.features <= 1 << 16;
        let answer = (1..=1 << 16).contains(&self.answer.features());
        if sizes && answer && self.input_scale.is_finite() && self.input_scale > 0.0 {
            return Ok(BlockLayout::new(self.slots, self.tokens)?);
        }
        Err(Error::Config {
            field: "packing",
            needed: "at most 2^16 slots and features, and a scale above 0".to_owned(),
            found: format!("{self:?}"),
        })
    }

    /// Embedded input (row-major, `x[token * features + feature]`) to slots.
    ///
    /// # Errors
    /// - `x` has another length than tokens * features, or the packing is refused
    pub fn pack(&self, x: &[f64]) -> Result<Slots> {
        let layout = self.layout()?;
        let needed = self.tokens * self.features;
        if x.len() != needed {
            return Err(Error::Length {
                what: "embedded input",
                needed,
                found: x.len(),
            });
        }
        let mut packed: Vec<Vec<Complex64>> =
            vec![vec![Complex64::ZERO; self.slots]; layout.blocks(self.features).div_ceil(2)];
        for (token, features) in x.chunks(self.features).enumerate() {
            let mean = if self.centred {
                features.iter().sum::<f64>() / self.features as f64
            } else {
                0.0
            };
            for (f, value) in features.iter().enumerate() {
                let (block, at) = (f / layout.dim, f % layout.dim);
                let slots = packed.get_mut(block / 2);
                if let Some(slot) = slots.and_then(|slots| slots.get_mut(token * layout.dim + at)) {
                    let value = (value - mean) / self.input_scale;
                    *if block % 2 == 0 {
                        &mut slot.re
                    } else {
                        &mut slot.im
                    } = value;
                }
            }
        }
        let named = packed.into_iter().enumerate();
        Ok(named.map(|(i, slots)| (input(i), slots)).collect())
    }

    /// The answer from its slots: one number for each feature, or for each feature of each token, row-major.
    ///
    /// # Errors
    /// - an output is missing or has another number of slots
    pub fn unpack(&self, answer: &Slots) -> Result<Vec<f64>> {
        let layout = self.layout()?;
        let features = self.answer.features();
        let ciphertexts = layout.blocks(features).div_ceil(2);
        let mut found = Vec::with_capacity(ciphertexts);
        for i in 0..ciphertexts {
            let slots = answer.get(&output(i)).map(Vec::as_slice).unwrap_or_default();
            if slots.len() != self.slots {
                return Err(Error::Length {
                    what: "slots of an answer",
                    needed: self.slots,
                    found: slots.len(),
                });
            }
            found.push(slots);
        }
        let at = |token: usize, f: usize| {
            let (block, within) = (f / layout.dim, f % layout.dim);
            let slots = found.get(block / 2);
            let slot = slots.and_then(|slots| slots.get(token * layout.dim + within));
            slot.map_or(0.0, |z| if block % 2 == 0 { z.re } else { z.im })
        };
        Ok(match self.answer {
            Answer::First { .. } => (0..features).map(|f| at(0, f)).collect(),
            // All tokens hold the same number: their mean has the least noise.
            Answer::Same { .. } => (0..features)
                .map(|f| (0..self.tokens).map(|t| at(t, f)).sum::<f64>() / self.tokens as f64)
                .collect(),
            Answer::Each { .. } => (0..self.tokens)
                .flat_map(|t| (0..features).map(move |f| (t, f)))
                .map(|(t, f)| at(t, f))
                .collect(),
        })
    }
}
