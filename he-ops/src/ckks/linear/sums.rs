//! Sums of ciphertexts times periodic weights: the inner loop of every linear layer.
//!
//! A weight of period D is constant over runs of N/2D entries of the evaluation form, so a sum over inputs is, run by
//! run, a (constants) x (vectors) product. Several sums over the same inputs share the loads.

use super::super::ciphertext::{Ciphertext, check_level, check_scale};
use super::super::encoder::{Encoder, PeriodicPlaintext};
use super::pattern::Pattern;
use crate::arith::dot::{Output, dot};
use crate::par;
use crate::ring::{Eval, Poly};
use crate::{Error, Result};
use std::sync::Mutex;

/// One output: a weight for each input (`None` counts as zero) and the scale its weights are encoded at.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// One entry per input.
    pub weights: Vec<Option<&'a Pattern>>,
    /// Scale of the encoded weights; the output has scale input x this.
    pub plain_scale: f64,
}

/// sum_i rows\[o\].weights\[i\] (.) inputs\[i\] for every row o, encoding the weights on the fly.
///
/// **Level:** unchanged. **Scale:** that of the inputs times the row's. **Keys:** none. **Cost:** per weight a transform
/// of 2D per prime; 2 (level + 1) N multiply-adds per weight.
///
/// # Errors
/// - [`Error::Shape`] when a row has another number of weights than there are inputs, or there are none
/// - [`Error::Level`], [`Error::Scale`] when inputs disagree; [`Error::Parts`] for an input that is not relinearized
pub fn weighted_sums(encoder: &Encoder, inputs: &[&Ciphertext], rows: &[Row<'_>]) -> Result<Vec<Ciphertext>> {
    let op = "weighted sum";
    let params = encoder.params();
    let first = inputs.first().ok_or(Error::Shape {
        what: "inputs of a weighted sum (at least)",
        needed: 1,
        found: 0,
    })?;
    for input in inputs {
        check_level(op, first.level, input.level)?;
        check_scale(op, first.scale, input.scale)?;
        if input.parts.len() != 2 {
            return Err(Error::Parts {
                op,
                needed: 2,
                found: input.parts.len(),
            });
        }
    }
    if let Some(row) = rows.iter().find(|r| r.weights.len() != inputs.len()) {
        return Err(Error::Shape {
            what: "weights of a row",
            needed: inputs.len(),
            found: row.weights.len(),
        });
    }
    let level = first.level;
    let q = params.q_tables(level)?;
    let n = params.degree();
    let period = rows
        .iter()
        .flat_map(|r| &r.weights)
        .flatten()
        .map(|p| p.period())
        .max()
        .unwrap_or(1);
    let encoded = encode_all(encoder, rows, period, level)?;

    let mut outputs: Vec<Ciphertext> = rows
        .iter()
        .map(|row| Ciphertext {
            parts: (0..2).map(|_| Poly::<Eval>::scratch(q.len(), n)).collect(),
            level,
            scale: first.scale * row.plain_scale,
        })
        .collect();
    // One task per prime: both parts of all rows share its constants.
    let mut tasks: Vec<Vec<&mut [u64]>> = (0..q.len()).map(|_| Vec::with_capacity(2 * rows.len())).collect();
    for output in &mut outputs {
        for part in &mut output.parts {
            for (task, limb) in tasks.iter_mut().zip(part.words_mut().chunks_mut(n)) {
                task.push(limb);
            }
        }
    }
    let run = n / (2 * period);
    par::for_each(tasks, |i, mut limbs| {
        let Some(table) = q.get(i) else { return };
        let modulus = table.modulus();
        for part in 0..2 {
            // Row after row, each a list of runs.
            let mut runs: Vec<_> = limbs
                .iter_mut()
                .skip(part)
                .step_by(2)
                .map(|limb| limb.chunks_mut(run))
                .collect();
            let constants: Vec<Vec<u64>> = encoded
                .iter()
                .map(|row| transpose_to_mont(row, i, period, modulus))
                .collect();
            for r in 0..2 * period {
                let xs: Vec<&[u64]> = inputs
                    .iter()
                    .map(|x| {
                        x.parts
                            .get(part)
                            .and_then(|p| p.limb(i).get(r * run..(r + 1) * run))
                            .unwrap_or_default()
                    })
                    .collect();
                let mut outs: Vec<Output<'_>> = runs
                    .iter_mut()
                    .zip(&constants)
                    .filter_map(|(runs, constants)| {
                        let weights = constants.get(r * inputs.len()..(r + 1) * inputs.len())?;
                        Some(Output {
                            out: runs.next()?,
                            weights,
                            start: 0,
                            modulus,
                        })
                    })
                    .collect();
                dot(&mut outs, &xs);
            }
        }
    });
    Ok(outputs)
}

/// Every weight in evaluation form; threads take one each.
fn encode_all(
    encoder: &Encoder,
    rows: &[Row<'_>],
    period: usize,
    level: usize,
) -> Result<Vec<Vec<Option<PeriodicPlaintext>>>> {
    let failure = Mutex::new(None);
    let mut encoded: Vec<Vec<Option<PeriodicPlaintext>>> = rows
        .iter()
        .map(|r| r.weights.iter().map(|_| None).collect())
        .collect();
    let tasks: Vec<_> = encoded
        .iter_mut()
        .zip(rows)
        .flat_map(|(out, row)| {
            out.iter_mut()
                .zip(&row.weights)
                .filter_map(|(out, &w)| Some((out, w?, row.plain_scale)))
        })
        .collect();
    par::for_each(tasks, |_, (out, pattern, scale)| {
        match encoder.encode_periodic(pattern, period, level, scale) {
            Ok(plain) => *out = Some(plain),
            Err(error) => {
                if let Ok(mut slot) = failure.lock() {
                    *slot = Some(error);
                }
            }
        }
    });
    match failure.into_inner() {
        Ok(Some(error)) => Err(error),
        _ => Ok(encoded),
    }
}

/// The constants of one row modulo one prime, ordered by run, then input, in Montgomery form.
fn transpose_to_mont(
    row: &[Option<PeriodicPlaintext>],
    limb: usize,
    period: usize,
    modulus: &crate::arith::Modulus,
) -> Vec<u64> {
    let mut out = vec![0; 2 * period * row.len()];
    for (b, plain) in row.iter().enumerate() {
        let Some(plain) = plain else { continue };
        for (r, &value) in plain.limb(limb).iter().enumerate() {
            if let Some(slot) = out.get_mut(r * row.len() + b) {
                *slot = modulus.to_mont52(value);
            }
        }
    }
    out
}
