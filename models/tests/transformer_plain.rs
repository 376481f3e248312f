//! Whole transformers of every kind as plans, run on plain numbers and encrypted, against the f64 reference.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(non_snake_case, reason = "small parameters say what they are")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use he_ops::ckks::{BootstrapPreset, Decryptor, Encoder, Encryptor, Evaluator};
use he_ops::exec::{Ckks, Plain, run};
use he_ops::graph::{CompileOptions, Plan, compile_with};
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, Params, SecretKey};
use he_ops::trace::Tracer;
use models::lower::blocks::lower;
use models::model::Mode;
use models::model::forward;
use models::model::{
    Activation, Attention, Head, Mask, Norm, NormKind, Pool, Position, TransformerConfig, TransformerWeights,
};
use models::packing::blocks::BlockPacking;
use models::synthetic;

const LOG_N: u32 = 9;

/// Two blocks of features, the second not full; heads in two blocks; three hidden blocks.
fn config() -> TransformerConfig {
    TransformerConfig {
        model_type: "polynomial_transformer".to_owned(),
        dim: 40,
        n_layers: 2,
        n_heads: 5,
        hidden_dim: 72,
        seq_len: 8,
        vocab_size: 100,
        id2label: BTreeMap::new(),
        pad_token_id: 0,
        norm_position: Position::Post,
        attention: Attention {
            power: 4,
            epsilon: 0.01,
            score_scale: 0.25,
            mask: Mask::None,
            visible_mean: false,
        },
        norm: Norm {
            kind: NormKind::LayerNorm,
            epsilon: 1e-5,
        },
        activation: Activation::Gelu,
        head: Head::Classification {
            num_labels: 3,
            pool: Pool::Cls,
        },
        precision_bits: 10,
        margin: 1.5,
        fit: None,
    }
}

/// A calibrated model and its plan for so many sequences in so many slots on the chain of the preset on a small ring.
fn compile_INSECURE(
    config: &TransformerConfig,
    log_slots: u32,
    sequences: usize,
) -> (TransformerConfig, TransformerWeights, Plan, BlockPacking) {
    let (config, weights) = synthetic::calibrated(config, 7).unwrap();
    let mut literal = BootstrapPreset::N16.params();
    literal.log_n = LOG_N;
    let params = Params::new_INSECURE(&literal).unwrap();
    let (graph, packing) = lower(&config, &weights, 1 << log_slots, sequences).unwrap();
    let options = CompileOptions {
        bootstrap: Some(BootstrapPreset::N16.bootstrap(log_slots)),
        ..CompileOptions::default()
    };
    let plan = compile_with(&graph, "test", &params, &options).unwrap();
    (config, weights, plan, packing)
}

/// Infinite for what is not a number.
fn largest_error(found: &[f64], wanted: &[f64]) -> f64 {
    let error = |(a, b): (&f64, &f64)| {
        let error = (a - b).abs();
        if error.is_nan() { f64::INFINITY } else { error }
    };
    found.iter().zip(wanted).map(error).fold(0.0, f64::max)
}

/// The plan, and its largest error on plain numbers, relative to outputs above 1.
fn plan_INSECURE(config: &TransformerConfig) -> (TransformerConfig, Plan, f64) {
    plan_with_INSECURE(config, LOG_N - 1, 1)
}

fn plan_with_INSECURE(
    config: &TransformerConfig,
    log_slots: u32,
    sequences: usize,
) -> (TransformerConfig, Plan, f64) {
    let (config, weights, plan, packing) = compile_INSECURE(config, log_slots, sequences);
    let mut worst = 0.0_f64;
    let inputs = synthetic::inputs(&config, 3 * sequences, 99);
    for inputs in inputs.chunks(sequences) {
        let given: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
        let mut plain = Plain::new(plan.slots);
        let slots = packing.pack_all(&given).unwrap();
        let outputs = run(&plan, &mut plain, &slots, &mut Tracer::new(), &mut |_, _| {
            ControlFlow::Continue(())
        })
        .unwrap();
        let found = packing.unpack_all(&outputs).unwrap();
        assert_eq!(found.len(), sequences);
        for (x, found) in inputs.iter().zip(&found) {
            let wanted = forward(&config, &weights, x, Mode::Polynomial).unwrap().output;
            assert_eq!(found.len(), wanted.len());
            // Synthetic inputs may leave the ranges, and then numbers grow; errors are relative to them.
            let size = wanted.iter().fold(1.0, |size: f64, y| size.max(y.abs()));
            worst = worst.max(largest_error(found, &wanted) / size);
            assert!(wanted.iter().any(|y| y.abs() > 0.05), "{wanted:?}");
        }
    }
    (config, plan, worst)
}

#[test]
fn post_norm_encoders() {
    let (_, plan, worst) = plan_INSECURE(&config());
    assert!(worst < 1e-4, "{worst}");
    assert!(plan.bootstrap.is_some());
}

#[test]
fn pre_norm_decoders_with_a_causal_mask() {
    let mut config = config();
    config.norm_position = Position::Pre;
    config.attention.mask = Mask::Causal;
    config.attention.visible_mean = true;
    config.attention.power = 2;
    config.head = Head::NextToken { vocab: 50 };
    let (_, _, worst) = plan_INSECURE(&config);
    assert!(worst < 1e-4, "{worst}");
}

#[test]
fn quadratic_embedders_with_other_norms() {
    for kind in [
        NormKind::LayerNorm,
        NormKind::RmsNorm,
        NormKind::BatchNorm,
        NormKind::None,
    ] {
        for position in [Position::Post, Position::Pre] {
            let mut config = config();
            config.norm.kind = kind;
            config.norm_position = position;
            config.activation = Activation::Quadratic;
            config.head = Head::Embedding;
            config.attention.power = 2;
            config.margin = 2.0;
            let (_, _, worst) = plan_INSECURE(&config);
            assert!(worst < 1e-4, "{kind:?} {position:?}: {worst}");
        }
    }
}

