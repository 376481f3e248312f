//! Where the time of one encrypted inference goes: per category, per layer, per primitive, cold and warm.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use benches::engine::{Engine, Evaluated, Setup};
use benches::machine::Machine;
use benches::stats::Runs;
use clap::Parser;
use he_ops::graph::{Counts, Plan, PlanSummary};
use he_ops::trace::{LatencyReport, OpRecord};
use models::Bundle;
use serde::Serialize;

/// Where the time of one encrypted inference goes, cold and warm.
///
/// Compiles the model, makes a fresh set of keys, encrypts one sentence and evaluates it several times with the engine
/// itself: no network, no server. The first run is cold (no buffer and no table has been touched); the others are warm,
/// and the table shows the one nearest to their median. Every number is the latency of a single query, not amortised.
///
/// Rows are the categories in which HE transformer papers report: plaintext matmul (weights times ciphertext),
/// ciphertext matmul (queries times keys, scores times values), power softmax, reciprocal, activation, head, and repack
/// (masks, copies, conjugations). Beside the times stands what the plan predicted: key switches and products.
#[derive(Debug, Parser)]
#[command(name = "latency", version, after_help = EXAMPLES)]
struct Args {
    /// Model folder, the name of one in models/, or a built-in shape with synthetic weights: bert-tiny, minilm-l6,
    /// bert-base, pythia-70m.
    #[arg(long, default_value = "sentiment", env = "MODEL")]
    model: String,
    /// Warm runs; the cold one comes on top. For a built-in shape: runs, each on a fresh input.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Only so many layers of a built-in shape.
    #[arg(long)]
    layers: Option<usize>,
    /// Coefficients of this machine, as `calibrate` writes them, for the prediction beside a built-in shape.
    #[arg(long, value_name = "FILE")]
    machine: Option<PathBuf>,
    /// Threads of an evaluation; 0 takes all cores.
    #[arg(long, default_value_t = 0, value_parser = server::parse_threads)]
    threads: usize,
    /// The sentence. The time does not depend on it: every input has the same shape.
    #[arg(long, default_value = "an utterly charming film")]
    text: String,
    /// Prints one JSON document on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  cargo run --release -p benches --bin latency -- --model sentiment --runs 5
  cargo run --release -p benches --bin latency -- --model bert-tiny --runs 1
  cargo run --release -p benches --bin latency -- --model minilm-l6 --layers 1 --runs 1
  cargo run --release -p benches --bin latency -- --threads 1 --json > latency.json";

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document {
    model: String,
    machine: Machine,
    threads: usize,
    /// Said outright, since papers differ in it.
    measured: &'static str,
    plan: PlanSummary,
    setup: Setup,
    encrypt: Runs,
    decrypt: Runs,
    cold_ms: f64,
    warm: Runs,
    categories: Vec<Category>,
    cold: LatencyReport,
    warm_median: LatencyReport,
}

/// A category, predicted and measured.
#[derive(Debug, Serialize)]
struct Category {
    op: String,
    steps: u64,
    key_switches: u64,
    ciphertext_products: u64,
    plaintext_products: u64,
    cold_ms: f64,
    warm_ms: f64,
    /// Of the warm evaluation, 0 to 1.
    share: f64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build()?;
    if let Some(config) = models::model::shapes::shape(&args.model) {
        let machine = match &args.machine {
            Some(file) => server::read_machine(file)?,
            None => he_ops::cost::Machine::default(),
        };
        let measured = pool.install(|| {
            benches::transformer::measure(&args.model, config, args.layers, args.runs, &machine)
        })?;
        if args.json {
            println!("{}", serde_json::to_string_pretty(&measured)?);
        } else {
            print!("{measured}");
        }
        return Ok(());
    }
    let document = pool.install(|| measure(&args))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print!("{}", table(&document)?);
    }
    Ok(())
}

fn measure(args: &Args) -> anyhow::Result<Document> {
    let model = benches::open_model(&args.model)?;
    let x = Bundle::open(&model)?.embed(&args.text)?.x;
    eprintln!("{}: compiling, then making keys", model.id());
    let engine = Engine::new(&model, |_, _| ())?;
    let mut all = Vec::new();
    for run in 0..=args.runs {
        let evaluated = engine.evaluate(&x, |_, _| ())?;
        let name = if run == 0 {
            "cold".to_owned()
        } else {
            format!("warm {run} of {}", args.runs)
        };
        eprintln!("{name}: {:.1} ms", evaluated.report.evaluate_us / 1e3);
        all.push(evaluated);
    }
    let of = |value: fn(&Evaluated) -> f64| Runs::new(all.iter().map(value).collect());
    let (encrypt, decrypt) = (of(|run| run.encrypt_ms), of(|run| run.decrypt_ms));
    let mut reports = all.into_iter().map(|run| run.report);
    let cold = reports.next().context("the cold run")?;
    let mut reports: Vec<LatencyReport> = reports.collect();
    let warm = Runs::new(reports.iter().map(|report| report.evaluate_us / 1e3).collect());
    let warm_median = reports.swap_remove(warm.median_run());
    Ok(Document {
        model: model.id().to_owned(),
        machine: Machine::this(),
        threads: warm_median.threads,
        measured: "one query at a time, not amortised over a batch",
        plan: engine.plan().summary()?,
        setup: engine.setup(),
        encrypt,
        decrypt,
        cold_ms: cold.evaluate_us / 1e3,
        warm,
        categories: categories(engine.plan(), &cold, &warm_median),
        cold,
        warm_median,
    })
}

