//! Sums, copies and parts of slots: rotations and conjugations without weights.

use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// out\[j\] = Σ_{i < count} a\[j + i * step\].
///
/// **Level:** unchanged. **Keys:** rotations by step * 2^i. **Cost:** log2(count) rotations.
///
/// # Errors
/// [`Error::Circuit`] unless `count` is a power of two.
pub fn inner_sum(g: &mut Graph, a: NodeId, step: i64, count: usize) -> Result<NodeId> {
    if !count.is_power_of_two() {
        let reason = format!("a power of two of summands needed, {count} found");
        return Err(Error::Circuit {
            circuit: "inner_sum",
            reason,
        });
    }
    let mut sum = a;
    for i in 0..count.trailing_zeros() {
        let turned = g.rotate(sum, step << i);
        sum = g.add(sum, turned);
    }
    Ok(sum)
}

/// Copies: out\[j\] = Σ_{i < count} a\[j - i * step\], which spreads a value that stands alone over `count` slots.
///
/// **Level:** unchanged. **Keys:** rotations by -step * 2^i. **Cost:** log2(count) rotations.
///
/// # Errors
/// [`Error::Circuit`] unless `count` is a power of two.
pub fn replicate(g: &mut Graph, a: NodeId, step: i64, count: usize) -> Result<NodeId> {
    inner_sum(g, a, -step, count)
}

/// 2 Re(a) = a + conj(a); the factor belongs into a neighbouring weight.
///
/// **Level:** unchanged. **Keys:** conjugation. **Cost:** one key switch.
pub fn twice_real_part(g: &mut Graph, a: NodeId) -> NodeId {
    let conjugate = g.conjugate(a);
    g.add(a, conjugate)
}

/// 2 Im(a) = -i (a - conj(a)); the factor belongs into a neighbouring weight.
///
/// **Level:** unchanged. **Keys:** conjugation. **Cost:** one key switch, shared with [`twice_real_part`] of the same
/// value.
pub fn twice_imag_part(g: &mut Graph, a: NodeId) -> NodeId {
    let conjugate = g.conjugate(a);
    let difference = g.sub(a, conjugate);
    g.mul_i(difference, 3)
}
