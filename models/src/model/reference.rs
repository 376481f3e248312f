//! Any polynomial transformer in f64, in clear: the oracle that every encrypted answer is held against.

#![expect(
    clippy::indexing_slicing,
    reason = "shapes are checked at the door; loops over the model's own sizes"
)]

use crate::error::{Error, Result};
use crate::matrix::dot;
use crate::model::config::{Activation, Head, NormKind, Pool, Position, TransformerConfig};
use crate::model::functions::{Functions, InverseSqrt};
use crate::model::special::{chebyshev, gelu, polynomial};
use crate::model::trace::{LayerTrace, NormTrace, Ranges, Trace, max_abs, widen};
use crate::model::weights::{Linear, NormWeights, TransformerLayer, TransformerWeights};

/// How the denominator of PowerSoftmax is inverted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By a division: what the model was trained to be.
    Exact,
    /// By the polynomial that the server evaluates under encryption.
    Polynomial,
}

/// The forward pass of the embedded input `x`, (seq_len, dim) row-major.
///
/// [`Mode::Exact`] divides, takes roots and evaluates the activation as it is; [`Mode::Polynomial`] evaluates the
/// polynomials of `config.fit` instead, also where a value leaves its range.
///
/// # Errors
/// - `x` has another length than `seq_len * dim`
/// - the weights do not belong to `config`, or have no numbers
/// - [`Mode::Polynomial`] without `config.fit`
pub fn forward(
    config: &TransformerConfig,
    weights: &TransformerWeights,
    x: &[f64],
    mode: Mode,
) -> Result<Trace> {
    if x.len() != config.seq_len * config.dim {
        return Err(Error::Length {
            what: "embedded input",
            needed: config.seq_len * config.dim,
            found: x.len(),
        });
    }
    weights.check(config)?;
    let fit = match (mode, &config.fit) {
        (Mode::Exact, _) => None,
        (Mode::Polynomial, Some(fit)) => Some(fit),
        (Mode::Polynomial, None) => {
            return Err(Error::Config {
                field: "fit",
                needed: "the ranges of a calibration".to_owned(),
                found: "absent".to_owned(),
            });
        }
    };
    if let Some(fit) = fit {
        fit.check(config)?;
    }
    let mut last = x.to_vec();
    let (mut layers, mut hidden) = (Vec::new(), Vec::new());
    for (n, layer) in weights.layers.iter().enumerate() {
        let functions = Functions::new(config, fit.map(|fit| &fit.layers[n]))?;
        let (next, seen) = forward_layer(config, layer, &functions, &last)?;
        layers.push(seen);
        hidden.push(next.clone());
        last = next;
    }
    let mut final_norm = None;
    if let Some(norm) = &weights.final_norm {
        let inverse = InverseSqrt::new(config, fit.and_then(|fit| fit.final_norm.as_ref()))?;
        let mut seen = NormTrace::EMPTY;
        last = normalise(config, norm, &inverse, &last, &mut seen);
        final_norm = Some(seen);
    }
    Ok(Trace {
        output: answer(config, weights.head.as_ref(), &last)?,
        hidden,
        ranges: Ranges {
            inputs: 1,
            layers,
            embedding_max: max_abs(x),
            final_norm,
        },
    })
}

/// One layer, (seq_len, dim) -> (seq_len, dim).
fn forward_layer(
    config: &TransformerConfig,
    layer: &TransformerLayer,
    functions: &Functions,
    x: &[f64],
) -> Result<(Vec<f64>, LayerTrace)> {
    let mut seen = LayerTrace::empty(config.n_heads);
    let norm1 = |z: &[f64], seen: &mut NormTrace| normalise(config, &layer.norm1, &functions.norm1, z, seen);
    let norm2 = |z: &[f64], seen: &mut NormTrace| normalise(config, &layer.norm2, &functions.norm2, z, seen);
    let out = match config.norm_position {
        Position::Post => {
            let z1 = add(x, &attention(config, layer, functions, x, &mut seen)?);
            seen.residual1_max = max_abs(&z1);
            let n1 = norm1(&z1, &mut seen.norm1);
            let z2 = add(&n1, &feed_forward(config, layer, functions, &n1, &mut seen)?);
            seen.residual2_max = max_abs(&z2);
            norm2(&z2, &mut seen.norm2)
        }
        Position::Pre => {
            let n1 = norm1(x, &mut seen.norm1);
            let x1 = add(x, &attention(config, layer, functions, &n1, &mut seen)?);
            seen.residual1_max = max_abs(&x1);
            let n2 = norm2(&x1, &mut seen.norm2);
            let x2 = add(&x1, &feed_forward(config, layer, functions, &n2, &mut seen)?);
            seen.residual2_max = max_abs(&x2);
            x2
        }
    };
    Ok((out, seen))
}

