//! The exact head at parameters of 128-bit security: against the clear decision, near ties, wrong keys, damaged bytes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use he_ops::ckks::{Ciphertext, Encoder, Encryptor, Evaluator, Pattern};
use he_ops::head::{Decision, HeadKey, HeadSecret, Reading, Rule, decide};
use he_ops::rlwe::{EvaluationKeys, Params, ParamsLiteral, SecretKey};
use he_ops::wire::{decode_head_key, decode_label, encode_head_key, encode_label, label_frame_len};
use num_complex::Complex64;

struct Setup {
    params: Params,
    encoder: Encoder,
    secret: SecretKey,
    head: HeadSecret,
    key: HeadKey,
    bytes: Vec<u8>,
}

fn setup() -> &'static Setup {
    static SETUP: OnceLock<Setup> = OnceLock::new();
    SETUP.get_or_init(|| {
        let params = Params::new(&ParamsLiteral::leveled(14, 2, 35)).unwrap();
        assert!(params.is_secure());
        let secret = SecretKey::generate(&params).unwrap();
        let head = HeadSecret::generate().unwrap();
        let clock = Instant::now();
        let seeded = head.evaluation_key(&params, &secret).unwrap();
        println!("key made in {:?}", clock.elapsed());
        let bytes = encode_head_key(&params, &seeded).unwrap();
        assert!(bytes.len() < 60_000_000, "{}", bytes.len());
        assert_eq!(decode_head_key(&params, &bytes).unwrap(), seeded);
        let clock = Instant::now();
        let key = HeadKey::expand(&params, seeded).unwrap();
        println!("key of {} bytes expanded in {:?}", bytes.len(), clock.elapsed());
        Setup {
            encoder: Encoder::new(&params),
            params,
            secret,
            head,
            key,
            bytes,
        }
    })
}

impl Setup {
    fn evaluator(&self) -> Evaluator {
        Evaluator::new(&self.encoder, Arc::new(EvaluationKeys::new(&self.params)))
    }

    /// Logits in the first slots; the rest is not zero, and nobody may look at it.
    fn encrypt(&self, logits: &[f64], level: usize) -> Ciphertext {
        let slots = self.params.slots();
        let value = |i: usize| match logits.get(i) {
            Some(logit) => Complex64::new(*logit, 0.7),
            None => Complex64::new((i as f64 * 0.37).sin(), (i as f64 * 0.73).cos()),
        };
        let values: Vec<Complex64> = (0..slots).map(value).collect();
        let scale = self.params.scale(level).unwrap();
        let plaintext = self.encoder.encode(&values, level, scale).unwrap();
        let encryptor = Encryptor::new(&self.params, &self.secret).unwrap();
        encryptor
            .encrypt(&plaintext)
            .unwrap()
            .expand(&self.params)
            .unwrap()
    }

    fn decision(&self, classes: usize, rule: Rule, range: f64) -> Decision {
        let slots = self.params.slots();
        let reading = |i: usize| {
            let mut weights = vec![0.0; slots];
            weights[i] = slots as f32;
            Reading {
                value: 0,
                weights: Pattern::real(weights).unwrap(),
            }
        };
        Decision::new(rule, range, (0..classes).map(reading).collect()).unwrap()
    }

    fn decided(&self, logits: &[f64], decision: &Decision, level: usize) -> Option<usize> {
        let value = self.encrypt(logits, level);
        let label = decide(&self.evaluator(), &self.key, &[&value], decision).unwrap();
        let bytes = encode_label(&self.params, &label);
        assert_eq!(bytes.len() as u64, label_frame_len());
        assert!(bytes.len() < 4096, "a few kilobytes");
        let label = decode_label(&self.params, &bytes).unwrap();
        self.head.decrypt(&label, decision.classes()).unwrap()
    }
}

