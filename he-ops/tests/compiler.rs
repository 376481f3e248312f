//! Random graphs through the whole compiler: the plan computes what the graph says, its levels and scales hold on the
//! noise model (which checks every operand), and ciphertexts agree.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::BTreeMap;

use common::{Client, Numbers, largest_error, run_on};
use he_ops::ckks::{BootstrapPreset, Pattern};
use he_ops::exec::{Plain, predict};
use he_ops::graph::{CompileOptions, Graph, NodeId, Op, Plan, compile_for, compile_with, profile};
use he_ops::rlwe::Params;
use num_complex::Complex64;
use proptest::prelude::*;

const SLOTS: usize = 1 << 8;
const MAX_DEPTH: usize = 5;
/// Levels between two bootstraps.
const BETWEEN: usize = 4;

/// What a graph says, operation by operation.
fn interpret(g: &Graph, inputs: &BTreeMap<String, Vec<Complex64>>) -> Vec<Vec<Complex64>> {
    let mut values: Vec<Vec<Complex64>> = Vec::new();
    for node in g.nodes() {
        let at = |id: &NodeId, j: usize| values[id.index()][j % SLOTS];
        let slot = |j: usize| match &node.op {
            Op::Input { name } => inputs[name][j],
            Op::Add(a, b) => at(a, j) + at(b, j),
            Op::Sub(a, b) => at(a, j) - at(b, j),
            Op::Negate(a) => -at(a, j),
            Op::MulI(a, power) => at(a, j) * Complex64::i().powu(*power),
            Op::AddPlain(a, pattern) => at(a, j) + pattern.get(j),
            Op::WeightedSum(terms) => terms.iter().map(|(a, pattern)| at(a, j) * pattern.get(j)).sum(),
            Op::Mul(a, b) => at(a, j) * at(b, j),
            Op::Rotate(a, k) => at(a, (j as i64 + k).rem_euclid(SLOTS as i64) as usize),
            Op::Conjugate(a) => at(a, j).conj(),
            Op::Bootstrap(a) => at(a, j),
            other => panic!("a pass wrote {other:?} into the source graph"),
        };
        let value = (0..SLOTS).map(slot).collect();
        values.push(value);
    }
    values
}

/// A graph of `size` random operations on two inputs, with every tenth value an output; values stay below about 10.
/// With bootstraps, it is of at most `BETWEEN` levels between them.
fn random_graph(size: usize, seed: u64, bootstraps: bool) -> Graph {
    let (kinds, max_depth) = if bootstraps {
        (15, BETWEEN)
    } else {
        (12, MAX_DEPTH)
    };
    let mut numbers = Numbers(seed);
    let mut g = Graph::new(SLOTS);
    let mut pool = vec![(g.input("x"), 0, 1.0), (g.input("y"), 0, 1.0)];
    let mut pick = |limit: usize| ((numbers.next() + 1.0) / 2.0 * limit as f64) as usize % limit;
    for _ in 0..size {
        // Later values more often, so that graphs grow deep.
        let (i, j) = (pick(pool.len()).max(pick(pool.len())), pick(pool.len()));
        let ((a, da, ma), (b, db, mb)) = (pool[i], pool[j]);
        let period = 1 << pick(5);
        let mut weights = || {
            let part = |numbers: &mut dyn FnMut(usize) -> usize| -> Vec<f32> {
                (0..period).map(|_| numbers(1000) as f32 / 1000.0 - 0.5).collect()
            };
            Pattern::complex(part(&mut pick), part(&mut pick)).unwrap()
        };
        let deepest = usize::max(da, db);
        let made = match (weights(), weights(), pick(kinds)) {
            (w, v, 0 | 1) if a != b => (g.weighted_sum([(a, w), (b, v)]), deepest + 1, 0.71 * (ma + mb)),
            (w, _, 2) => (g.mul_plain(a, w), da + 1, 0.71 * ma),
            (w, _, 3) => (g.add_plain(a, w), da, ma + 0.71),
            (_, _, 4 | 5) => (g.mul(a, b), deepest + 1, ma * mb),
            (_, _, 6) => (g.square(a), da + 1, ma * ma),
            (_, _, 7) => (g.rotate(a, pick(5) as i64 - 2), da, ma),
            (_, _, 8) => (g.conjugate(a), da, ma),
            (_, _, 9) => (g.mul_i(a, pick(4) as u32), da, ma),
            (_, _, 10) => (g.sub(a, b), deepest, ma + mb),
            // Rotations that SlotsToCoeffs uses at its level alone.
            (_, _, 12) => (g.rotate(a, 32 * (pick(5) as i64 - 2)), da, ma),
            // Into the unit square first.
            (_, _, 13 | 14) if da < max_depth => {
                let small = g.mul_plain(a, Pattern::constant((1.0 / ma) as f32).unwrap());
                (g.bootstrap(small), 0, 1.0)
            }
            (_, _, _) => (g.add(a, b), deepest, ma + mb),
        };
        if made.1 <= max_depth && made.2 < 10.0 {
            pool.push(made);
        }
    }
    for (index, (value, ..)) in pool.iter().rev().step_by(10).enumerate() {
        g.output(&format!("out{index}"), *value);
    }
    g
}

