//! The state that every handler shares.

use crate::catalog::{Catalog, Served};
use crate::config::Config;
use crate::keys::{ClientKeys, KeyCache, KeyStore, StoreError};
use crate::memory::key_memory;
use crate::problem::Problem;
use crate::progress::Registry;
use crate::worker::Workers;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;

/// Everything that one process serves from.
pub(crate) struct Service {
    /// Settings, as given.
    pub config: Config,
    /// Compiled models.
    pub catalog: Catalog,
    /// Key files.
    pub store: Arc<KeyStore>,
    /// Expanded keys.
    pub cache: Arc<KeyCache<ClientKeys>>,
    /// Requests in progress.
    pub registry: Arc<Registry>,
    /// Evaluation threads.
    pub workers: Workers,
    /// Places for key uploads.
    pub uploads: Semaphore,
    /// Memory for request bodies, a permit for each KiB.
    pub requests: Arc<Semaphore>,
    /// Set on SIGTERM: finish what is here, take nothing new.
    draining: AtomicBool,
}

impl Service {
    /// Compiles the models, opens the key store, starts the workers. Takes a second or so, minutes for deep models: call
    /// it on a thread that may block.
    pub(crate) fn start(config: Config) -> anyhow::Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(config.threads)
            .thread_name(|i| format!("he-pool-{i}"))
            .build()?;
        let (only, threads) = (config.only.as_deref(), pool.current_num_threads());
        let catalog = pool.install(|| Catalog::load(&config.models, only, threads))?;
        let key_memory = key_memory(&config, &catalog)?;
        let store = Arc::new(KeyStore::open(&config.data_dir, config.key_store_bytes)?);
        let cache = Arc::new(KeyCache::new(key_memory));
        let registry = Arc::new(Registry::default());
        let workers = Workers::start(
            config.workers,
            pool,
            config.queue,
            Arc::clone(&store),
            Arc::clone(&cache),
            Arc::clone(&registry),
        )?;
        let permits = (config.request_bytes >> 10).min(Semaphore::MAX_PERMITS as u64);
        let (uploads, requests) = (
            Semaphore::new(config.uploads),
            Arc::new(Semaphore::new(permits as usize)),
        );
        let draining = AtomicBool::new(false);
        Ok(Self {
            config,
            catalog,
            store,
            cache,
            registry,
            workers,
            uploads,
            requests,
            draining,
        })
    }

    pub(crate) fn model(&self, id: &str) -> Result<&Arc<Served>, Problem> {
        self.catalog
            .get(id)
            .ok_or_else(|| Problem::unknown_model(id, &self.catalog.ids()))
    }

    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Refuses new work during a shutdown.
    pub(crate) fn check_open(&self) -> Result<(), Problem> {
        if self.is_draining() {
            Err(Problem::draining())
        } else {
            Ok(())
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full {
                limit,
                stored,
                needed,
            } => Self::quota(limit, stored, needed),
            StoreError::Release(source) => Self::wire("these evaluation keys", &source),
            StoreError::Io { .. } => Self::internal(&error),
        }
    }
}
