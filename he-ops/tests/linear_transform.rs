//! Double-hoisted linear transforms against the same map in clear.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, non_snake_case)]

use he_ops::ckks::{Decryptor, Diagonals, Encoder, Encryptor, Evaluator, LinearTransform, PrecisionStats};
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, Params, ParamsLiteral, SecretKey};
use num_complex::Complex64;
use std::sync::Arc;

fn check(params: &Params, map: &Diagonals, level: usize, bits: f64) {
    let encoder = Encoder::new(params);
    let secret = SecretKey::generate(params).unwrap();
    let prime = params.moduli().nth(level).unwrap().value() as f64;
    let transform = LinearTransform::new(&encoder, map, level, prime).unwrap();
    let keys = KeyGenerator::new(params, &secret)
        .unwrap()
        .evaluation_keys(&transform.keys(), |_, _| ())
        .unwrap();
    let keys = EvaluationKeys::from_seeded(params, &Default::default(), keys).unwrap();
    let evaluator = Evaluator::new(&encoder, Arc::new(keys));
    let z: Vec<Complex64> = (0..params.slots())
        .map(|i| Complex64::new((i as f64 * 0.37).sin(), (i as f64 * 0.91).cos()))
        .collect();
    let plain = encoder.encode(&z, level, params.scale(level).unwrap()).unwrap();
    let ct = Encryptor::new(params, &secret)
        .unwrap()
        .encrypt(&plain)
        .unwrap()
        .expand(params)
        .unwrap();
    let one = rayon(1, || transform.apply(&evaluator, &ct).unwrap());
    let two = rayon(2, || transform.apply(&evaluator, &ct).unwrap());
    assert_eq!(one, two, "the result depends on the number of threads");
    assert_eq!(one.level(), level - 1);
    let got = encoder
        .decode(&Decryptor::new(params, &secret).unwrap().decrypt(&one).unwrap())
        .unwrap();
    let stats = PrecisionStats::new(&map.apply(&z), &got);
    assert!(stats.min_bits > bits, "{stats}");
}

fn rayon<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
        .install(f)
}

fn matrix(dim: usize) -> Diagonals {
    let weights: Vec<f32> = (0..dim * dim)
        .map(|i| (i as f32 * 0.77 + 0.5).sin() / (dim as f32).sqrt())
        .collect();
    Diagonals::block_matrix(dim, &weights)
}

fn small_INSECURE() -> Params {
    Params::new_INSECURE(&ParamsLiteral {
        log_n: 8,
        log_q: vec![47, 35, 35, 35],
        log_p: vec![48, 48],
        log_scale: 35,
    })
    .unwrap()
}

/// Weights constant on runs, and weights written out in full.
#[test]
fn block_matrices_on_a_small_ring() {
    for dim in [1, 2, 8, 64, 128] {
        check(&small_INSECURE(), &matrix(dim), 3, 17.0);
    }
}

#[test]
fn a_matrix_of_64_at_real_parameters() {
    let params = Params::new(&ParamsLiteral {
        log_n: 14,
        log_q: vec![47, 35, 35, 35, 35],
        log_p: vec![48, 48, 48],
        log_scale: 35,
    })
    .unwrap();
    check(&params, &matrix(64), 4, 15.0);
    check(&params, &matrix(64), 2, 15.0);
}
