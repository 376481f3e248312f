//! The client's side: keys, encryption, requests, decryption.
//!
//! A [`Session`] makes keys, encrypts and decrypts, and touches neither files nor the network; [`KeyFolder`] keeps it on disk.
//! The rest is behind features, all of them on by default for the program:
//!
//! | Feature | What it adds |
//! |---|---|
//! | `api` | [`Api`], the service over HTTP |
//! | `cli` | the program `client`, and [`terminal`] for its progress |
//! | `demo` | [`demo`] and [`LocalServer`]: the real server in this process, axum and all |
//! | `parallel` | threads in the engine |
//!
//! `examples/ask.rs` is the whole way of a question:
#![cfg_attr(
    feature = "api",
    doc = concat!("```no_run\n", include_str!("../examples/ask.rs"), "\n```")
)]
#![forbid(unsafe_code)]

/// Rust in the README is compiled with the examples of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub mod answer;
#[cfg(feature = "api")]
pub mod api;
#[cfg(feature = "demo")]
pub mod demo;
pub mod error;
pub mod folder;
pub mod image;
pub mod inspect;
#[cfg(feature = "demo")]
pub mod local;
pub mod session;
#[cfg(feature = "cli")]
pub mod terminal;
pub mod ui;

pub use answer::{Answer, Decided, cosine};
#[cfg(feature = "api")]
pub use api::{Api, Upload, download_bundle};
pub use error::{Error, Result};
pub use folder::KeyFolder;
#[cfg(feature = "demo")]
pub use local::LocalServer;
pub use session::{Decrypted, KeySet, Query, Reply, Request, Session, TOLERANCE};
