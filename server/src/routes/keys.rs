//! Evaluation keys: upload, status, removal.

use crate::body::Limited;
use crate::keys::{KeyId, KeyInfo, check_keys};
use crate::problem::Problem;
use crate::service::Service;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

/// Query of an upload.
#[derive(Debug, Deserialize)]
pub(super) struct UploadQuery {
    model: Option<String>,
}

/// `POST /v1/keys?model=ID`: concatenated key frames, streamed to disk, then checked down to every residue.
pub(super) async fn upload(
    State(service): State<Arc<Service>>,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    service.check_open()?;
    let id = query
        .model
        .ok_or_else(|| Problem::missing("the query parameter model", "POST /v1/keys?model=ID"))?;
    let model = Arc::clone(service.model(&id)?);
    let Ok(_place) = service.uploads.try_acquire() else {
        return Err(Problem::busy("key uploads", service.config.uploads, 5));
    };
    let limit = model.needs.total_limit;
    let mut body = Limited::new(
        "evaluation keys",
        &headers,
        body,
        limit,
        service.config.idle_timeout,
    )?;
    service.store.check_room(limit)?;

    let incoming = service.store.incoming();
    let io = |e: std::io::Error| Problem::internal(&e);
    let mut file = tokio::fs::File::create(&incoming.path).await.map_err(io)?;
    let mut hasher = blake3::Hasher::new();
    while let Some(piece) = body.next().await? {
        hasher.update(&piece);
        file.write_all(&piece).await.map_err(io)?;
    }
    file.flush().await.map_err(io)?;
    drop(file);

    let key_id = KeyId::new(*hasher.finalize().as_bytes());
    let store = Arc::clone(&service.store);
    let info = tokio::task::spawn_blocking(move || -> Result<KeyInfo, Problem> {
        let file = File::open(&incoming.path).map_err(io)?;
        check_keys(&model.needs, &mut BufReader::with_capacity(1 << 20, file))?;
        store.commit(&incoming, key_id)?;
        store
            .info(key_id)?
            .ok_or_else(|| Problem::unknown_key(&key_id.to_string()))
    })
    .await
    .map_err(|e| Problem::internal(&e))??;
    tracing::info!(
        key_id = key_id.short(),
        bytes = info.bytes,
        keys = info.keys,
        "keys stored"
    );
    let location = [(header::LOCATION, format!("/v1/keys/{key_id}"))];
    Ok((StatusCode::CREATED, location, Json(info)).into_response())
}

/// `GET /v1/keys/{id}`.
pub(super) async fn status(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
) -> Result<Json<KeyInfo>, Problem> {
    stored(&service, &id).await.map(|(_, info)| Json(info))
}

/// `DELETE /v1/keys/{id}`: erased from disk and memory; an evaluation in progress finishes.
pub(super) async fn remove(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let key_id = id.parse::<KeyId>().map_err(|()| Problem::unknown_key(&id))?;
    if !service.store.remove(key_id)? {
        return Err(Problem::unknown_key(&id));
    }
    service.cache.remove(key_id);
    tracing::info!(key_id = key_id.short(), "keys removed");
    Ok(StatusCode::NO_CONTENT)
}

/// The stored set of this name. A name that is no digest is as unknown as one that is not stored.
pub(super) async fn stored(service: &Arc<Service>, id: &str) -> Result<(KeyId, KeyInfo), Problem> {
    let key_id = id.parse::<KeyId>().map_err(|()| Problem::unknown_key(id))?;
    let store = Arc::clone(&service.store);
    let info = tokio::task::spawn_blocking(move || store.info(key_id))
        .await
        .map_err(|e| Problem::internal(&e))??;
    Ok((key_id, info.ok_or_else(|| Problem::unknown_key(id))?))
}
