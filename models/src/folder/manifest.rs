//! The manifest: everything a client needs to know of a model, read off its compiled plan.

use std::collections::BTreeSet;

use he_ops::graph::{PlanSummary, Port};
use he_ops::rlwe::security::SecurityReport;
use he_ops::rlwe::{EvaluationKeyConfig, KeyPurpose, Params, ParamsLiteral};
use he_ops::wire::hex;
use serde::{Deserialize, Serialize};

use crate::answer::Head;
use crate::bundle::public::Input;
use crate::error::{Error, Result};
use crate::folder::decision::{DecisionConfig, DecisionEntry};
use crate::folder::dir::ModelDir;
use crate::lower::CompiledModel;
use crate::packing::Packing;
use crate::packing::blocks::Answer;

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
    /// The evaluation keys to generate, and nothing else; for a plan with bootstraps, the switches to the ephemeral
    /// sparse secret and back are among them.
    pub keys: Vec<KeyEntry>,
    /// The ciphertexts to send, in this order.
    pub inputs: Vec<PortEntry>,
    /// The ciphertexts that come back, in this order.
    pub outputs: Vec<PortEntry>,
    /// Which slot holds what, in the inputs and in the outputs.
    pub packing: Packing,
    /// What a client embeds.
    pub input: Input,
    /// What the numbers of the answer mean.
    pub head: Head,
    /// How labels are made in place of logits, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionEntry>,
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
    /// Its name in the plan and in the packing.
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
/// 3 was the version of release 0.1.
const VERSION: u32 = 4;

impl Manifest {
    /// The manifest of a model folder and the plan compiled from it.
    ///
    /// # Errors
    /// - a public file cannot be read
    /// - the plan has other inputs and outputs than the packing, or scales that are not the parameters' own
    pub fn new(model: &ModelDir, compiled: &CompiledModel) -> Result<Self> {
        let plan = &compiled.plan;
        let params = &plan.params;
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
        let files = model
            .public_files()?
            .into_iter()
            .map(|(name, bytes)| FileEntry {
                name: name.to_owned(),
                bytes: bytes.len() as u64,
                blake3: blake3::hash(&bytes).to_hex().to_string(),
            })
            .collect();
        let ports = |ports: &[Port]| -> Result<Vec<PortEntry>> {
            ports.iter().map(|found| port(params, found)).collect()
        };
        let entry = |config: DecisionConfig| {
            DecisionEntry::new(config, config.decision(&compiled.packing)?.as_ref(), params)
        };
        let manifest = Self {
            version: VERSION,
            id: model.id().to_owned(),
            model_digest: hex(&model.digest()?),
            plan_digest: hex(&plan.digest()),
            params: params.literal().clone(),
            params_digest: hex(&params.digest()),
            security: params.security().clone(),
            keys,
            inputs: ports(&plan.inputs)?,
            outputs: ports(&plan.outputs)?,
            packing: compiled.packing.clone(),
            input: model.public().input,
            head: model.head(),
            decision: model.decision().map(entry).transpose()?,
            plan: plan.summary()?,
            files,
        };
        manifest.check_shapes(params)?;
        Ok(manifest)
    }

    /// Reads and checks a manifest that came over the network. What a client does with it (parameters, keys, packing)
    /// is safe to do afterwards.
    ///
    /// # Errors
    /// - [`Error::Version`] for a manifest of another release
    /// - not JSON of this version
    /// - parameters below 128 bits, another digest than they have, or keys, levels, inputs, outputs, files or a packing
    ///   that they do not allow
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        /// Read first: another version may have other fields.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let wrong = |error: serde_json::Error| format(error.to_string());
        let found = serde_json::from_slice::<Versioned>(bytes).map_err(wrong)?.version;
        if found != VERSION {
            return Err(Error::Version {
                needed: VERSION,
                found,
            });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(wrong)?;
        let params = manifest.checked_params()?;
        manifest.check_keys(&params)?;
        manifest.check_shapes(&params)?;
        Ok(manifest)
    }

