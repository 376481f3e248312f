//! Linear layers with everything folded into them that costs a level elsewhere: norms, scales, means.

use he_ops::circuits::{BlockLayout, BlockMatrix};
use he_ops::ckks::Pattern;

use crate::error::Result;
use crate::model::weights::{Linear, Weight};

/// Where the features of a value stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// One after the other.
    Dense,
    /// Head by head, each padded from `head_dim` features to `padded`.
    Heads { head_dim: usize, padded: usize },
}

impl Place {
    /// Position of a feature: block * dim + slot within the block.
    pub(super) fn of(self, feature: usize) -> usize {
        match self {
            Place::Dense => feature,
            // Padded heads are powers of two that divide the block: none straddles two.
            Place::Heads { head_dim, padded } => feature / head_dim * padded + feature % head_dim,
        }
    }

    /// Blocks of a value of this many features.
    pub(super) fn blocks(self, features: usize, layout: BlockLayout) -> usize {
        (self.of(features.max(1) - 1) + 1).div_ceil(layout.dim)
    }
}

/// rows (W (cols x + offset) + bias), optionally less the mean over the outputs.
pub(super) struct Fold<'a> {
    pub linear: &'a Linear,
    /// Factor of every input.
    pub cols: Vec<f64>,
    /// Added to every input, before the factor is counted: W (cols x + offset).
    pub offset: Vec<f64>,
    /// Factor of every output.
    pub rows: Vec<f64>,
    /// Takes off the mean over the outputs.
    pub centred: bool,
    pub from: Place,
    pub to: Place,
}

/// A folded layer.
pub(super) struct Folded {
    pub matrix: BlockMatrix,
    /// Bias by position.
    pub bias: Vec<f64>,
}

impl Fold<'_> {
    /// The matrix in blocks. Layers without numbers need a `tag` of their own.
    pub(super) fn fold(&self, layout: BlockLayout, tag: &mut u32) -> Result<Folded> {
        let (rows, cols) = (self.linear.weight.rows(), self.linear.weight.cols());
        let (out_blocks, in_blocks) = (self.to.blocks(rows, layout), self.from.blocks(cols, layout));
        let of = |values: &[f64], i: usize, other: f64| values.get(i).copied().unwrap_or(other);
        let mut bias: Vec<f64> = (0..rows).map(|i| of(&self.linear.bias, i, 0.0)).collect();
        let matrix = match &self.linear.weight {
            Weight::Shape { .. } => {
                *tag += 1;
                BlockMatrix::unknown(layout.dim, out_blocks, in_blocks, *tag)
            }
            Weight::Values(matrix) => {
                for (i, bias) in bias.iter_mut().enumerate() {
                    let row = matrix.row(i);
                    *bias += row.iter().zip(&self.offset).map(|(w, x)| w * x).sum::<f64>();
                }
                let width = in_blocks * layout.dim;
                let mut entries = vec![0.0_f32; out_blocks * layout.dim * width];
                let mut means = vec![0.0; cols];
                if self.centred {
                    for i in 0..rows {
                        for (mean, w) in means.iter_mut().zip(matrix.row(i)) {
                            *mean += w / rows as f64;
                        }
                    }
                }
                for i in 0..rows {
                    let factor = of(&self.rows, i, 1.0);
                    let start = self.to.of(i) * width;
                    for (j, (w, mean)) in matrix.row(i).iter().zip(&means).enumerate() {
                        if let Some(entry) = entries.get_mut(start + self.from.of(j)) {
                            *entry = (factor * (w - mean) * of(&self.cols, j, 1.0)) as f32;
                        }
                    }
                }
                BlockMatrix::new(layout.dim, out_blocks, in_blocks, entries)?
            }
        };
        if self.centred {
            let mean = bias.iter().sum::<f64>() / rows as f64;
            bias.iter_mut().for_each(|b| *b -= mean);
        }
        let mut placed = vec![0.0; out_blocks * layout.dim];
        for (i, b) in bias.iter().enumerate() {
            if let Some(slot) = placed.get_mut(self.to.of(i)) {
                *slot = b * of(&self.rows, i, 1.0);
            }
        }
        Ok(Folded { matrix, bias: placed })
    }
}

/// The pattern of real block `re` and, in the imaginary part, of block `im`.
pub(super) fn bias_pattern(
    layout: BlockLayout,
    bias: &[f64],
    re: usize,
    im: Option<usize>,
) -> Result<Pattern> {
    let block = |block: Option<usize>| -> Vec<f32> {
        let start = block.map_or(bias.len(), |block| block * layout.dim);
        (start..start + layout.dim)
            .map(|at| bias.get(at).map_or(0.0, |b| *b as f32))
            .collect()
    };
    Ok(Pattern::complex(block(Some(re)), block(im))?)
}
