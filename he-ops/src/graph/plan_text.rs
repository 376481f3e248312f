//! Plans as readable, deterministic text: golden in the tests, printed by `server plan`.

use std::fmt;

use super::builder::Op;
use super::plan::{Plan, Step};
use super::text::write_op;

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

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
