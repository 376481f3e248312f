//! Seeded weights and inputs for any configuration, where there are no trained ones.
//!
//! **Synthetic:** nothing was learned, the answers mean nothing. But the values flow as in a trained model, so that
//! ranges, condition numbers, degrees, precision and time are realistic. Every layer is scaled on sample inputs while it
//! is drawn: scores have mean 1 (the shift of each head sees to that) and deviation about 0.3, so they lie
//! in about \[-1, 3\]; attention adds 0.3 and the feed-forward block 0.5 of the deviation of the tokens; the inputs of the
//! activation have deviation 1, with a negative mean where it is GELU.

pub(crate) mod draw;
mod scores;

use crate::error::Result;
use crate::matrix::dot;
use crate::model::config::{Activation, Mask, NormKind, Position, TransformerConfig};
use crate::model::fit::Fit;
use crate::model::functions::Functions;
use crate::model::reference::{add, affine, attention, feed_forward, normalise};
use crate::model::trace::{LayerTrace, NormTrace};
use crate::model::weights::Quadratic;
use crate::model::weights::{NormWeights, TransformerLayer, TransformerWeights};
use crate::synthetic::draw::{Random, f32_of, heavy, linear, scaled};
use crate::synthetic::scores::{centred_bias, scale_scores};

/// Sequences that the layers are scaled on.
const SAMPLES: usize = 4;
/// Strength of the heaviest direction of a feed-forward block.
const HEAVY: f64 = 1.0;
/// Sequences that [`calibrated`] looks at; causal masks leave few first tokens, so it looks at twice as many.
const CALIBRATION: usize = 6;

/// Token embeddings of random texts, (seq_len, dim) row-major each: a part of the token (frequent ones are frequent, as
/// Zipf says), one of the position and a common one, normalised to mean 0 and variance 1 per token.
///
/// All seeds share the embeddings; they choose the texts.
pub fn inputs(config: &TransformerConfig, count: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut random = Random(seed ^ 0x7e57_0000);
    (0..count)
        .map(|_| {
            (0..config.seq_len)
                .flat_map(|t| {
                    let id = (config.vocab_size as f64).powf(random.uniform()) as u64;
                    embedding(config.dim, id, t as u64)
                })
                .collect()
        })
        .collect()
}

fn embedding(dim: usize, token: u64, position: u64) -> Vec<f64> {
    let seeded = |kind: u64, n: u64| Random((kind << 32 | n).wrapping_mul(0x2545_f491_4f6c_dd1d));
    let (mut all, mut token, mut position) = (seeded(1, 0), seeded(2, token), seeded(3, position));
    let mut x: Vec<f64> = (0..dim)
        .map(|_| token.normal() + 0.4 * position.normal() + 0.3 * all.normal())
        .collect();
    let mean = x.iter().sum::<f64>() / dim as f64;
    x.iter_mut().for_each(|x| *x -= mean);
    let deviation = root_mean_square(&x).max(1e-9);
    x.iter_mut().for_each(|x| *x /= deviation);
    x
}

fn root_mean_square(x: &[f64]) -> f64 {
    (dot(x, x) / x.len().max(1) as f64).sqrt()
}

/// Weights with the statistics of trained ones; every value is an f32, as in a file.
///
/// # Errors
/// - the configuration cannot be evaluated
pub fn model(config: &TransformerConfig, seed: u64) -> Result<TransformerWeights> {
    config.check()?;
    let mut random = Random(seed ^ 0x5eed_7a4e);
    let mut sample = inputs(config, SAMPLES, seed ^ 0x5a3b).concat();
    let mut layers = Vec::new();
    for _ in 0..config.n_layers {
        layers.push(layer(config, &mut random, &mut sample)?);
    }
    let final_norm = match config.norm_position {
        Position::Post => None,
        Position::Pre => {
            let mut norm = random_norm(config, &mut random);
            apply_norm(config, &mut norm, &sample)?;
            Some(norm)
        }
    };
    let mut weights = TransformerWeights::shape_only(config);
    let head = weights
        .head
        .map(|head| linear(&mut random, head.weight.rows(), config.dim, 0.1));
    (weights.layers, weights.final_norm, weights.head) = (layers, final_norm, head);
    Ok(weights)
}

/// A configuration with its fit, and the weights of [`model`] that it was calibrated on.
///
/// # Errors
/// - the configuration cannot be evaluated
pub fn calibrated(config: &TransformerConfig, seed: u64) -> Result<(TransformerConfig, TransformerWeights)> {
    let weights = model(config, seed)?;
    let count = match config.attention.mask {
        Mask::None => CALIBRATION,
        Mask::Causal => 2 * CALIBRATION,
    };
    let texts = inputs(config, count, seed ^ 0xca11);
    let (fit, _) = Fit::calibrate(config, &weights, &texts)?;
    let config = TransformerConfig {
        fit: Some(fit),
        ..config.clone()
    };
    Ok((config, weights))
}

