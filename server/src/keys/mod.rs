//! Evaluation keys of the clients: checked against a plan, kept as files, expanded on demand.

mod cache;
mod check;
mod store;

pub(crate) use cache::KeyCache;
pub(crate) use check::{ClientKeys, KeyNeeds, check_keys, load_keys};
pub use store::{KeyId, KeyInfo, KeyStore, StoreError};