#[test]
fn polynomial_activations_and_mean_pooling() {
    let mut config = config();
    config.n_layers = 1;
    config.head = Head::Classification {
        num_labels: 4,
        pool: Pool::Mean,
    };
    for activation in [
        Activation::Polynomial {
            coefficients: vec![0.1, 0.5, 0.2, 0.0, 0.01],
        },
        Activation::Chebyshev {
            range: [-8.0, 6.0],
            coefficients: vec![0.5, 1.0, 0.3, 0.1],
        },
    ] {
        config.activation = activation;
        let (_, _, worst) = plan_INSECURE(&config);
        assert!(worst < 1e-4, "{worst}");
    }
}

#[test]
fn sequences_side_by_side_do_not_meet() {
    let mut small = config();
    (small.dim, small.n_heads, small.hidden_dim) = (24, 3, 40);
    let mut decoder = small.clone();
    decoder.attention.mask = Mask::Causal;
    decoder.head = Head::Embedding;
    for (config, sequences) in [(small.clone(), 2), (small, 4), (decoder, 2)] {
        let (_, _, worst) = plan_with_INSECURE(&config, LOG_N - 1, sequences);
        assert!(worst < 1e-4, "{worst}");
    }
}

#[test]
fn lengths_that_are_no_powers_of_two() {
    for (seq_len, head) in [
        (5, config().head),
        (7, Head::Embedding),
        (6, Head::NextToken { vocab: 50 }),
        (1, Head::Embedding),
    ] {
        let mut config = config();
        (config.seq_len, config.head) = (seq_len, head);
        if seq_len == 6 {
            config.norm_position = Position::Pre;
            config.attention.mask = Mask::Causal;
            config.attention.visible_mean = true;
        }
        let (_, _, worst) = plan_INSECURE(&config);
        assert!(worst < 1e-4, "{seq_len}: {worst}");
    }
}

#[test]
fn inputs_that_do_not_fit_the_places_are_refused() {
    let (config, _, _, packing) = compile_INSECURE(&config(), LOG_N - 1, 2);
    let inputs = synthetic::inputs(&config, 3, 1);
    let given: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
    let text = packing.pack_all(&given).unwrap_err().to_string();
    assert!(
        text.contains("sequences") && text.contains('2') && text.contains('3'),
        "{text}"
    );
    assert!(packing.pack_all(&[]).is_err());
    // A place that is left over repeats what is there.
    assert_eq!(
        packing.pack_all(&given[..1]).unwrap(),
        packing.pack_all(&[given[0]; 2]).unwrap()
    );
}

/// Two sequences at once, and few slots, which repeat: sparse bootstraps.
#[test]
fn a_whole_encoder_and_a_whole_decoder_encrypted() {
    let mut decoder = config();
    decoder.norm_position = Position::Pre;
    decoder.attention.mask = Mask::Causal;
    decoder.attention.visible_mean = true;
    decoder.attention.power = 2;
    decoder.head = Head::NextToken { vocab: 50 };
    decoder.n_layers = 1;
    let mut small = config();
    (small.dim, small.n_heads, small.hidden_dim) = (24, 3, 40);
    for (config, log_slots, sequences) in [
        (config(), LOG_N - 1, 1),
        (decoder, LOG_N - 1, 1),
        (small.clone(), LOG_N - 1, 2),
        (small, LOG_N - 3, 1),
    ] {
        let (config, weights, plan, packing) = compile_INSECURE(&config, log_slots, sequences);
        let params = &plan.params;
        let secret = SecretKey::generate(params).unwrap();
        let keys = KeyGenerator::new(params, &secret).unwrap();
        let keys = keys.evaluation_keys(&plan.keys(), |_, _| ()).unwrap();
        let keys = EvaluationKeys::from_seeded(params, &plan.key_uses(), keys).unwrap();
        let encoder = Encoder::new(params);
        let evaluator = Evaluator::new(&encoder, Arc::new(keys));
        let bootstrapper = plan.bootstrapper(&encoder).unwrap();
        let texts = synthetic::inputs(&config, sequences, 5);
        let given: Vec<&[f64]> = texts.iter().map(Vec::as_slice).collect();
        let slots = packing.pack_all(&given).unwrap();
        let encryptor = Encryptor::new(params, &secret).unwrap();
        let mut inputs = BTreeMap::new();
        for port in &plan.inputs {
            let values = slots.get(&port.name).unwrap();
            let plaintext = encoder.encode_repeated(values, port.level, port.scale).unwrap();
            let ciphertext = encryptor.encrypt(&plaintext).unwrap().expand(params).unwrap();
            inputs.insert(port.name.clone(), ciphertext);
        }
        let mut backend = Ckks::with_bootstrapper(&evaluator, bootstrapper);
        let outputs = run(&plan, &mut backend, &inputs, &mut Tracer::new(), &mut |_, _| {
            ControlFlow::Continue(())
        })
        .unwrap();
        let decryptor = Decryptor::new(params, &secret).unwrap();
        let mut answer = BTreeMap::new();
        for (name, ciphertext) in &outputs {
            let plaintext = decryptor.decrypt(ciphertext).unwrap();
            answer.insert(name.clone(), encoder.decode(&plaintext).unwrap());
        }
        for (found, x) in packing.unpack_all(&answer).unwrap().iter().zip(&texts) {
            let wanted = forward(&config, &weights, x, Mode::Polynomial).unwrap().output;
            let error = largest_error(found, &wanted);
            assert!(error < 1e-4, "{error}");
        }
    }
}
