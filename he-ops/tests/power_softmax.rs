//! PowerSoftmax on rows of scores against straightforward f64 code: on the plain backend, and encrypted.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Client, Numbers, eval_plain, graph_of, largest_error};
use he_ops::circuits::{Circuit, PowerSoftmax};
use he_ops::graph::compile_for;
use num_complex::Complex64;

/// Uniform scores whose powers sum to about one.
fn scores(slots: usize, scores: usize, power: i32, seed: u64) -> Vec<Complex64> {
    let size = (f64::from(power + 1) / scores as f64).powf(1.0 / f64::from(power));
    Numbers(seed).reals(slots, size)
}

/// x^p / sum x^p, row by row.
fn direct(x: &[Complex64], scores: usize, power: i32) -> Vec<Complex64> {
    let rows = x.len() / scores;
    let sum = |row: usize| (0..scores).map(|s| x[s * rows + row].re.powi(power)).sum::<f64>();
    let sums: Vec<f64> = (0..rows).map(sum).collect();
    let value = |(j, x): (usize, &Complex64)| Complex64::new(x.re.powi(power) / sums[j % rows], 0.0);
    x.iter().enumerate().map(value).collect()
}

#[test]
fn it_is_the_formula() {
    for (width, power, factors) in [(32, 4, 8), (16, 2, 7), (64, 8, 9)] {
        let circuit = PowerSoftmax::new(1 << 14, width, power, factors).unwrap();
        let x = scores(1 << 14, width, power as i32, 3);
        let error = largest_error(
            &eval_plain(&circuit, std::slice::from_ref(&x)),
            &direct(&x, width, power as i32),
        );
        assert!(error < 1e-6, "{width} scores, power {power}: {error}");
    }
}

#[test]
fn it_errs_by_its_bound_with_few_factors() {
    let circuit = PowerSoftmax::new(1 << 14, 32, 4, 2).unwrap();
    let x = scores(1 << 14, 32, 4, 4);
    let expected = direct(&x, 32, 4);
    let found = eval_plain(&circuit, std::slice::from_ref(&x));
    let rows = circuit.rows();
    let mut largest = 0.0f64;
    for (j, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let sum: f64 = (0..32).map(|s| x[s * rows + j % rows].re.powi(4)).sum();
        let relative = (found.re / expected.re - 1.0).abs();
        largest = largest.max(relative);
        assert!(
            relative <= circuit.error_bound(1.0 - sum) + 1e-9,
            "{relative}, sum {sum}"
        );
    }
    assert!(largest > 1e-4, "the bound is not tested by {largest}");
}

#[test]
fn it_costs_what_the_docs_say() {
    let profile = PowerSoftmax::new(1 << 14, 32, 4, 8).unwrap().profile().unwrap();
    assert_eq!(
        (profile.depth, profile.counts.products, profile.rotations.len()),
        (11, 17, 5)
    );
    assert_eq!(
        (profile.counts.key_switches, profile.counts.plain_products),
        (17 + 5, 0)
    );
}

#[test]
fn it_refuses_what_it_cannot_do() {
    for (scores, power, factors) in [
        (0, 4, 8),
        (24, 4, 8),
        (1 << 13, 4, 8),
        (32, 3, 8),
        (32, 1, 8),
        (32, 4, 0),
    ] {
        assert!(PowerSoftmax::new(1 << 12, scores, power, factors).is_err());
    }
}

#[test]
fn it_holds_encrypted() {
    let circuit = PowerSoftmax::new(1 << 8, 32, 4, 8).unwrap();
    let params = common::toy_params_INSECURE(9, 11);
    let plan = compile_for(&graph_of(&circuit), circuit.name(), &params).unwrap();
    let x = scores(1 << 8, 32, 4, 5);
    let (found, _) = Client::new(&plan).run(&plan, &[("x0", x.clone())]);
    let bits = common::precision_bits(&found["result"], &direct(&x, 32, 4));
    assert!(bits > 14.0, "{bits} bits");
}
