//! Every homomorphic operation against f64, in bits of precision: on a small ring (INSECURE, every shape) and at the
//! parameters of the service (N = 2^15, log2 QP 864).

#![allow(
    non_snake_case,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test helper may stop the test"
)]

use he_ops::ckks::{Ciphertext, Decryptor, Encoder, Encryptor, Evaluator, Pattern, PrecisionStats};
use he_ops::rlwe::{
    EvaluationKeyConfig, EvaluationKeys, KeyGenerator, KeyPurpose, KeyUses, Params, ParamsLiteral, SecretKey,
};
use he_ops::{Error, Result};
use num_complex::Complex64;
use std::collections::BTreeSet;
use std::sync::Arc;

struct Context {
    params: Params,
    secret: SecretKey,
    encoder: Encoder,
    evaluator: Evaluator,
}

const ROTATIONS: [i64; 6] = [1, 2, 3, -1, -8, 64];

impl Context {
    fn new(params: Params) -> Result<Self> {
        let secret = SecretKey::generate(&params)?;
        let top = params.max_level();
        let mut config = EvaluationKeyConfig::default();
        config.require(KeyPurpose::Relin, top);
        config.require(KeyPurpose::Galois(params.galois_element_conjugate()), top);
        for k in ROTATIONS {
            // Not all at the top: a key must serve every level up to its own.
            let level = if k == 2 { top - 1 } else { top };
            config.require(KeyPurpose::Galois(params.galois_element(k)), level);
        }
        let seeded = KeyGenerator::new(&params, &secret)?.evaluation_keys(&config, |_, _| ())?;
        // Uses at low levels give the rotations by 1 and -8 and the relinearization smaller copies there.
        let mut uses = KeyUses::new();
        for k in [1, -8] {
            uses.insert(
                KeyPurpose::Galois(params.galois_element(k)),
                BTreeSet::from([0, 1, 3, top]),
            );
        }
        uses.insert(KeyPurpose::Relin, BTreeSet::from([2, top]));
        let keys = EvaluationKeys::from_seeded(&params, &uses, seeded)?;
        assert_eq!(
            keys.memory_bytes(),
            EvaluationKeys::expected_memory_bytes(&params, &config, &uses)?
        );
        keys.satisfies(&config)?;
        let encoder = Encoder::new(&params);
        let evaluator = Evaluator::new(&encoder, Arc::new(keys));
        Ok(Self {
            params,
            secret,
            encoder,
            evaluator,
        })
    }

    fn small_insecure() -> Self {
        let literal = ParamsLiteral {
            log_n: 10,
            log_q: vec![47, 35, 35, 35, 35],
            log_p: vec![48, 48],
            log_scale: 35,
        };
        Self::new(Params::new_INSECURE(&literal).unwrap()).unwrap()
    }

    /// Several digits whose ends lie inside the groups of primes that are worked on together.
    fn digits_insecure() -> Self {
        let literal = ParamsLiteral {
            log_n: 11,
            log_q: vec![47, 35, 35, 35, 35, 35, 35, 35, 35, 35, 35],
            log_p: vec![50, 50, 50],
            log_scale: 35,
        };
        let c = Self::new(Params::new_INSECURE(&literal).unwrap()).unwrap();
        assert!(c.params.gadget(10).unwrap().digits() >= 3);
        c
    }

    fn real() -> Self {
        Self::new(Params::new(&ParamsLiteral::leveled(15, 11, 35)).unwrap()).unwrap()
    }

    fn values(&self, seed: f64) -> Vec<Complex64> {
        (0..self.params.slots())
            .map(|i| {
                let x = i as f64 + seed * 1000.0;
                Complex64::new((x * 0.731).sin(), (x * 0.177 + seed).cos())
            })
            .collect()
    }

    fn encrypt(&self, values: &[Complex64]) -> Ciphertext {
        let level = self.params.max_level();
        let plain = self
            .encoder
            .encode(values, level, self.params.scale(level).unwrap())
            .unwrap();
        let seeded = Encryptor::new(&self.params, &self.secret)
            .unwrap()
            .encrypt(&plain)
            .unwrap();
        seeded.expand(&self.params).unwrap()
    }

