//! One encrypted run of a transformer of a built-in shape, held against its f64 polynomial forward.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use he_ops::ckks::{Decryptor, Encoder, Encryptor, Evaluator};
use he_ops::cost::{Machine, PlanCosts, plan_costs};
use he_ops::graph::{Plan, PlanSummary};
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, SecretKey};
use he_ops::trace::LatencyReport;
use models::lower::{Target, compile};
use models::model::Mode;
use models::model::TransformerConfig;
use models::model::forward;
use models::synthetic;
use serde::Serialize;

use crate::engine::millis;
use crate::timing::{Timed, run_timed};

/// What one run took and how right it was.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The shape, with the number of layers that were run.
    pub model: String,
    /// Said outright: the weights are synthetic.
    pub weights: &'static str,
    /// Counts, sizes, parameters.
    pub plan: PlanSummary,
    /// From weights to plan, in milliseconds; calibration included.
    pub compile_ms: f64,
    /// Keys on the side of the client and their expansion on the side of the server.
    pub keygen_ms: f64,
    /// Encoding the matrices of the bootstrap, once for all clients.
    pub bootstrapper_ms: f64,
    /// Encrypting all inputs.
    pub encrypt_ms: f64,
    /// The evaluation of every run.
    pub evaluate_ms: Vec<f64>,
    /// Largest difference between the decrypted output and the f64 polynomial forward.
    pub largest_error: f64,
    /// Largest output of the f64 polynomial forward.
    pub largest_output: f64,
    /// Most memory that the process had, in bytes; client and server are in it.
    pub peak_memory: u64,
    /// Of the fastest run.
    pub report: LatencyReport,
    /// The fastest run beside what the cost model said before: per layer and category.
    pub compared: Vec<Compared>,
    /// The same per kind of operation.
    pub kinds: Vec<Compared>,
    /// Milliseconds that the cost model said.
    pub predicted_ms: f64,
    /// Memory that the server needs by the cost model, in bytes.
    pub predicted_memory: u64,
    /// The machine of the cost model.
    pub machine: String,
}

/// A time beside its prediction.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    /// Layer and category, or kind.
    pub name: String,
    /// Milliseconds.
    pub measured_ms: f64,
    /// Milliseconds.
    pub predicted_ms: f64,
}

impl Compared {
    fn add(rows: &mut Vec<Compared>, name: &str, measured_ms: f64, predicted_ms: f64) {
        match rows.iter_mut().rfind(|row| row.name == name) {
            Some(row) => {
                row.measured_ms += measured_ms;
                row.predicted_ms += predicted_ms;
            }
            None => rows.push(Compared {
                name: name.to_owned(),
                measured_ms,
                predicted_ms,
            }),
        }
    }
}

/// Per layer and category, and per kind.
fn compare(plan: &Plan, costs: &PlanCosts, timed: &Timed) -> [Vec<Compared>; 2] {
    let [mut rows, mut kinds] = [Vec::new(), Vec::new()];
    for ((step, cost), time) in plan.steps.iter().zip(&costs.steps).zip(&timed.steps) {
        let (measured, predicted) = (time.as_secs_f64() * 1e3, cost.us / 1e3);
        let label = format!("{} {}", step.label.layer, step.label.op);
        Compared::add(&mut rows, &label, measured, predicted);
        Compared::add(&mut kinds, cost.kind.name(), measured, predicted);
    }
    [rows, kinds]
}

