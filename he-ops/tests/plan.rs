//! The compiled plan of a model-shaped circuit: its size, its golden text, its run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use he_ops::graph::{Graph, Op, compile, compile_for};
use num_complex::Complex64;

#[test]
fn the_classifier_fits_depth_11_and_its_keys_are_small() {
    let plan = compile(
        &common::classifier(1 << 14, 32, 64, 4, 64).unwrap(),
        "classifier",
        35,
    )
    .unwrap();
    let summary = plan.summary().unwrap();
    println!("{plan}");
    assert_eq!(summary.depth, 11);
    assert!(summary.secure && summary.log_qp <= 868.0);
    assert!(
        summary.key_switches <= 120,
        "{} key switches",
        summary.key_switches
    );
    assert!(
        summary.key_bytes <= 60_000_000,
        "{} bytes of keys",
        summary.key_bytes
    );
    assert!(summary.request_bytes <= 4_000_000);
}

#[test]
fn the_text_of_a_plan_is_golden() {
    let plan = compile(
        &common::classifier(1 << 14, 32, 64, 4, 64).unwrap(),
        "classifier",
        35,
    )
    .unwrap();
    insta::assert_snapshot!("classifier", plan);
}

#[test]
fn every_operand_has_the_level_and_the_scale_that_its_operation_needs() {
    let plan = compile(
        &common::classifier(1 << 14, 32, 64, 4, 64).unwrap(),
        "classifier",
        35,
    )
    .unwrap();
    let step = |id: &he_ops::graph::NodeId| &plan.steps[id.index()];
    for s in &plan.steps {
        let q = |level: usize| plan.params.moduli().nth(level).unwrap().value() as f64;
        let expected = match &s.op {
            Op::Input { .. } => plan.params.scale(s.level).unwrap(),
            Op::Add(a, b) | Op::Sub(a, b) => {
                assert_eq!((step(a).level, step(b).level), (s.level, s.level));
                assert!((step(a).scale / step(b).scale - 1.0).abs() < 1e-12);
                step(a).scale
            }
            Op::Mul(a, b) => {
                assert_eq!((step(a).level, step(b).level), (s.level, s.level));
                step(a).scale * step(b).scale
            }
            Op::WeightedSum(terms) => {
                for (a, _) in terms {
                    assert_eq!(step(a).level, s.level);
                    assert!((step(a).scale * s.plain_scale / s.scale - 1.0).abs() < 1e-12);
                    // Weights keep the precision of the scale.
                    assert!((s.plain_scale.log2() - 35.0).abs() < 1.0);
                }
                s.scale
            }
            Op::Rescale(a) | Op::RelinearizeRescale(a) => {
                assert_eq!(step(a).level, s.level + 1);
                step(a).scale / q(s.level + 1)
            }
            Op::Align(a, level) => {
                assert!(step(a).level > *level && s.level == *level);
                step(a).scale * s.plain_scale / q(level + 1)
            }
            Op::DropLevel(a, level) => {
                assert!(step(a).level > *level && s.level == *level);
                step(a).scale
            }
            op => {
                let a = op.args()[0];
                assert_eq!(step(&a).level, s.level);
                step(&a).scale
            }
        };
        assert!(
            (expected / s.scale - 1.0).abs() < 1e-12,
            "{:?}: {expected} {}",
            s.op,
            s.scale
        );
    }
}

#[test]
fn a_plan_is_deterministic_and_its_digest_sees_the_weights() {
    let graph = |weight: f32| {
        let mut g = Graph::new(1 << 12);
        let x = g.input("x");
        let y = g.mul_plain(x, he_ops::ckks::Pattern::constant(weight).unwrap());
        g.output("y", y);
        compile(&g, "digest", 35).unwrap()
    };
    assert_eq!(graph(0.5).to_string(), graph(0.25).to_string());
    assert_eq!(graph(0.5).digest(), graph(0.5).digest());
    assert_ne!(graph(0.5).digest(), graph(0.25).digest());
    // Names change nothing that is computed; names of inputs and outputs are how a client finds them.
    let mut renamed = graph(0.5);
    renamed.name = "another".to_owned();
    renamed.steps[0].label.layer = "elsewhere".to_owned();
    assert_eq!(renamed.digest(), graph(0.5).digest());
    renamed.outputs[0].name = "z".to_owned();
    assert_ne!(renamed.digest(), graph(0.5).digest());
}

#[test]
fn a_graph_deeper_than_the_parameters_is_refused_with_both_numbers() {
    let params = common::toy_params_INSECURE(9, 3);
    let mut g = Graph::new(params.slots());
    let x = g.input("x");
    let mut y = x;
    (0..4).for_each(|_| y = g.square(y));
    g.output("y", y);
    let text = compile_for(&g, "deep", &params).unwrap_err().to_string();
    assert!(text.contains("level 4 needed, level 3 found"), "{text}");
}

#[test]
fn a_run_can_be_cancelled_between_steps() {
    use std::collections::BTreeMap;
    use std::ops::ControlFlow;
    let plan = compile(
        &common::classifier(1 << 14, 32, 64, 4, 64).unwrap(),
        "classifier",
        35,
    )
    .unwrap();
    let inputs = BTreeMap::from([("tokens".to_owned(), vec![Complex64::ZERO; 1 << 14])]);
    let result = he_ops::exec::run(
        &plan,
        &mut he_ops::exec::Plain::new(1 << 14),
        &inputs,
        &mut he_ops::trace::Tracer::new(),
        &mut |done, _| {
            if done < 10 {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        },
    );
    assert!(matches!(result, Err(he_ops::Error::Cancelled { done: 10.., .. })));
}
