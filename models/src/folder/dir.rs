//! A model folder, and the one door to what a client may see of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::answer::Head;
use crate::bundle::embeddings::Embeddings;
use crate::bundle::public::PublicConfig;
use crate::error::{Error, Result};
use crate::folder::decision::DecisionConfig;
use crate::folder::fields::set_field;
use crate::lower::{Choice, CompiledModel, Model, Target};
use crate::model::config::label_names;
use crate::model::{self, TransformerConfig, TransformerWeights};

/// A folder with `config.json`, `model.safetensors`, `embeddings.safetensors` and, for texts, `tokenizer.json`.
#[derive(Debug, Clone)]
pub struct ModelDir {
    path: PathBuf,
    id: String,
    config: TransformerConfig,
    choice: Option<Choice>,
    public: PublicConfig,
    decision: Option<DecisionConfig>,
}

impl ModelDir {
    /// Opens a model folder; its name is the model's id.
    ///
    /// # Errors
    /// - `config.json` cannot be read or is refused
    /// - the folder's name is not made of `a-z 0-9 - _ .`, so it could not stand in a URL
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let bytes = read(&path.join("config.json"))?;
        /// What is said of the model beside what it is.
        #[derive(Deserialize)]
        struct Service {
            plan: Option<Choice>,
            decision: Option<DecisionConfig>,
        }
        let (config, public) = (
            TransformerConfig::from_json(&bytes)?,
            PublicConfig::from_json(&bytes)?,
        );
        let service: Service = serde_json::from_slice(&bytes).map_err(|error| Error::Format {
            file: "config.json",
            reason: error.to_string(),
        })?;
        let whole = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        let id = whole
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if id.is_empty() || !id.chars().all(plain) {
            return Err(Error::Config {
                field: "folder name",
                needed: "letters a-z, digits, '-', '_' and '.'".to_owned(),
                found: id,
            });
        }
        let dir = Self {
            path,
            id,
            config,
            choice: service.plan,
            public,
            decision: service.decision,
        };
        if let Some(decision) = &dir.decision {
            decision.check(&dir.head())?;
        }
        Ok(dir)
    }

    /// All model folders inside `path`, by id.
    ///
    /// # Errors
    /// - `path` cannot be listed, or a folder with a `config.json` and a `model.safetensors` is refused
    pub fn list(path: impl AsRef<Path>) -> Result<Vec<Self>> {
        let path = path.as_ref();
        let wrong = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let mut models = Vec::new();
        for entry in std::fs::read_dir(path).map_err(wrong)? {
            let folder = entry.map_err(wrong)?.path();
            if folder.join("config.json").is_file() && folder.join("model.safetensors").is_file() {
                models.push(Self::open(folder)?);
            }
        }
        models.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(models)
    }

    /// The model's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a client gets of the configuration.
    pub fn public(&self) -> &PublicConfig {
        &self.public
    }

    /// Its exact decision, if the operator has set one.
    pub fn decision(&self) -> Option<DecisionConfig> {
        self.decision
    }

    /// Writes the exact decision into `config.json`.
    ///
    /// # Errors
    /// - as for [`set_field`], or a model whose answer is no choice
    pub fn set_decision(&mut self, decision: DecisionConfig) -> Result<()> {
        decision.check(&self.head())?;
        set_field(&self.path.join("config.json"), "decision", &decision)?;
        self.decision = Some(decision);
        Ok(())
    }

    /// What the model answers.
    pub fn head(&self) -> Head {
        match self.config.head {
            model::Head::Classification { num_labels, .. } => Head::Classification {
                labels: label_names(&self.config.id2label, num_labels),
            },
            model::Head::Embedding => Head::Embedding,
            model::Head::NextToken { .. } => Head::NextToken,
        }
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// - `model.safetensors` cannot be read, or is not what the configuration says
    pub fn model(&self) -> Result<Model> {
        let bytes = self.read("model.safetensors")?;
        Ok(Model {
            weights: TransformerWeights::load(&self.config, &bytes)?,
            config: self.config.clone(),
            choice: self.choice,
        })
    }

    /// The longest input of `golden.json`, embedded, (seq_len, dim) row-major: the precision of plans is predicted on it.
    /// None where there is no such file.
    ///
    /// # Errors
    /// - the file or the embeddings cannot be read
    pub fn sample(&self) -> Result<Option<Vec<f64>>> {
        #[derive(Deserialize)]
        struct Golden {
            cases: Vec<Case>,
        }
        #[derive(Deserialize)]
        struct Case {
            #[serde(default)]
            input_ids: Vec<u32>,
            #[serde(default)]
            pixels: Vec<u8>,
        }
        let name = "golden.json";
        if !self.path.join(name).is_file() {
            return Ok(None);
        }
        let golden: Golden = serde_json::from_slice(&self.read(name)?).map_err(|error| Error::Format {
            file: name,
            reason: error.to_string(),
        })?;
        let length = |case: &Case| {
            let own = |id: &&u32| **id != self.public.pad_token_id;
            case.input_ids.iter().filter(own).count() + case.pixels.len()
        };
        let Some(case) = golden.cases.iter().max_by_key(|case| length(case)) else {
            return Ok(None);
        };
        let embeddings = Embeddings::new(self.public.clone(), &self.read("embeddings.safetensors")?)?;
        if case.pixels.is_empty() {
            embeddings.embed_ids(&case.input_ids).map(Some)
        } else {
            embeddings.embed_image(&case.pixels).map(Some)
        }
    }

    /// Compiles the model. Without a sample in the target, the one of the folder is used.
    ///
    /// # Errors
    /// - the weights cannot be read, or as for [`Model::compile`]
    pub fn compile(&self, target: &Target) -> Result<CompiledModel> {
        let mut target = target.clone();
        if target.sample.is_none() {
            target.sample = self.sample()?;
        }
        self.model()?.compile(self.id(), &target)
    }

    /// The bytes of a file of the public bundle. Everything else is refused by name, whatever the folder holds.
    ///
    /// # Errors
    /// - [`Error::NotPublic`] for any other name, or the file cannot be read
    pub fn public_file(&self, name: &str) -> Result<Vec<u8>> {
        let files = self.public.input.files();
        match name {
            _ if !files.contains(&name) => Err(Error::NotPublic {
                name: name.to_owned(),
                files: files.join(", "),
            }),
            "config.json" => self.public.to_json(),
            _ => self.read(name),
        }
    }

    /// All files of the public bundle by name. `config.json` among them is the public part only; the weights are never
    /// there.
    ///
    /// # Errors
    /// - a file cannot be read
    pub fn public_files(&self) -> Result<BTreeMap<&'static str, Vec<u8>>> {
        let names = self.public.input.files().iter();
        names.map(|name| Ok((*name, self.public_file(name)?))).collect()
    }

    /// blake3 over configuration, weights and public bundle: changes whenever the model does.
    ///
    /// # Errors
    /// - a file cannot be read
    pub fn digest(&self) -> Result<[u8; 32]> {
        let mut hasher = blake3::Hasher::new();
        let public = self.public.input.files().iter().copied();
        for name in ["config.json", "model.safetensors"]
            .into_iter()
            .chain(public.filter(|name| *name != "config.json"))
        {
            hasher.update(blake3::hash(&self.read(name)?).as_bytes());
        }
        Ok(*hasher.finalize().as_bytes())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        read(&self.path.join(name))
    }
}