fn random_norm(config: &TransformerConfig, random: &mut Random) -> NormWeights {
    let mut norm = NormWeights::identity(config.norm.kind, config.dim);
    if config.norm.kind != NormKind::None {
        norm.gamma = random.vector(config.dim, 0.1, 0.95);
    }
    if matches!(config.norm.kind, NormKind::LayerNorm | NormKind::BatchNorm) {
        norm.beta = random.vector(config.dim, 0.1, 0.0);
    }
    norm
}

/// The norm of all tokens; a batch norm gets its statistics from them.
fn apply_norm(config: &TransformerConfig, norm: &mut NormWeights, z: &[f64]) -> Result<Vec<f64>> {
    if config.norm.kind == NormKind::BatchNorm {
        let tokens = (z.len() / config.dim) as f64;
        let of_feature = |f: usize| z.iter().skip(f).step_by(config.dim);
        norm.mean = (0..config.dim)
            .map(|f| f32_of(of_feature(f).sum::<f64>() / tokens))
            .collect();
        norm.var = (norm.mean.iter().enumerate())
            .map(|(f, mean)| f32_of(of_feature(f).map(|z| (z - mean).powi(2)).sum::<f64>() / tokens))
            .collect();
    }
    let exact = Functions::new(config, None)?.norm1;
    let mut seen = NormTrace::EMPTY;
    Ok(normalise(config, norm, &exact, z, &mut seen))
}

/// Draws a layer, scales it on the sample sequences, and moves them through it.
fn layer(config: &TransformerConfig, random: &mut Random, sample: &mut Vec<f64>) -> Result<TransformerLayer> {
    let (dim, hidden) = (config.dim, config.hidden_dim);
    let gelu = config.activation == Activation::Gelu;
    let quadratic = (config.activation == Activation::Quadratic).then(|| Quadratic {
        a: random.vector(hidden, 0.03, 0.2),
        b: random.vector(hidden, 0.1, 0.5),
        c: random.vector(hidden, 0.05, 0.1),
    });
    let mut layer = TransformerLayer {
        query: linear(random, dim, dim, 0.1),
        key: linear(random, dim, dim, 0.1),
        value: linear(random, dim, dim, 0.1),
        shift: vec![0.0; config.n_heads],
        output: linear(random, dim, dim, 0.1),
        norm1: random_norm(config, random),
        norm2: random_norm(config, random),
        up: linear(random, hidden, dim, 0.0),
        quadratic,
        down: heavy(random, dim, hidden, HEAVY),
    };
    let pre = config.norm_position == Position::Pre;
    let exact = Functions::new(config, None)?;
    let sequence = config.seq_len * dim;
    let mut seen = LayerTrace::empty(config.n_heads);

    let normed = if pre {
        apply_norm(config, &mut layer.norm1, sample)?
    } else {
        sample.clone()
    };
    layer.key.bias = centred_bias(config, random, &layer.key, &normed)?;
    scale_scores(config, random, &mut layer, &normed)?;
    let mut attended = Vec::new();
    for x in normed.chunks_exact(sequence) {
        attended.extend(attention(config, &layer, &exact, x, &mut seen)?);
    }
    let factor = 0.3 / root_mean_square(&attended).max(1e-9);
    layer.output = scaled(&layer.output, |_| factor)?;
    attended.iter_mut().for_each(|x| *x *= factor);
    let z1 = add(sample, &attended);

    let norm = if pre { &mut layer.norm2 } else { &mut layer.norm1 };
    let normed = apply_norm(config, norm, &z1)?;
    let factor = 1.0 / root_mean_square(&affine(&layer.up, &normed)?).max(1e-9);
    layer.up = scaled(&layer.up, |_| factor)?;
    layer.up.bias = random.vector(hidden, 0.2, if gelu { -0.4 } else { 0.0 });
    let mut fed = Vec::new();
    for x in normed.chunks_exact(sequence) {
        fed.extend(feed_forward(config, &layer, &exact, x, &mut seen)?);
    }
    let factor = 0.5 / root_mean_square(&fed).max(1e-9);
    layer.down = scaled(&layer.down, |_| factor)?;
    fed.iter_mut().for_each(|x| *x *= factor);
    *sample = if pre {
        add(&z1, &fed)
    } else {
        apply_norm(config, &mut layer.norm2, &add(&normed, &fed))?
    };
    Ok(layer)
}
