//! From a model to the cheapest secure plan.
//!
//! Candidates are leveled plans on rings of degree 2^14 to 2^16, and plans with bootstraps, each with all slots or, for a
//! model that is small against them, with fewer: sparse bootstraps cost less. Every one is compiled and priced by the
//! cost model; the cheapest that is precise enough is taken.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

use he_ops::ckks::{BootstrapLiteral, BootstrapPreset};
use he_ops::cost::{Machine, PlanCosts, Prices, plan_costs};
use he_ops::exec::{Plain, predict, run};
use he_ops::graph::{CompileOptions, Graph, Plan, compile_leveled, compile_with};
use he_ops::rlwe::Params;
use he_ops::trace::Tracer;

use crate::error::{Error, Result};
use crate::lower::blocks::lower;
use crate::model::config::TransformerConfig;
use crate::model::fit::Fit;
use crate::model::weights::TransformerWeights;
use crate::packing::blocks::{Answer, BlockPacking, padded_len};

/// log2 of the degrees of leveled plans.
const LEVELED: std::ops::RangeInclusive<u32> = 14..=16;
/// log2 of the scales of leveled plans: smaller ones are cheaper, larger ones more precise.
const LOG_SCALES: [u32; 2] = [35, 40];
const BOOTSTRAPPED: [BootstrapPreset; 2] = [BootstrapPreset::N15, BootstrapPreset::N16];

/// What a plan is chosen for.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Where it will run.
    pub machine: Machine,
    /// Threads that it may use there.
    pub threads: usize,
    /// Sequences that one run takes, a power of two.
    pub sequences: usize,
    /// An embedded input, (tokens, features) row-major. With it the precision of a candidate is predicted, and one that
    /// misses the bits of the configuration is refused.
    pub sample: Option<Vec<f64>>,
}

impl Default for Target {
    /// One sequence on two threads of the built-in machine; precision is not looked at.
    fn default() -> Self {
        Target {
            machine: Machine::default(),
            threads: 2,
            sequences: 1,
            sample: None,
        }
    }
}

/// A choice of parameters, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// log2 of the degree of the ring.
    pub log_n: u32,
    /// log2 of the slots that are used.
    pub log_slots: u32,
    /// log2 of the scale of a leveled plan, none for one with bootstraps.
    pub log_scale: Option<u32>,
    /// Predicted milliseconds, or why there is no plan.
    pub outcome: std::result::Result<f64, String>,
    /// Predicted bits of the outputs, if that was looked at.
    pub precision_bits: Option<f64>,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.log_scale {
            Some(bits) => format!("leveled, scale 2^{bits}"),
            None => "with bootstraps".to_owned(),
        };
        write!(f, "N = 2^{}, 2^{} slots, {kind:<19} ", self.log_n, self.log_slots)?;
        match &self.outcome {
            Ok(ms) => write!(f, "{:.1} s", ms / 1e3)?,
            Err(reason) => write!(f, "{reason}")?,
        }
        match self.precision_bits {
            Some(bits) => write!(f, ", {bits:.1} bits"),
            None => Ok(()),
        }
    }
}

/// A plan with what the client must know to use it.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// What the server runs.
    pub plan: Plan,
    /// How inputs and outputs lie in the slots.
    pub packing: BlockPacking,
    /// What it will cost on the machine of the target.
    pub costs: PlanCosts,
    /// Everything that was looked at, the cheapest first, what was refused last.
    pub candidates: Vec<Candidate>,
}

impl Compiled {
    /// Bits to which every number of the outputs is expected to be right for this input: a run on plain numbers for the
    /// magnitudes, then one on the noise model.
    ///
    /// # Errors
    /// - the input has another length than tokens * features
    pub fn precision_bits(&self, x: &[f64]) -> Result<f64> {
        precision_bits(&self.plan, &self.packing, x)
    }
}

/// A plan from the configuration alone, with ranges that are assumed where there is no fit: it has a cost, but weights
/// that nobody knows.
///
/// # Errors
/// - as for [`compile`]
pub fn plan_shape(id: &str, config: &TransformerConfig, target: &Target) -> Result<Compiled> {
    let mut config = config.clone();
    config.check()?;
    if config.fit.is_none() {
        config.fit = Some(Fit::assumed(&config)?);
    }
    compile(id, &config, &TransformerWeights::shape_only(&config), target)
}

