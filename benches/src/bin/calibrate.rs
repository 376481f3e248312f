//! Measures this machine for the cost model.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::Context;
use benches::calibrate::rings;
use benches::machine::Machine as System;
use clap::Parser;
use he_ops::cost::{Machine, Sample, compare, fit};
use serde::Serialize;

/// Measures this machine for the cost model.
///
/// Runs circuits in which every kind of operation occurs at many levels, at N = 2^14, 2^15 and 2^16, on one thread and
/// on all cores; fits the coefficients of the cost model to the times of their steps, and writes them to a file, for
/// `server plan --machine FILE` and `latency --machine FILE`. Takes about three minutes and 6 GiB. Nothing else should
/// run meanwhile: the least time of several runs counts.
#[derive(Debug, Parser)]
#[command(name = "calibrate", version, after_help = EXAMPLES)]
struct Args {
    /// Where the coefficients go.
    #[arg(long, default_value = "machine.json", value_name = "FILE")]
    out: PathBuf,
    /// Largest log2 of the ring degree; smaller is faster and less true.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(14..=16))]
    log_n: u32,
    /// Numbers of threads; 1 is always among them.
    #[arg(long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Runs of every circuit on each number of threads.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Prints one JSON document on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  cargo run --release -p benches --bin calibrate
  cargo run --release -p benches --bin calibrate -- --out epyc.json
  cargo run --release -p server -- plan --model bert-base --machine epyc.json";

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document {
    system: System,
    machine: Machine,
    samples: Vec<Row>,
}

/// A sample beside its prediction.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    sample: Sample,
    predicted_us: f64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let system = System::this();
    let mut threads = if args.threads.is_empty() {
        vec![system.cores]
    } else {
        args.threads
    };
    threads.push(1);
    threads.sort_unstable();
    threads.dedup();
    let mut samples = Vec::new();
    for ring in rings(args.log_n) {
        eprintln!("N = {}", ring.name);
        samples.extend(ring.measure(&threads, args.runs as usize)?);
    }
    let machine = fit(&system.to_string(), &samples, &Machine::default());
    let text = serde_json::to_string_pretty(&machine)?;
    std::fs::write(&args.out, text + "\n").with_context(|| format!("cannot write {}", args.out.display()))?;
    eprintln!("written to {}", args.out.display());
    let rows = compare(&machine, &samples);
    if args.json {
        let samples = rows.into_iter().map(|(sample, predicted_us)| Row {
            sample: sample.clone(),
            predicted_us,
        });
        let document = Document {
            samples: samples.collect(),
            system,
            machine,
        };
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    println!("{system}\n");
    println!(
        "{:<48} {:<13} {:>7} {:>12} {:>12} {:>6}",
        "sample", "kind", "threads", "measured ms", "predicted ms", "ratio"
    );
    for (sample, predicted) in rows {
        println!(
            "{:<48} {:<13} {:>7} {:>12.3} {:>12.3} {:>6.2}",
            sample.name,
            sample.kind.name(),
            sample.threads,
            sample.us / 1e3,
            predicted / 1e3,
            predicted / sample.us
        );
    }
    Ok(())
}
