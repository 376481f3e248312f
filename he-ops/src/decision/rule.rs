//! What is decided, from which slots, and how finely.

use num_complex::Complex64;
use serde::{Deserialize, Serialize};

use super::label::{Digits, label_bytes};
use super::noise::{operand_variance, ring_switch_variance, sigmas};
use super::params::check_params;
use crate::ckks::Pattern;
use crate::rlwe::Params;
use crate::{Error, Result};

/// Most classes of a decision. Nothing ends here but patience: the comparisons of 256 are 32,640 bootstraps.
pub(super) const MAX_CLASSES: usize = 256;

/// Most signs that one bootstrap takes together: their sum is then 11.1 standard deviations from a border.
pub(super) const GROUP: usize = 19;

/// Groups of the opponents of a class: one for up to 20 classes.
pub(super) fn groups(classes: usize) -> usize {
    classes.saturating_sub(1).div_ceil(GROUP).max(1)
}

/// How a class is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rule {
    /// The class with the largest logit.
    ArgMax,
    /// Of two classes the second, if its logit is above the first one's by more than this.
    Threshold {
        /// Difference of logits.
        margin: f64,
    },
}

/// Where a logit lies: the real part of the mean over slots of pattern * value.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Which of the operands.
    pub value: usize,
    /// Weights of the slots.
    pub weights: Pattern,
}

/// An exact decision over the logits that a plan ends with.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    rule: Rule,
    range: f64,
    readings: Vec<Reading>,
}

impl Decision {
    /// A decision between classes, one reading each.
    ///
    /// `range`: no two logits are further apart, the margin of a threshold included; beyond, the comparison wraps and the
    /// answer is wrong. The finest difference that is told apart is in proportion to it.
    ///
    /// # Errors
    /// [`Error::Circuit`] for fewer than 2 or more than 256 classes, for a threshold of other than two, and for a range that
    /// is not a finite number above 0.
    pub fn new(rule: Rule, range: f64, readings: Vec<Reading>) -> Result<Self> {
        let refused = |reason: String| {
            Err(Error::Circuit {
                circuit: "exact decision",
                reason,
            })
        };
        let classes = readings.len();
        if !(2..=MAX_CLASSES).contains(&classes) {
            return refused(format!("2 to {MAX_CLASSES} classes needed, {classes} found"));
        }
        if !(range.is_finite() && range > 0.0) {
            return refused(format!("a range of logits above 0 needed, {range} found"));
        }
        if let Rule::Threshold { margin } = rule
            && !(classes == 2 && margin.is_finite() && margin.abs() < range)
        {
            return refused(format!(
                "two classes and a margin below the range of {range} needed for a threshold, {classes} and {margin} found"
            ));
        }
        Ok(Decision {
            rule,
            range,
            readings,
        })
    }

    /// How the class is chosen.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Largest difference of two logits.
    #[must_use]
    pub fn range(&self) -> f64 {
        self.range
    }

    /// Where the logits are, one reading for each class.
    #[must_use]
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// Classes to decide between.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.readings.len()
    }

    /// Bootstraps: one for each pair of classes; beyond 20 classes one for each group of the opponents of a class; one for
    /// each digit of a class that is not 0. One alone for two classes.
    #[must_use]
    pub fn bootstraps(&self) -> usize {
        let (n, digits) = (self.classes(), Digits::of(self.classes()));
        let gathered = match groups(n) {
            1 => 0,
            groups => n * groups,
        };
        let written = |number| digits.write(number).filter(|digit| *digit > 0).count();
        match n {
            2 => 1,
            n => n * (n - 1) / 2 + gathered + (1..=n).map(written).sum::<usize>(),
        }
    }

    /// Bytes of the label on the wire, its frame header not counted.
    #[must_use]
    pub fn label_bytes(&self) -> u64 {
        label_bytes(self.classes())
    }

    /// Standard deviations between what is told apart and an error: those of all comparisons of the best class together have
    /// a probability of at most 2^-64.
    fn sigmas(&self) -> f64 {
        sigmas(self.classes() - 1)
    }

    /// The class of these logits, if one is ahead of all others: what the encrypted decision approximates.
    #[must_use]
    pub fn of(&self, logits: &[f64]) -> Option<usize> {
        if let (Rule::Threshold { margin }, [a, b]) = (self.rule, logits) {
            return Some(usize::from(b - a > margin));
        }
        let ahead = |i: usize, own: &f64| {
            let mut others = logits.iter().enumerate().filter(|(j, _)| *j != i);
            others.all(|(_, other)| own > other)
        };
        logits
            .iter()
            .enumerate()
            .find(|(i, own)| ahead(*i, own))
            .map(|(i, _)| i)
    }

    /// The logits in the slots of plain values.
    ///
    /// # Errors
    /// [`Error::Shape`] for fewer values than the readings name.
    pub fn read(&self, values: &[&[Complex64]]) -> Result<Vec<f64>> {
        let one = |reading: &Reading| {
            let slots = values.get(reading.value).ok_or(Error::Shape {
                what: "values that a decision reads",
                needed: reading.value + 1,
                found: values.len(),
            })?;
            let weights = reading.weights.values();
            let products = slots.iter().zip(weights.iter().cycle()).map(|(z, w)| (z * w).re);
            Ok(products.sum::<f64>() / slots.len().max(1) as f64)
        };
        self.readings.iter().map(one).collect()
    }

    /// Scale of the plaintext that reads a logit from a ciphertext of this scale: then the range is half of the torus.
    pub(super) fn plain_scale(&self, params: &Params, scale: f64) -> f64 {
        params.bottom_modulus().value() as f64 / (2.0 * self.range * scale)
    }

    /// How far the best logit must be ahead of all others so that the label is wrong with a probability of at most 2^-64, from
    /// the parameters alone: 9.2 standard deviations of the noise of the switch and of the bootstrap for two classes, 9.7 for 256.
    ///
    /// # Errors
    /// As [`check_params`].
    pub fn resolution(&self, params: &Params) -> Result<f64> {
        check_params(params)?;
        let torus = operand_variance() + 2.0 * ring_switch_variance(params);
        Ok(self.sigmas() * 2.0 * self.range * torus.sqrt())
    }

    /// The same with the noise of the CKKS part: `variance` per slot, `power` = mean |slot|^2, at this scale.
    ///
    /// # Errors
    /// As [`check_params`].
    pub fn resolution_with(&self, params: &Params, scale: f64, variance: f64, power: f64) -> Result<f64> {
        let own = self.resolution(params)? / self.sigmas();
        // Coefficients of the plaintext are rounded: 1/12 each, times |m|^2 = mean |slot|^2.
        let rounding = power / 12.0 / self.plain_scale(params, scale).powi(2);
        Ok(self.sigmas() * (own * own + 2.0 * (variance + rounding)).sqrt())
    }

    /// What a plan prints and digests.
    pub(crate) fn canonical_bytes(&self) -> Vec<u8> {
        let mut out = format!("{:?} {}", self.rule, self.range).into_bytes();
        for reading in &self.readings {
            out.extend((reading.value as u64).to_le_bytes());
            out.extend(reading.weights.canonical_bytes());
        }
        out
    }
}
