//! Norms of tokens in the wide layout.

use super::blocks::BlockLayout;
use super::{inner_sum, replicate};
use crate::ckks::Pattern;
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// weight * Σ_f |z_f|^2 + shift over all features of a token, in all slots of the token; real.
///
/// `blocks` real blocks lie in pairs in `ciphertexts`.
///
/// **Level:** in -> in - 2. **Keys:** relinearisation, conjugation, rotations by powers of two below the width of a block
/// to both sides. **Cost:** one product and, for pairs, one conjugation for each ciphertext; 2 log2(dim) rotations.
///
/// # Errors
/// [`Error::Circuit`] for no ciphertext.
pub fn sum_of_squares(
    g: &mut Graph,
    layout: BlockLayout,
    ciphertexts: &[NodeId],
    blocks: usize,
    weight: f64,
    shift: f64,
) -> Result<NodeId> {
    let mut sum: Option<NodeId> = None;
    for (i, z) in ciphertexts.iter().enumerate() {
        let square = if 2 * i + 1 < blocks {
            let conjugate = g.conjugate(*z);
            g.mul(*z, conjugate)
        } else {
            g.square(*z)
        };
        sum = Some(match sum {
            None => square,
            Some(sum) => g.add(sum, square),
        });
    }
    let sum = sum.ok_or_else(|| Error::Circuit {
        circuit: "sum of squares",
        reason: "no ciphertext".to_owned(),
    })?;
    let total = inner_sum(g, sum, 1, layout.dim)?;
    let mut first = vec![0.0; layout.dim];
    if let Some(entry) = first.first_mut() {
        *entry = weight as f32;
    }
    let total = g.mul_plain(total, Pattern::real(first)?);
    let spread = replicate(g, total, 1, layout.dim)?;
    Ok(g.add_plain(spread, Pattern::constant(shift as f32)?))
}
