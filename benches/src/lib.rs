//! What the README claims, measured: accuracy under encryption, the per-op latency table, the engine's primitives
//! beside those of its peers.
//!
//! | Module | What it is |
//! |---|---|
//! | [`accuracy`] | a model in clear on held-out inputs, and encrypted through the real server |
//! | [`calibrate`] | every kind of operation, measured for the cost model |
//! | [`engine`] | client and server in one value: keys made, sentences encrypted, plans run, without the network |
//! | [`machine`] | the machine that a number was measured on |
//! | [`rows`] | rows of the `primitives` and `peers` tables |
//! | [`score`] | how good answers are, and how near to others |
//! | [`stats`] | medians of a few runs |
//! | [`timing`] | a plan with the time of every step |
//! | [`transformer`] | transformers of built-in shapes, encrypted |
//! | [`workloads`] | the operations of the engine that are measured, each with its oracle |

#![forbid(unsafe_code)]

pub mod accuracy;
pub mod calibrate;
pub mod engine;
pub mod labels;
pub mod machine;
pub mod rows;
pub mod score;
pub mod stats;
pub mod timing;
pub mod transformer;
pub mod workloads;

use std::path::{Path, PathBuf};

use models::ModelDir;

/// The model folder for a name as typed: a path if it is one, else the folder of that name in `models/`, of the
/// current folder or of the workspace.
///
/// # Errors
/// - no such folder, or one that is refused; the message says where it was looked for
pub fn open_model(name: &str) -> anyhow::Result<ModelDir> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name);
    let places = [PathBuf::from(name), Path::new("models").join(name), workspace];
    match places.iter().find(|place| place.join("config.json").is_file()) {
        // without the `..` of the workspace path, so that the folder's name is the model's
        Some(found) => Ok(ModelDir::open(found.canonicalize()?)?),
        None => anyhow::bail!("no model folder {name}: neither {name} nor models/{name} holds a config.json"),
    }
}
