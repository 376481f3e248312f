//! Residues packed to the bits of their prime: 35-bit residues take 35 bits, not 64.
//!
//! Little endian, least significant bit first; each limb starts on a byte boundary. Eight residues of b bits take
//! exactly b bytes, so the ring degrees in use (multiples of eight) leave no padding.

use super::error::{Result, WireError};

/// Widest residue that the packer takes: an unaligned 64-bit load covers it at every bit offset.
pub const MAX_BITS: u32 = 57;

/// Bytes of `n` packed residues of `bits` bits.
///
/// # Examples
/// ```
/// assert_eq!(he_ops::wire::packed_len(32768, 35), 32768 / 8 * 35);
/// ```
#[must_use]
pub fn packed_len(n: usize, bits: u32) -> usize {
    (n * bits as usize).div_ceil(8)
}

/// Fills `out` with residues read from `bytes`, each checked to be below `prime`.
///
/// `limb` only names the place in the error.
///
/// # Errors
/// [`WireError::Field`] when `bytes` has another length than [`packed_len`], or when the padding bits are not zero;
/// [`WireError::Residue`] for the first residue that is too large.
pub(super) fn unpack_limb(bytes: &[u8], prime: u64, bits: u32, limb: usize, out: &mut [u64]) -> Result<()> {
    let needed = packed_len(out.len(), bits);
    if bytes.len() != needed || bits == 0 || bits > MAX_BITS {
        return Err(WireError::Field {
            what: "packed limb",
            needed: format!("{needed} bytes of 1 to {MAX_BITS}-bit residues"),
            found: format!("{} bytes of {bits}-bit residues", bytes.len()),
        });
    }
    let width = bits as usize;
    let mask = (1u64 << bits) - 1;
    // Eight residues at a time from a zero-padded copy: every load below stays inside the buffer.
    let mut window = [0u8; MAX_BITS as usize + 8];
    let mut worst = 0;
    for (chunk, values) in bytes.chunks(width).zip(out.chunks_mut(8)) {
        let (head, tail) = window.split_at_mut(chunk.len().min(MAX_BITS as usize));
        head.copy_from_slice(chunk);
        tail.fill(0);
        for (j, value) in values.iter_mut().enumerate() {
            let bit = j * width;
            *value = (load(&window, bit / 8) >> (bit % 8)) & mask;
            worst = worst.max(*value);
        }
        let used = values.len() * width;
        if !used.is_multiple_of(8) && load(&window, used / 8) >> (used % 8) != 0 {
            return Err(WireError::Field {
                what: "padding of a packed limb",
                needed: "zero".into(),
                found: "other bits".into(),
            });
        }
    }
    // The position is looked up only on failure.
    if worst >= prime {
        let index = out.iter().position(|&v| v >= prime).unwrap_or(0);
        return Err(WireError::Residue {
            limb,
            index,
            prime,
            found: out.get(index).copied().unwrap_or(worst),
        });
    }
    Ok(())
}

#[expect(clippy::indexing_slicing, reason = "a window of eight residues and a word")]
fn load(window: &[u8; MAX_BITS as usize + 8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&window[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::packed::pack_limb;
    use proptest::prelude::*;

    #[test]
    fn layout_is_little_endian_bits() {
        let mut out = Vec::new();
        pack_limb(&[1, 2, 3], 4, &mut out);
        assert_eq!(out, [0x21, 0x03]);
    }

    #[test]
    fn padding_must_be_zero() {
        let mut out = [0; 3];
        assert!(unpack_limb(&[0x21, 0x03], 13, 4, 0, &mut out).is_ok());
        assert!(unpack_limb(&[0x21, 0x13], 13, 4, 0, &mut out).is_err());
        assert!(unpack_limb(&[0x21], 13, 4, 0, &mut out).is_err());
        assert!(unpack_limb(&[0x21, 0x03, 0], 13, 4, 0, &mut out).is_err());
    }

    #[test]
    fn a_residue_equal_to_its_prime_is_named() {
        let mut bytes = Vec::new();
        pack_limb(&[0, 12, 13, 1, 0, 0, 0, 0], 4, &mut bytes);
        let error = unpack_limb(&bytes, 13, 4, 5, &mut [0; 8]).unwrap_err();
        assert_eq!(
            error,
            WireError::Residue {
                limb: 5,
                index: 2,
                prime: 13,
                found: 13
            }
        );
    }

    proptest! {
        #[test]
        fn packing_is_reversible(bits in 2u32..=MAX_BITS, values in prop::collection::vec(any::<u64>(), 0..70)) {
            let prime = (1u64 << bits) - 1;
            let values: Vec<u64> = values.into_iter().map(|v| v % prime).collect();
            let mut bytes = Vec::new();
            pack_limb(&values, bits, &mut bytes);
            prop_assert_eq!(bytes.len(), packed_len(values.len(), bits));
            let mut back = vec![0; values.len()];
            unpack_limb(&bytes, prime, bits, 0, &mut back).unwrap();
            prop_assert_eq!(back, values);
        }
    }
}
