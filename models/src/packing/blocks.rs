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
/// slot(token, sequence, feature of a block) = (token * sequences + sequence) * dim + feature; block 2i of the features is
/// the real part of ciphertext i, block 2i + 1 its imaginary part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockPacking {
    /// Complex slots of a value: tokens * sequences * dim. A ring with more of them repeats them.
    pub slots: usize,
    /// Tokens of a sequence. Its last one fills the length up to a power of two; nobody looks at that.
    pub tokens: usize,
    /// Sequences that one run takes.
    pub sequences: usize,
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
    /// `features` numbers for the first token of a sequence; every other slot is zero.
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

/// Where a logit lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogitSlot {
    /// Number of the output.
    pub output: usize,
    /// Slot, and every slot that is a multiple of `period` away: all of them hold the number.
    pub slot: usize,
    /// A power of two.
    pub period: usize,
    /// In the imaginary part.
    pub imaginary: bool,
}

/// Tokens of a layout for sequences of this length: a power of two, two at least.
pub(crate) fn padded_len(seq_len: usize) -> usize {
    seq_len.max(2).next_power_of_two()
}

/// Name of input i.
pub(crate) fn input(i: usize) -> String {
    format!("x{i}")
}

/// Name of output i.
pub(crate) fn output(i: usize) -> String {
    format!("y{i}")
}

impl BlockPacking {
    /// Refuses a packing (from a manifest, say) that contradicts itself.
    ///
    /// # Errors
    /// - sizes that are not powers of two or too large, or a scale that is not a number above 0
    pub fn layout(&self) -> Result<BlockLayout> {
        let sizes = self.slots <= 1 << 16
            && (1..=1 << 16).contains(&self.tokens)
            && self.features > 0
            && self.features <= 1 << 16;
        let answer = (1..=1 << 16).contains(&self.answer.features());
        if sizes && answer && self.input_scale.is_finite() && self.input_scale > 0.0 {
            return Ok(BlockLayout::new(
                self.slots,
                padded_len(self.tokens),
                self.sequences,
            )?);
        }
        Err(Error::Config {
            field: "packing",
            needed: "at most 2^16 slots and features, and a scale above 0".to_owned(),
            found: format!("{self:?}"),
        })
    }

    /// Names of the input ciphertexts, in order.
    ///
    /// # Errors
    /// - as for [`layout`](Self::layout)
    pub fn inputs(&self) -> Result<Vec<String>> {
        let ciphertexts = self.layout()?.blocks(self.features).div_ceil(2);
        Ok((0..ciphertexts).map(input).collect())
    }

    /// Names of the output ciphertexts, in order.
    ///
    /// # Errors
    /// - as for [`layout`](Self::layout)
    pub fn outputs(&self) -> Result<Vec<String>> {
        let ciphertexts = self.layout()?.blocks(self.answer.features()).div_ceil(2);
        Ok((0..ciphertexts).map(output).collect())
    }

    /// One embedded input (row-major, `x[token * features + feature]`) to slots.
    ///
    /// # Errors
    /// - as for [`pack_all`](Self::pack_all)
    pub fn pack(&self, x: &[f64]) -> Result<Slots> {
        self.pack_all(&[x])
    }

