//! The noise that every scheme here has in common, as variances, under the usual heuristics: errors of coefficients are
//! independent, and a uniform ternary secret has E|s_i|^2 = 2/3.
//!
//! | step | variance added to a coefficient |
//! |---|---|
//! | fresh, secret key | [`NOISE_VARIANCE`] + 1/12 (encoding) |
//! | division by any number of primes (rescale, end of a key switch) | 1/12 (1 + 2N/3): both parts are rounded, exactly |
//! | key switch, from the key's noise | Σ_digits N (limbs D^2 / 12) [`NOISE_VARIANCE`] / P^2, D the digit, P the specials in use |

use super::gadget::Gadget;
use super::params::Params;
use crate::arith::Modulus;
use crate::arith::sample::NOISE_VARIANCE;

/// A fresh encryption under the secret key.
pub(crate) fn fresh() -> f64 {
    NOISE_VARIANCE + 1.0 / 12.0
}

/// A division of two parts, or of three before a relinearisation, with rounding.
pub(crate) fn rounding(params: &Params, parts: usize) -> f64 {
    let secret = 2.0 / 3.0 * params.degree() as f64;
    // E|s^2|^2 per coefficient is N (2/3)^2, so the third part counts N^2 (2/3)^2.
    let third = if parts > 2 { secret * secret } else { 0.0 };
    (1.0 + secret + third) / 12.0
}

/// Sum of digits times fresh keys, divided: of each digit, a polynomial of N uniform coefficients, the square of its width
/// over the divisor.
pub(crate) fn digits_times_keys(params: &Params, squares: impl Iterator<Item = f64>) -> f64 {
    params.degree() as f64 * NOISE_VARIANCE / 12.0 * squares.sum::<f64>()
}

/// A key switch, from the noise of its key, without the division that ends it.
pub(crate) fn key_switch(params: &Params, gadget: &Gadget, level: usize) -> f64 {
    let log_p: f64 = params
        .special_moduli()
        .take(gadget.specials)
        .map(Modulus::log2)
        .sum();
    let squares = (0..gadget.digits_at(level)).map(|digit| {
        let range = gadget.digit_range(digit, level);
        let primes = params.moduli().skip(range.start).take(range.len());
        let log_digit: f64 = primes.map(Modulus::log2).sum();
        // Extended to other primes, a digit gains multiples of itself: as if each of its primes had one of that width.
        range.len() as f64 * (2.0 * (log_digit - log_p)).exp2()
    });
    digits_times_keys(params, squares)
}
