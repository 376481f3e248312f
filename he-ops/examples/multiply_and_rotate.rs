//! Multiply two encrypted vectors and rotate the product: x[j+1] y[j+1], without seeing x or y.
//!
//!     cargo run --release -p he-ops --features secret --example multiply_and_rotate

use he_ops::ckks::{Decryptor, Encoder, Encryptor, Evaluator, PrecisionStats};
use he_ops::rlwe::{
    EvaluationKeyConfig, EvaluationKeys, KeyGenerator, KeyPurpose, KeyUses, Params, ParamsLiteral, SecretKey,
};
use num_complex::Complex64;
use std::sync::Arc;

/// Runs it, and says how close the answer is.
fn multiply_and_rotate() -> he_ops::Result<PrecisionStats> {
    // Client: a ring with room for one product (one level), 128-bit secure or refused.
    let params = Params::new(&ParamsLiteral::leveled(13, 1, 35))?;
    let (secret, encoder) = (SecretKey::generate(&params)?, Encoder::new(&params));

    // A product of ciphertexts needs the relinearisation key, each rotation distance a key of its own. Keys say at which
    // level they are used: the product at the top; the rotation one below it, where its key is smaller.
    let (top, below) = (params.max_level(), params.max_level() - 1);
    let mut needed = EvaluationKeyConfig::default();
    needed.require(KeyPurpose::Relin, top);
    needed.require(KeyPurpose::Galois(params.galois_element(1)), below);
    let seeded = KeyGenerator::new(&params, &secret)?.evaluation_keys(&needed, |_, _| ())?;

    // Numbers become an integer polynomial at a scale, and only then a ciphertext.
    let wave = |step: f64| move |j| Complex64::new((j as f64 * step).sin(), 0.0);
    let x: Vec<Complex64> = (0..params.slots()).map(wave(0.37)).collect();
    let y: Vec<Complex64> = (0..params.slots()).map(wave(0.91)).collect();
    let encryptor = Encryptor::new(&params, &secret)?;
    let encrypt = |values: &[Complex64]| {
        let plain = encoder.encode(values, top, params.scale(top)?)?;
        encryptor.encrypt(&plain)?.expand(&params)
    };
    let (cx, cy) = (encrypt(&x)?, encrypt(&y)?);

    // Server: has the keys above, and no secret.
    let keys = EvaluationKeys::from_seeded(&params, &KeyUses::new(), seeded)?;
    let evaluator = Evaluator::new(&encoder, Arc::new(keys));
    let product = evaluator.mul(&cx, &cy)?; // three parts, scale squared
    let product = evaluator.relinearize(&product)?; // two parts again
    let product = evaluator.rescale(&product)?; // the scale again, for one level
    let answer = evaluator.rotate(&product, 1)?;

    // Client again.
    let found = encoder.decode(&Decryptor::new(&params, &secret)?.decrypt(&answer)?)?;
    let mut expected: Vec<Complex64> = x.iter().zip(&y).map(|(a, b)| a * b).collect();
    expected.rotate_left(1);
    for (slot, (want, got)) in expected.iter().zip(&found).take(4).enumerate() {
        println!("slot {slot}: {:+.6} expected, {:+.6} found", want.re, got.re);
    }
    Ok(PrecisionStats::new(&expected, &found))
}

/// Fails when the answer is wrong.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let precision = multiply_and_rotate()?;
    println!("{precision}");
    if precision.min_bits < 12.0 {
        return Err("12 bits needed: the answer is wrong".into());
    }
    Ok(())
}
