//! Command line of the service.

#![forbid(unsafe_code)]

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use he_ops::cost::{Machine, PlanCosts, plan_costs};
use he_ops::graph::PlanSummary;
use models::lower::{Lowering, Target, plan_shape};
use server::Config;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Runs trained models on encrypted inputs.
///
/// The service evaluates a compiled plan on ciphertexts with evaluation keys that the clients upload. It never sees a
/// secret key, an input or an answer.
#[derive(Debug, Parser)]
#[command(
    name = "server",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  server serve                                 serve models/ on 127.0.0.1:8080
  server serve --listen 0.0.0.0:80 --data-dir /var/lib/he --log-format json
  server plan --model sentiment                what the model will cost, layer by layer
  server plan --model sentiment --steps        every step of it
  server plan --model sentiment --json         the same numbers for a program
  server plan --model minilm-l6                what a transformer of this shape would cost, layer by layer

The service speaks plain HTTP: put a proxy that terminates TLS in front of it.
Ciphertexts are malleable, so clients need an authenticated channel."
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the models of a folder over HTTP.
    Serve(ServeArgs),
    /// Print the compiled plan of a model: parameters, security, levels, keys, steps.
    Plan(PlanArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
SIGTERM or Ctrl-C: takes no new work, finishes what is queued, exits with 0.
Try it:  curl http://127.0.0.1:8080/v1/models")]
struct ServeArgs {
    /// Address and port; port 0 takes a free one and logs it.
    #[arg(long, env = "HE_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Folder of model folders.
    #[arg(long, env = "HE_MODELS", value_name = "DIR")]
    models: Option<PathBuf>,
    /// Serve only this model of the folder.
    #[arg(long, env = "HE_MODEL", value_name = "ID")]
    model: Option<String>,
    /// Folder for uploaded evaluation keys; they survive a restart.
    #[arg(long, env = "HE_DATA_DIR", value_name = "DIR", default_value = "data")]
    data_dir: PathBuf,
    /// Threads inside one evaluation; 0 takes all cores.
    #[arg(long, env = "HE_THREADS", default_value_t = 0, value_parser = server::parse_threads)]
    threads: usize,
    /// Evaluations at a time.
    #[arg(long, env = "HE_WORKERS", default_value_t = 1, value_parser = server::parse_threads)]
    workers: usize,
    /// Requests that may wait before the service answers 429.
    #[arg(long, env = "HE_QUEUE", default_value_t = 8)]
    queue: usize,
    /// Memory that the service may use, in MiB [default: nine tenths of what the machine or its container has]. What the
    /// models, their evaluations and the requests leave of it keeps the expanded keys of recent clients.
    #[arg(long, env = "HE_MEMORY_MIB", value_name = "MIB")]
    memory_mib: Option<u64>,
    /// Memory for requests that are read, wait or are evaluated, in MiB.
    #[arg(long, env = "HE_REQUEST_MIB", value_name = "MIB", default_value_t = 256)]
    request_mib: u64,
    /// Disk for uploaded evaluation keys, in MiB.
    #[arg(long, env = "HE_KEY_STORE_MIB", default_value_t = 20480)]
    key_store_mib: u64,
    /// Seconds without a byte after which a sending client is dropped.
    #[arg(long, env = "HE_IDLE_SECONDS", default_value_t = 30)]
    idle_seconds: u64,
    /// Form of the log on stderr; RUST_LOG sets what is logged.
    #[arg(long, env = "HE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    /// Model to compile: a folder of the models, a built-in shape (bert-tiny, minilm-l6, bert-base, pythia-70m,
    /// pythia-1.4b), or a file CONFIG.json of a polynomial transformer. Shapes and files need no weights.
    #[arg(long, value_name = "ID|CONFIG.json")]
    model: String,
    /// Folder of model folders.
    #[arg(long, env = "HE_MODELS", value_name = "DIR")]
    models: Option<PathBuf>,
    /// Counts, sizes, parameters and costs as one JSON document.
    #[arg(long)]
    json: bool,
    /// The plan that ends with a label, of a model with an exact decision.
    #[arg(long)]
    label: bool,
    /// Every step, and no costs.
    #[arg(long, conflicts_with = "json")]
    steps: bool,
    /// Coefficients of the machine that the plan would run on, as `calibrate` of the benches writes them; a machine with
    /// AVX-512 IFMA if left out.
    #[arg(long, value_name = "FILE")]
    machine: Option<PathBuf>,
    /// Threads of an evaluation.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Serve(args) => serve(args),
        Command::Plan(args) => plan(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour =
        std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    let mut config = Config::new(server::models_folder(args.models), args.data_dir);
    config.only = args.model;
    config.threads = args.threads;
    config.workers = args.workers;
    config.queue = args.queue;
    config.memory_bytes = args.memory_mib.map(|mib| mib.saturating_mul(1 << 20));
    config.request_bytes = args.request_mib.saturating_mul(1 << 20);
    config.key_store_bytes = args.key_store_mib << 20;
    config.idle_timeout = Duration::from_secs(args.idle_seconds);

    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind(args.listen).await.with_context(|| {
            format!(
                "cannot listen on {}; is another server running there?",
                args.listen
            )
        })?;
        server::serve(config, listener, signalled()).await
    })
}

