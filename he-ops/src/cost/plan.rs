//! Time, memory and keys of a whole plan.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::decision::decision_key_bytes;
use super::machine::{Kind, Machine};
use super::steps::{KeyLevels, Means, group_cost};
use super::work::{Counter, Work};
use crate::Result;
use crate::error::broken;
use crate::graph::{Counts, Label, Op, Plan};
use crate::rlwe::EvaluationKeys;

/// One step: steps of one group share its time equally, as the tracer has it; its work is with the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepCost {
    /// Kind of the operation.
    pub kind: Kind,
    /// Microseconds.
    pub us: f64,
    /// Work.
    pub work: Work,
    /// What the step counts as.
    pub counts: Counts,
}

/// Steps of one layer and category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelCost {
    /// Layer, e.g. `layer0.attention`; `all` for a sum over layers.
    pub layer: String,
    /// Category of work, e.g. `power softmax`.
    pub op: String,
    /// Steps.
    pub steps: usize,
    /// Highest level of an operand.
    pub level_in: usize,
    /// Lowest level of a result.
    pub level_out: usize,
    /// What they count as.
    pub counts: Counts,
    /// Milliseconds.
    pub ms: f64,
    /// Part of the whole, 0 to 1.
    pub share: f64,
}

impl LabelCost {
    pub(super) fn absorb(&mut self, other: &LabelCost) {
        self.steps += other.steps;
        self.level_in = self.level_in.max(other.level_in);
        self.level_out = self.level_out.min(other.level_out);
        self.counts += other.counts;
        self.ms += other.ms;
        self.share += other.share;
    }
}

/// Bytes in memory while a plan runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Ciphertexts alive and what an operation needs besides, where both together are most.
    pub ciphertexts: u64,
    /// Expanded evaluation keys, with their copies for lower levels.
    pub keys: u64,
    /// Prepared matrices of the bootstrap.
    pub matrices: u64,
    /// Weights of the linear maps, which are nearly all there are.
    pub weights: u64,
}

impl Memory {
    /// All of it. The program itself and the steps of the plan come on top.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ciphertexts + self.keys + self.matrices + self.weights
    }
}

/// Steps of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KindCost {
    /// Kind of the operations.
    pub kind: Kind,
    /// Their work.
    pub work: Work,
    /// Milliseconds.
    pub ms: f64,
}

/// What a plan will cost on a machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanCosts {
    /// Name of the machine.
    pub machine: String,
    /// Threads that it may use.
    pub threads: usize,
    /// Every step of the plan.
    #[serde(skip)]
    pub steps: Vec<StepCost>,
    /// Per layer and category, in order of first execution.
    pub rows: Vec<LabelCost>,
    /// Per kind of operation, in the order of [`Kind::ALL`]; kinds that do not occur are left out.
    pub kinds: Vec<KindCost>,
    /// What all steps count as.
    pub counts: Counts,
    /// Work of all steps.
    pub work: Work,
    /// Milliseconds.
    pub total_ms: f64,
    /// Bytes in memory.
    pub memory: Memory,
    /// Bytes of the keys on the wire.
    pub key_bytes: u64,
}

impl PlanCosts {
    /// The rows summed over layers, one per category.
    #[must_use]
    pub fn by_category(&self) -> Vec<LabelCost> {
        let mut rows: Vec<LabelCost> = Vec::new();
        for own in &self.rows {
            match rows.iter_mut().find(|row| row.op == own.op) {
                Some(row) => row.absorb(own),
                None => rows.push(LabelCost {
                    layer: "all".to_owned(),
                    ..own.clone()
                }),
            }
        }
        rows
    }
}

/// Time, memory and keys of a plan on a machine with this many threads.
///
/// # Errors
/// None for a plan made by the compiler.
pub fn plan_costs(plan: &Plan, machine: &Machine, threads: usize) -> Result<PlanCosts> {
    let keys = KeyLevels::of(plan);
    let counter = Counter::new(&plan.params);
    let parts = plan.parts();
    let means = Means {
        params: &plan.params,
        bootstrap: plan.bootstrap.as_ref().map(|planned| &planned.literal),
        key: &|purpose, level| keys.gadget(purpose, level),
    };
    let mut steps = Vec::with_capacity(plan.steps.len());
    let mut ms: HashMap<&Label, f64> = HashMap::new();
    // In the order of `Kind::ALL`.
    let mut kinds: BTreeMap<Kind, KindCost> = BTreeMap::new();
    let sizes = plan.result_bytes();
    let (mut live, mut peak) = (0_u64, 0_u64);
    let (mut made, mut counts) = (sizes.iter(), plan.counts().into_iter());
    for group in plan.groups() {
        let ops: Vec<&Op> = group.iter().map(|step| &step.op).collect();
        let first = group.first().ok_or_else(|| broken("a group has steps"))?;
        // An input has no operand, and two parts.
        let operand = first.op.args().first().map_or(2, |id| parts[*id]);
        let cost = group_cost(&means, &ops, first.level_in, operand)?;
        let us = machine.predict_us(cost.kind, &cost.work, threads);
        let own = kinds.entry(cost.kind).or_insert(KindCost {
            kind: cost.kind,
            work: Work::default(),
            ms: 0.0,
        });
        own.work += cost.work;
        own.ms += us / 1e3;
        live += made.by_ref().take(group.len()).sum::<u64>();
        peak = peak.max(live + cost.scratch_bytes);
        live -= group
            .iter()
            .flat_map(|step| &step.frees)
            .map(|freed| sizes[*freed])
            .sum::<u64>();
        for (i, (step, counts)) in group.iter().zip(counts.by_ref()).enumerate() {
            let us = us / group.len() as f64;
            *ms.entry(&step.label).or_default() += us / 1e3;
            steps.push(StepCost {
                kind: cost.kind,
                us,
                work: if i == 0 { cost.work } else { Work::default() },
                counts,
            });
        }
    }
    let total_ms: f64 = kinds.values().map(|own| own.ms).sum();
    let rows = plan.rows().into_iter().map(|row| {
        let ms = ms.get(&row.label).ok_or_else(|| broken("a row has steps"))?;
        Ok(LabelCost {
            layer: row.label.layer,
            op: row.label.op,
            steps: row.steps,
            level_in: row.level_in,
            level_out: row.level_out,
            counts: row.counts,
            ms: *ms,
            share: ms / total_ms.max(f64::MIN_POSITIVE),
        })
    });
    let rows: Vec<LabelCost> = rows.collect::<Result<_>>()?;
    let config = plan.keys();
    let matrices = match &plan.bootstrap {
        Some(planned) => counter.bootstrap_bytes(&planned.literal)?,
        None => 0,
    };
    Ok(PlanCosts {
        machine: machine.name.clone(),
        threads,
        counts: steps.iter().map(|step| step.counts).sum(),
        steps,
        work: kinds.values().map(|own| own.work).sum(),
        kinds: kinds.into_values().filter(|own| own.ms > 0.0).collect(),
        rows,
        total_ms,
        memory: Memory {
            ciphertexts: peak,
            keys: EvaluationKeys::expected_memory_bytes(&plan.params, &config, &plan.key_uses())? as u64
                + decision_key_bytes(plan.decision(), &plan.params),
            matrices,
            weights: weights(plan),
        },
        key_bytes: plan.key_bytes()?,
    })
}

fn weights(plan: &Plan) -> u64 {
    let maps = plan.steps.iter().filter_map(|step| match &step.op {
        Op::LinearMap(_, map) => Some((*map.digest(), map.bytes())),
        _ => None,
    });
    maps.collect::<HashMap<_, _>>().values().sum()
}
