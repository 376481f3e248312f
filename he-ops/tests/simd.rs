//! Whatever instructions the kernels use, ciphertexts are the same word for word.
#![allow(clippy::unwrap_used, missing_docs, non_snake_case)]

use he_ops::arith::Simd;
use he_ops::ckks::{BootstrapPreset, Bootstrapper, Ciphertext, Encoder, Encryptor, Evaluator, Pattern};
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, Params, SecretKey, SeededKeySwitchKey};
use num_complex::Complex64;
use std::sync::Arc;

fn small_INSECURE() -> Params {
    let mut literal = BootstrapPreset::N16.params();
    literal.log_n = 9;
    literal.log_q.drain(6..18);
    Params::new_INSECURE(&literal).unwrap()
}

fn words(ciphertext: &Ciphertext) -> Vec<u64> {
    ciphertext
        .parts()
        .iter()
        .flat_map(|part| part.words())
        .copied()
        .collect()
}

/// A product, a weighted sum, a constant, a conjugation, a bootstrap: with tables, matrices and expanded keys made at
/// the level in use.
fn everything(keys: &[SeededKeySwitchKey], input: &Ciphertext) -> Vec<Vec<u64>> {
    let params = small_INSECURE();
    let encoder = Encoder::new(&params);
    let boot = Bootstrapper::new(&encoder, &BootstrapPreset::N16.bootstrap(8)).unwrap();
    let mut expanded = EvaluationKeys::new(&params);
    for key in keys {
        expanded.insert_seeded(key.clone(), &boot.key_uses()).unwrap();
    }
    let evaluator = Evaluator::new(&encoder, Arc::new(expanded));
    let mut all = vec![input.clone()];
    let high = boot.bootstrap(&evaluator, input).unwrap();
    let product = evaluator.mul_relin_rescale(&high, &high).unwrap();
    let square = evaluator
        .relinearize(&evaluator.square(&product).unwrap())
        .unwrap();
    let weight = Pattern::real((0..64).map(|i| i as f32 / 64.0).collect()).unwrap();
    let sum = evaluator
        .weighted_sum(&[&product, &product], &[weight.clone(), weight], 2f64.powi(40))
        .unwrap();
    let shifted = evaluator
        .add_pattern(&product, &Pattern::constant(0.25).unwrap())
        .unwrap();
    let difference = evaluator.sub(&shifted, &product).unwrap();
    let conjugate = evaluator.conjugate(&product).unwrap();
    all.extend([high, square, sum, difference, conjugate]);
    all.iter().map(words).collect()
}

#[test]
fn ciphertexts_do_not_depend_on_the_instructions() {
    let params = small_INSECURE();
    let encoder = Encoder::new(&params);
    let boot = Bootstrapper::new(&encoder, &BootstrapPreset::N16.bootstrap(8)).unwrap();
    let secret = SecretKey::generate(&params).unwrap();
    let generator = KeyGenerator::new(&params, &secret).unwrap();
    let config = boot.keys();
    let keys: Vec<_> = config
        .iter()
        .map(|(purpose, level)| generator.key(purpose, level).unwrap())
        .collect();
    let z: Vec<Complex64> = (0..params.slots())
        .map(|i| Complex64::new((i as f64).sin(), (i as f64).cos()) * 0.7)
        .collect();
    let level = boot.input_level();
    let plain = encoder.encode(&z, level, params.scale(level).unwrap()).unwrap();
    let encryptor = Encryptor::new(&params, &secret).unwrap();
    let input = encryptor.encrypt(&plain).unwrap().expand(&params).unwrap();

    let results: Vec<_> = Simd::available()
        .map(|level| {
            assert_eq!(Simd::limit(level), level);
            everything(&keys, &input)
        })
        .collect();
    for (level, result) in Simd::available().zip(&results) {
        assert!(result == results.first().unwrap(), "{level:?}");
    }
}
