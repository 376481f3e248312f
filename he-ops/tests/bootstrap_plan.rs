//! Graphs deeper than their parameters: bootstraps as nodes, from text to ciphertexts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(non_snake_case, reason = "small parameters say what they are")]

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use common::{Client, Numbers, precision_bits, predicted, run_plain};
use he_ops::ckks::{BootstrapLiteral, BootstrapPreset, Pattern};
use he_ops::cost::{Kind, Machine, plan_costs};
use he_ops::exec::{Ckks, run};
use he_ops::graph::{CompileOptions, Graph, NodeId, Op, Plan, compile_for, compile_with, profile};
use he_ops::rlwe::{KeyPurpose, Params};
use he_ops::trace::Tracer;

/// The chain of the preset on a small ring, with 4 levels for the plan: 3 to 7.
fn small_INSECURE(log_n: u32) -> Params {
    let mut literal = BootstrapPreset::N16.params();
    literal.log_n = log_n;
    literal.log_q.drain(7..18);
    Params::new_INSECURE(&literal).unwrap()
}

fn options(log_n: u32) -> CompileOptions<'static> {
    CompileOptions {
        bootstrap: Some(BootstrapPreset::N16.bootstrap(log_n - 1)),
        ..CompileOptions::default()
    }
}

fn real(value: f32) -> Pattern {
    Pattern::constant(value).unwrap()
}

/// x -> 0.4 x^2 + 0.2 (1 + i): two levels; the unit square into itself.
fn round(g: &mut Graph, x: NodeId) -> NodeId {
    let square = g.square(x);
    let scaled = g.mul_plain(square, real(0.4));
    g.add_plain(scaled, Pattern::complex(vec![0.2], vec![0.2]).unwrap())
}

/// Three parts of four levels each, with rotations that bootstraps use as well and a value from before a bootstrap.
fn deep(slots: usize) -> Graph {
    let mut g = Graph::new(slots);
    let x = g.input("x");
    let mut y = x;
    for part in 0..3 {
        y = g.scope(&format!("part{part}"), "rounds", |g| {
            let turned = g.rotate(y, 1 << (2 * part));
            let mixed = g.add(turned, x);
            let mixed = g.conjugate(mixed);
            let halved = g.mul_plain(mixed, real(0.5));
            let squared = g.square(halved);
            let y = g.add_plain(squared, real(0.1));
            round(g, y)
        });
        if part < 2 {
            y = g.scope(&format!("part{part}"), "refresh", |g| g.bootstrap(y));
        }
    }
    g.output("y", y);
    g
}

fn plan_of(graph: &Graph, log_n: u32) -> Plan {
    compile_with(graph, "deep", &small_INSECURE(log_n), &options(log_n)).unwrap()
}

#[test]
fn the_text_of_a_plan_with_a_bootstrap_is_golden() {
    let mut g = Graph::new(1 << 8);
    let x = g.input("x");
    let y = g.scope("layer0", "activation", |g| round(g, x));
    let fresh = g.scope("layer0", "refresh", |g| g.bootstrap(y));
    let z = g.scope("layer1", "activation", |g| {
        let z = round(g, fresh);
        let turned = g.rotate(z, 3);
        g.add(turned, fresh)
    });
    g.output("z", z);
    insta::assert_snapshot!("bootstrap", plan_of(&g, 9));
}

