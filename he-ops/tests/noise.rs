//! The noise model against decrypted ciphertexts, at every step of a plan.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(non_snake_case, reason = "small parameters say what they are")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::{Client, Numbers, run_on};
use he_ops::ckks::{BootstrapPreset, Pattern, SlotMap};
use he_ops::exec::{Plain, predict};
use he_ops::graph::{CompileOptions, Graph, NodeId, Plan, Port, compile, compile_for, compile_with};
use he_ops::rlwe::Params;
use num_complex::Complex64;

/// Bits by which a step may be better or worse than predicted.
const TOLERANCE: f64 = 0.5;

fn name(step: usize) -> String {
    format!("{step:04}")
}

/// The plan with the result of every step as an output.
fn opened(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    let mut outputs = Vec::new();
    let mut values: Vec<Option<NodeId>> = vec![None; plan.steps.len()];
    let read = plan.steps.iter().flat_map(|step| step.op.args());
    let given = plan.outputs.iter().map(|port| port.value);
    for id in read.chain(given) {
        values[id.index()] = Some(id);
    }
    for (index, (step, value)) in plan.steps.iter_mut().zip(values).enumerate() {
        step.frees.clear();
        outputs.push(Port {
            name: name(index),
            value: value.unwrap_or_else(|| panic!("nobody reads step {index}")),
            level: step.level,
            scale: step.scale,
        });
    }
    plan.outputs = outputs;
    plan
}

/// Bits of slots with this error each, in the words of the noise model: those of the largest of them, which is found
/// from the mean.
fn bits(found: &[Complex64], wanted: &[Complex64]) -> f64 {
    let square: f64 = found.iter().zip(wanted).map(|(a, b)| (a - b).norm_sqr()).sum();
    let slots = found.len() as f64;
    -0.5 * (square / slots * slots.ln()).log2()
}