/// Counts from the plan beside the times of the runs.
fn categories(plan: &Plan, cold: &LatencyReport, warm: &LatencyReport) -> Vec<Category> {
    let (cold, planned) = (cold.by_category(), plan.rows());
    let of = |rows: &[OpRecord], op: &str| {
        rows.iter()
            .find(|row| row.op == op)
            .map_or(0.0, |row| row.total_us)
    };
    let mut rows: Vec<Category> = warm
        .by_category()
        .into_iter()
        .map(|row| {
            let of_plan = || planned.iter().filter(|planned| planned.label.op == row.op);
            let counts: Counts = of_plan().map(|planned| planned.counts).sum();
            Category {
                steps: of_plan().map(|planned| planned.steps as u64).sum(),
                key_switches: counts.key_switches as u64,
                ciphertext_products: counts.products as u64,
                plaintext_products: counts.plain_products as u64,
                cold_ms: of(&cold, &row.op) / 1e3,
                warm_ms: row.total_us / 1e3,
                share: row.share,
                op: row.op,
            }
        })
        .collect();
    rows.sort_by(|a, b| b.warm_ms.total_cmp(&a.warm_ms));
    rows
}

fn table(document: &Document) -> anyhow::Result<String> {
    let Document {
        plan,
        setup,
        warm,
        warm_median,
        ..
    } = document;
    let mut out = String::new();
    writeln!(out, "model    {}, {}", document.model, document.measured)?;
    writeln!(
        out,
        "crypto   CKKS, N = {}, log2 QP = {:.1} (128-bit bound {}), secret {}, depth {}, scale 2^{}",
        plan.degree,
        plan.log_qp,
        plan.log_qp_bound
            .map_or("unknown".to_owned(), |bound| format!("{bound:.0}")),
        plan.secret,
        plan.depth,
        plan.log_scale
    )?;
    writeln!(
        out,
        "system   {}; {} thread{}",
        document.machine,
        document.threads,
        if document.threads == 1 { "" } else { "s" }
    )?;
    writeln!(
        out,
        "setup    compile {:.0} ms, key generation {:.0} ms ({} keys, {:.1} MB), expanding them {:.0} ms",
        setup.compile_ms,
        setup.keygen_ms,
        plan.keys,
        plan.key_bytes as f64 / 1e6,
        setup.expand_keys_ms
    )?;
    writeln!(
        out,
        "client   encrypt {:.1} ms ({:.2} MB), decrypt {:.1} ms ({:.2} MB)",
        document.encrypt.median_ms,
        plan.request_bytes as f64 / 1e6,
        document.decrypt.median_ms,
        plan.reply_bytes as f64 / 1e6
    )?;
    writeln!(
        out,
        "server   cold {:.1} ms; warm median {:.1} ms of {} runs ({:.1} to {:.1})\n",
        document.cold_ms,
        warm.median_ms,
        warm.runs_ms.len(),
        warm.min_ms,
        warm.max_ms
    )?;
    writeln!(
        out,
        "{:<18} {:>6} {:>9} {:>9} {:>9} {:>10} {:>10} {:>7}",
        "category", "steps", "key sw.", "ct*ct", "pt*ct", "cold ms", "warm ms", "share"
    )?;
    let row = |out: &mut String, op: &str, counts: [u64; 4], times: [f64; 2], share: f64| {
        let [steps, switches, products, plain] = counts;
        let [cold, warm] = times;
        writeln!(
            out,
            "{op:<18} {steps:>6} {switches:>9} {products:>9} {plain:>9} {cold:>10.1} {warm:>10.1} {:>6.1}%",
            share * 100.0
        )
    };
    let mut totals = ([0; 4], [0.0; 2], 0.0);
    for c in &document.categories {
        let counts = [
            c.steps,
            c.key_switches,
            c.ciphertext_products,
            c.plaintext_products,
        ];
        row(&mut out, &c.op, counts, [c.cold_ms, c.warm_ms], c.share)?;
        totals
            .0
            .iter_mut()
            .zip(counts)
            .for_each(|(total, count)| *total += count);
        totals
            .1
            .iter_mut()
            .zip([c.cold_ms, c.warm_ms])
            .for_each(|(total, ms)| *total += ms);
        totals.2 += c.share;
    }
    row(&mut out, "all", totals.0, totals.1, totals.2)?;
    writeln!(
        out,
        "\nthe warm run nearest to the median, per layer and per primitive:\n\n{warm_median}"
    )?;
    Ok(out)
}
