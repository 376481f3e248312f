//! The wide layout: every slot in use, values of many features cut into blocks, short sequences side by side.

use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// slot(token, sequence, feature of a block) = (token * sequences + sequence) * dim + feature; powers of two.
///
/// A value of more features has several real blocks; block 2i is the real part of ciphertext i and block 2i + 1 its
/// imaginary part. A token shift is a rotation by a multiple of [`stride`](Self::stride), cyclic over all tokens and the
/// same for all sequences, which never meet; a weight that is the same for every token has period `dim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLayout {
    /// Tokens of a sequence.
    pub tokens: usize,
    /// Sequences.
    pub sequences: usize,
    /// Features of a block.
    pub dim: usize,
}

impl BlockLayout {
    /// The layout of `sequences` sequences of `tokens` tokens over `slots` slots.
    ///
    /// # Errors
    /// [`Error::Circuit`] unless all are powers of two and there are at most as many tokens as slots.
    pub fn new(slots: usize, tokens: usize, sequences: usize) -> Result<Self> {
        let powers = [slots, tokens, sequences].iter().all(|n| n.is_power_of_two());
        if powers && tokens.saturating_mul(sequences) <= slots {
            return Ok(BlockLayout {
                tokens,
                sequences,
                dim: slots / (tokens * sequences),
            });
        }
        Err(Error::Circuit {
            circuit: "block layout",
            reason: format!(
                "powers of two with sequences * tokens <= slots needed, {sequences} of {tokens} in {slots} found"
            ),
        })
    }

    /// Complex slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.tokens * self.stride()
    }

    /// Slots from a token to the next.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.sequences * self.dim
    }

    /// Real blocks of a value of `features` features.
    #[must_use]
    pub fn blocks(&self, features: usize) -> usize {
        features.div_ceil(self.dim)
    }
}

/// A ciphertext of a value in blocks, as a linear map sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// The ciphertext.
    pub value: NodeId,
    /// Block in its real part.
    pub re: usize,
    /// Block in its imaginary part; with none there may be anything, unless the ciphertext is `real`.
    pub im: Option<usize>,
    /// The imaginary part is zero.
    pub real: bool,
}

/// The operands of a value whose blocks are packed in pairs.
#[must_use]
pub fn packed_operands(ciphertexts: &[NodeId], blocks: usize) -> Vec<Operand> {
    let operand = |(i, value): (usize, &NodeId)| {
        let im = Some(2 * i + 1).filter(|block| *block < blocks);
        Operand {
            value: *value,
            re: 2 * i,
            im,
            real: im.is_none(),
        }
    };
    ciphertexts.iter().enumerate().map(operand).collect()
}

/// Packs real ciphertexts, one block each, in pairs: no level, no key switch.
pub fn pack_pairs(g: &mut Graph, blocks: &[NodeId]) -> Vec<NodeId> {
    let mut packed = Vec::with_capacity(blocks.len().div_ceil(2));
    for pair in blocks.chunks(2) {
        packed.push(match pair {
            [re, im] => {
                let im = g.mul_i(*im, 1);
                g.add(*re, im)
            }
            other => match other.first() {
                Some(re) => *re,
                None => continue,
            },
        });
    }
    packed
}

/// Real parts in pairs, one ciphertext for each two values: half as many to bootstrap. A value that is not `real` has
/// anything in its imaginary part, and is doubled when that is taken off.
///
/// **Level:** kept. **Keys:** conjugation, once for each pair that is not real.
pub fn pack_real_parts(g: &mut Graph, values: &[(NodeId, bool)]) -> Vec<NodeId> {
    let pack = |pair: &[(NodeId, bool)]| match *pair {
        [(re, false), (im, false)] => {
            // a + ib + conj(a - ib) = 2 (re a + i re b).
            let im = g.mul_i(im, 1);
            let (plus, minus) = (g.add(re, im), g.sub(re, im));
            let conjugate = g.conjugate(minus);
            Some(g.add(plus, conjugate))
        }
        [re, im] => {
            let re = twice_if_complex(g, re);
            let im = twice_if_complex(g, im);
            let im = g.mul_i(im, 1);
            Some(g.add(re, im))
        }
        [single] => Some(twice_if_complex(g, single)),
        _ => None,
    };
    values.chunks(2).filter_map(pack).collect()
}

fn twice_if_complex(g: &mut Graph, (value, real): (NodeId, bool)) -> NodeId {
    if real {
        value
    } else {
        super::twice_real_part(g, value)
    }
}

/// Twice the real and twice the imaginary part of every ciphertext, one after the other; what
/// [`pack_real_parts`] packed, doubled.
///
/// **Level:** kept. **Keys:** conjugation, once for each ciphertext.
pub fn unpack_doubled(g: &mut Graph, packed: &[NodeId]) -> Vec<NodeId> {
    let mut values = Vec::with_capacity(2 * packed.len());
    for value in packed {
        let conjugate = g.conjugate(*value);
        values.push(g.add(*value, conjugate));
        let difference = g.sub(*value, conjugate);
        values.push(g.mul_i(difference, 3));
    }
    values
}
