//! The classifier as a graph of homomorphic operations: [`reference`](crate::one_layer::reference) once more, line by line, on
//! packed slots.

mod fold;

use he_ops::circuits::{
    Circuit, FeedForward, Head, LinearTransform, Matrix as Weight, PowerSoftmaxAttention, TokenLayout,
    twice_imag_part, twice_real_part,
};
use he_ops::ckks::Pattern;
use he_ops::graph::{Graph, NodeId, Plan};

use crate::error::{Error, Result};
use crate::lower::staircase::fold::Folded;
use crate::matrix::Matrix;
use crate::one_layer::config::ModelConfig;
use crate::one_layer::weights::Weights;
use crate::packing::staircase::{INPUT, OUTPUT, Staircase};

/// log2 of the ring degree that models are compiled for: 2^14 slots.
pub const LOG_N: u32 = 15;
/// log2 of the scale. With depth 11, log2 QP stays below 868, the 128-bit bound of the ring.
pub const LOG_SCALE: u32 = 35;
/// Compiles a classifier to the plan that the server runs.
///
/// # Errors
/// - the model does not fit the ring, or is too deep for 128 bits of security
pub fn compile(id: &str, config: &ModelConfig, weights: &Weights) -> Result<Plan> {
    Ok(he_ops::graph::compile(
        &lower(config, weights, 1 << (LOG_N - 1))?,
        id,
        LOG_SCALE,
    )?)
}

/// Lowers the classifier to a graph over `slots` slots: one input ciphertext ([`Staircase::pack`]), one output with the
/// logits in every slot ([`Staircase::unpack`]).
///
/// # Errors
/// - the model does not fit the slots, or a circuit refuses its numbers
pub fn lower(config: &ModelConfig, weights: &Weights, slots: usize) -> Result<Graph> {
    let packing = Staircase::new(config.seq_len, config.dim, slots)?;
    let layout = TokenLayout::new(packing.slots, packing.seq_len, packing.dim)?;
    let attention = PowerSoftmaxAttention::new(
        layout,
        config.attention.power,
        config.attention.epsilon,
        weights.layer.shift.clone(),
        config.ranges().iter().map(|[lo, hi]| (*lo, *hi)).collect(),
        config.reciprocal.doublings,
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
    let logits = g.scope("classifier", "head", |g| classifier(g, layout, &folded, z, o, u))?;
    g.output(OUTPUT, logits);
    Ok(g)
}

/// q = 2 Re(wq z) + bq, and k, v from the imaginary part: the three share the rotations of z.
fn queries_keys_values(
    g: &mut Graph,
    layout: TokenLayout,
    folded: &Folded,
    z: NodeId,
) -> Result<(NodeId, NodeId, NodeId)> {
    type Part = fn(&mut Graph, NodeId) -> NodeId;
    let mut linear = |w: &Matrix, bias: &[f64], part: Part| {
        let product = LinearTransform::new(layout.slots, layout.dim, vec![weight(w)?])?.expand(g, &[z])?;
        let part = g.category("repack", |g| part(g, product));
        let bias = feature_pattern(layout, bias)?;
        Ok::<_, Error>(g.category("plaintext matmul", |g| g.add_plain(part, bias)))
    };
    let q = linear(&folded.wq, &folded.bq, twice_real_part)?;
    let k = linear(&folded.wk, &folded.bk, twice_imag_part)?;
    let v = linear(&folded.wv, &folded.bv, twice_imag_part)?;
    Ok((q, k, v))
}

/// u = (2 Re(w1_x z + w1_o o) + pre_offset)^2.
fn feed_forward(g: &mut Graph, layout: TokenLayout, folded: &Folded, z: NodeId, o: NodeId) -> Result<NodeId> {
    let up = vec![weight(&folded.w1_x)?, weight(&folded.w1_o)?];
    let up = LinearTransform::new(layout.slots, layout.dim, up)?;
    let circuit = FeedForward::new(up, feature_pattern(layout, &folded.pre_offset)?).with_twice_real_part();
    Ok(circuit.expand(g, &[z, o])?)
}

/// The logits from the three branches of the residual; the input's is the real part of z, (z + conj z) / 2.
fn classifier(
    g: &mut Graph,
    layout: TokenLayout,
    folded: &Folded,
    z: NodeId,
    o: NodeId,
    u: NodeId,
) -> Result<NodeId> {
    let rows = |w: &Matrix| -> Result<Pattern> {
        let row = |i: usize| (0..layout.dim).map(|f| w.get(i, f) as f32).collect();
        Ok(Head::pair(row(0), row(1))?)
    };
    let half = rows(&folded.head_x.scale(0.5))?;
    let weights = vec![half.clone(), half, rows(&folded.head_o)?, rows(&folded.head_u)?];
    let part = |label: usize| vec![folded.head_offset.get(label).copied().unwrap_or(0.0) as f32];
    let conjugate = g.category("repack", |g| g.conjugate(z));
    let head = Head::new(layout, weights, Head::pair(part(0), part(1))?)?;
    Ok(head.expand(g, &[z, conjugate, o, u])?)
}

fn weight(matrix: &Matrix) -> Result<Weight> {
    let entries = (0..matrix.rows())
        .flat_map(|i| matrix.row(i))
        .map(|value| *value as f32)
        .collect();
    Ok(Weight::real(matrix.rows(), matrix.cols(), entries)?)
}

/// One value for each feature, the same for every token; missing features are zero.
fn feature_pattern(layout: TokenLayout, values: &[f64]) -> Result<Pattern> {
    let value = |f: usize| values.get(f).copied().unwrap_or(0.0) as f32;
    Ok(Pattern::real((0..layout.dim).map(value).collect())?)
}
