//! Accuracy of a model: in clear with a division, in clear with the polynomial, and encrypted through the real server.

use std::process::ExitCode;

use anyhow::Context;
use benches::accuracy::{self, Clear, Encrypted};
use benches::machine::Machine;
use clap::Parser;
use models::Bundle;
use serde::Serialize;

/// Accuracy of a model on its held-out sentences: in clear, and encrypted through the real server.
///
/// In clear, the whole test split: once with an exact division in the attention, once with the polynomial that a server
/// can evaluate under encryption. Encrypted, a part of the same split: the HTTP server is started in this process on a
/// loopback port, fresh keys are made and uploaded, and every sentence goes the whole way. Each encrypted answer is
/// held against the clear polynomial model: the label must be the same for at least 99 % of the sentences, and no logit
/// may be off by more than 2^-7; otherwise the exit status is 1.
#[derive(Debug, Parser)]
#[command(name = "evaluate", version, after_help = EXAMPLES)]
struct Args {
    /// Model folder, or the name of one in models/. It must hold a test.tsv.
    #[arg(long, default_value = "sentiment", env = "MODEL")]
    model: String,
    /// Sentences to evaluate encrypted, taken evenly from the test split; 0 for the clear accuracies alone.
    #[arg(long, default_value_t = 100)]
    encrypted: usize,
    /// Threads of an evaluation; 0 takes all cores.
    #[arg(long, default_value_t = 0, value_parser = server::parse_threads)]
    threads: usize,
    /// Prints one JSON document on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  cargo run --release -p benches --bin evaluate -- --model sentiment --encrypted 100
  cargo run --release -p benches --bin evaluate -- --encrypted 0 --json";

/// Labels that must be those of the clear polynomial model, as a share.
const AGREEMENT: f64 = 0.99;
/// Largest difference of a logit.
const LOGIT_ERROR: f64 = 1.0 / 128.0;

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document {
    model: String,
    machine: Machine,
    threads: usize,
    clear: Clear,
    encrypted: Option<Encrypted>,
    /// Agreement and logit error within their bounds.
    passed: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let document = runtime.block_on(measure(&args))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print(&document);
    }
    Ok(if document.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(args: &Args) -> anyhow::Result<Document> {
    let dir = benches::open_model(&args.model)?;
    let rows = models::split::read(dir.path()).context("the held-out sentences")?;
    let (bundle, model) = (Bundle::open(&dir)?, dir.model()?);
    eprintln!("{}: {} held-out sentences in clear", dir.id(), rows.len());
    let clear = accuracy::clear(&model, &bundle, &rows)?;
    let encrypted = if args.encrypted == 0 {
        None
    } else {
        let chosen = accuracy::spread(&rows, args.encrypted);
        eprintln!(
            "{} of them encrypted, through a server in this process",
            chosen.len()
        );
        let progress = |done, total| {
            if done % 10 == 0 || done == total {
                eprintln!("{done} of {total}");
            }
        };
        Some(accuracy::encrypted(&dir, &model, &chosen, args.threads, progress).await?)
    };
    let passed = encrypted
        .as_ref()
        .is_none_or(|e| e.agreement >= AGREEMENT && e.max_logit_error <= LOGIT_ERROR);
    let machine = Machine::this();
    let threads = if args.threads == 0 {
        machine.cores
    } else {
        args.threads
    };
    Ok(Document {
        model: dir.id().to_owned(),
        machine,
        threads,
        clear,
        encrypted,
        passed,
    })
}

fn print(document: &Document) {
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    let clear = &document.clear;
    println!("model       {}", document.model);
    println!("system      {}; {} threads", document.machine, document.threads);
    println!("\nin clear, {} held-out sentences", clear.sentences);
    println!("  exact division         {:>9}", percent(clear.exact_accuracy));
    println!(
        "  polynomial             {:>9}",
        percent(clear.polynomial_accuracy)
    );
    println!("  most frequent label    {:>9}", percent(clear.majority));
    println!("  same label by both     {:>9}", percent(clear.agreement));
    let Some(encrypted) = &document.encrypted else {
        return;
    };
    println!("\nencrypted through the server, {} of them", encrypted.sentences);
    println!("  encrypted              {:>9}", percent(encrypted.accuracy));
    println!(
        "  polynomial in clear    {:>9}",
        percent(encrypted.clear_accuracy)
    );
    println!(
        "  same label by both     {:>9}   at least {} needed",
        percent(encrypted.agreement),
        percent(AGREEMENT)
    );
    println!(
        "  largest logit error    {:>9.2e}   2^{:.1}; at most 2^{} allowed",
        encrypted.max_logit_error,
        encrypted.max_logit_error_log2,
        LOGIT_ERROR.log2()
    );
    if !encrypted.disagreements.is_empty() {
        println!("  another label          {}", encrypted.disagreements.join(", "));
    }
    let runs = |name: &str, runs: &benches::stats::Runs| {
        println!(
            "  {name:<22} {:>6.0} ms   {:.0} to {:.0}",
            runs.median_ms, runs.min_ms, runs.max_ms
        );
    };
    runs("evaluation, median", &encrypted.evaluate);
    runs("round trip, median", &encrypted.round_trip);
    println!("  key generation         {:>6.0} ms   once", encrypted.keygen_ms);
    println!(
        "  evaluation keys        {:>6.1} MB   once",
        encrypted.upload_bytes as f64 / 1e6
    );
    println!(
        "  request                {:>6.2} MB",
        encrypted.request_bytes as f64 / 1e6
    );
    println!(
        "  reply                  {:>6.2} MB",
        encrypted.reply_bytes as f64 / 1e6
    );
    println!(
        "\n{}",
        if document.passed {
            "passed"
        } else {
            "FAILED: see the bounds above"
        }
    );
}
