//! A polynomial, a bootstrap, and the polynomial once more: a circuit deeper than its parameters.
//!
//!     cargo run --release -p he-ops --features secret --example polynomial_and_bootstrap

use he_ops::circuits::{ChebyshevSeries, Circuit};
use he_ops::ckks::{BootstrapPreset, Decryptor, Encoder, Encryptor, Evaluator, PrecisionStats};
use he_ops::exec::{Ckks, run};
use he_ops::graph::{CompileOptions, Graph, compile_with};
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, Params, SecretKey};
use he_ops::trace::Tracer;
use num_complex::Complex64;
use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

const LOG_SLOTS: u32 = 6;

/// Runs it, and says how close the answer is.
fn polynomial_and_bootstrap() -> Result<PrecisionStats, Box<dyn std::error::Error>> {
    // What to compute: f(f(x)), f close to a step. A graph says nothing of levels or scales, only where to bootstrap.
    let slots = 1 << LOG_SLOTS;
    let f = ChebyshevSeries::interpolate(slots, |x| (3.0 * x).tanh() * 0.8, -1.0, 1.0, 5)?;
    let mut graph = Graph::new(slots);
    let x = graph.input("x");
    let once = f.expand(&mut graph, &[x])?;
    let fresh = graph.bootstrap(once);
    let twice = f.expand(&mut graph, &[fresh])?;
    graph.output("y", twice);

    // 128-bit secure on N = 2^15: three levels for the polynomial, the others are those of the bootstrap.
    let params = Params::new(&BootstrapPreset::N15.params())?;
    let options = CompileOptions {
        bootstrap: Some(BootstrapPreset::N15.bootstrap(LOG_SLOTS)),
        ..CompileOptions::default()
    };
    let plan = compile_with(&graph, "step", &params, &options)?;
    let port = plan.inputs.first().ok_or("a plan with an input")?;
    println!(
        "{} levels twice, {} evaluation keys",
        plan.depth(),
        plan.keys().len()
    );

    // Client: the keys that the plan lists, and the input at the level and scale that it says.
    let (secret, encoder) = (SecretKey::generate(&params)?, Encoder::new(&params));
    let seeded = KeyGenerator::new(&params, &secret)?.evaluation_keys(&plan.keys(), |_, _| ())?;
    let values: Vec<f64> = (0..slots).map(|j| 2.0 * j as f64 / slots as f64 - 1.0).collect();
    let slot_values: Vec<Complex64> = values.iter().map(|&v| Complex64::new(v, 0.0)).collect();
    let plain = encoder.encode_repeated(&slot_values, port.level, port.scale)?;
    let sent = Encryptor::new(&params, &secret)?
        .encrypt(&plain)?
        .expand(&params)?;

    // Server: runs the plan.
    let keys = EvaluationKeys::from_seeded(&params, &plan.key_uses(), seeded)?;
    let evaluator = Evaluator::new(&encoder, Arc::new(keys));
    let mut backend = Ckks::with_bootstrapper(&evaluator, plan.bootstrapper(&encoder)?);
    let inputs = BTreeMap::from([("x".to_owned(), sent)]);
    let mut go_on = |_, _| ControlFlow::Continue(());
    let outputs = run(&plan, &mut backend, &inputs, &mut Tracer::new(), &mut go_on)?;

    // Client: decrypts, and compares with the polynomial in clear.
    let answer = outputs.get("y").ok_or("an answer")?;
    let mut found = encoder.decode(&Decryptor::new(&params, &secret)?.decrypt(answer)?)?;
    found.truncate(slots);
    let twice = |x: &f64| Complex64::new(f.evaluate(f.evaluate(*x)), 0.0);
    let expected: Vec<Complex64> = values.iter().map(twice).collect();
    for (x, (want, got)) in values.iter().zip(expected.iter().zip(&found)).step_by(slots / 4) {
        println!("f(f({x:+})): {:+.4} expected, {:+.4} found", want.re, got.re);
    }
    Ok(PrecisionStats::new(&expected, &found))
}

/// Fails when the answer is wrong.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let precision = polynomial_and_bootstrap()?;
    println!("{precision}");
    if precision.min_bits < 8.0 {
        return Err("8 bits needed: the answer is wrong".into());
    }
    Ok(())
}
