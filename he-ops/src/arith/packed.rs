//! Vectors modulo one prime, packed to its bits: an evaluation key is read from memory once for every use and never fits
//! a cache, so its bytes are its cost.
//!
//! Eight residues of b bits are b bytes. Rows stay apart: a processor reads eight streams faster than one (note 013).

use super::Modulus;

/// Entries that are packed together.
const LANES: usize = 8;
/// Bytes between rows: the widest load of the last residue stays inside, and rows do not lie at a power-of-two distance,
/// where they would share few places in a cache.
const PAD: usize = 5 * 64;

/// Rows of residues modulo one prime, packed.
#[derive(Clone)]
pub struct PackedRows {
    bytes: Vec<u8>,
    rows: usize,
    /// Bytes from a row to the next.
    stride: usize,
    /// Bits of a residue, bytes of eight.
    bits: usize,
    len: usize,
}

impl std::fmt::Debug for PackedRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rows, bits, len, .. } = self;
        write!(f, "PackedRows {{ {rows} rows of {len} residues of {bits} bits }}")
    }
}

impl PackedRows {
    /// Rows of residues below the modulus, all of one length, a multiple of eight; what is longer is left out.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "as long as the shortest row")]
    pub fn new(rows: &[&[u64]], modulus: &Modulus) -> Self {
        let len = rows.iter().map(|row| row.len()).min().unwrap_or(0) / LANES * LANES;
        let bits = modulus.bits() as usize;
        let stride = stride(len, bits);
        let mut bytes = Vec::with_capacity(rows.len() * stride);
        for (i, row) in rows.iter().enumerate() {
            pack_limb(&row[..len], modulus.bits(), &mut bytes);
            bytes.resize((i + 1) * stride, 0);
        }
        Self {
            bytes,
            rows: rows.len(),
            stride,
            bits,
            len,
        }
    }

    /// Bytes in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that [`Self::new`] takes for rows of this length.
    #[must_use]
    pub fn expected_bytes(rows: usize, len: usize, modulus: &Modulus) -> usize {
        rows * stride(len, modulus.bits() as usize)
    }

    /// All entries.
    #[must_use]
    pub fn all(&self) -> PackedBlock<'_> {
        PackedBlock {
            bytes: &self.bytes,
            rows: self.rows,
            stride: self.stride,
            bits: self.bits,
            len: self.len,
        }
    }
}

fn stride(len: usize, bits: usize) -> usize {
    (len / LANES * bits).next_multiple_of(64) + PAD
}

/// Some entries of all rows.
#[derive(Clone, Copy)]
pub struct PackedBlock<'a> {
    /// From the first entry of the first row on.
    bytes: &'a [u8],
    rows: usize,
    stride: usize,
    bits: usize,
    len: usize,
}

impl PackedBlock<'_> {
    /// Entries from..from + len, or as many as there are; `from` is a multiple of eight.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "an entry of the block")]
    pub fn part(&self, from: usize, len: usize) -> Self {
        let from = (from / LANES * LANES).min(self.len);
        Self {
            bytes: &self.bytes[from / LANES * self.bits..],
            len: len.min(self.len - from),
            ..*self
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bits(&self) -> usize {
        self.bits
    }

    /// Where the bytes of eight entries begin; `i` is a multiple of eight. 64 bytes may be read from there.
    pub(super) fn at(&self, row: usize, i: usize) -> *const u8 {
        self.bytes.as_ptr().wrapping_add(self.offset(row, i))
    }

    fn offset(&self, row: usize, i: usize) -> usize {
        row * self.stride + i / LANES * self.bits
    }
}

/// Appends the residues of one limb, each below 2^bits with at most 57 bits, to `out`: little endian, least
/// significant bit first.
pub(crate) fn pack_limb(limb: &[u64], bits: u32, out: &mut Vec<u8>) {
    out.reserve((limb.len() * bits as usize).div_ceil(8));
    let (mut acc, mut fill) = (0u128, 0u32);
    for &value in limb {
        acc |= u128::from(value) << fill;
        fill += bits;
        if fill >= 64 {
            out.extend_from_slice(&(acc as u64).to_le_bytes());
            acc >>= 64;
            fill -= 64;
        }
    }
    let tail = fill.div_ceil(8) as usize;
    out.extend(acc.to_le_bytes().iter().take(tail));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::lanes::Lanes;
    use crate::arith::lanes::scalar::Words;

    #[test]
    fn every_residue_comes_back_whatever_its_width() {
        for value in [3, 65537, 34_359_754_753, (1 << 50) - 27] {
            let m = Modulus::new(value).unwrap();
            let row = |seed: u64| -> Vec<u64> {
                (0..40)
                    .map(|i| match i {
                        11 => value - 1,
                        _ => m.reduce((seed + i).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                    })
                    .collect()
            };
            let rows = [row(1), row(100), row(200)];
            let packed = PackedRows::new(&rows.each_ref().map(|r| &r[..]), &m);
            assert_eq!(packed.memory_bytes(), PackedRows::expected_bytes(3, 40, &m));
            for from in [0, 8, 32] {
                let block = packed.all().part(from, 100);
                assert_eq!((block.rows(), block.len()), (3, 40 - from));
                let get = |r, i| {
                    // SAFETY: 64 bytes may be read at the place of entry i.
                    let [residue] = unsafe { Words::<1>.unpack(&block.bits(), block.at(r, i), i % LANES) };
                    residue
                };
                for (r, row) in rows.iter().enumerate() {
                    for i in 0..block.len() {
                        assert_eq!(get(r, i), row[from + i], "{value}, row {r}, {from} + {i}");
                    }
                }
            }
        }
    }
}