#[test]
fn levels_keys_and_counts_follow_from_the_bootstraps() {
    let (g, literal) = (deep(1 << 9), BootstrapPreset::N16.bootstrap(9));
    let profile = profile(&g).unwrap();
    assert_eq!((profile.depth, profile.counts.bootstraps), (4, 2));
    let plan = plan_of(&g, 10);
    assert_eq!(plan.depth(), 4);
    let (bottom, top) = (3, 7);
    assert_eq!((plan.inputs[0].level, plan.outputs[0].level), (top, bottom));
    for step in &plan.steps {
        assert!((bottom..=top).contains(&step.level), "{step:?}");
        if let Op::Bootstrap(a) = step.op {
            let operand = &plan.steps[a.index()];
            assert_eq!((operand.level, step.level_in, step.level), (bottom, bottom, top));
            assert!((operand.scale / plan.params.scale(bottom).unwrap() - 1.0).abs() < 1e-12);
            assert!((step.scale / plan.params.scale(top).unwrap() - 1.0).abs() < 1e-12);
        }
    }
    let summary = plan.summary().unwrap();
    let bootstrap = summary.bootstrap.unwrap();
    assert_eq!(
        (bootstrap.count, bootstrap.input_level, bootstrap.output_level),
        (2, bottom, top)
    );
    // The union of both, each key at the higher level.
    let uses = literal.key_uses(&plan.params).unwrap();
    let (keys, all_uses) = (plan.keys(), plan.key_uses());
    assert_eq!(summary.keys, keys.len());
    for (purpose, levels) in &uses {
        assert!(levels.is_subset(&all_uses[purpose]));
    }
    for (purpose, level) in keys.iter() {
        assert!(all_uses[&purpose].last().unwrap() <= &level);
    }
    let of_steps = plan.step_keys.keys();
    let own: Vec<KeyPurpose> = of_steps.map(|key| key.purpose(&plan.params)).collect();
    assert!(own.iter().all(|purpose| all_uses.contains_key(purpose)));
    assert!(
        own.iter().any(|purpose| uses.contains_key(purpose)),
        "too tame a test"
    );
}

#[test]
fn a_graph_deeper_than_its_levels_agrees_on_numbers_and_ciphertexts() {
    let log_n = 10;
    let plan = plan_of(&deep(1 << (log_n - 1)), log_n);
    let inputs = [("x", Numbers(3).complex(1 << (log_n - 1), 1.0))];
    let expected = run_plain(&plan, &inputs);
    let (found, report) = Client::new(&plan).run(&plan, &inputs);
    let bits = precision_bits(&found["y"], &expected["y"]);
    let (predicted, work) = predicted(&plan, &inputs);
    println!("{bits:.1} bits, {predicted:.1} predicted; {work:?}");
    assert!(bits > 14.0, "{bits} bits");
    assert!(
        (bits - predicted).abs() < 3.0,
        "{bits} bits, {predicted} predicted"
    );
    let row = report
        .primitives
        .iter()
        .find(|row| row.op == "bootstrap")
        .unwrap();
    assert_eq!((row.count, row.level_in, row.level_out), (2, 3, 7));
    assert!(row.share > 0.5, "{report}");
    let costs = plan_costs(&plan, &Machine::default(), 1).unwrap();
    assert_eq!((costs.work, costs.counts.bootstraps), (work, 2));
    let own = costs
        .kinds
        .iter()
        .find(|own| own.kind == Kind::Bootstrap)
        .unwrap();
    let bootstraps = own.work;
    assert!(5 * bootstraps.transforms > 4 * work.transforms && 5 * bootstraps.products > 4 * work.products);
}

/// Bits of one bootstrap alone: found and predicted, from the mean square of the errors.
fn one_bootstrap(params: &Params, literal: &BootstrapLiteral) -> (f64, f64) {
    let slots = params.slots();
    let mut g = Graph::new(slots);
    let x = g.input("x");
    let fresh = g.bootstrap(x);
    g.output("y", fresh);
    let options = CompileOptions {
        bootstrap: Some(literal.clone()),
        ..CompileOptions::default()
    };
    let plan = compile_with(&g, "one", params, &options).unwrap();
    let z = Numbers(8).complex(slots, 1.0);
    let inputs = [("x", z.clone())];
    let (found, _) = Client::new(&plan).run(&plan, &inputs);
    let square: f64 = found["y"].iter().zip(&z).map(|(a, b)| (a - b).norm_sqr()).sum();
    let mean = square / slots as f64;
    (
        -0.5 * (mean * (slots as f64).ln()).log2(),
        predicted(&plan, &inputs).0,
    )
}

