//! The manifest: everything a client needs to know of a model, read off its compiled plan.

use he_ops::graph::{PlanSummary, Port};
use he_ops::rlwe::security::SecurityReport;
use he_ops::rlwe::{EvaluationKeyConfig, KeyPurpose, Params, ParamsLiteral};
use he_ops::wire::hex;
use serde::{Deserialize, Serialize};

use crate::dir::{ModelDir, PUBLIC_FILES};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::model::{Compiled, Task};

/// What the server tells about a model before anything is sent. Nothing in it is written by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub version: u32,
    /// The model's id, as in paths.
    pub id: String,
    /// Changes whenever configuration, weights, tokenizer or embeddings do; hex.
    pub model_digest: String,
    /// Digest of the compiled plan; hex.
    pub plan_digest: String,
    /// From this the parameters are made, by the checked constructor.
    pub params: ParamsLiteral,
    /// What the parameters made from `params` must have as digest; hex. Every frame carries it.
    pub params_digest: String,
    /// The 128-bit table, and where this model stands in it.
    pub security: SecurityReport,
    /// The evaluation keys to generate, and nothing else.
    pub keys: Vec<KeyEntry>,
    /// The ciphertexts to send, in this order.
    pub inputs: Vec<PortEntry>,
    /// The ciphertexts that come back, in this order.
    pub outputs: Vec<PortEntry>,
    /// Which slot holds what, in the inputs and in the outputs.
    pub layout: Layout,
    /// What the answer is.
    pub task: Task,
    /// Names of the labels in the order of the logits; none unless the task is classification.
    pub labels: Vec<String>,
    /// Tokens that the model takes; longer texts are cut.
    pub max_tokens: usize,
    /// Depth, counts and sizes of the plan.
    pub plan: PlanSummary,
    /// The public bundle.
    pub files: Vec<FileEntry>,
}

/// An evaluation key that the plan uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// In words: `relinearization`, `rotation by 64`, `conjugation`.
    pub purpose: String,
    /// [`KeyPurpose::code`]: 0 for relinearisation, the Galois element of a rotation.
    pub code: u64,
    /// Highest level at which it is used.
    pub level: usize,
    /// Bytes on the wire, seeded and packed, frame header not counted.
    pub bytes: u64,
}

/// An input or an output of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortEntry {
    /// Its name in the plan.
    pub name: String,
    /// Level of the ciphertext.
    pub level: usize,
    /// log2 of its scale; the exact scale is the parameters' own at this level.
    pub log_scale: f64,
}

/// A file of the public bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name, as in paths.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// blake3 of its bytes; hex.
    pub blake3: String,
}

const FILE: &str = "manifest";
const VERSION: u32 = 3;