/// Compiles a calibrated model to the plan of the least predicted time.
///
/// # Errors
/// - as for [`lower`](lower())
/// - [`Error::NoPlan`] when no parameters are secure, deep and precise enough, with the reason for each
pub fn compile(
    id: &str,
    config: &TransformerConfig,
    weights: &TransformerWeights,
    target: &Target,
) -> Result<Compiled> {
    let mut found: Vec<(Candidate, Plan, PlanCosts, BlockPacking)> = Vec::new();
    let mut refused = Vec::new();
    let largest = *LEVELED.end() - 1;
    for log_slots in slot_counts(config, target.sequences, largest) {
        let (graph, packing) = match lower(config, weights, 1 << log_slots, target.sequences) {
            Ok(lowered) => lowered,
            // The largest ring tells what is wrong with the model itself.
            Err(error) if log_slots == largest => return Err(error),
            Err(_) => continue,
        };
        for (candidate, plan) in plans(id, &graph, log_slots, target) {
            match plan {
                Ok(plan) => {
                    let costs = plan_costs(&plan, &target.machine, target.threads)?;
                    let candidate = Candidate {
                        outcome: Ok(costs.total_ms),
                        ..candidate
                    };
                    found.push((candidate, plan, costs, packing.clone()));
                }
                Err(error) => refused.push(Candidate {
                    outcome: Err(error.to_string()),
                    ..candidate
                }),
            }
        }
    }
    found.sort_by(|a, b| a.2.total_ms.total_cmp(&b.2.total_ms));
    let mut candidates = Vec::new();
    let mut chosen = None;
    for (mut candidate, plan, costs, packing) in found {
        if chosen.is_none() {
            let enough = match &target.sample {
                None => true,
                Some(x) => {
                    let bits = precision_bits(&plan, &packing, x)?;
                    candidate.precision_bits = Some(bits);
                    bits >= f64::from(config.precision_bits)
                }
            };
            if enough {
                chosen = Some((plan, packing, costs));
            } else {
                let needed = config.precision_bits;
                candidate.outcome = Err(format!("not precise: {needed} bits needed"));
                refused.push(candidate);
                continue;
            }
        }
        candidates.push(candidate);
    }
    candidates.append(&mut refused);
    match chosen {
        Some((plan, packing, costs)) => Ok(Compiled {
            plan,
            packing,
            costs,
            candidates,
        }),
        None => Err(Error::NoPlan {
            model: id.to_owned(),
            tried: candidates.iter().map(ToString::to_string).collect(),
        }),
    }
}

/// log2 of the slots to try: those of the largest ring, and fewer as long as a token's features fit one ciphertext.
fn slot_counts(config: &TransformerConfig, sequences: usize, largest: u32) -> Vec<u32> {
    let needed = padded_len(config.seq_len) * sequences * config.dim.div_ceil(2).max(config.head_dim());
    let least = needed.next_power_of_two().trailing_zeros();
    (least.min(largest)..=largest).rev().collect()
}

/// The graph on every set of parameters that has as many slots.
fn plans(id: &str, graph: &Graph, log_slots: u32, target: &Target) -> Vec<(Candidate, he_ops::Result<Plan>)> {
    let candidate = |log_n, log_scale| Candidate {
        log_n,
        log_slots,
        log_scale,
        outcome: Err(String::new()),
        precision_bits: None,
    };
    let mut plans = Vec::new();
    for log_n in LEVELED.filter(|log_n| *log_n > log_slots) {
        for log_scale in LOG_SCALES {
            let plan = compile_leveled(graph, id, log_n, log_scale);
            plans.push((candidate(log_n, Some(log_scale)), plan));
        }
    }
    for preset in BOOTSTRAPPED {
        let literal = preset.params();
        let log_n = literal.log_n;
        if log_n > log_slots {
            let bootstrap = preset.bootstrap(log_slots);
            let plan = Params::new(&literal)
                .and_then(|params| compile_cheapest(graph, id, &params, &bootstrap, target));
            plans.push((candidate(log_n, None), plan));
        }
    }
    plans
}

/// The plan whose bootstraps are where they cost least on the machine of the target.
pub(crate) fn compile_cheapest(
    graph: &Graph,
    id: &str,
    params: &Params,
    bootstrap: &BootstrapLiteral,
    target: &Target,
) -> he_ops::Result<Plan> {
    let prices = Prices::new(params, bootstrap, &target.machine, target.threads);
    let options = CompileOptions {
        bootstrap: Some(bootstrap.clone()),
        price: Some(&prices),
    };
    compile_with(graph, id, params, &options)
}

fn precision_bits(plan: &Plan, packing: &BlockPacking, x: &[f64]) -> Result<f64> {
    let slots = packing.pack(x)?;
    let mut plain = Plain::new(plan.slots);
    let inputs: BTreeMap<_, _> = slots.into_iter().collect();
    run(plan, &mut plain, &inputs, &mut Tracer::new(), &mut |_, _| {
        ControlFlow::Continue(())
    })?;
    let predicted = predict(plan, plain.magnitudes())?;
    let bits = predicted.precision_bits.values().copied();
    let bits = bits.fold(f64::INFINITY, f64::min);
    // The model tells the mean square over all slots; an answer in few of them has all of the error there.
    Ok(match packing.answer {
        Answer::First { features } => {
            let live = (features * packing.sequences).min(packing.slots).max(1);
            bits - 0.5 * (packing.slots as f64 / live as f64).log2()
        }
        Answer::Same { .. } | Answer::Each { .. } => bits,
    })
}
