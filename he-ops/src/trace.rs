//! Where the time of a run goes: per layer and category, and per primitive; the report that a reply carries.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Work of one kind, summed over a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpRecord {
    /// Layer, e.g. `layer0.attention`; `all` in the table by primitive.
    pub layer: String,
    /// Category of work (`ciphertext matmul`) or primitive (`rotate`).
    pub op: String,
    /// Primitive operations executed.
    pub count: u64,
    /// Highest level of an operand.
    pub level_in: usize,
    /// Lowest level of a result.
    pub level_out: usize,
    /// Microseconds spent.
    pub total_us: f64,
    /// Part of the evaluation, 0 to 1.
    pub share: f64,
}

/// A stretch of the way of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `receive`, `queue`, `decode`, `evaluate` or `encode`.
    pub name: String,
    /// Microseconds.
    pub us: f64,
}

/// What one evaluation cost, as sent with each reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencyReport {
    /// The model or plan that ran.
    pub model: String,
    /// Digest of the parameters, in hex.
    pub params_digest: String,
    /// Threads that the evaluation could use.
    pub threads: usize,
    /// The way of the request, in order.
    pub phases: Vec<Phase>,
    /// Rows per layer and category, in order of first execution; their times sum to `evaluate_us - overhead_us`.
    pub ops: Vec<OpRecord>,
    /// The same time again, per primitive.
    pub primitives: Vec<OpRecord>,
    /// Wall time of the evaluation, microseconds.
    pub evaluate_us: f64,
    /// Part of it outside of every operation: the executor itself.
    pub overhead_us: f64,
}

impl LatencyReport {
    /// Adds a phase at the end.
    pub fn push_phase(&mut self, name: &str, duration: Duration) {
        self.phases.push(Phase {
            name: name.to_owned(),
            us: micros(duration),
        });
    }

    /// The rows summed over layers, one per category.
    pub fn by_category(&self) -> Vec<OpRecord> {
        let mut rows: Vec<OpRecord> = Vec::new();
        for op in &self.ops {
            match rows.iter_mut().find(|row| row.op == op.op) {
                Some(row) => row.absorb(op),
                None => rows.push(OpRecord {
                    layer: "all".to_owned(),
                    ..op.clone()
                }),
            }
        }
        rows
    }
}

impl OpRecord {
    fn absorb(&mut self, other: &OpRecord) {
        self.count += other.count;
        self.level_in = self.level_in.max(other.level_in);
        self.level_out = self.level_out.min(other.level_out);
        self.total_us += other.total_us;
        self.share += other.share;
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, title: &str, rows: &[OpRecord]) -> fmt::Result {
    writeln!(
        f,
        "{title:<24} {:<20} {:>6} {:>9} {:>11} {:>7}",
        "op", "count", "level", "ms", "share"
    )?;
    for row in rows {
        writeln!(
            f,
            "{:<24} {:<20} {:>6} {:>9} {:>11.3} {:>6.1}%",
            row.layer,
            row.op,
            row.count,
            format!("{} -> {}", row.level_in, row.level_out),
            row.total_us / 1e3,
            row.share * 100.0
        )?;
    }
    Ok(())
}

impl fmt::Display for LatencyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_table(f, "layer", &self.ops)?;
        writeln!(f)?;
        write_table(f, "primitive", &self.primitives)?;
        let overhead = if self.evaluate_us > 0.0 {
            self.overhead_us / self.evaluate_us
        } else {
            0.0
        };
        writeln!(
            f,
            "\nevaluate {:.3} ms on {} thread{}, {:.2} % of it outside of operations",
            self.evaluate_us / 1e3,
            self.threads,
            if self.threads == 1 { "" } else { "s" },
            overhead * 100.0
        )?;
        self.phases
            .iter()
            .try_for_each(|phase| writeln!(f, "{:<12} {:>11.3} ms", phase.name, phase.us / 1e3))
    }
}

#[derive(Debug, Clone)]
struct Row {
    first_seen: usize,
    count: u64,
    level_in: usize,
    level_out: usize,
    total: Duration,
}

/// Collects times during [`exec::run`](crate::exec::run): a map update per step, nothing per slot.
#[derive(Debug, Clone, Default)]
pub struct Tracer {
    ops: BTreeMap<(String, String), Row>,
    primitives: BTreeMap<&'static str, Row>,
    wall: Duration,
}

impl Tracer {
    /// A tracer that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes one executed primitive.
    pub fn record(&mut self, step: &crate::graph::Step, time: Duration) {
        let order = self.ops.len();
        let key = (step.label.layer.clone(), step.label.op.clone());
        Row::note(self.ops.entry(key).or_insert_with(|| Row::new(order)), step, time);
        let order = self.primitives.len();
        Row::note(
            self.primitives
                .entry(step.op.name())
                .or_insert_with(|| Row::new(order)),
            step,
            time,
        );
    }