impl Manifest {
    /// The manifest of a model folder and the plan compiled from it.
    ///
    /// # Errors
    /// - a public file cannot be read
    /// - the plan has other inputs and outputs than the layout, or scales that are not the parameters' own
    pub fn new(model: &ModelDir, compiled: &Compiled) -> Result<Self> {
        let Compiled { plan, layout } = compiled;
        let params = &plan.params;
        let public = model.architecture().public();
        let inputs = ports(params, &plan.inputs)?;
        let outputs = ports(params, &plan.outputs)?;
        check_names("inputs", &inputs, &layout.inputs()?)?;
        check_names("outputs", &outputs, &layout.outputs()?)?;
        let keys = plan
            .keys()
            .iter()
            .map(|(purpose, level)| {
                Ok(KeyEntry {
                    purpose: purpose.describe(params),
                    code: purpose.code(),
                    level,
                    bytes: params.key_switch_key_bits(purpose, level)?.div_ceil(8) as u64,
                })
            })
            .collect::<Result<_>>()?;
        let files = PUBLIC_FILES
            .into_iter()
            .map(|name| {
                let bytes = model.public_file(name)?;
                let blake3 = blake3::hash(&bytes).to_hex().to_string();
                Ok(FileEntry {
                    name: name.to_owned(),
                    bytes: bytes.len() as u64,
                    blake3,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            version: VERSION,
            id: model.id().to_owned(),
            model_digest: hex(&model.digest()?),
            plan_digest: hex(&plan.digest()),
            params: params.literal().clone(),
            params_digest: hex(&params.digest()),
            security: params.security().clone(),
            keys,
            inputs,
            outputs,
            layout: layout.clone(),
            task: model.architecture().task(),
            labels: public.labels(),
            max_tokens: public.seq_len,
            plan: plan.summary()?,
            files,
        })
    }

    /// Reads and checks a manifest that came over the network. What a client does with it (parameters, keys, packing)
    /// is safe to do afterwards.
    ///
    /// # Errors
    /// - not JSON of this version
    /// - parameters below 128 bits, another digest than they have, or keys, levels or a packing that they do not allow
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| format(error.to_string()))?;
        if manifest.version != VERSION {
            return Err(format(format!(
                "version {VERSION} needed, {} found; update the client",
                manifest.version
            )));
        }
        let params = manifest.checked_params()?;
        let top = params.max_level();
        let levels = manifest
            .keys
            .iter()
            .map(|key| key.level)
            .chain(manifest.inputs.iter().map(|port| port.level))
            .chain(manifest.outputs.iter().map(|port| port.level));
        if let Some(high) = levels.into_iter().find(|level| *level > top) {
            return Err(format(format!(
                "level {high} is above the parameters' highest, {top}"
            )));
        }
        let unknown = |key: &&KeyEntry| KeyPurpose::from_code(key.code, params.degree()).is_none();
        if let Some(key) = manifest.keys.iter().find(unknown) {
            return Err(format(format!("{} is the code of no key", key.code)));
        }
        manifest.layout.check(params.slots())?;
        check_names("inputs", &manifest.inputs, &manifest.layout.inputs()?)?;
        check_names("outputs", &manifest.outputs, &manifest.layout.outputs()?)?;
        Ok(manifest)
    }

    /// The parameters, made by the constructor that enforces the 128-bit table, whatever `security` claims.
    ///
    /// # Errors
    /// - the parameters are refused, or have another digest than the manifest says
    pub fn checked_params(&self) -> Result<Params> {
        let params = Params::new(&self.params)?;
        let found = hex(&params.digest());
        if found != self.params_digest {
            let needed = &self.params_digest;
            return Err(format(format!(
                "its parameters have the digest {found}, {needed} needed; update the client"
            )));
        }
        Ok(params)
    }

    /// The evaluation keys to generate.
    pub fn key_config(&self) -> EvaluationKeyConfig {
        let mut config = EvaluationKeyConfig::default();
        for key in &self.keys {
            if let Some(purpose) = KeyPurpose::from_code(key.code, 1 << self.params.log_n) {
                config.require(purpose, key.level);
            }
        }
        config
    }

    /// Whether `bytes` are the file of the public bundle that the manifest lists under `name`.
    ///
    /// # Errors
    /// - no such file, another length, or another digest
    pub fn check_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let listed = self.files.iter().find(|file| file.name == name);
        let listed = listed.ok_or_else(|| Error::NotPublic {
            name: name.to_owned(),
        })?;
        let found = blake3::hash(bytes).to_hex().to_string();
        if listed.blake3 == found {
            Ok(())
        } else {
            let needed = &listed.blake3;
            Err(format(format!(
                "{name} has the blake3 digest {found}, {needed} needed; download it again"
            )))
        }
    }
}

/// A client encodes at the canonical scale of the level, so a port must have exactly that.
fn ports(params: &Params, ports: &[Port]) -> Result<Vec<PortEntry>> {
    let entry = |port: &Port| {
        let canonical = params.scale(port.level)?;
        if (port.scale / canonical - 1.0).abs() > 1e-9 {
            let (name, found) = (&port.name, port.scale.log2());
            return Err(format(format!(
                "{name} has scale 2^{found}, 2^{} needed at its level",
                canonical.log2()
            )));
        }
        Ok(PortEntry {
            name: port.name.clone(),
            level: port.level,
            log_scale: port.scale.log2(),
        })
    };
    ports.iter().map(entry).collect()
}

fn check_names(what: &str, ports: &[PortEntry], needed: &[String]) -> Result<()> {
    let found: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    if found.iter().eq(needed) {
        return Ok(());
    }
    Err(format(format!(
        "the layout needs the {what} {needed:?}, {found:?} found"
    )))
}

fn format(reason: String) -> Error {
    Error::Format { file: FILE, reason }
}
