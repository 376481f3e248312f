//! A small model of one layer as a graph: the [`reference`](crate::model::reference) once more, line by line, on the
//! packing that lets every query meet every key by rotations of one ciphertext.
//!
//! A second layer does not pay. The staircase of its input takes a mask for every copy and one more level: with five
//! doublings two layers are 27 levels, 992 bits at a scale of 2^35, for which only the ring of degree 2^16 is secure. There one
//! layer of 64 tokens of 128 features has four copies again, so 225 key switches, and both layers take as long as the blocks do.

mod fold;

use he_ops::circuits::{
    Circuit, FeedForward, Head, Matrix as Weight, PowerSoftmaxAttention, TokenLayout, TokenTransform,
    twice_imag_part, twice_real_part,
};
use he_ops::ckks::Pattern;
use he_ops::graph::{Graph, NodeId};

use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::model::check::need;
use crate::model::{Activation, Mask, Pool, TransformerConfig, TransformerWeights, config};
use crate::packing::staircase::{INPUT, OUTPUT, Staircase};
use fold::Folded;

/// Refuses a model that is not for this lowering.
///
/// # Errors
/// - [`Error::Config`] names the field
pub fn check(config: &TransformerConfig) -> Result<()> {
    need(
        config.n_layers == 1,
        "num_hidden_layers",
        "1 for the staircase",
        config.n_layers,
    )?;
    for (field, value) in [
        ("hidden_size", config.dim),
        ("num_attention_heads", config.n_heads),
        ("max_position_embeddings", config.seq_len),
        ("attention.power", config.attention.power as usize),
    ] {
        let needed = "a power of two for the staircase";
        need(value.is_power_of_two(), field, needed, value)?;
    }
    need(
        config.attention.mask == Mask::None,
        "attention.mask",
        "none for the staircase",
        format!("{:?}", config.attention.mask),
    )?;
    need(
        !config.norm.inverts(),
        "norm",
        "batch_norm or none for the staircase",
        format!("{:?}", config.norm.kind),
    )?;
    need(
        config.activation == Activation::Quadratic,
        "activation",
        "quadratic for the staircase",
        format!("{:?}", config.activation),
    )?;
    let classifies = matches!(config.head, config::Head::Classification { pool: Pool::Mean, num_labels } if num_labels <= 2 * config.dim);
    need(
        classifies,
        "head",
        "a classification of the mean over the tokens for the staircase",
        format!("{:?}", config.head),
    )
}

/// Lowers a model with a fit to a graph over `slots` slots: one input ciphertext ([`Staircase::pack`]), one output with the
/// logits ([`Staircase::unpack`]).
///
/// # Errors
/// - a model that is not for this lowering ([`check`]) or has no fit, or that does not fit the slots
/// - a circuit refuses its numbers
pub fn lower(
    config: &TransformerConfig,
    weights: &TransformerWeights,
    slots: usize,
) -> Result<(Graph, Staircase)> {
    check(config)?;
    let fit = (config.fit.iter()).find_map(|fit| fit.layers.first());
    let (Some(fit), Some(layer)) = (fit, weights.layers.first()) else {
        return Err(Error::Config {
            field: "fit",
            needed: "the ranges of a calibration (Fit::calibrate)".to_owned(),
            found: "none".to_owned(),
        });
    };
    let packing = Staircase::new(config.seq_len, config.dim, slots, config.outputs())?;
    let layout = TokenLayout::new(packing.slots, packing.seq_len, packing.dim)?;
    let attention = PowerSoftmaxAttention::new(
        layout,
        config.attention.power,
        config.attention.epsilon,
        layer.shift.clone(),
        fit.denominator.iter().map(|[lo, hi]| (*lo, *hi)).collect(),
        fit.reciprocal_doublings,
    )?;
    let gains: Vec<f64> = (0..config.n_heads).map(|head| attention.gain(head)).collect();
    let folded = Folded::new(config, weights, &gains)?;

    let mut g = Graph::new(slots);
    let z = g.input(INPUT);
    let o = g.scope("layer0.attention", "power softmax", |g| {
        let (q, k, v) = queries_keys_values(g, layout, &folded, z)?;
        Ok::<_, Error>(attention.expand(g, &[q, k, v])?)
    })?;
    let u = g.scope("layer0.feed_forward", "activation", |g| {
        feed_forward(g, layout, &folded, z, o)
    })?;
    let logits = g.scope("classifier", "head", |g| classifier(g, layout, &folded, z, o, &u))?;
    g.output(OUTPUT, logits);
    Ok((g, packing))
}