#[cfg(feature = "bundle")]
impl crate::Bundle {
    /// The bundle of a model folder.
    ///
    /// # Errors
    /// - as for [`Bundle::new`](crate::Bundle::new), or a file cannot be read
    pub fn open(dir: &ModelDir) -> Result<Self> {
        let files = dir.public_files()?;
        Self::new(|name| files.get(name).map(Vec::as_slice))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::Lowering;
    use crate::synthetic;

    #[test]
    fn the_weights_are_not_public() {
        let folder = std::env::temp_dir().join(format!("models-dir-{}", std::process::id()));
        let model = folder.join("tiny-1");
        std::fs::create_dir_all(&model).unwrap();
        let config = TransformerConfig {
            seq_len: 4,
            ..model::shape("bert-tiny").unwrap()
        };
        let (config, weights) = synthetic::calibrated(&config, 1).unwrap();
        std::fs::write(model.join("config.json"), config.to_json().unwrap()).unwrap();
        let tensors = weights.to_safetensors(&config).unwrap();
        std::fs::write(model.join("model.safetensors"), tensors).unwrap();
        std::fs::write(model.join("tokenizer.json"), "{}").unwrap();
        std::fs::write(model.join("embeddings.safetensors"), "").unwrap();

        let dirs = ModelDir::list(&folder).unwrap();
        assert_eq!(dirs.iter().map(ModelDir::id).collect::<Vec<_>>(), ["tiny-1"]);
        let dir = &dirs[0];
        assert_eq!(dir.model().unwrap().weights, weights);
        assert_eq!(dir.sample().unwrap(), None);
        for name in dir.public().input.files() {
            assert!(
                !dir.public_file(name)
                    .unwrap_or_default()
                    .windows(5)
                    .any(|w| w == b"\"fit\""),
                "{name}"
            );
        }
        for name in [
            "model.safetensors",
            "golden.json",
            "../tiny-1/config.json",
            "",
            "/etc/hostname",
        ] {
            assert!(
                matches!(dir.public_file(name), Err(Error::NotPublic { .. })),
                "{name}"
            );
        }
        let before = dir.digest().unwrap();
        std::fs::write(model.join("tokenizer.json"), "{ }").unwrap();
        assert_ne!(dir.digest().unwrap(), before);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn another_kind_of_model_is_refused_by_name() {
        let folder = std::env::temp_dir().join(format!("models-kind-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let json = model::shape("bert-tiny").unwrap().to_json().unwrap();
        let json = String::from_utf8(json).unwrap();
        let plan = r#""plan": {"log_n": 15, "log_slots": 5, "log_scale": 35},"#;
        std::fs::write(
            folder.join("config.json"),
            json.replacen('{', &format!("{{{plan}"), 1),
        )
        .unwrap();
        let choice = ModelDir::open(&folder).unwrap().choice.unwrap();
        assert_eq!(
            (choice.lowering, choice.log_slots, choice.log_scale),
            (Lowering::Blocks, 5, Some(35))
        );
        std::fs::write(
            folder.join("config.json"),
            json.replace("polynomial_transformer", "bert"),
        )
        .unwrap();
        let error = ModelDir::open(&folder).unwrap_err().to_string();
        assert!(error.contains("polynomial_transformer"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = ModelDir::open("no/such/model").unwrap_err().to_string();
        assert!(
            error.contains("no/such/model") && error.contains("model folder"),
            "{error}"
        );
    }
}
