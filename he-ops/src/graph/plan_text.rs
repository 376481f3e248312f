//! Graphs and plans as readable, deterministic text: what the tests of the passes compare, golden plans, and what
//! `server plan` prints.

use std::fmt;

use super::builder::Graph;
use super::facts::{Class, KeyUse};
use super::op::Op;
use super::plan::{Plan, Step};
use crate::decision::decision_key_bytes;

/// Operation and operands; a weighted sum names its inputs and the longest period of its weights, never the weights.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = self;
        write!(f, "{}", op.name())?;
        if let Op::Input { name } = op {
            write!(f, " {name}")?;
        }
        match op {
            Op::Mul(a, b) if a == b => write!(f, " {a}")?,
            Op::WeightedSum(_) | Op::LinearMap(..) | Op::Decide(..) => {
                // Runs of ids are written as ranges: the 16 baby steps of a matrix fit on one line.
                let args = op.args();
                let mut rest = args.as_slice();
                while let Some((first, _)) = rest.split_first() {
                    let run = rest
                        .iter()
                        .zip(first.index()..)
                        .take_while(|(id, index)| id.index() == *index)
                        .count();
                    let (head, tail) = rest.split_at(run.max(1));
                    match head {
                        [.., last] if head.len() > 2 => write!(f, " {first}..{last}")?,
                        _ => head.iter().try_for_each(|id| write!(f, " {id}"))?,
                    }
                    rest = tail;
                }
            }
            _ => op.args().iter().try_for_each(|arg| write!(f, " {arg}"))?,
        }
        match op {
            Op::MulI(_, power) => write!(f, " power {power}"),
            Op::Rotate(_, k) => write!(f, " by {k}"),
            Op::Cut(_, cut) => write!(f, " number {cut}"),
            Op::LinearMap(_, map) => write!(f, " {} diagonals, n {}", map.diagonals(), map.baby_steps()),
            Op::Decide(_, decision) => write!(
                f,
                " {} classes, {} bootstraps",
                decision.classes(),
                decision.bootstraps()
            ),
            Op::DropLevel(_, level) | Op::Align(_, level) => write!(f, " to {level}"),
            Op::AddPlain(_, pattern) => write!(f, " period {}", pattern.period()),
            _ => match op.class() {
                Class::WeightedSum { period, .. } => write!(f, " period {period}"),
                _ => Ok(()),
            },
        }
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, node) in self.numbered() {
            writeln!(f, "{id} = {}", node.op)?;
        }
        for (name, value) in self.outputs() {
            writeln!(f, "output {name} = {value}")?;
        }
        Ok(())
    }
}

fn write_step(f: &mut fmt::Formatter<'_>, id: usize, step: &Step) -> fmt::Result {
    let mut words = step.op.to_string();
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
                 relinearisations){}",
                s.depth,
                s.steps,
                s.key_switches,
                s.rotations,
                s.hoisted_rotations,
                s.conjugations,
                s.relinearizations,
                if s.bootstrap.is_some() {
                    "; those within bootstraps not counted, here and below"
                } else {
                    ""
                }
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
                Err(error) => writeln!(f, "; {error}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Overview<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0;
        plan.write_head(f)?;
        writeln!(
            f,
            "\n{:<24} {:<18} {:>9} {:>12} {:>9} {:>10} {:>10}",
            "layer", "op", "level", "key switches", "products", "plain", "bootstraps"
        )?;
        for row in plan.rows() {
            let level = format!("{} -> {}", row.level_in, row.level_out);
            writeln!(
                f,
                "{:<24} {:<18} {level:>9} {:>12} {:>9} {:>10} {:>10}",
                row.label.layer,
                row.label.op,
                row.counts.key_switches,
                row.counts.products,
                row.counts.plain_products,
                row.counts.bootstraps
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
        for (key, level) in &self.step_keys {
            match key {
                KeyUse::Relinearization => writeln!(f, "  relinearise   level {level}")?,
                KeyUse::Conjugation => writeln!(f, "  conjugate     level {level}")?,
                KeyUse::Rotation(k) => writeln!(f, "  rotate {k:>6} level {level}")?,
            }
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
