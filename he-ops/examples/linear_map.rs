//! A matrix times an encrypted vector, for many vectors at once: every block of 16 slots holds one.
//!
//!     cargo run --release -p he-ops --features secret --example linear_map

use he_ops::ckks::{Decryptor, Diagonals, Encoder, Encryptor, Evaluator, LinearTransform, PrecisionStats};
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, KeyUses, Params, ParamsLiteral, SecretKey};
use num_complex::Complex64;
use std::sync::Arc;

const DIM: usize = 16;

/// Runs it, and says how close the answer is.
fn linear_map() -> he_ops::Result<PrecisionStats> {
    let params = Params::new(&ParamsLiteral::leveled(13, 1, 35))?;
    let encoder = Encoder::new(&params);
    let level = params.max_level();

    // Server: a ciphertext can be rotated and multiplied slot by slot, so the matrix is taken apart into diagonals:
    // y[j] = sum over k of d_k[j] x[j + k]. With the scale of the last prime the rescaling gives x's scale back.
    let weights: Vec<f32> = (0..DIM * DIM).map(|i| (i as f32 * 0.77).sin() / 4.0).collect();
    let last_prime = params.moduli().nth(level).map_or(0.0, |q| q.value() as f64);
    let map = LinearTransform::new(
        &encoder,
        &Diagonals::block_matrix(DIM, &weights),
        level,
        last_prime,
    )?;
    // Baby steps and giant steps: 31 diagonals take far fewer rotations, and the map knows which.
    let (baby, giant) = map.rotations();
    println!(
        "{DIM} x {DIM}: {} keys for {baby} baby steps, {giant} giant steps",
        map.keys().len()
    );

    // Client: makes the keys that the map asks for, and encrypts.
    let secret = SecretKey::generate(&params)?;
    let seeded = KeyGenerator::new(&params, &secret)?.evaluation_keys(&map.keys(), |_, _| ())?;
    let x: Vec<Complex64> = (0..params.slots())
        .map(|j| Complex64::new((j as f64 * 0.37).sin(), 0.0))
        .collect();
    let plain = encoder.encode(&x, level, params.scale(level)?)?;
    let sent = Encryptor::new(&params, &secret)?
        .encrypt(&plain)?
        .expand(&params)?;

    // Server: the map itself, one level down.
    let keys = EvaluationKeys::from_seeded(&params, &KeyUses::new(), seeded)?;
    let answer = map.apply(&Evaluator::new(&encoder, Arc::new(keys)), &sent)?;

    // Client: decrypts, and compares with the product in clear.
    let found = encoder.decode(&Decryptor::new(&params, &secret)?.decrypt(&answer)?)?;
    let dot = |row: &[f32], block: &[Complex64]| -> Complex64 {
        row.iter().zip(block).map(|(&w, x)| x * f64::from(w)).sum()
    };
    let expected: Vec<Complex64> = x
        .chunks(DIM)
        .flat_map(|block| weights.chunks(DIM).map(move |row| dot(row, block)))
        .collect();
    for (row, (want, got)) in expected.iter().zip(&found).take(4).enumerate() {
        println!("row {row}: {:+.6} expected, {:+.6} found", want.re, got.re);
    }
    Ok(PrecisionStats::new(&expected, &found))
}

/// Fails when the answer is wrong.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let precision = linear_map()?;
    println!("{precision}");
    if precision.min_bits < 12.0 {
        return Err("12 bits needed: the answer is wrong".into());
    }
    Ok(())
}
