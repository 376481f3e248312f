//! Semantic search with a private query.
//!
//! Two roles. The **corpus is public**: whoever has the model embeds its texts in clear, once, into an index. The **query is
//! private**: it is encrypted on this machine, the server embeds it under encryption and never sees the text or the vector,
//! and the vector is decrypted and held against the index here. So the server does not learn what was found either.
//!
//! ```sh
//! cargo run --release -p client --example search -- "will I get my money back"
//! ```

use clap::Parser;
use client::demo::{self, Options};
use client::terminal::Progress;
use client::ui::Ui;
use client::{Answer, Query, cosine};
use models::model::Mode;
use models::{Bundle, ModelDir};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Search public texts by meaning, with a query that the server does not see.
///
/// Embeds every line of the corpus in clear and keeps the vectors in an index; then embeds the query under encryption by the
/// real server in this process, decrypts the vector, and prints the nearest lines.
#[derive(Debug, Parser)]
#[command(
    name = "search",
    after_help = "\
Examples:
  search \"will I get my money back\"
  search --corpus notes.txt --top 10 --check \"trouble with the landlord\"

With a server elsewhere, three commands of the client make the vector:
  client encrypt -m minilm \"trouble with the landlord\" | client infer -m minilm > reply.he
  client decrypt -m minilm reply.he --vector query.json
  search --corpus notes.txt --vector query.json"
)]
pub(crate) struct Args {
    /// What to look for.
    #[arg(allow_hyphen_values = true, required_unless_present = "vector")]
    query: Option<String>,
    /// Public texts, one per line.
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/search.txt"))]
    corpus: PathBuf,
    /// Where the vectors of the corpus are kept [default: beside the corpus].
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// A vector decrypted before, as JSON, in place of an evaluation here.
    #[arg(long, value_name = "FILE")]
    vector: Option<PathBuf>,
    /// Lines to print.
    #[arg(long, short = 'k', default_value_t = 5, value_name = "K")]
    top: usize,
    /// Embed the query in clear as well and compare the rankings; exit code 7 if the printed lines differ.
    #[arg(long, requires = "query")]
    check: bool,
    /// Model of sentence embeddings.
    #[arg(long, short, default_value = "minilm", value_name = "ID")]
    model: String,
    /// Folder of model folders [default: models].
    #[arg(long, env = "HE_MODELS", value_name = "DIR")]
    models: Option<PathBuf>,
    /// Threads; 0 takes all cores.
    #[arg(long, default_value_t = 0, value_parser = server::parse_threads)]
    threads: usize,
}

/// Vectors of a corpus, and of what they were made.
#[derive(Serialize, Deserialize)]
struct Index {
    /// blake3 of model and corpus, hex.
    digest: String,
    /// (texts, features).
    vectors: Vec<Vec<f64>>,
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

/// Embeds texts by the polynomial model in clear, on `threads` threads: (texts, features).
fn embed(dir: &ModelDir, texts: &[&str], threads: usize, ui: &dyn Ui) -> Result<Vec<Vec<f64>>> {
    let (bundle, model) = (Bundle::open(dir)?, dir.model()?);
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let found = Mutex::new(vec![Vec::new(); texts.len()]);
    let work = || -> Result<()> {
        loop {
            let row = next.fetch_add(1, Ordering::Relaxed);
            let Some(text) = texts.get(row) else {
                return Ok(());
            };
            let vector = model.forward(&bundle.embed(text)?.x, Mode::Polynomial)?;
            if !vector.iter().all(|v| v.is_finite()) {
                return Err(format!("\"{text}\": outside of the model's ranges, no finite vector").into());
            }
            if let Some(slot) = found.lock().unwrap_or_else(PoisonError::into_inner).get_mut(row) {
                *slot = vector;
            }
            ui.at(done.fetch_add(1, Ordering::Relaxed) as u64 + 1);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .map_err(|_| "a thread of the index failed".to_owned())?
        })
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The index from its file, or made and written there if the file is of another corpus or model.
fn index(path: &Path, dir: &ModelDir, texts: &[&str], threads: usize, ui: &dyn Ui) -> Result<Vec<Vec<f64>>> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&dir.digest()?);
    hasher.update(texts.join("\n").as_bytes());
    let digest = hasher.finalize().to_hex().to_string();
    let kept = std::fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok());
    if let Some(kept) = kept.filter(|kept| kept.digest == digest && kept.vectors.len() == texts.len()) {
        ui.done(
            "index",
            &format!("{} texts, from {}", texts.len(), path.display()),
        );
        return Ok(kept.vectors);
    }
    ui.start("index", texts.len() as u64, false);
    let vectors = embed(dir, texts, threads, ui)?;
    let index = Index { digest, vectors };
    std::fs::write(path, serde_json::to_vec(&index)?).map_err(at(path))?;
    ui.done(
        "index",
        &format!(
            "{} texts embedded in clear, kept in {}",
            texts.len(),
            path.display()
        ),
    );
    Ok(index.vectors)
}