    fn bits(&self, op: &str, want: &[Complex64], got: &Ciphertext) -> f64 {
        let plain = Decryptor::new(&self.params, &self.secret)
            .unwrap()
            .decrypt(got)
            .unwrap();
        let stats = PrecisionStats::new(want, &self.encoder.decode(&plain).unwrap());
        println!(
            "N = 2^{:<2} level {:<2} {op:<24} {stats}",
            self.params.log_n(),
            got.level()
        );
        stats.min_bits
    }
}

fn map2(a: &[Complex64], b: &[Complex64], f: impl Fn(Complex64, Complex64) -> Complex64) -> Vec<Complex64> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

fn rotated(a: &[Complex64], k: i64) -> Vec<Complex64> {
    let n = a.len() as i64;
    (0..n).map(|j| a[(j + k).rem_euclid(n) as usize]).collect()
}

/// All operations, one after the other, at the top level and two levels below it.
fn every_operation(c: &Context, fresh_bits: f64, switched_bits: f64) {
    let (a, b) = (c.values(1.0), c.values(2.0));
    let (ca, cb) = (c.encrypt(&a), c.encrypt(&b));
    let e = &c.evaluator;
    assert!(c.bits("encrypt", &a, &ca) > fresh_bits);
    assert!(c.bits("add", &map2(&a, &b, |x, y| x + y), &e.add(&ca, &cb).unwrap()) > fresh_bits - 1.0);
    assert!(c.bits("sub", &map2(&a, &b, |x, y| x - y), &e.sub(&ca, &cb).unwrap()) > fresh_bits - 1.0);
    assert!(c.bits("negate", &map2(&a, &b, |x, _| -x), &e.negate(&ca).unwrap()) > fresh_bits);
    let i = Complex64::i();
    for power in 0..5 {
        let want = map2(&a, &b, |x, _| x * i.powu(power));
        assert!(c.bits("mul_i", &want, &e.mul_i(&ca, power).unwrap()) > fresh_bits);
    }
    let plain = c.encoder.encode(&b, ca.level(), ca.scale()).unwrap();
    assert!(
        c.bits(
            "add_plain",
            &map2(&a, &b, |x, y| x + y),
            &e.add_plain(&ca, &plain).unwrap()
        ) > fresh_bits - 1.0
    );

    let product = e.mul(&ca, &cb).unwrap();
    let want = map2(&a, &b, |x, y| x * y);
    assert!(c.bits("mul", &want, &product) > fresh_bits - 3.0);
    let rescaled = e.rescale(&e.relinearize(&product).unwrap()).unwrap();
    assert!(c.bits("mul, relin, rescale", &want, &rescaled) > switched_bits - 2.0);
    let fused = e.mul_relin_rescale(&ca, &cb).unwrap();
    let (apart, together) = (
        c.bits("mul, relin, rescale", &want, &rescaled),
        c.bits("mul_relin_rescale", &want, &fused),
    );
    assert!(together > apart - 0.5, "one division is as exact as two");
    assert_eq!(
        (fused.level(), fused.scale()),
        (rescaled.level(), rescaled.scale())
    );
    // A sum of products is divided once; at the second lowest level too.
    for level in [ca.level(), 1] {
        let (la, lb) = (
            e.drop_level(&ca, level).unwrap(),
            e.drop_level(&cb, level).unwrap(),
        );
        let sum = e.add(&e.square(&la).unwrap(), &e.mul(&la, &lb).unwrap()).unwrap();
        let got = e.relinearize_rescale(&sum).unwrap();
        let want = map2(&a, &b, |x, y| x * x + x * y);
        assert!(c.bits("sum, relinearize_rescale", &want, &got) > switched_bits - 3.0);
    }
    let bottom = e.drop_level(&ca, 0).unwrap();
    assert!(matches!(
        e.mul_relin_rescale(&bottom, &bottom),
        Err(Error::Level { .. })
    ));
    let late = e.relinearize(&e.rescale(&product).unwrap()).unwrap();
    // The rounding of c_2 meets s^2: half the bits of the ring degree are lost. Relinearize first.
    assert!(c.bits("mul, rescale, relin", &want, &late) > switched_bits - 7.0);
    assert_eq!(late.level(), c.params.max_level() - 1);
    assert!(
        (late.scale() / c.params.scale(late.level()).unwrap() - 1.0).abs() < 1e-9,
        "canonical scale"
    );

    let low = e.drop_level(&ca, 2).unwrap();
    let got = e.mul(&low, &e.drop_level(&cb, 2).unwrap()).unwrap();
    let got = e.rescale(&e.relinearize(&got).unwrap()).unwrap();
    assert!(c.bits("mul, relin, rescale", &want, &got) > switched_bits - 2.0);

    let scalar = e
        .rescale(
            &e.mul_scalar(&ca, -0.75, c.params.scale(ca.level()).unwrap())
                .unwrap(),
        )
        .unwrap();
    assert!(c.bits("mul_scalar, rescale", &map2(&a, &b, |x, _| x * -0.75), &scalar) > switched_bits - 1.0);

    for level in [
        c.params.max_level(),
        c.params.max_level() - 1,
        c.params.max_level() - 2,
        3,
        1,
        0,
    ] {
        let low = e.drop_level(&ca, level).unwrap();
        for k in ROTATIONS {
            if k == 2 && level == c.params.max_level() {
                continue;
            }
            let got = e.rotate(&low, k).unwrap();
            assert!(c.bits(&format!("rotate {k}"), &rotated(&a, k), &got) > switched_bits);
        }
        let got = e.conjugate(&low).unwrap();
        assert!(c.bits("conjugate", &map2(&a, &b, |x, _| x.conj()), &got) > switched_bits);
    }
    let hoisted = e.rotate_hoisted(&ca, &[3, 0, -1, 64]).unwrap();
    for (k, got) in [3, 0, -1, 64].into_iter().zip(&hoisted) {
        assert!(c.bits(&format!("rotate_hoisted {k}"), &rotated(&a, k), got) > switched_bits);
        assert_eq!(got, &e.rotate(&ca, k).unwrap(), "hoisting changes nothing");
    }
}

