//! The staircase on plain numbers against the f64 reference, and which lowering a model gets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use he_ops::exec::{Plain, run};
use he_ops::graph::{Plan, compile_leveled};
use he_ops::trace::Tracer;
use models::lower::{Lowering, Target, compile, staircase};
use models::model::{
    Activation, Head, Mask, Mode, Norm, NormKind, Pool, Position, TransformerConfig, TransformerWeights,
    forward, shape,
};
use models::packing::Packing;
use models::packing::staircase::{INPUT, OUTPUT, Staircase};
use models::{Bundle, ModelDir, synthetic};

/// A model of the width of those in the zoo that are small.
fn config(seq_len: usize, hidden_dim: usize, num_labels: usize) -> TransformerConfig {
    let mut config = shape("bert-tiny").unwrap();
    (config.n_layers, config.dim, config.n_heads) = (1, 64, 4);
    (config.seq_len, config.hidden_dim) = (seq_len, hidden_dim);
    config.id2label.clear();
    config.norm_position = Position::Pre;
    config.norm = Norm {
        kind: NormKind::BatchNorm,
        epsilon: 1e-5,
    };
    config.attention.power = 2;
    config.activation = Activation::Quadratic;
    config.head = Head::Classification {
        num_labels,
        pool: Pool::Mean,
    };
    config.precision_bits = 6;
    config
}

/// Logits of `x` by the plan on the plain backend; also checks that every slot holds one of them.
fn logits(plan: &Plan, packing: Staircase, x: &[f64]) -> Vec<f64> {
    let inputs = BTreeMap::from([(INPUT.to_owned(), packing.pack(x).unwrap())]);
    let mut progress = |_, _| ControlFlow::Continue(());
    let mut plain = Plain::new(packing.slots);
    let outputs = run(plan, &mut plain, &inputs, &mut Tracer::new(), &mut progress).unwrap();
    let answer = &outputs[OUTPUT];
    let period = packing.labels.div_ceil(2).next_power_of_two();
    for (slot, value) in answer.iter().enumerate() {
        assert!((value - answer[slot % period]).norm() < 1e-9);
    }
    packing.unpack(answer).unwrap()
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 2e-5, "{found:?}, {expected:?} expected");
    }
}

/// The staircase in 2^14 slots, whatever the cheapest plan would be.
fn follows_the_reference(config: &TransformerConfig, weights: &TransformerWeights) {
    let slots = (config.seq_len * config.seq_len * config.dim).min(1 << 14);
    let (graph, packing) = staircase::lower(config, weights, slots).unwrap();
    let plan = compile_leveled(&graph, "staircase", 16, 40).unwrap();
    for x in synthetic::inputs(config, 2, 9) {
        let expected = forward(config, weights, &x, Mode::Polynomial).unwrap();
        close(&logits(&plan, packing, &x), &expected.output);
    }
}

#[test]
fn every_shape_that_the_staircase_takes() {
    let changed = |base: TransformerConfig, change: fn(&mut TransformerConfig)| {
        let mut config = base;
        change(&mut config);
        config
    };
    let configs = [
        config(32, 64, 2),
        // More features in the feed-forward block than in a token, not in whole blocks, and fewer.
        config(32, 128, 2),
        config(8, 150, 3),
        config(8, 40, 1),
        // Images: fewer tokens than copies would fit; ten labels.
        config(16, 128, 10),
        changed(config(8, 64, 5), |c| c.norm_position = Position::Post),
        changed(config(8, 64, 2), |c| c.norm.kind = NormKind::None),
        changed(config(8, 64, 2), |c| {
            c.attention.power = 4;
            c.attention.score_scale = 0.7;
            c.n_heads = 8;
        }),
    ];
    for config in configs {
        let (config, weights) = synthetic::calibrated(&config, 3).unwrap();
        follows_the_reference(&config, &weights);
    }
}

#[test]
fn other_models_are_refused_by_name() {
    type Change = fn(&mut TransformerConfig);
    let changes: [(&str, Change); 9] = [
        ("num_hidden_layers", |c| c.n_layers = 2),
        ("hidden_size", |c| c.dim = 48),
        ("max_position_embeddings", |c| c.seq_len = 12),
        ("num_attention_heads", |c| (c.dim, c.n_heads) = (64, 3)),
        ("attention.power", |c| c.attention.power = 6),
        ("attention.mask", |c| c.attention.mask = Mask::Causal),
        ("norm", |c| c.norm.kind = NormKind::LayerNorm),
        ("activation", |c| c.activation = Activation::Gelu),
        ("head", |c| c.head = Head::Embedding),
    ];
    for (field, change) in changes {
        let mut config = config(8, 64, 2);
        change(&mut config);
        match staircase::check(&config) {
            Err(models::Error::Config { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    let (config, weights) = synthetic::calibrated(&config(8, 64, 2), 3).unwrap();
    for slots in [1 << 13, 256] {
        // more copies than tokens, and too few slots
        assert!(staircase::lower(&config, &weights, slots).is_err(), "{slots}");
    }
}

#[test]
fn the_cheaper_lowering_is_taken() {
    let (config, weights) = synthetic::calibrated(&config(16, 128, 10), 3).unwrap();
    let compiled = compile("small", &config, &weights, &Target::default()).unwrap();
    assert_eq!(compiled.choice.lowering, Lowering::Staircase);
    assert!(matches!(compiled.packing, Packing::Staircase(_)));
    let of = |lowering| {
        let own = (compiled.candidates.iter()).filter(move |found| found.choice.lowering == lowering);
        own.filter_map(|found| found.outcome.as_ref().ok().copied())
            .fold(f64::INFINITY, f64::min)
    };
    assert!(of(Lowering::Staircase) < of(Lowering::Blocks));
    assert!(of(Lowering::Blocks).is_finite());
}

#[test]
fn the_sentiment_model() {
    let dir = ModelDir::open(concat!(env!("CARGO_MANIFEST_DIR"), "/sentiment")).unwrap();
    let (bundle, model) = (Bundle::open(&dir).unwrap(), dir.model().unwrap());
    let compiled = dir.compile(&Target::default()).unwrap();
    let Packing::Staircase(packing) = compiled.packing else {
        panic!("the staircase")
    };
    let summary = compiled.plan.summary().unwrap();
    assert!(summary.secure && summary.log_qp <= 868.0);
    assert_eq!(summary.depth, 11);
    for text in ["an utterly charming film", "The battery died after two days.", ""] {
        let x = bundle.embed(text).unwrap().x;
        let expected = model.forward(&x, Mode::Polynomial).unwrap();
        close(&logits(&compiled.plan, packing, &x), &expected);
    }
    assert_eq!(
        compiled.plan.digest(),
        dir.compile(&Target::default()).unwrap().plan.digest()
    );
}
