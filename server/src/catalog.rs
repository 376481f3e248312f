//! The models that are served: compiled once at the start, immutable afterwards.

use crate::keys::KeyNeeds;
use anyhow::{Context, bail};
use he_ops::ckks::{Bootstrapper, Encoder};
use he_ops::graph::Plan;
use he_ops::wire::{ciphertext_frame_limit, hex};
use models::transformer::compile::Target;
use models::{Compiled, Manifest, ModelDir};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A model with all that follows from its plan.
pub(crate) struct Served {
    /// Its id, the name of its folder.
    pub id: String,
    /// What the workers run.
    pub plan: Plan,
    /// Its encoder: tables that all requests share.
    pub encoder: Encoder,
    /// The matrices of its bootstrap, if the plan has one: shared by all requests as well.
    pub bootstrapper: Option<Arc<Bootstrapper>>,
    /// Evaluation keys of the plan, and their sizes.
    pub needs: KeyNeeds,
    /// Most bytes of a request: the exact size of full ciphertexts at the input levels.
    pub request_limit: u64,
    /// The manifest as sent.
    pub manifest: Vec<u8>,
    /// Strong validator of the manifest.
    pub etag: String,
    /// Public bundle by file name; the weights are not among them.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Row of the model list.
    pub entry: ModelEntry,
}

/// Row of `GET /v1/models`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ModelEntry {
    /// Id to use in paths.
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// Digest of the parameters that keys and ciphertexts must carry.
    pub params_digest: String,
    /// Levels from request to reply.
    pub depth: usize,
    /// Evaluation keys to upload.
    pub keys: usize,
    /// Their bytes on the wire.
    pub key_bytes: u64,
    /// Largest request.
    pub request_bytes: u64,
}

/// All models by id.
pub(crate) struct Catalog(BTreeMap<String, Arc<Served>>);

impl Catalog {
    /// Compiles every model folder below `folder`, or only the one named.
    ///
    /// # Errors
    /// A folder that is not a model, a plan that cannot be compiled, or parameters below 128-bit security.
    pub(crate) fn load(folder: &Path, only: Option<&str>, target: &Target) -> anyhow::Result<Self> {
        let dirs = match only {
            Some(id) => vec![ModelDir::open(folder.join(id))?],
            None => ModelDir::list(folder)?,
        };
        if dirs.is_empty() {
            bail!(
                "no model folder in {}; one holds config.json and model.safetensors",
                folder.display()
            );
        }
        let mut models = BTreeMap::new();
        for dir in dirs {
            let served = Served::load(&dir, target).with_context(|| format!("model {}", dir.id()))?;
            tracing::info!(
                model = served.id,
                depth = served.entry.depth,
                keys = served.entry.keys,
                "model compiled"
            );
            models.insert(served.id.clone(), Arc::new(served));
        }
        Ok(Self(models))
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Served>> {
        self.0.get(id)
    }

    pub(crate) fn ids(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    pub(crate) fn entries(&self) -> Vec<ModelEntry> {
        self.0.values().map(|m| m.entry.clone()).collect()
    }
}

impl Served {
    fn load(dir: &ModelDir, target: &Target) -> anyhow::Result<Self> {
        let compiled = models::compile(dir, target)?;
        let manifest = serde_json::to_vec_pretty(&Manifest::new(dir, &compiled)?)?;
        let Compiled { plan, .. } = compiled;
        if !plan.params.is_secure() {
            bail!(
                "refused: {}; the service runs only parameters of 128-bit security",
                plan.params.security()
            );
        }
        let needs = KeyNeeds::of(&plan)?;
        let encoder = Encoder::new(&plan.params);
        let mut request_limit = 0;
        for port in &plan.inputs {
            request_limit += ciphertext_frame_limit(&plan.params, port.level, 2)?;
        }
        let files = models::PUBLIC_FILES
            .into_iter()
            .map(|name| Ok((name.to_owned(), dir.public_file(name)?)))
            .collect::<Result<_, models::Error>>()?;
        let entry = ModelEntry {
            id: dir.id().to_owned(),
            object: "model",
            params_digest: hex(&plan.params.digest()),
            depth: plan.depth(),
            keys: needs.len(),
            key_bytes: plan.key_bytes()?,
            request_bytes: request_limit,
        };
        let etag = format!("\"{}\"", blake3::hash(&manifest).to_hex());
        Ok(Self {
            id: dir.id().to_owned(),
            bootstrapper: plan.bootstrapper(&encoder)?,
            encoder,
            plan,
            needs,
            request_limit,
            manifest,
            etag,
            files,
            entry,
        })
    }
}