/// Rows with different weights, holes, periods and scales, against f64.
fn weighted_sums(c: &Context, bits: f64) {
    let inputs: Vec<Vec<Complex64>> = (0..5).map(|k| c.values(k as f64)).collect();
    let encrypted: Vec<Ciphertext> = inputs.iter().map(|v| c.encrypt(v)).collect();
    let refs: Vec<&Ciphertext> = encrypted.iter().collect();
    let pattern = |seed: usize, period: usize| {
        let at = |i: usize, s: f32| ((seed * 31 + i) as f32 * s).sin();
        Pattern::complex(
            (0..period).map(|i| at(i, 0.3)).collect(),
            (0..period).map(|i| at(i, 0.7)).collect(),
        )
        .unwrap()
    };
    let patterns: Vec<Vec<Option<Pattern>>> = (0..6)
        .map(|o| {
            (0..5)
                .map(|k| ((o + k) % 4 != 0).then(|| pattern(o * 5 + k, [64, 1, 16][(o + k) % 3])))
                .collect()
        })
        .collect();
    let scale = c.params.scale(c.params.max_level()).unwrap();
    let weights: Vec<Vec<Option<&Pattern>>> = patterns
        .iter()
        .map(|row| row.iter().map(Option::as_ref).collect())
        .collect();
    let rows: Vec<(&[Option<&Pattern>], f64)> = weights
        .iter()
        .enumerate()
        .map(|(o, row)| (&row[..], scale * (1.0 + o as f64)))
        .collect();
    let outputs = c.evaluator.weighted_sums(&refs, &rows).unwrap();
    for (row, output) in patterns.iter().zip(&outputs) {
        let want: Vec<Complex64> = (0..c.params.slots())
            .map(|j| {
                row.iter()
                    .zip(&inputs)
                    .map(|(w, x)| w.as_ref().map_or(Complex64::default(), |w| w.get(j) * x[j]))
                    .sum()
            })
            .collect();
        let got = c.evaluator.rescale(output).unwrap();
        assert!(c.bits("weighted_sum, rescale", &want, &got) > bits);
    }
    let want = map2(&inputs[0], &inputs[1], |x, _| {
        x + patterns[0][1].as_ref().unwrap().get(0) * 0.0 + 0.5
    });
    let half = Pattern::constant(0.5).unwrap();
    assert!(
        c.bits(
            "add_pattern",
            &want,
            &c.evaluator.add_pattern(&encrypted[0], &half).unwrap()
        ) > bits
    );
    // Also on a product that is not yet rescaled: scale 2^70.
    let product = c.evaluator.mul(&encrypted[0], &encrypted[1]).unwrap();
    let shifted = c.evaluator.add_pattern(&product, &pattern(3, 64)).unwrap();
    let want: Vec<Complex64> = (0..c.params.slots())
        .map(|j| inputs[0][j] * inputs[1][j] + pattern(3, 64).get(j))
        .collect();
    assert!(c.bits("add_pattern to a product", &want, &shifted) > bits);
}

