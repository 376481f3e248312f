//! The columns: inputs of linear maps, rotated by their baby steps, made block by block.
#![expect(
    clippy::indexing_slicing,
    reason = "hot loops; blocks divide N, and all limbs have N words or none"
)]

use crate::arith::Modulus;
use crate::arith::dot::key_products;
use crate::arith::gather::{gather, source_block};
use crate::arith::packed::PackedBlock;
use crate::ring::{Eval, Poly, TimesP};
use crate::rlwe::KeySwitchKey;
use crate::rlwe::key_switch::{Decomposed, blocks};
use std::sync::Arc;

/// Longest block, in entries: a key is read in runs long enough for the prefetcher.
const MAX_BLOCK: usize = 4096;
/// Words of the baby steps of a block. More than L2 holds: long runs of the keys count more (note 007).
const BLOCK_WORDS: usize = 256 << 10;
/// Words between the blocks of columns, besides their own: lines of a power-of-two distance share few places in a cache.
pub(super) const PAD: usize = 8;

/// Entries of this many columns that are worked on at a time, of limbs of n words.
pub(super) fn block_len(columns: usize, n: usize) -> usize {
    (BLOCK_WORDS / (2 * columns.max(1)))
        .next_power_of_two()
        .clamp(256, MAX_BLOCK)
        .min(n)
}

/// One input, rotated by a baby step.
pub(super) enum Column<'a> {
    /// A ciphertext as it is: nothing modulo the special primes.
    Plain([Poly<TimesP>; 2]),
    /// A rotation that is not divided by the special primes.
    Rotated {
        body: &'a Poly<Eval>,
        digits: Digits<'a>,
        key: &'a KeySwitchKey,
        /// None for a key that does not rotate: that of a raised ciphertext as it is.
        permutation: Option<Arc<Vec<u32>>>,
    },
}

/// The mask of an input, as its key takes it.
#[derive(Clone)]
pub(super) enum Digits<'a> {
    /// The digits of a gadget.
    Decomposed(Arc<Decomposed<'a>>),
    /// One digit: the same small integers modulo every prime.
    Raised(&'a Poly<Eval>),
}

impl<'a> Column<'a> {
    pub(super) fn plain(body: &Poly<Eval>, mask: &Poly<Eval>) -> Self {
        Self::Plain([body.times_p(), mask.times_p()])
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// What is needed of it modulo prime i of q_0..q_level and the special primes.
    pub(super) fn limb(&self, i: usize, level: usize) -> Limb<'_> {
        match self {
            Self::Plain(parts) => Limb::Plain(parts.each_ref().map(|part| part.limb(i))),
            Self::Rotated {
                body,
                digits,
                key,
                permutation,
            } => Limb::Rotated {
                body: body.limb(i),
                digits: match digits {
                    Digits::Decomposed(digits) => digits.limb(i),
                    Digits::Raised(mask) => vec![mask.limb(i)],
                },
                key: key.limb(level, i),
                permutation: permutation.as_ref().map(|table| &table[..]),
            },
        }
    }
}

/// Room for the inner products of a block, before they are permuted.
pub(super) struct Scratch([[u64; MAX_BLOCK]; 2]);

impl Scratch {
    pub(super) fn new() -> Self {
        Self([[0; MAX_BLOCK]; 2])
    }
}

/// One limb of a column.
pub(super) enum Limb<'a> {
    Plain([&'a [u64]; 2]),
    Rotated {
        /// Empty modulo a special prime.
        body: &'a [u64],
        digits: Vec<&'a [u64]>,
        key: PackedBlock<'a>,
        permutation: Option<&'a [u32]>,
    },
}

impl Limb<'_> {
    /// Entries from `at` on of body and mask, as many as `outs` take: a power of two that divides `at`.
    pub(super) fn block(
        &self,
        at: usize,
        [out0, out1]: [&mut [u64]; 2],
        modulus: &Modulus,
        scratch: &mut Scratch,
    ) {
        let len = out0.len();
        match self {
            Self::Plain(parts) => {
                for (out, part) in [out0, out1].into_iter().zip(parts) {
                    match part {
                        // A buffer holds whatever was there before.
                        [] => out.fill(0),
                        part => out.copy_from_slice(&part[at..at + len]),
                    }
                }
            }
            Self::Rotated {
                body,
                digits,
                key,
                permutation,
            } => {
                let from = permutation.map_or(at, |table| source_block(table, at, len));
                let xs = blocks(digits, from, len);
                let body = body.get(from..from + len);
                let plus = [body.as_slice(), &[]];
                let Some(table) = permutation else {
                    return key_products([out0, out1], &xs, key.part(from, len), plus, modulus);
                };
                let [sum0, sum1] = scratch.0.each_mut().map(|sum| &mut sum[..len]);
                key_products([&mut *sum0, &mut *sum1], &xs, key.part(from, len), plus, modulus);
                gather(out0, sum0, &table[at..at + len]);
                gather(out1, sum1, &table[at..at + len]);
            }
        }
    }
}