/// Resolves on SIGTERM or Ctrl-C.
async fn signalled() {
    let interrupt = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "Ctrl-C cannot be caught");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM cannot be caught");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! { () = interrupt => {}, () = terminate => {} }
}

/// The JSON document of `plan`.
#[derive(serde::Serialize)]
struct Document {
    #[serde(flatten)]
    summary: PlanSummary,
    lowering: Lowering,
    costs: PlanCosts,
}

fn plan(args: &PlanArgs) -> anyhow::Result<()> {
    use std::io::Write;
    let shape = match models::model::shapes::shape(&args.model) {
        None if args.model.ends_with(".json") => {
            let bytes = std::fs::read(&args.model).with_context(|| format!("cannot read {}", args.model))?;
            Some(models::model::TransformerConfig::from_json(&bytes)?)
        }
        shape => shape,
    };
    let target = Target {
        machine: match &args.machine {
            Some(file) => server::read_machine(file)?,
            None => Machine::default(),
        },
        threads: args.threads as usize,
        ..Target::default()
    };
    let (plan, choice) = match &shape {
        Some(config) => {
            let compiled = plan_shape(&args.model, config, &target)?;
            (compiled.plan, compiled.choice)
        }
        None => {
            let folder = server::models_folder(args.models.clone()).join(&args.model);
            if !folder.is_dir() {
                anyhow::bail!(
                    "no model {} in {}; known shapes are {}, and a configuration ends in .json",
                    args.model,
                    folder.parent().unwrap_or(&folder).display(),
                    models::model::shapes::NAMES.join(", ")
                );
            }
            let dir = models::ModelDir::open(folder)?;
            let compiled = dir.compile(&target)?;
            let plan = match dir.decision().filter(|_| args.label) {
                Some(decision) => compiled.plan.decided(decision.decision(&compiled.packing)?)?,
                None => compiled.plan,
            };
            (plan, compiled.choice)
        }
    };
    if args.label && plan.decision().is_none() {
        anyhow::bail!(
            "{} has no exact decision: no decision in its config.json",
            args.model
        );
    }
    let mut out = std::io::stdout().lock();
    let written = if args.steps {
        write!(out, "{plan}")
    } else {
        let costs = plan_costs(&plan, &target.machine, target.threads)?;
        if args.json {
            let document = Document {
                summary: plan.summary()?,
                lowering: choice.lowering,
                costs,
            };
            writeln!(out, "{}", serde_json::to_string_pretty(&document)?)
        } else {
            write!(out, "{}  lowered to {choice}\n\n{costs}", plan.head())
        }
    };
    match written.and_then(|()| out.flush()) {
        // `server plan | head` is no failure.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
