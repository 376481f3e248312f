//! The compiled plan on plain numbers against the f64 reference.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use he_ops::exec::{Plain, run};
use he_ops::graph::Plan;
use he_ops::trace::Tracer;
use models::lower::Target;
use models::lower::staircase;
use models::model::Mode;
use models::one_layer::config::ModelConfig;
use models::one_layer::reference::forward;
use models::one_layer::synthetic::Shape;
use models::packing::staircase::Staircase;
use models::packing::staircase::{INPUT, OUTPUT};
use models::{Bundle, Model, ModelDir};

/// Logits of `x` by the plan on the plain backend; also checks that every slot holds them.
fn logits(plan: &Plan, config: &ModelConfig, x: &[f64]) -> Vec<f64> {
    let packing = Staircase::new(config.seq_len, config.dim, plan.params.slots()).unwrap();
    let inputs = BTreeMap::from([(INPUT.to_owned(), packing.pack(x).unwrap())]);
    let mut progress = |_, _| ControlFlow::Continue(());
    let mut plain = Plain::new(packing.slots);
    let outputs = run(plan, &mut plain, &inputs, &mut Tracer::new(), &mut progress).unwrap();
    let answer = &outputs[OUTPUT];
    for slot in answer {
        assert!((slot - answer[0]).norm() < 1e-9);
    }
    packing.unpack(answer).unwrap()
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-5, "{found:?}, {expected:?} expected");
    }
}

#[test]
fn random_models_of_four_and_eight_heads() {
    for (n_heads, hidden_dim, seed) in [(4, 64, 1), (8, 64, 2), (8, 40, 3)] {
        let shape = Shape {
            n_heads,
            hidden_dim,
            ..Shape::SENTIMENT
        };
        let model = shape.model(seed).unwrap();
        let plan = staircase::compile("random", &model.config, &model.weights).unwrap();
        assert_eq!(plan.depth(), 11);
        for input in [0, 100] {
            let x = model.input(input);
            close(
                &logits(&plan, &model.config, &x),
                &forward(&model.config, &model.weights, &x, Mode::Polynomial).unwrap(),
            );
        }
    }
}

#[test]
fn other_packings_of_a_small_model() {
    // one copy, two, and as many copies as tokens
    let short = Shape {
        seq_len: 4,
        ..Shape::SMALL
    };
    for (shape, slots) in [(Shape::SMALL, 64), (Shape::SMALL, 128), (short, 128)] {
        let model = shape.model(5).unwrap();
        let graph = staircase::lower(&model.config, &model.weights, slots).unwrap();
        let log_q = [vec![47], vec![35; 11]].concat();
        let log_n = slots.trailing_zeros() + 1;
        let literal = he_ops::rlwe::ParamsLiteral {
            log_n,
            log_q,
            log_p: vec![47, 47],
            log_scale: 35,
        };
        let params = he_ops::rlwe::Params::new_INSECURE(&literal).unwrap();
        let plan = he_ops::graph::compile_for(&graph, "small", &params).unwrap();
        let x = model.input(100);
        close(
            &logits(&plan, &model.config, &x),
            &forward(&model.config, &model.weights, &x, Mode::Polynomial).unwrap(),
        );
    }
    let model = Shape::SMALL.model(5).unwrap();
    assert!(
        staircase::lower(&model.config, &model.weights, 1024).is_err(),
        "more copies than tokens"
    );
    assert!(
        staircase::lower(&model.config, &model.weights, 32).is_err(),
        "too few slots"
    );
}

#[test]
fn the_sentiment_model() {
    let dir = ModelDir::open(concat!(env!("CARGO_MANIFEST_DIR"), "/sentiment")).unwrap();
    let (bundle, model) = (Bundle::open(&dir).unwrap(), dir.model().unwrap());
    let Model::OneLayer { config, weights } = model else {
        panic!("a one-layer model")
    };
    let plan = dir.compile(&Target::default()).unwrap().plan;
    let summary = plan.summary().unwrap();
    assert!(summary.secure && summary.log_qp <= 868.0);
    for text in ["an utterly charming film", "The battery died after two days.", ""] {
        let x = bundle.embed(text).unwrap().x;
        close(
            &logits(&plan, &config, &x),
            &forward(&config, &weights, &x, Mode::Polynomial).unwrap(),
        );
    }
    assert_eq!(
        plan.digest(),
        dir.compile(&Target::default()).unwrap().plan.digest()
    );
}
