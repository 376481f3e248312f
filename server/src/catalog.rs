//! The models that are served: compiled once at the start, immutable afterwards.

use crate::config::gib;
use crate::keys::KeyNeeds;
use anyhow::{Context, bail};
use he_ops::ckks::{Bootstrapper, Encoder};
use he_ops::cost::{Memory, plan_costs};
use he_ops::graph::Plan;
use he_ops::wire::{ciphertext_frame_limit, hex};
use models::lower::Target;
use models::{DecisionConfig, Head, Manifest, ModelDir};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A model with all that follows from its plan.
pub(crate) struct Served {
    /// Its id, the name of its folder.
    pub id: String,
    /// What the workers run.
    pub plan: Plan,
    /// The same plan up to an encrypted label, if the model has an exact decision.
    pub decided: Option<Plan>,
    /// Logits are not given out.
    pub labels_only: bool,
    /// Its encoder: tables that all requests share.
    pub encoder: Encoder,
    /// The matrices of its bootstrap, if the plan has one: shared by all requests as well.
    pub bootstrapper: Option<Arc<Bootstrapper>>,
    /// Bytes that it takes while it runs, as the cost model counts them.
    pub memory: Memory,
    /// Evaluation keys of the plan, and their sizes.
    pub needs: KeyNeeds,
    /// Most bytes of the frame of each input: the exact size of a full ciphertext at its level.
    pub input_limits: Vec<u64>,
    /// Most bytes of a request: all of them.
    pub request_limit: u64,
    /// The manifest as sent.
    pub manifest: Vec<u8>,
    /// Strong validator of the manifest.
    pub etag: String,
    /// Public bundle by file name; the weights are not among them.
    pub files: BTreeMap<&'static str, Vec<u8>>,
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
    /// What it answers.
    pub head: Head,
    /// What may be asked for: `logits`, `label`.
    pub replies: Vec<&'static str>,
    /// Levels from request to reply, or between bootstraps.
    pub depth: usize,
    /// Bootstraps of one evaluation.
    pub bootstraps: usize,
    /// Evaluation keys to upload.
    pub keys: usize,
    /// Their bytes on the wire.
    pub key_bytes: u64,
    /// Largest request.
    pub request_bytes: u64,
    /// Memory of the server while it evaluates for one client, by the cost model.
    pub memory_bytes: u64,
    /// Milliseconds of an evaluation, as the cost model says for its machine.
    pub predicted_ms: f64,
}

/// All models by id.
pub(crate) struct Catalog(BTreeMap<String, Arc<Served>>);

impl Catalog {
    /// Compiles every model folder below `folder`, or only the one named, for evaluations on `threads` threads.
    ///
    /// # Errors
    /// A folder that is not a model, a plan that cannot be compiled, or parameters below 128-bit security.
    pub(crate) fn load(folder: &Path, only: Option<&str>, threads: usize) -> anyhow::Result<Self> {
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
            let start = Instant::now();
            tracing::info!(model = dir.id(), "compiling");
            let served = Served::load(&dir, threads).with_context(|| format!("model {}", dir.id()))?;
            let entry = &served.entry;
            tracing::info!(
                model = served.id,
                seconds = start.elapsed().as_secs(),
                depth = entry.depth,
                bootstraps = entry.bootstraps,
                inputs = served.plan.inputs.len(),
                outputs = served.plan.outputs.len(),
                keys = entry.keys,
                key_upload = gib(entry.key_bytes),
                memory = gib(entry.memory_bytes),
                predicted_ms = entry.predicted_ms.round(),
                "model compiled"
            );
            models.insert(served.id.clone(), Arc::new(served));
        }
        Ok(Self(models))
    }

    pub(crate) fn models(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.0.values()
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
    fn load(dir: &ModelDir, threads: usize) -> anyhow::Result<Self> {
        let target = Target {
            threads,
            ..Target::default()
        };
        let compiled = dir.compile(&target)?;
        for candidate in &compiled.candidates {
            tracing::debug!(model = dir.id(), %candidate, "looked at");
        }
        let manifest = serde_json::to_vec_pretty(&Manifest::new(dir, &compiled)?)?;
        let plan = compiled.plan;
        if !plan.params.is_secure() {
            bail!(
                "refused: {}; the service runs only parameters of 128-bit security",
                plan.params.security()
            );
        }
        let costs = plan_costs(&plan, &target.machine, threads)?;
        let decision = dir.decision();
        let decided = match &decision {
            Some(own) => Some(plan.decided(own.decision(&compiled.packing)?)?),
            None => None,
        };
        let needs = KeyNeeds::of(&plan, decided.is_some())?;
        let encoder = Encoder::new(&plan.params);
        let limits = plan.inputs.iter();
        let input_limits: Vec<u64> = limits
            .map(|input| ciphertext_frame_limit(&plan.params, input.level, 2))
            .collect::<Result<_, _>>()?;
        let request_limit = input_limits.iter().sum();
        let entry = ModelEntry {
            id: dir.id().to_owned(),
            object: "model",
            params_digest: hex(&plan.params.digest()),
            head: dir.head(),
            replies: replies(decision.as_ref()),
            depth: plan.depth(),
            bootstraps: plan.summary()?.bootstrap.map_or(0, |b| b.count),
            keys: needs.len(),
            key_bytes: plan.key_bytes()?,
            request_bytes: request_limit,
            memory_bytes: costs.memory.total(),
            predicted_ms: costs.total_ms,
        };
        let etag = format!("\"{}\"", blake3::hash(&manifest).to_hex());
        Ok(Self {
            id: dir.id().to_owned(),
            bootstrapper: plan.bootstrapper(&encoder)?,
            encoder,
            memory: costs.memory,
            needs,
            input_limits,
            request_limit,
            manifest,
            etag,
            files: dir.public_files()?,
            entry,
            plan,
            decided,
            labels_only: decision.is_some_and(|own| own.only),
        })
    }
}

fn replies(decision: Option<&DecisionConfig>) -> Vec<&'static str> {
    match decision {
        None => vec!["logits"],
        Some(own) if own.only => vec!["label"],
        Some(_) => vec!["logits", "label"],
    }
}
