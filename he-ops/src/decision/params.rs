//! The parameters of the second scheme and their security.

use serde::{Deserialize, Serialize};
use tfhe::core_crypto::commons::noise_formulas::secure_noise::{
    minimal_lwe_bound_for_132_bits_security_tuniform, minimal_lwe_variance_for_132_bits_security_gaussian,
};
use tfhe::core_crypto::prelude::{DynamicDistribution, LweDimension};
use tfhe::shortint::parameters::ClassicPBSParameters;
use tfhe::shortint::parameters::v1_8::V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128;

use crate::arith::sample::NOISE_VARIANCE;
use crate::rlwe::Params;
use crate::rlwe::security::max_log_qp;
use crate::{Error, Result};

/// 128 bits of security and a failure probability of at most 2^-128 for the use that `tfhe` makes of them; binary secrets.
pub const TFHE_PARAMETERS: ClassicPBSParameters = V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128;

/// Name of [`TFHE_PARAMETERS`] in the crate `tfhe`.
pub const TFHE_PARAMETERS_NAME: &str = "V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128";

/// log2 of the dimension that LWE samples are brought to: one polynomial of `tfhe`.
pub(crate) const LOG_DEGREE: u32 = TFHE_PARAMETERS.polynomial_size.0.trailing_zeros();
/// Coefficients of the small ring.
pub(crate) const DEGREE: usize = 1 << LOG_DEGREE;

/// log2 of the base of the digits of a mask in the ring switch.
pub(crate) const BASE_LOG: u32 = 8;
/// Digits of a mask: 24 bits of it are kept.
pub(crate) const DIGITS: usize = 3;

/// log2 of the number of steps of a blind rotation, 2 polynomial sizes.
pub(crate) const LOG_STEPS: u32 = LOG_DEGREE + 1;

/// What the keys of the exact decision add to the security of the parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionSecurity {
    /// Parameter set of the crate `tfhe`.
    pub tfhe: String,
    /// log2 of the modulus of the key that leads to the ring of `tfhe`, the bottom prime.
    pub log_q: f64,
    /// Most that the security table allows for this ring.
    pub log_q_bound: f64,
    /// Noise of every key against the least for its dimension: to the ring of `tfhe`, of the bootstraps, to the small dimension.
    pub noise: [KeyNoise; 3],
}

/// Noise of a key over its modulus.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KeyNoise {
    /// Dimension, or degree of the ring.
    pub dimension: usize,
    /// log2 of the standard deviation.
    pub log_noise: f64,
    /// The least for 128 bits and a binary secret.
    pub log_least: f64,
}

pub(super) fn noise_variance(distribution: DynamicDistribution<u64>) -> f64 {
    match distribution {
        DynamicDistribution::Gaussian(gaussian) => gaussian.standard_dev().0.powi(2),
        // (2^(2b+1) + 1) / 6 in units of 2^-64.
        DynamicDistribution::TUniform(uniform) => {
            ((2.0 * f64::from(uniform.bound_log2()) + 1.0).exp2() + 1.0) / 6.0 * (-128f64).exp2()
        }
    }
}

impl KeyNoise {
    /// The least noise is what `tfhe` publishes for keys modulo 2^64: 132 bits by the lattice estimator.
    fn new(dimension: usize, variance: f64, least: f64) -> Self {
        KeyNoise {
            dimension,
            log_noise: variance.log2() / 2.0,
            log_least: least.log2() / 2.0,
        }
    }

    /// Normal noise: the coins of this crate.
    fn normal(dimension: usize, variance: f64) -> Self {
        let least =
            minimal_lwe_variance_for_132_bits_security_gaussian(LweDimension(dimension), 64f64.exp2());
        Self::new(dimension, variance, least.0)
    }

    /// A key of `tfhe`.
    fn of(dimension: usize, distribution: DynamicDistribution<u64>) -> Self {
        let variance = noise_variance(distribution);
        match distribution {
            DynamicDistribution::Gaussian(_) => Self::normal(dimension, variance),
            DynamicDistribution::TUniform(_) => {
                let least =
                    minimal_lwe_bound_for_132_bits_security_tuniform(LweDimension(dimension), 64f64.exp2());
                let least = DynamicDistribution::new_t_uniform(least);
                Self::new(dimension, variance, noise_variance(least))
            }
        }
    }

    fn is_enough(&self) -> bool {
        self.log_noise >= self.log_least
    }
}

