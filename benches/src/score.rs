//! How good answers are, by the head of the model, and how near to those of another way of evaluating.

use std::iter::Sum;
use std::ops::AddAssign;

use client::cosine;
use models::Head;
use models::answer::{label, probabilities};
use serde::Serialize;

/// Counts over some inputs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    inputs: usize,
    /// Labels or next tokens that are known.
    labels: usize,
    /// Answers that are them.
    right: usize,
    /// Answers that are those of the reference.
    same: usize,
    /// Sum of -ln of the probability of the right ones.
    loss: f64,
    /// Sum of the cosines to the reference.
    cosine: f64,
    /// Largest of 1 - cosine.
    turned: f64,
    max_error: f64,
    gap: f64,
}

/// What the counts say. A field is absent where the head of the model has no such thing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// Inputs.
    pub inputs: usize,
    /// Share of right labels, or of right next tokens at all positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Of next tokens: e to the mean of -ln of their probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// Share of labels or predicted tokens that are those of the reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// Cosine of an embedding to that of the reference: the mean, and the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<[f64; 2]>,
    /// Largest difference of a number of the answer from the reference; infinite if one is not a number.
    pub max_error: f64,
    /// Largest difference of two logits that a label is decided from: what the range of a decision must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<f64>,
}

/// A number that is not one is an infinite error.
fn worse(a: f64, b: f64) -> f64 {
    a.max(if b.is_nan() { f64::INFINITY } else { b })
}

fn gap(answer: &[f64]) -> f64 {
    let most = answer.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = answer.iter().copied().fold(f64::INFINITY, f64::min);
    most - least
}

impl Tally {
    /// Of one answer, held against the reference. `targets` are the right labels: one of a classifier; of a language model
    /// with answers of `positions` tokens one for each of the first ones; none of an embedding.
    pub fn new(head: &Head, positions: usize, answer: &[f64], reference: &[f64], targets: &[usize]) -> Self {
        let width = match head {
            Head::NextToken => answer.len() / positions.max(1),
            Head::Classification { .. } | Head::Embedding => answer.len(),
        };
        let errors = answer.iter().zip(reference).map(|(a, b)| (a - b).abs());
        let near = cosine(answer, reference);
        let mut tally = Self {
            inputs: 1,
            labels: targets.len(),
            cosine: near,
            turned: worse(0.0, 1.0 - near),
            max_error: errors.fold(0.0, worse),
            gap: gap(head.decided(positions, answer)),
            ..Self::default()
        };
        let rows = answer.chunks(width.max(1)).zip(reference.chunks(width.max(1)));
        for (target, (answer, reference)) in targets.iter().zip(rows) {
            let found = label(answer);
            tally.right += usize::from(found == *target);
            tally.same += usize::from(found == label(reference));
            tally.loss -= probabilities(answer).get(*target).copied().unwrap_or(0.0).ln();
        }
        tally
    }

    /// Whether every label is that of the reference.
    pub fn agrees(&self) -> bool {
        self.same == self.labels
    }

    /// What the counts say.
    pub fn score(&self, head: &Head) -> Score {
        let share = |part: usize| (self.labels > 0).then(|| part as f64 / self.labels as f64);
        let perplexity = (self.loss / self.labels.max(1) as f64).exp();
        Score {
            inputs: self.inputs,
            accuracy: share(self.right),
            perplexity: matches!(head, Head::NextToken).then_some(perplexity),
            agreement: share(self.same),
            cosine: matches!(head, Head::Embedding)
                .then(|| [self.cosine / self.inputs.max(1) as f64, 1.0 - self.turned]),
            max_error: self.max_error,
            gap: (!matches!(head, Head::Embedding)).then_some(self.gap),
        }
    }
}

impl AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        self.inputs += other.inputs;
        self.labels += other.labels;
        self.right += other.right;
        self.same += other.same;
        self.loss += other.loss;
        self.cosine += other.cosine;
        self.turned = worse(self.turned, other.turned);
        self.max_error = worse(self.max_error, other.max_error);
        self.gap = worse(self.gap, other.gap);
    }
}

impl<'t> Sum<&'t Tally> for Tally {
    fn sum<I: Iterator<Item = &'t Tally>>(all: I) -> Self {
        all.fold(Tally::default(), |mut sum, tally| {
            sum += tally;
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_tokens_and_directions() {
        let head = Head::Classification {
            labels: vec!["a".into(), "b".into()],
        };
        let tallies = [
            Tally::new(&head, 1, &[1.0, 2.0], &[1.5, 2.0], &[1]),
            Tally::new(&head, 1, &[1.0, 2.0], &[3.0, 2.0], &[0]),
        ];
        assert!(tallies[0].agrees() && !tallies[1].agrees());
        let score = tallies.iter().sum::<Tally>().score(&head);
        assert_eq!(
            (score.inputs, score.accuracy, score.agreement, score.max_error),
            (2, Some(0.5), Some(0.5), 2.0)
        );
        assert_eq!((score.perplexity, score.cosine), (None, None));

        // three positions of two tokens, the last one padding
        let logits = [0.0, 3_f64.ln(), 0.0, 0.0, 9.0, 0.0];
        let score = Tally::new(&Head::NextToken, 3, &logits, &logits, &[1, 0]).score(&Head::NextToken);
        assert_eq!((score.accuracy, score.agreement), (Some(1.0), Some(1.0)));
        // the probabilities are 3/4 and 1/2
        let perplexity = score.perplexity.unwrap_or_default();
        assert!(
            (perplexity - (8.0_f64 / 3.0).sqrt()).abs() < 1e-12,
            "{perplexity}"
        );

        let score = Tally::new(&Head::Embedding, 1, &[1.0, 0.0], &[1.0, 1.0], &[]).score(&Head::Embedding);
        let [mean, least] = score.cosine.unwrap_or_default();
        assert!((mean - 0.5_f64.sqrt()).abs() < 1e-12 && (least - mean).abs() < 1e-12);
        assert_eq!(score.accuracy, None);
        let broken = Tally::new(&Head::Embedding, 1, &[f64::NAN, 0.0], &[1.0, 1.0], &[]);
        assert_eq!(broken.score(&Head::Embedding).max_error, f64::INFINITY);
    }
}
