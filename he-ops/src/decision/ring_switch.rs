//! From an LWE sample under the CKKS secret to one under the secret of `tfhe`, through a smaller ring.
//!
//! The N coefficients of the secret are cut into N / 2048 polynomials s_t of the ring Z\[Y\] / (Y^2048 + 1). The mask of the
//! sample, cut and turned around the same way, gives a_t with coefficient 0 of Σ a_t s_t = <a, s>, so N / 2048 small external
//! products switch the whole sample. The key is small (seeded: N digits of log2 q0 bits each) where a plain LWE key switch
//! would take gigabytes in memory: cutting as in ePrint 2012/240, section 4, the rest as any gadget key switch.

use super::params::{BASE_LOG, DEGREE, DIGITS, LOG_DEGREE};
use crate::arith::sample::{Domain, Seed};
use crate::arith::{Modulus, NttTable};
use crate::rlwe::Params;
use crate::{Error, ParamsError, Result, par};

/// Seed and bodies of the key, in evaluation form: for each block t of the secret and each digit l an encryption
/// b = -a s' + e + g_l s_t with g_l = q0 / 2^(8 l).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededRingSwitchKey {
    /// The masks are expanded from it.
    pub seed: Seed,
    /// N * 3 residues: blocks, digits, coefficients.
    pub bodies: Vec<u64>,
}

/// The expanded key. Evaluation keys are public.
#[derive(Debug)]
pub struct RingSwitchKey {
    table: NttTable,
    masks: Vec<u64>,
    bodies: Vec<u64>,
}

/// An LWE sample modulo q0 under the CKKS secret s: body + <mask, s> = message + noise.
pub(crate) struct LweSample {
    pub mask: Vec<u64>,
    pub body: u64,
}

/// Residues of the bodies of a key for these parameters.
pub(crate) fn ring_switch_residues(params: &Params) -> usize {
    params.degree() * DIGITS
}

/// The bottom prime over the small ring.
pub(crate) fn small_table(params: &Params) -> Result<NttTable> {
    ParamsError::check(
        "log2 of the ring degree of an exact decision",
        params.log_n(),
        [LOG_DEGREE, 17],
    )?;
    NttTable::new(LOG_DEGREE, *params.bottom_modulus())
}

/// g_l = q0 / 2^(8 l), l from 1.
#[cfg(any(test, feature = "secret"))]
pub(crate) fn gadget(modulus: &Modulus, digit: usize) -> u64 {
    let shift = BASE_LOG * (digit as u32 + 1);
    (modulus.value() + (1 << (shift - 1))) >> shift
}

/// Mask number `index` of a seed.
pub(crate) fn expand_mask(seed: &Seed, index: usize, modulus: &Modulus, out: &mut [u64]) {
    seed.expand_uniform(Domain::RingSwitch, index as u64, modulus, out);
}

/// The balanced digits of round(v 2^24 / q), most significant first.
fn digits(v: u64, q: u64) -> [i64; DIGITS] {
    let kept = BASE_LOG * DIGITS as u32;
    let mut rest = (((u128::from(v) << kept) + u128::from(q / 2)) / u128::from(q)) as i64;
    let base = 1i64 << BASE_LOG;
    let mut out = [0; DIGITS];
    for digit in out.iter_mut().rev() {
        let low = rest & (base - 1);
        *digit = if low >= base / 2 { low - base } else { low };
        rest = (rest - *digit) >> BASE_LOG;
    }
    // What is carried out of the top is a multiple of q.
    out
}

impl RingSwitchKey {
    /// Expands a seeded key.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of residues than the parameters need, [`Error::Params`] for a ring that is too
    /// small.
    pub fn expand(params: &Params, seeded: &SeededRingSwitchKey) -> Result<Self> {
        let table = small_table(params)?;
        let needed = ring_switch_residues(params);
        if seeded.bodies.len() != needed {
            return Err(Error::Shape {
                what: "residues of a ring-switch key",
                needed,
                found: seeded.bodies.len(),
            });
        }
        let mut masks = vec![0; needed];
        par::limbs(&mut masks, DEGREE, |i, mask| {
            expand_mask(&seeded.seed, i, table.modulus(), mask);
        });
        Ok(RingSwitchKey {
            table,
            masks,
            bodies: seeded.bodies.clone(),
        })
    }

