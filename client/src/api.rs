//! The service over HTTP.

use crate::error::{Error, ProblemText, Result};
use crate::session::Reply;
use bytes::BytesMut;
use futures_util::{StreamExt, stream};
use models::{Bundle, Head, Manifest};
use reqwest::{RequestBuilder, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How often a waiting client asks where its request stands.
const POLL: Duration = Duration::from_millis(100);
/// Most bytes of a JSON answer or a public file; the reply to a request has its own limit.
const MAX_ANSWER: u64 = 256 << 20;
/// Pieces of an upload, also the grain of its progress.
const PIECE: usize = 256 << 10;

/// A server.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    http: reqwest::Client,
}

/// What the server knows of an uploaded key set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Name to send with requests: blake3 of the uploaded bytes.
    pub key_id: String,
    /// Bytes.
    pub bytes: u64,
    /// Key-switch keys.
    pub keys: usize,
    /// Digest of their parameters.
    pub params_digest: String,
}

/// Row of the model list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModelEntry {
    /// The model's id.
    pub id: String,
    /// Digest of its parameters.
    pub params_digest: String,
    /// What it answers.
    pub head: Head,
    /// Levels from request to reply, or between bootstraps.
    pub depth: usize,
    /// Evaluation keys to upload.
    pub keys: usize,
    /// Their bytes.
    pub key_bytes: u64,
    /// Largest request.
    pub request_bytes: u64,
    /// Bootstraps of one evaluation.
    pub bootstraps: usize,
    /// Memory of the server while it evaluates for one client, by its cost model.
    pub memory_bytes: u64,
    /// Milliseconds of an evaluation, as its cost model says.
    pub predicted_ms: f64,
}

/// Evaluation keys on their way to a server: from memory, or straight from a file, as those of deep models are gigabytes.
pub struct Upload {
    source: Box<dyn AsyncRead + Send + Unpin>,
    length: u64,
}

impl From<Vec<u8>> for Upload {
    fn from(keys: Vec<u8>) -> Self {
        Self {
            length: keys.len() as u64,
            source: Box::new(std::io::Cursor::new(keys)),
        }
    }
}

impl Upload {
    /// From a file that [`KeyFolder`](crate::KeyFolder) or
    /// [`Session::evaluation_keys`](crate::Session::evaluation_keys) wrote.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn open(path: &Path) -> Result<Self> {
        let file = tokio::fs::File::open(path).await.map_err(Error::io(path))?;
        let length = file.metadata().await.map_err(Error::io(path))?.len();
        Ok(Self {
            source: Box::new(file),
            length,
        })
    }
}

/// Where a request stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Standing {
    /// `receiving`, `queued` or `evaluating`.
    pub state: String,
    /// Requests that are served before it.
    pub ahead: u64,
    /// Steps done.
    pub done: usize,
    /// Steps of the plan; 0 until the evaluation starts.
    pub total: usize,
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ModelEntry>,
}

impl Api {
    /// For a server at this address, `http://host:port`.
    ///
    /// # Errors
    /// [`Error::Network`] when no HTTP client can be made.
    pub fn new(base: &str) -> Result<Self> {
        let base = base.trim_end_matches('/').to_owned();
        let network = |reason: String| Error::Network {
            url: base.clone(),
            reason,
        };
        if base.starts_with("https://") {
            let reason = "this client speaks plain HTTP; point it at the proxy or tunnel on this machine that ends TLS";
            return Err(network(reason.to_owned()));
        }
        let mut builder = reqwest::Client::builder().connect_timeout(Duration::from_secs(10));
        // A proxy of the environment has no business between two processes of one machine.
        let host = base.trim_start_matches("http://");
        if ["127.", "localhost", "[::1]"]
            .iter()
            .any(|local| host.starts_with(local))
        {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|e| network(e.to_string()))?;
        Ok(Self { base, http })
    }

    /// The server's address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The models that are served.
    ///
    /// # Errors
    /// As all methods: [`Error::Network`], [`Error::Refused`], [`Error::Protocol`].
    pub async fn models(&self) -> Result<Vec<ModelEntry>> {
        let bytes = self.get("/v1/models").await?;
        self.json::<ModelList>("/v1/models", &bytes).map(|list| list.data)
    }

    /// The manifest of a model, checked: its parameters are 128-bit secure, whatever the server says.
    ///
    /// # Errors
    /// As [`Self::models`]; [`Error::Release`] for a server of another release, [`Error::Model`] for a manifest that is refused.
    pub async fn manifest(&self, model: &str) -> Result<Manifest> {
        let path = format!("/v1/models/{model}/manifest");
        let mend = "update the older one of client and server, then make keys again: client keygen --force";
        let other = Error::manifest(self.url(&path), mend.into());
        Manifest::from_json(&self.get(&path).await?).map_err(other)
    }

