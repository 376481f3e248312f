//! What the decrypted numbers mean, by the head of the model.

use models::answer::{label, probabilities};
use models::{Bundle, Head, Manifest};
use serde::Serialize;
use std::fmt;

/// Tokens that are shown of a prediction.
const TOP: usize = 5;

/// What a label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// Number of the class.
    Class(usize),
    /// No class was ahead of all others.
    Tie,
}

/// A decrypted answer. Not for third parties in full precision: see SECURITY.md on approximate decryption.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "head", rename_all = "snake_case")]
pub enum Answer {
    /// A class, decided under encryption; no numbers come with it.
    Label {
        /// Its name; none where no class was ahead of all others.
        label: Option<String>,
        /// Its number.
        index: Option<usize>,
    },
    /// Of a classifier.
    Classification {
        /// The label with the largest logit.
        label: String,
        /// Its probability.
        probability: f64,
        /// One per label.
        logits: Vec<f64>,
    },
    /// A sentence embedding of length 1.
    Embedding {
        /// One number per feature.
        vector: Vec<f64>,
    },
    /// Of a language model.
    NextToken {
        /// Position that the prediction follows, from 0.
        position: usize,
        /// The likeliest tokens, best first.
        tokens: Vec<Prediction>,
    },
}

/// A token that may come next.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Its number.
    pub id: usize,
    /// Its text.
    pub text: String,
    /// Its probability.
    pub probability: f64,
}

impl Answer {
    /// What a label means.
    #[must_use]
    pub fn label(manifest: &Manifest, bundle: &Bundle, decided: Decided) -> Self {
        let index = match decided {
            Decided::Class(index) => Some(index),
            Decided::Tie => None,
        };
        let name = |index: usize| match &manifest.head {
            Head::Classification { labels } => labels.get(index).cloned(),
            Head::NextToken => bundle.token(index as u32),
            Head::Embedding => None,
        };
        Self::Label {
            label: index.map(|index| name(index).unwrap_or_else(|| index.to_string())),
            index,
        }
    }

    /// The answer from the numbers that [`Session::decrypt`](crate::Session::decrypt) gave. `position` is the token that a
    /// prediction follows; beyond the last one it is the last one.
    #[must_use]
    pub fn new(manifest: &Manifest, bundle: &Bundle, outputs: Vec<f64>, position: usize) -> Self {
        match &manifest.head {
            Head::Classification { labels } => {
                let index = label(&outputs);
                let name = labels.get(index).cloned();
                Self::Classification {
                    label: name.unwrap_or_else(|| index.to_string()),
                    probability: probabilities(&outputs).get(index).copied().unwrap_or(f64::NAN),
                    logits: outputs,
                }
            }
            Head::Embedding => {
                let length = outputs.iter().map(|v| v * v).sum::<f64>().sqrt();
                Self::Embedding {
                    // A vector of zeros has no direction and stays what it is.
                    vector: outputs
                        .iter()
                        .map(|v| v / length.max(f64::MIN_POSITIVE))
                        .collect(),
                }
            }
            Head::NextToken => {
                let vocab = manifest.packing.answer_features();
                let position = position.min(manifest.max_tokens().saturating_sub(1));
                let logits = outputs.get(position * vocab..(position + 1) * vocab);
                let mut all: Vec<(usize, f64)> = probabilities(logits.unwrap_or_default())
                    .into_iter()
                    .enumerate()
                    .collect();
                all.sort_by(|a, b| b.1.total_cmp(&a.1));
                let tokens = all.into_iter().take(TOP).map(|(id, probability)| Prediction {
                    id,
                    text: bundle.token(id as u32).unwrap_or_default(),
                    probability,
                });
                Self::NextToken {
                    position,
                    tokens: tokens.collect(),
                }
            }
        }
    }