/// Checks that every key of the exact decision is as secure as those of CKKS.
///
/// The one from the CKKS secret to the ring of `tfhe` is a ring-LWE key of dimension 2048 modulo the bottom prime q0, with the
/// secret of `tfhe` and CKKS noise. Two conditions, each sufficient on its own under its assumption: log2 q0 is within the
/// security table (uniform ternary secret), and noise over modulus is not below the least that `tfhe` publishes for this
/// dimension and its binary secret. The second one holds for the two keys of `tfhe` too: in the ring for its bootstraps, and
/// in the small dimension.
///
/// # Errors
/// [`Error::Insecure`] for a larger prime, or less noise.
pub fn check_params(params: &Params) -> Result<DecisionSecurity> {
    check(params.bottom_modulus().log2(), &TFHE_PARAMETERS)
}

fn check(log_q: f64, tfhe: &ClassicPBSParameters) -> Result<DecisionSecurity> {
    let bound = max_log_qp(LOG_DEGREE).unwrap_or(0.0);
    let ring = tfhe.glwe_dimension.0 * tfhe.polynomial_size.0;
    let noise = [
        KeyNoise::normal(DEGREE, NOISE_VARIANCE * (-2.0 * log_q).exp2()),
        KeyNoise::of(ring, tfhe.glwe_noise_distribution),
        KeyNoise::of(tfhe.lwe_dimension.0, tfhe.lwe_noise_distribution),
    ];
    if let Some(weak) = noise.iter().find(|key| !key.is_enough()) {
        // As if it were the modulus that is too large.
        let spare = weak.log_noise - weak.log_least;
        return Err(Error::Insecure {
            log_n: weak.dimension.ilog2(),
            level: 0,
            found: log_q,
            bound: bound.min(log_q + spare),
        });
    }
    if log_q > bound {
        return Err(Error::Insecure {
            log_n: LOG_DEGREE,
            level: 0,
            found: log_q,
            bound,
        });
    }
    Ok(DecisionSecurity {
        tfhe: TFHE_PARAMETERS_NAME.to_owned(),
        log_q,
        log_q_bound: bound,
        noise,
    })
}

/// Transforms of one ring switch from a ring of this degree, and the degree that they have.
pub(crate) fn ring_switch_transforms(degree: usize) -> (usize, usize) {
    (degree * DIGITS / DEGREE + 2, DEGREE)
}

/// Words of the seeded bootstrap key of `tfhe` and of its seeded key-switch key.
pub(crate) fn tfhe_words() -> [usize; 2] {
    let p = &TFHE_PARAMETERS;
    let glwe = p.glwe_dimension.0 + 1;
    [
        p.lwe_dimension.0 * glwe * p.pbs_level.0 * p.polynomial_size.0,
        p.glwe_dimension.0 * p.polynomial_size.0 * p.ks_level.0,
    ]
}

/// Bytes of the seeded key on the wire, its frame header not counted.
#[must_use]
pub fn decision_key_bytes(params: &Params) -> u64 {
    let bits = u64::from(params.bottom_modulus().bits());
    let ring = (params.degree() * DIGITS) as u64 * bits / 8;
    let [bootstrap, switch] = tfhe_words();
    ring + 8 * (bootstrap + switch) as u64
}

/// Bytes of the expanded key in memory.
#[must_use]
pub fn decision_memory_bytes(params: &Params) -> u64 {
    let p = &TFHE_PARAMETERS;
    let [bootstrap, switch] = tfhe_words();
    // Masks and bodies; a Fourier coefficient for two words.
    let bootstrap = 8 * bootstrap * (p.glwe_dimension.0 + 1);
    (16 * params.degree() * DIGITS + bootstrap + 8 * switch * (p.lwe_dimension.0 + 1)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_held_against_its_bound() {
        let security = check(50.0, &TFHE_PARAMETERS).unwrap();
        println!("{security:?}");
        let dimensions = security.noise.map(|key| key.dimension);
        assert_eq!(dimensions, [2048, 2048, 918]);
        // The first one has hardly more noise than needed: a prime of 51 bits is refused.
        assert!((security.noise[0].log_noise - security.noise[0].log_least) < 0.1);
        assert!(check(51.0, &TFHE_PARAMETERS).is_err());

        let less = |distribution: DynamicDistribution<u64>| match distribution {
            DynamicDistribution::TUniform(own) => DynamicDistribution::new_t_uniform(own.bound_log2() - 1),
            gaussian => gaussian,
        };
        let mut weak = TFHE_PARAMETERS;
        weak.glwe_noise_distribution = less(weak.glwe_noise_distribution);
        assert!(check(50.0, &weak).is_err());
        let mut weak = TFHE_PARAMETERS;
        weak.lwe_noise_distribution = less(weak.lwe_noise_distribution);
        assert!(check(50.0, &weak).is_err());
        let mut weak = TFHE_PARAMETERS;
        weak.lwe_dimension.0 -= 40;
        assert!(check(50.0, &weak).is_err());
    }
}