/// Runs a plan encrypted, decrypts the result of every step, and holds it against the prediction.
fn check(plan: &Plan, inputs: &[(&str, Vec<Complex64>)]) {
    let open = opened(plan);
    let named: BTreeMap<String, Vec<Complex64>> = (inputs.iter())
        .map(|(name, values)| ((*name).to_owned(), values.clone()))
        .collect();
    let mut plain = Plain::new(plan.slots);
    let wanted = run_on(&open, &mut plain, named).unwrap();
    let predicted = predict(plan, plain.magnitudes()).unwrap().steps;
    // Fewer slots than the ring has repeat.
    let repeat = |values: &[Complex64]| -> Vec<Complex64> {
        values.iter().copied().cycle().take(plan.params.slots()).collect()
    };
    let repeated: Vec<_> = inputs
        .iter()
        .map(|(name, values)| (*name, repeat(values)))
        .collect();
    let (found, _) = Client::new(plan).run(&open, &repeated);
    assert_eq!(
        (predicted.len(), found.len()),
        (plan.steps.len(), plan.steps.len())
    );
    let mut wrong = Vec::new();
    for (index, (step, predicted)) in plan.steps.iter().zip(predicted).enumerate() {
        let found = bits(&found[&name(index)], &repeat(&wanted[&name(index)]));
        let line = format!(
            "%{index:<3} {:<12} level {:>2}  {found:6.2} bits, {predicted:6.2} predicted",
            step.op.name(),
            step.level
        );
        println!("{line}");
        let error = (found - predicted).abs();
        if error > TOLERANCE || error.is_nan() {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A map of several diagonals for each input, whose values are about as large as the inputs.
fn map(numbers: &mut Numbers, inputs: usize, period: usize) -> Arc<SlotMap> {
    let offsets = [-9, -4, -1, 0, 1, 2, 3, 6, 11];
    let size = 1.0 / ((offsets.len() * inputs) as f64).sqrt();
    let mut part = || {
        let pattern = |numbers: &mut Numbers| Pattern::real(numbers.f32s(period, size)).unwrap();
        offsets.iter().map(|k| (*k, pattern(numbers))).collect()
    };
    let parts = (0..inputs).map(|_| part()).collect();
    Arc::new(SlotMap::new(4, parts).unwrap())
}

/// Every operation of a leveled plan: rotations of one value, sums and maps over the same inputs, products, constants,
/// values that are read at several levels. Five levels.
fn every_operation(slots: usize) -> Graph {
    let mut numbers = Numbers(11);
    let mut g = Graph::new(slots);
    let (x, y) = (g.input("x"), g.input("y"));
    // Two sums over four rotations.
    let turned = [0, 1, -2, 5].map(|k| g.rotate(x, k));
    let mut weights =
        |period: usize| turned.map(|value| (value, Pattern::real(numbers.f32s(period, 0.8)).unwrap()));
    let (a, b) = (weights(1), weights(32));
    let (a, b) = (g.weighted_sum(a), g.weighted_sum(b));
    let product = g.mul(a, b);
    let square = g.square(b);
    let difference = g.sub(product, square);
    let shifted = g.add_plain(
        difference,
        Pattern::complex(vec![0.3, -0.1], vec![0.2, 0.4]).unwrap(),
    );
    // Two maps over two values, one of which comes from above.
    let maps = [(); 2].map(|()| map(&mut numbers, 2, 16));
    let [u, v] = maps.map(|map| g.linear_map(&[shifted, y], map));
    let single = map(&mut numbers, 1, 64);
    let w = g.linear_map(&[y], single);
    let conjugate = g.conjugate(v);
    let turned = g.mul_i(conjugate, 1);
    let negative = g.negate(u);
    let sum = g.add(turned, negative);
    let twice = g.double(sum);
    let mixed = g.mul(twice, w);
    // A Horner chain, and sums with what was there at the start.
    let half = |w: f32| Pattern::constant(w).unwrap();
    let high = g.mul_plain(mixed, half(0.5));
    let low = g.mul_plain(w, half(0.25));
    let chain = g.rotate(high, 4);
    let chain = g.add(chain, low);
    let end = g.add(chain, y);
    let end = g.sub(end, x);
    g.output("end", end);
    g
}

fn inputs(slots: usize) -> [(&'static str, Vec<Complex64>); 2] {
    let mut numbers = Numbers(5);
    ["x", "y"].map(|name| (name, numbers.complex(slots, 0.7)))
}

#[test]
fn every_operation_on_a_small_ring() {
    let params = common::toy_params_INSECURE(11, 6);
    let plan = compile_for(&every_operation(1 << 10), "noise", &params).unwrap();
    let names: BTreeSet<&str> = plan.steps.iter().map(|step| step.op.name()).collect();
    let all = [
        "add",
        "add_plain",
        "align",
        "conjugate",
        "drop_level",
        "input",
        "linear_map",
        "mul",
        "mul_i",
        "negate",
        "relinearize_rescale",
        "rescale",
        "rotate",
        "square",
        "sub",
        "weighted_sum",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), all);
    check(&plan, &inputs(1 << 10));
}

#[test]
fn every_operation_at_128_bits_of_security() {
    let plan = compile(&every_operation(1 << 14), "noise", 35).unwrap();
    assert!(plan.params.is_secure());
    check(&plan, &inputs(1 << 14));
}

/// Three parts of four levels, with values from before a bootstrap that are read behind it.
fn with_bootstraps(slots: usize) -> Graph {
    let mut numbers = Numbers(13);
    let mut g = Graph::new(slots);
    let (x, y) = (g.input("x"), g.input("y"));
    let mut z = x;
    for part in 0..3 {
        let turned = g.rotate(z, 1 << (2 * part));
        let mixed = g.add(turned, y);
        let mixed = g.conjugate(mixed);
        let halved = g.mul_plain(mixed, Pattern::constant(0.4).unwrap());
        let square = g.square(halved);
        let map = map(&mut numbers, 2, 8);
        let mapped = g.linear_map(&[square, z], map);
        z = g.mul_plain(mapped, Pattern::constant(0.3).unwrap());
        if part < 2 {
            z = g.bootstrap(z);
        }
    }
    g.output("z", z);
    g
}

#[test]
fn bootstraps_of_all_slots_and_of_few() {
    let log_n = 11;
    for log_slots in [log_n - 1, log_n - 3] {
        let mut literal = BootstrapPreset::N16.params();
        literal.log_n = log_n;
        literal.log_q.drain(7..18);
        let params = Params::new_INSECURE(&literal).unwrap();
        let options = CompileOptions {
            bootstrap: Some(BootstrapPreset::N16.bootstrap(log_slots)),
            ..CompileOptions::default()
        };
        let plan = compile_with(&with_bootstraps(1 << log_slots), "noise", &params, &options).unwrap();
        assert_eq!(plan.bootstrap.as_ref().unwrap().count, 2);
        check(&plan, &inputs(1 << log_slots));
    }
}
