//! Work of the exact decision.

use super::work::{Counter, Work};
use crate::decision::{Decision, TFHE_PARAMETERS as TFHE, decision_memory_bytes, ring_switch_transforms};

impl Counter<'_> {
    /// A decision over values at this level: readings, ring switches, and bootstraps of `tfhe`.
    #[must_use]
    pub fn decide(&self, level: usize, values: usize, classes: usize, bootstraps: usize) -> Work {
        // Two products and two transforms of a limb, and an encoded plaintext.
        let reading = self.limbs(3, 2, 6) + self.coefficients(1, self.degree() / 2);
        let lower = if level > 0 {
            self.limbs(0, 0, 4)
        } else {
            Work::default()
        };
        let (transforms, degree) = ring_switch_transforms(self.degree());
        let switch = transform(degree) * transforms
            + Work {
                products: (2 * degree * transforms) as u64,
                bytes: (24 * degree * transforms) as u64,
                ..Work::default()
            };
        (reading + switch) * classes + lower * values + bootstrap() * bootstraps
    }
}

fn transform(degree: usize) -> Work {
    Work {
        transforms: 1,
        butterflies: (degree / 2) as u64 * u64::from(degree.trailing_zeros()),
        ..Work::default()
    }
}

/// One bootstrap: for every word of the mask an external product in Fourier form, half a polynomial of complex numbers
/// each, which reads its part of the key; before it the key switch.
fn bootstrap() -> Work {
    let parts = TFHE.glwe_dimension.0 + 1;
    let half = TFHE.polynomial_size.0 / 2;
    let there = parts * TFHE.pbs_level.0;
    let step = transform(half) * (there + parts)
        + Work {
            products: (4 * half * there * parts) as u64,
            bytes: (16 * half * there * parts) as u64,
            ..Work::default()
        };
    let words = TFHE.glwe_dimension.0 * TFHE.polynomial_size.0 * TFHE.ks_level.0 * (TFHE.lwe_dimension.0 + 1);
    let key_switch = Work {
        products: words as u64,
        bytes: 8 * words as u64,
        ..Work::default()
    };
    step * TFHE.lwe_dimension.0 + key_switch
}

/// Bytes of the expanded key of a plan's decision.
pub(super) fn decision_key_bytes(decision: Option<&Decision>, params: &crate::rlwe::Params) -> u64 {
    decision.map_or(0, |_| decision_memory_bytes(params))
}
