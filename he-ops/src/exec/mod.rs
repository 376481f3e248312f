//! Runs a compiled plan on a backend: the same steps on plain numbers, on a noise model, or on ciphertexts.

mod backend;
mod ckks;
mod plain;
mod predict;
mod run;
mod sim;

pub use backend::Backend;
pub use ckks::Ckks;
pub use plain::Plain;
pub use predict::{Prediction, predict};
pub use run::{Outputs, run};
pub use sim::{Sim, SimValue};
