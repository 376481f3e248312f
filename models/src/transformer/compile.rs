//! From a model to the cheapest secure plan.

use he_ops::ckks::BootstrapPreset;
use he_ops::graph::{CompileOptions, Plan, compile_with};
use he_ops::rlwe::Params;

use super::config::TransformerConfig;
use super::fit::Fit;
use super::lower::lower;
use super::packing::BlockPacking;
use super::weights::TransformerWeights;
use crate::error::Result;

/// log2 of the scale of leveled plans.
const LOG_SCALE: u32 = 40;

/// A plan with what the client must know to use it.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// What the server runs.
    pub plan: Plan,
    /// How inputs and outputs lie in the slots.
    pub packing: BlockPacking,
}

/// A plan from the configuration alone, with ranges that are assumed where there is no fit: it has a cost, but weights
/// that nobody knows.
///
/// # Errors
/// - as for [`compile`]
pub fn plan_shape(id: &str, config: &TransformerConfig) -> Result<Compiled> {
    let mut config = config.clone();
    config.check()?;
    if config.fit.is_none() {
        config.fit = Some(Fit::assumed(&config)?);
    }
    compile(id, &config, &TransformerWeights::shape_only(&config))
}

/// Compiles a calibrated model: leveled where its depth allows, else with bootstraps.
///
/// # Errors
/// - as for [`lower`], or no parameters are secure and deep enough
pub fn compile(id: &str, config: &TransformerConfig, weights: &TransformerWeights) -> Result<Compiled> {
    let preset = BootstrapPreset::N16;
    let params = Params::new(&preset.params())?;
    let (graph, packing) = lower(config, weights, params.slots(), 1)?;
    if let Ok(plan) = he_ops::graph::compile(&graph, id, LOG_SCALE) {
        return Ok(Compiled { plan, packing });
    }
    let options = CompileOptions {
        bootstrap: Some(preset.bootstrap(params.log_n() - 1)),
    };
    let plan = compile_with(&graph, id, &params, &options)?;
    Ok(Compiled { plan, packing })
}
