//! Bootstraps against the message in clear, keys around the ephemeral secret, thread counts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, non_snake_case)]

use he_ops::Error;
use he_ops::ckks::{
    BootstrapLiteral, BootstrapPreset, Bootstrapper, Ciphertext, Decryptor, Encoder, Encryptor, Evaluator,
    PrecisionStats,
};
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, KeyPurpose, Params, ParamsLiteral, SecretKey};
use he_ops::wire::{decode_key, encode_key, key_frame_limit};
use num_complex::Complex64;
use std::sync::Arc;

struct Client {
    params: Params,
    secret: SecretKey,
    encoder: Encoder,
    boot: Bootstrapper,
    evaluator: Evaluator,
}

impl Client {
    fn new(params: Params, literal: &BootstrapLiteral) -> Self {
        let encoder = Encoder::new(&params);
        let boot = Bootstrapper::new(&encoder, literal).unwrap();
        let secret = SecretKey::generate(&params).unwrap();
        let generator = KeyGenerator::new(&params, &secret).unwrap();
        let uses = boot.key_uses();
        let mut keys = EvaluationKeys::new(&params);
        for (purpose, level) in boot.keys().iter() {
            // Over the wire, as the server gets them.
            let bytes = encode_key(&params, &generator.key(purpose, level).unwrap()).unwrap();
            let limit = key_frame_limit(&params, purpose, level).unwrap();
            keys.insert_seeded(decode_key(&params, &bytes, limit).unwrap(), &uses)
                .unwrap();
        }
        let evaluator = Evaluator::new(&encoder, Arc::new(keys));
        Self {
            params,
            secret,
            encoder,
            boot,
            evaluator,
        }
    }

    /// Slots in the unit square, repeated.
    fn message(&self) -> Vec<Complex64> {
        let n = self.boot.slots();
        let mut state = 0x1234_5678_9abc_def0u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as f64 / f64::from(1u32 << 30) - 1.0
        };
        let one: Vec<Complex64> = (0..n).map(|_| Complex64::new(next(), next())).collect();
        (0..self.params.slots()).map(|j| one[j % n]).collect()
    }

    fn encrypt(&self, z: &[Complex64]) -> Ciphertext {
        let level = self.boot.input_level();
        let plain = self
            .encoder
            .encode(z, level, self.params.scale(level).unwrap())
            .unwrap();
        let encryptor = Encryptor::new(&self.params, &self.secret).unwrap();
        encryptor.encrypt(&plain).unwrap().expand(&self.params).unwrap()
    }

    fn decrypt(&self, ct: &Ciphertext) -> Vec<Complex64> {
        let decryptor = Decryptor::new(&self.params, &self.secret).unwrap();
        self.encoder.decode(&decryptor.decrypt(ct).unwrap()).unwrap()
    }

    /// Down to the level and the canonical scale of the next bootstrap.
    fn align(&self, ct: &Ciphertext) -> Ciphertext {
        let level = self.boot.input_level();
        let prime = self.params.moduli().nth(level + 1).unwrap().value() as f64;
        let low = self.evaluator.drop_level(ct, level + 1).unwrap();
        let factor = self.params.scale(level).unwrap() * prime / low.scale();
        self.evaluator
            .rescale(&self.evaluator.mul_scalar(&low, 1.0, factor).unwrap())
            .unwrap()
    }

    fn precision(&self, rounds: usize) -> PrecisionStats {
        let z = self.message();
        let mut ct = self.encrypt(&z);
        for _ in 0..rounds {
            if ct.level() > self.boot.input_level() {
                ct = self.align(&ct);
            }
            ct = self.boot.bootstrap(&self.evaluator, &ct).unwrap();
            assert_eq!(ct.level(), self.boot.output_level());
            assert!((ct.scale() / self.params.scale(ct.level()).unwrap() - 1.0).abs() < 1e-12);
        }
        PrecisionStats::new(&z, &self.decrypt(&ct))
    }
}

fn small_INSECURE(log_n: u32) -> Params {
    let mut literal = BootstrapPreset::N16.params();
    literal.log_n = log_n;
    literal.log_q.drain(6..18);
    Params::new_INSECURE(&literal).unwrap()
}

#[test]
fn full_and_sparse_slots_on_a_small_ring() {
    for (log_n, log_slots) in [(9, 8), (9, 7), (9, 3), (11, 4)] {
        let client = Client::new(small_INSECURE(log_n), &BootstrapPreset::N16.bootstrap(log_slots));
        let stats = client.precision(1);
        assert!(
            stats.mean_bits > 19.0 && stats.min_bits > 15.0,
            "2^{log_slots} of 2^{log_n}: {stats}"
        );
    }
}

#[test]
fn uneven_radices_and_the_arcsine() {
    let params = small_INSECURE(10);
    let literal = BootstrapLiteral {
        slots_to_coeffs: vec![2, 4, 3],
        coeffs_to_slots: vec![5, 1, 3],
        ..BootstrapPreset::N16.bootstrap(9)
    };
    let stats = Client::new(params.clone(), &literal).precision(1);
    assert!(stats.mean_bits > 19.0, "{stats}");
    // Two more levels of EvalMod above the user's.
    let mut chain = params.literal().clone();
    chain.log_q.splice(7..7, [50, 50]);
    let literal = BootstrapLiteral {
        arcsine: true,
        log_message_ratio: 8.0,
        ..literal
    };
    let stats = Client::new(Params::new_INSECURE(&chain).unwrap(), &literal).precision(1);
    assert!(stats.mean_bits > 21.5, "{stats}");
}

