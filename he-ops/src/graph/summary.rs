//! What a plan amounts to: counts, sizes, security.
//!
//! A bootstrap counts as one bootstrap: what is done within it is in none of the other counts, here as everywhere. The
//! rotations of linear maps are in them, each baby step once for all maps that share it.

use serde::{Deserialize, Serialize};

use super::facts::{Counts, owing};
use super::op::{Label, PerNode};
use super::plan::{Plan, Port};
use crate::Result;

/// Work at one level (of the operands).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelCounts {
    /// Level of the operands.
    pub level: usize,
    /// Rotations, conjugations and relinearisations, as everywhere without those within bootstraps.
    pub key_switches: usize,
    /// Ciphertext-ciphertext products, squares included.
    pub products: usize,
    /// Plaintext-ciphertext products.
    pub plain_products: usize,
    /// Rescales, those of linear maps and of alignments included.
    pub rescales: usize,
}

/// The bootstraps of a plan in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapSummary {
    /// Bootstraps.
    pub count: usize,
    /// Level of their operands.
    pub input_level: usize,
    /// Level of their results.
    pub output_level: usize,
    /// Evaluation keys that they use.
    pub keys: usize,
}

/// A plan in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// Name of the plan.
    pub name: String,
    /// Ring degree N.
    pub degree: usize,
    /// Complex slots.
    pub slots: usize,
    /// Levels from input to output; with bootstraps, of the deepest part between them.
    pub depth: usize,
    /// log2 of the scale.
    pub log_scale: u32,
    /// log2 Q of a fresh ciphertext.
    pub log_q: f64,
    /// Largest log2 QP of any key.
    pub log_qp: f64,
    /// The 128-bit bound on it; none outside the table.
    pub log_qp_bound: Option<f64>,
    /// Distribution of the secret key.
    pub secret: String,
    /// Source of the bound.
    pub security_source: String,
    /// True when within the bound.
    pub secure: bool,
    /// Steps of the plan.
    pub steps: usize,
    /// Bootstraps, if there are any; their key switches, products and rescales are not in the counts below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<BootstrapSummary>,
    /// Rotations, conjugations and relinearisations; the rotations of linear maps are among them, those within bootstraps
    /// are not.
    pub key_switches: usize,
    /// Rotations among them, those of linear maps included.
    pub rotations: usize,
    /// Rotations that share a decomposition with others.
    pub hoisted_rotations: usize,
    /// Conjugations among the key switches.
    pub conjugations: usize,
    /// Relinearisations among the key switches.
    pub relinearizations: usize,
    /// Ciphertext-ciphertext products, squares included.
    pub ciphertext_products: usize,
    /// Plaintext-ciphertext products: weights of sums, diagonals of maps.
    pub plaintext_products: usize,
    /// Rescales, those of linear maps and of alignments included.
    pub rescales: usize,
    /// Evaluation keys.
    pub keys: usize,
    /// Bytes on the wire of all seeded evaluation keys.
    pub key_bytes: u64,
    /// Bytes on the wire of all seeded input ciphertexts.
    pub request_bytes: u64,
    /// Bytes on the wire of all output ciphertexts, or of the label.
    pub reply_bytes: u64,
    /// Most bytes of ciphertexts alive at one time during the run.
    pub peak_bytes: u64,
    /// Work per level, highest first.
    pub levels: Vec<LevelCounts>,
}

/// The steps of one layer and category.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelCounts {
    /// Layer and category.
    pub label: Label,
    /// Steps.
    pub steps: usize,
    /// Highest level of an operand.
    pub level_in: usize,
    /// Lowest level of a result.
    pub level_out: usize,
    /// What they count as.
    pub counts: Counts,
}

impl Plan {
    /// The steps per layer and category, in order of first execution.
    #[must_use]
    pub fn rows(&self) -> Vec<LabelCounts> {
        let mut rows: Vec<LabelCounts> = Vec::new();
        for (step, counts) in self.steps.iter().zip(self.counts()) {
            // Labels come in runs: the last row is the likely one.
            match rows.iter_mut().rfind(|row| row.label == step.label) {
                Some(row) => {
                    row.steps += 1;
                    row.level_in = row.level_in.max(step.level_in);
                    row.level_out = row.level_out.min(step.level);
                    row.counts += counts;
                }
                None => rows.push(LabelCounts {
                    label: step.label.clone(),
                    steps: 1,
                    level_in: step.level_in,
                    level_out: step.level,
                    counts,
                }),
            }
        }
        rows
    }

