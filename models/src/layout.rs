//! How the numbers of a model lie in the slots of its ciphertexts, whatever kind of model it is.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lower::{INPUT, OUTPUT};
use crate::packing::Packing;
use crate::transformer::packing::{BlockPacking, Slots};

/// What a client must know to make the inputs of a plan and to read its outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Layout {
    /// Of the one-layer classifier: one ciphertext, copies of the input in all of it.
    Staircase(Packing),
    /// Of transformers: blocks of features, two to a ciphertext.
    Blocks(BlockPacking),
}

impl Layout {
    /// Refuses a layout (from a manifest, say) that contradicts itself or a ring with this many slots.
    ///
    /// # Errors
    /// - sizes that do not fit each other, or more slots than the ring has
    pub fn check(&self, slots: usize) -> Result<()> {
        let (own, fits) = match self {
            Self::Staircase(packing) => {
                packing.check()?;
                (packing.slots, packing.slots == slots)
            }
            Self::Blocks(packing) => {
                packing.layout()?;
                (packing.slots, packing.slots <= slots)
            }
        };
        if fits {
            return Ok(());
        }
        Err(Error::Length {
            what: "slots of the layout",
            needed: slots,
            found: own,
        })
    }

    /// Names of the inputs, one ciphertext each.
    ///
    /// # Errors
    /// - a layout that contradicts itself
    pub fn inputs(&self) -> Result<Vec<String>> {
        match self {
            Self::Staircase(_) => Ok(vec![INPUT.to_owned()]),
            Self::Blocks(packing) => packing.inputs(),
        }
    }

    /// Names of the outputs, one ciphertext each.
    ///
    /// # Errors
    /// - a layout that contradicts itself
    pub fn outputs(&self) -> Result<Vec<String>> {
        match self {
            Self::Staircase(_) => Ok(vec![OUTPUT.to_owned()]),
            Self::Blocks(packing) => packing.outputs(),
        }
    }

    /// An embedded input (row-major, (tokens, features)) to slots; fewer than the ring has repeat.
    ///
    /// # Errors
    /// - `x` has another length than tokens * features
    pub fn pack(&self, x: &[f64]) -> Result<Slots> {
        match self {
            Self::Staircase(packing) => Ok(Slots::from([(INPUT.to_owned(), packing.pack(x)?)])),
            Self::Blocks(packing) => packing.pack(x),
        }
    }

    /// The answer from the slots of the outputs.
    ///
    /// # Errors
    /// - an output is missing or has too few slots
    pub fn unpack(&self, answer: &Slots) -> Result<Vec<f64>> {
        match self {
            Self::Staircase(packing) => packing.unpack(only(answer)),
            Self::Blocks(packing) => packing.unpack(answer),
        }
    }

    /// Largest difference between numbers of an answer that a right decryption has equal, or the largest number where
    /// none are: another key gives noise that is many times the answer.
    ///
    /// # Errors
    /// - as for [`unpack`](Self::unpack)
    pub fn disagreement(&self, answer: &Slots) -> Result<f64> {
        match self {
            Self::Staircase(packing) => {
                let [re, im] = packing.unpack(only(answer))?[..] else {
                    return Ok(f64::INFINITY);
                };
                let off = |z: &num_complex::Complex64| (z - num_complex::Complex64::new(re, im)).norm();
                Ok(only(answer).iter().map(off).fold(0.0, largest))
            }
            Self::Blocks(packing) => packing.disagreement(answer),
        }
    }
}

fn only(answer: &Slots) -> &[num_complex::Complex64] {
    answer.get(OUTPUT).map(Vec::as_slice).unwrap_or_default()
}

/// The larger number; what is none counts as infinite.
pub(crate) fn largest(a: f64, b: f64) -> f64 {
    a.max(if b.is_nan() { f64::INFINITY } else { b })
}