fn inputs(seed: u64) -> BTreeMap<String, Vec<Complex64>> {
    let mut numbers = Numbers(!seed);
    // |slot| <= 1.
    ["x", "y"]
        .map(|name| (name.to_owned(), numbers.complex(SLOTS, 0.7)))
        .into()
}

/// The chain of the preset on a small ring, with `BETWEEN` levels for the plan.
#[allow(non_snake_case)]
fn bootstrap_params_INSECURE() -> Params {
    let mut literal = BootstrapPreset::N16.params();
    literal.log_n = 9;
    literal.log_q.drain(4 + BETWEEN..19);
    Params::new_INSECURE(&literal).unwrap()
}

/// Compiles, runs on plain numbers and on the noise model, and compares with the graph.
fn check(g: &Graph, inputs: &BTreeMap<String, Vec<Complex64>>) -> (Plan, BTreeMap<String, f64>) {
    let profile = profile(g).unwrap();
    let plan = if profile.counts.bootstraps > 0 {
        let options = CompileOptions {
            bootstrap: Some(BootstrapPreset::N16.bootstrap(8)),
            ..CompileOptions::default()
        };
        compile_with(g, "random", &bootstrap_params_INSECURE(), &options).unwrap()
    } else {
        compile_for(g, "random", &common::toy_params_INSECURE(9, MAX_DEPTH)).unwrap()
    };
    let summary = plan.summary().unwrap();
    assert_eq!(
        (plan.depth(), summary.key_switches),
        (profile.depth, profile.counts.key_switches)
    );
    let mut plain = Plain::new(SLOTS);
    let results = run_on(&plan, &mut plain, inputs.clone()).unwrap();
    let expected = interpret(g, inputs);
    for (name, id) in g.outputs() {
        let error = largest_error(&results[name], &expected[id.index()]);
        assert!(error < 1e-9, "{name} is off by {error}\n{g}\n{plan}");
    }
    let prediction = predict(&plan, plain.magnitudes()).unwrap();
    (plan, prediction.precision_bits)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_plan_computes_what_its_graph_says(size in 1_usize..60, seed: u64) {
        check(&random_graph(size, seed, false), &inputs(seed));
    }

    #[test]
    fn with_bootstraps_too(size in 1_usize..60, seed: u64) {
        check(&random_graph(size, seed, true), &inputs(seed));
    }
}

#[test]
fn ciphertexts_agree_with_the_graph_to_the_predicted_precision() {
    let (mut aligned, mut dropped, mut deepest) = (0, 0, 0);
    for seed in 0..12 {
        let (g, inputs) = (random_graph(50, seed, false), inputs(seed));
        let (plan, predicted) = check(&g, &inputs);
        aligned += plan
            .steps
            .iter()
            .filter(|step| matches!(step.op, Op::Align(..)))
            .count();
        dropped += plan
            .steps
            .iter()
            .filter(|step| matches!(step.op, Op::DropLevel(..)))
            .count();
        deepest = deepest.max(plan.depth());
        let named: Vec<(&str, Vec<Complex64>)> = plan
            .inputs
            .iter()
            .map(|port| (port.name.as_str(), inputs[&port.name].clone()))
            .collect();
        let (found, _) = Client::new(&plan).run(&plan, &named);
        let expected = interpret(&g, &inputs);
        for (name, id) in g.outputs() {
            let bits = common::precision_bits(&found[name], &expected[id.index()]);
            assert!(
                bits > predicted[name] - 4.0,
                "seed {seed}, {name}: {bits} bits, {} predicted",
                predicted[name]
            );
        }
    }
    assert!(
        aligned > 10 && dropped > 10 && deepest == MAX_DEPTH,
        "{aligned} {dropped} {deepest}: too tame a test"
    );
}

#[test]
fn ciphertexts_agree_with_graphs_with_bootstraps() {
    let mut bootstraps = 0;
    for seed in 0..12 {
        let (g, inputs) = (random_graph(60, seed, true), inputs(seed));
        let (plan, predicted) = check(&g, &inputs);
        bootstraps += plan.bootstrap.as_ref().map_or(0, |planned| planned.count);
        let named: Vec<(&str, Vec<Complex64>)> = plan
            .inputs
            .iter()
            .map(|port| (port.name.as_str(), inputs[&port.name].clone()))
            .collect();
        let (found, _) = Client::new(&plan).run(&plan, &named);
        let expected = interpret(&g, &inputs);
        for (name, id) in g.outputs() {
            let bits = common::precision_bits(&found[name], &expected[id.index()]);
            // The model takes messages for uniform; a slot of size one has the whole error of the sine, whatever the
            // others are.
            let needed = predicted[name].min(20.0) - 4.0;
            assert!(
                bits > needed,
                "seed {seed}, {name}: {bits} bits, {} predicted\n{g}",
                predicted[name]
            );
        }
    }
    assert!(bootstraps > 20, "{bootstraps}: too tame a test");
}