#[test]
fn operations_on_a_small_ring_insecure() {
    let c = Context::small_insecure();
    every_operation(&c, 25.0, 21.0);
    weighted_sums(&c, 20.0);
}

#[test]
fn operations_at_real_parameters() {
    let c = Context::real();
    assert!(c.params.is_secure());
    every_operation(&c, 21.0, 14.5);
    weighted_sums(&c, 16.0);
}

#[test]
fn public_key_encryption_decrypts() {
    for c in [Context::small_insecure(), Context::real()] {
        let a = c.values(4.0);
        let key = KeyGenerator::new(&c.params, &c.secret)
            .unwrap()
            .public_key()
            .unwrap();
        let plain = c.encoder.encode(&a, 2, c.params.scale(2).unwrap()).unwrap();
        let got = key.encrypt(&c.params, &plain).unwrap();
        assert!(c.bits("encrypt, public key", &a, &got) > 14.0);
    }
}

/// A chain of squarings down to level 0 stays at canonical scale and keeps its precision.
#[test]
fn a_chain_through_all_levels_at_real_parameters() {
    let c = Context::real();
    let mut want: Vec<Complex64> = c.values(7.0).iter().map(|v| Complex64::new(v.re, 0.0)).collect();
    let mut got = c.encrypt(&want);
    while got.level() > 0 {
        let e = &c.evaluator;
        got = e
            .rescale(&e.relinearize(&e.square(&got).unwrap()).unwrap())
            .unwrap();
        // 2x^2 - 1 keeps the values in [-1, 1].
        got = e
            .add_pattern(&e.add(&got, &got).unwrap(), &Pattern::constant(-1.0).unwrap())
            .unwrap();
        want = want.iter().map(|v| 2.0 * v * v - 1.0).collect();
        assert!((got.scale() / c.params.scale(got.level()).unwrap() - 1.0).abs() < 1e-9);
    }
    // T_(2^11) multiplies an error by up to 4^11 = 2^22 at the ends of the interval; its mean error by far less.
    let plain = Decryptor::new(&c.params, &c.secret)
        .unwrap()
        .decrypt(&got)
        .unwrap();
    let stats = PrecisionStats::new(&want, &c.encoder.decode(&plain).unwrap());
    println!("T_2048: {stats}");
    assert!(stats.mean_bits > 4.0);
}

