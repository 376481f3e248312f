//! The client's side: keys, encryption, requests, decryption.
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
pub mod api;
pub mod demo;
pub mod error;
pub mod folder;
pub mod image;
pub mod inspect;
pub mod local;
pub mod session;

pub use answer::{Answer, Decided, cosine};
pub use api::{Api, Upload};
pub use error::{Error, Result};
pub use folder::{KeyFolder, download_bundle};
pub use local::LocalServer;
pub use session::{Decrypted, KeySet, Query, Reply, Request, Session, TOLERANCE};
