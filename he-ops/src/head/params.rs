//! The parameters of the second scheme, their security, and how noisy its bootstraps are.

use serde::{Deserialize, Serialize};
use tfhe::core_crypto::prelude::DynamicDistribution;
use tfhe::shortint::parameters::ClassicPBSParameters;
use tfhe::shortint::parameters::v1_8::{
    V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_GAUSSIAN_2M128, V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128,
};

use super::ring_switch::{BASE_LOG, DEGREE, DIGITS};
use crate::rlwe::Params;
use crate::rlwe::params::ERROR_STD_DEV;
use crate::rlwe::security::max_log_qp;
use crate::{Error, Result};

/// 128 bits of security and a failure probability of at most 2^-128 for the use that `tfhe` makes of them; binary secrets.
pub const TFHE_PARAMETERS: ClassicPBSParameters = V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128;

/// Name of [`TFHE_PARAMETERS`] in the crate `tfhe`.
pub const TFHE_PARAMETERS_NAME: &str = "V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128";

/// Least noise of the ring keys of `tfhe`, over the modulus, that it publishes as 128 bits for this ring and a binary secret; its sets
/// with uniform noise round this up.
const LEAST_NOISE: DynamicDistribution<u64> =
    V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_GAUSSIAN_2M128.glwe_noise_distribution;

/// Standard deviation of what the sampler of this crate draws: 21 coins less 21 others.
fn noise_std_dev() -> f64 {
    10.5f64.sqrt()
}

/// log2 of the dimension that LWE samples are brought to: one polynomial of `tfhe`.
pub(crate) const LOG_DEGREE: u32 = TFHE_PARAMETERS.polynomial_size.0.trailing_zeros();

/// log2 of the number of steps of a blind rotation, 2 polynomial sizes.
pub(crate) const LOG_STEPS: u32 = LOG_DEGREE + 1;

/// Standard deviations between a decision and a wrong one: erfc(9.2 / sqrt 2) < 2^-64.
pub(crate) const SIGMAS: f64 = 9.2;

/// What the keys of the exact head add to the security of the parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadSecurity {
    /// Parameter set of the crate `tfhe`.
    pub tfhe: String,
    /// log2 of the modulus of the key that leads to the ring of `tfhe`, the bottom prime.
    pub log_q: f64,
    /// Most that the security table allows for this ring.
    pub log_q_bound: f64,
    /// log2 of noise over modulus of that key; not below that of the keys of `tfhe` in the same ring.
    pub log_noise_ratio: f64,
}

fn variance(distribution: DynamicDistribution<u64>) -> f64 {
    match distribution {
        DynamicDistribution::Gaussian(gaussian) => gaussian.standard_dev().0.powi(2),
        // (2^(2b+1) + 1) / 6 in units of 2^-64.
        DynamicDistribution::TUniform(uniform) => {
            ((2.0 * f64::from(uniform.bound_log2()) + 1.0).exp2() + 1.0) / 6.0 * (-128f64).exp2()
        }
    }
}

/// Checks that the key from the CKKS secret to the ring of `tfhe` is as secure as all others.
///
/// It is a ring-LWE key of dimension 2048 modulo the bottom prime q0, with the secret of `tfhe` and CKKS noise. Two conditions,
/// each sufficient on its own under its assumption: log2 q0 is within the security table (uniform ternary secret), and noise
/// over modulus is not below that of the keys that `tfhe` publishes for this ring and its binary secret.
///
/// # Errors
/// [`Error::Insecure`] for a larger prime.
pub fn check_params(params: &Params) -> Result<HeadSecurity> {
    let log_q = params.moduli().next().map_or(f64::INFINITY, |q| q.log2());
    let bound = max_log_qp(LOG_DEGREE).unwrap_or(0.0);
    let ratio = noise_std_dev().log2() - log_q;
    let needed = variance(LEAST_NOISE).log2() / 2.0;
    if log_q <= bound && ratio >= needed {
        return Ok(HeadSecurity {
            tfhe: TFHE_PARAMETERS_NAME.to_owned(),
            log_q,
            log_q_bound: bound,
            log_noise_ratio: ratio,
        });
    }
    Err(Error::Insecure {
        log_n: LOG_DEGREE,
        level: 0,
        found: log_q,
        bound: bound.min(noise_std_dev().log2() - needed),
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
pub fn head_key_bytes(params: &Params) -> u64 {
    let bits = params.moduli().next().map_or(0, |q| u64::from(q.bits()));
    let ring = (params.degree() * DIGITS) as u64 * bits / 8;
    let [bootstrap, switch] = tfhe_words();
    ring + 8 * (bootstrap + switch) as u64
}

/// Bytes of the expanded key in memory.
#[must_use]
pub fn head_memory_bytes(params: &Params) -> u64 {
    let p = &TFHE_PARAMETERS;
    let [bootstrap, switch] = tfhe_words();
    // Masks and bodies; a Fourier coefficient for two words.
    let bootstrap = 8 * bootstrap * (p.glwe_dimension.0 + 1);
    (16 * params.degree() * DIGITS + bootstrap + 8 * switch * (p.lwe_dimension.0 + 1)) as u64
}

/// Variance of the error with which a bootstrap sees its operand, in parts of the torus: key switch to the small dimension,
/// and rounding to the steps of the rotation, centred.
pub(crate) fn bootstrap_variance() -> f64 {
    let p = &TFHE_PARAMETERS;
    let (dimension, small) = (
        (p.glwe_dimension.0 * p.polynomial_size.0) as f64,
        p.lwe_dimension.0 as f64,
    );
    let base = (p.ks_base_log.0 as f64).exp2();
    let (levels, kept) = (p.ks_level.0 as f64, base.powi(p.ks_level.0 as i32));
    let key = dimension * levels * (base * base + 2.0) / 12.0 * variance(p.lwe_noise_distribution);
    // Binary secrets: E s^2 = 1/2, and 1/4 after the mean is taken off.
    let digits = dimension / 2.0 / 12.0 / (kept * kept);
    let rotation = (1.0 + small / 4.0) / 12.0 * (-2.0 * f64::from(LOG_STEPS)).exp2();
    key + digits + rotation
}

/// Variance that the switch to the smaller ring adds, in parts of the torus: noise of its key, and digits that are left out.
pub(crate) fn ring_switch_variance(params: &Params) -> f64 {
    let degree = params.degree() as f64;
    let q = params.moduli().next().map_or(1.0, |q| q.value() as f64);
    let base = f64::from(BASE_LOG).exp2();
    let key = degree * DIGITS as f64 * base * base / 12.0 * (ERROR_STD_DEV / q).powi(2);
    let left_out = (2.0 / 3.0 * degree + 1.0) / 12.0 * base.powi(-2 * DIGITS as i32);
    key + left_out
}
