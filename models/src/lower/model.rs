//! A model of either kind with its weights: what it computes in clear, and the plan that computes it encrypted.

use he_ops::ckks::BootstrapPreset;
use he_ops::graph::{Plan, compile_leveled};
use he_ops::rlwe::Params;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lower::compile::compile_cheapest;
use crate::lower::{Candidate, Target};
use crate::lower::{blocks, staircase};
use crate::model::Mode;
use crate::model::{self, TransformerConfig, TransformerWeights};
use crate::one_layer::config::ModelConfig;
use crate::one_layer::reference;
use crate::one_layer::weights::Weights;
use crate::packing::Packing;
use crate::packing::staircase::Staircase;

/// A model with its weights.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// `power_softmax_classifier`: one layer, two labels, on the packing made for it.
    OneLayer {
        /// `config.json`.
        config: Box<ModelConfig>,
        /// `model.safetensors`.
        weights: Box<Weights>,
    },
    /// `polynomial_transformer`: any depth, any head.
    Transformer {
        /// `config.json`.
        config: Box<TransformerConfig>,
        /// `model.safetensors`.
        weights: Box<TransformerWeights>,
        /// The parameters, if the folder says which.
        choice: Option<Choice>,
    },
}

/// Parameters that a model folder asks for (`plan` in `config.json`), in place of a search for the cheapest: a server
/// starts faster, and keys that clients uploaded stay right when the cost model changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// log2 of the degree of the ring.
    pub log_n: u32,
    /// log2 of the slots that are used.
    pub log_slots: u32,
    /// log2 of the scale of a leveled plan; none for one with bootstraps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_scale: Option<u32>,
}

/// A plan with what a client must know to use it.
#[derive(Debug, Clone, PartialEq)]
pub struct CompiledModel {
    /// What the server runs.
    pub plan: Plan,
    /// How inputs and answers lie in the slots.
    pub packing: Packing,
    /// What was looked at, the cheapest first; empty where there was no choice.
    pub candidates: Vec<Candidate>,
}

impl Model {
    /// Logits, a pooled embedding, or (seq_len, vocab) logits of the embedded input `x`, (seq_len, dim) row-major.
    ///
    /// # Errors
    /// - `x` has another length, or [`Mode::Polynomial`] without the ranges of a calibration
    pub fn forward(&self, x: &[f64], mode: Mode) -> Result<Vec<f64>> {
        match self {
            Self::OneLayer { config, weights } => reference::forward(config, weights, x, mode),
            Self::Transformer { config, weights, .. } => Ok(model::forward(config, weights, x, mode)?.output),
        }
    }

    /// The plan that a server runs.
    ///
    /// # Errors
    /// - no fit, or no parameters that are secure, deep and precise enough
    pub fn compile(&self, id: &str, target: &Target) -> Result<CompiledModel> {
        match self {
            Self::OneLayer { config, weights } => {
                let plan = staircase::compile(id, config, weights)?;
                let packing = Staircase::new(config.seq_len, config.dim, plan.params.slots())?;
                Ok(CompiledModel {
                    plan,
                    packing: Packing::Staircase(packing),
                    candidates: Vec::new(),
                })
            }
            Self::Transformer {
                config,
                weights,
                choice: Some(choice),
            } => choice.compile(id, config, weights, target),
            Self::Transformer {
                config,
                weights,
                choice: None,
            } => {
                let compiled = crate::lower::compile(id, config, weights, target)?;
                Ok(CompiledModel {
                    plan: compiled.plan,
                    packing: Packing::Blocks(compiled.packing),
                    candidates: compiled.candidates,
                })
            }
        }
    }
}

impl Choice {
    fn compile(
        self,
        id: &str,
        config: &TransformerConfig,
        weights: &TransformerWeights,
        target: &Target,
    ) -> Result<CompiledModel> {
        let refused = |needed: &str| Error::Config {
            field: "plan",
            needed: needed.to_owned(),
            found: format!("{self:?}"),
        };
        if self.log_n > 17 || self.log_slots >= self.log_n {
            return Err(refused("log_n of at most 17, and log_slots below it"));
        }
        let (graph, packing) = blocks::lower(config, weights, 1 << self.log_slots, target.sequences)?;
        let plan = match (self.log_scale, self.log_n) {
            (Some(log_scale), log_n) => compile_leveled(&graph, id, log_n, log_scale)?,
            (None, 15 | 16) => {
                let preset = match self.log_n {
                    15 => BootstrapPreset::N15,
                    _ => BootstrapPreset::N16,
                };
                let params = Params::new(&preset.params())?;
                compile_cheapest(&graph, id, &params, &preset.bootstrap(self.log_slots), target)?
            }
            (None, _) => return Err(refused("log_n 15 or 16 for a plan with bootstraps")),
        };
        Ok(CompiledModel {
            plan,
            packing: Packing::Blocks(packing),
            candidates: Vec::new(),
        })
    }
}