#[test]
fn the_noise_of_a_bootstrap_is_as_predicted() {
    let mut narrow = BootstrapPreset::N15.params();
    narrow.log_n = 11;
    let narrow = Params::new_INSECURE(&narrow).unwrap();
    let mut cases = vec![
        (small_INSECURE(9), BootstrapPreset::N16.bootstrap(8)),
        (small_INSECURE(12), BootstrapPreset::N16.bootstrap(11)),
        (narrow, BootstrapPreset::N15.bootstrap(10)),
    ];
    // Where the sine is all but exact, the rest of the model shows.
    for (log_n, ratio) in [(9, 16.0), (11, 18.0)] {
        cases.push((
            small_INSECURE(log_n),
            BootstrapLiteral {
                log_message_ratio: ratio,
                ..BootstrapPreset::N16.bootstrap(log_n - 1)
            },
        ));
    }
    // Two of the four levels go to the arcsine.
    let mut chain = small_INSECURE(10).literal().clone();
    chain.log_q[6] = 50;
    chain.log_q[7] = 50;
    cases.push((
        Params::new_INSECURE(&chain).unwrap(),
        BootstrapLiteral {
            arcsine: true,
            log_message_ratio: 8.0,
            ..BootstrapPreset::N16.bootstrap(9)
        },
    ));
    for (params, literal) in cases {
        let (found, predicted) = one_bootstrap(&params, &literal);
        println!(
            "N = 2^{}, ratio 2^{}: {found:.2} bits, {predicted:.2} predicted",
            params.log_n(),
            literal.log_message_ratio
        );
        assert!(
            (found - predicted).abs() < 2.0,
            "{literal:?}: {found} {predicted}"
        );
    }
}

#[test]
fn what_is_missing_is_named() {
    let params = small_INSECURE(9);
    let g = deep(1 << 8);
    let text = compile_for(&g, "deep", &params).unwrap_err().to_string();
    assert!(
        text.contains("2 bootstraps and no way to do them; compile with CompileOptions::bootstrap"),
        "{text}"
    );

    // One round too many behind the last bootstrap.
    let mut longer = g.clone();
    let y = longer.outputs()[0].1;
    let z = longer.scope("part3", "rounds", |g| round(g, y));
    longer.output("z", z);
    let text = compile_with(&longer, "deep", &params, &options(9))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("6 levels needed on the way to output z, 4 available; put a bootstrap on"),
        "{text}"
    );
    assert!(
        text.contains(&format!("{y} (add_plain; part2 | rounds)")),
        "{text}"
    );

    let sparse = CompileOptions {
        bootstrap: Some(BootstrapPreset::N16.bootstrap(4)),
        ..CompileOptions::default()
    };
    let text = compile_with(&g, "deep", &params, &sparse)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("all 2^8 slots needed in a plan, one of 2^4 found"),
        "{text}"
    );

    // A bootstrap that wants more levels than the chain has.
    let short = common::toy_params_INSECURE(9, 5);
    assert!(compile_with(&g, "deep", &short, &options(9)).is_err());

    let plan = plan_of(&g, 9);
    let client = Client::new(&plan);
    let x = client.encrypt(&plan, "x", &Numbers(1).complex(1 << 8, 1.0));
    let result = run(
        &plan,
        &mut Ckks::new(client.evaluator()),
        &BTreeMap::from([("x".to_owned(), x)]),
        &mut Tracer::new(),
        &mut |_, _| ControlFlow::Continue(()),
    );
    let text = result.unwrap_err().to_string();
    assert!(text.contains("a bootstrapper needed, none given"), "{text}");
}

#[test]
fn an_option_without_a_bootstrap_asks_for_no_keys() {
    let mut g = Graph::new(1 << 8);
    let x = g.input("x");
    let y = round(&mut g, x);
    g.output("y", y);
    let plan = plan_of(&g, 9);
    assert_eq!((plan.keys().len(), plan.bootstrap.is_none()), (1, true));
    assert_eq!((plan.inputs[0].level, plan.outputs[0].level), (5, 3));
    let inputs = [("x", Numbers(2).complex(1 << 8, 1.0))];
    let (found, _) = Client::new(&plan).run(&plan, &inputs);
    assert!(precision_bits(&found["y"], &run_plain(&plan, &inputs)["y"]) > 25.0);
}
