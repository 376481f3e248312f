//! Texts and images to numbers, in clear: what a client needs of a model folder, and what a server gives to everybody.

#[cfg(feature = "bundle")]
mod embed;
pub mod embeddings;
pub mod public;
pub mod split;

#[cfg(feature = "bundle")]
pub use embed::{Bundle, Embedded};
pub use public::{Input, Padding, PublicConfig};
