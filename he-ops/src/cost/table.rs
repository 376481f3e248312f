//! Costs as text: what `server plan` prints below the head of a plan.

use std::fmt;

use super::plan::{LabelCost, PlanCosts};

fn row(f: &mut fmt::Formatter<'_>, row: &LabelCost) -> fmt::Result {
    let c = &row.counts;
    writeln!(
        f,
        "{:<24} {:<18} {:>9} {:>6} {:>12} {:>9} {:>10} {:>10} {:>12.1} {:>6.1}%",
        row.layer,
        row.op,
        format!("{} -> {}", row.level_in, row.level_out),
        row.steps,
        c.key_switches,
        c.products,
        c.plain_products,
        c.bootstraps,
        row.ms,
        row.share * 100.0
    )
}

impl fmt::Display for PlanCosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24} {:<18} {:>9} {:>6} {:>12} {:>9} {:>10} {:>10} {:>12} {:>7}",
            "layer", "op", "level", "steps", "key switches", "products", "plain", "bootstraps", "ms", "share"
        )?;
        for own in self.rows.iter().chain(&self.by_category()) {
            row(f, own)?;
        }
        let all = self.rows.iter().cloned().reduce(|mut all, own| {
            all.absorb(&own);
            all
        });
        if let Some(all) = all {
            let (layer, op) = ("all".to_owned(), "all".to_owned());
            row(f, &LabelCost { layer, op, ..all })?;
        }
        writeln!(f)?;
        for own in &self.kinds {
            let share = 100.0 * own.ms / self.total_ms.max(f64::MIN_POSITIVE);
            writeln!(f, "{:<24} {:>12.1} ms {share:>6.1}%", own.kind.name(), own.ms)?;
        }
        let c = &self.counts;
        writeln!(
            f,
            "\n{} bootstraps, {} rotations of {} key switches, {} products of ciphertexts, {} with weights; those within \
             bootstraps not counted",
            c.bootstraps, c.rotations, c.key_switches, c.products, c.plain_products
        )?;
        let gb = |bytes: u64| bytes as f64 / 1e9;
        writeln!(
            f,
            "memory at the peak {:.2} GB: ciphertexts {:.2}, expanded keys {:.2}, matrices of the bootstrap {:.2}, \
             weights {:.2}; keys {:.2} GB on the wire",
            gb(self.memory.total()),
            gb(self.memory.ciphertexts),
            gb(self.memory.keys),
            gb(self.memory.matrices),
            gb(self.memory.weights),
            gb(self.key_bytes)
        )?;
        writeln!(
            f,
            "predicted {:.1} s on {} thread{} of: {}",
            self.total_ms / 1e3,
            self.threads,
            if self.threads == 1 { "" } else { "s" },
            self.machine
        )
    }
}
