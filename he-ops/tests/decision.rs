//! The exact decision at parameters of 128-bit security: against the clear decision, near ties, wrong keys, damaged bytes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use he_ops::ckks::{Ciphertext, Encoder, Encryptor, Evaluator, Pattern};
use he_ops::cost::{Machine, plan_costs};
use he_ops::decision::{Decision, DecisionKey, DecisionSecret, Reading, Rule, decide, decision_memory_bytes};
use he_ops::exec::{Ckks, Plain, Sim};
use he_ops::graph::{Graph, compile};
use he_ops::rlwe::{EvaluationKeys, Params, ParamsLiteral, SecretKey};
use he_ops::wire::{decode_decision_key, decode_label, encode_decision_key, encode_label, label_frame_len};
use num_complex::Complex64;

struct Setup {
    params: Params,
    encoder: Encoder,
    secret: SecretKey,
    head: DecisionSecret,
    key: DecisionKey,
    bytes: Vec<u8>,
}

fn setup() -> &'static Setup {
    static SETUP: OnceLock<Setup> = OnceLock::new();
    SETUP.get_or_init(|| {
        let params = Params::new(&ParamsLiteral::leveled(14, 2, 35)).unwrap();
        assert!(params.is_secure());
        let secret = SecretKey::generate(&params).unwrap();
        let head = DecisionSecret::generate(&secret).unwrap();
        let clock = Instant::now();
        let seeded = head.evaluation_key(&params, &secret).unwrap();
        println!("key made in {:?}", clock.elapsed());
        let bytes = encode_decision_key(&params, &seeded).unwrap();
        assert!(bytes.len() < 60_000_000, "{}", bytes.len());
        assert_eq!(decode_decision_key(&params, &bytes).unwrap(), seeded);
        let clock = Instant::now();
        let key = DecisionKey::expand(&params, seeded).unwrap();
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
        decision(self.params.slots(), classes, rule, range)
    }

    fn decided(&self, logits: &[f64], decision: &Decision, level: usize) -> Option<usize> {
        let value = self.encrypt(logits, level);
        let label = decide(&self.evaluator(), &self.key, &[&value], decision).unwrap();
        let bytes = encode_label(&self.params, &label);
        let classes = decision.classes();
        assert_eq!(bytes.len() as u64, label_frame_len(classes));
        assert!(bytes.len() < 8192, "a few kilobytes");
        let label = decode_label(&self.params, classes, &bytes).unwrap();
        self.head.decrypt(&label, classes).unwrap()
    }
}

