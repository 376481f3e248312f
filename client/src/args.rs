//! The command line, and the texts that teach it.

use clap::{Args, Parser, Subcommand};
use client::Reply;
use std::path::PathBuf;

/// Private inference: a server runs a model on your text or image without seeing it.
///
/// The input is encrypted on this machine; the server computes on the ciphertext and returns a ciphertext; the answer is
/// decrypted here. The secret key never leaves this machine.
#[derive(Debug, Parser)]
#[command(
    name = "client",
    version,
    arg_required_else_help = true,
    after_help = "\
Start here:
  client demo \"an utterly charming film\"

The same in separate steps, against a server (server serve):
  client keygen --model sentiment
  client encrypt \"an utterly charming film\" | client infer | client decrypt

Data goes to stdout, everything else to stderr; - stands for stdin or stdout.

Exit codes:
  0  done
  1  failure
  2  wrong usage
  3  the server cannot be reached
  4  the server refused the request
  5  the server is busy or shutting down: try again
  6  damaged bytes, or made under other keys or parameters or by another release
  7  the encrypted answer is less precise than it should be

Connections are plain HTTP: reach a server on another machine through a local TLS tunnel.
See `client help COMMAND` for examples of each command."
)]
pub struct Cli {
    /// No progress and no remarks; errors still go to stderr.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[cfg(feature = "demo")]
    Demo(Demo),
    Keygen(Keygen),
    Encrypt(Encrypt),
    Infer(Infer),
    Decrypt(Decrypt),
    Models(Models),
    #[command(subcommand)]
    Keys(Keys),
    Inspect(Inspect),
}

/// The server to talk to.
#[derive(Debug, Args)]
pub struct Server {
    /// Address of the server.
    #[arg(
        long,
        env = "HE_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub server: String,
}

/// The keys of a model.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// Model to use.
    #[arg(long, short, env = "HE_MODEL", default_value = "sentiment", value_name = "ID")]
    pub model: String,
    /// Folder of the keys, one folder per model in it [default: he-keys in the user's data folder].
    #[arg(long, env = "HE_KEYS", value_name = "DIR")]
    pub keys: Option<PathBuf>,
}

/// An image in place of a text.
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// A grey image for a model of images: raw pixels, PGM, or IDX as of the MNIST sets.
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub image: Option<PathBuf>,
    /// Which image of an IDX file, from 0.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "image")]
    pub index: usize,
}

/// Where a result goes.
#[derive(Debug, Args)]
pub struct Output {
    /// Write here; - is stdout.
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    pub out: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    pub force: bool,
}

/// Run a model under encryption, with the real server in this process.
///
/// Makes keys, uploads them, encrypts the input, evaluates the model on the ciphertext, decrypts the answer, and shows
/// beside it what the same model says in clear. Nothing is kept.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  client demo \"an utterly charming film\"
  client demo \"the plot makes no sense\" --threads 1
  client demo \"an utterly charming film\" --json | jq .report.ops

It needs the model folder with the weights, because it plays the server too.")]
pub struct Demo {
    /// The text.
    #[arg(allow_hyphen_values = true, required_unless_present = "image")]
    pub text: Option<String>,
    #[command(flatten)]
    pub image: ImageArgs,
    /// Model to use.
    #[arg(long, short, env = "HE_MODEL", default_value = "sentiment", value_name = "ID")]
    pub model: String,
    /// Folder of model folders [default: models].
    #[arg(long, env = "HE_MODELS", value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// Threads of the evaluation; 0 takes all cores.
    #[arg(long, default_value_t = 0, value_parser = server::parse_threads)]
    pub threads: usize,
    /// One JSON document on stdout.
    #[arg(long)]
    pub json: bool,
    /// What to ask for: the numbers that the model ends with, or the exact class alone (logits unless the model gives only
    /// labels).
    #[arg(long, value_name = "logits|label")]
    pub reply: Option<Reply>,
}

/// Make the keys for a model: a secret key that stays here, and evaluation keys for the server.
///
/// Asks the server for the manifest of the model (parameters, the keys it uses, and the level of each) and for its
/// public bundle (tokenizer, embeddings). The parameters are held against the 128-bit table on this machine.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  client keygen
  client keygen --model sentiment --keys ./keys --server http://127.0.0.1:8080
  client keygen --reply label                                   keys that can ask for exact labels