pub(crate) fn add(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

pub(crate) fn affine(linear: &Linear, x: &[f64]) -> Result<Vec<f64>> {
    linear.weight.values()?.affine_rows(x, &linear.bias)
}

/// PowerSoftmax attention and its output matrix.
pub(crate) fn attention(
    config: &TransformerConfig,
    layer: &TransformerLayer,
    functions: &Functions,
    x: &[f64],
    seen: &mut LayerTrace,
) -> Result<Vec<f64>> {
    let (seq_len, dim, head_dim) = (config.seq_len, config.dim, config.head_dim());
    let rules = &config.attention;
    let (q, k, v) = (
        affine(&layer.query, x)?,
        affine(&layer.key, x)?,
        affine(&layer.value, x)?,
    );
    seen.value_max = max_abs(&v);
    let factor = rules.score_scale / (head_dim as f64).sqrt();
    let power = rules.power as i32;
    let mut out = vec![0.0; seq_len * dim];
    for head in 0..config.n_heads {
        let (from, to) = (head * head_dim, (head + 1) * head_dim);
        for t in 0..seq_len {
            let query = &q[t * dim + from..t * dim + to];
            let sums = &mut out[t * dim + from..t * dim + to];
            let mut total = 0.0;
            for j in 0..seq_len {
                let score = dot(query, &k[j * dim + from..j * dim + to]) * factor + layer.shift[head];
                seen.score_max[head] = seen.score_max[head].max(score.abs());
                let weight = score.powi(power) * rules.mask_at(t, j, seq_len);
                total += weight;
                for (sum, v) in sums.iter_mut().zip(&v[j * dim + from..j * dim + to]) {
                    *sum += weight * v;
                }
            }
            let denominator = total / seq_len as f64 + rules.epsilon;
            widen(&mut seen.denominator[head], denominator);
            let inverse = functions.reciprocal(head, denominator) / seq_len as f64;
            for sum in sums.iter_mut() {
                *sum *= inverse;
            }
        }
    }
    seen.attention_max = max_abs(&out);
    affine(&layer.output, &out)
}

/// `W2 act(W1 x + b1) + b2`.
pub(crate) fn feed_forward(
    config: &TransformerConfig,
    layer: &TransformerLayer,
    functions: &Functions,
    x: &[f64],
    seen: &mut LayerTrace,
) -> Result<Vec<f64>> {
    let mut u = affine(&layer.up, x)?;
    seen.up_max = max_abs(&u);
    match (&config.activation, &layer.quadratic, &functions.gelu) {
        (Activation::Gelu, _, None) => u.iter_mut().for_each(|u| *u = gelu(*u)),
        (Activation::Gelu, _, Some((series, range))) => {
            u.iter_mut().for_each(|u| *u = series.evaluate(*u / range));
        }
        (Activation::Quadratic, Some(act), _) => {
            for token in u.chunks_exact_mut(config.hidden_dim) {
                for (i, u) in token.iter_mut().enumerate() {
                    *u = (act.a[i] * *u + act.b[i]) * *u + act.c[i];
                }
            }
        }
        // refused by the check of the weights
        (Activation::Quadratic, None, _) => {}
        (Activation::Polynomial { coefficients }, _, _) => {
            u.iter_mut().for_each(|u| *u = polynomial(coefficients, *u));
        }
        (Activation::Chebyshev { range, coefficients }, _, _) => {
            let [lo, hi] = *range;
            (u.iter_mut()).for_each(|u| *u = chebyshev(coefficients, (2.0 * *u - lo - hi) / (hi - lo)));
        }
    }
    affine(&layer.down, &u)
}

/// The norm of every token.
pub(crate) fn normalise(
    config: &TransformerConfig,
    weights: &NormWeights,
    inverse: &InverseSqrt,
    z: &[f64],
    seen: &mut NormTrace,
) -> Vec<f64> {
    let dim = config.dim;
    let (kind, epsilon) = (config.norm.kind, config.norm.epsilon);
    let mut out = z.to_vec();
    for token in out.chunks_exact_mut(dim) {
        match kind {
            NormKind::None => {}
            NormKind::BatchNorm => {
                for (f, z) in token.iter_mut().enumerate() {
                    *z = (*z - weights.mean[f]) / (weights.var[f] + epsilon).sqrt();
                }
            }
            NormKind::LayerNorm | NormKind::RmsNorm => {
                if kind == NormKind::LayerNorm {
                    let mean = token.iter().sum::<f64>() / dim as f64;
                    token.iter_mut().for_each(|z| *z -= mean);
                }
                let variance = dot(token, token) / dim as f64 + epsilon;
                widen(&mut seen.variance, variance);
                let factor = inverse.at(variance);
                token.iter_mut().for_each(|z| *z *= factor);
            }
        }
        seen.normed_max = seen.normed_max.max(max_abs(token));
        for ((z, gamma), beta) in token.iter_mut().zip(&weights.gamma).zip(&weights.beta) {
            *z = gamma * *z + beta;
        }
    }
    out
}

/// The head of the model on the last hidden values.
fn answer(config: &TransformerConfig, head: Option<&Linear>, x: &[f64]) -> Result<Vec<f64>> {
    let dim = config.dim;
    let mean = || {
        let mut mean = vec![0.0; dim];
        for token in x.chunks_exact(dim) {
            for (mean, x) in mean.iter_mut().zip(token) {
                *mean += x / config.seq_len as f64;
            }
        }
        mean
    };
    let read = match &config.head {
        Head::Classification { pool: Pool::Cls, .. } => x[..dim].to_vec(),
        Head::Classification { pool: Pool::Mean, .. } | Head::Embedding => mean(),
        Head::NextToken { .. } => x.to_vec(),
    };
    match head {
        Some(head) => affine(head, &read),
        None => Ok(read),
    }
}
