//! How good a model is: in clear with divisions, in clear with polynomials, and encrypted through the real server.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use benches::accuracy::{Clear, Encrypted, Subject, spread};
use benches::labels::Labels;
use benches::machine::Machine;
use benches::score::Score;
use clap::Parser;
use client::Reply;
use serde::Serialize;

/// How good a model is on held-out inputs: in clear, and encrypted through the real server.
///
/// In clear: once with exact divisions, once with the polynomials that a server can evaluate under encryption. Encrypted,
/// some of the same inputs: the HTTP server is started in this process on a loopback port, fresh keys are made and
/// uploaded, and every input goes the whole way. Of a classifier the labels count, of a language model the next token at
/// every position, of an embedding its direction. Each encrypted answer is held against the polynomials in clear: 99 % of
/// the labels must be the same, and no number may be off by more than 2^-7 (of the largest number of all answers, if that
/// is above 1); otherwise the exit status is 1.
#[derive(Debug, Parser)]
#[command(name = "evaluate", version, after_help = EXAMPLES)]
struct Args {
    /// Model folder, or the name of one in models/.
    #[arg(long, default_value = "sentiment", env = "MODEL")]
    model: String,
    /// Held-out inputs: id, domain, label, text with tabs between, after a header that says so. For images pixels in place
    /// of the text, for a language model the number of the token that follows as label [default: test.tsv of the folder].
    #[arg(long, value_name = "FILE")]
    split: Option<PathBuf>,
    /// Inputs to evaluate in clear, taken evenly from the split [default: all].
    #[arg(long, value_name = "N")]
    clear: Option<usize>,
    /// Inputs to evaluate encrypted, taken evenly from the split; 0 for those in clear alone.
    #[arg(long, default_value_t = 100, value_name = "N")]
    encrypted: usize,
    /// What to ask the server for: the numbers that the model ends with, or the exact class alone. Of labels none may be
    /// contradicted by the clear logits beyond the resolution of the decision; otherwise the exit status is 1.
    #[arg(long, default_value_t, value_name = "logits|label")]
    reply: Reply,
    /// Threads of an evaluation; 0 takes all cores.
    #[arg(long, default_value_t = 0, value_parser = server::parse_threads)]
    threads: usize,
    /// Prints one JSON document on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  cargo run --release -p benches --bin evaluate -- --model sentiment --encrypted 100
  cargo run --release -p benches --bin evaluate -- --encrypted 0 --json
  cargo run --release -p benches --bin evaluate -- --model sentiment --encrypted 100 --reply label
  polynomial-transformers r8 --split r8.tsv
  cargo run --release -p benches --bin evaluate -- --model r8 --split r8.tsv --encrypted 20";

/// Labels that must be those of the clear polynomial model, as a share.
const AGREEMENT: f64 = 0.99;

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document {
    model: String,
    machine: Machine,
    threads: usize,
    clear: Clear,
    encrypted: Option<Encrypted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Labels>,
    /// Agreement and errors within their bounds.
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
    let split = args.split.clone();
    let split = split.unwrap_or_else(|| dir.path().join(models::bundle::split::FILE));
    let rows = models::bundle::split::read(&split).context("the held-out inputs, see --split")?;
    let (id, chosen) = (
        dir.id().to_owned(),
        spread(&rows, args.clear.unwrap_or(rows.len())),
    );
    let subject = Subject::open(dir)?;
    eprintln!("{id}: {} held-out inputs in clear", chosen.len());
    let clear = subject.clear(&chosen)?;
    let (mut encrypted, mut labels) = (None, None);
    if args.encrypted > 0 {
        let chosen = spread(&rows, args.encrypted);
        eprintln!("{} encrypted, through a server in this process", chosen.len());
        let progress = |done, total| {
            if done % 10 == 0 || done == total {
                eprintln!("{done} of {total}");
            }
        };
        match args.reply {
            Reply::Logits => encrypted = Some(subject.encrypted(&chosen, args.threads, progress).await?),
            Reply::Label => labels = Some(subject.labels(&chosen, args.threads, progress).await?),
        }
    }
    let passed = encrypted.as_ref().is_none_or(|e| {
        e.score.agreement.is_none_or(|share| share >= AGREEMENT) && e.score.max_error <= e.tolerance
    }) && labels.as_ref().is_none_or(|labels| labels.wrong.is_empty());
    let machine = Machine::this();
    let threads = if args.threads == 0 {
        machine.cores
    } else {
        args.threads
    };
    Ok(Document {
        model: id,
        machine,
        threads,
        clear,
        encrypted,
        labels,
        passed,
    })
}

fn print(document: &Document) {
    println!("model       {}", document.model);
    println!("system      {}; {} threads\n", document.machine, document.threads);
    println!(
        "{:<26}{:>7}{:>10}{:>12}{:>12}{:>19}{:>11}{:>11}",
        "", "inputs", "accuracy", "perplexity", "same label", "cosine mean, least", "error", "median"
    );
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let row = |name: &str, score: &Score, compared: bool, median: Option<f64>| {
        println!(
            "{name:<26}{:>7}{:>10}{:>12}{:>12}{:>19}{:>11}{:>11}",
            score.inputs,
            shown(score.accuracy.map(percent)),
            shown(score.perplexity.map(|p| format!("{p:.3}"))),
            shown(score.agreement.filter(|_| compared).map(percent)),
            shown(
                score
                    .cosine
                    .filter(|_| compared)
                    .map(|[mean, least]| format!("{mean:.6}, {least:.6}"))
            ),
            shown(compared.then(|| format!("{:.1e}", score.max_error))),
            shown(median.map(|ms| format!("{ms:.0} ms"))),
        );
    };
    row("exact division", &document.clear.exact, false, None);
    row("polynomial", &document.clear.polynomial, true, None);
    if let Some(gap) = document.clear.polynomial.gap {
        println!("\nlargest difference of two logits {gap:.2}");
    }
    if let Some(labels) = &document.labels {
        print_labels(labels, document.passed);
    }
    let Some(encrypted) = &document.encrypted else {
        return;
    };
    row("polynomial, these inputs", &encrypted.polynomial, false, None);
    row(
        "encrypted",
        &encrypted.score,
        true,
        Some(encrypted.evaluate.median_ms),
    );
    println!(
        "\nEach against the row above it; encrypted needs {} of the labels and an error of at most {:.1e}.",
        percent(AGREEMENT),
        encrypted.tolerance
    );
    if !encrypted.disagreements.is_empty() {
        println!("another label          {}", encrypted.disagreements.join(", "));
    }
    println!(
        "depth {}, {} bootstraps; an evaluation is predicted to take {:.0} ms",
        encrypted.depth, encrypted.bootstraps, encrypted.predicted_ms
    );
    for (name, runs) in [
        ("evaluation", &encrypted.evaluate),
        ("round trip", &encrypted.round_trip),
    ] {
        println!(
            "{name:<16}{:>7.0} ms   {:.0} to {:.0}",
            runs.median_ms, runs.min_ms, runs.max_ms
        );
    }
    println!("key generation  {:>7.0} ms   once", encrypted.keygen_ms);
    for (name, bytes) in [
        ("evaluation keys", encrypted.upload_bytes),
        ("request", encrypted.request_bytes),
        ("reply", encrypted.reply_bytes),
    ] {
        println!("{name:<16}{:>7.2} MB", bytes as f64 / 1e6);
    }
    println!(
        "\n{}",
        if document.passed {
            "passed"
        } else {
            "FAILED: see the bounds above"
        }
    );
}

fn print_labels(labels: &Labels, passed: bool) {
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    println!("\n{} encrypted labels", labels.inputs);
    println!("accuracy               {}", percent(labels.accuracy));
    println!("in clear, these inputs {}", percent(labels.clear_accuracy));
    println!("same label as in clear {}", percent(labels.agreement));
    println!(
        "near ties              {}, two best logits nearer than the resolution of {:.3}; {} without a label",
        labels.near_ties, labels.resolution, labels.undecided
    );
    println!(
        "another label          {:?}, contradicted by at most {:.3}; beyond the resolution {:?}",
        labels.disagreements, labels.largest_contradiction, labels.wrong
    );
    println!(
        "exact decision      {:>7.0} ms   {:.0} to {:.0}, {} bootstraps",
        labels.head.median_ms, labels.head.min_ms, labels.head.max_ms, labels.bootstraps
    );
    println!("evaluation      {:>7.0} ms", labels.evaluate.median_ms);
    println!("key of the head {:>7.2} MB", labels.key_bytes as f64 / 1e6);
    println!(
        "label           {:>7.2} kB; reply with its report {:.2} kB",
        labels.label_bytes as f64 / 1e3,
        labels.reply_bytes as f64 / 1e3
    );
    println!(
        "\n{}",
        if passed {
            "passed"
        } else {
            "FAILED: a label beyond the resolution is wrong"
        }
    );
}
