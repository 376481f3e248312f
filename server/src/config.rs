//! What an operator can set.

use std::path::{Path, PathBuf};

use anyhow::Context;
use he_ops::cost::Machine;
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
    /// Memory for request bodies that are read, wait or are evaluated; the largest request of a model must fit.
    pub request_bytes: u64,
    /// Memory that the process may use in all. What the models, their evaluations and the request bodies leave of it is
    /// for expanded evaluation keys, of which the least recently used set goes first. None: nine tenths of what the
    /// machine or its container has.
    pub memory_bytes: Option<u64>,
    /// Disk for evaluation keys.
    pub key_store_bytes: u64,
    /// A client that sends nothing for this long is dropped.
    pub idle_timeout: Duration,
}

impl Config {
    /// Defaults for these folders: one evaluation at a time on all cores, 8 waiting, nine tenths of the memory,
    /// 20 GiB of keys on disk.
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
            request_bytes: 256 << 20,
            memory_bytes: None,
            key_store_bytes: 20 << 30,
            idle_timeout: Duration::from_secs(30),
        }
    }
}

/// More threads than this are a typing mistake, and starting them would stall the machine.
const MAX_THREADS: usize = 1024;

/// Bytes for people.
pub(crate) fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}

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