    /// Every key once, at a level that the parameters have.
    fn check_keys(&self, params: &Params) -> Result<()> {
        let mut seen = BTreeSet::new();
        for key in &self.keys {
            if KeyPurpose::from_code(key.code, params.degree()).is_none() {
                return Err(format(format!("{} is the code of no key", key.code)));
            }
            if !seen.insert(key.code) {
                return Err(format(format!("two keys have the code {}", key.code)));
            }
            check_level(key.level, params)?;
        }
        let (listed, needed) = (self.keys.len(), self.key_config().len());
        if listed != needed {
            return Err(format(format!(
                "{listed} keys are listed, {needed} needed: switches to the ephemeral secret and back go together"
            )));
        }
        Ok(())
    }

    /// Packing, inputs, outputs, head and files against each other and against the parameters.
    fn check_shapes(&self, params: &Params) -> Result<()> {
        self.packing.check()?;
        let (needed, found) = (params.slots(), self.packing.slots());
        if found > needed {
            let what = "slots of the packing";
            return Err(Error::Length { what, needed, found });
        }
        for (what, ports, names) in [
            ("inputs", &self.inputs, self.packing.inputs()?),
            ("outputs", &self.outputs, self.packing.outputs()?),
        ] {
            if !ports.iter().map(|port| &port.name).eq(&names) {
                let found: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
                return Err(format(format!(
                    "the {what} are {}, {} needed by the packing",
                    found.join(", "),
                    names.join(", ")
                )));
            }
            ports
                .iter()
                .try_for_each(|port| check_level(port.level, params))?;
        }
        let ([_, features], answer) = (self.packing.shape(), self.packing.answer_features());
        let each =
            matches!(&self.packing, Packing::Blocks(blocks) if matches!(blocks.answer, Answer::Each { .. }));
        let right = match &self.head {
            Head::Classification { labels } => labels.len() == answer && !each,
            Head::Embedding => features == answer && !each,
            Head::NextToken => each,
        };
        if !right {
            return Err(format(format!(
                "the packing has {answer} numbers for {}, which is no answer of the head {:?}",
                if each { "each token" } else { "an input" },
                self.head
            )));
        }
        if let Some(decision) = &self.decision {
            decision.config.check(&self.head)?;
            DecisionEntry::new(
                decision.config,
                decision.config.decision(&self.packing)?.as_ref(),
                params,
            )?;
        }
        let allowed = self.input.files();
        match self
            .files
            .iter()
            .find(|file| !allowed.contains(&file.name.as_str()))
        {
            Some(file) => Err(Error::NotPublic {
                name: file.name.clone(),
                files: allowed.join(", "),
            }),
            None => Ok(()),
        }
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

    /// Tokens that the model takes; longer texts are cut.
    pub fn max_tokens(&self) -> usize {
        let [tokens, _] = self.packing.shape();
        tokens
    }

    /// Whether `bytes` are the file of the public bundle that the manifest lists under `name`.
    ///
    /// # Errors
    /// - no such file, another length, or another digest
    pub fn check_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let listed = self.files.iter().find(|file| file.name == name);
        let listed = listed.ok_or_else(|| Error::NotPublic {
            name: name.to_owned(),
            files: self.input.files().join(", "),
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

fn check_level(level: usize, params: &Params) -> Result<()> {
    let top = params.max_level();
    if level <= top {
        return Ok(());
    }
    Err(format(format!(
        "level {level} is above the parameters' highest, {top}"
    )))
}

/// A client encodes at the canonical scale of the level, so a port must have exactly that.
fn port(params: &Params, port: &Port) -> Result<PortEntry> {
    let canonical = params.scale(port.level)?;
    if he_ops::ckks::is_same_scale(canonical, port.scale) {
        return Ok(PortEntry {
            name: port.name.clone(),
            level: port.level,
            log_scale: port.scale.log2(),
        });
    }
    let (name, found) = (&port.name, port.scale.log2());
    Err(format(format!(
        "{name} has scale 2^{found}, 2^{} needed at its level",
        canonical.log2()
    )))
}

fn format(reason: String) -> Error {
    Error::Format { file: FILE, reason }
}
