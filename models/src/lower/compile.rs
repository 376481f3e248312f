//! From a model to the cheapest secure plan.
//!
//! Candidates are leveled plans on rings of degree 2^14 to 2^16 by either lowering, and plans with bootstraps by blocks, each
//! with all slots or, for a model that is small against them, with fewer: sparse bootstraps cost less. Every one is compiled
//! and priced by the cost model; the cheapest that is precise enough is taken.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

use he_ops::ckks::BootstrapPreset;
use he_ops::cost::{Machine, Prices, plan_costs};
use he_ops::exec::{Plain, predict, run};
use he_ops::graph::{CompileOptions, Graph, Plan, compile_leveled, compile_with};
use he_ops::rlwe::Params;
use he_ops::trace::Tracer;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lower::{blocks, staircase};
use crate::model::{Fit, Mode, TransformerConfig, TransformerWeights, forward};
use crate::packing::Packing;
use crate::packing::blocks::{Answer, BlockPacking, padded_len};
use crate::synthetic;

/// log2 of the degrees of leveled plans.
const LEVELED: std::ops::RangeInclusive<u32> = 14..=16;
/// log2 of the scales of leveled plans: smaller ones are cheaper, larger ones more precise.
const LOG_SCALES: [u32; 2] = [35, 40];
/// log2 of the slots of the largest ring.
const LARGEST: u32 = *LEVELED.end() - 1;
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

/// How a model becomes a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lowering {
    /// Features in blocks over many ciphertexts: takes any model.
    #[default]
    Blocks,
    /// All of the attention of a small model in one ciphertext.
    Staircase,
}

/// A lowering with its parameters. A model folder may ask for one (`plan` in `config.json`) in place of a search for the
/// cheapest: a server starts faster, and keys that clients uploaded stay right when the cost model changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// How the model is lowered.
    #[serde(default)]
    pub lowering: Lowering,
    /// log2 of the degree of the ring.
    pub log_n: u32,
    /// log2 of the slots that are used.
    pub log_slots: u32,
    /// log2 of the scale of a leveled plan; none for one with bootstraps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_scale: Option<u32>,
}

/// A choice, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// What was looked at.
    pub choice: Choice,
    /// Predicted milliseconds, or why there is no plan.
    pub outcome: std::result::Result<f64, String>,
    /// Predicted bits of the outputs, if that was looked at.
    pub precision_bits: Option<f64>,
}

impl fmt::Display for Lowering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Lowering::Blocks => "blocks",
            Lowering::Staircase => "staircase",
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.log_scale {
            Some(bits) => format!("leveled, scale 2^{bits}"),
            None => "with bootstraps".to_owned(),
        };
        let Self {
            lowering,
            log_n,
            log_slots,
            ..
        } = self;
        write!(f, "{lowering:<9}, N = 2^{log_n}, 2^{log_slots} slots, {kind:<19}")
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.choice)?;
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

/// A model with its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// `config.json`.
    pub config: TransformerConfig,
    /// `model.safetensors`.
    pub weights: TransformerWeights,
    /// Lowering and parameters, if the folder says which.
    pub choice: Option<Choice>,
}

/// A plan with what the client must know to use it.
#[derive(Debug, Clone, PartialEq)]
pub struct CompiledModel {
    /// What the server runs.
    pub plan: Plan,
    /// Lowering and parameters.
    pub choice: Choice,
    /// How inputs and outputs lie in the slots.
    pub packing: Packing,
    /// Everything that was looked at, the cheapest first, what was refused last; empty where the folder chose.
    pub candidates: Vec<Candidate>,
}

impl Model {
    /// Logits, a pooled embedding, or (seq_len, vocab) logits of the embedded input `x`, (seq_len, dim) row-major.
    ///
    /// # Errors
    /// - `x` has another length, or [`Mode::Polynomial`] without the ranges of a calibration
    pub fn forward(&self, x: &[f64], mode: Mode) -> Result<Vec<f64>> {
        Ok(forward(&self.config, &self.weights, x, mode)?.output)
    }

