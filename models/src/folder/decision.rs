//! The exact decision of a model: what `config.json` says of it, and where its logits are.

use std::sync::Arc;

use he_ops::ckks::Pattern;
use he_ops::decision::{Decision, Reading, Rule, check_params, decision_key_bytes};
use he_ops::rlwe::Params;
use serde::{Deserialize, Serialize};

use crate::answer::{Head, label};
use crate::error::{Error, Result};
use crate::packing::Packing;
use crate::packing::blocks::LogitSlot;

/// `decision` of `config.json`, set by the operator; a model without it answers with logits alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DecisionConfig {
    /// How the class is chosen.
    #[serde(flatten)]
    pub rule: Rule,
    /// No two logits are further apart, the margin of a threshold included. Inputs for which they are get a wrong label.
    pub range: f64,
    /// Labels are the only answer: logits are refused.
    #[serde(default)]
    pub only: bool,
}

/// What a client must know to ask for a label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DecisionEntry {
    /// As in the configuration of the model.
    #[serde(flatten)]
    pub config: DecisionConfig,
    /// Two logits that are further apart are told apart but for a probability of 2^-64.
    pub resolution: f64,
    /// Programmable bootstraps of a label.
    pub bootstraps: usize,
    /// Bytes of the additional key on the wire, frame header not counted.
    pub key_bytes: u64,
}

impl DecisionConfig {
    /// Refuses a model whose answer is no choice.
    ///
    /// # Errors
    /// - an embedding
    pub fn check(&self, head: &Head) -> Result<()> {
        match head {
            Head::Classification { .. } | Head::NextToken => Ok(()),
            Head::Embedding => Err(Error::Config {
                field: "decision",
                needed: "a model that classifies or proposes a token".to_owned(),
                found: "one that embeds".to_owned(),
            }),
        }
    }

    /// The largest distance of these logits that the range must hold.
    #[must_use]
    pub fn distance(&self, logits: &[f64]) -> f64 {
        if let (Rule::Threshold { margin }, [a, b]) = (self.rule, logits) {
            return (b - a - margin).abs();
        }
        let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let least = logits.iter().copied().fold(f64::INFINITY, f64::min);
        most - least
    }

    /// The decision over outputs that are packed like this.
    ///
    /// # Errors
    /// - a range or a margin that is none, or more classes than a decision takes
    pub fn decision(&self, packing: &Packing) -> Result<Arc<Decision>> {
        Ok(Arc::new(Decision::new(
            self.rule,
            self.range,
            readings(packing)?,
        )?))
    }

    /// The class that clear logits give; ties go to the first.
    #[must_use]
    pub fn class(&self, logits: &[f64]) -> Option<usize> {
        match (self.rule, logits) {
            (Rule::Threshold { margin }, [a, b]) => Some(usize::from(b - a > margin)),
            _ => (!logits.is_empty()).then(|| label(logits)),
        }
    }

    /// How far the class that clear logits give is ahead of the next one, or from the threshold.
    #[must_use]
    pub fn lead(&self, logits: &[f64]) -> f64 {
        if let (Rule::Threshold { margin }, [a, b]) = (self.rule, logits) {
            return (b - a - margin).abs();
        }
        self.contradiction(logits, None)
    }

    /// By how much clear logits contradict a label (`None` for a tie), in units of a logit: 0 for the right one. At most the
    /// [resolution](DecisionEntry::resolution) where the encrypted decision works as it should.
    #[must_use]
    pub fn contradiction(&self, logits: &[f64], class: Option<usize>) -> f64 {
        if let (Rule::Threshold { margin }, [a, b]) = (self.rule, logits) {
            let above = b - a - margin;
            return match class {
                Some(1) => (-above).max(0.0),
                Some(0) => above.max(0.0),
                _ => f64::INFINITY,
            };
        }
        let mut sorted = logits.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        match (class, sorted.as_slice()) {
            (Some(class), [best, ..]) => logits.get(class).map_or(f64::INFINITY, |own| best - own),
            (None, [best, second, ..]) => best - second,
            _ => f64::INFINITY,
        }
    }
}

impl DecisionEntry {
    /// For a plan with these parameters.
    ///
    /// # Errors
    /// - parameters under which the key of the exact decision would be weaker than the others
    pub fn new(config: DecisionConfig, decision: &Decision, params: &Params) -> Result<Self> {
        check_params(params)?;
        Ok(Self {
            config,
            resolution: decision.resolution(params)?,
            bootstraps: decision.bootstraps(),
            key_bytes: decision_key_bytes(params),
        })
    }
}

