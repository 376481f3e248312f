//! What a decrypted answer means.

use crate::error::Result;
use models::reference::{label, probabilities};
use models::{Bundle, Manifest, Task};
use serde::Serialize;

/// Largest difference from the clear polynomial model, and between numbers that should be equal, that counts as agreement.
pub const TOLERANCE: f64 = 1.0 / 128.0;

/// Next tokens that an answer lists.
const LISTED: usize = 5;

/// A decrypted answer. Its numbers are not for third parties in full precision: see SECURITY.md on approximate decryption.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Of a classifier.
    Label {
        /// The label with the largest logit.
        label: String,
        /// Its probability.
        probability: f64,
        /// One per label.
        logits: Vec<f64>,
    },
    /// The direction of a text in the space of meanings.
    Embedding {
        /// Of length 1.
        embedding: Vec<f64>,
        /// Its length as the server returned it.
        norm: f64,
    },
    /// What may follow a text.
    Next {
        /// The likeliest tokens, the first the likeliest.
        next: Vec<Token>,
        /// One for each token of the vocabulary.
        logits: Vec<f64>,
    },
}

/// A token that may come next.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Token {
    /// As the tokenizer writes it.
    pub token: String,
    /// Its probability.
    pub probability: f64,
}

impl Answer {
    /// The answer of a model from its numbers; `last` is the last position of the text.
    ///
    /// # Errors
    /// A next token that the tokenizer does not know.
    pub(crate) fn new(manifest: &Manifest, bundle: &Bundle, values: Vec<f64>) -> Result<Self> {
        Ok(match manifest.task {
            Task::Classification => {
                let index = label(&values);
                Self::Label {
                    label: manifest
                        .labels
                        .get(index)
                        .cloned()
                        .unwrap_or_else(|| index.to_string()),
                    probability: probabilities(&values).get(index).copied().unwrap_or(f64::NAN),
                    logits: values,
                }
            }
            Task::Embedding => {
                let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
                Self::Embedding {
                    embedding: values.iter().map(|v| v / norm).collect(),
                    norm,
                }
            }
            Task::NextToken => {
                let vocab = values.len() / manifest.max_tokens.max(1);
                let logits = values
                    .chunks(vocab.max(1))
                    .next_back()
                    .unwrap_or_default()
                    .to_vec();
                let mut ranked: Vec<(u32, f64)> = (0..).zip(probabilities(&logits)).collect();
                ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
                let listed = ranked.into_iter().take(LISTED);
                let next = listed
                    .map(|(id, probability)| {
                        let token = bundle.token(id)?;
                        Ok(Token { token, probability })
                    })
                    .collect::<Result<_>>()?;
                Self::Next { next, logits }
            }
        })
    }

    /// The label of a classifier.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Label { label, .. } => Some(label),
            Self::Embedding { .. } | Self::Next { .. } => None,
        }
    }

    /// The numbers that two answers are compared by.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        match self {
            Self::Label { logits, .. } | Self::Next { logits, .. } => logits,
            Self::Embedding { embedding, .. } => embedding,
        }
    }

    /// Largest difference to another answer; infinite where one has a number that is none, or they have other lengths.
    #[must_use]
    pub fn difference(&self, other: &Self) -> f64 {
        if self.values().len() != other.values().len() {
            return f64::INFINITY;
        }
        let pairs = self.values().iter().zip(other.values());
        pairs
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, |max, d| if d.is_nan() { f64::INFINITY } else { d.max(max) })
    }

    /// Rounds every number to `bits` bits after the point.
    pub fn round(&mut self, bits: u32) {
        let unit = f64::from(bits).exp2();
        let round = |v: &mut f64| *v = (*v * unit).round() / unit;
        match self {
            Self::Label {
                probability, logits, ..
            } => {
                round(probability);
                logits.iter_mut().for_each(round);
            }
            Self::Embedding { embedding, norm } => {
                embedding.iter_mut().for_each(round);
                round(norm);
            }
            Self::Next { next, logits } => {
                next.iter_mut().for_each(|token| round(&mut token.probability));
                logits.iter_mut().for_each(round);
            }
        }
    }
}

impl Answer {
    /// A line of the demo: a bar for a label, the text for anything else.
    pub(crate) fn row(&self, f: &mut std::fmt::Formatter<'_>, how: &str) -> std::fmt::Result {
        let Self::Label {
            label, probability, ..
        } = self
        else {
            return writeln!(f, "    {self}  {how}");
        };
        let filled = (probability.clamp(0.0, 1.0) * 30.0).round() as usize;
        writeln!(
            f,
            "    {label:<10} {:>5.1} %  {}{}  {how}",
            probability * 100.0,
            "█".repeat(filled),
            "░".repeat(30 - filled)
        )
    }
}

/// One line: the label, the likeliest next tokens, or the first numbers of the embedding.
impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Label {
                label, probability, ..
            } => write!(f, "{label} {:.1} %", probability * 100.0),
            Self::Embedding { embedding, .. } => {
                let first: Vec<String> = embedding.iter().take(4).map(|v| format!("{v:+.4}")).collect();
                write!(f, "{} numbers: {} ...", embedding.len(), first.join(" "))
            }
            Self::Next { next, .. } => {
                let listed = next
                    .iter()
                    .map(|t| format!("{:?} {:.1} %", t.token, t.probability * 100.0));
                write!(f, "{}", listed.collect::<Vec<_>>().join(", "))
            }
        }
    }
}