The secret key is written with mode 0600 and never replaced without --force: what was encrypted
with an old key cannot be read with a new one.")]
pub struct Keygen {
    #[command(flatten)]
    pub keys: KeyArgs,
    #[command(flatten)]
    pub server: Server,
    /// Replace the keys of this model.
    #[arg(long)]
    pub force: bool,
    /// One JSON document on stdout.
    #[arg(long)]
    pub json: bool,
    /// `label` also makes the keys for exact labels, 30 MB more to upload; automatic where a model gives nothing else.
    #[arg(long, value_name = "logits|label")]
    pub reply: Option<Reply>,
}

/// Encrypt a text or an image; works without a server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  client encrypt \"an utterly charming film\" -o request.he
  echo \"an utterly charming film\" | client encrypt > request.he
  client encrypt \"an utterly charming film\" | client infer | client decrypt
  client encrypt -m fashion --image t10k-images-idx3-ubyte --index 7 -o request.he

Every input becomes ciphertexts of the same size: the length of a text does not show.")]
pub struct Encrypt {
    /// The text; read from stdin when absent or -.
    pub text: Option<String>,
    #[command(flatten)]
    pub image: ImageArgs,
    #[command(flatten)]
    pub keys: KeyArgs,
    #[command(flatten)]
    pub output: Output,
}

/// Send an encrypted input to the server and get the encrypted answer.
///
/// Uploads the evaluation keys first if the server does not have them. Needs no secret key.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  client infer request.he -o reply.he
  client infer < request.he > reply.he
  client infer request.he --report report.json -o reply.he
  client infer request.he --reply label | client decrypt        after keygen --reply label

A file that holds a secret key is never sent.")]
pub struct Infer {
    /// File made by `client encrypt`; - is stdin.
    #[arg(default_value = "-")]
    pub file: PathBuf,
    #[command(flatten)]
    pub keys: KeyArgs,
    #[command(flatten)]
    pub server: Server,
    #[command(flatten)]
    pub output: Output,
    /// Write the latency report here, as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// What to ask for: the numbers that the model ends with, or the exact class alone (logits unless the model gives only
    /// labels).
    #[arg(long, value_name = "logits|label")]
    pub reply: Option<Reply>,
}

/// Decrypt an answer: a label, an embedding, or the next token; works without a server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  client decrypt reply.he
  client decrypt reply.he --json
  client decrypt reply.he --report                    also where the time of the server went
  client decrypt a.he b.he                            embeddings: also the cosine of each pair
  client decrypt reply.he --vector embedding.npy      an embedding as a file of numpy, or .json

Decrypted numbers are approximate, and their last digits say something about the secret key. They
are therefore rounded to --round bits; keep more digits to yourself, away from the server and others.")]
pub struct Decrypt {
    /// Files made by `client infer`; - is stdin.
    #[arg(default_value = "-")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Of a language model: the token whose successor is asked for, from 0 [default: the last one].
    #[arg(long, value_name = "N")]
    pub position: Option<usize>,
    /// Write an embedding here, .npy or .json; of one answer only.
    #[arg(long, value_name = "FILE")]
    pub vector: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long, requires = "vector")]
    pub force: bool,
    /// One JSON document on stdout.
    #[arg(long)]
    pub json: bool,
    /// Show the latency report that came with the answer.
    #[arg(long)]
    pub report: bool,
    /// Bits after the point of released numbers [default: 8, of embeddings 12].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=40))]
    pub round: Option<u32>,
}

/// List the models of a server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  client models
  client models --server http://127.0.0.1:8080 --json")]
pub struct Models {
    #[command(flatten)]
    pub server: Server,
    /// One JSON document on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Evaluation keys on the server.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  client keys upload                upload the keys of keygen (infer does this by itself)
  client keys upload --dry-run      only say how much that would be
  client keys status                does the server have them?
  client keys rm                    erase them on the server")]
pub enum Keys {
    /// Upload the evaluation keys of a model.
    Upload(KeysUpload),
    /// Tell whether the server has the evaluation keys of a model.
    Status(KeysRemote),
    /// Erase the evaluation keys of a model on the server; the files here stay.
    Rm(KeysRemote),
}

#[derive(Debug, Args)]
pub struct KeysUpload {
    #[command(flatten)]
    pub remote: KeysRemote,
    /// Send nothing; say what would be sent.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct KeysRemote {
    #[command(flatten)]
    pub keys: KeyArgs,
    #[command(flatten)]
    pub server: Server,
    /// One JSON document on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Tell what a file is, whether it is whole, and whether it is safe to send.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  client inspect request.he
  client inspect he-keys/sentiment/evaluation.keys --json
  client encrypt \"a text\" | client inspect -")]
pub struct Inspect {
    /// File to look at; - is stdin.
    pub file: PathBuf,
    /// One JSON document on stdout.
    #[arg(long)]
    pub json: bool,
}