/// Runs `runs` fresh inputs through a model of this shape with synthetic weights; progress goes to stderr.
///
/// # Errors
/// - the shape cannot be compiled, or an operation is refused
pub fn measure(
    name: &str,
    mut config: TransformerConfig,
    layers: Option<usize>,
    runs: u32,
    machine: &Machine,
) -> anyhow::Result<Measured> {
    config.n_layers = layers.unwrap_or(config.n_layers).min(config.n_layers);
    let start = Instant::now();
    eprintln!("{name}: synthetic weights, calibration, plan");
    let (config, weights) = synthetic::calibrated(&config, 1)?;
    let target = Target {
        sample: synthetic::inputs(&config, 1, 3).pop(),
        ..Target::default()
    };
    let compiled = compile(name, &config, &weights, &target)?;
    for candidate in &compiled.candidates {
        eprintln!("  {candidate}");
    }
    let (plan, packing) = (compiled.plan, compiled.packing);
    let compile_ms = millis(start);
    let params = plan.params.clone();
    let summary = plan.summary()?;
    let costs = plan_costs(&plan, machine, rayon::current_num_threads())?;
    eprintln!(
        "{} steps, {} bootstraps, {:.1} s predicted; making {} keys, {:.0} MB",
        summary.steps,
        summary.bootstrap.map_or(0, |b| b.count),
        costs.total_ms / 1e3,
        summary.keys,
        summary.key_bytes as f64 / 1e6
    );
    let start = Instant::now();
    let secret = SecretKey::generate(&params)?;
    let keys = KeyGenerator::new(&params, &secret)?.evaluation_keys(&plan.keys(), |_, _| ())?;
    let keys = EvaluationKeys::from_seeded(&params, &plan.key_uses(), keys)?;
    let keygen_ms = millis(start);
    let encoder = Encoder::new(&params);
    let start = Instant::now();
    let bootstrapper = plan.bootstrapper(&encoder)?;
    let bootstrapper_ms = millis(start);
    let evaluator = Evaluator::new(&encoder, Arc::new(keys));

    let encryptor = Encryptor::new(&params, &secret)?;
    let decryptor = Decryptor::new(&params, &secret)?;
    let (mut evaluate_ms, mut encrypt_ms) = (Vec::new(), 0.0);
    let (mut largest_error, mut largest_output) = (0.0_f64, 0.0_f64);
    let mut fastest: Option<(f64, Timed)> = None;
    for (number, x) in (1..).zip(synthetic::inputs(&config, runs as usize, 2)) {
        let start = Instant::now();
        let slots = packing.pack(&x)?;
        let mut inputs = BTreeMap::new();
        for port in &plan.inputs {
            let values = slots.get(&port.name).context("an input of the packing")?;
            let plaintext = encoder.encode_repeated(values, port.level, params.scale(port.level)?)?;
            inputs.insert(port.name.clone(), encryptor.encrypt(&plaintext)?.expand(&params)?);
        }
        encrypt_ms = millis(start);
        let start = Instant::now();
        let mut said = 0;
        let timed = run_timed(
            &plan,
            &evaluator,
            bootstrapper.clone(),
            &inputs,
            &mut |done, total, since| {
                let seconds = since.as_secs();
                if seconds >= said + 5 {
                    said = seconds;
                    eprintln!("run {number}: step {done} of {total}, {seconds} s");
                }
            },
        )?;
        let took = millis(start);
        evaluate_ms.push(took);
        let mut answer = BTreeMap::new();
        for (name, ciphertext) in &timed.outputs {
            answer.insert(name.clone(), encoder.decode(&decryptor.decrypt(ciphertext)?)?);
        }
        let found = packing.unpack(&answer)?;
        let wanted = forward(&config, &weights, &x, Mode::Polynomial)?.output;
        for (found, wanted) in found.iter().zip(&wanted) {
            let error = (found - wanted).abs();
            // A number that is not one is an infinite error.
            largest_error = largest_error.max(if error.is_nan() { f64::INFINITY } else { error });
            largest_output = largest_output.max(wanted.abs());
        }
        if fastest.as_ref().is_none_or(|(least, _)| took < *least) {
            fastest = Some((took, timed));
        }
    }
    let (_, fastest) = fastest.context("at least one run")?;
    let [compared, kinds] = compare(&plan, &costs, &fastest);
    Ok(Measured {
        model: format!("{name}, {} layers", config.n_layers),
        weights: "synthetic, with the statistics of trained ones",
        plan: summary,
        compile_ms,
        keygen_ms,
        bootstrapper_ms,
        encrypt_ms,
        evaluate_ms,
        largest_error,
        largest_output,
        peak_memory: peak_memory(),
        report: fastest.tracer.report(&plan, rayon::current_num_threads()),
        compared,
        kinds,
        predicted_ms: costs.total_ms,
        predicted_memory: costs.memory.total(),
        machine: costs.machine,
    })
}

/// The high-water mark of the resident memory of this process; 0 where the system does not tell.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plan = &self.plan;
        writeln!(f, "model    {}; weights {}", self.model, self.weights)?;
        writeln!(
            f,
            "crypto   CKKS, N = {}, log2 QP = {:.1} (128-bit bound {}), secret {}, {} bootstraps",
            plan.degree,
            plan.log_qp,
            plan.log_qp_bound
                .map_or("unknown".to_owned(), |bound| format!("{bound:.0}")),
            plan.secret,
            plan.bootstrap.map_or(0, |b| b.count)
        )?;
        writeln!(
            f,
            "setup    compile {:.0} ms; {} keys, {:.0} MB, made and expanded in {:.0} ms; bootstrap prepared in {:.0} ms",
            self.compile_ms,
            plan.keys,
            plan.key_bytes as f64 / 1e6,
            self.keygen_ms,
            self.bootstrapper_ms
        )?;
        let times: Vec<String> = self
            .evaluate_ms
            .iter()
            .map(|ms| format!("{:.1} s", ms / 1e3))
            .collect();
        writeln!(
            f,
            "server   {} on {} thread{}, one query at a time; peak memory of client and server {:.1} GiB",
            times.join(", "),
            self.report.threads,
            if self.report.threads == 1 { "" } else { "s" },
            self.peak_memory as f64 / f64::from(1 << 30)
        )?;
        writeln!(
            f,
            "output   largest error {:.2e} = 2^{:.1} against the f64 polynomial forward (outputs up to {:.2})",
            self.largest_error,
            self.largest_error.log2(),
            self.largest_output,
        )?;
        writeln!(
            f,
            "model    {:.1} s and {:.1} GiB for the server predicted, for {}",
            self.predicted_ms / 1e3,
            self.predicted_memory as f64 / f64::from(1 << 30),
            self.machine
        )?;
        for (title, rows) in [("layer and op", &self.compared), ("kind", &self.kinds)] {
            writeln!(
                f,
                "\n{title:<44} {:>12} {:>12} {:>9}",
                "measured ms", "predicted ms", "p / m"
            )?;
            let mut all = Vec::new();
            for row in rows {
                write_compared(f, row)?;
                Compared::add(&mut all, "all", row.measured_ms, row.predicted_ms);
            }
            all.iter().try_for_each(|row| write_compared(f, row))?;
        }
        writeln!(f, "\n{}", self.report)
    }
}

fn write_compared(f: &mut std::fmt::Formatter<'_>, row: &Compared) -> std::fmt::Result {
    writeln!(
        f,
        "{:<44} {:>12.1} {:>12.1} {:>9.2}",
        row.name,
        row.measured_ms,
        row.predicted_ms,
        row.predicted_ms / row.measured_ms
    )
}
