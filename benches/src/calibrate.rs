//! The operations of plans, measured: what the coefficients of a machine are fitted to.
//!
//! A ring gets a circuit in which every kind of operation occurs at many levels, in the sizes that transformers have. Its
//! plan is run as any other, every step is timed, and its work is what the cost model counts for that very step.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use he_ops::ckks::{BootstrapPreset, Encoder, Encryptor, Evaluator, MapPart, Pattern, SlotMap};
use he_ops::cost::{Machine, Sample, plan_costs};
use he_ops::graph::{CompileOptions, Graph, NodeId, Plan, compile_for, compile_with};
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, Params, ParamsLiteral, SecretKey};

use crate::timing::run_timed;
use crate::workloads::{Numbers, Shape};

/// Steps that take less are noise of the clock.
const SHORTEST_US: f64 = 30.0;

/// What comes next in a circuit; each takes one level.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// So many hoisted rotations and their weighted sum.
    Turn(i64),
    /// A rotation, and the product with it.
    Product,
    /// A sum, and its square.
    Square,
    /// A matrix of 256 x 256 blocks: four rotated copies, 511 diagonals, so many results.
    Dense(usize),
    /// Every slot of a head of 64 to all its slots: 16 copies, 32 results without giant steps.
    Spread,
    /// Sums of 64 products into one ciphertext: 126 giant steps.
    Gather,
    /// A bootstrap, which takes none.
    Bootstrap,
}

/// A ring, and what is measured on it.
#[derive(Debug, Clone)]
pub struct Ring {
    /// For people.
    pub name: &'static str,
    params: ParamsLiteral,
    bootstrap: Option<BootstrapPreset>,
    stages: Vec<Stage>,
}

/// The rings of degree up to 2^`log_n`.
#[must_use]
pub fn rings(log_n: u32) -> Vec<Ring> {
    use Stage::{Bootstrap, Dense, Gather, Product, Spread, Square, Turn};
    let leveled = |log_n: u32| {
        let Shape {
            levels, log_scale, ..
        } = Shape::usual(log_n);
        ParamsLiteral::leveled(log_n, levels, log_scale)
    };
    let mut rings = vec![
        Ring {
            name: "2^14",
            params: leveled(14),
            bootstrap: None,
            stages: vec![
                Turn(7),
                Product,
                Dense(2),
                Square,
                Spread,
                Turn(3),
                Square,
                Product,
            ],
        },
        Ring {
            name: "2^15",
            params: leveled(15),
            bootstrap: None,
            stages: vec![
                Turn(7),
                Square,
                Product,
                Turn(3),
                Dense(2),
                Turn(7),
                Product,
                Square,
                Spread,
                Turn(7),
                Product,
                Dense(4),
                Turn(7),
                Square,
                Product,
                Turn(3),
            ],
        },
        Ring {
            name: "2^15 with bootstrap",
            params: BootstrapPreset::N15.params(),
            bootstrap: Some(BootstrapPreset::N15),
            stages: vec![Turn(7), Square, Product, Bootstrap],
        },
        Ring {
            name: "2^16 with bootstrap",
            params: BootstrapPreset::N16.params(),
            bootstrap: Some(BootstrapPreset::N16),
            stages: vec![
                Turn(7),
                Square,
                Product,
                Turn(3),
                Square,
                Turn(7),
                Gather,
                Spread,
                Dense(2),
                Turn(7),
                Product,
                Square,
                Dense(4),
                Turn(7),
                Product,
                Bootstrap,
            ],
        },
    ];
    rings.retain(|ring| ring.params.log_n <= log_n);
    rings
}

impl Ring {
    fn circuit(&self, slots: usize) -> Result<Graph> {
        let mut g = Graph::new(slots);
        let mut x = g.input("x");
        let mut numbers = Numbers(7);
        for stage in &self.stages {
            x = stage.expand(&mut g, x, &mut numbers)?;
        }
        g.output("y", x);
        Ok(g)
    }

    fn plan(&self, params: &Params) -> Result<Plan> {
        let graph = self.circuit(params.slots())?;
        Ok(match self.bootstrap {
            None => compile_for(&graph, self.name, params)?,
            Some(preset) => {
                let options = CompileOptions {
                    bootstrap: Some(preset.bootstrap(params.log_n() - 1)),
                    ..CompileOptions::default()
                };
                compile_with(&graph, self.name, params, &options)?
            }
        })
    }

