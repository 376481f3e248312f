//! Rows of the `primitives` and `peers` tables: what was measured, under which parameters, to which precision.

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Result;
use he_ops::rlwe::Params;
use serde::{Deserialize, Serialize};

use crate::engine::millis;
use crate::stats::Runs;
use crate::workloads::{Op, Ring};

/// One measurement. The peers' programs print the same, one a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Who.
    pub peer: String,
    /// What.
    pub op: String,
    /// log2 of the ring degree.
    pub log_n: u32,
    /// log2 of the largest modulus of a key.
    pub log_qp: f64,
    /// log2 of the ciphertext modulus of the operands.
    pub log_q: f64,
    /// Levels of the operands; of a bootstrap, those of its result.
    pub levels: usize,
    /// Threads.
    pub threads: usize,
    /// Median time of one operation.
    pub median_ms: f64,
    /// Bits of the largest error; none where the arithmetic is exact.
    pub precision_bits: Option<f64>,
    /// Bits of the mean error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision_mean_bits: Option<f64>,
    /// Bytes of the evaluation keys on the wire.
    pub bytes: u64,
    /// Bytes of the encoded weights in memory.
    #[serde(default)]
    pub weight_bytes: u64,
    /// What stands behind the parameters.
    pub security: String,
    /// How the work differs from what the name says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Our own name in the tables.
pub const OURS: &str = "he-ops";

/// Times a closure in milliseconds: one run to warm up, then at least `least` runs and about a second, at most 500; short
/// runs are timed several at once.
///
/// # Errors
/// - as the closure
pub fn time(least: usize, mut f: impl FnMut() -> Result<()>) -> Result<Runs> {
    let start = Instant::now();
    f()?;
    let first = millis(start);
    let batch = (1.0 / first.max(1e-3)).ceil().clamp(1.0, 1000.0) as usize;
    let mut runs = Vec::new();
    let start = Instant::now();
    while runs.len() < least || (millis(start) < 1000.0 && runs.len() < 500) {
        let start = Instant::now();
        for _ in 0..batch {
            f()?;
        }
        runs.push(millis(start) / batch as f64);
    }
    Ok(Runs::new(runs))
}

/// Measures one operation.
///
/// # Errors
/// - the operation does not fit the parameters, or its result disagrees with the oracle
pub fn measure(op: Op, ring: &Rc<Ring>) -> Result<Row> {
    let mut workload = op.prepare(ring)?;
    let precision = workload.precision()?;
    let runs = time(5, || workload.run())?;
    let params = &workload.params;
    Ok(Row {
        peer: OURS.to_owned(),
        op: op.name().to_owned(),
        log_n: params.log_n(),
        log_qp: params.log_qp(),
        log_q: workload.log_q,
        levels: workload.levels,
        threads: rayon::current_num_threads(),
        median_ms: runs.median_ms / f64::from(workload.per_run),
        precision_bits: precision.map(|p| p.min_bits),
        precision_mean_bits: precision.map(|p| p.mean_bits),
        bytes: workload.key_bytes,
        weight_bytes: workload.weight_bytes,
        security: security(params),
        note: String::new(),
    })
}

fn security(params: &Params) -> String {
    let report = params.security();
    let bound = report
        .log_qp_bound
        .map_or("none".to_owned(), |b| format!("{b:.0}"));
    format!("128 bits: {} secret, log2 QP up to {bound}", report.secret)
}

/// Rows as text, in columns.
///
/// # Errors
/// - none: writing to a string
pub fn table(rows: &[Row]) -> Result<String> {
    let mut out = String::new();
    writeln!(
        out,
        "{:<28} {:<26} {:>5} {:>6} {:>6} {:>6} {:>7} {:>11} {:>6} {:>9} {:>9} {:>10}",
        "peer",
        "op",
        "log N",
        "log QP",
        "log Q",
        "levels",
        "threads",
        "median ms",
        "bits",
        "mean bits",
        "keys MB",
        "weights MB"
    )?;
    let megabytes = |bytes: u64| match bytes {
        0 => "-".to_owned(),
        bytes => format!("{:.1}", bytes as f64 / 1e6),
    };
    let bits = |bits: Option<f64>| bits.map_or("exact".to_owned(), |bits| format!("{bits:.1}"));
    for row in rows {
        let digits = if row.median_ms < 10.0 { 3 } else { 1 };
        writeln!(
            out,
            "{:<28} {:<26} {:>5} {:>6.0} {:>6.0} {:>6} {:>7} {:>11.digits$} {:>6} {:>9} {:>9} {:>10}",
            row.peer,
            row.op,
            row.log_n,
            row.log_qp,
            row.log_q,
            row.levels,
            row.threads,
            row.median_ms,
            bits(row.precision_bits),
            bits(row.precision_mean_bits),
            megabytes(row.bytes),
            megabytes(row.weight_bytes)
        )?;
    }
    Ok(out)
}
