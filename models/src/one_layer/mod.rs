//! One-layer classifiers, described in a way of their own.

pub mod config;
pub mod reference;
pub mod synthetic;
pub mod weights;
