//! Queries and keys of synthetic layers, scaled so that scores and denominators are those of a trained model.

use crate::error::Result;
use crate::matrix::dot;
use crate::model::config::{Mask, TransformerConfig};
use crate::model::reference::affine;
use crate::model::weights::{Linear, TransformerLayer};
use crate::synthetic::draw::{Random, f32_of, scaled};

/// The bias for which the outputs are nearly centred. Keys with a common part would shift all scores of a token alike,
/// and with them its denominators: trained models with a bounded condition number do not let that happen.
pub(crate) fn centred_bias(
    config: &TransformerConfig,
    random: &mut Random,
    map: &Linear,
    x: &[f64],
) -> Result<Vec<f64>> {
    let outputs = affine(map, x)?;
    let mut bias = random.vector(config.dim, 0.1, 0.0);
    for (f, bias) in bias.iter_mut().enumerate() {
        let of_feature = outputs.iter().skip(f).step_by(config.dim);
        let mean = of_feature.sum::<f64>() * config.dim as f64 / outputs.len() as f64;
        *bias = f32_of(*bias + map.bias.get(f).copied().unwrap_or(0.0) - mean);
    }
    Ok(bias)
}

/// Scales the queries of each head for a deviation of the scores of about 0.3 and shifts their mean to about 1; less
/// where the condition number of the denominators would get too high, which training prevents by a penalty.
pub(crate) fn scale_scores(
    config: &TransformerConfig,
    random: &mut Random,
    layer: &mut TransformerLayer,
    x: &[f64],
) -> Result<()> {
    let (q, k) = (affine(&layer.query, x)?, affine(&layer.key, x)?);
    let mut factors = Vec::new();
    for shift in &mut layer.shift {
        let rows = scores(config, factors.len(), &q, &k);
        let count = rows.iter().map(Vec::len).sum::<usize>() as f64;
        let mean = rows.iter().flatten().sum::<f64>() / count;
        let square = rows.iter().flatten().map(|s| (s - mean).powi(2)).sum::<f64>() / count;
        let mut factor = 0.3 * (1.0 + 0.05 * random.normal()) / square.sqrt().max(1e-6);
        // the first tokens of a causal model have denominators of few scores, so they vary from text to text
        let highest = match config.attention.mask {
            Mask::None => 3.5,
            Mask::Causal => 1.6,
        };
        while condition(config, &rows, mean, factor) > highest {
            factor *= 0.9;
        }
        *shift = f32_of(1.0 + 0.03 * random.normal() - factor * mean);
        factors.push(factor);
    }
    layer.query = scaled(&layer.query, |i| {
        factors.get(config.head_of(i)).copied().unwrap_or(1.0)
    })?;
    Ok(())
}

/// Scores of a head without their shift: the visible ones, a row for each token of each sequence.
fn scores(config: &TransformerConfig, head: usize, q: &[f64], k: &[f64]) -> Vec<Vec<f64>> {
    let (dim, head_dim) = (config.dim, config.head_dim());
    let part = head * head_dim..(head + 1) * head_dim;
    let scale = config.attention.score_scale / (head_dim as f64).sqrt();
    let of_head = |x: &[f64]| -> Vec<Vec<f64>> {
        (x.chunks_exact(dim).filter_map(|x| x.get(part.clone())))
            .map(<[f64]>::to_vec)
            .collect()
    };
    let sequence = config.seq_len * dim;
    let mut rows = Vec::new();
    for (q, k) in q.chunks_exact(sequence).zip(k.chunks_exact(sequence)) {
        let k = of_head(k);
        for (t, q) in of_head(q).iter().enumerate() {
            let visible = k.iter().enumerate();
            let visible = visible.filter(|(j, _)| config.attention.mask_at(t, *j, 1) > 0.0);
            rows.push(visible.map(|(_, k)| dot(q, k) * scale).collect());
        }
    }
    rows
}

/// Condition number of the denominators of scores `1 + factor (s - mean)`, as means over the visible tokens.
fn condition(config: &TransformerConfig, rows: &[Vec<f64>], mean: f64, factor: f64) -> f64 {
    let power = config.attention.power as i32;
    let denominators = rows.iter().map(|row| {
        let powers = row.iter().map(|s| (1.0 + factor * (s - mean)).powi(power));
        powers.sum::<f64>() / row.len() as f64 + config.attention.epsilon
    });
    let (lo, hi) = denominators.fold((f64::INFINITY, 0.0_f64), |(lo, hi), d| (lo.min(d), hi.max(d)));
    hi / lo
}
