//! The engine's operations one by one, each held against an oracle.

#![forbid(unsafe_code)]

use benches::machine::Machine;
use benches::rows::{Row, measure, table};
use benches::workloads::{Op, Ring, Shape};
use clap::Parser;
use serde::Serialize;

/// The engine's operations one by one: median times, precision, key sizes.
///
/// Every operation starts at the highest level of the parameters and is held against plain arithmetic in f64; the
/// column `bits` is the largest error of all slots. A bootstrap has parameters of its own (one preset for N = 2^15, one
/// for 2^16), its `levels` are those that it leaves. Without options the parameters are those on which engines are
/// usually compared: N = 2^14 with 8 levels of 40 bits, 2^15 with 16 of 40, 2^16 with 24 of 45. All are 128-bit secure
/// or refused.
#[derive(Debug, Parser)]
#[command(name = "primitives", version, after_help = EXAMPLES)]
struct Args {
    /// log2 of the ring degree.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(13..=16))]
    log_n: u32,
    /// Levels; 25 with --log-scale 50 is a modulus of 1300 bits.
    #[arg(long)]
    levels: Option<usize>,
    /// log2 of the scale.
    #[arg(long, value_parser = clap::value_parser!(u32).range(20..=50))]
    log_scale: Option<u32>,
    /// Threads of an operation; 0 takes all cores.
    #[arg(long, default_value_t = 1, value_parser = server::parse_threads)]
    threads: usize,
    /// Measures only these operations.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Op>,
    /// Prints one JSON document on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  cargo run --release -p benches --bin primitives
  cargo run --release -p benches --bin primitives -- --levels 25 --log-scale 50 --only rotate,multiply
  cargo run --release -p benches --bin primitives -- --log-n 15 --threads 2 --json > primitives.json";

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document {
    machine: Machine,
    security: String,
    rows: Vec<Row>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build()?;
    let document = pool.install(|| run(&args))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        println!("{}\n{}\n", document.machine, document.security);
        print!("{}", table(&document.rows)?);
    }
    Ok(())
}

fn run(args: &Args) -> anyhow::Result<Document> {
    let usual = Shape::usual(args.log_n);
    let shape = Shape {
        log_n: args.log_n,
        levels: args.levels.unwrap_or(usual.levels),
        log_scale: args.log_scale.unwrap_or(usual.log_scale),
    };
    let ring = Ring::new(shape)?;
    let security = ring.params.security().to_string();
    eprintln!("{security}");
    let asked = |op: &Op| args.only.is_empty() || args.only.contains(op);
    let mut rows = Vec::new();
    for op in Op::ALL.into_iter().filter(asked) {
        if let Some(obstacle) = op.obstacle(shape) {
            eprintln!("{}: skipped, {obstacle}", op.name());
            continue;
        }
        eprintln!("{}", op.name());
        rows.push(measure(op, &ring)?);
    }
    Ok(Document {
        machine: Machine::this(),
        security,
        rows,
    })
}
