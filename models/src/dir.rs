//! A model folder, and the one door to what a client may see of it.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::{Architecture, Model};

/// The files of the public bundle. `config.json` among them is the public part only; the weights are never there.
pub const PUBLIC_FILES: [&str; 3] = ["tokenizer.json", "embeddings.safetensors", "config.json"];

/// A folder with `config.json`, `model.safetensors`, `tokenizer.json` and `embeddings.safetensors`.
#[derive(Debug, Clone)]
pub struct ModelDir {
    path: PathBuf,
    id: String,
    architecture: Architecture,
}

impl ModelDir {
    /// Opens a model folder; its name is the model's id.
    ///
    /// # Errors
    /// - `config.json` cannot be read or is refused
    /// - the folder's name is not made of `a-z 0-9 - _ .`, so it could not stand in a URL
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let architecture = Architecture::from_json(&read(&path.join("config.json"))?)?;
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
        Ok(Self {
            path,
            id,
            architecture,
        })
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

    /// The whole configuration.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// - `model.safetensors` cannot be read, or is not what the configuration says
    pub fn load(&self) -> Result<Model> {
        self.architecture.load(&self.read("model.safetensors")?)
    }

    /// The bytes of a file of the public bundle. Everything else is refused by name, whatever the folder holds.
    ///
    /// # Errors
    /// - [`Error::NotPublic`] for any other name, or the file cannot be read
    pub fn public_file(&self, name: &str) -> Result<Vec<u8>> {
        match name {
            "config.json" => self.architecture.public().to_json(),
            "tokenizer.json" | "embeddings.safetensors" => self.read(name),
            _ => Err(Error::NotPublic {
                name: name.to_owned(),
            }),
        }
    }

    /// blake3 over configuration and weights: changes whenever the model does.
    ///
    /// # Errors
    /// - a file cannot be read
    pub fn digest(&self) -> Result<[u8; 32]> {
        let mut hasher = blake3::Hasher::new();
        for name in [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "embeddings.safetensors",
        ] {
            hasher.update(blake3::hash(&self.read(name)?).as_bytes());
        }
        Ok(*hasher.finalize().as_bytes())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        read(&self.path.join(name))
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
    use crate::synthetic::{Shape, to_safetensors};

    #[test]
    fn the_weights_are_not_public() {
        let folder = std::env::temp_dir().join(format!("models-dir-{}", std::process::id()));
        let model = folder.join("tiny-1");
        std::fs::create_dir_all(&model).unwrap();
        let synthetic = Shape::SMALL.model(1).unwrap();
        std::fs::write(
            model.join("config.json"),
            serde_json::to_vec(&synthetic.config).unwrap(),
        )
        .unwrap();
        std::fs::write(
            model.join("model.safetensors"),
            to_safetensors(&synthetic.weights).unwrap(),
        )
        .unwrap();
        std::fs::write(model.join("tokenizer.json"), "{}").unwrap();
        std::fs::write(model.join("embeddings.safetensors"), "").unwrap();

        let dirs = ModelDir::list(&folder).unwrap();
        assert_eq!(dirs.iter().map(ModelDir::id).collect::<Vec<_>>(), ["tiny-1"]);
        let dir = &dirs[0];
        let loaded = Model::OneLayer(Box::new(synthetic.config), Box::new(synthetic.weights));
        assert_eq!(dir.load().unwrap(), loaded);
        for name in PUBLIC_FILES {
            assert!(
                !dir.public_file(name)
                    .unwrap_or_default()
                    .windows(6)
                    .any(|w| w == b"ranges"),
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
    fn a_missing_folder_is_named() {
        let error = ModelDir::open("no/such/model").unwrap_err().to_string();
        assert!(
            error.contains("no/such/model") && error.contains("model folder"),
            "{error}"
        );
    }
}