/// Numbers in \[-1, 1) from a fixed sequence.
fn sequence(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

#[test]
fn the_label_is_the_arg_max_beyond_the_resolution() {
    let setup = setup();
    let mut next = sequence(1);
    for (classes, level) in [(2, 0), (3, 1), (6, 0), (8, 2), (20, 0)] {
        let decision = setup.decision(classes, Rule::ArgMax, 16.0);
        let resolution = decision.resolution(&setup.params).unwrap();
        assert!(resolution < 0.4, "{resolution}");
        for _ in 0..if classes < 20 { 4 } else { 1 } {
            let mut logits: Vec<f64> = (0..classes).map(|_| 7.0 * next()).collect();
            // The best one just beyond the resolution.
            let best = (next().abs() * classes as f64) as usize % classes;
            let rest = (0..classes).filter(|i| *i != best).map(|i| logits[i]);
            logits[best] = rest.fold(f64::MIN, f64::max) + 1.02 * resolution;
            assert_eq!(decision.of(&logits), Some(best));
            assert_eq!(setup.decided(&logits, &decision, level), Some(best), "{logits:?}");
        }
    }
}

#[test]
fn a_threshold_is_at_its_margin() {
    let setup = setup();
    for margin in [-2.0, 0.0, 3.5] {
        let decision = setup.decision(2, Rule::Threshold { margin }, 8.0);
        let resolution = decision.resolution(&setup.params).unwrap();
        for (difference, class) in [(margin - 1.02 * resolution, 0), (margin + 1.02 * resolution, 1)] {
            let logits = [0.4, 0.4 + difference];
            assert_eq!(decision.of(&logits), Some(class));
            assert_eq!(
                setup.decided(&logits, &decision, 0),
                Some(class),
                "{margin} {difference}"
            );
        }
    }
}

#[test]
fn near_ties_give_one_of_the_tied_classes_or_none() {
    let setup = setup();
    let decision = setup.decision(4, Rule::ArgMax, 16.0);
    for logits in [[3.0, 3.0, -1.0, 0.0], [-2.0, 1.5, 1.5, 1.5]] {
        let best = logits.iter().copied().fold(f64::MIN, f64::max);
        match setup.decided(&logits, &decision, 0) {
            Some(class) => assert!(logits[class] == best, "{class}"),
            // Three comparisons in a circle.
            None => assert!(logits.iter().filter(|v| **v == best).count() > 2),
        }
    }
}

#[test]
fn time_of_six_classes() {
    let setup = setup();
    let decision = setup.decision(6, Rule::ArgMax, 16.0);
    let value = setup.encrypt(&[1.0, 2.0, 3.0, 0.0, -1.0, 0.5], 0);
    let (evaluator, clock) = (setup.evaluator(), Instant::now());
    let first = decide(&evaluator, &setup.key, &[&value], &decision).unwrap();
    println!("{} bootstraps in {:?}", decision.bootstraps(), clock.elapsed());
    assert_eq!(
        first,
        decide(&evaluator, &setup.key, &[&value], &decision).unwrap()
    );
}

#[test]
fn wrong_keys_and_damaged_bytes_are_refused() {
    let setup = setup();
    let decision = setup.decision(3, Rule::ArgMax, 16.0);
    let value = setup.encrypt(&[1.0, 4.0, -1.0], 0);
    let label = decide(&setup.evaluator(), &setup.key, &[&value], &decision).unwrap();
    // Under other secrets nearly every phase is that of no class.
    let refused = (0..8)
        .filter(|_| HeadSecret::generate().unwrap().decrypt(&label, 3).is_err())
        .count();
    assert!(refused >= 5, "{refused} of 8");

    let other = Params::new(&ParamsLiteral::leveled(14, 3, 35)).unwrap();
    assert!(decode_head_key(&other, &setup.bytes).is_err());
    assert!(decode_label(&other, &encode_label(&setup.params, &label)).is_err());
    let evaluator = Evaluator::new(&Encoder::new(&other), Arc::new(EvaluationKeys::new(&other)));
    assert!(decide(&evaluator, &setup.key, &[&value], &decision).is_err());
    assert!(setup.head.evaluation_key(&other, &setup.secret).is_err());

    for cut in [0, 79, 80, 200, setup.bytes.len() - 1] {
        assert!(
            decode_head_key(&setup.params, &setup.bytes[..cut]).is_err(),
            "{cut}"
        );
    }
    let mut longer = setup.bytes.clone();
    longer.push(0);
    assert!(decode_head_key(&setup.params, &longer).is_err());
    let mut damaged = setup.bytes.clone();
    damaged[5000] ^= 1;
    assert!(decode_head_key(&setup.params, &damaged).is_err());
}

#[test]
fn impossible_decisions_are_refused() {
    let reading = || Reading {
        value: 0,
        weights: Pattern::constant(1.0).unwrap(),
    };
    let make = |rule, range, n: usize| Decision::new(rule, range, (0..n).map(|_| reading()).collect());
    assert!(make(Rule::ArgMax, 16.0, 2).is_ok());
    assert!(make(Rule::ArgMax, 16.0, 1).is_err());
    assert!(make(Rule::ArgMax, 16.0, 21).is_err());
    assert!(make(Rule::ArgMax, 0.0, 3).is_err());
    assert!(make(Rule::ArgMax, f64::NAN, 3).is_err());
    assert!(make(Rule::Threshold { margin: 1.0 }, 16.0, 3).is_err());
    assert!(make(Rule::Threshold { margin: 17.0 }, 16.0, 2).is_err());
}
