//! Random small models: the plan against the f64 forward, on plain numbers and encrypted.
//!
//! The models are the same in every run, keys and noise are not; a failure is reduced to the smallest model that fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(non_snake_case, reason = "small parameters say what they are")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use he_ops::ckks::{BootstrapPreset, Decryptor, Encoder, Encryptor, Evaluator};
use he_ops::exec::{Backend, Ckks, Plain, predict, run};
use he_ops::graph::{CompileOptions, Plan, compile_with};
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, Params, SecretKey};
use he_ops::trace::Tracer;
use models::lower::blocks::lower;
use models::model::{
    Activation, Attention, Head, Mask, Mode, Norm, NormKind, Pool, Position, TransformerConfig,
    TransformerWeights, forward,
};
use models::packing::blocks::{Answer, BlockPacking, Slots};
use models::synthetic;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

const LOG_N: u32 = 9;

/// A random model, before its weights are drawn.
#[derive(Debug, Clone)]
struct Model {
    config: TransformerConfig,
    log_slots: u32,
    sequences: usize,
    seed: u64,
}

fn head() -> impl Strategy<Value = Head> {
    let pool = prop_oneof![Just(Pool::Cls), Just(Pool::Mean)];
    prop_oneof![
        (1..=5_usize, pool).prop_map(|(num_labels, pool)| Head::Classification { num_labels, pool }),
        Just(Head::Embedding),
        (2..=40_usize).prop_map(|vocab| Head::NextToken { vocab }),
    ]
}

fn activation() -> impl Strategy<Value = Activation> {
    // Of degree 2 to 4, and such that the terms are about as large as one another where the inputs are.
    let polynomial = prop::collection::vec(-0.3..0.3, 2..5).prop_map(|mut coefficients| {
        coefficients.push(0.3);
        let terms = coefficients.iter_mut().enumerate();
        terms.for_each(|(k, c)| *c *= 0.4_f64.powf(k as f64));
        Activation::Polynomial { coefficients }
    });
    let chebyshev = prop::collection::vec(-0.5..0.5, 1..6).prop_map(|mut coefficients| {
        coefficients.push(0.2);
        Activation::Chebyshev {
            range: [-12.0, 10.0],
            coefficients,
        }
    });
    prop_oneof![
        Just(Activation::Quadratic),
        Just(Activation::Gelu),
        polynomial,
        chebyshev
    ]
}

fn norm() -> impl Strategy<Value = NormKind> {
    prop_oneof![
        Just(NormKind::None),
        Just(NormKind::BatchNorm),
        Just(NormKind::RmsNorm),
        Just(NormKind::LayerNorm)
    ]
}

