//! How noisy the steps of the exact decision are, and how many standard deviations they need.

#[cfg(test)]
use tfhe::core_crypto::commons::noise_formulas::lwe_programmable_bootstrap::pbs_variance_132_bits_security_tuniform_fft_mul;

use super::params::{BASE_LOG, DIGITS, LOG_STEPS, TFHE_PARAMETERS as TFHE, noise_variance};
use crate::rlwe::Params;
use crate::rlwe::noise::{digits_times_keys, rounding};

/// log2 of the failure probability of a decision.
const LOG_FAILURE: f64 = -64.0;

/// Standard deviations beyond which one of `events` normal errors lies with a probability of at most 2^-64; 9.2 for one.
pub(crate) fn sigmas(events: usize) -> f64 {
    let log_each = LOG_FAILURE - (events.max(1) as f64).log2();
    // erfc(z / sqrt 2) < sqrt(2 / pi) exp(-z^2 / 2) / z, and never less than a part of 1 / z^2 of that. The z for which the
    // bound is what is needed, as a fixed point; each round gains a digit and more.
    let constant = std::f64::consts::FRAC_2_PI.sqrt().ln();
    (0..20).fold(9.0_f64, |z, _| {
        (2.0 * (constant - z.ln() - log_each * std::f64::consts::LN_2)).sqrt()
    })
}

/// Variance that the key switch to the small dimension adds, in parts of the torus.
fn switch_variance() -> f64 {
    let dimension = (TFHE.glwe_dimension.0 * TFHE.polynomial_size.0) as f64;
    let base = (TFHE.ks_base_log.0 as f64).exp2();
    let (levels, kept) = (TFHE.ks_level.0 as f64, base.powi(TFHE.ks_level.0 as i32));
    let key = dimension * levels * (base * base + 2.0) / 12.0 * noise_variance(TFHE.lwe_noise_distribution);
    // Binary secrets: E s^2 = 1/2.
    key + dimension / 2.0 / 12.0 / (kept * kept)
}

/// Variance of the error with which a bootstrap sees its operand: the key switch, and rounding to the steps of the rotation,
/// centred.
pub(crate) fn operand_variance() -> f64 {
    // Binary secrets: 1/4 after the mean is taken off.
    let small = TFHE.lwe_dimension.0 as f64;
    switch_variance() + (1.0 + small / 4.0) / 12.0 * (-2.0 * f64::from(LOG_STEPS)).exp2()
}

/// Variance of what comes out of a bootstrap, rounding of the Fourier transforms included: the formula of `tfhe`.
#[cfg(test)]
pub(crate) fn output_variance() -> f64 {
    pbs_variance_132_bits_security_tuniform_fft_mul(
        TFHE.lwe_dimension,
        TFHE.glwe_dimension,
        TFHE.polynomial_size,
        TFHE.pbs_base_log,
        TFHE.pbs_level,
        53.0,
        64f64.exp2(),
    )
    .0
}

/// Variance of one digit of a label between so many classes.
#[cfg(test)]
pub(crate) fn label_variance(classes: usize) -> f64 {
    switch_variance() + classes as f64 * output_variance()
}

/// Variance that the switch to the smaller ring adds, in parts of the torus: noise of its key, and digits that are left out.
pub(crate) fn ring_switch_variance(params: &Params) -> f64 {
    let q = params.bottom_modulus().value() as f64;
    let base = f64::from(BASE_LOG).exp2();
    let key = digits_times_keys(params, [(base / q).powi(2); DIGITS].into_iter());
    key + rounding(params, 2) * base.powi(-2 * DIGITS as i32)
}

#[cfg(test)]
mod tests {
    use super::super::label::{Digits, ONE_DIGIT};
    use super::super::rule::{GROUP, MAX_CLASSES};
    use super::*;

    #[test]
    fn standard_deviations_of_a_failure() {
        // erfc(9.15529 / sqrt 2) = 2^-64, erfc(10.01396 / sqrt 2) = 2^-76; the bound is above.
        for (events, exact) in [(1, 9.15529), (4096, 10.01396)] {
            assert!(
                (exact..exact + 0.002).contains(&sigmas(events)),
                "{}",
                sigmas(events)
            );
        }
    }

    #[test]
    fn the_second_stage_and_the_label_fail_less_often_than_a_comparison() {
        let signs = (operand_variance() + GROUP as f64 * output_variance()).sqrt();
        let found = 1.0 / (4.0 * GROUP as f64) / signs;
        println!("{GROUP} signs: {found:.1} standard deviations to the border");
        assert!(found > sigmas(MAX_CLASSES * (GROUP + 2)));
        assert!(
            (MAX_CLASSES - 1).div_ceil(GROUP) <= GROUP,
            "one more stage is enough"
        );
        for classes in [2, ONE_DIGIT, ONE_DIGIT + 1, MAX_CLASSES] {
            let digits = Digits::of(classes);
            // A quarter of the distance of two digits: further off is no label.
            let found = 1.0 / (4.0 * digits.base as f64) / label_variance(classes).sqrt();
            println!("{classes} classes: {digits:?}, {found:.1} standard deviations");
            assert!(found > sigmas(digits.count));
        }
    }
}
