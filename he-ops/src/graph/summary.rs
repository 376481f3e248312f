//! What a plan amounts to: counts, sizes, security.

use serde::{Deserialize, Serialize};

use super::builder::Op;
use super::plan::Plan;
use crate::Result;

/// Work at one level (of the operands).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelCounts {
    /// Level of the operands.
    pub level: usize,
    /// Rotations, conjugations and relinearisations.
    pub key_switches: usize,
    /// Ciphertext-ciphertext products, squares included.
    pub products: usize,
    /// Plaintext-ciphertext products.
    pub plain_products: usize,
    /// Rescales, those of alignments included.
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
    /// Rotations, conjugations and relinearisations.
    pub key_switches: usize,
    /// Rotations among them.
    pub rotations: usize,
    /// Rotations that share a decomposition with another.
    pub hoisted_rotations: usize,
    /// Conjugations among the key switches.
    pub conjugations: usize,
    /// Relinearisations among the key switches.
    pub relinearizations: usize,
    /// Ciphertext-ciphertext products, squares included.
    pub ciphertext_products: usize,
    /// Plaintext-ciphertext products.
    pub plaintext_products: usize,
    /// Rescales, those of alignments included.
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

impl PlanSummary {
    pub(super) fn of(plan: &Plan) -> Result<PlanSummary> {
        let params = &plan.params;
        let top = plan.steps.iter().map(|step| step.level.max(step.level_in)).max();
        let top = top.unwrap_or(0);
        let mut levels: Vec<LevelCounts> = (0..=top)
            .map(|level| LevelCounts {
                level,
                ..LevelCounts::default()
            })
            .collect();
        let mut hoisted = 0;
        let (mut rotations, mut conjugations, mut relinearizations) = (0, 0, 0);
        for step in &plan.steps {
            let mut unused = LevelCounts::default();
            let counts = levels.get_mut(step.level_in).unwrap_or(&mut unused);
            counts.key_switches += usize::from(step.is_key_switch());
            hoisted += usize::from(step.group.is_some() && matches!(step.op, Op::Rotate(..)));
            match &step.op {
                Op::Rotate(..) => rotations += 1,
                Op::Conjugate(_) => conjugations += 1,
                Op::Relinearize(_) => relinearizations += 1,
                Op::Mul(..) => counts.products += 1,
                Op::WeightedSum(terms) => counts.plain_products += terms.len(),
                Op::LinearMap(_, map) => counts.plain_products += map.diagonals(),
                Op::Rescale(_) => counts.rescales += 1,
                Op::RelinearizeRescale(_) => {
                    relinearizations += 1;
                    counts.rescales += 1;
                }
                Op::Align(_, level) => {
                    if let Some(above) = levels.get_mut(level + 1) {
                        above.rescales += 1;
                    }
                }
                _ => {}
            }
        }
        levels.reverse();
        let total = |count: fn(&LevelCounts) -> usize| levels.iter().map(count).sum::<usize>();
        let security = params.security();
        let sizes = |ports: &[super::Port], parts: u64| {
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
            key_switches: total(|counts| counts.key_switches),
            rotations,
            hoisted_rotations: hoisted,
            conjugations,
            relinearizations,
            ciphertext_products: total(|counts| counts.products),
            plaintext_products: total(|counts| counts.plain_products),
            rescales: total(|counts| counts.rescales),
            keys: plan.keys().len(),
            key_bytes: plan.key_bytes()?,
            request_bytes: sizes(&plan.inputs, 1),
            reply_bytes: match plan.decision() {
                Some(decision) => decision.label_bytes(),
                None => sizes(&plan.outputs, 2),
            },
            peak_bytes: peak_bytes(plan),
            levels,
        })
    }
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
    #[must_use]
    pub fn parts(&self) -> Vec<usize> {
        let mut parts: Vec<usize> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let args = step.op.args();
            let own = match &step.op {
                Op::Mul(..) => 3,
                Op::Relinearize(_) | Op::RelinearizeRescale(_) => 2,
                _ => {
                    let known = args.iter().filter_map(|arg| parts.get(arg.index()));
                    known.copied().max().unwrap_or(2)
                }
            };
            parts.push(own);
        }
        parts
    }
}

/// Largest sum of the sizes of live ciphertexts, with 8 bytes a residue.
fn peak_bytes(plan: &Plan) -> u64 {
    let parts = plan.parts();
    let (mut live, mut peak) = (0_u64, 0_u64);
    let size =
        |step: &super::Step, parts: usize| 8 * (parts * (step.level + 1) * plan.params.degree()) as u64;
    for (step, own) in plan.steps.iter().zip(&parts) {
        live += size(step, *own);
        peak = peak.max(live);
        for freed in &step.frees {
            if let (Some(made), Some(parts)) = (plan.steps.get(freed.index()), parts.get(freed.index())) {
                live = live.saturating_sub(size(made, *parts));
            }
        }
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
