//! The decision on ciphertexts.

use super::decision::{Decision, Reading, Rule};
use super::keys::{HeadKey, Lwe, lwe};
use super::params::TFHE_PARAMETERS as TFHE;
use super::ring_switch::LweSample;
use crate::ckks::{Ciphertext, Evaluator};
use crate::{Error, Result, par};

/// Unit of a label on the torus, 1/64: the class number plus one times this, below half of the torus.
pub(super) const UNIT: u64 = 1 << 58;

/// An LWE sample in the small dimension of `tfhe`: mask then body, the top 32 bits of each word. Its message is
/// (class + 1) / 64, or 0 where no class was ahead of all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedLabel {
    words: Vec<u32>,
}

impl EncryptedLabel {
    /// Words of every label.
    pub const LEN: usize = TFHE.lwe_dimension.0 + 1;

    /// Mask then body.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of words.
    pub fn new(words: Vec<u32>) -> Result<Self> {
        if words.len() == Self::LEN {
            return Ok(EncryptedLabel { words });
        }
        Err(Error::Shape {
            what: "words of an encrypted label",
            needed: Self::LEN,
            found: words.len(),
        })
    }

    /// Mask then body.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words
    }
}

/// The logit of one class as an LWE sample of `tfhe`, the range of the decision being half of the torus.
///
/// Cost: a product with a plaintext and two inverse transforms at level 0, and the ring switch.
fn read(
    evaluator: &Evaluator,
    key: &HeadKey,
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
            op: "exact head",
            needed: value.scale * scale / 8.0,
            found: value.scale,
        });
    }
    let weights = reading.weights.values();
    let plaintext = evaluator.encoder().encode_repeated(&weights, 0, scale)?;
    let product = evaluator.mul_plain(value, &plaintext)?;
    let tables = params.q_tables(0)?;
    let [c0, c1] = <[_; 2]>::try_from(product.parts).map_err(|parts: Vec<_>| Error::Parts {
        op: "exact head",
        needed: 2,
        found: parts.len(),
    })?;
    let (c0, c1) = (c0.into_coeff(tables), c1.into_coeff(tables));
    let modulus = tables.first().map(|table| *table.modulus()).ok_or(Error::Shape {
        what: "primes",
        needed: 1,
        found: 0,
    })?;
    // Coefficient 0 of c1 s: c1_0 s_0 - Σ c1_(N-i) s_i.
    let c1 = c1.limb(0);
    let first = c1.first().copied();
    let rest = c1.iter().skip(1).rev().map(|v| modulus.neg(*v));
    let sample = LweSample {
        mask: first.into_iter().chain(rest).collect(),
        body: c0.limb(0).first().copied().unwrap_or(0),
    };
    Ok(lwe(key.ring_switch.switch(&sample)))
}

fn words(sample: &Lwe) -> &[u64] {
    sample.as_ref()
}

/// a + w b.
fn add(a: &Lwe, b: &Lwe, w: u64) -> Lwe {
    let sums = words(a).iter().zip(words(b));
    lwe(sums.map(|(a, b)| a.wrapping_add(b.wrapping_mul(w))).collect())
}

/// a + constant.
fn shift(mut a: Lwe, constant: u64) -> Lwe {
    let body = a.get_mut_body().data;
    *body = body.wrapping_add(constant);
    a
}

/// A part of the torus as a word.
fn torus(part: f64) -> u64 {
    // Signed first: negative parts wrap.
    (part * 64f64.exp2()) as i128 as u64
}

const MINUS: u64 = u64::MAX;

/// Decides on the outputs of a plan: see the [module](super).
///
/// `values` are at any level; their lowest prime alone is used. Deterministic for given inputs and key.
///
/// # Errors
/// [`Error::Params`] for a key of other parameters, [`Error::Shape`] and [`Error::Parts`] for values that are not what the
/// decision reads, [`Error::Scale`] for a scale that leaves no room for the range of logits.
pub fn decide(
    evaluator: &Evaluator,
    key: &HeadKey,
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
    let label = match (logits.as_slice(), decision.rule()) {
        ([a, b], rule) => {
            let margin = match rule {
                Rule::ArgMax => 0.0,
                Rule::Threshold { margin } => margin / (2.0 * decision.range()),
            };
            let difference = shift(add(b, a, MINUS), torus(-margin));
            // 1 or 2: the number of the class plus one.
            shift(key.sign(&difference, UNIT / 2), UNIT + UNIT / 2)
        }
        (logits, _) => arg_max(key, logits),
    };
    let small = key.to_small(&label);
    let rounded = words(&small)
        .iter()
        .map(|v| (v.wrapping_add(1 << 31) >> 32) as u32);
    EncryptedLabel::new(rounded.collect())
}

/// Σ (i + 1) \[class i wins all its comparisons\], in units.
fn arg_max(key: &HeadKey, logits: &[Lwe]) -> Lwe {
    let classes = logits.len() as u64;
    // Wins minus losses lie 2 steps apart, n-1 at the most: shifted by n-2, a winner has +1 step and all others -1 to -(2n-3).
    let step = torus(1.0 / (4 * (classes - 1)) as f64);
    let pairs: Vec<(usize, usize)> = (0..logits.len())
        .flat_map(|j| (0..j).map(move |i| (i, j)))
        .collect();
    let signs = each(&pairs, |(i, j)| match (logits.get(*i), logits.get(*j)) {
        (Some(a), Some(b)) => Some(key.sign(&add(a, b, MINUS), step)),
        _ => None,
    });
    let empty = || lwe(vec![0; words_of(logits)]);
    let mut wins: Vec<Lwe> = logits
        .iter()
        .map(|_| shift(empty(), step.wrapping_mul(classes - 2).wrapping_neg()))
        .collect();
    for ((i, j), sign) in pairs.iter().zip(signs.iter().flatten()) {
        for (class, weight) in [(i, 1), (j, MINUS)] {
            if let Some(own) = wins.get_mut(*class) {
                *own = add(own, sign, weight);
            }
        }
    }
    let numbered: Vec<(u64, Lwe)> = (1..).zip(wins).collect();
    let chosen = each(&numbered, |(number, wins)| {
        let half = number * (UNIT / 2);
        shift(key.sign(wins, half), half)
    });
    chosen.iter().fold(empty(), |sum, own| add(&sum, own, 1))
}

fn words_of(logits: &[Lwe]) -> usize {
    logits.first().map_or(0, |sample| words(sample).len())
}

/// f of every item, on all threads; in the order of the items.
fn each<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    let mut out: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let places: Vec<(&T, &mut Option<R>)> = items.iter().zip(&mut out).collect();
    par::for_each(places, |_, (item, place)| *place = Some(f(item)));
    out.into_iter().flatten().collect()
}
