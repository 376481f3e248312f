//! What an operator can set.

use std::path::{Path, PathBuf};

use anyhow::Context;
use he_ops::cost::Machine;
use models::transformer::compile::Target;
use std::time::Duration;

/// Settings of one service process.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of model folders.
    pub models: PathBuf,
    /// Serve only this model of the folder; all when absent.
    pub only: Option<String>,
    /// Folder for uploaded evaluation keys; made when absent.
    pub data_dir: PathBuf,
    /// Threads inside one evaluation; 0 takes all cores.
    pub threads: usize,
    /// Evaluations at a time. Each holds its own ciphertexts, so memory grows with it.
    pub workers: usize,
    /// Requests that may wait for a worker before the service answers 429.
    pub queue: usize,
    /// Uploads at a time.
    pub uploads: usize,
    /// Request bodies that may be read into memory at a time; each is one ciphertext.
    pub readers: usize,
    /// Memory for expanded evaluation keys; the least recently used set goes first.
    pub key_cache_bytes: u64,
    /// Disk for evaluation keys.
    pub key_store_bytes: u64,
    /// A client that sends nothing for this long is dropped.
    pub idle_timeout: Duration,
}

impl Config {
    /// Defaults for these folders: one evaluation at a time on all cores, 8 waiting, 2 GiB of expanded keys in
    /// memory, 20 GiB of keys on disk.
    #[must_use]
    pub fn new(models: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            models: models.into(),
            only: None,
            data_dir: data_dir.into(),
            threads: 0,
            workers: 1,
            queue: 8,
            uploads: 4,
            readers: 64,
            key_cache_bytes: 2 << 30,
            key_store_bytes: 20 << 30,
            idle_timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// What plans are compiled for.
    pub(crate) fn target(&self) -> Target {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        Target {
            threads: if self.threads == 0 { all() } else { self.threads },
            ..Target::default()
        }
    }
}

/// More threads than this are a typing error, and starting them would stall the machine.
const MAX_THREADS: usize = 1024;

/// A number of threads from a command line.
///
/// # Errors
/// What is needed, for anything but a number up to 1024.
pub fn parse_threads(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&threads| threads <= MAX_THREADS)
        .ok_or_else(|| format!("a number up to {MAX_THREADS} needed"))
}

/// The coefficients of a machine, as `calibrate` of the benches writes them.
///
/// # Errors
/// - the file cannot be read, or it is none of those
pub fn read_machine(file: &Path) -> anyhow::Result<Machine> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is no machine file; calibrate writes one", file.display()))
}