    /// The plan that a server runs.
    ///
    /// # Errors
    /// - no fit, or no parameters that are secure, deep and precise enough
    pub fn compile(&self, id: &str, target: &Target) -> Result<CompiledModel> {
        let Some(choice) = self.choice else {
            return compile(id, &self.config, &self.weights, target);
        };
        let preset = BOOTSTRAPPED.map(|preset| preset.params().log_n);
        let bootstraps = choice.log_scale.is_some() || preset.contains(&choice.log_n);
        if choice.log_n > 17 || choice.log_slots >= choice.log_n || !bootstraps {
            return Err(Error::Config {
                field: "plan",
                needed: "log_n of at most 17, 15 or 16 with bootstraps, and log_slots below it".to_owned(),
                found: format!("{choice:?}"),
            });
        }
        let (graph, packing) = lower(choice, &self.config, &self.weights, target.sequences)?;
        Ok(CompiledModel {
            plan: plan(id, &graph, choice, target)?,
            choice,
            packing,
            candidates: Vec::new(),
        })
    }
}

impl CompiledModel {
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
/// that nobody knows. For the staircase they are drawn, as it leaves out what is zero.
///
/// # Errors
/// - as for [`compile`]
pub fn plan_shape(id: &str, config: &TransformerConfig, target: &Target) -> Result<CompiledModel> {
    let mut config = config.clone();
    config.check()?;
    if config.fit.is_none() {
        config.fit = Some(Fit::assumed(&config)?);
    }
    let weights = match staircase::check(&config) {
        Ok(()) => synthetic::model(&config, 0)?,
        Err(_) => TransformerWeights::shape_only(&config),
    };
    compile(id, &config, &weights, target)
}

/// Compiles a calibrated model to the plan of the least predicted time.
///
/// # Errors
/// - as for [`blocks::lower`], which takes any model
/// - [`Error::NoPlan`] when no parameters are secure, deep and precise enough, with the reason for each
pub fn compile(
    id: &str,
    config: &TransformerConfig,
    weights: &TransformerWeights,
    target: &Target,
) -> Result<CompiledModel> {
    let mut found: Vec<(f64, Choice, Plan, Packing)> = Vec::new();
    let mut refused = Vec::new();
    let mut refuse = |choice, reason: String, precision_bits| {
        refused.push(Candidate {
            choice,
            outcome: Err(reason),
            precision_bits,
        });
    };
    for choices in choices(config, target.sequences) {
        let Some(first) = choices.first() else { continue };
        let (graph, packing) = match lower(*first, config, weights, target.sequences) {
            Ok(lowered) => lowered,
            // Blocks in the largest ring tell what is wrong with the model itself.
            Err(error) if first.lowering == Lowering::Blocks && first.log_slots == LARGEST => {
                return Err(error);
            }
            Err(_) => continue,
        };
        for choice in choices {
            match plan(id, &graph, choice, target) {
                Ok(plan) => {
                    let costs = plan_costs(&plan, &target.machine, target.threads)?;
                    found.push((costs.total_ms, choice, plan, packing.clone()));
                }
                Err(error) => refuse(choice, error.to_string(), None),
            }
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut candidates = Vec::new();
    let mut chosen = None;
    for (ms, choice, plan, packing) in found {
        let mut bits = None;
        if chosen.is_none() {
            bits = (target
                .sample
                .iter()
                .map(|x| precision_bits(&plan, &packing, x))
                .next())
            .transpose()?;
            let needed = config.precision_bits;
            if bits.is_some_and(|bits| bits < f64::from(needed)) {
                refuse(choice, format!("not precise: {needed} bits needed"), bits);
                continue;
            }
            chosen = Some((choice, plan, packing));
        }
        candidates.push(Candidate {
            choice,
            outcome: Ok(ms),
            precision_bits: bits,
        });
    }
    candidates.append(&mut refused);
    match chosen {
        Some((choice, plan, packing)) => Ok(CompiledModel {
            plan,
            choice,
            packing,
            candidates,
        }),
        None => Err(Error::NoPlan {
            model: id.to_owned(),
            tried: candidates.iter().map(ToString::to_string).collect(),
        }),
    }
}

fn lower(
    choice: Choice,
    config: &TransformerConfig,
    weights: &TransformerWeights,
    sequences: usize,
) -> Result<(Graph, Packing)> {
    let slots = 1 << choice.log_slots;
    Ok(match choice.lowering {
        Lowering::Blocks => {
            let (graph, packing) = blocks::lower(config, weights, slots, sequences)?;
            (graph, Packing::Blocks(packing))
        }
        Lowering::Staircase => {
            let (graph, packing) = staircase::lower(config, weights, slots)?;
            (graph, Packing::Staircase(packing))
        }
    })
}

fn plan(id: &str, graph: &Graph, choice: Choice, target: &Target) -> he_ops::Result<Plan> {
    if let Some(log_scale) = choice.log_scale {
        return compile_leveled(graph, id, choice.log_n, log_scale);
    }
    let preset = match choice.log_n {
        15 => BootstrapPreset::N15,
        _ => BootstrapPreset::N16,
    };
    let (params, bootstrap) = (Params::new(&preset.params())?, preset.bootstrap(choice.log_slots));
    let prices = Prices::new(&params, &bootstrap, &target.machine, target.threads);
    let options = CompileOptions {
        bootstrap: Some(bootstrap.clone()),
        price: Some(&prices),
    };
    compile_with(graph, id, &params, &options)
}

/// What to try, one list for each graph. Blocks: the slots of the largest ring, and fewer as long as a token's features fit
/// one ciphertext, in every ring that has so many. The staircase: all slots of a ring, as far as they hold different
/// copies of the input.
fn choices(config: &TransformerConfig, sequences: usize) -> Vec<Vec<Choice>> {
    let leveled = |lowering, log_slots| {
        let rings = LEVELED.filter(move |log_n| *log_n > log_slots);
        let scaled = rings.flat_map(|log_n| LOG_SCALES.map(|log_scale| (log_n, log_scale)));
        scaled.map(move |(log_n, log_scale)| Choice {
            lowering,
            log_n,
            log_slots,
            log_scale: Some(log_scale),
        })
    };
    let needed = padded_len(config.seq_len) * sequences * config.dim.div_ceil(2).max(config.head_dim());
    let least = needed.next_power_of_two().trailing_zeros().min(LARGEST);
    let blocks = (least..=LARGEST).rev().map(|log_slots| {
        let bootstrapped = BOOTSTRAPPED.map(|preset| Choice {
            lowering: Lowering::Blocks,
            log_n: preset.params().log_n,
            log_slots,
            log_scale: None,
        });
        let deep = bootstrapped.into_iter().filter(|choice| choice.log_n > log_slots);
        leveled(Lowering::Blocks, log_slots).chain(deep).collect()
    });
    let mut all: Vec<Vec<Choice>> = blocks.collect();
    if sequences == 1 && staircase::check(config).is_ok() {
        let input = (config.seq_len * config.dim).trailing_zeros();
        let most = LARGEST.min(input + config.seq_len.trailing_zeros());
        all.extend((input..=most).map(|log_slots| {
            let rings = leveled(Lowering::Staircase, log_slots);
            rings
                .filter(|choice| choice.log_n == log_slots + 1 || log_slots == most)
                .collect()
        }));
    }
    all
}

fn precision_bits(plan: &Plan, packing: &Packing, x: &[f64]) -> Result<f64> {
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
    Ok(match packing {
        Packing::Blocks(BlockPacking {
            answer: Answer::First { features },
            slots,
            sequences,
            ..
        }) => {
            let live = (features * sequences).min(*slots).max(1);
            bits - 0.5 * (*slots as f64 / live as f64).log2()
        }
        _ => bits,
    })
}