    /// Dimension 2048, modulus 2^64: mask then body, in the convention of `tfhe` (body - <mask, s'> = message + noise).
    ///
    /// Cost: 3 N / 2048 transforms of the small ring. Noise: of N digits, and of the 24 bits that are kept.
    #[expect(clippy::indexing_slicing, reason = "polynomials of `DEGREE` coefficients")]
    pub(crate) fn switch(&self, sample: &LweSample) -> Vec<u64> {
        let modulus = self.table.modulus();
        let q = modulus.value();
        let mut out = [vec![0; DEGREE], vec![0; DEGREE]];
        let mut digit_polys = [(); DIGITS].map(|()| vec![0; DEGREE]);
        let [bodies, masks] = [&self.bodies, &self.masks].map(|half| half.chunks(DEGREE * DIGITS));
        for (block, (bodies, masks)) in sample.mask.chunks(DEGREE).zip(bodies.zip(masks)) {
            for (i, value) in block.iter().enumerate() {
                // Turned around, so that coefficient 0 of the product is the inner product.
                let (at, value) = match i {
                    0 => (0, *value),
                    i => (DEGREE - i, modulus.neg(*value)),
                };
                for (poly, digit) in digit_polys.iter_mut().zip(digits(value, q)) {
                    poly[at] = modulus.reduce_i64(digit);
                }
            }
            let keys = bodies.chunks(DEGREE).zip(masks.chunks(DEGREE));
            for (poly, (body, mask)) in digit_polys.iter_mut().zip(keys) {
                self.table.forward(poly);
                let [sum_body, sum_mask] = &mut out;
                self.table.mul_accumulate(sum_body, poly, body);
                self.table.mul_accumulate(sum_mask, poly, mask);
            }
        }
        let [body, mask] = &mut out;
        self.table.inverse(body);
        self.table.inverse(mask);
        let body = modulus.add(body[0], sample.body);
        // Coefficient 0 of mask * s' as an inner product, with the sign of `tfhe`.
        let (first, rest) = mask.split_at(1);
        let first = first.iter().map(|v| modulus.neg(*v));
        let words = first.chain(rest.iter().rev().copied()).chain([body]);
        words.map(|v| to_torus(v, q)).collect()
    }
}

/// round(v 2^64 / q) modulo 2^64.
fn to_torus(v: u64, q: u64) -> u64 {
    (((u128::from(v) << 64) + u128::from(q / 2)) / u128::from(q)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_recompose_the_value() {
        let q = 1_125_899_904_679_937_u64;
        let modulus = Modulus::new(q).unwrap();
        for v in [0, 1, q / 2, q / 2 + 1, q - 1, 123_456_789_012_345] {
            let own = digits(v, q);
            assert!(own.iter().all(|d| (-128..128).contains(d)));
            let sum = own.iter().enumerate().fold(0i128, |sum, (l, d)| {
                sum + i128::from(*d) * i128::from(gadget(&modulus, l))
            });
            let off = modulus.center(modulus.reduce_i128(sum - i128::from(v))).abs();
            // Half of the last digit kept, and the rounding of the gadget.
            assert!(off as f64 <= q as f64 * (-25f64).exp2() + 400.0, "{v}: {off}");
        }
    }

    #[test]
    fn residues_reach_both_ends_of_the_torus() {
        let q = 97;
        assert_eq!(to_torus(0, q), 0);
        // 96 / 97 of 2^64 and 36 / 97.
        assert_eq!(to_torus(96, q), (96u128 * (1 << 64) / 97) as u64);
        assert_eq!(to_torus(1, q), ((1u128 << 64) / 97) as u64 + 1);
    }
}