/// q = 2 Re(wq z) + bq, and k, v from the imaginary part: the three share the rotations of z.
fn queries_keys_values(
    g: &mut Graph,
    layout: TokenLayout,
    folded: &Folded,
    z: NodeId,
) -> Result<(NodeId, NodeId, NodeId)> {
    type Part = fn(&mut Graph, NodeId) -> NodeId;
    let mut linear = |(w, bias): &(Matrix, Vec<f64>), part: Part| {
        let w = weight(w, 0..w.rows(), 0..w.cols())?;
        let product = TokenTransform::new(layout.slots, layout.dim, vec![w])?.expand(g, &[z])?;
        let part = g.category("repack", |g| part(g, product));
        let bias = feature_pattern(layout, bias)?;
        Ok::<_, Error>(g.category("plaintext matmul", |g| g.add_plain(part, bias)))
    };
    let q = linear(&folded.query, twice_real_part)?;
    let k = linear(&folded.key, twice_imag_part)?;
    let v = linear(&folded.value, twice_imag_part)?;
    Ok((q, k, v))
}

/// u = (2 Re(w1_x z + w1_o o) + pre_offset)^2, as many features at a time as a token has.
fn feed_forward(
    g: &mut Graph,
    layout: TokenLayout,
    folded: &Folded,
    z: NodeId,
    o: NodeId,
) -> Result<Vec<NodeId>> {
    let mut blocks = Vec::new();
    for (block, offset) in folded.pre_offset.chunks(layout.dim).enumerate() {
        let rows = block * layout.dim..block * layout.dim + offset.len();
        let up = [&folded.w1_x, &folded.w1_o]
            .map(|w| weight(w, rows.clone(), 0..layout.dim))
            .into_iter()
            .collect::<Result<_>>()?;
        let up = TokenTransform::new(layout.slots, layout.dim, up)?;
        let circuit = FeedForward::new(up, feature_pattern(layout, offset)?).with_twice_real_part();
        blocks.push(circuit.expand(g, &[z, o])?);
    }
    Ok(blocks)
}

/// The logits from the three branches of the residual; the input's is the real part of z, (z + conj z) / 2.
fn classifier(
    g: &mut Graph,
    layout: TokenLayout,
    folded: &Folded,
    z: NodeId,
    o: NodeId,
    u: &[NodeId],
) -> Result<NodeId> {
    let labels = 0..folded.head_x.rows();
    let half = weight(&folded.head_x.scale(0.5), labels.clone(), 0..layout.dim)?;
    let conjugate = g.category("repack", |g| g.conjugate(z));
    let mut inputs = vec![z, conjugate, o];
    let mut weights = vec![
        half.clone(),
        half,
        weight(&folded.head_o, labels.clone(), 0..layout.dim)?,
    ];
    for (block, u) in u.iter().enumerate() {
        let from = block * layout.dim;
        let to = (from + layout.dim).min(folded.head_u.cols());
        inputs.push(*u);
        weights.push(weight(&folded.head_u, labels.clone(), from..to)?);
    }
    let bias = folded.head_offset.iter().map(|b| *b as f32).collect();
    Ok(Head::new(layout, weights, bias)?.expand(g, &inputs)?)
}

/// A part of a matrix.
fn weight(matrix: &Matrix, rows: std::ops::Range<usize>, cols: std::ops::Range<usize>) -> Result<Weight> {
    let (height, width) = (rows.len(), cols.len());
    let entries = rows.flat_map(|i| cols.clone().map(move |j| matrix.get(i, j) as f32));
    Ok(Weight::real(height, width, entries.collect())?)
}

/// One value for each feature, the same for every token; missing features are zero.
fn feature_pattern(layout: TokenLayout, values: &[f64]) -> Result<Pattern> {
    let value = |f: usize| values.get(f).copied().unwrap_or(0.0) as f32;
    Ok(Pattern::real((0..layout.dim).map(value).collect())?)
}
