//! The rotated inputs of linear maps, made block by block: the columns of their matrices.

use crate::arith::Modulus;
use crate::arith::dot::key_products;
use crate::arith::gather::{gather, source_block};
use crate::arith::packed::PackedBlock;
use crate::ring::{Eval, Poly};
use crate::rlwe::KeySwitchKey;
use crate::rlwe::key_switch::{Decomposed, blocks};
use std::sync::Arc;

/// Longest block, in entries: a key is read in runs long enough for the prefetcher.
const MAX_BLOCK: usize = 4096;
/// Words of the baby steps of a block. More than L2 holds: long runs of the keys count more (note 007).
const BLOCK_WORDS: usize = 256 << 10;
/// Words between the blocks of columns, besides their own: lines of a power-of-two distance share few places in a cache.
pub(in crate::ckks) const PAD: usize = 8;

/// Entries of this many columns that are worked on at a time, of limbs of n words.
pub(in crate::ckks) fn block_len(columns: usize, n: usize) -> usize {
    (BLOCK_WORDS / (2 * columns.max(1)))
        .next_power_of_two()
        .clamp(256, MAX_BLOCK)
        .min(n)
}

/// One input, rotated by a baby step.
pub(super) enum Column<'a> {
    /// A ciphertext as it is: P times it is zero modulo P, and without P modulo Q.
    Plain([&'a Poly<Eval>; 2]),
    /// P times a rotated ciphertext modulo QP ([`crate::arith::rns::Division`]).
    Switched(Rotation<'a>),
}

/// A rotation that is not divided by the special primes.
pub(super) struct Rotation<'a> {
    pub body: &'a Poly<Eval>,
    pub decomposed: &'a Decomposed<'a>,
    pub key: &'a KeySwitchKey,
    pub permutation: Arc<Vec<u32>>,
}

impl Column<'_> {
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// What is needed of it modulo prime i of q_0..q_level and the special primes.
    pub(super) fn limb(&self, i: usize, level: usize) -> Limb<'_> {
        match self {
            Self::Plain(parts) => Limb::Plain(parts.map(|part| part.limb(i))),
            Self::Switched(rotation) => Limb::Switched {
                body: rotation.body.limb(i),
                digits: rotation.decomposed.limb(i),
                key: rotation.key.limb(level, i),
                permutation: Some(&rotation.permutation),
            },
        }
    }
}

/// Room for the inner products of a block, before they are turned.
pub(in crate::ckks) struct Scratch([[u64; MAX_BLOCK]; 2]);

impl Scratch {
    pub(in crate::ckks) fn new() -> Self {
        Self([[0; MAX_BLOCK]; 2])
    }
}

/// One limb of a column.
pub(in crate::ckks) enum Limb<'a> {
    Plain([&'a [u64]; 2]),
    Switched {
        /// Empty modulo a special prime.
        body: &'a [u64],
        digits: Vec<&'a [u64]>,
        key: PackedBlock<'a>,
        /// None for a key that does not rotate.
        permutation: Option<&'a [u32]>,
    },
}

impl Limb<'_> {
    /// Entries from `at` on of body and mask, as many as `outs` take: a power of two that divides `at`.
    pub(in crate::ckks) fn block(
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
                    match part.get(at..at + len) {
                        Some(block) => out.copy_from_slice(block),
                        // No part modulo the special primes; a buffer holds whatever was there before.
                        None => out.fill(0),
                    }
                }
            }
            Self::Switched {
                body,
                digits,
                key,
                permutation,
            } => {
                let from = permutation.map_or(at, |table| source_block(table, at, len));
                let xs = blocks(digits, from, len);
                let [sum0, sum1] = &mut scratch.0;
                let (Some(sum0), Some(sum1)) = (sum0.get_mut(..len), sum1.get_mut(..len)) else {
                    return;
                };
                let body = body.get(from..from + len);
                let plus = [body.as_slice(), &[]];
                let Some(table) = permutation.and_then(|table| table.get(at..at + len)) else {
                    return key_products([out0, out1], &xs, key.part(from, len), plus, modulus);
                };
                key_products([&mut *sum0, &mut *sum1], &xs, key.part(from, len), plus, modulus);
                gather(out0, sum0, table);
                gather(out1, sum1, table);
            }
        }
    }
}