    /// Counts, sizes and parameters of the plan, for manifests and for people.
    ///
    /// # Errors
    /// None for a plan made by the compiler.
    pub fn summary(&self) -> Result<PlanSummary> {
        let (plan, params) = (self, &self.params);
        let all = self.counts();
        let total: Counts = all.iter().copied().sum();
        let security = params.security();
        let sizes = |ports: &[Port], parts: u64| {
            ports
                .iter()
                .map(|port| parts * part_bits(plan, port.level).div_ceil(8))
                .sum::<u64>()
        };
        Ok(PlanSummary {
            name: plan.name.clone(),
            degree: params.degree(),
            slots: plan.slots,
            depth: plan.depth(),
            log_scale: params.literal().log_scale,
            log_q: security.log_q,
            log_qp: security.log_qp,
            log_qp_bound: security.log_qp_bound,
            secret: security.secret.clone(),
            security_source: security.source.clone(),
            secure: params.is_secure(),
            steps: plan.steps.len(),
            bootstrap: plan.bootstrap.as_ref().map(|planned| BootstrapSummary {
                count: planned.count,
                input_level: planned.literal.input_level(),
                output_level: planned.output_level,
                keys: planned.key_uses.len(),
            }),
            key_switches: total.key_switches,
            rotations: total.rotations,
            hoisted_rotations: total.hoisted_rotations,
            conjugations: total.conjugations,
            relinearizations: total.relinearizations,
            ciphertext_products: total.products,
            plaintext_products: total.plain_products,
            rescales: total.rescales,
            keys: plan.keys().len(),
            key_bytes: plan.key_bytes()?,
            request_bytes: sizes(&plan.inputs, 1),
            reply_bytes: match plan.decision() {
                Some(decision) => decision.label_bytes(),
                None => sizes(&plan.outputs, 2),
            },
            peak_bytes: peak_bytes(plan),
            levels: by_level(plan, &all),
        })
    }
}

/// Work per level, highest first, levels without any included.
fn by_level(plan: &Plan, counts: &[Counts]) -> Vec<LevelCounts> {
    let top = plan.steps.iter().map(|step| step.level.max(step.level_in)).max();
    let levels = top.into_iter().flat_map(|top| (0..=top).rev());
    let row = |level| {
        let steps = plan.steps.iter().zip(counts);
        let here = steps.filter(|(step, _)| step.op.level_of_work(step.level_in) == level);
        let own: Counts = here.map(|(_, counts)| *counts).sum();
        LevelCounts {
            level,
            key_switches: own.key_switches,
            products: own.products,
            plain_products: own.plain_products,
            rescales: own.rescales,
        }
    };
    levels.map(row).collect()
}

/// Bits of one bit-packed polynomial at `level`.
fn part_bits(plan: &Plan, level: usize) -> u64 {
    let per_slot: u64 = plan
        .params
        .moduli()
        .take(level + 1)
        .map(|q| u64::from(q.bits()))
        .sum();
    per_slot * plan.params.degree() as u64
}

impl Plan {
    /// Ciphertext parts of the result of every step: three after a product until it is relinearised.
    pub(crate) fn parts(&self) -> PerNode<usize> {
        let owes = owing(self.steps.iter().map(|step| &step.op), |facts| {
            facts.relinearization
        });
        owes.iter().map(|owes| 2 + usize::from(*owes)).collect()
    }

    /// Bytes of the result of every step, with 8 bytes a residue.
    pub(crate) fn result_bytes(&self) -> PerNode<u64> {
        let degree = self.params.degree();
        let (steps, parts) = (self.steps.iter(), self.parts());
        steps
            .zip(parts.iter())
            .map(|(step, parts)| 8 * (parts * (step.level + 1) * degree) as u64)
            .collect()
    }
}

/// Largest sum of the sizes of live ciphertexts.
fn peak_bytes(plan: &Plan) -> u64 {
    let sizes = plan.result_bytes();
    let (mut live, mut peak) = (0_u64, 0_u64);
    for (step, own) in plan.steps.iter().zip(sizes.iter()) {
        live += own;
        peak = peak.max(live);
        live -= step.frees.iter().map(|freed| sizes[*freed]).sum::<u64>();
    }
    peak
}

#[cfg(test)]
mod tests {
    use crate::ckks::Pattern;
    use crate::graph::{Graph, compile};

    #[test]
    fn a_small_plan_in_numbers() {
        let mut g = Graph::new(1 << 12);
        let x = g.input("x");
        let (a, b) = (g.rotate(x, 1), g.rotate(x, 2));
        let sum = g.weighted_sum([
            (a, Pattern::constant(0.5).unwrap()),
            (b, Pattern::constant(0.25).unwrap()),
        ]);
        let y = g.square(sum);
        g.output("y", y);
        let plan = compile(&g, "small", 35).unwrap();
        let summary = plan.summary().unwrap();
        assert_eq!(
            (
                summary.depth,
                summary.key_switches,
                summary.rotations,
                summary.hoisted_rotations
            ),
            (2, 3, 2, 2)
        );
        assert_eq!(
            (
                summary.ciphertext_products,
                summary.plaintext_products,
                summary.rescales
            ),
            (1, 2, 2)
        );
        assert_eq!((summary.keys, summary.relinearizations), (3, 1));
        // One part of three primes in, two parts of the bottom prime out.
        let bits: u64 = plan.params.moduli().map(|q| u64::from(q.bits())).sum();
        assert_eq!(
            (summary.request_bytes, summary.reply_bytes),
            (8192 * bits / 8, 2 * 8192 * 47 / 8)
        );
        assert!(summary.secure && summary.log_qp <= 214.0);
        let [top, middle, _] = summary.levels.as_slice() else {
            panic!("three levels")
        };
        assert_eq!((top.level, top.key_switches, top.plain_products), (2, 2, 2));
        assert_eq!((middle.level, middle.key_switches), (1, 1));
    }
}
