//! Circuits on ciphertexts against the same plans on plain numbers, in bits of precision, and against the prediction of
//! the noise model: on a small ring that is far below the security table, and at the parameters of the service.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Client, Numbers, graph_of, precision_bits, predicted, run_plain};
use he_ops::circuits::{
    ChebyshevSeries, Circuit, FeedForward, Head, Matrix, PowerSoftmaxAttention, Reciprocal, TokenLayout,
    TokenTransform,
};
use he_ops::ckks::Pattern;
use he_ops::graph::{Plan, compile, compile_for};
use num_complex::Complex64;

/// Bits to which the encrypted result agrees with the plain one.
fn bits(plan: &Plan, inputs: &[(&str, Vec<Complex64>)]) -> f64 {
    let expected = run_plain(plan, inputs);
    let (found, report) = Client::new(plan).run(plan, inputs);
    assert!(
        report.overhead_us < 0.01 * report.evaluate_us + 200.0,
        "{} us",
        report.overhead_us
    );
    let name = &plan.outputs[0].name;
    let bits = precision_bits(&found[name], &expected[name]);
    let (predicted, _) = predicted(plan, inputs);
    let (degree, depth) = (plan.params.degree(), plan.depth());
    println!(
        "{:<24} N = {degree:<6} depth {depth:<2} {bits:.1} bits, {predicted:.1} predicted",
        plan.name
    );
    assert!(
        (bits - predicted).abs() < 3.0,
        "{}: {bits} bits, {predicted} predicted",
        plan.name
    );
    bits
}

fn check(circuit: &impl Circuit, inputs: &[Vec<Complex64>], needed: f64) {
    let depth = circuit.depth().unwrap();
    let params = common::toy_params_INSECURE(circuit.slots().ilog2() + 1, depth);
    let plan = compile_for(&graph_of(circuit), circuit.name(), &params).unwrap();
    let named: Vec<(String, Vec<Complex64>)> = inputs
        .iter()
        .enumerate()
        .map(|(i, x)| (format!("x{i}"), x.clone()))
        .collect();
    let named: Vec<(&str, Vec<Complex64>)> =
        named.iter().map(|(name, x)| (name.as_str(), x.clone())).collect();
    let found = bits(&plan, &named);
    assert!(
        found >= needed,
        "{}: {found} bits, {needed} needed",
        circuit.name()
    );
}

const SMALL: usize = 1 << 8;

#[test]
fn token_transform() {
    let mut numbers = Numbers(1);
    let w = |numbers: &mut Numbers| {
        Matrix::complex(16, 12, numbers.f32s(16 * 12, 0.3), numbers.f32s(16 * 12, 0.3)).unwrap()
    };
    let transform = TokenTransform::new(SMALL, 16, vec![w(&mut numbers), w(&mut numbers)]).unwrap();
    check(
        &transform,
        &[numbers.complex(SMALL, 1.0), numbers.complex(SMALL, 1.0)],
        18.0,
    );
}

#[test]
fn polynomials() {
    for degree in [1, 2, 5, 7, 15, 31] {
        let mut numbers = Numbers(degree as u64);
        let mut coefficients: Vec<f64> = numbers.f32s(degree + 1, 0.3).into_iter().map(f64::from).collect();
        coefficients[degree] = 0.4;
        check(
            &ChebyshevSeries::new(SMALL, coefficients).unwrap(),
            &[numbers.reals(SMALL, 1.0)],
            12.0,
        );
    }
}

#[test]
fn reciprocal() {
    let reciprocal = Reciprocal::new(SMALL, vec![(0.3, 4.0), (1.0, 20.0)], 3).unwrap();
    // x in the intervals of both slots: t up to e^-u.
    let starts: Vec<Complex64> = (Numbers(2).reals(SMALL, 1.0).iter().enumerate())
        .map(|(j, t)| {
            let (lo, hi) = reciprocal.range(j);
            let x = 0.5 * (hi + lo - t * (hi - lo));
            reciprocal.input_shift(j) - reciprocal.input_scale(j) * x
        })
        .collect();
    check(&reciprocal, &[starts], 18.0);
}

#[test]
fn feed_forward_and_head() {
    let mut numbers = Numbers(3);
    let matrix = |numbers: &mut Numbers| {
        let w = Matrix::real(16, 16, numbers.f32s(256, 0.3)).unwrap();
        TokenTransform::new(SMALL, 16, vec![w]).unwrap()
    };
    let circuit =
        FeedForward::new(matrix(&mut numbers), Pattern::constant(0.3).unwrap()).with_twice_real_part();
    check(&circuit, &[numbers.complex(SMALL, 0.5)], 15.0);
    let layout = TokenLayout::new(SMALL, 4, 16).unwrap();
    for labels in [2, 5] {
        let weights = Matrix::real(labels, 16, numbers.f32s(labels * 16, 0.1)).unwrap();
        let head = Head::new(layout, vec![weights], vec![0.25; labels]).unwrap();
        check(&head, &[numbers.reals(SMALL, 1.0)], 14.0);
    }
}

#[test]
fn attention() {
    let layout = TokenLayout::new(SMALL, 8, 16).unwrap();
    let attention =
        PowerSoftmaxAttention::new(layout, 2, 0.01, vec![0.6; 2], vec![(0.05, 1.5); 2], 2).unwrap();
    let mut numbers = Numbers(4);
    let inputs = [(); 3].map(|()| numbers.reals(SMALL, 0.7));
    check(&attention, &inputs, 9.0);
}

#[test]
fn a_classifier_on_a_small_ring() {
    let graph = common::classifier(SMALL, 8, 16, 2, 16).unwrap();
    let plan = compile_for(&graph, "small classifier", &common::toy_params_INSECURE(9, 11)).unwrap();
    assert!(bits(&plan, &[("tokens", Numbers(5).complex(SMALL, 1.0))]) > 8.0);
}

#[test]
fn a_classifier_at_the_parameters_of_the_service() {
    let plan = compile(
        &common::classifier(1 << 14, 32, 64, 4, 64).unwrap(),
        "classifier",
        35,
    )
    .unwrap();
    let inputs = [("tokens", Numbers(6).complex(1 << 14, 1.0))];
    let client = Client::new(&plan);
    let expected = run_plain(&plan, &inputs);
    client.run(&plan, &inputs);
    let (found, report) = client.run(&plan, &inputs);
    println!("{report}");
    let bits = precision_bits(&found["logits"], &expected["logits"]);
    let (predicted, cost) = predicted(&plan, &inputs);
    println!("{bits:.1} bits, {predicted:.1} predicted; {cost:?}");
    assert!(bits > 10.0, "{bits} bits");
    assert!(
        (bits - predicted).abs() < 3.0,
        "{bits} bits, {predicted} predicted"
    );
    let within: f64 = report.ops.iter().map(|op| op.total_us).sum();
    assert!(
        (within - report.evaluate_us).abs() < 0.01 * report.evaluate_us,
        "{within} of {}",
        report.evaluate_us
    );
}
