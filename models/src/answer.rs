//! What a model answers, and how a classification is read.

use serde::{Deserialize, Serialize};

/// What a model answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Head {
    /// A logit for each label.
    Classification {
        /// Their names, in the order of the logits.
        labels: Vec<String>,
    },
    /// The mean of the token embeddings; the client divides it by its length.
    Embedding,
    /// For every position the logits of the token after it, (seq_len, vocab).
    NextToken,
}

impl Head {
    /// The logits of an answer that a label is decided from; of a language model those that follow the last of `tokens`: which
    /// other one a text ends at would have to be told to the server, and with it the length of the text.
    #[must_use]
    pub fn decided<'a>(&self, tokens: usize, answer: &'a [f64]) -> &'a [f64] {
        let vocab = match self {
            Head::NextToken => answer.len() / tokens.max(1),
            Head::Classification { .. } | Head::Embedding => answer.len(),
        };
        answer.get(answer.len() - vocab..).unwrap_or_default()
    }
}

/// Probabilities of the labels: the softmax of the logits.
pub fn probabilities(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// The label with the largest logit; the first of equals.
pub fn label(logits: &[f64]) -> usize {
    logits
        .iter()
        .enumerate()
        .fold(
            (0, f64::NEG_INFINITY),
            |best, (i, l)| if *l > best.1 { (i, *l) } else { best },
        )
        .0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_probabilities() {
        assert_eq!(label(&[0.1, 0.3]), 1);
        assert_eq!(label(&[0.3, 0.3]), 0);
        let p = probabilities(&[800.0, 800.0 + 3f64.ln()]);
        assert!((p[1] - 0.75).abs() < 1e-12);
    }
}
