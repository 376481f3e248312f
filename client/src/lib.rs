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
//! ```no_run
//! # async fn example() -> client::Result<()> {
//! use client::{Api, Session, download_bundle};
//!
//! let api = Api::new("http://127.0.0.1:8080")?;
//! let manifest = api.manifest("sentiment").await?;
//! let (bundle, _) = download_bundle(&api, &manifest).await?;
//! let session = Session::generate(manifest, bundle)?;
//! let mut keys = Vec::new(); // or a file: those of deep models are gigabytes
//! session.evaluation_keys(&mut keys, |_, _| {})?;
//! let key_id = api.upload_keys("sentiment", keys, |_| {}).await?.key_id;
//!
//! let request = session.encrypt("an utterly charming film")?;
//! let limit = session.reply_limit()?;
//! let reply = api.infer("sentiment", &key_id, client::Reply::Logits, request.frames, limit, |_| {}).await?;
//! let decrypted = session.decrypt(&reply)?;
//! println!("{}", session.answer(decrypted.outputs, request.tokens - 1));
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

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

pub use answer::{Answer, cosine};
#[cfg(feature = "api")]
pub use api::{Api, Upload, download_bundle};
pub use error::{Error, Result};
pub use folder::KeyFolder;
#[cfg(feature = "demo")]
pub use local::LocalServer;
pub use session::{Decided, Decrypted, KeySet, Query, Reply, Request, Session, TOLERANCE};