    /// The least of `runs` times of every step on each of these numbers of threads, as samples.
    ///
    /// # Errors
    /// - the system gives no randomness or no threads; an operation is refused
    pub fn measure(&self, threads: &[usize], runs: usize) -> Result<Vec<Sample>> {
        let params = Params::new(&self.params)?;
        let plan = self.plan(&params)?;
        let all = rayon::ThreadPoolBuilder::new().build()?;
        let (evaluator, bootstrapper, inputs) = all.install(|| -> Result<_> {
            let secret = SecretKey::generate(&params)?;
            let generator = KeyGenerator::new(&params, &secret)?;
            let (mut keys, uses) = (EvaluationKeys::new(&params), plan.key_uses());
            for (purpose, level) in plan.keys().iter() {
                keys.insert_seeded(generator.key(purpose, level)?, &uses)?;
            }
            let encoder = Encoder::new(&params);
            let encryptor = Encryptor::new(&params, &secret)?;
            let mut inputs = BTreeMap::new();
            for port in &plan.inputs {
                let values = Numbers(8).reals(params.slots(), 1.0);
                let plain = encoder.encode(&values, port.level, port.scale)?;
                inputs.insert(port.name.clone(), encryptor.encrypt(&plain)?.expand(&params)?);
            }
            let bootstrapper = plan.bootstrapper(&encoder)?;
            Ok((Evaluator::new(&encoder, Arc::new(keys)), bootstrapper, inputs))
        })?;
        let costs = plan_costs(&plan, &Machine::default(), 1)?;
        let mut samples: Vec<Sample> = Vec::new();
        for &threads in threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            let mut least = vec![f64::INFINITY; plan.steps.len()];
            for _ in 0..runs {
                let timed = pool.install(|| {
                    run_timed(
                        &plan,
                        &evaluator,
                        bootstrapper.clone(),
                        &inputs,
                        &mut |_, _, _| (),
                    )
                })?;
                for (least, step) in least.iter_mut().zip(&timed.steps) {
                    *least = least.min(step.as_secs_f64() * 1e6);
                }
            }
            for ((step, cost), us) in plan.steps.iter().zip(&costs.steps).zip(least) {
                if us < SHORTEST_US {
                    continue;
                }
                let name = format!("{}, {} at level {}", self.name, step.op.name(), step.level_in);
                // Many steps are alike: one sample for all.
                let alike = |s: &&mut Sample| s.threads == threads && s.name == name && s.work == cost.work;
                match samples.iter_mut().find(alike) {
                    Some(sample) => sample.us = sample.us.min(us),
                    None => samples.push(Sample {
                        name,
                        kind: cost.kind,
                        work: cost.work,
                        threads,
                        us,
                    }),
                }
            }
        }
        Ok(samples)
    }
}

/// Values that keep their sizes: their mean.
fn mean(g: &mut Graph, values: &[NodeId]) -> Result<NodeId> {
    let (first, rest) = values.split_first().context("a value")?;
    Ok(rest.iter().fold(*first, |sum, value| g.add(sum, *value)))
}

impl Stage {
    fn expand(self, g: &mut Graph, x: NodeId, numbers: &mut Numbers) -> Result<NodeId> {
        Ok(match self {
            Stage::Turn(count) => {
                let mut terms = Vec::new();
                for k in 0..=count {
                    let turned = if k == 0 { x } else { g.rotate(x, k) };
                    terms.push((turned, Pattern::real(numbers.weights(256, 0.1))?));
                }
                let sum = g.weighted_sum(terms);
                g.add_plain(sum, Pattern::real(numbers.weights(256, 0.1))?)
            }
            Stage::Product => {
                let turned = g.rotate(x, 8);
                g.mul(x, turned)
            }
            Stage::Square => {
                let turned = g.mul_i(x, 2);
                let sum = g.add(x, turned);
                let y = g.square(sum);
                let z = g.square(x);
                g.add(y, z)
            }
            Stage::Dense(results) => {
                let mut copies = vec![x];
                for c in 1..4 {
                    copies.push(g.rotate(x, 8 * c));
                }
                let mut found = Vec::new();
                for _ in 0..results {
                    let mut parts = vec![MapPart::new(); 4];
                    for k in -255..=255_i64 {
                        let (giant, b) = (k.div_euclid(32), k.rem_euclid(32));
                        let part = parts.get_mut(b as usize / 8).context("a copy")?;
                        let (re, im) = (numbers.weights(256, 0.05), numbers.weights(256, 0.05));
                        part.insert(32 * giant + b % 8, Pattern::complex(re, im)?);
                    }
                    found.push(g.linear_map(&copies, Arc::new(SlotMap::new(32, parts)?)));
                }
                mean(g, &found)?
            }
            Stage::Spread => {
                let mut copies = vec![x];
                for c in 1..8 {
                    copies.push(g.mul_i(x, c % 4));
                    copies.push(g.rotate(x, i64::from(c)));
                }
                copies.push(g.rotate(x, 8));
                let mut found = Vec::new();
                for slot in 0..32_i64 {
                    let mut parts = vec![MapPart::new(); copies.len()];
                    for f in 0..64_i64 {
                        let at = slot - f + 64;
                        let part = parts.get_mut(at as usize / 8).context("a copy")?;
                        part.insert(at % 8, one_hot(f as usize)?);
                    }
                    found.push(g.linear_map(&copies, Arc::new(SlotMap::new(8, parts)?)));
                }
                mean(g, &found)?
            }
            Stage::Gather => {
                let (mut inputs, mut parts) = (vec![x], Vec::new());
                for _ in 1..64 {
                    inputs.push(g.add(x, *inputs.last().context("an input")?));
                }
                for i in 0..64_i64 {
                    let part = (0..64).map(|f| Ok((f - i, one_hot(f as usize)?)));
                    parts.push(part.collect::<Result<MapPart>>()?);
                }
                g.linear_map(&inputs, Arc::new(SlotMap::new(1, parts)?))
            }
            Stage::Bootstrap => g.bootstrap(x),
        })
    }
}

fn one_hot(at: usize) -> Result<Pattern> {
    let mut entries = vec![0.0; 64];
    if let Some(entry) = entries.get_mut(at) {
        *entry = 0.5;
    }
    Ok(Pattern::real(entries)?)
}