    /// Up to `sequences` inputs to slots. Places that are left over repeat them: zeros would leave the ranges that the
    /// model was calibrated for.
    ///
    /// # Errors
    /// - there is no input or more than `sequences`, an input has another length than tokens * features, or the packing
    ///   is refused
    pub fn pack_all(&self, inputs: &[&[f64]]) -> Result<Slots> {
        let layout = self.layout()?;
        let length = |what, needed, found| Err(Error::Length { what, needed, found });
        if inputs.is_empty() || inputs.len() > self.sequences {
            return length("sequences", self.sequences, inputs.len());
        }
        let mut packed: Vec<Vec<Complex64>> =
            vec![vec![Complex64::ZERO; self.slots]; layout.blocks(self.features).div_ceil(2)];
        for (sequence, x) in inputs.iter().cycle().take(self.sequences).enumerate() {
            let needed = self.tokens * self.features;
            if x.len() != needed {
                return length("embedded input", needed, x.len());
            }
            let last = x.rchunks(self.features).take(1).cycle();
            for (token, features) in x
                .chunks(self.features)
                .chain(last)
                .take(layout.tokens)
                .enumerate()
            {
                let mean = if self.centred {
                    features.iter().sum::<f64>() / self.features as f64
                } else {
                    0.0
                };
                for (f, value) in features.iter().enumerate() {
                    let (block, at) = (f / layout.dim, slot(layout, token, sequence, f));
                    let slots = packed.get_mut(block / 2);
                    if let Some(slot) = slots.and_then(|slots| slots.get_mut(at)) {
                        let value = (value - mean) / self.input_scale;
                        *if block.is_multiple_of(2) {
                            &mut slot.re
                        } else {
                            &mut slot.im
                        } = value;
                    }
                }
            }
        }
        let named = packed.into_iter().enumerate();
        Ok(named.map(|(i, slots)| (input(i), slots)).collect())
    }

    /// The answer to the first input from its slots: one number for each feature, or for each feature of each token,
    /// row-major.
    ///
    /// # Errors
    /// - as for [`unpack_all`](Self::unpack_all)
    pub fn unpack(&self, answer: &Slots) -> Result<Vec<f64>> {
        Ok(self.unpack_all(answer)?.into_iter().next().unwrap_or_default())
    }

    /// The answers of all places.
    ///
    /// # Errors
    /// - an output is missing or has too few slots; more than [`slots`](Self::slots) are repetitions
    pub fn unpack_all(&self, answer: &Slots) -> Result<Vec<Vec<f64>>> {
        let layout = self.layout()?;
        let features = self.answer.features();
        let ciphertexts = layout.blocks(features).div_ceil(2);
        let mut found = Vec::with_capacity(ciphertexts);
        for i in 0..ciphertexts {
            let slots = answer.get(&output(i)).map(Vec::as_slice).unwrap_or_default();
            if slots.len() < self.slots {
                return Err(Error::Length {
                    what: "slots of an answer",
                    needed: self.slots,
                    found: slots.len(),
                });
            }
            found.push(slots);
        }
        let read = |sequence: usize| {
            let at = |token: usize, f: usize| {
                let block = f / layout.dim;
                let slots = found.get(block / 2);
                let slot = slots.and_then(|slots| slots.get(slot(layout, token, sequence, f)));
                slot.map_or(0.0, |z| if block.is_multiple_of(2) { z.re } else { z.im })
            };
            match self.answer {
                Answer::First { .. } => (0..features).map(|f| at(0, f)).collect(),
                // All tokens hold the same number: their mean has the least noise.
                Answer::Same { .. } => (0..features)
                    .map(|f| (0..layout.tokens).map(|t| at(t, f)).sum::<f64>() / layout.tokens as f64)
                    .collect(),
                Answer::Each { .. } => (0..self.tokens)
                    .flat_map(|t| (0..features).map(move |f| (t, f)))
                    .map(|(t, f)| at(t, f))
                    .collect(),
            }
        };
        Ok((0..self.sequences).map(read).collect())
    }
}

impl BlockPacking {
    /// Where the logits of the first sequence lie; of those for each token, the last ones.
    pub(crate) fn logit_slots(&self) -> Result<Vec<LogitSlot>> {
        let layout = self.layout()?;
        let (token, period) = match self.answer {
            Answer::First { .. } => (0, self.slots),
            Answer::Same { .. } => (0, layout.stride()),
            Answer::Each { .. } => (self.tokens.saturating_sub(1), self.slots),
        };
        let place = |f: usize| {
            let block = f / layout.dim;
            LogitSlot {
                output: block / 2,
                slot: slot(layout, token, 0, f),
                period,
                imaginary: !block.is_multiple_of(2),
            }
        };
        Ok((0..self.answer.features()).map(place).collect())
    }
}

/// Where a feature stands in its block's part of a ciphertext.
fn slot(layout: BlockLayout, token: usize, sequence: usize, feature: usize) -> usize {
    token * layout.stride() + sequence * layout.dim + feature % layout.dim
}
