//! The decision on ciphertexts.

use super::arg_max::arg_max;
use super::keys::{DecisionKey, Lwe, lwe};
use super::label::{Digits, EncryptedLabel};
use super::lwe::{MINUS, add, each, shift, torus, words};
use super::ring_switch::LweSample;
use super::rule::{Decision, Reading, Rule};
use crate::ckks::{Ciphertext, Evaluator};
use crate::error::broken;
use crate::{Error, Result};

/// The logit of one class as an LWE sample of `tfhe`, the range of the decision being half of the torus.
///
/// Cost: a product with a plaintext and two inverse transforms at level 0, and the ring switch.
fn read(
    evaluator: &Evaluator,
    key: &DecisionKey,
    values: &[Ciphertext],
    reading: &Reading,
    decision: &Decision,
) -> Result<Lwe> {
    let params = evaluator.params();
    let value = values.get(reading.value).ok_or(Error::Shape {
        what: "values that a decision reads",
        needed: reading.value + 1,
        found: values.len(),
    })?;
    let scale = decision.plain_scale(params, value.scale);
    if scale < 8.0 {
        return Err(Error::Scale {
            op: "exact decision",
            needed: value.scale * scale / 8.0,
            found: value.scale,
        });
    }
    let weights = reading.weights.values();
    let plaintext = evaluator.encoder().encode_repeated(&weights, 0, scale)?;
    let product = evaluator.mul_plain(value, &plaintext)?;
    let (tables, modulus) = (params.q_tables(0)?, params.bottom_modulus());
    let [c0, c1] = <[_; 2]>::try_from(product.parts).map_err(|parts: Vec<_>| Error::Parts {
        op: "exact decision",
        needed: 2,
        found: parts.len(),
    })?;
    let (c0, c1) = (c0.into_coeff(tables), c1.into_coeff(tables));
    let ([body, ..], [first, rest @ ..]) = (c0.limb(0), c1.limb(0)) else {
        return Err(broken("a ciphertext has coefficients"));
    };
    // Coefficient 0 of c1 s: c1_0 s_0 - Σ c1_(N-i) s_i.
    let rest = rest.iter().rev().map(|v| modulus.neg(*v));
    let sample = LweSample {
        mask: [*first].into_iter().chain(rest).collect(),
        body: *body,
    };
    Ok(lwe(key.ring_switch.switch(&sample)))
}

/// Decides on the outputs of a plan: see the [module](super).
///
/// `values` are at any level; their lowest prime alone is used. Deterministic for given inputs and key.
///
/// # Errors
/// [`Error::Params`] for a key of other parameters, [`Error::Shape`] and [`Error::Parts`] for values that are not what the
/// decision reads, [`Error::Scale`] for a scale that leaves no room for the range of logits.
pub fn decide(
    evaluator: &Evaluator,
    key: &DecisionKey,
    values: &[&Ciphertext],
    decision: &Decision,
) -> Result<EncryptedLabel> {
    key.check(evaluator.params())?;
    let lowest = values.iter().map(|value| match value.level {
        0 => Ok((*value).clone()),
        _ => evaluator.drop_level(value, 0),
    });
    let lowest = lowest.collect::<Result<Vec<_>>>()?;
    let logits = each(decision.readings(), |reading| {
        read(evaluator, key, &lowest, reading, decision)
    })
    .into_iter()
    .collect::<Result<Vec<_>>>()?;
    let digits = match (logits.as_slice(), decision.rule()) {
        ([a, b], rule) => {
            let margin = match rule {
                Rule::ArgMax => 0.0,
                Rule::Threshold { margin } => margin / (2.0 * decision.range()),
            };
            let difference = shift(add(b, a, MINUS), torus(-margin));
            // 1 or 2: the number of the class plus one.
            let [one, two] = [1, 2].map(|number| Digits::of(2).word(number));
            vec![shift(
                key.sign(&difference, (two - one) / 2),
                one + (two - one) / 2,
            )]
        }
        (logits, _) => arg_max(key, logits),
    };
    let small = each(&digits, |digit| key.to_small(digit));
    let rounded = small.iter().flat_map(words);
    let rounded = rounded.map(|v| (v.wrapping_add(1 << 31) >> 32) as u32);
    EncryptedLabel::new(decision.classes(), key.id(), rounded.collect())
}