/// (cosine, number) of every text, the nearest first.
fn rank(query: &[f64], vectors: &[Vec<f64>]) -> Vec<(f64, usize)> {
    let mut ranked: Vec<_> = vectors
        .iter()
        .map(|vector| cosine(query, vector))
        .zip(0..)
        .collect();
    ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    ranked
}

fn vector(answer: Answer) -> Result<Vec<f64>> {
    match answer {
        Answer::Embedding { vector } if vector.iter().all(|v| v.is_finite()) => Ok(vector),
        Answer::Embedding { .. } => Err("the vector of the query has numbers that are not finite".into()),
        _ => Err("a model of sentence embeddings needed, such as minilm".into()),
    }
}

/// Prints the nearest lines; false if the printed ones are not those of a query in clear, where that is checked.
pub(crate) async fn search(args: Args) -> Result<bool> {
    let ui = Arc::new(Progress::new(false));
    let text = std::fs::read_to_string(&args.corpus).map_err(at(&args.corpus))?;
    let texts: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if texts.is_empty() {
        return Err(format!("{}: no texts, one per line needed", args.corpus.display()).into());
    }
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if args.threads == 0 { cores() } else { args.threads };
    let models = server::models_folder(args.models);
    let dir = ModelDir::open(models.join(&args.model))?;
    if dir.head() != models::Head::Embedding {
        return Err(format!("{} does not embed: a model such as minilm needed", args.model).into());
    }
    let beside = || PathBuf::from(format!("{}.index", args.corpus.display()));
    let vectors = index(&args.index.unwrap_or_else(beside), &dir, &texts, threads, &*ui)?;

    let query = args.query.unwrap_or_default();
    let found = if let Some(path) = &args.vector {
        let numbers = serde_json::from_slice(&std::fs::read(path).map_err(at(path))?)
            .map_err(|error| format!("{}: numbers in JSON needed: {error}", path.display()))?;
        vector(Answer::Embedding { vector: numbers })?
    } else {
        let options = Options {
            model: args.model,
            models,
            threads: args.threads,
            reply: None,
        };
        let ui = Arc::clone(&ui);
        vector(demo::run(&options, &Query::Text(query.clone()), ui).await?.answer)?
    };
    if vectors.first().is_some_and(|first| first.len() != found.len()) {
        return Err(format!(
            "the query has {} numbers, the index others: another model?",
            found.len()
        )
        .into());
    }
    let ranked = rank(&found, &vectors);
    println!();
    for (near, number) in ranked.iter().take(args.top) {
        println!("  {near:.4}  {}", texts.get(*number).unwrap_or(&""));
    }
    if !args.check {
        return Ok(true);
    }
    let clear = embed(&dir, &[&query], 1, &*ui)?.pop().unwrap_or_default();
    let other = rank(&clear, &vectors);
    let same = ranked.iter().zip(&other).take_while(|(a, b)| a.1 == b.1).count();
    let shown = args.top.min(texts.len());
    println!(
        "\n  cosine to the query's vector in clear {:.6}",
        cosine(&found, &clear)
    );
    if same == texts.len() {
        println!("  the ranking of all {same} texts is that of the query in clear");
    } else {
        println!(
            "  the first {same} places of {} are those of the query in clear, the next differs",
            texts.len()
        );
    }
    Ok(same >= shown)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(search(args)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(7),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