    /// Notes the wall time of a whole run.
    pub fn record_wall(&mut self, time: Duration) {
        self.wall += time;
    }

    /// Wall time of the runs seen.
    pub fn wall(&self) -> Duration {
        self.wall
    }

    /// Time inside operations.
    pub fn in_operations(&self) -> Duration {
        self.primitives.values().map(|row| row.total).sum()
    }

    /// Rows per layer and category, in order of first execution.
    pub fn ops(&self) -> Vec<OpRecord> {
        let rows = self
            .ops
            .iter()
            .map(|((layer, op), row)| (row, layer.as_str(), op.as_str()));
        self.table(rows.collect())
    }

    /// Rows per primitive, in order of first execution.
    pub fn primitives(&self) -> Vec<OpRecord> {
        self.table(
            self.primitives
                .iter()
                .map(|(op, row)| (row, "all", *op))
                .collect(),
        )
    }

    /// The report of the runs seen; phases other than `evaluate` are the server's to add.
    pub fn report(&self, plan: &crate::graph::Plan, threads: usize) -> LatencyReport {
        let digest = plan.params.digest();
        LatencyReport {
            model: plan.name.clone(),
            params_digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            threads,
            phases: Vec::new(),
            ops: self.ops(),
            primitives: self.primitives(),
            evaluate_us: micros(self.wall),
            overhead_us: micros(self.wall.saturating_sub(self.in_operations())),
        }
    }

    fn table(&self, mut rows: Vec<(&Row, &str, &str)>) -> Vec<OpRecord> {
        rows.sort_by_key(|(row, ..)| row.first_seen);
        let wall = micros(self.wall);
        let share = |us: f64| if wall > 0.0 { us / wall } else { 0.0 };
        rows.into_iter()
            .map(|(row, layer, op)| OpRecord {
                layer: layer.to_owned(),
                op: op.to_owned(),
                count: row.count,
                level_in: row.level_in,
                level_out: row.level_out,
                total_us: micros(row.total),
                share: share(micros(row.total)),
            })
            .collect()
    }
}

impl Row {
    fn new(first_seen: usize) -> Self {
        Row {
            first_seen,
            count: 0,
            level_in: 0,
            level_out: usize::MAX,
            total: Duration::ZERO,
        }
    }

    fn note(&mut self, step: &crate::graph::Step, time: Duration) {
        self.count += 1;
        self.level_in = self.level_in.max(step.level_in);
        self.level_out = self.level_out.min(step.level);
        self.total += time;
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ckks::Pattern;
    use crate::exec::{Plain, run};
    use crate::graph::{Graph, compile};
    use num_complex::Complex64;
    use std::ops::ControlFlow;

    #[test]
    fn every_step_is_in_both_tables_once() {
        let mut g = Graph::new(1 << 12);
        let x = g.input("x");
        let y = g.scope("layer0", "matmul", |g| {
            let (a, b) = (g.rotate(x, 1), g.rotate(x, 2));
            let half = Pattern::constant(0.5).unwrap();
            g.weighted_sum([(a, half.clone()), (b, half)])
        });
        let y = g.scope("layer1", "matmul", |g| g.rotate(y, 4));
        let y = g.scope("layer1", "activation", |g| g.square(y));
        g.output("y", y);
        let plan = compile(&g, "tables", 35).unwrap();
        let mut tracer = Tracer::new();
        let inputs = [("x".to_owned(), vec![Complex64::ONE; 1 << 12])].into();
        let mut backend = Plain::new(1 << 12);
        run(&plan, &mut backend, &inputs, &mut tracer, &mut |_, _| {
            ControlFlow::Continue(())
        })
        .unwrap();
        let mut report = tracer.report(&plan, 2);
        report.push_phase("evaluate", tracer.wall());

        let steps = plan.steps.len() as u64;
        assert_eq!(report.ops.iter().map(|op| op.count).sum::<u64>(), steps);
        assert_eq!(report.primitives.iter().map(|op| op.count).sum::<u64>(), steps);
        let sum: f64 = report.ops.iter().map(|op| op.total_us).sum();
        assert!((sum + report.overhead_us - report.evaluate_us).abs() < 1.0);
        let names: Vec<_> = report
            .ops
            .iter()
            .map(|op| (op.layer.as_str(), op.op.as_str()))
            .collect();
        let expected = [
            ("input", "input"),
            ("layer0", "matmul"),
            ("layer1", "matmul"),
            ("layer1", "activation"),
        ];
        assert_eq!(names, expected);
        let matmul = report
            .by_category()
            .into_iter()
            .find(|op| op.op == "matmul")
            .unwrap();
        assert_eq!((matmul.level_in, matmul.level_out), (2, 1));
        let text = serde_json::to_string(&report).unwrap();
        // Times may lose their last bit in decimal.
        assert_eq!(
            serde_json::from_str::<LatencyReport>(&text).unwrap().to_string(),
            report.to_string()
        );
        assert!(report.to_string().contains("on 2 threads"));
    }
}
