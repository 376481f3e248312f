//! Plans as readable, deterministic text: golden in the tests, printed by `server plan`.

use std::fmt;

use super::builder::Op;
use super::plan::{Plan, Step};
use super::text::write_op;
use crate::decision::decision_key_bytes;

struct Words<'a>(&'a Op);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_op(f, self.0)
    }
}

fn write_step(f: &mut fmt::Formatter<'_>, id: usize, step: &Step) -> fmt::Result {
    let mut words = Words(&step.op).to_string();
    if let Some(group) = step.group {
        let how = if matches!(step.op, Op::Rotate(..)) {
            "hoisted"
        } else {
            "together"
        };
        words.push_str(&format!(" {how} {group}"));
    }
    let scale = step.scale.log2();
    write!(
        f,
        "%{id:<4} = {words:<44} level {:>2}  scale 2^{scale:<8.4}",
        step.level
    )?;
    writeln!(f, "  {} | {}", step.label.layer, step.label.op)
}

/// Operations of one layer and category.
#[derive(Default)]
struct Row {
    key_switches: usize,
    products: usize,
    diagonals: usize,
    bootstraps: usize,
    top: usize,
    bottom: Option<usize>,
}

/// What is known of a plan as a whole.
pub struct Head<'a>(&'a Plan);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_head(f)
    }
}

/// A plan without its steps: one line for each layer and category.
pub struct Overview<'a>(&'a Plan);

impl Plan {
    /// Parameters, security, keys, counts and sizes as text.
    #[must_use]
    pub fn head(&self) -> Head<'_> {
        Head(self)
    }

    /// The plan as text without its steps: parameters, keys, and one line for each layer and category of work.
    #[must_use]
    pub fn overview(&self) -> Overview<'_> {
        Overview(self)
    }

    /// Parameters, counts and sizes.
    fn write_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan {}", self.name)?;
        writeln!(f, "  {}", self.params.security())?;
        if let Ok(s) = self.summary() {
            writeln!(
                f,
                "  depth {}, {} steps, {} key switches ({} rotations, {} of them hoisted; {} conjugations; {} \
                 relinearisations)",
                s.depth,
                s.steps,
                s.key_switches,
                s.rotations,
                s.hoisted_rotations,
                s.conjugations,
                s.relinearizations
            )?;
            writeln!(
                f,
                "  {} ciphertext products, {} plaintext products, {} rescales",
                s.ciphertext_products, s.plaintext_products, s.rescales
            )?;
            writeln!(
                f,
                "  {} evaluation keys, {:.1} MB; request {:.2} MB; reply {:.2} MB; ciphertexts in memory {:.0} MB",
                s.keys,
                s.key_bytes as f64 / 1e6,
                s.request_bytes as f64 / 1e6,
                s.reply_bytes as f64 / 1e6,
                s.peak_bytes as f64 / 1e6
            )?;
            if let Some(b) = s.bootstrap {
                writeln!(
                    f,
                    "  {} bootstrap{} from level {} to {}, with {} of the keys",
                    b.count,
                    if b.count == 1 { "" } else { "s" },
                    b.input_level,
                    b.output_level,
                    b.keys
                )?;
            }
        }
        if let Some(decision) = self.decision() {
            write!(
                f,
                "  exact decision: label of {} classes, {} bootstraps of tfhe, key {:.1} MB",
                decision.classes(),
                decision.bootstraps(),
                decision_key_bytes(&self.params) as f64 / 1e6
            )?;
            match decision.resolution(&self.params) {
                Ok(resolution) => writeln!(f, "; told apart from {resolution:.2} of a logit on")?,
                Err(_) => writeln!(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Overview<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0;
        plan.write_head(f)?;
        let mut rows: Vec<((&str, &str), Row)> = Vec::new();
        let mut previous = None;
        for step in &plan.steps {
            let label = (step.label.layer.as_str(), step.label.op.as_str());
            let at = rows
                .iter()
                .position(|(known, _)| *known == label)
                .unwrap_or(rows.len());
            if at == rows.len() {
                rows.push((label, Row::default()));
            }
            let Some((_, row)) = rows.get_mut(at) else {
                continue;
            };
            row.key_switches += usize::from(step.is_key_switch());
            row.bootstraps += usize::from(matches!(step.op, Op::Bootstrap(_)));
            row.products += usize::from(matches!(step.op, Op::Mul(..)));
            if let Op::LinearMap(inputs, map) = &step.op {
                row.diagonals += map.diagonals();
                // Baby steps are shared with the maps before it in its group; giant steps are its own.
                let babies: usize = (0..inputs.len())
                    .map(|i| map.babies(i).iter().filter(|b| **b > 0).count())
                    .sum();
                let own = !matches!((&previous, step.group), (Some(group), Some(own)) if *group == own);
                row.key_switches += map.giants().count() - 1 + if own { babies } else { 0 };
            }
            previous = step.group;
            row.top = row.top.max(step.level_in);
            row.bottom = Some(row.bottom.unwrap_or(step.level).min(step.level));
        }
        writeln!(
            f,
            "\n{:<24} {:<18} {:>9} {:>12} {:>9} {:>10} {:>10}",
            "layer", "op", "level", "key switches", "products", "diagonals", "bootstraps"
        )?;
        for ((layer, op), row) in rows {
            let level = format!("{} -> {}", row.top, row.bottom.unwrap_or(0));
            writeln!(
                f,
                "{layer:<24} {op:<18} {level:>9} {:>12} {:>9} {:>10} {:>10}",
                row.key_switches, row.products, row.diagonals, row.bootstraps
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        if let Ok(s) = self.summary() {
            writeln!(
                f,
                "\n  level  key switches  products  plaintext products  rescales"
            )?;
            for l in &s.levels {
                writeln!(
                    f,
                    "  {:>5}  {:>12}  {:>8}  {:>18}  {:>8}",
                    l.level, l.key_switches, l.products, l.plain_products, l.rescales
                )?;
            }
        }
        writeln!(f, "\nkeys (with the highest level of use)")?;
        if let Some(level) = self.relin {
            writeln!(f, "  relinearise   level {level}")?;
        }
        if let Some(level) = self.conjugation {
            writeln!(f, "  conjugate     level {level}")?;
        }
        for (k, level) in &self.rotations {
            writeln!(f, "  rotate {k:>6} level {level}")?;
        }
        if let Some(planned) = &self.bootstrap {
            writeln!(f, "\nkeys of the bootstraps (with the level of the key)")?;
            for (purpose, level) in planned.keys.iter() {
                if planned.key_uses.contains_key(&purpose) {
                    writeln!(f, "  {} level {level}", purpose.describe(&self.params))?;
                }
            }
        }
        writeln!(f, "\nsteps")?;
        for (id, step) in self.steps.iter().enumerate() {
            write_step(f, id, step)?;
        }
        writeln!(f)?;
        for port in &self.outputs {
            writeln!(
                f,
                "output {} = {}  level {}  scale 2^{:.4}",
                port.name,
                port.value,
                port.level,
                port.scale.log2()
            )?;
        }
        Ok(())
    }
}
