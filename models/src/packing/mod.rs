//! How the input of a model lies in the slots of ciphertexts, and its answer: one interface for both lowerings.

pub mod blocks;
pub mod staircase;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::packing::blocks::{BlockPacking, LogitSlot, Slots};
use crate::packing::staircase::{INPUT, OUTPUT, Staircase};

/// Ciphertexts of an input or an answer: more than any model needs, and few enough to be refused before memory is.
const MAX_CIPHERTEXTS: usize = 256;

/// What the client must know to make the inputs of a plan and to read its outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Packing {
    /// Of a small model: one ciphertext in, one out.
    Staircase(Staircase),
    /// Of any model: any number of ciphertexts.
    Blocks(BlockPacking),
}

impl Packing {
    /// Refuses a packing (from a manifest, say) that contradicts itself, or needs more ciphertexts than any model.
    ///
    /// # Errors
    /// - [`Error::Config`] or [`Error::HeOps`] with what was needed
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Staircase(staircase) => staircase.check(),
            Self::Blocks(blocks) => {
                let layout = blocks.layout()?;
                let features = blocks.features.max(blocks.answer.features());
                let found = layout.blocks(features).div_ceil(2);
                if found <= MAX_CIPHERTEXTS {
                    return Ok(());
                }
                Err(Error::Config {
                    field: "packing",
                    needed: format!("at most {MAX_CIPHERTEXTS} ciphertexts"),
                    found: found.to_string(),
                })
            }
        }
    }

    /// Complex slots of a value; a ring with more of them repeats them.
    pub fn slots(&self) -> usize {
        match self {
            Self::Staircase(staircase) => staircase.slots,
            Self::Blocks(blocks) => blocks.slots,
        }
    }

    /// Tokens and features of an input.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::Staircase(staircase) => [staircase.seq_len, staircase.dim],
            Self::Blocks(blocks) => [blocks.tokens, blocks.features],
        }
    }

    /// Numbers of an answer; with `each`, of every token of it.
    pub fn answer_features(&self) -> usize {
        match self {
            Self::Staircase(staircase) => staircase.labels,
            Self::Blocks(blocks) => blocks.answer.features(),
        }
    }

    /// Names of the input ciphertexts, in order.
    ///
    /// # Errors
    /// - as for [`check`](Self::check)
    pub fn inputs(&self) -> Result<Vec<String>> {
        match self {
            Self::Staircase(_) => Ok(vec![INPUT.to_owned()]),
            Self::Blocks(blocks) => blocks.inputs(),
        }
    }

    /// Names of the output ciphertexts, in order.
    ///
    /// # Errors
    /// - as for [`check`](Self::check)
    pub fn outputs(&self) -> Result<Vec<String>> {
        match self {
            Self::Staircase(_) => Ok(vec![OUTPUT.to_owned()]),
            Self::Blocks(blocks) => blocks.outputs(),
        }
    }

    /// An embedded input (row-major, `x[token * features + feature]`) to the slots of every input ciphertext.
    ///
    /// # Errors
    /// - `x` has another length than tokens * features
    pub fn pack(&self, x: &[f64]) -> Result<Slots> {
        match self {
            Self::Staircase(staircase) => Ok(BTreeMap::from([(INPUT.to_owned(), staircase.pack(x)?)])),
            Self::Blocks(blocks) => blocks.pack(x),
        }
    }

    /// The answer from the slots of every output ciphertext: logits, a pooled embedding, or (tokens, vocab) logits,
    /// row-major.
    ///
    /// # Errors
    /// - an output is missing or has too few slots
    pub fn unpack(&self, answer: &Slots) -> Result<Vec<f64>> {
        match self {
            Self::Staircase(staircase) => {
                staircase.unpack(answer.get(OUTPUT).map(Vec::as_slice).unwrap_or_default())
            }
            Self::Blocks(blocks) => blocks.unpack(answer),
        }
    }

    /// Where the logits lie that a label is decided from: see [`Head::decided`](crate::Head::decided).
    pub(crate) fn logit_slots(&self) -> Result<Vec<LogitSlot>> {
        match self {
            Self::Staircase(staircase) => Ok(staircase.logit_slots()),
            Self::Blocks(blocks) => blocks.logit_slots(),
        }
    }
}