fn model(layers: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Model> {
    let sizes = (layers, 1..=3_usize, 2..=8_usize, 1..=48_usize, 1..=3_u32);
    let attention = (1..=3_u32, any::<bool>(), any::<bool>(), any::<bool>());
    let rest = (norm(), activation(), head());
    let places = (0..=2_u32, 0..=1_u32, any::<u64>());
    (sizes, attention, rest, places).prop_map(|(sizes, attention, rest, places)| {
        let (n_layers, n_heads, head_dim, hidden_dim, log_tokens) = sizes;
        let (half_power, causal, visible_mean, pre) = attention;
        let (kind, activation, head) = rest;
        let (spare, log_sequences, seed) = places;
        // Norms of two features see variances near zero.
        let head_dim = if n_heads == 1 { head_dim.max(4) } else { head_dim };
        let config = TransformerConfig {
            model_type: "polynomial_transformer".to_owned(),
            dim: n_heads * head_dim,
            n_layers,
            n_heads,
            hidden_dim,
            seq_len: 1 << log_tokens,
            vocab_size: 100,
            id2label: BTreeMap::new(),
            pad_token_id: 0,
            norm_position: if pre { Position::Pre } else { Position::Post },
            attention: Attention {
                power: 2 * half_power,
                epsilon: 0.01,
                score_scale: 0.25,
                mask: if causal { Mask::Causal } else { Mask::None },
                visible_mean,
            },
            norm: Norm { kind, epsilon: 1e-5 },
            activation,
            head,
            precision_bits: 10,
            margin: 1.5,
            fit: None,
        };
        // A head must fit a block.
        let least = log_tokens + log_sequences + head_dim.next_power_of_two().trailing_zeros();
        Model {
            config,
            log_slots: (LOG_N - 1 - spare).max(least),
            sequences: 1 << log_sequences,
            seed,
        }
    })
}

/// A calibrated model and its plan on the chain of the preset on a small ring.
struct Compiled {
    config: TransformerConfig,
    weights: TransformerWeights,
    plan: Plan,
    packing: BlockPacking,
}

impl Compiled {
    fn new_INSECURE(model: &Model) -> Self {
        let (config, weights) = synthetic::calibrated(&model.config, model.seed).unwrap();
        let mut literal = BootstrapPreset::N16.params();
        literal.log_n = LOG_N;
        let params = Params::new_INSECURE(&literal).unwrap();
        let (graph, packing) = lower(&config, &weights, 1 << model.log_slots, model.sequences).unwrap();
        let options = CompileOptions {
            bootstrap: Some(BootstrapPreset::N16.bootstrap(model.log_slots)),
            ..CompileOptions::default()
        };
        let plan = compile_with(&graph, "random", &params, &options).unwrap();
        Compiled {
            config,
            weights,
            plan,
            packing,
        }
    }

    /// Inputs that the calibration saw.
    fn inputs(&self, seed: u64) -> Vec<Vec<f64>> {
        synthetic::inputs(&self.config, self.packing.sequences, seed ^ 0xca11)
    }

    fn pack(&self, inputs: &[Vec<f64>]) -> Slots {
        let inputs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
        self.packing.pack_all(&inputs).unwrap()
    }

    fn forward(&self, inputs: &[Vec<f64>], mode: Mode) -> Vec<Vec<f64>> {
        let answer = |x: &Vec<f64>| forward(&self.config, &self.weights, x, mode).unwrap().output;
        inputs.iter().map(answer).collect()
    }

    fn run<B: Backend>(
        &self,
        backend: &mut B,
        inputs: &BTreeMap<String, B::Value>,
    ) -> BTreeMap<String, B::Value> {
        run(&self.plan, backend, inputs, &mut Tracer::new(), &mut |_, _| {
            ControlFlow::Continue(())
        })
        .unwrap()
    }
}

/// Infinite for what is not a number.
fn largest_error(found: &[Vec<f64>], wanted: &[Vec<f64>]) -> f64 {
    let shape = |answers: &[Vec<f64>]| answers.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(shape(found), shape(wanted));
    let errors = found
        .iter()
        .flatten()
        .zip(wanted.iter().flatten())
        .map(|(a, b)| (a - b).abs());
    errors
        .map(|error| if error.is_nan() { f64::INFINITY } else { error })
        .fold(0.0, f64::max)
}

/// The largest error by the largest number wanted, or by 1.
fn relative_error(found: &[Vec<f64>], wanted: &[Vec<f64>]) -> f64 {
    let size = wanted.iter().flatten().fold(1.0_f64, |size, y| size.max(y.abs()));
    largest_error(found, wanted) / size
}

/// As many models as said, the same in every run.
fn for_all(cases: u32, strategy: &impl Strategy<Value = Model>, test: impl Fn(&Model)) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(strategy, |model| {
        test(&model);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Largest error of the plan on plain numbers; none where the ranges of the fit do not hold.
fn plain_error_INSECURE(model: &Model) -> Option<f64> {
    let compiled = Compiled::new_INSECURE(model);
    let inputs = compiled.inputs(model.seed);
    let mut plain = Plain::new(compiled.plan.slots);
    let answer = compiled.run(&mut plain, &compiled.pack(&inputs));
    let found = compiled.packing.unpack_all(&answer).unwrap();
    let wanted = compiled.forward(&inputs, Mode::Polynomial);
    let exact = compiled.forward(&inputs, Mode::Exact);
    (relative_error(&wanted, &exact) < 0.1).then(|| relative_error(&found, &wanted))
}

#[test]
fn on_plain_numbers_the_plan_is_the_forward() {
    for_all(400, &model(1..=2), |model| {
        if let Some(error) = plain_error_INSECURE(model) {
            // Weights and coefficients are f32.
            assert!(error < 2e-5, "{error}");
        }
    });
}

/// Bits to which the answers are right, and those that the noise model predicts for the worst of all slots.
fn encrypted_bits_INSECURE(model: &Model) -> (f64, f64) {
    let compiled = Compiled::new_INSECURE(model);
    let (plan, packing) = (&compiled.plan, &compiled.packing);
    let slots = compiled.pack(&compiled.inputs(model.seed));
    let mut plain = Plain::new(plan.slots);
    let wanted = packing.unpack_all(&compiled.run(&mut plain, &slots)).unwrap();
    let predicted = predict(plan, plain.magnitudes()).unwrap().precision_bits;
    let mut predicted = predicted.values().copied().fold(f64::INFINITY, f64::min);
    if let Answer::First { features } = packing.answer {
        // All of the error is where the answer is.
        let live = (features * packing.sequences).min(packing.slots) as f64;
        predicted -= 0.5 * (packing.slots as f64 / live).log2();
    }

    let params = &plan.params;
    let secret = SecretKey::generate(params).unwrap();
    let keys = KeyGenerator::new(params, &secret).unwrap();
    let keys = keys.evaluation_keys(&plan.keys(), |_, _| ()).unwrap();
    let keys = EvaluationKeys::from_seeded(params, &plan.key_uses(), keys).unwrap();
    let encoder = Encoder::new(params);
    let evaluator = Evaluator::new(&encoder, Arc::new(keys));
    let encryptor = Encryptor::new(params, &secret).unwrap();
    let mut inputs = BTreeMap::new();
    for port in &plan.inputs {
        let values = slots.get(&port.name).unwrap();
        let plaintext = encoder.encode_repeated(values, port.level, port.scale).unwrap();
        let ciphertext = encryptor.encrypt(&plaintext).unwrap().expand(params).unwrap();
        inputs.insert(port.name.clone(), ciphertext);
    }
    let mut backend = Ckks::with_bootstrapper(&evaluator, plan.bootstrapper(&encoder).unwrap());
    let outputs = compiled.run(&mut backend, &inputs);
    let decryptor = Decryptor::new(params, &secret).unwrap();
    let open = |ciphertext| encoder.decode(&decryptor.decrypt(ciphertext).unwrap()).unwrap();
    let answer = outputs
        .iter()
        .map(|(name, value)| (name.clone(), open(value)))
        .collect();
    let found = packing.unpack_all(&answer).unwrap();
    (-largest_error(&found, &wanted).log2(), predicted)
}

/// The noise model knows means over all slots. Where features leave slots unused, values and errors stand in the others,
/// so many bits more of each.
fn unused_bits(model: &Model) -> f64 {
    let config = &model.config;
    let block = (1 << model.log_slots) / (config.seq_len * model.sequences);
    let slots = block * config.dim.div_ceil(block);
    (slots as f64 / config.dim as f64).log2()
}

fn check_encrypted_INSECURE(model: &Model) {
    let (found, predicted) = encrypted_bits_INSECURE(model);
    let unused = unused_bits(model);
    println!("{found:.1} bits, {predicted:.1} predicted, {unused:.1} bits of unused slots");
    assert!(
        found > 10.0 && found > predicted - 4.0 - 2.0 * unused,
        "{found:.1} bits, {predicted:.1} predicted, {unused:.1} bits of unused slots"
    );
}

#[test]
fn encrypted_the_plan_is_as_precise_as_predicted() {
    for_all(60, &model(1..=2), check_encrypted_INSECURE);
}

#[test]
fn deep_models_stay_precise() {
    for_all(8, &model(4..=6), check_encrypted_INSECURE);
}

#[test]
fn identities_over_pairs_of_whole_blocks() {
    let mut runner = TestRunner::deterministic();
    let mut model = model(1..=1).new_tree(&mut runner).unwrap().current();
    let config = &mut model.config;
    (config.dim, config.n_heads, config.seq_len) = (16, 2, 4);
    config.norm.kind = NormKind::RmsNorm;
    config.norm_position = Position::Post;
    config.activation = Activation::Quadratic;
    config.head = Head::Embedding;
    (model.log_slots, model.sequences) = (5, 1);
    assert!(plain_error_INSECURE(&model).unwrap() < 2e-5);
}