/// Where the logits of an answer lie, for means over all slots.
fn readings(packing: &Packing) -> Result<Vec<Reading>> {
    let places = packing.logit_slots()?;
    let reading = |place: &LogitSlot| {
        let mut weights = vec![0.0; place.period];
        let (at, one) = (place.slot % place.period.max(1), place.period as f32);
        if let Some(weight) = weights.get_mut(at) {
            *weight = one;
        }
        let zeros = vec![0.0; place.period];
        let weights = if place.imaginary {
            // Re(-i z) = Im z.
            Pattern::complex(zeros, weights.iter().map(|w| -w).collect())
        } else {
            Pattern::real(weights)
        };
        Ok(Reading {
            value: place.output,
            weights: weights?,
        })
    };
    places.iter().map(reading).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::blocks::{Answer, BlockPacking};
    use crate::packing::staircase::Staircase;
    use num_complex::Complex64;

    #[test]
    fn the_logits_that_are_read_are_those_of_the_answer() {
        let (slots, tokens) = (128, 6);
        for answer in [
            Answer::First { features: 20 },
            Answer::Same { features: 20 },
            Answer::Each { features: 20 },
        ] {
            let packing = BlockPacking {
                slots,
                tokens,
                sequences: 1,
                features: 40,
                input_scale: 1.0,
                centred: false,
                answer,
            };
            let head = match answer {
                Answer::Each { .. } => Head::NextToken,
                _ => Head::Classification { labels: vec![] },
            };
            // Blocks of 16 features; twice as many slots as the packing takes.
            let value = |output: usize, slot: usize| {
                let at = match answer {
                    Answer::Same { .. } => slot % 16,
                    _ => slot,
                } as f64;
                Complex64::new((at + 0.3).sin() + output as f64, (1.7 * at).cos())
            };
            let values: Vec<Vec<Complex64>> = (0..1)
                .map(|output| (0..2 * slots).map(|slot| value(output, slot % slots)).collect())
                .collect();
            let names = packing.outputs().unwrap();
            let all = packing
                .unpack(&names.into_iter().zip(values.clone()).collect())
                .unwrap();
            let config = DecisionConfig {
                rule: Rule::ArgMax,
                range: 16.0,
                only: false,
            };
            let decision = config.decision(&Packing::Blocks(packing)).unwrap();
            let read: Vec<&[Complex64]> = values.iter().map(Vec::as_slice).collect();
            let read = decision.read(&read).unwrap();
            let needed = head.decided(tokens, &all);
            assert_eq!((read.len(), needed.len()), (20, 20));
            assert!(
                read.iter().zip(needed).all(|(a, b)| (a - b).abs() < 1e-9),
                "{answer:?}"
            );
        }
        let config = DecisionConfig {
            rule: Rule::ArgMax,
            range: 16.0,
            only: false,
        };
        assert!(config.check(&Head::Embedding).is_err());
    }

    #[test]
    fn of_the_staircase_as_well() {
        for labels in [1, 2, 5, 10] {
            let packing = Staircase::new(4, 16, 128, labels).unwrap();
            let period = labels.div_ceil(2).next_power_of_two();
            let value = |slot: usize| Complex64::new((slot % period) as f64 + 0.5, -((slot % period) as f64));
            let answer: Vec<Complex64> = (0..256).map(value).collect();
            let needed = packing.unpack(&answer).unwrap();
            let config = DecisionConfig {
                rule: Rule::ArgMax,
                range: 16.0,
                only: false,
            };
            let Ok(decision) = config.decision(&Packing::Staircase(packing)) else {
                assert_eq!(labels, 1, "one class is no choice");
                continue;
            };
            let read = decision.read(&[&answer]).unwrap();
            assert_eq!(read.len(), labels);
            assert!(read.iter().zip(&needed).all(|(a, b)| (a - b).abs() < 1e-9));
        }
    }

    #[test]
    fn what_contradicts_a_label() {
        let of = |rule| DecisionConfig {
            rule,
            range: 16.0,
            only: false,
        };
        let arg_max = of(Rule::ArgMax);
        let logits = [1.0, 4.0, 3.5];
        let found =
            [Some(1), Some(2), Some(0), None, Some(3)].map(|class| arg_max.contradiction(&logits, class));
        assert_eq!(found, [0.0, 0.5, 3.0, 0.5, f64::INFINITY]);
        let threshold = of(Rule::Threshold { margin: 2.0 });
        assert_eq!(
            (arg_max.distance(&logits), threshold.distance(&[1.0, 3.5])),
            (3.0, 0.5)
        );
        let found = [Some(0), Some(1), None].map(|class| threshold.contradiction(&[1.0, 3.5], class));
        assert_eq!(found, [0.5, 0.0, f64::INFINITY]);
        let config: DecisionConfig =
            serde_json::from_str(r#"{"kind": "threshold", "margin": 2.0, "range": 16.0}"#).unwrap();
        assert_eq!(config, threshold);
        let config: DecisionConfig =
            serde_json::from_str(r#"{"kind": "arg_max", "range": 16, "only": true}"#).unwrap();
        assert!(config.only);
    }
}
