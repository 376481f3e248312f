//! A model with its weights, whatever kind it is.

use he_ops::graph::Plan;
use serde::{Deserialize, Serialize};

use crate::config::{ModelConfig, PublicConfig};
use crate::dir::ModelDir;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::packing::Packing;
use crate::reference::Mode;
use crate::transformer::compile::Target;
use crate::transformer::config::{Head, MODEL_TYPE};
use crate::transformer::{self, TransformerConfig, TransformerWeights};
use crate::weights::Weights;
use crate::{lower, reference};

/// A model as its folder describes it.
#[derive(Debug, Clone, PartialEq)]
pub enum Architecture {
    /// The classifier of one layer that takes one ciphertext ([`crate::lower`]).
    OneLayer(Box<ModelConfig>),
    /// Any transformer ([`crate::transformer`]).
    Transformer(Box<TransformerConfig>),
}

/// What the numbers of an answer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A logit for each label.
    Classification,
    /// A vector whose direction tells the meaning.
    Embedding,
    /// Logits of the next token at every position, (seq_len, vocab).
    NextToken,
}

/// A model, ready to be evaluated in clear or compiled.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// As [`Architecture::OneLayer`].
    OneLayer(Box<ModelConfig>, Box<Weights>),
    /// As [`Architecture::Transformer`].
    Transformer(Box<TransformerConfig>, Box<TransformerWeights>),
}

/// A plan, and how its inputs and outputs lie in the slots.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// What the server runs.
    pub plan: Plan,
    /// What the client packs and unpacks by.
    pub layout: Layout,
}

/// Compiles the model of a folder.
///
/// # Errors
/// - the weights cannot be read, or as for [`Model::compile`]
pub fn compile(dir: &ModelDir, target: &Target) -> Result<Compiled> {
    dir.load()?.compile(dir.id(), target)
}

impl Architecture {
    /// Reads `config.json`; its `model_type` says which kind it is.
    ///
    /// # Errors
    /// - not JSON, an unknown `model_type`, or a value that cannot be evaluated
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Kind {
            model_type: String,
        }
        let kind: Kind = serde_json::from_slice(bytes).map_err(|error| Error::Format {
            file: "config.json",
            reason: error.to_string(),
        })?;
        if kind.model_type == MODEL_TYPE {
            Ok(Self::Transformer(Box::new(TransformerConfig::from_json(bytes)?)))
        } else {
            Ok(Self::OneLayer(Box::new(ModelConfig::from_json(bytes)?)))
        }
    }

    /// What a client may know of it.
    pub fn public(&self) -> PublicConfig {
        match self {
            Self::OneLayer(config) => config.public(),
            Self::Transformer(config) => config.public(),
        }
    }

    /// What its answers are.
    pub fn task(&self) -> Task {
        match self {
            Self::OneLayer(_) => Task::Classification,
            Self::Transformer(config) => match config.head {
                Head::Classification { .. } => Task::Classification,
                Head::Embedding => Task::Embedding,
                Head::NextToken { .. } => Task::NextToken,
            },
        }
    }

    /// With the bytes of `model.safetensors`.
    ///
    /// # Errors
    /// - they are not the weights that the configuration describes
    pub fn load(&self, weights: &[u8]) -> Result<Model> {
        match self {
            Self::OneLayer(config) => {
                let weights = Weights::load(config, weights)?;
                Ok(Model::OneLayer(config.clone(), Box::new(weights)))
            }
            Self::Transformer(config) => {
                let weights = TransformerWeights::load(config, weights)?;
                Ok(Model::Transformer(config.clone(), Box::new(weights)))
            }
        }
    }
}

impl Model {
    /// The forward pass in f64, in clear, of an embedded input (row-major, (tokens, features)).
    ///
    /// # Errors
    /// - `x` has another length, or [`Mode::Polynomial`] of a transformer without a fit
    pub fn forward(&self, x: &[f64], mode: Mode) -> Result<Vec<f64>> {
        match self {
            Self::OneLayer(config, weights) => reference::forward(config, weights, x, mode),
            Self::Transformer(config, weights) => Ok(transformer::forward(config, weights, x, mode)?.output),
        }
    }

    /// The plan that the server runs: of a transformer, the cheapest for the machine of the target.
    ///
    /// # Errors
    /// - the model fits no parameters of 128-bit security, with the reason
    pub fn compile(&self, id: &str, target: &Target) -> Result<Compiled> {
        match self {
            Self::OneLayer(config, weights) => {
                let plan = lower::compile_weights(id, config, weights)?;
                let packing = Packing::new(config.seq_len, config.dim, plan.params.slots())?;
                let layout = Layout::Staircase(packing);
                Ok(Compiled { plan, layout })
            }
            Self::Transformer(config, weights) => {
                let compiled = transformer::compile::compile(id, config, weights, target)?;
                let layout = Layout::Blocks(compiled.packing);
                Ok(Compiled {
                    plan: compiled.plan,
                    layout,
                })
            }
        }
    }
}