    /// The answer in a word: the label, the likeliest token, or nothing of an embedding.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Label { label, .. } => label.as_deref().unwrap_or("undecided"),
            Self::Classification { label, .. } => label,
            Self::NextToken { tokens, .. } => tokens.first().map_or("", |token| token.text.as_str()),
            Self::Embedding { .. } => "embedding",
        }
    }

    /// Probability of [`name`](Self::name); none of an embedding.
    #[must_use]
    pub fn probability(&self) -> Option<f64> {
        match self {
            Self::Classification { probability, .. } => Some(*probability),
            Self::NextToken { tokens, .. } => tokens.first().map(|token| token.probability),
            Self::Embedding { .. } | Self::Label { .. } => None,
        }
    }

    /// Rounds every number to a multiple of 2^-bits.
    #[must_use]
    pub fn rounded(mut self, bits: u32) -> Self {
        let unit = f64::from(bits).exp2();
        let round = |v: &mut f64| *v = (*v * unit).round() / unit;
        match &mut self {
            Self::Label { .. } => {}
            Self::Classification {
                probability, logits, ..
            } => {
                round(probability);
                logits.iter_mut().for_each(round);
            }
            Self::Embedding { vector } => vector.iter_mut().for_each(round),
            Self::NextToken { tokens, .. } => {
                tokens.iter_mut().for_each(|token| round(&mut token.probability));
            }
        }
        self
    }
}

/// Cosine of the angle between two vectors; not a number where one of them is zero.
#[must_use]
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label {
                label: Some(label),
                index: Some(index),
            } if label.trim() == label => write!(f, "{label} (class {index})"),
            Self::Label {
                label: Some(label),
                index: Some(index),
            } => write!(f, "{label:?} (class {index})"),
            Self::Label { .. } => {
                f.write_str("undecided: several classes are closer than the resolution of the decision")
            }
            Self::Classification {
                label, probability, ..
            } => write!(f, "{label} {:.1} %", probability * 100.0),
            Self::Embedding { vector } => {
                let first: Vec<String> = vector.iter().take(4).map(|v| format!("{v:.4}")).collect();
                write!(
                    f,
                    "embedding of {} numbers: {}, ..",
                    vector.len(),
                    first.join(", ")
                )
            }
            Self::NextToken { position, tokens } => {
                write!(f, "after token {position}:")?;
                for token in tokens {
                    write!(f, "\n  {:<16?} {:>5.1} %", token.text, token.probability * 100.0)?;
                }
                Ok(())
            }
        }
    }
}

/// A vector as a file of numpy: `numpy.load` gives an array of f64, (numbers).
#[must_use]
pub fn npy(vector: &[f64]) -> Vec<u8> {
    // Magic and version 1.0, then a header that is padded so that the data starts at a multiple of 64.
    let mut header = format!(
        "{{'descr': '<f8', 'fortran_order': False, 'shape': ({},), }}",
        vector.len()
    );
    let fixed = 10;
    header.extend(std::iter::repeat_n(' ', 63 - (fixed + header.len()) % 64));
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.bytes());
    out.extend(vector.iter().flat_map(|v| v.to_le_bytes()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numpy_file_is_aligned_and_complete() {
        for length in [0, 3, 384, 12345] {
            let file = npy(&vec![0.5; length]);
            let header = 10 + u16::from_le_bytes([file[8], file[9]]) as usize;
            assert_eq!((header % 64, file.len()), (0, header + 8 * length));
            assert_eq!(file[header - 1], b'\n');
        }
    }

    #[test]
    fn a_label_is_shown_with_its_number() {
        let shown = |label: Option<&str>, index| {
            let label = label.map(str::to_owned);
            Answer::Label { label, index }.to_string()
        };
        assert_eq!(shown(Some("spam"), Some(1)), "spam (class 1)");
        assert_eq!(shown(Some(" "), Some(27)), "\" \" (class 27)");
        assert!(shown(None, None).starts_with("undecided"));
    }

    #[test]
    fn cosines_and_rounding() {
        assert!((cosine(&[3.0, 4.0], &[6.0, 8.0]) - 1.0).abs() < 1e-12);
        assert!(cosine(&[1.0, 0.0], &[0.0, 2.0]).abs() < 1e-12);
        assert!(cosine(&[0.0], &[1.0]).is_nan());
        let answer = Answer::Embedding {
            vector: vec![0.3, -0.7],
        };
        let expected = Answer::Embedding {
            vector: vec![0.25, -0.75],
        };
        assert_eq!(answer.rounded(2), expected);
        assert_eq!(
            expected.to_string(),
            "embedding of 2 numbers: 0.2500, -0.7500, .."
        );
    }
}