/// Over logits in the first slots of one value.
fn decision(slots: usize, classes: usize, rule: Rule, range: f64) -> Decision {
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

/// Logits of which one is ahead of all others by hardly more than the resolution.
fn hard(setup: &Setup, decision: &Decision, next: &mut impl FnMut() -> f64) -> (Vec<f64>, usize) {
    let (classes, resolution) = (decision.classes(), decision.resolution(&setup.params).unwrap());
    let mut logits: Vec<f64> = (0..classes).map(|_| 7.0 * next()).collect();
    let best = (next().abs() * classes as f64) as usize % classes;
    let rest = (0..classes).filter(|i| *i != best).map(|i| logits[i]);
    logits[best] = rest.fold(f64::MIN, f64::max) + 1.02 * resolution;
    assert_eq!(decision.of(&logits), Some(best));
    (logits, best)
}

#[test]
fn the_label_is_the_arg_max_beyond_the_resolution() {
    let setup = setup();
    let mut next = sequence(1);
    for (classes, level) in [(2, 0), (3, 1), (6, 0), (8, 2), (20, 0)] {
        let decision = setup.decision(classes, Rule::ArgMax, 16.0);
        let resolution = decision.resolution(&setup.params).unwrap();
        println!("{classes} classes: resolution {resolution:.3}");
        assert!(resolution < 0.4, "{resolution}");
        for _ in 0..if classes < 20 { 4 } else { 1 } {
            let (logits, best) = hard(setup, &decision, &mut next);
            assert_eq!(setup.decided(&logits, &decision, level), Some(best), "{logits:?}");
        }
    }
}

/// More classes than one bootstrap gathers the comparisons of.
fn many(classes: usize) {
    let setup = setup();
    let mut next = sequence(classes as u64);
    let decision = setup.decision(classes, Rule::ArgMax, 16.0);
    let (logits, best) = hard(setup, &decision, &mut next);
    let clock = Instant::now();
    assert_eq!(setup.decided(&logits, &decision, 0), Some(best), "{logits:?}");
    println!(
        "{classes} classes: {} bootstraps in {:?}",
        decision.bootstraps(),
        clock.elapsed()
    );
}

/// The two best ones equal, in different groups of their opponents.
fn tied(classes: usize) {
    let setup = setup();
    let decision = setup.decision(classes, Rule::ArgMax, 16.0);
    let mut tied = vec![-1.0; classes];
    tied[classes - 2..].fill(2.0);
    // One of the two wins their comparison.
    let class = setup.decided(&tied, &decision, 0).unwrap();
    assert!(class >= classes - 2, "{class}");
}

#[test]
fn a_small_vocabulary() {
    many(32);
}

#[test]
fn a_tie_in_a_small_vocabulary() {
    tied(21);
}

#[test]
#[ignore = "half a minute: 1,400 bootstraps"]
fn numbers_of_two_digits() {
    many(49);
}

#[test]
#[ignore = "ten minutes: 37,000 bootstraps"]
fn as_many_classes_as_there_may_be() {
    many(256);
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
    assert_eq!(setup.head.decrypt(&label, 3).unwrap(), Some(1));
    // Labels of other keys are refused by their number, secrets of another key generation by the CKKS secret.
    let refused = |error: he_ops::Error, word: &str| assert!(error.to_string().contains(word), "{error}");
    let strange = DecisionSecret::generate(&setup.secret).unwrap();
    refused(strange.decrypt(&label, 3).unwrap_err(), "other keys");
    let second = SecretKey::generate(&setup.params).unwrap();
    refused(setup.head.check(&second).unwrap_err(), "another secret key");
    refused(
        setup.head.evaluation_key(&setup.params, &second).unwrap_err(),
        "another secret key",
    );
    let reopened = DecisionSecret::from_bytes(&setup.head.to_bytes()).unwrap();
    assert_eq!(reopened.decrypt(&label, 3).unwrap(), Some(1));
    reopened.check(&setup.secret).unwrap();

    let other = Params::new(&ParamsLiteral::leveled(14, 3, 35)).unwrap();
    assert!(decode_decision_key(&other, &setup.bytes).is_err());
    assert!(decode_label(&other, 3, &encode_label(&setup.params, &label)).is_err());
    let evaluator = Evaluator::new(&Encoder::new(&other), Arc::new(EvaluationKeys::new(&other)));
    assert!(decide(&evaluator, &setup.key, &[&value], &decision).is_err());
    assert!(setup.head.evaluation_key(&other, &setup.secret).is_err());

    for cut in [0, 79, 80, 200, setup.bytes.len() - 1] {
        assert!(
            decode_decision_key(&setup.params, &setup.bytes[..cut]).is_err(),
            "{cut}"
        );
    }
    let mut longer = setup.bytes.clone();
    longer.push(0);
    assert!(decode_decision_key(&setup.params, &longer).is_err());
    let mut damaged = setup.bytes.clone();
    damaged[5000] ^= 1;
    assert!(decode_decision_key(&setup.params, &damaged).is_err());
}

#[test]
fn a_plan_ends_with_a_decision_on_every_backend() {
    let logits = [0.5, -1.0, 3.0, 2.2, 0.0];
    let mut g = Graph::new(1 << 12);
    let x = g.input("x");
    let y = g.mul_plain(x, Pattern::constant(2.0).unwrap());
    g.output("y", y);
    let plan = compile(&g, "logits", 35).unwrap();
    let params = &plan.params;
    let slots = params.slots();
    let decision = Arc::new(decision(slots, logits.len(), Rule::ArgMax, 16.0));
    let decided = plan.decided(Arc::clone(&decision)).unwrap();
    assert_eq!(decided.keys(), plan.keys());
    assert_eq!(decided.steps.len(), plan.steps.len() + 1);
    assert_ne!(decided.digest(), plan.digest());
    let text = decided.to_string();
    assert!(text.contains("label of 5 classes, 15 bootstraps"), "{text}");
    assert!(text.contains("exact decision | decide"), "{text}");
    let costs = plan_costs(&decided, &Machine::default(), 2).unwrap();
    assert!(costs.memory.keys >= decision_memory_bytes(params));
    assert!(
        costs
            .rows
            .iter()
            .any(|row| row.layer == "exact decision" && row.ms > 0.0)
    );

    let mut values = vec![Complex64::new(0.3, 0.1); slots];
    for (value, logit) in values.iter_mut().zip(logits) {
        value.re = logit / 2.0;
    }
    let mut plain = Plain::new(slots);
    let outputs = common::run_on(&decided, &mut plain, [("x".to_owned(), values.clone())].into()).unwrap();
    assert!(outputs.is_empty(), "nothing but the label");
    let (found, class) = plain.decided().unwrap();
    assert!(
        found.iter().zip(logits).all(|(a, b)| (a - b).abs() < 1e-6),
        "{found:?}"
    );
    assert_eq!(*class, Some(2));

    let mut sim = Sim::new(&decided, plain.magnitudes());
    let inputs = decided.inputs.iter();
    let inputs = inputs.map(|port| (port.name.clone(), sim.fresh(port))).collect();
    common::run_on(&decided, &mut sim, inputs).unwrap();
    let (least, with_noise) = (decision.resolution(params).unwrap(), sim.resolution().unwrap());
    println!("resolution {least:.4}, {with_noise:.4} with the noise of CKKS");
    assert!(least < with_noise && with_noise < 1.01 * least);

    let secret = SecretKey::generate(params).unwrap();
    let head = DecisionSecret::generate(&secret).unwrap();
    let key = DecisionKey::expand(params, head.evaluation_key(params, &secret).unwrap()).unwrap();
    let encoder = Encoder::new(params);
    let evaluator = Evaluator::new(&encoder, Arc::new(EvaluationKeys::new(params)));
    let port = &decided.inputs[0];
    let x = encoder.encode(&values, port.level, port.scale).unwrap();
    let x = Encryptor::new(params, &secret)
        .unwrap()
        .encrypt(&x)
        .unwrap()
        .expand(params)
        .unwrap();
    let inputs: BTreeMap<_, _> = [("x".to_owned(), x)].into();
    let error = common::run_on(&decided, &mut Ckks::new(&evaluator), inputs.clone()).unwrap_err();
    assert!(error.to_string().contains("exact decision"), "{error}");
    let mut ckks = Ckks::new(&evaluator).with_decision_key(Some(Arc::new(key)));
    assert!(common::run_on(&decided, &mut ckks, inputs).unwrap().is_empty());
    assert_eq!(head.decrypt(ckks.label().unwrap(), logits.len()).unwrap(), *class);
}

#[test]
fn bootstraps_of_a_decision() {
    let setup = setup();
    let of = |classes| setup.decision(classes, Rule::ArgMax, 16.0).bootstraps();
    // Pairs, groups, digits that are not 0.
    assert_eq!([2, 6, 20].map(of), [1, 15 + 6, 190 + 20]);
    assert_eq!(of(32), 496 + 32 * 2 + 32);
    assert_eq!(of(64), 2016 + 64 * 4 + 64 * 2 - 7 - 8);
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
    assert!(make(Rule::ArgMax, 16.0, 256).is_ok());
    assert!(make(Rule::ArgMax, 16.0, 257).is_err());
    assert!(make(Rule::ArgMax, 0.0, 3).is_err());
    assert!(make(Rule::ArgMax, f64::NAN, 3).is_err());
    assert!(make(Rule::Threshold { margin: 1.0 }, 16.0, 3).is_err());
    assert!(make(Rule::Threshold { margin: 17.0 }, 16.0, 2).is_err());
}