    /// A file of the public bundle, held against the digest in the manifest.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub async fn file(&self, manifest: &Manifest, name: &str) -> Result<Vec<u8>> {
        let bytes = self
            .get(&format!("/v1/models/{}/files/{name}", manifest.id))
            .await?;
        manifest.check_file(name, &bytes)?;
        Ok(bytes)
    }

    /// Whether keys are stored under this id.
    ///
    /// # Errors
    /// As [`Self::models`].
    pub async fn key_status(&self, key_id: &str) -> Result<Option<KeyInfo>> {
        let path = format!("/v1/keys/{key_id}");
        match self.get(&path).await {
            Ok(bytes) => self.json(&path, &bytes).map(Some),
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Uploads concatenated key frames; `progress(sent)` after each piece.
    ///
    /// # Errors
    /// As [`Self::models`].
    pub async fn upload_keys(
        &self,
        model: &str,
        keys: impl Into<Upload>,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<KeyInfo> {
        let path = format!("/v1/keys?model={model}");
        let progress = Arc::new(progress);
        let Upload { source, length } = keys.into();
        // One piece at a time: the keys are never in memory as a whole.
        let pieces = stream::try_unfold((source, 0), move |(mut source, sent)| {
            let next = async move {
                let mut piece = BytesMut::with_capacity(PIECE);
                while piece.len() < PIECE && source.read_buf(&mut piece).await? > 0 {}
                let sent = sent + piece.len() as u64;
                Ok::<_, std::io::Error>((!piece.is_empty()).then(|| (piece.freeze(), (source, sent))))
            };
            let progress = Arc::clone(&progress);
            async move {
                let next = next.await?;
                if let Some((_, (_, sent))) = &next {
                    progress(*sent);
                }
                Ok::<_, std::io::Error>(next)
            }
        });
        let request = self
            .http
            .post(self.url(&path))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, length)
            .body(reqwest::Body::wrap_stream(pieces));
        let bytes = self
            .read(&path, self.send(&path, request).await?, MAX_ANSWER)
            .await?;
        self.json(&path, &bytes)
    }

    /// Erases uploaded keys.
    ///
    /// # Errors
    /// As [`Self::models`].
    pub async fn remove_keys(&self, key_id: &str) -> Result<()> {
        let path = format!("/v1/keys/{key_id}");
        self.send(&path, self.http.delete(self.url(&path)))
            .await
            .map(drop)
    }

    /// Evaluates the ciphertext frames of a request; returns the report frame followed by those of the outputs, at most
    /// `limit` bytes.
    /// `progress` hears where the request stands while it waits.
    ///
    /// # Errors
    /// As [`Self::models`].
    pub async fn infer(
        &self,
        model: &str,
        key_id: &str,
        reply: Reply,
        frames: Vec<u8>,
        limit: u64,
        mut progress: impl FnMut(&Standing),
    ) -> Result<Vec<u8>> {
        let path = format!("/v1/models/{model}/infer?reply={}", reply.name());
        let id = request_id(&frames);
        let request = self
            .http
            .post(self.url(&path))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header("x-key-id", key_id)
            .header("x-request-id", &id)
            .body(frames);
        let answer = async { self.read(&path, self.send(&path, request).await?, limit).await };
        tokio::pin!(answer);
        let standing = format!("/v1/requests/{id}");
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                () = tokio::time::sleep(POLL) => {
                    // Progress is a courtesy: a failure of it says nothing about the request.
                    if let Ok(bytes) = self.get(&standing).await
                        && let Ok(standing) = self.json::<Standing>(&standing, &bytes)
                    {
                        progress(&standing);
                    }
                }
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn network(&self, path: &str, error: &reqwest::Error) -> Error {
        // The chain of causes ends with what the system said, which is what helps.
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            reason = inner.to_string();
            cause = inner.source();
        }
        Error::Network {
            url: self.url(path),
            reason,
        }
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>> {
        let response = self.send(path, self.http.get(self.url(path))).await?;
        self.read(path, response, MAX_ANSWER).await
    }

    async fn send(&self, path: &str, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|e| self.network(path, &e))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let body = self.read(path, response, 1 << 20).await.unwrap_or_default();
        let mut problem: Box<ProblemText> = serde_json::from_slice(&body).unwrap_or_default();
        let fill = |text: &mut String, other: &str| {
            if text.is_empty() {
                *text = other.to_owned();
            }
        };
        fill(&mut problem.title, status.canonical_reason().unwrap_or("error"));
        fill(&mut problem.detail, "no details were given");
        fill(&mut problem.hint, "check the address; a proxy may have answered");
        Err(Error::Refused {
            status: status.as_u16(),
            problem,
        })
    }

    async fn read(&self, path: &str, response: Response, limit: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|e| self.network(path, &e))?;
            if (out.len() + piece.len()) as u64 > limit {
                return Err(Error::Protocol {
                    url: self.url(path),
                    reason: format!("more than {limit} bytes"),
                });
            }
            out.extend_from_slice(&piece);
        }
        Ok(out)
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, path: &str, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|e| Error::Protocol {
            url: self.url(path),
            reason: e.to_string(),
        })
    }
}

/// A name that no other request has: fresh ciphertexts never repeat, and the time tells two sendings of one file apart.
fn request_id(frame: &[u8]) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    hasher.update(frame.get(..96.min(frame.len())).unwrap_or_default());
    hasher.update(&now.as_nanos().to_le_bytes());
    hasher.update(&std::process::id().to_le_bytes());
    hasher.finalize().to_hex().chars().take(32).collect()
}

/// Downloads the public bundle of a model; the bytes are kept beside it to be saved.
///
/// # Errors
/// As [`Api::file`], and [`Error::Model`] for files that do not belong together.
pub async fn download_bundle(api: &Api, manifest: &Manifest) -> Result<(Bundle, Vec<(String, Vec<u8>)>)> {
    let mut files = Vec::new();
    for name in manifest.input.files() {
        files.push(((*name).to_owned(), api.file(manifest, name).await?));
    }
    let find = |name: &str| files.iter().find(|(n, _)| n == name).map(|(_, b)| b.as_slice());
    let bundle = Bundle::new(find)?;
    Ok((bundle, files))
}