#[test]
fn misuse_is_refused_with_the_reason() {
    let c = Context::small_insecure();
    let e = &c.evaluator;
    let a = c.encrypt(&c.values(1.0));
    let low = e.drop_level(&a, 1).unwrap();
    assert!(matches!(e.add(&a, &low), Err(Error::Level { .. })));
    assert!(matches!(e.mul(&a, &low), Err(Error::Level { .. })));
    assert!(matches!(e.drop_level(&low, 3), Err(Error::Level { .. })));
    let other = Ciphertext::from_parts(&c.params, a.parts().to_vec(), a.level(), a.scale() * 2.0).unwrap();
    assert!(matches!(e.add(&a, &other), Err(Error::Scale { .. })));
    assert!(matches!(
        a.clone().with_scale_of_plan(other.scale()),
        Err(Error::Scale { .. })
    ));
    let error = e.rotate(&a, 5).unwrap_err().to_string();
    assert!(error.contains("rotation by 5"), "{error}");
    let error = e.rotate(&a, 2).unwrap_err().to_string();
    assert!(error.contains("one of level 3 found"), "{error}");
    let product = e.mul(&a, &a).unwrap();
    assert!(matches!(e.rotate(&product, 1), Err(Error::Parts { .. })));
    assert!(matches!(e.mul(&product, &a), Err(Error::Parts { .. })));
    assert!(matches!(
        e.rescale(&e.drop_level(&a, 0).unwrap()),
        Err(Error::Level { .. })
    ));
    assert!(e.mul_scalar(&a, 1e30, 1e10).is_err());
    let stranger = Params::new_INSECURE(&ParamsLiteral {
        log_n: 10,
        log_q: vec![47, 36],
        log_p: vec![48],
        log_scale: 36,
    })
    .unwrap();
    assert!(Decryptor::new(&stranger, &c.secret).is_err());
}

#[test]
fn a_wrong_secret_decrypts_to_noise_and_bytes_round_trip() {
    let c = Context::small_insecure();
    let a = c.values(1.0);
    let ca = c.encrypt(&a);
    let bytes = c.secret.to_bytes();
    let again = SecretKey::from_bytes(&c.params, &bytes).unwrap();
    let decode = |key: &SecretKey| {
        c.encoder
            .decode(&Decryptor::new(&c.params, key).unwrap().decrypt(&ca).unwrap())
            .unwrap()
    };
    assert!(PrecisionStats::new(&a, &decode(&again)).min_bits > 20.0);
    let stranger = SecretKey::generate(&c.params).unwrap();
    assert!(PrecisionStats::new(&a, &decode(&stranger)).mean_bits < 0.0);
    assert!(SecretKey::from_bytes(&c.params, &bytes[1..]).is_err());
    assert!(SecretKey::from_bytes(&c.params, &vec![0xff; bytes.len()]).is_err());
}

/// Every fused operation, bit for bit, on one thread and on two.
#[cfg(feature = "parallel")]
fn threads_change_nothing(c: &Context) {
    let (ca, cb) = (c.encrypt(&c.values(1.0)), c.encrypt(&c.values(2.0)));
    let all = || {
        let e = &c.evaluator;
        let mut out = e.rotate_hoisted(&ca, &[1, 3, -8]).unwrap();
        out.push(e.rotate(&ca, 3).unwrap());
        out.push(e.conjugate(&ca).unwrap());
        out.push(e.mul(&ca, &cb).unwrap());
        out.push(e.relinearize(&e.mul(&ca, &cb).unwrap()).unwrap());
        out.push(e.mul_relin_rescale(&ca, &cb).unwrap());
        out.push(e.rescale(&ca).unwrap());
        out
    };
    let on = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(all)
    };
    assert_eq!(on(1), on(2));
}

#[cfg(feature = "parallel")]
#[test]
fn threads_change_nothing_INSECURE() {
    threads_change_nothing(&Context::small_insecure());
    threads_change_nothing(&Context::digits_insecure());
}

#[cfg(feature = "parallel")]
#[test]
fn threads_change_nothing_at_real_parameters() {
    threads_change_nothing(&Context::real());
}

#[test]
fn every_operation_with_several_digits_INSECURE() {
    every_operation(&Context::digits_insecure(), 22.0, 20.0);
}
