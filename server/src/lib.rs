//! The HTTP service: evaluation keys and ciphertexts in, ciphertexts out. It never sees a secret key; the type is not
//! even part of this build.
//!
//! | Module | What it is |
//! |---|---|
//! | `catalog` | the models, compiled once at the start |
//! | `memory` | what they need, held against what there is |
//! | [`keys`] | uploaded evaluation keys: checked, stored, expanded on demand |
//! | `worker` | evaluation on dedicated threads behind a bounded queue |
//! | `routes` | the interface; [`problem`] is what a refused request gets |
//! | [`config`] | what an operator can set |
//!
//! Every limit on a body is computed from the plan of its model, before a byte of it is read.

#![forbid(unsafe_code)]

mod body;
mod catalog;
pub mod config;
pub mod keys;
mod memory;
pub mod problem;
mod progress;
mod routes;
mod service;
mod worker;

pub use config::{Config, parse_threads, read_machine};

use service::Service;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serves on `listener` until `shutdown` resolves; then refuses new work, finishes what is queued, and returns.
///
/// # Errors
/// A model that cannot be compiled or is not 128-bit secure, a key store that cannot be opened, or a broken listener.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let service = Arc::new(tokio::task::spawn_blocking(|| Service::start(config)).await??);
    let address = listener.local_addr()?;
    tracing::info!(%address, models = ?service.catalog.ids(), "listening");
    let router = routes::router(Arc::clone(&service));
    let drain = Arc::clone(&service);
    let signal = async move {
        shutdown.await;
        tracing::info!("draining");
        drain.start_draining();
    };
    axum::serve(listener, router)
        .with_graceful_shutdown(signal)
        .await?;
    tokio::task::spawn_blocking(move || service.workers.drain()).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Folder of model folders: the one given, else `models` in the current folder, else the one of the workspace that
/// cargo runs this program from.
#[must_use]
pub fn models_folder(given: Option<PathBuf>) -> PathBuf {
    let near = PathBuf::from("models");
    let workspace = || {
        Some(
            PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?)
                .parent()?
                .join("models"),
        )
    };
    match given {
        Some(folder) => folder,
        None if near.is_dir() => near,
        None => workspace().filter(|folder| folder.is_dir()).unwrap_or(near),
    }
}