/// At 128 bits: several bootstraps in a row, the same bits for one and two threads.
#[test]
fn real_parameters() {
    let params = Params::new(&BootstrapPreset::N15.params()).unwrap();
    assert!(params.is_secure());
    let client = Client::new(params, &BootstrapPreset::N15.bootstrap(10));
    let stats = client.precision(2);
    assert!(stats.mean_bits > 14.0 && stats.min_bits > 11.0, "{stats}");
    let ct = client.encrypt(&client.message());
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| client.boot.bootstrap(&client.evaluator, &ct).unwrap())
    };
    assert_eq!(on(1), on(2));
}

#[test]
fn presets_are_within_the_tables_and_state_their_budget() {
    for (preset, log_qp, output, usable) in [
        (BootstrapPreset::N16, 1743.0, 18, 15),
        (BootstrapPreset::N15, 856.0, 5, 3),
    ] {
        let params = Params::new(&preset.params()).unwrap();
        assert!((params.log_qp() - log_qp).abs() < 1.0, "{}", params.log_qp());
        assert!(params.log_qp() <= params.log_qp_bound().unwrap());
        params.key_gadget(KeyPurpose::Encapsulate, 0).unwrap();
        for log_slots in 5..params.log_n() {
            let literal = preset.bootstrap(log_slots);
            assert_eq!(literal.output_level(&params).unwrap(), output);
            assert_eq!(output - literal.input_level(), usable);
            assert!(literal.log_failure_probability(&params) < -60.0);
        }
    }
}

/// A key to the ephemeral secret above the lowest modulus breaks its security (ePrint 2022/024, and a flaw that was
/// found in a library): no way leads to one.
#[test]
fn the_ephemeral_secret_is_only_met_at_the_lowest_modulus() {
    let params = Params::new(&BootstrapPreset::N15.params()).unwrap();
    let secret = SecretKey::generate(&params).unwrap();
    let generator = KeyGenerator::new(&params, &secret).unwrap();
    for level in [1, 2, params.max_level()] {
        let refused = |error: &Error| matches!(error, Error::Level { needed: 0, .. });
        assert!(
            generator
                .key(KeyPurpose::Encapsulate, level)
                .is_err_and(|e| refused(&e))
        );
        assert!(
            params
                .key_gadget(KeyPurpose::Encapsulate, level)
                .is_err_and(|e| refused(&e))
        );
        // From the network: a rotation key of that level with another purpose written on it.
        let mut forged = generator.key(KeyPurpose::Galois(5), level).unwrap();
        forged.purpose = KeyPurpose::Encapsulate;
        assert!(encode_key(&params, &forged).is_err());
        assert!(forged.clone().expand(&params).is_err_and(|e| refused(&e)));
    }
    let key = generator.key(KeyPurpose::Encapsulate, 0).unwrap();
    assert_eq!(key.bodies.iter().map(|b| b.limbs()).collect::<Vec<_>>(), [2]);

    // A chain whose lowest modulus alone is too wide, and a ring without a row in the table.
    let literal = ParamsLiteral {
        log_n: 13,
        log_q: vec![50, 40, 40],
        log_p: vec![50],
        log_scale: 40,
    };
    let params = Params::new(&literal).unwrap();
    assert!(params.key_gadget(KeyPurpose::Encapsulate, 0).is_err());
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    let params = small_INSECURE(9);
    let encoder = Encoder::new(&params);
    let good = BootstrapPreset::N16.bootstrap(8);
    let bad = [
        BootstrapLiteral {
            log_slots: 9,
            ..good.clone()
        },
        BootstrapLiteral {
            coeffs_to_slots: vec![3, 3],
            ..good.clone()
        },
        BootstrapLiteral {
            slots_to_coeffs: vec![8, 0],
            ..good.clone()
        },
        BootstrapLiteral {
            interval: 0,
            ..good.clone()
        },
        BootstrapLiteral {
            log_message_ratio: 60.0,
            ..good.clone()
        },
        BootstrapLiteral {
            double_angles: 99,
            ..good.clone()
        },
        BootstrapLiteral {
            arcsine: true,
            ..BootstrapPreset::N16.bootstrap(5)
        },
        BootstrapLiteral {
            coeffs_to_slots: vec![1; 8],
            ..good.clone()
        },
        // The trace comes between the first map and the last.
        BootstrapLiteral {
            coeffs_to_slots: vec![5],
            ..BootstrapPreset::N16.bootstrap(5)
        },
    ];
    for literal in bad {
        assert!(Bootstrapper::new(&encoder, &literal).is_err(), "{literal:?}");
    }
    let client = Client::new(params.clone(), &good);
    let ct = client.encrypt(&client.message());
    let low = client.evaluator.drop_level(&ct, 1).unwrap();
    assert!(matches!(
        client.boot.bootstrap(&client.evaluator, &low),
        Err(Error::Level {
            needed: 3,
            found: 1,
            ..
        })
    ));
    let scaled = Ciphertext::from_parts(&params, ct.parts().to_vec(), ct.level(), ct.scale() * 1.01).unwrap();
    assert!(matches!(
        client.boot.bootstrap(&client.evaluator, &scaled),
        Err(Error::Scale { .. })
    ));
    let keyless = Evaluator::new(&client.encoder, Arc::new(EvaluationKeys::new(&params)));
    assert!(matches!(
        client.boot.bootstrap(&keyless, &ct),
        Err(Error::MissingKey { .. })
    ));
}
